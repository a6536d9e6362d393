#include "steering/kernel.h"

#include "steering/fused.h"

namespace yapo {
namespace {

// The strengths of the vectors in columns `first` .. `first + n`, [n, T]. One token's are as if alone: ggml-cuda looks at the distance of
// rows even where there is one, and asserts that it is even.
ggml_tensor * strengths_of(ggml_context * ctx, ggml_tensor * strengths, int32_t first, int64_t n) {
    const int64_t t = strengths->ne[1];
    if (n == strengths->ne[0]) {
        return strengths;
    }
    return ggml_view_2d(ctx, strengths, n, t, t == 1 ? size_t(n) * sizeof(float) : strengths->nb[1], size_t(first) * sizeof(float));
}

// value for every one of t tokens, [n, T]
ggml_tensor * repeated(ggml_context * ctx, ggml_tensor * value, int64_t t) {
    return t == 1 ? value : ggml_repeat_4d(ctx, value, value->ne[0], t, 1, 1);
}

ggml_tensor * sum(ggml_context * ctx, const std::vector<weighted_value> & values, ggml_tensor * strengths) {
    ggml_tensor * s = nullptr;
    for (const weighted_value & v : values) {
        ggml_tensor * x = ggml_mul(ctx, repeated(ctx, v.value, strengths->ne[1]), strengths_of(ctx, strengths, v.column, 1));
        s = s ? ggml_add(ctx, s, x) : x;
    }
    return s;
}

// s of a group, [K, T]
ggml_tensor * sum(ggml_context * ctx, const sparse_group & g, ggml_tensor * strengths) {
    const int64_t v = g.values->ne[0], k = g.values->ne[1], t = strengths->ne[1];
    ggml_tensor * lambda = strengths_of(ctx, strengths, g.column, v);
    if (v == 1) {
        return ggml_mul(ctx, repeated(ctx, ggml_reshape_1d(ctx, g.values, k), t), lambda);
    }
    if (v < strengths->ne[0] && (t > 1 || g.column % 4 != 0)) {
        lambda = ggml_cont(ctx, lambda); // not every backend multiplies rows that lie apart, or begin in the middle of 16 bytes
    }
    ggml_tensor * s = ggml_mul_mat(ctx, g.values, lambda);
    ggml_prec_set_acc(s, GGML_PREC_F32);
    return s;
}

// dec^T c. Rows of F16 and Q8_0 make the backend round c to F16 (or blocks with F16 scales), which overflows where a feature
// as large as a massive residual is removed: such products are taken of c scaled to length 1. The bias bounds the scaled entries where squares
// sink below F32's normal numbers (|c| < 1e-19), which would leave c divided by next to nothing.
ggml_tensor * decode(ggml_context * ctx, ggml_tensor * dec, ggml_tensor * c) {
    if (dec->type == GGML_TYPE_F32 || dec->type == GGML_TYPE_BF16) {
        return ggml_mul_mat(ctx, dec, c);
    }
    ggml_tensor * length = ggml_scale_bias(ctx, ggml_sqrt(ctx, ggml_sum_rows(ctx, ggml_sqr(ctx, c))), 1.0f, 1e-19f);
    return ggml_mul(ctx, ggml_mul_mat(ctx, dec, ggml_div(ctx, c, length)), length);
}

ggml_tensor * affine(ggml_context * ctx, ggml_tensor * enc, ggml_tensor * bias, ggml_tensor * h) {
    ggml_tensor * pre = ggml_mul_mat(ctx, enc, h);
    ggml_prec_set_acc(pre, GGML_PREC_F32);
    return ggml_add(ctx, pre, bias);
}

ggml_tensor * jump_relu(ggml_context * ctx, ggml_tensor * pre, ggml_tensor * threshold) {
    return ggml_mul(ctx, ggml_relu(ctx, pre), ggml_step(ctx, ggml_sub(ctx, pre, threshold)));
}

// x[ids] per token: x [F, T], ids I32 [n, T] -> [n, T]
ggml_tensor * pick(ggml_context * ctx, ggml_tensor * x, ggml_tensor * ids) {
    const int64_t f = x->ne[0], t = x->ne[1];
    return ggml_reshape_2d(ctx, ggml_get_rows(ctx, ggml_reshape_3d(ctx, x, 1, f, t), ids), ids->ne[0], t);
}

// The k-th largest entry is taken, not the k indices: what equals it stays too, on every backend alike, and ggml_top_k may
// give its k in any order.
ggml_tensor * top_k_relu(ggml_context * ctx, ggml_tensor * pre, int32_t k) {
    ggml_tensor * largest   = pick(ctx, pre, ggml_top_k(ctx, pre, k));             // [k, T]
    ggml_tensor * ascending = ggml_argsort(ctx, largest, GGML_SORT_ORDER_ASC);     // [k, T]
    ggml_tensor * last      = pick(ctx, largest, ggml_view_2d(ctx, ascending, 1, pre->ne[1], ascending->nb[1], 0)); // [1, T]
    ggml_tensor * below     = ggml_step(ctx, ggml_neg(ctx, ggml_sub(ctx, pre, last)));
    return ggml_mul(ctx, ggml_relu(ctx, pre), ggml_scale_bias(ctx, below, -1.0f, 1.0f));
}

// Rows `support` of the codes: z [F, T] -> [K, T]. Rows of the transposed codes are runs of T, not single entries.
ggml_tensor * restrict_to(ggml_context * ctx, ggml_tensor * z, ggml_tensor * support) {
    const int64_t f = z->ne[0], t = z->ne[1];
    ggml_tensor * rows = t == 1 ? ggml_reshape_2d(ctx, z, 1, f) : ggml_cont(ctx, ggml_transpose(ctx, z));
    rows = ggml_get_rows(ctx, rows, support); // [T, K]
    return t == 1 ? ggml_reshape_2d(ctx, rows, support->ne[0], 1) : ggml_cont(ctx, ggml_transpose(ctx, rows));
}

ggml_tensor * sparse_delta(ggml_context * ctx, const sparse_group & g, ggml_tensor * h, ggml_tensor * strengths, full_codes & codes) {
    ggml_tensor * z    = g.sae ? restrict_to(ctx, codes.of(*g.sae), g.support) : jump_relu(ctx, affine(ctx, g.enc, g.enc_bias, h), g.threshold);
    ggml_tensor * s    = sum(ctx, g, strengths);
    ggml_tensor * keep = ggml_step(ctx, ggml_add(ctx, s, z)); // s > -z
    ggml_tensor * c    = ggml_add(ctx, ggml_mul(ctx, s, keep), ggml_mul(ctx, z, ggml_scale_bias(ctx, keep, 1.0f, -1.0f)));
    return decode(ctx, g.dec, c);
}

// strength (value + dec^T z - h)
ggml_tensor * replacement_delta(ggml_context * ctx, const replacement & r, ggml_tensor * h, ggml_tensor * strengths, full_codes & codes) {
    const int64_t t      = h->ne[1];
    ggml_tensor * column = strengths_of(ctx, strengths, r.by.column, 1);
    ggml_tensor * x      = r.sae ? ggml_add(ctx, decode(ctx, r.sae->dec, codes.of(*r.sae)), r.by.value) : ggml_repeat_4d(ctx, r.by.value, h->ne[0], t, 1, 1);
    return ggml_mul(ctx, ggml_sub(ctx, x, h), column);
}

} // namespace

ggml_tensor * full_codes::of(const full_sae & sae) {
    ggml_tensor *& z = built[&sae];
    if (!z) {
        ggml_tensor * pre = affine(ctx, sae.enc, sae.enc_bias, h);
        z = sae.topk ? top_k_relu(ctx, pre, sae.topk) : jump_relu(ctx, pre, sae.threshold);
    }
    return z;
}

ggml_tensor * build_steering(ggml_context * ctx, const layer_vectors & layer, ggml_tensor * h, ggml_tensor * strengths, full_codes & codes) {
    ggml_tensor * delta = sum(ctx, layer.dense, strengths);
    const auto    add   = [&](ggml_tensor * x) { delta = delta ? ggml_add(ctx, delta, x) : x; };
    for (const sparse_group & g : layer.sparse) {
        if (!g.fused) {
            add(sparse_delta(ctx, g, h, strengths, codes));
        }
    }
    for (const replacement & r : layer.replace) {
        add(replacement_delta(ctx, r, h, strengths, codes));
    }
    ggml_tensor * steered = delta ? ggml_add(ctx, h, delta) : h;
    for (const sparse_group & g : layer.sparse) {
        if (g.fused) {
            steered = build_fused(ctx, g, h, steered, strengths_of(ctx, strengths, g.column, g.values->ne[0]));
        }
    }
    return steered;
}

uint32_t steering_nodes(const layer_vectors & layer) {
    uint32_t n = 2 + 5 * uint32_t(layer.dense.size());
    for (const sparse_group & g : layer.sparse) {
        n += 28 + (g.sae ? code_nodes : 0);
    }
    for (const replacement & r : layer.replace) {
        n += 16 + (r.sae ? code_nodes : 0);
    }
    return n + 6 * uint32_t(layer.sparse.size()); // the weights, which a scheduler counts with the nodes (above, of the others)
}

} // namespace yapo
