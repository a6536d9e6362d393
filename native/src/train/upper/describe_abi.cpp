// The exports of yapo_train.h that say what the upper blocks are made of: the block description and the weights as floats, for engines that compute
// the same blocks elsewhere.
#include "train/upper/handle.h"

#include <cstring>

namespace {

using namespace yapo;
using train::upper::model;

void need(const void * p, const char * name) {
    if (!p) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "%s is NULL", name);
    }
}

const model & model_of(const yapo_upper * upper) {
    need(upper, "upper");
    return *upper->impl;
}

template <typename T>
void fill(T * out, const T & value, const char * name) {
    need(out, name);
    if (out->struct_size != sizeof(T)) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "%s.struct_size is %u, expected %zu", name, out->struct_size, sizeof(T));
    }
    *out = value;
}

const ggml_tensor * tensor_at(const model & m, int32_t i) {
    const int32_t n = static_cast<int32_t>(m.tensors().size());
    if (i < 0 || i >= n) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "tensor %d does not exist; there are %d", i, n);
    }
    return m.tensors()[i];
}

} // namespace

extern "C" {

yapo_status yapo_upper_describe(const yapo_upper * upper, yapo_upper_shape * out, yapo_error ** err) {
    return guard(err, [&] {
        const auto & m = model_of(upper);
        const auto & c = m.config();
        yapo_upper_shape s  = {};
        s.struct_size       = sizeof s;
        s.layer             = m.layer();
        s.n_layer           = c.n_layer;
        s.d_model           = c.d_model;
        s.n_head            = c.n_head;
        s.n_head_kv         = c.n_head_kv;
        s.head_dim          = c.head_dim;
        s.n_ff              = c.n_ff;
        s.n_vocab           = c.n_vocab;
        s.silu              = c.arch->act == train::transformer::activation::silu;
        s.interleaved       = c.arch->rope == train::transformer::rotation::interleaved;
        s.n_tensors         = static_cast<int32_t>(m.tensors().size());
        s.eps               = c.eps;
        s.attention_scale   = c.attention_scale;
        s.attention_softcap = c.attention_softcap;
        s.final_softcap     = c.final_softcap;
        fill(out, s, "yapo_upper_shape");
    });
}

yapo_status yapo_upper_describe_block(const yapo_upper * upper, int32_t il, yapo_upper_block * out, yapo_error ** err) {
    return guard(err, [&] {
        const auto & m = model_of(upper);
        const auto & c = m.config();
        if (il <= m.layer() || il >= c.n_layer) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "block %d is none of the upper blocks %d to %d", il, m.layer() + 1, c.n_layer - 1);
        }
        yapo_upper_block b = {};
        b.struct_size      = sizeof b;
        b.window           = c.window_of(il);
        b.theta            = c.theta_of(il);
        b.rope_scale       = c.rope_scale_of(il);
        fill(out, b, "yapo_upper_block");
    });
}

yapo_status yapo_upper_describe_tensor(const yapo_upper * upper, int32_t i, yapo_upper_tensor * out, yapo_error ** err) {
    return guard(err, [&] {
        const ggml_tensor * t = tensor_at(model_of(upper), i);
        yapo_upper_tensor   d = {};
        d.struct_size         = sizeof d;
        d.name                = t->name;
        d.row                 = t->ne[0];
        d.n_rows              = t->ne[1];
        fill(out, d, "yapo_upper_tensor");
    });
}

yapo_status yapo_upper_read_tensor(const yapo_upper * upper, int32_t i, int64_t first_row, int64_t n_rows, float * out, yapo_error ** err) {
    return guard(err, [&] {
        const ggml_tensor * t = tensor_at(model_of(upper), i);
        need(out, "out");
        if (first_row < 0 || n_rows < 0 || n_rows > t->ne[1] - first_row) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "rows %lld and %lld more of %s, which has %lld", (long long) first_row, (long long) n_rows, t->name, (long long) t->ne[1]);
        }
        const char * data = static_cast<const char *>(t->data) + first_row * t->nb[1];
        const int64_t n   = n_rows * t->ne[0];
        if (t->type == GGML_TYPE_F32) {
            memcpy(out, data, size_t(n) * sizeof(float));
        } else {
            ggml_get_type_traits(t->type)->to_float(data, out, n); // model.cpp let no other type in
        }
    });
}

} // extern "C"
