// The head and its loss in plain ops, for vocabularies too large for all logits to be held: a chunk of scored positions at a time.
//
//   y = cap(W x, c)    top = max y, by ARGMAX and GET_ROWS, which every backend has    e = exp(y - top)    S = sum e
//   -log p(target) = log S + top - y_target
//   dx = sum_v g_v W_v - g W_target      g_v = seed p_v cap'(y_v), g = seed cap'(y_target), cap' = 1 - (y / c)^2, p = e / S
//
// The target's share is one row of W beside a product, so that no one-hot matrix and no scatter is needed.
#pragma once

#include "ggml.h"

#include <vector>

namespace yapo::train::upper {

struct head_chunk {
    ggml_tensor * loss; // [1, n] -log p(target)
    ggml_tensor * dx;   // [D, n] sum of seed * d loss / dx; NULL without gradient
};

// Positions of a chunk for a vocabulary: logits of about 32 MB.
int64_t head_chunk_rows(int64_t n_vocab);

// x [D, N] contiguous, w [D, V] of any type, w_t its transposed copy, targets I32 [N], seeds [1, N] or NULL: no gradient. Chunks in order.
std::vector<head_chunk> device_head(ggml_context * ctx, ggml_tensor * w, ggml_tensor * w_t, ggml_tensor * x, ggml_tensor * targets, ggml_tensor * seeds, float softcap);

} // namespace yapo::train::upper
