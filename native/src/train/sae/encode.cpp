// yapo_sae_encode: codes of rows under any SAE.
#include "sae.h"
#include "encoder_product.h"
#include "parallel.h"

#include <algorithm>
#include <cmath>

using namespace yapo;

namespace {

constexpr int64_t rows_per_task = 64;

} // namespace

extern "C" yapo_status yapo_sae_encode(int64_t d_model, int64_t f, const float * enc, const float * enc_bias, const float * threshold, const float * rows, int64_t n_rows,
                                       int32_t n_workers, float * z, yapo_error ** err) {
    return guard(err, [&] {
        if (!enc || !enc_bias || !threshold || !rows || !z) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "enc, enc_bias, threshold, rows and z must not be NULL");
        }
        if (d_model < 1 || f < 1 || f > INT32_MAX || d_model > (int64_t{1} << 40) / f || n_rows < 1 || n_workers < 1 || n_workers > 1024) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "%lld rows of width %lld under %lld latents by %d workers: each must be at least 1 and the whole fit in memory",
                 static_cast<long long>(n_rows), static_cast<long long>(d_model), static_cast<long long>(f), n_workers);
        }
        ggml_cpu_init();
        const int64_t n_tasks = (n_rows + rows_per_task - 1) / rows_per_task;
        std::vector<std::unique_ptr<sae::encoder_product>> products(n_workers);
        sae::parallel(n_workers, n_tasks, [&](int32_t worker, int64_t task) {
            auto & product = products[worker];
            if (!product) {
                product = std::make_unique<sae::encoder_product>(enc, d_model, f, rows_per_task);
            }
            const int64_t first = task * rows_per_task;
            const int64_t count = std::min(rows_per_task, n_rows - first);
            std::copy(rows + first * d_model, rows + (first + count) * d_model, product->input());
            std::fill(product->input() + count * d_model, product->input() + rows_per_task * d_model, 0.0f);
            const float * pre = product->compute();
            for (int64_t r = 0; r < count; ++r) {
                const float * p = pre + r * f;
                float *       o = z + (first + r) * f;
                for (int64_t j = 0; j < f; ++j) {
                    const float value = p[j] + enc_bias[j];
                    o[j] = value > threshold[j] && value > 0.0f ? value : 0.0f;
                }
            }
        });
    });
}
