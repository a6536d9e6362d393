#include "train/upper/steering.h"

#include "train/autograd/kernels.h"
#include "yapo.h"

#include <cmath>
#include <cstring>

namespace yapo::train::upper {

namespace {

void need_finite(const float * x, int64_t n, const char * what) {
    if (!x) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "%s is NULL", what);
    }
    for (int64_t i = 0; i < n; ++i) {
        if (!std::isfinite(x[i])) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "%s: entry %lld is %g", what, (long long) i, x[i]);
        }
    }
}

} // namespace

steering::steering(int32_t kind, int64_t f, int64_t d_model, const float * enc, const float * enc_bias, const float * threshold, const float * dec)
    : sparse_(kind == YAPO_VECTOR_SPARSE) {
    if (kind != YAPO_VECTOR_SPARSE && kind != YAPO_VECTOR_DENSE) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "kind is %d, expected dense (0) or sparse (1)", kind);
    }
    if (!sparse_) {
        size_ = padded_ = d_model;
        return;
    }
    if (f <= 0 || f > (int64_t(1) << 26)) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "%lld latents; expected 1 to 2^26", (long long) f);
    }
    need_finite(enc, f * d_model, "enc");
    need_finite(enc_bias, f, "enc_bias");
    need_finite(threshold, f, "threshold");
    need_finite(dec, f * d_model, "dec");
    size_   = f;
    padded_ = (f + 15) / 16 * 16;
    ctx_ = new_context(8);
    enc_                = ggml_new_tensor_2d(ctx_.get(), GGML_TYPE_F32, d_model, padded_);
    enc_bias_           = ggml_new_tensor_1d(ctx_.get(), GGML_TYPE_F32, padded_);
    negative_threshold_ = ggml_new_tensor_1d(ctx_.get(), GGML_TYPE_F32, padded_);
    dec_                = ggml_new_tensor_2d(ctx_.get(), GGML_TYPE_F32, d_model, padded_);
    buffer_ = allocate(ctx_.get());
    ggml_backend_buffer_clear(buffer_.get(), 0);
    const size_t matrix = size_t(f) * d_model * sizeof(float);
    memcpy(enc_->data, enc, matrix);
    memcpy(dec_->data, dec, matrix);
    memcpy(enc_bias_->data, enc_bias, f * sizeof(float));
    float * negative = static_cast<float *>(negative_threshold_->data);
    for (int64_t j = 0; j < f; ++j) {
        negative[j] = -threshold[j];
    }
}

ggml_tensor * steering::apply(ggml_context * ctx, ggml_tensor * h, ggml_tensor * v, ggml_tensor * s) const {
    ggml_tensor * m = autograd::inner(ctx, v, s); // [padded, T]: v_j s_t
    if (!sparse_) {
        return ggml_add(ctx, h, m);
    }
    ggml_tensor * pre = ggml_add(ctx, autograd::inner(ctx, enc_, h), enc_bias_);
    // pre > threshold as pre - threshold > 0: the difference of two floats is zero only where they are equal
    ggml_tensor * z = ggml_mul(ctx, ggml_relu(ctx, pre), ggml_step(ctx, ggml_add(ctx, pre, negative_threshold_)));
    ggml_tensor * g = ggml_step(ctx, ggml_add(ctx, m, z));
    ggml_tensor * clipped = ggml_mul(ctx, ggml_scale_bias(ctx, g, 1.0f, -1.0f), z);
    ggml_tensor * c = ggml_add(ctx, ggml_mul(ctx, m, g), clipped);
    return ggml_add(ctx, autograd::combine(ctx, dec_, c), h);
}

} // namespace yapo::train::upper
