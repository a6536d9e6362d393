// The steering kernel as ggml nodes.
//
//   pre = enc h + enc_bias        z = relu(pre) * step(pre - threshold)     step(x) = 1 if x > 0 else 0
//   s   = sum_i strength_i value_i
//   c   = max(s, -z)              delta = dec^T c          h' = h + sum of the deltas of all groups
//
// The maximum is a selection, g = step(s + z), c = g s + (g - 1) z: every product is exact, so that c carries no cancellation
// however large z or s is, and s = 0 gives c = 0 exactly. Standard ops only: every backend of ggml runs them. On CUDA devices two
// ops of our own do the same (fused.h).
#pragma once

#include "steering/vectors.h"

namespace yapo {

// The codes z of whole SAEs for one h, each built once however many read it.
//
//   JumpReLU: as above.     TopK: z = relu(pre) * (1 - step(t - pre)), t = the k-th largest of pre
class full_codes {
public:
    full_codes(ggml_context * ctx, ggml_tensor * h) : ctx(ctx), h(h) {}
    ggml_tensor * of(const full_sae & sae); // F32 [F, T]

private:
    ggml_context * ctx;
    ggml_tensor *  h;
    std::map<const full_sae *, ggml_tensor *> built;
};

// strengths: F32 [columns, T], one column per vector. h: F32 [D, T], which `codes` are of.
ggml_tensor * build_steering(ggml_context * ctx, const layer_vectors & layer, ggml_tensor * h, ggml_tensor * strengths, full_codes & codes);

// The most tensors that build_steering makes for a layer, codes included.
uint32_t steering_nodes(const layer_vectors & layer);

// The most tensors that the codes of one SAE take.
constexpr uint32_t code_nodes = 24;

} // namespace yapo
