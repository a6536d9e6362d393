// yapo_sae_* of yapo_train.h: creation, steps, evaluation, resampling.
#include "sae_abi.h"
#include "train/autograd/sparse.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <tuple>

using namespace yapo;
using namespace yapo::sae;
using yapo::autograd::dot;

namespace {

// A generator of our own: the standard library's distributions differ between platforms.
struct splitmix {
    uint64_t state;
    uint64_t next() {
        uint64_t z = (state += 0x9e3779b97f4a7c15ULL);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        return z ^ (z >> 31);
    }
    double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
    double gaussian() { return std::sqrt(-2.0 * std::log(1.0 - uniform())) * std::cos(6.283185307179586 * uniform()); }
};

void require_rows(const float * rows, int64_t n) {
    require(rows, "rows");
    if (n < 1) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "n_rows is %lld; expected at least 1", ll(n));
    }
}

// Rows of one graph.
void require_batch(const float * rows, int64_t n) {
    require_rows(rows, n);
    if (n > (1 << 20)) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "%lld rows in one step; expected at most %d", ll(n), 1 << 20);
    }
}

// Before anything is computed: a step that was made is not refused.
void require_step(const yapo_sae_step * out) {
    const uint32_t size = require(out, "out").struct_size;
    if (size < sizeof *out) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_sae_step.struct_size is %u; expected at least %zu", size, sizeof *out);
    }
}

void write_step(yapo_sae_step * out, yapo_sae_step step) {
    step.struct_size = out->struct_size;
    memcpy(out, &step, sizeof step);
}

} // namespace

extern "C" {

void yapo_sae_default_options(yapo_sae_options * options) {
    if (!options) {
        return;
    }
    *options = {};
    options->struct_size   = sizeof *options;
    options->n_workers     = 1;
    options->beta1         = 0.9f;
    options->beta2         = 0.999f;
    options->epsilon       = 1e-8f;
    options->bandwidth     = 0.1f;
    options->gradient_clip = 1.0f;
    options->threshold_rate = 1.0f;
}

yapo_status yapo_sae_create(const yapo_sae_options * options, const float * mean, float initial_threshold, yapo_sae_trainer ** out, yapo_error ** err) {
    return guard(err, [&] {
        const auto & o = require(options, "options");
        require(mean, "mean");
        require(out, "out");
        if (o.struct_size < sizeof(yapo_sae_options)) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_sae_options.struct_size is %u; expected at least %zu", o.struct_size, sizeof(yapo_sae_options));
        }
        if (o.d_model < 1 || o.f < 1 || o.f > INT32_MAX || o.d_model > (int64_t{1} << 40) / o.f) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "an SAE of %lld latents of width %lld cannot be made", ll(o.f), ll(o.d_model));
        }
        if (o.n_workers < 1 || o.n_workers > 1024) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "n_workers is %d, expected 1 to 1024", o.n_workers);
        }
        if (!(o.beta1 >= 0 && o.beta1 < 1) || !(o.beta2 >= 0 && o.beta2 < 1) || !(o.epsilon > 0) || !(o.bandwidth > 0) || !(o.gradient_clip >= 0) || !(o.threshold_rate >= 0)) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "beta1 %g and beta2 %g must be in [0, 1), epsilon %g and bandwidth %g above 0, gradient_clip %g and threshold_rate %g at least 0", o.beta1, o.beta2,
                 o.epsilon, o.bandwidth, o.gradient_clip, o.threshold_rate);
        }
        if (o.k < 0 || o.k > o.f) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "k is %d, expected 0 to %lld", o.k, ll(o.f));
        }
        if (!(initial_threshold > 0) || !std::isfinite(initial_threshold)) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "initial threshold %g must be positive and finite", initial_threshold);
        }
        auto handle = std::make_unique<yapo_sae_trainer>();
        trainer & t = handle->t;
        t.d = o.d_model;
        t.f = o.f;
        t.n_workers = o.n_workers;
        t.beta1 = o.beta1;
        t.beta2 = o.beta2;
        t.epsilon = o.epsilon;
        t.bandwidth = o.bandwidth;
        t.clip = o.gradient_clip;
        t.threshold_rate = o.threshold_rate;
        t.initial_theta = initial_threshold;
        t.k = o.k;
        t.quiet.assign(t.f, 0);
        t.mean.assign(mean, mean + t.d);
        for (auto * p : {&t.value, &t.moment1, &t.moment2}) {
            p->resize(t.f, t.d);
        }
        splitmix random{o.seed};
        for (auto & x : t.value.dec) {
            x = static_cast<float>(random.gaussian());
        }
        for (int64_t j = 0; j < t.f; ++j) {
            unit(t.value.dec.data() + j * t.d, t.d);
        }
        t.value.enc = t.value.dec;
        std::fill(t.value.log_theta.begin(), t.value.log_theta.end(), std::log(initial_threshold));
        *out = handle.release();
    });
}

void yapo_sae_free(yapo_sae_trainer * trainer) { delete trainer; }

