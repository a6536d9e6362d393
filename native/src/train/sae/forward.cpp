// Encoder product by ggml, codes and reconstruction by sparse rows.
#include "sae.h"
#include "encoder_product.h"
#include "parallel.h"
#include "vector_math.h"

#include <algorithm>
#include <cmath>
#include <memory>

namespace yapo::sae {

namespace {

constexpr int64_t scan = 32; // latents looked at together: most groups hold no candidate

} // namespace

void trainer::forward(const float * rows, int64_t n, bool windows, codes & out) const {
    const int64_t n_blocks = (n + micro_batch - 1) / micro_batch;
    out.blocks.assign(n_blocks, {});
    out.centred.resize(n * d);
    out.error.resize(n * d);
    out.row_error.resize(n);
    std::vector<double> norms(n);

    const float half = windows ? 0.5f * bandwidth : 0.0f;
    std::vector<float> theta(f), low(f);
    for (int64_t j = 0; j < f; ++j) {
        theta[j] = std::exp(value.log_theta[j]);
        low[j]   = theta[j] - half - value.enc_bias[j]; // candidates: product > low
    }

    ggml_cpu_init();
    std::vector<std::unique_ptr<encoder_product>> products(n_workers);
    parallel(n_workers, n_blocks, [&](int32_t worker, int64_t block) {
        auto & product = products[worker];
        if (!product) {
            product = std::make_unique<encoder_product>(value.enc.data(), d, f, micro_batch);
        }
        const int64_t first = block * micro_batch;
        const int64_t count = std::min<int64_t>(micro_batch, n - first);
        for (int64_t r = 0; r < count; ++r) {
            const float * x  = rows + (first + r) * d;
            float *       xc = out.centred.data() + (first + r) * d;
            double norm = 0;
            for (int64_t i = 0; i < d; ++i) {
                xc[i] = x[i] - mean[i];
                norm += static_cast<double>(xc[i]) * xc[i];
            }
            if (!std::isfinite(norm)) {
                fail(YAPO_ERR_INVALID_ARGUMENT, "row %lld holds a value that is not finite", static_cast<long long>(first + r));
            }
            norms[first + r] = norm;
            std::copy(xc, xc + d, product->input() + r * d);
        }
        std::fill(product->input() + count * d, product->input() + micro_batch * d, 0.0f);
        const float * pre = product->compute();

        auto & list = out.blocks[block];
        for (int64_t r = 0; r < count; ++r) {
            const float * p     = pre + r * f;
            const size_t  begin = list.size();
            for (int64_t j0 = 0; j0 < f; j0 += scan) {
                const int64_t j1 = std::min(j0 + scan, f);
                int any = 0;
                for (int64_t j = j0; j < j1; ++j) {
                    any |= p[j] > low[j];
                }
                if (!any) {
                    continue;
                }
                for (int64_t j = j0; j < j1; ++j) {
                    if (p[j] > low[j]) {
                        const float value_pre = p[j] + value.enc_bias[j];
                        const bool  active    = value_pre > theta[j];
                        const bool  window    = windows && std::fabs(value_pre - theta[j]) < half;
                        if (active || window) {
                            list.push_back({static_cast<int32_t>(first + r), static_cast<int32_t>(j), value_pre, 0.0f, active, window});
                        }
                    }
                }
            }
            float *       e  = out.error.data() + (first + r) * d;
            const float * xc = out.centred.data() + (first + r) * d;
            for (int64_t i = 0; i < d; ++i) {
                e[i] = value.dec_bias[i] - xc[i];
            }
            for (size_t k = begin; k < list.size(); ++k) {
                if (list[k].active) {
                    axpy(e, list[k].pre, value.dec.data() + list[k].latent * d, d);
                }
            }
            if (windows) { // only gradients need e . dec_j
                for (size_t k = begin; k < list.size(); ++k) {
                    list[k].dot = dot(e, value.dec.data() + list[k].latent * d, d);
                }
            }
            out.row_error[first + r] = dot(e, e, d);
        }
    });

    out.variance = 0;
    out.sum_error = 0;
    out.n_active = 0;
    for (int64_t r = 0; r < n; ++r) {
        out.variance += norms[r];
        out.sum_error += out.row_error[r];
    }
    out.variance /= static_cast<double>(n);
    for (const auto & list : out.blocks) {
        out.n_active += std::count_if(list.begin(), list.end(), [](const code_entry & c) { return c.active; });
    }
    if (!(out.variance > 0)) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "all %lld rows equal the mean: there is nothing to reconstruct", static_cast<long long>(n));
    }
}

yapo_sae_step trainer::report(const codes & c, int64_t n, float sparsity) const {
    yapo_sae_step step{};
    step.struct_size = sizeof step;
    const double unexplained = c.sum_error / (c.variance * static_cast<double>(n));
    step.l0                 = static_cast<double>(c.n_active) / static_cast<double>(n);
    step.explained_variance = 1.0 - unexplained;
    step.loss               = unexplained + sparsity * step.l0;
    return step;
}

} // namespace yapo::sae
