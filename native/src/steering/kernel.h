// The steering kernel as ggml nodes.
//
//   pre = enc h + enc_bias        z = relu(pre) * step(pre - threshold)     step(x) = 1 if x > 0 else 0
//   s   = sum_i strength_i value_i
//   c   = max(s, -z)              delta = dec^T c          h' = h + sum of the deltas of all groups
//
// The maximum is a selection, g = step(s + z), c = g s + (g - 1) z: every product is exact, so that c carries no cancellation
// however large z or s is, and s = 0 gives c = 0 exactly. Standard ops only: every backend of ggml runs them.
#pragma once

#include "steering/vectors.h"

namespace yapo {

// strengths: F32 [T, columns], one column per vector, T contiguous. h: F32 [D, T].
ggml_tensor * build_steering(ggml_context * ctx, const layer_vectors & layer, ggml_tensor * h, ggml_tensor * strengths);

// The most tensors that build_steering makes for a layer.
uint32_t steering_nodes(const layer_vectors & layer);

} // namespace yapo