yapo_status yapo_sae_train_step(yapo_sae_trainer * trainer, const float * rows, int64_t n_rows, float learning_rate, float sparsity, yapo_sae_step * out, yapo_error ** err) {
    return guard(err, [&] {
        auto & t = require(trainer, "trainer").t;
        require_batch(rows, n_rows);
        require_step(out);
        if (!(learning_rate >= 0) || !std::isfinite(learning_rate) || !(sparsity >= 0) || !std::isfinite(sparsity)) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "learning rate %g and sparsity %g must be finite and at least 0", learning_rate, sparsity);
        }
        loss_graph & graph = t.graph(n_rows, true);
        const totals sum = graph.run(t, rows, sparsity);
        t.update(graph.gradient(), learning_rate);
        t.count_quiet(graph);
        write_step(out, sum.report(sparsity));
    });
}

yapo_status yapo_sae_gradient(yapo_sae_trainer * trainer, const float * rows, int64_t n_rows, float sparsity, yapo_sae_step * out, float * enc, float * enc_bias, float * log_threshold,
                              float * dec, float * dec_bias, yapo_error ** err) {
    return guard(err, [&] {
        auto & t = require(trainer, "trainer").t;
        require_batch(rows, n_rows);
        require_step(out);
        loss_graph & graph = t.graph(n_rows, true);
        const totals sum = graph.run(t, rows, sparsity);
        const gradients g = graph.gradient();
        t.project(g);
        write_step(out, sum.report(sparsity));
        const std::tuple<float *, const float *, int64_t> groups[] = {
            {enc, g.enc, t.f * t.d}, {enc_bias, g.enc_bias, t.f}, {log_threshold, g.log_theta, t.f}, {dec, g.dec, t.f * t.d}, {dec_bias, g.dec_bias, t.d}};
        for (const auto & [target, source, size] : groups) {
            if (target && source) {
                std::copy_n(source, size, target);
            } else if (target) {
                std::fill_n(target, size, 0.0f); // top-k has no thresholds
            }
        }
    });
}

yapo_status yapo_sae_evaluate(yapo_sae_trainer * trainer, const float * rows, int64_t n_rows, yapo_sae_step * out, int64_t * fired, float * largest, yapo_error ** err) {
    return guard(err, [&] {
        auto & t = require(trainer, "trainer").t;
        require_rows(rows, n_rows);
        require_step(out);
        std::vector<int64_t> count(t.f, 0);
        std::vector<float>   most(t.f, 0.0f);
        const totals sum = t.forward(rows, n_rows, [&](int64_t, const loss_graph & graph) {
            autograd::each_active(graph.codes(), [&](int64_t, int64_t latent, float z) {
                ++count[latent];
                most[latent] = std::max(most[latent], z);
            });
        });
        write_step(out, sum.report(0.0f));
        if (fired) {
            std::copy(count.begin(), count.end(), fired);
        }
        if (largest) {
            std::copy(most.begin(), most.end(), largest);
        }
    });
}

yapo_status yapo_sae_resample(yapo_sae_trainer * trainer, const int32_t * latents, const float * rows, int64_t n, yapo_error ** err) {
    return guard(err, [&] {
        auto & t = require(trainer, "trainer").t;
        if (n == 0) {
            return;
        }
        require(latents, "latents");
        require_rows(rows, n);
        for (int64_t k = 0; k < n; ++k) {
            if (latents[k] < 0 || latents[k] >= t.f) {
                fail(YAPO_ERR_INVALID_ARGUMENT, "latent %d is out of range: the SAE has %lld", latents[k], ll(t.f));
            }
        }
        std::vector<float> error(n * t.d), centred(n * t.d); // of the SAE before any of them changes
        t.forward(rows, n, [&](int64_t first, const loss_graph & graph) {
            std::copy_n(graph.error(), graph.n_rows() * t.d, error.begin() + first * t.d);
            std::copy_n(graph.centred(), graph.n_rows() * t.d, centred.begin() + first * t.d);
        });
        for (int64_t k = 0; k < n; ++k) {
            const int64_t j   = latents[k];
            const float * e   = error.data() + k * t.d;
            float *       dec = t.value.dec.data() + j * t.d;
            float *       enc = t.value.enc.data() + j * t.d;
            for (int64_t i = 0; i < t.d; ++i) {
                dec[i] = -e[i]; // what is missing from the reconstruction
            }
            unit(dec, t.d);
            std::copy(dec, dec + t.d, enc);
            const float projection = dot(enc, centred.data() + k * t.d, t.d);
            t.quiet[j]           = 0;
            t.value.enc_bias[j]  = 0.0f;
            t.value.log_theta[j] = std::log(std::max(t.initial_theta, 0.5f * projection));
            for (auto * m : {&t.moment1, &t.moment2}) {
                std::fill_n(m->enc.begin() + j * t.d, t.d, 0.0f);
                std::fill_n(m->dec.begin() + j * t.d, t.d, 0.0f);
                m->enc_bias[j]  = 0.0f;
                m->log_theta[j] = 0.0f;
            }
        }
    });
}

yapo_status yapo_sae_row_errors(yapo_sae_trainer * trainer, const float * rows, int64_t n_rows, float * errors, yapo_error ** err) {
    return guard(err, [&] {
        auto & t = require(trainer, "trainer").t;
        require_rows(rows, n_rows);
        require(errors, "errors");
        std::vector<float> all(n_rows);
        t.forward(rows, n_rows, [&](int64_t first, const loss_graph & graph) { std::copy_n(graph.row_error(), graph.n_rows(), all.begin() + first); });
        std::copy(all.begin(), all.end(), errors);
    });
}

} // extern "C"
