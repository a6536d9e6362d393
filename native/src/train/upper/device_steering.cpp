#include "train/upper/device_steering.h"

namespace yapo::train::upper {

namespace {

std::vector<float> transposed(const ggml_tensor * t) {
    const float * data = static_cast<const float *>(t->data);
    const int64_t D = t->ne[0], F = t->ne[1];
    std::vector<float> out(size_t(D) * F);
    for (int64_t j = 0; j < F; ++j) {
        for (int64_t i = 0; i < D; ++i) {
            out[i * F + j] = data[j * D + i];
        }
    }
    return out;
}

} // namespace

device_steering::device_steering(std::shared_ptr<const device> where, const steering & s, int32_t lowest) : where_(std::move(where)), ctx_(new_context(8 * s.sites().size())) {
    const auto matrix = [&](int64_t ne0, int64_t ne1) { return ggml_new_tensor_2d(ctx_.get(), GGML_TYPE_F32, ne0, ne1); };
    bool any = false;
    for (const site & at : s.sites()) {
        rows r;
        if (at.sparse()) {
            const int64_t D = at.dec()->ne[0], F = at.size();
            any     = true;
            r.dec   = matrix(D, F);
            r.dec_t = matrix(F, D);
            if (at.encodes()) {
                r.enc       = matrix(D, F);
                r.enc_t     = at.layer() > lowest ? matrix(F, D) : nullptr;
                r.bias      = matrix(F, 1);
                r.threshold = matrix(F, 1);
            }
        }
        sites_.push_back(r);
    }
    if (!any) {
        return;
    }
    buffer_ = where_->allocate(ctx_.get(), "the rows of the steered latents");
    const auto set = [](ggml_tensor * t, const void * data) { ggml_backend_tensor_set(t, data, 0, ggml_nbytes(t)); };
    for (size_t i = 0; i < sites_.size(); ++i) {
        const rows & r  = sites_[i];
        const site & at = s.sites()[i];
        if (r.dec) {
            set(r.dec, at.dec()->data);
            set(r.dec_t, transposed(at.dec()).data());
        }
        if (r.enc) {
            set(r.enc, at.enc()->data);
            set(r.bias, at.enc_bias()->data);
            set(r.threshold, at.threshold()->data);
        }
        if (r.enc_t) {
            set(r.enc_t, transposed(at.enc()).data());
        }
    }
}

ggml_tensor * device_steering::encode(ggml_context * ctx, size_t i, ggml_tensor * h) const {
    const rows & r = sites_[i];
    ggml_tensor * pre = ggml_add(ctx, autograd::product(ctx, r.enc, h), r.bias);
    return ggml_mul(ctx, pre, ggml_step(ctx, ggml_sub(ctx, pre, r.threshold)));
}

ggml_tensor * device_steering::apply(ggml_context * ctx, size_t i, ggml_tensor * h, ggml_tensor * z, ggml_tensor * v, ggml_tensor * s) const {
    ggml_tensor * m = ggml_mul(ctx, ggml_repeat_4d(ctx, v, v->ne[0], h->ne[1], 1, 1), s);
    if (!z) {
        return ggml_add(ctx, h, m);
    }
    ggml_tensor * c = ggml_sub(ctx, ggml_relu(ctx, ggml_add(ctx, m, z)), z);
    return ggml_add(ctx, h, autograd::product(ctx, sites_[i].dec_t, c));
}

void device_steering::give_transposed(autograd::tape & tape) const {
    for (const rows & r : sites_) {
        if (r.dec) {
            tape.give_transposed(r.dec_t, r.dec);
        }
        if (r.enc_t) {
            tape.give_transposed(r.enc, r.enc_t);
        }
    }
}

} // namespace yapo::train::upper
