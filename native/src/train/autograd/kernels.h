// Fused CPU kernels as ggml CUSTOM nodes, with backward rules of their own. Everything they do can be said in plain ops
// (transformer/graph.cpp has both forms, and the tests hold one against the other); fused they cost one pass over memory
// and use a vectorized exp, which is where a small model spends most of its time outside matrix products.
//
// Each runs with one task: the trainers use one thread per graph. All tensors F32 unless said otherwise.
#pragma once

#include "ggml.h"

#include <cstdint>

namespace yapo::autograd {

// Matrix products (gemm.h), batched over dimensions 2 and 3; both sides F32 with nb[0] == 4 and equal batches. y is contiguous. A single matrix w may
// be of any type that ggml can dequantize (weight_gemm.h); it gets no gradient then.
// inner:   w [K, N], x [K, T] -> y [N, T] = sum_k w[k, n] x[k, t]   (what ggml_mul_mat computes)
// combine: w [K, N], a [N, T] -> y [K, T] = sum_n w[k, n] a[n, t]   (columns of w weighted by a)
// Each is the other's gradient; neither needs a transposed copy.
ggml_tensor * inner(ggml_context * ctx, ggml_tensor * w, ggml_tensor * x);
ggml_tensor * combine(ggml_context * ctx, ggml_tensor * w, ggml_tensor * a);

// y[j, i, b, c] = x[i, j, b, c], contiguous; x needs nb[0] == 4, the other strides are free.
ggml_tensor * transpose(ggml_context * ctx, ggml_tensor * x);
bool          is_transpose(const ggml_tensor * t);

// gelu_tanh(gate) * up = gate * sigmoid(2u) * up, u = sqrt(2/pi) (gate + 0.044715 gate^3), exact to F32. Same shapes, contiguous.
ggml_tensor * geglu(ggml_context * ctx, ggml_tensor * gate, ggml_tensor * up);

struct attention_shape {
    int32_t n_tokens = 0;     // T; row r of the scores is query position r % T
    int32_t window   = 0;     // key k visible from query q iff q - k < window; 0: no window
    float   scale    = 1.0f;  // of the dot products
    float   softcap  = 0.0f;  // s -> c tanh(s/c); 0: none
};
// Causal softmax of softcapped scores: P[k, r] over k <= q(r), zero elsewhere. scores [T, R, ...] raw dot products, contiguous.
ggml_tensor * attention_softmax(ggml_context * ctx, ggml_tensor * scores, const attention_shape & shape);

// Rotary embedding of pairs (i, i + hd/2), or (2i, 2i + 1) when interleaved, fused with the move of heads before tokens:
// x [hd, H, T*B] -> [hd, T, H, B]. table [hd, T]: cos of the hd/2 angles, then sin.
ggml_tensor * rope_split_heads(ggml_context * ctx, ggml_tensor * x, ggml_tensor * table, int32_t n_tokens, bool interleaved = false);
// angle(t, i) = t scale theta^(-2i/hd) / factors[i]; factors [hd/2] or NULL
void          fill_rope_table(float * table, int32_t head_dim, int32_t n_tokens, double theta, double scale = 1.0, const float * factors = nullptr);

// loss[n] = -log softmax(c tanh(logits[:, n] / c))[target[n]], 0 where target[n] < 0. logits [V, N], target I32 [N] -> [N]. c = 0: no cap.
ggml_tensor * cross_entropy(ggml_context * ctx, ggml_tensor * logits, ggml_tensor * target, float softcap);

// The head and its loss in one, for frozen heads with vocabularies too large for their logits to be held:
// loss[n] = -log softmax(c tanh(W x[:, n] / c))[target[n]], 0 where target[n] < 0. x [D, N] contiguous, w [D, V] of any type, target I32 [N] -> [N].
// with_gradient: dx is found in the same pass over W (as flash attention does: sums are rescaled when a larger logit turns up).
ggml_tensor * head_loss(ggml_context * ctx, ggml_tensor * w, ggml_tensor * x, ggml_tensor * target, float softcap, bool with_gradient);

} // namespace yapo::autograd
