// The steered latents of a worker, and the steering kernel as ggml nodes that differentiate with respect to v.
//
//   sparse: z = codes of h (given, or encoded in the graph)     h' = steer(h, z, v, s): autograd/steer.h
//   dense:  h' = h + v s_t                                      s_t: multiplier times position weight
#pragma once

#include "train/compute.h"
#include "yapo_train.h"

#include <vector>

namespace yapo::train::upper {

// One steered block.
class site {
public:
    // The matrices are copied. YAPO_ERR_INVALID_ARGUMENT for non-finite entries.
    explicit site(const yapo_latents & latents);

    int32_t layer() const { return layer_; }
    bool    sparse() const { return sparse_; }
    bool    encodes() const { return enc_ != nullptr; }
    int64_t size() const { return size_; } // of its part of v: F or D

    // In host memory; of a sparse one. enc, enc_bias and threshold are NULL unless it encodes.
    const ggml_tensor * dec() const { return dec_; }             // [D, F]
    const ggml_tensor * enc() const { return enc_; }             // [D, F]
    const ggml_tensor * enc_bias() const { return enc_bias_; }   // [F]
    const ggml_tensor * threshold() const { return threshold_; } // [F], at least 0

    // Where a latent of the codes is in v; -1 where it is not trained.
    int32_t place(int32_t latent) const { return latent >= 0 && size_t(latent) < place_.size() ? place_[latent] : -1; }

    // h [D, T] -> h'. v [1, size], s [1, T]. codes: NULL for a dense vector.
    ggml_tensor * apply(ggml_context * ctx, ggml_tensor * h, ggml_tensor * codes, ggml_tensor * v, ggml_tensor * s) const;
    // Codes of h, computed in the graph; `capacity` as in autograd/sparse.h.
    ggml_tensor * encode(ggml_context * ctx, ggml_tensor * h, int32_t capacity) const;

private:
    int32_t       layer_;
    bool          sparse_;
    int64_t       size_;
    std::vector<int32_t> place_;
    context_ptr   ctx_;
    buffer_ptr    buffer_;
    ggml_tensor * enc_ = nullptr;       // [D, F]
    ggml_tensor * enc_bias_ = nullptr;  // [F]
    ggml_tensor * threshold_ = nullptr; // [F], at least 0
    ggml_tensor * dec_ = nullptr;       // [D, F]
};

// visit(position, place in v, value) for every trained code of a sequence, in order. (The caller has checked the sequence.)
template <typename F>
void each_code(const yapo_sequence & s, const site & at, F && visit) {
    for (int32_t t = 0; t < s.n_tokens; ++t) {
        for (int32_t i = s.code_start[t]; i < s.code_start[t + 1]; ++i) {
            const int32_t place = at.place(s.code_latent[i]);
            if (place >= 0) {
                visit(t, place, s.code_value[i]);
            }
        }
    }
}

// All of them, lowest first.
class steering {
public:
    steering(const yapo_latents * latents, int32_t n, int32_t lowest, int32_t n_layer, int64_t d_model);

    const std::vector<site> & sites() const { return sites_; }
    int64_t size() const { return size_; } // of v and its gradient

private:
    std::vector<site> sites_;
    int64_t           size_ = 0;
};

} // namespace yapo::train::upper
