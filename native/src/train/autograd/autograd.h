// Reverse-mode differentiation of ggml graphs.
//
// Walks a forward graph of ours backwards and emits the gradient as more ggml nodes of the same context, so that one
// allocation and one compute run both. Almost every rule uses plain forward ops (a matrix product against transposed
// weights instead of OUT_PROD, ...), which every backend has; where ggml's own *_BACK op is exact and faster, it is used.
//
//   ggml_tensor * loss = ...;                        // any shape
//   autograd::tape tape(ctx, {});
//   tape.seed(loss, dloss);                          // dL/dloss, same shape as loss
//   tape.differentiate({loss}, {w1, w2});            // appends nodes; does not compute
//   ggml_build_forward_expand(graph, tape.gradient(w1));
//
// The op table (rules.cpp) documents the backward rule of each op. An op without a rule on a path from a wanted leaf to a
// seed is YAPO_ERR_UNSUPPORTED, never a silent zero. Gradients are F32.
#pragma once

#include "abi/guard.h"
#include "ggml.h"

#include <functional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace yapo::autograd {

struct options {
    // Nodes will run on the CPU backend: kernels of kernels.h (blocked transposition) may be emitted.
    bool cpu_kernels = false;
    // Nodes must run on any backend: gradients of softmax, RMS norm and broadcasting are composed of plain ops, since Metal has no *_BACK op for them and an
    // RPC device cannot be asked what its server has.
    bool portable = false;
};

class tape;

// Emits the gradients of the sources of y, given dy = dL/dy, through tape::accumulate.
using rule = std::function<void(tape & t, ggml_tensor * y, ggml_tensor * dy)>;

class tape {
public:
    tape(ggml_context * ctx, const options & o) : ctx_(ctx), options_(o) {}

    ggml_context * ctx() const { return ctx_; }
    bool           portable() const { return options_.portable; }

    // dL/dy at a root; several roots may be seeded, and one root twice (the seeds add).
    void seed(ggml_tensor * y, ggml_tensor * dy);

    // Replaces the rule of one node (a straight-through estimator, a fused kernel of the caller).
    void set_rule(const ggml_tensor * y, rule r);

    // A transposed copy of t that exists already: of a weight, which may then be of any type.
    void give_transposed(const ggml_tensor * t, ggml_tensor * copy) { transposed_[t] = copy; }

    // Emits dL/dx for every x in `wrt`. Roots are the seeded tensors.
    void differentiate(const std::vector<ggml_tensor *> & roots, const std::vector<ggml_tensor *> & wrt);

    // dL/dx, or NULL where no path leads from x to a seed.
    ggml_tensor * gradient(const ggml_tensor * x) const;

    // ---- for rules ----
    // Does anything wanted depend on x?
    bool wants(const ggml_tensor * x) const { return x && wanted_.count(x) != 0; }
    // dL/dx += g. g has the shape of x, or one that x broadcasts to (it is summed down to x).
    void accumulate(ggml_tensor * x, ggml_tensor * g);
    // t with its first two dimensions swapped, contiguous (sparse codes: ordered by latent). Uses the given copy of a weight, the
    // other side of an earlier transposition, or emits one; each t is transposed at most once.
    ggml_tensor * transposed(ggml_tensor * t);
    // g summed over the dimensions in which `like` is broadcast.
    ggml_tensor * sum_to(ggml_tensor * g, const ggml_tensor * like);
    // t, or a contiguous copy of it.
    ggml_tensor * contiguous(ggml_tensor * t);

private:
    ggml_context * ctx_;
    options        options_;
    std::unordered_map<const ggml_tensor *, ggml_tensor *> gradients_;
    std::unordered_map<const ggml_tensor *, ggml_tensor *> transposed_;
    std::unordered_map<const ggml_tensor *, rule>          overrides_;
    std::unordered_set<const ggml_tensor *>                wanted_;
};

// W^T x [N, T] of w [K, N], x [K, T] as MUL_MAT, summed in F32 (GPU backends would sum in F16).
ggml_tensor * product(ggml_context * ctx, ggml_tensor * w, ggml_tensor * x);

// The rule for y's op from the op table; NULL where there is none.
const rule * find_rule(const ggml_tensor * y);

// A human-readable name of y's op, for errors ("UNARY TANH", "CUSTOM geglu", ...).
std::string op_name(const ggml_tensor * y);

} // namespace yapo::autograd
