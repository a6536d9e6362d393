// yapo_sae_encode: codes of rows under any SAE.
#include "sae.h"
#include "train/autograd/gemm.h"
#include "train/parallel.h"

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
        const int64_t n_tasks = (n_rows + rows_per_task - 1) / rows_per_task;
        train::parallel(n_workers, n_tasks, [&](int32_t, int64_t task) {
            const int64_t first = task * rows_per_task;
            const int64_t count = std::min(rows_per_task, n_rows - first);
            autograd::gemm(count, f, d_model, {rows + first * d_model, d_model, 1}, {enc, d_model, 1}, z + first * f, f);
            for (int64_t r = first; r < first + count; ++r) {
                float * o = z + r * f;
                for (int64_t j = 0; j < f; ++j) {
                    const float value = o[j] + enc_bias[j];
                    o[j] = value > threshold[j] && value > 0.0f ? value : 0.0f;
                }
            }
        });
    });
}
