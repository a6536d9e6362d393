// transpose and geglu.
#include "train/autograd/kernel_table.h"
#include "train/autograd/kernels.h"
#include "train/autograd/vector_math.h"

#include <algorithm>

namespace yapo::autograd {

namespace {

constexpr int64_t tile = 16; // 16 x 16 floats: one cache line a row

void compute_transpose(ggml_tensor * y, int, int, void *) {
    const ggml_tensor * x = y->src[0];
    const int64_t n0 = x->ne[0], n1 = x->ne[1];
    for (int64_t b3 = 0; b3 < x->ne[3]; ++b3) {
        for (int64_t b2 = 0; b2 < x->ne[2]; ++b2) {
            const char * from = static_cast<const char *>(x->data) + b2 * x->nb[2] + b3 * x->nb[3];
            float * to = reinterpret_cast<float *>(static_cast<char *>(y->data) + b2 * y->nb[2] + b3 * y->nb[3]);
            for (int64_t j0 = 0; j0 < n1; j0 += tile) {
                const int64_t nj = std::min(tile, n1 - j0);
                for (int64_t i0 = 0; i0 < n0; i0 += tile) {
                    const int64_t ni = std::min(tile, n0 - i0);
                    float block[tile][tile];
                    if (ni == tile && nj == tile) {
                        for (int64_t j = 0; j < tile; ++j) {
                            memcpy(block[j], from + (j0 + j) * x->nb[1] + i0 * sizeof(float), sizeof block[j]);
                        }
                        for (int64_t i = 0; i < tile; ++i) {
                            float row[tile];
                            for (int64_t j = 0; j < tile; ++j) {
                                row[j] = block[j][i];
                            }
                            memcpy(to + (i0 + i) * n1 + j0, row, sizeof row);
                        }
                    } else {
                        for (int64_t j = 0; j < nj; ++j) {
                            const float * in = reinterpret_cast<const float *>(from + (j0 + j) * x->nb[1]) + i0;
                            for (int64_t i = 0; i < ni; ++i) {
                                to[(i0 + i) * n1 + j0 + j] = in[i];
                            }
                        }
                    }
                }
            }
        }
    }
}

constexpr float gelu_c = 0.79788456080286535588f; // sqrt(2 / pi)
constexpr float gelu_a = 0.044715f;

void compute_geglu(ggml_tensor * y, int, int, void *) {
    const float * gate = static_cast<const float *>(y->src[0]->data);
    const float * up   = static_cast<const float *>(y->src[1]->data);
    float * out = static_cast<float *>(y->data);
    const int64_t n = ggml_nelements(y);
    for (int64_t i = 0; i < n; ++i) {
        const float g = gate[i];
        const float u = gelu_c * g * (1.0f + gelu_a * g * g);
        out[i] = g / (1.0f + fast_exp(-2.0f * u)) * up[i];
    }
}

// With s = sigmoid(2u): d gelu/dg = s + 2 g s (1 - s) du/dg, du/dg = c (1 + 3 a g^2). Output: dgate, then dup.
void compute_geglu_back(ggml_tensor * y, int, int, void *) {
    const float * gate = static_cast<const float *>(y->src[0]->data);
    const float * up   = static_cast<const float *>(y->src[1]->data);
    const float * dy   = static_cast<const float *>(y->src[2]->data);
    const int64_t n = ggml_nelements(y->src[0]);
    float * dgate = static_cast<float *>(y->data);
    float * dup   = dgate + n;
    for (int64_t i = 0; i < n; ++i) {
        const float g = gate[i];
        const float u = gelu_c * g * (1.0f + gelu_a * g * g);
        const float s = 1.0f / (1.0f + fast_exp(-2.0f * u));
        const float slope = s + 2.0f * g * s * (1.0f - s) * gelu_c * (1.0f + 3.0f * gelu_a * g * g);
        dgate[i] = dy[i] * up[i] * slope;
        dup[i]   = dy[i] * g * s;
    }
}

} // namespace

const kernel_entry transpose_kernel = {"transpose", compute_transpose, [](tape & t, ggml_tensor * y, ggml_tensor * dy) {
    t.accumulate(y->src[0], transpose(t.ctx(), t.contiguous(dy)));
}};

const kernel_entry geglu_back_kernel = {"geglu_back", compute_geglu_back, nullptr};

const kernel_entry geglu_kernel = {"geglu", compute_geglu, [](tape & t, ggml_tensor * y, ggml_tensor * dy) {
    ggml_tensor * gate = y->src[0];
    const int64_t ne[4] = {gate->ne[0], gate->ne[1], gate->ne[2] * gate->ne[3], 2};
    ggml_tensor * both = kernel_node(t.ctx(), geglu_back_kernel.compute, ne, {gate, y->src[1], t.contiguous(dy)}, no_params{});
    for (int half = 0; half < 2; ++half) {
        t.accumulate(y->src[half], ggml_view_4d(t.ctx(), both, gate->ne[0], gate->ne[1], gate->ne[2], gate->ne[3],
            gate->nb[1], gate->nb[2], gate->nb[3], half * both->nb[3]));
    }
}};

ggml_tensor * transpose(ggml_context * ctx, ggml_tensor * x) {
    const int64_t ne[4] = {x->ne[1], x->ne[0], x->ne[2], x->ne[3]};
    return kernel_node(ctx, transpose_kernel.compute, ne, {x}, no_params{});
}

bool is_transpose(const ggml_tensor * t) {
    return t->op == GGML_OP_CUSTOM && find_kernel(t) == &transpose_kernel;
}

ggml_tensor * geglu(ggml_context * ctx, ggml_tensor * gate, ggml_tensor * up) {
    const int64_t ne[4] = {gate->ne[0], gate->ne[1], gate->ne[2], gate->ne[3]};
    return kernel_node(ctx, geglu_kernel.compute, ne, {gate, up}, no_params{});
}

} // namespace yapo::autograd
