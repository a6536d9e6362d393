// The Adam step, latent by latent.
#include "sae.h"
#include "train/autograd/vector_math.h"
#include "train/parallel.h"

#include <algorithm>
#include <cmath>

namespace yapo::sae {

using autograd::axpy;
using autograd::dot;

namespace {

constexpr int64_t latents_per_task = 64;

// body(first, last) for ranges of latents, on the worker threads
template <typename F>
void each_range(const trainer & t, F && body) {
    train::parallel(t.n_workers, (t.f + latents_per_task - 1) / latents_per_task, [&](int32_t, int64_t task) {
        body(task * latents_per_task, std::min(t.f, (task + 1) * latents_per_task));
    });
}

void project_row(float * g, const float * row, int64_t d) { axpy(g, -dot(g, row, d), row, d); }

// Adam with bias correction on one array.
void adam(float * p, float * m, float * v, const float * g, int64_t n, float rate, float scale, float beta1, float beta2, float epsilon, float correction1, float correction2) {
    const float step = rate / correction1;
    const float root = 1.0f / std::sqrt(correction2);
    for (int64_t i = 0; i < n; ++i) {
        const float gi = g[i] * scale;
        m[i] = beta1 * m[i] + (1.0f - beta1) * gi;
        v[i] = beta2 * v[i] + (1.0f - beta2) * gi * gi;
        p[i] -= step * m[i] / (std::sqrt(v[i]) * root + epsilon);
    }
}

} // namespace

void trainer::project(const gradients & g) const {
    each_range(*this, [&](int64_t first, int64_t last) {
        for (int64_t j = first; j < last; ++j) {
            project_row(g.dec + j * d, value.dec.data() + j * d, d);
        }
    });
}

void trainer::update(const gradients & g, float rate) {
    std::vector<double> squares(f);
    each_range(*this, [&](int64_t first, int64_t last) {
        for (int64_t j = first; j < last; ++j) {
            const float * e = g.enc + j * d;
            float *       r = g.dec + j * d;
            project_row(r, value.dec.data() + j * d, d);
            squares[j] = static_cast<double>(dot(e, e, d)) + dot(r, r, d) + static_cast<double>(g.enc_bias[j]) * g.enc_bias[j];
            squares[j] += g.log_theta ? static_cast<double>(g.log_theta[j]) * g.log_theta[j] : 0.0;
        }
    });
    double square = dot(g.dec_bias, g.dec_bias, d);
    for (const double x : squares) {
        square += x;
    }
    const double norm = std::sqrt(square);
    if (!std::isfinite(norm)) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "the gradient is not finite after %lld steps; lower the learning rate", static_cast<long long>(steps));
    }
    const float scale = clip > 0 && norm > clip ? static_cast<float>(clip / norm) : 1.0f;

    ++steps;
    const float c1 = static_cast<float>(1.0 - std::pow(static_cast<double>(beta1), static_cast<double>(steps)));
    const float c2 = static_cast<float>(1.0 - std::pow(static_cast<double>(beta2), static_cast<double>(steps)));
    const auto step = [&](std::vector<float> parameters::*group, const float * gradient, int64_t first, int64_t count, float factor = 1.0f) {
        adam((value.*group).data() + first, (moment1.*group).data() + first, (moment2.*group).data() + first, gradient + first, count, rate * factor, scale, beta1, beta2,
             epsilon, c1, c2);
    };
    each_range(*this, [&](int64_t first, int64_t last) {
        step(&parameters::enc, g.enc, first * d, (last - first) * d);
        step(&parameters::dec, g.dec, first * d, (last - first) * d);
        step(&parameters::enc_bias, g.enc_bias, first, last - first);
        if (g.log_theta) {
            step(&parameters::log_theta, g.log_theta, first, last - first, threshold_rate);
        }
        for (int64_t j = first; j < last; ++j) {
            float * row = value.dec.data() + j * d;
            const float length = std::sqrt(dot(row, row, d));
            if (length > 0) {
                for (int64_t i = 0; i < d; ++i) {
                    row[i] /= length;
                }
            }
        }
    });
    step(&parameters::dec_bias, g.dec_bias, 0, d);
}

} // namespace yapo::sae
