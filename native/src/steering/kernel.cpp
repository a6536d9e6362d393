#include "steering/kernel.h"

namespace yapo {
namespace {

// strength_t * value, [n, T]
ggml_tensor * scaled(ggml_context * ctx, const weighted_value & v, ggml_tensor * strengths) {
    const int64_t t      = strengths->ne[0];
    ggml_tensor * column = ggml_view_2d(ctx, strengths, 1, t, sizeof(float), size_t(v.column) * size_t(t) * sizeof(float));
    return ggml_mul(ctx, ggml_repeat_4d(ctx, v.value, v.value->ne[0], t, 1, 1), column);
}

ggml_tensor * sum(ggml_context * ctx, const std::vector<weighted_value> & values, ggml_tensor * strengths) {
    ggml_tensor * s = nullptr;
    for (const weighted_value & v : values) {
        ggml_tensor * x = scaled(ctx, v, strengths);
        s = s ? ggml_add(ctx, s, x) : x;
    }
    return s;
}

// dec^T c. Rows of F16 and Q8_0 make the backend round c to F16 (or blocks with F16 scales), which overflows where a feature
// as large as a massive residual is removed: such products are taken of c scaled to length 1.
ggml_tensor * decode(ggml_context * ctx, ggml_tensor * dec, ggml_tensor * c) {
    if (dec->type == GGML_TYPE_F32 || dec->type == GGML_TYPE_BF16) {
        return ggml_mul_mat(ctx, dec, c);
    }
    ggml_tensor * length = ggml_scale_bias(ctx, ggml_sqrt(ctx, ggml_sum_rows(ctx, ggml_sqr(ctx, c))), 1.0f, 1e-30f);
    return ggml_mul(ctx, ggml_mul_mat(ctx, dec, ggml_div(ctx, c, length)), length);
}

ggml_tensor * sparse_delta(ggml_context * ctx, const sparse_group & g, ggml_tensor * h, ggml_tensor * strengths) {
    ggml_tensor * pre = ggml_mul_mat(ctx, g.enc, h);
    ggml_prec_set_acc(pre, GGML_PREC_F32);
    pre = ggml_add(ctx, pre, g.enc_bias);
    ggml_tensor * open = ggml_step(ctx, ggml_sub(ctx, pre, g.threshold));
    ggml_tensor * z    = ggml_mul(ctx, ggml_relu(ctx, pre), open);
    ggml_tensor * s    = sum(ctx, g.values, strengths);
    ggml_tensor * keep = ggml_step(ctx, ggml_add(ctx, s, z)); // s > -z
    ggml_tensor * c    = ggml_add(ctx, ggml_mul(ctx, s, keep), ggml_mul(ctx, z, ggml_scale_bias(ctx, keep, 1.0f, -1.0f)));
    return decode(ctx, g.dec, c);
}

} // namespace

ggml_tensor * build_steering(ggml_context * ctx, const layer_vectors & layer, ggml_tensor * h, ggml_tensor * strengths) {
    ggml_tensor * delta = sum(ctx, layer.dense, strengths);
    for (const sparse_group & g : layer.sparse) {
        ggml_tensor * x = sparse_delta(ctx, g, h, strengths);
        delta = delta ? ggml_add(ctx, delta, x) : x;
    }
    return delta ? ggml_add(ctx, h, delta) : h;
}

uint32_t steering_nodes(const layer_vectors & layer) {
    uint32_t n = 1 + 4 * uint32_t(layer.dense.size());
    for (const sparse_group & g : layer.sparse) {
        n += 20 + 4 * uint32_t(g.values.size());
    }
    return n + 5 * uint32_t(layer.sparse.size()); // the weights, which a graph counts as leafs
}

} // namespace yapo
