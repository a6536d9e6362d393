// head_loss: W x, softcap, softmax and -log p in one pass over the vocabulary, with the gradient in x beside it.
//
// For a row with reference r (the target's logit at first), over v != target:   s = sum e^(l_v - r)      g = sum e^(l_v - r) (1 - tanh^2) W_v
// and at the end, with e = e^(l_t - r):   loss = log(s + e) + r - l_t            dx = (g - s (1 - tanh_t^2) W_t) / (s + e)
// While r is the target's logit, loss = log1p(s): precise when p is almost 1. r grows when a logit passes it by more than e^40 allows.
#include "train/autograd/gemm.h"
#include "train/autograd/kernel_table.h"
#include "train/autograd/kernels.h"
#include "train/autograd/vector_math.h"
#include "train/autograd/weight_gemm.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace yapo::autograd {

namespace {

struct head_params { float softcap; int32_t gradient; };

constexpr int64_t chunk   = 1024; // rows of W at a time: their floats stay in the caches that both products read
constexpr float   headway = 40.0f;

struct row_state {
    double reference, target_logit, target_slope, others = 0;
};

class head_pass {
public:
    explicit head_pass(ggml_tensor * y)
        : p(kernel_params<head_params>(y)), w(y->src[0]), D(w->ne[0]), V(w->ne[1]), N(y->ne[1]), x(static_cast<const float *>(y->src[1]->data)),
          target(static_cast<const int32_t *>(y->src[2]->data)), out(static_cast<float *>(y->data)), stride(y->ne[0]), state(N), logits(N * chunk) {}

    void run() {
        std::fill_n(out, stride * N, 0.0f);
        std::vector<float> row(D);
        for (int64_t n = 0; n < N; ++n) {
            if (target[n] >= 0) {
                const float * wt = weights(target[n], 1, row);
                double        dot = 0;
                for (int64_t d = 0; d < D; ++d) dot += double(x[n * D + d]) * wt[d];
                const double th = p.softcap > 0 ? std::tanh(dot / p.softcap) : 0.0;
                const double l  = p.softcap > 0 ? p.softcap * th : dot;
                state[n]        = {l, l, 1 - th * th};
            }
        }
        for (int64_t v0 = 0; v0 < V; v0 += chunk) {
            const int64_t count = std::min(chunk, V - v0);
            const float * block = weights(v0, count, floats);
            if (exact()) {
                gemm(N, count, D, {x, D, 1}, {block, D, 1}, logits.data(), chunk);
            } else {
                rows_times(N, count, x, D, as_rows(block), logits.data(), chunk);
            }
            for (int64_t n = 0; n < N; ++n) {
                add(n, v0, count, logits.data() + n * chunk);
            }
            if (p.gradient && exact()) {
                gemm(N, D, count, {logits.data(), chunk, 1}, {block, 1, D}, out + 1, stride, true);
            } else if (p.gradient) {
                rows_weighted(N, count, logits.data(), chunk, as_rows(block), out + 1, stride, true);
            }
        }
        for (int64_t n = 0; n < N; ++n) {
            finish(n, row);
        }
    }

private:
    bool exact() const { return w->type == GGML_TYPE_F32; }
    weight_rows as_rows(const float * block) const { return {GGML_TYPE_F32, block, D, size_t(D) * sizeof(float)}; }

    const float * weights(int64_t v, int64_t count, std::vector<float> & buffer) const {
        const char * from = static_cast<const char *>(w->data) + v * w->nb[1];
        if (exact()) {
            return reinterpret_cast<const float *>(from);
        }
        buffer.resize(size_t(count) * D);
        const ggml_to_float_t to_float = ggml_get_type_traits(w->type)->to_float;
        for (int64_t i = 0; i < count; ++i) {
            to_float(from + i * w->nb[1], buffer.data() + i * D, D);
        }
        return buffer.data();
    }

