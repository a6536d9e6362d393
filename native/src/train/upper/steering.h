// The steered latents of a worker, and the steering kernel as ggml nodes that differentiate with respect to v.
//
//   sparse: pre = enc h + b     z = relu(pre) [pre > threshold]     m = v s_t      (s_t: multiplier times position weight)
//           c = max(m, -z)      h' = h + dec^T c                    dc/dm = [m + z > 0]; nothing flows into z
//   dense:  h' = h + v s_t
//
// max is written as g m + (g - 1) z with g = [m + z > 0]: exact on both sides, and at v = 0 only firing latents get a gradient.
#pragma once

#include "train/compute.h"

#include <vector>

namespace yapo::train::upper {

class steering {
public:
    // enc, dec [F, D]; all NULL for a dense vector. Copied. YAPO_ERR_INVALID_ARGUMENT for non-finite entries.
    steering(int32_t kind, int64_t f, int64_t d_model, const float * enc, const float * enc_bias, const float * threshold, const float * dec);

    int64_t size() const { return size_; }       // of v and its gradient: F or D
    int64_t padded() const { return padded_; }   // of the graph's v: rows of zeros make the shapes fast

    // h [D, T] -> h'. v [1, padded], s [1, T].
    ggml_tensor * apply(ggml_context * ctx, ggml_tensor * h, ggml_tensor * v, ggml_tensor * s) const;

private:
    bool          sparse_;
    int64_t       size_, padded_;
    context_ptr   ctx_;
    buffer_ptr    buffer_;
    ggml_tensor * enc_ = nullptr;                // [D, F]
    ggml_tensor * enc_bias_ = nullptr;           // [F]
    ggml_tensor * negative_threshold_ = nullptr; // [F]
    ggml_tensor * dec_ = nullptr;                // [D, F]
};

} // namespace yapo::train::upper
