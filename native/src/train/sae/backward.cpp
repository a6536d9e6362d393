// Gradients latent by latent, and the Adam step.
#include "sae.h"
#include "parallel.h"
#include "vector_math.h"

#include <algorithm>
#include <cmath>

namespace yapo::sae {

namespace {

constexpr int64_t latents_per_task = 64;

int64_t tasks(int64_t f) { return (f + latents_per_task - 1) / latents_per_task; }

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

void trainer::backward(const codes & c, int64_t n, float sparsity) {
    // Entries by latent, in row order: a counting sort over blocks that are in row order already.
    std::vector<int64_t> start(f + 1, 0);
    for (const auto & list : c.blocks) {
        for (const auto & entry : list) {
            ++start[entry.latent + 1];
        }
    }
    for (int64_t j = 0; j < f; ++j) {
        start[j + 1] += start[j];
    }
    std::vector<const code_entry *> by_latent(start[f]);
    std::vector<int64_t> fill(start.begin(), start.end() - 1);
    for (const auto & list : c.blocks) {
        for (const auto & entry : list) {
            by_latent[fill[entry.latent]++] = &entry;
        }
    }

    const float s = static_cast<float>(2.0 / (static_cast<double>(n) * c.variance));
    const float l = static_cast<float>(sparsity / static_cast<double>(n));
    parallel(n_workers, tasks(f), [&](int32_t, int64_t task) {
        for (int64_t j = task * latents_per_task; j < std::min(f, (task + 1) * latents_per_task); ++j) {
            float * g_enc = gradient.enc.data() + j * d;
            float * g_dec = gradient.dec.data() + j * d;
            std::fill(g_enc, g_enc + d, 0.0f);
            std::fill(g_dec, g_dec + d, 0.0f);
            const float theta = std::exp(value.log_theta[j]);
            double g_bias = 0, g_theta = 0;
            for (int64_t k = start[j]; k < start[j + 1]; ++k) {
                const code_entry & entry = *by_latent[k];
                const float dz = s * entry.dot;
                if (entry.active) {
                    axpy(g_enc, dz, c.centred.data() + entry.row * d, d);
                    axpy(g_dec, s * entry.pre, c.error.data() + entry.row * d, d);
                    g_bias += dz;
                }
                if (entry.window) {
                    g_theta -= (theta * dz + l) / bandwidth;
                }
            }
            gradient.enc_bias[j]  = static_cast<float>(g_bias);
            gradient.log_theta[j] = static_cast<float>(g_theta * theta);
            const float * row = value.dec.data() + j * d;
            axpy(g_dec, -dot(g_dec, row, d), row, d);
        }
    });

    std::vector<double> g_dec_bias(d, 0.0);
    for (int64_t r = 0; r < n; ++r) {
        const float * e = c.error.data() + r * d;
        for (int64_t i = 0; i < d; ++i) {
            g_dec_bias[i] += e[i];
        }
    }
    for (int64_t i = 0; i < d; ++i) {
        gradient.dec_bias[i] = static_cast<float>(s * g_dec_bias[i]);
    }
}

void trainer::update(float rate) {
    std::vector<double> squares(f);
    parallel(n_workers, tasks(f), [&](int32_t, int64_t task) {
        for (int64_t j = task * latents_per_task; j < std::min(f, (task + 1) * latents_per_task); ++j) {
            const float * e = gradient.enc.data() + j * d;
            const float * r = gradient.dec.data() + j * d;
            squares[j] = static_cast<double>(dot(e, e, d)) + dot(r, r, d) + static_cast<double>(gradient.enc_bias[j]) * gradient.enc_bias[j]
                       + static_cast<double>(gradient.log_theta[j]) * gradient.log_theta[j];
        }
    });
    double square = dot(gradient.dec_bias.data(), gradient.dec_bias.data(), d);
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
    auto step = [&](std::vector<float> parameters::*group, int64_t first, int64_t count, float factor = 1.0f) {
        adam((value.*group).data() + first, (moment1.*group).data() + first, (moment2.*group).data() + first, (gradient.*group).data() + first, count,
             rate * factor, scale, beta1, beta2, epsilon, c1, c2);
    };
    parallel(n_workers, tasks(f), [&](int32_t, int64_t task) {
        const int64_t first = task * latents_per_task;
        const int64_t count = std::min(f, first + latents_per_task) - first;
        step(&parameters::enc, first * d, count * d);
        step(&parameters::dec, first * d, count * d);
        step(&parameters::enc_bias, first, count);
        step(&parameters::log_theta, first, count, threshold_rate);
        for (int64_t j = first; j < first + count; ++j) {
            float * row = value.dec.data() + j * d;
            const float length = std::sqrt(dot(row, row, d));
            if (length > 0) {
                for (int64_t i = 0; i < d; ++i) {
                    row[i] /= length;
                }
            }
        }
    });
    step(&parameters::dec_bias, 0, d);
}

} // namespace yapo::sae
