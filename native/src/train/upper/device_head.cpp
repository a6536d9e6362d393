#include "train/upper/device_head.h"

#include "train/autograd/autograd.h"
#include "train/transformer/transformer.h"

#include <algorithm>

namespace yapo::train::upper {

namespace {

// y[index[n], n] of y [V, n] -> [1, n]
ggml_tensor * entries(ggml_context * ctx, ggml_tensor * y, ggml_tensor * index) {
    const int64_t n = y->ne[1];
    return ggml_reshape_2d(ctx, ggml_get_rows(ctx, ggml_reshape_3d(ctx, y, 1, y->ne[0], n), ggml_reshape_2d(ctx, index, 1, n)), 1, n);
}

// 1 - (y / c)^2
ggml_tensor * slope(ggml_context * ctx, ggml_tensor * y, float softcap) { return ggml_scale_bias(ctx, ggml_sqr(ctx, y), -1.0f / (softcap * softcap), 1.0f); }

head_chunk chunk(ggml_context * ctx, ggml_tensor * w, ggml_tensor * w_t, ggml_tensor * x, ggml_tensor * targets, ggml_tensor * seeds, float softcap) {
    ggml_tensor * y   = transformer::softcap(ctx, autograd::product(ctx, w, x), softcap);
    ggml_tensor * top = entries(ctx, y, ggml_argmax(ctx, y));
    ggml_tensor * at  = entries(ctx, y, targets);
    ggml_tensor * e   = ggml_exp(ctx, ggml_sub(ctx, y, top));
    ggml_tensor * sum = ggml_sum_rows(ctx, e);
    head_chunk out{ggml_sub(ctx, ggml_log(ctx, sum), ggml_sub(ctx, at, top)), nullptr};
    if (seeds) {
        ggml_tensor * all = ggml_mul(ctx, e, ggml_div(ctx, seeds, sum)), * own = seeds;
        if (softcap > 0.0f) {
            all = ggml_mul(ctx, all, slope(ctx, y, softcap));
            own = ggml_mul(ctx, own, slope(ctx, at, softcap));
        }
        out.dx = ggml_sub(ctx, autograd::product(ctx, w_t, all), ggml_mul(ctx, ggml_get_rows(ctx, w, targets), own));
    }
    return out;
}

} // namespace

int64_t head_chunk_rows(int64_t n_vocab) { return std::clamp<int64_t>((int64_t(8) << 20) / n_vocab / 16 * 16, 16, 1024); }

std::vector<head_chunk> device_head(ggml_context * ctx, ggml_tensor * w, ggml_tensor * w_t, ggml_tensor * x, ggml_tensor * targets, ggml_tensor * seeds, float softcap) {
    std::vector<head_chunk> chunks;
    const int64_t rows = head_chunk_rows(w->ne[1]);
    for (int64_t first = 0; first < x->ne[1]; first += rows) {
        const int64_t n = std::min(rows, x->ne[1] - first);
        const auto part = [&](ggml_tensor * t) { return t->ne[1] == n ? t : ggml_view_2d(ctx, t, t->ne[0], n, t->nb[1], first * t->nb[1]); };
        chunks.push_back(chunk(ctx, w, w_t, part(x), ggml_view_1d(ctx, targets, n, first * sizeof(int32_t)), seeds ? part(seeds) : nullptr, softcap));
    }
    return chunks;
}

} // namespace yapo::train::upper