    // Logits of one row become the weights of W's rows in g.
    void add(int64_t n, int64_t v0, int64_t count, float * l) {
        row_state & s = state[n];
        if (target[n] < 0) {
            std::fill_n(l, count, 0.0f);
            return;
        }
        if (p.softcap > 0) {
            const float inverse = 1.0f / p.softcap;
            for (int64_t i = 0; i < count; ++i) l[i] = fast_tanh(l[i] * inverse);
        }
        const float cap     = p.softcap > 0 ? p.softcap : 1.0f;
        const float largest = cap * *std::max_element(l, l + count);
        if (largest > s.reference + headway) {
            const double factor = std::exp(s.reference - largest);
            s.reference = largest;
            s.others *= factor;
            for (int64_t d = 0; p.gradient && d < D; ++d) out[n * stride + 1 + d] *= static_cast<float>(factor);
        }
        const float   r    = static_cast<float>(s.reference);
        const int64_t mine = target[n] - v0;
        if (mine >= 0 && mine < count) {
            l[mine] = -INFINITY;
        }
        if (p.softcap > 0) {
            s.others += lane_sum(count, [&](int64_t i) {
                const float e = l[i] == -INFINITY ? 0.0f : fast_exp(cap * l[i] - r);
                l[i] = e * (1.0f - l[i] * l[i]);
                return e;
            });
        } else {
            s.others += lane_sum(count, [&](int64_t i) { return l[i] = l[i] == -INFINITY ? 0.0f : fast_exp(l[i] - r); });
        }
        if (mine >= 0 && mine < count) {
            l[mine] = 0.0f;
        }
    }

    void finish(int64_t n, std::vector<float> & row) {
        if (target[n] < 0) {
            return;
        }
        const row_state & s = state[n];
        const double      e = std::exp(s.target_logit - s.reference), total = s.others + e;
        float *           o = out + n * stride;
        o[0] = static_cast<float>(s.reference == s.target_logit ? std::log1p(s.others) : std::log(total) + s.reference - s.target_logit);
        if (p.gradient) {
            const float * wt    = weights(target[n], 1, row);
            const double  share = s.others / total * s.target_slope;
            for (int64_t d = 0; d < D; ++d) o[1 + d] = static_cast<float>(o[1 + d] / total - share * wt[d]);
        }
    }

    const head_params &    p;
    const ggml_tensor *    w;
    int64_t                D, V, N;
    const float *          x;
    const int32_t *        target;
    float *                out;
    int64_t                stride;
    std::vector<row_state> state;
    std::vector<float>     logits, floats;
};

void compute_head_pass(ggml_tensor * y, int, int, void *) { head_pass(y).run(); }

void compute_head_loss(ggml_tensor * y, int, int, void *) {
    const ggml_tensor * pass = y->src[0];
    for (int64_t n = 0; n < y->ne[0]; ++n) {
        static_cast<float *>(y->data)[n] = static_cast<const float *>(pass->data)[n * pass->ne[0]];
    }
}

void compute_head_loss_back(ggml_tensor * y, int, int, void *) {
    const ggml_tensor * pass  = y->src[0];
    const float *       dloss = static_cast<const float *>(y->src[1]->data);
    const int64_t       D     = y->ne[0];
    for (int64_t n = 0; n < y->ne[1]; ++n) {
        const float * g = static_cast<const float *>(pass->data) + n * pass->ne[0] + 1;
        float *       o = static_cast<float *>(y->data) + n * D;
        for (int64_t d = 0; d < D; ++d) o[d] = dloss[n] * g[d];
    }
}

} // namespace

const kernel_entry head_pass_kernel      = {"head_pass", compute_head_pass, nullptr};
const kernel_entry head_loss_back_kernel = {"head_loss_back", compute_head_loss_back, nullptr};

const kernel_entry head_loss_kernel = {"head_loss", compute_head_loss, [](tape & t, ggml_tensor * y, ggml_tensor * dy) {
    ggml_tensor * pass = y->src[0], * x = y->src[1];
    if (pass->ne[0] == 1) {
        fail(YAPO_ERR_INTERNAL, "autograd: head_loss was built without its gradient");
    }
    const int64_t ne[4] = {x->ne[0], x->ne[1], 1, 1};
    t.accumulate(x, kernel_node(t.ctx(), head_loss_back_kernel.compute, ne, {pass, t.contiguous(dy)}, no_params{}));
}};

ggml_tensor * head_loss(ggml_context * ctx, ggml_tensor * w, ggml_tensor * x, ggml_tensor * target, float softcap, bool with_gradient) {
    const int64_t ne[4] = {with_gradient ? x->ne[0] + 1 : 1, x->ne[1], 1, 1};
    ggml_tensor * pass  = kernel_node(ctx, head_pass_kernel.compute, ne, {w, x, target}, head_params{softcap, with_gradient ? 1 : 0});
    const int64_t rows[4] = {x->ne[1], 1, 1, 1};
    return kernel_node(ctx, head_loss_kernel.compute, rows, {pass, x}, no_params{}); // x: where its gradient goes
}

} // namespace yapo::autograd
