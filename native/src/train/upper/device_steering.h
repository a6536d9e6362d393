// The steered latents on a device, and the steering kernel in plain ops, which differentiates by the tape's own rules. N positions.
//
//   dense    h' = h + v s                                            v [D, 1], s [1, N]
//   sparse   h' = h + dec (max(v s + z, 0) - z)                      that is max(v s, -z): yapo.h's c; at v s + z = 0 nothing flows into v, as there
//            z [F, N] the codes, given, or pre 1[pre > theta] with pre = enc h + bias
//
// Dictionaries are held in F32, decoder rows twice (once by latent, once by dimension), encoder rows of blocks above the lowest too.
#pragma once

#include "train/autograd/autograd.h"
#include "train/upper/device.h"
#include "train/upper/steering.h"

namespace yapo::train::upper {

class device_steering {
public:
    // lowest: block whose input is constant, so that no gradient flows into its encoder.
    device_steering(std::shared_ptr<const device> where, const steering & s, int32_t lowest);

    // h' of site i. z: NULL for a dense vector.
    ggml_tensor * apply(ggml_context * ctx, size_t i, ggml_tensor * h, ggml_tensor * z, ggml_tensor * v, ggml_tensor * s) const;
    ggml_tensor * encode(ggml_context * ctx, size_t i, ggml_tensor * h) const;
    void          give_transposed(autograd::tape & tape) const;

private:
    struct rows {
        ggml_tensor * dec = nullptr, * dec_t = nullptr;                          // [D, F], [F, D]
        ggml_tensor * enc = nullptr, * enc_t = nullptr;                          // [D, F], [F, D] or NULL
        ggml_tensor * bias = nullptr, * threshold = nullptr;                     // [F, 1]
    };
    std::shared_ptr<const device> where_;
    std::vector<rows>             sites_;
    context_ptr                   ctx_;
    buffer_ptr                    buffer_; // NULL: dense vectors only
};

} // namespace yapo::train::upper
