#include "train/upper/worker.h"

#include <algorithm>
#include <cmath>

namespace yapo::train::upper {

void worker::check(const yapo_sequence & s) const {
    const int32_t V = model_->config().n_vocab;
    if (s.n_tokens < 2 || s.n_tokens > (1 << 20) || !s.tokens || !s.residual) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "a sequence needs at least two tokens and their residuals (n_tokens %d)", s.n_tokens);
    }
    if (s.completion_start < 1 || s.completion_start >= s.n_tokens) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "completion_start is %d, expected 1 to %d (the first token has nothing to be predicted from)", s.completion_start, s.n_tokens - 1);
    }
    for (int32_t t = 0; t < s.n_tokens; ++t) {
        if (s.tokens[t] < 0 || s.tokens[t] >= V) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "token %d at position %d is not in the vocabulary of %d", s.tokens[t], t, V);
        }
        if (s.position_weight && !std::isfinite(s.position_weight[t])) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "position_weight[%d] is %g", t, s.position_weight[t]);
        }
    }
    if (s.code_start) {
        if (s.code_start[0] != 0 || !s.code_latent || !s.code_value) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "codes begin with entry %d, expected 0 (latents %s, values %s)", s.code_start[0], s.code_latent ? "given" : "NULL", s.code_value ? "given" : "NULL");
        }
        for (int32_t t = 0; t < s.n_tokens; ++t) {
            if (s.code_start[t + 1] < s.code_start[t]) {
                fail(YAPO_ERR_INVALID_ARGUMENT, "the codes of position %d end before they begin", t);
            }
            for (int32_t i = s.code_start[t]; i < s.code_start[t + 1]; ++i) {
                if (s.code_latent[i] < 0 || (i > s.code_start[t] && s.code_latent[i] <= s.code_latent[i - 1]) || !(s.code_value[i] > 0) || !std::isfinite(s.code_value[i])) {
                    fail(YAPO_ERR_INVALID_ARGUMENT, "code %d of position %d is latent %d with %g; latents ascend and values are positive", i - s.code_start[t], t, s.code_latent[i], s.code_value[i]);
                }
            }
        }
    }
    const int64_t n = int64_t(s.n_tokens) * model_->config().d_model;
    for (int64_t i = 0; i < n; ++i) {
        if (!std::isfinite(s.residual[i])) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "the residual at position %lld, entry %lld is %g", (long long) (i / model_->config().d_model),
                (long long) (i % model_->config().d_model), s.residual[i]);
        }
    }
}

void worker::take_latents() {
    if (steering_ != model_->latents()) {
        steering_ = model_->latents();
        forget();
    }
}

std::vector<float> worker::padded_residual(const request & r, int32_t n) const {
    const size_t D = model_->config().d_model;
    std::vector<float> rows(D * n, 0.0f);
    std::copy_n(r.sequence.residual, D * r.sequence.n_tokens, rows.begin());
    return rows;
}

std::vector<float> worker::padded_strengths(const request & r, int32_t n) const {
    const yapo_sequence & s = r.sequence;
    std::vector<float> strength(n, 0.0f);
    for (int32_t t = 0; t < s.n_tokens; ++t) {
        strength[t] = r.multiplier * (s.position_weight ? s.position_weight[t] : t == 0 ? 0.0f : 1.0f);
    }
    return strength;
}

std::vector<float> worker::coordinates(const request & r) const {
    std::vector<float> all(steering_->size(), 0.0f);
    if (r.v) {
        std::copy_n(r.v, steering_->size(), all.begin());
    }
    return all;
}

ggml_tensor * worker::upper_blocks(ggml_context * ctx, const transformer::weights & w, const transformer::inputs & in, ggml_tensor * residual, bool steered,
                                   const std::function<ggml_tensor *(size_t, ggml_tensor *)> & steer) const {
    const transformer::config & c = model_->config();
    size_t next = 0;
    const auto after = [&](int32_t il, ggml_tensor * h) {
        const bool here = steered && next < steering_->sites().size() && steering_->sites()[next].layer() == il;
        return here ? steer(next++, h) : h;
    };
    ggml_tensor * x = after(model_->layer(), residual);
    for (int32_t il = model_->layer() + 1; il < c.n_layer; ++il) {
        x = after(il, transformer::run_block(ctx, c, w.blocks[il], il, x, in));
    }
    return x;
}

double worker::run(const yapo_sequence & s, const float * v, float multiplier, bool gradient, float seed) {
    const bool steered = gradient || (v && multiplier != 0.0f);
    if (steered && !steering_) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "no latents: call yapo_upper_set_latents first");
    }
    if (steered && v) {
        for (int64_t i = 0; i < steering_->size(); ++i) {
            if (!std::isfinite(v[i])) {
                fail(YAPO_ERR_INVALID_ARGUMENT, "v[%lld] is %g", (long long) i, v[i]);
            }
        }
    }
    const bool lowest = steered && steering_->sites().front().layer() == model_->layer() && steering_->sites().front().sparse(), given = lowest && s.code_start;
    if (lowest && !given && !steering_->sites().front().encodes()) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "the latents came without an encoder and the sequence without codes; one of the two is needed");
    }
    const double logprob = evaluate({s, v, multiplier, steered, gradient, given, seed});
    if (!std::isfinite(logprob)) {
        fail(YAPO_ERR_INTERNAL, "the log-probability of the completion is %g; is the steering vector or its strength out of range?", logprob);
    }
    return logprob;
}

double worker::logprob(const yapo_sequence & s, const float * v, float multiplier) {
    take_latents();
    check(s);
    if (!std::isfinite(multiplier)) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "multiplier is %g", multiplier);
    }
    return run(s, v, multiplier, false, 0.0f);
}

double worker::logprob_gradient(const yapo_sequence & s, const float * v, float multiplier, double scale, float * gradient) {
    take_latents();
    check(s);
    if (!std::isfinite(multiplier) || !std::isfinite(scale)) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "multiplier is %g, scale %g", multiplier, scale);
    }
    if (!steering_) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "no latents: call yapo_upper_set_latents first");
    }
    float seed = loss_scale_;
    std::vector<float> dh, dv;
    for (int attempt = 0;; ++attempt) {
        const double logprob = run(s, v, multiplier, true, seed);
        read_gradients(dh, dv);
        const bool finite = std::all_of(dh.begin(), dh.end(), [](float x) { return std::isfinite(x); });
        const bool zero   = std::all_of(dh.begin(), dh.end(), [](float x) { return x == 0.0f; });
        const bool certain = attempt == 1 && logprob > -1e-6; // then a gradient of zero is the truth
        if (finite && (!zero || certain)) {
            const double factor = scale / seed;
            for (const float x : dv) {
                *gradient++ += static_cast<float>(factor * x);
            }
            return logprob;
        }
        if (attempt == 1) {
            fail(YAPO_ERR_INTERNAL, "the gradient of the completion's log-probability %s at loss scale %g (log-probability %g)",
                zero ? "vanished entirely" : "is not finite", seed, logprob);
        }
        seed *= zero ? 4096.0f : 1.0f / 4096.0f;
    }
}

} // namespace yapo::train::upper
