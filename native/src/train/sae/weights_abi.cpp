// yapo_sae_* of yapo_train.h: weights in and out, silent latents, the state on disk.
#include "sae_abi.h"

#include <algorithm>
#include <cmath>

using namespace yapo;
using namespace yapo::sae;
using yapo::autograd::dot;

extern "C" {

yapo_status yapo_sae_weights(yapo_sae_trainer * trainer, float * enc, float * enc_bias, float * threshold, float * dec, float * dec_bias, yapo_error ** err) {
    return guard(err, [&] {
        const auto & t = require(trainer, "trainer").t;
        require(enc, "enc");
        require(dec, "dec");
        require(enc_bias, "enc_bias");
        require(threshold, "threshold");
        require(dec_bias, "dec_bias");
        std::copy(t.value.enc.begin(), t.value.enc.end(), enc);
        std::copy(t.value.dec.begin(), t.value.dec.end(), dec);
        for (int64_t j = 0; j < t.f; ++j) {
            double shift = 0;
            for (int64_t i = 0; i < t.d; ++i) {
                shift += static_cast<double>(t.value.enc[j * t.d + i]) * t.mean[i];
            }
            enc_bias[j]  = static_cast<float>(t.value.enc_bias[j] - shift);
            threshold[j] = t.k > 0 ? 0.0f : std::exp(t.value.log_theta[j]);
        }
        for (int64_t i = 0; i < t.d; ++i) {
            dec_bias[i] = t.value.dec_bias[i] + t.mean[i];
        }
    });
}

yapo_status yapo_sae_set_weights(yapo_sae_trainer * trainer, const float * enc, const float * enc_bias, const float * threshold, const float * dec, const float * dec_bias, yapo_error ** err) {
    return guard(err, [&] {
        auto & t = require(trainer, "trainer").t;
        require(enc, "enc");
        require(enc_bias, "enc_bias");
        require(threshold, "threshold");
        require(dec, "dec");
        require(dec_bias, "dec_bias");
        parameters p;
        p.resize(t.f, t.d);
        for (int64_t j = 0; j < t.f; ++j) {
            const float length = std::sqrt(dot(dec + j * t.d, dec + j * t.d, t.d));
            if (!(length > 0) || !std::isfinite(length) || !(threshold[j] >= 0) || !std::isfinite(threshold[j])) {
                fail(YAPO_ERR_INVALID_ARGUMENT, "latent %lld: a decoder row of length %g and a threshold of %g cannot be trained (expected a positive length, a threshold of at least 0)",
                     ll(j), length, threshold[j]);
            }
            double shift = 0;
            for (int64_t i = 0; i < t.d; ++i) {
                p.dec[j * t.d + i] = dec[j * t.d + i] / length;
                p.enc[j * t.d + i] = enc[j * t.d + i] * length;
                shift += static_cast<double>(p.enc[j * t.d + i]) * t.mean[i];
            }
            p.enc_bias[j]  = static_cast<float>(static_cast<double>(enc_bias[j]) * length + shift);
            p.log_theta[j] = std::log(std::max(threshold[j] * length, 1e-12f)); // a plain ReLU has a threshold of 0
        }
        for (int64_t i = 0; i < t.d; ++i) {
            p.dec_bias[i] = dec_bias[i] - t.mean[i];
        }
        for (const std::vector<float> * part : {&p.enc, &p.enc_bias, &p.dec_bias}) { // of dec and the thresholds, above
            if (!std::all_of(part->begin(), part->end(), [](float x) { return std::isfinite(x); })) {
                fail(YAPO_ERR_INVALID_ARGUMENT, "the encoder or a bias holds entries that are not finite, or too large beside decoder rows of length 1");
            }
        }
        t.value = std::move(p);
        t.moment1.resize(t.f, t.d);
        t.moment2.resize(t.f, t.d);
        t.quiet.assign(t.f, 0);
        t.steps = 0;
    });
}

yapo_status yapo_sae_quiet(yapo_sae_trainer * trainer, int64_t * rows, yapo_error ** err) {
    return guard(err, [&] {
        const auto & t = require(trainer, "trainer").t;
        std::copy(t.quiet.begin(), t.quiet.end(), &require(rows, "rows"));
    });
}

yapo_status yapo_sae_save_state(yapo_sae_trainer * trainer, const char * path, yapo_error ** err) {
    return guard(err, [&] { save_state(require(trainer, "trainer").t, &require(path, "path")); });
}

yapo_status yapo_sae_load_state(yapo_sae_trainer * trainer, const char * path, yapo_error ** err) {
    return guard(err, [&] { load_state(require(trainer, "trainer").t, &require(path, "path")); });
}

} // extern "C"
