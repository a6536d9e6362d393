#include "train/transformer/transformer.h"

#include "ggml-backend.h"
#include "train/autograd/autograd.h"
#include "train/autograd/kernels.h"

#include <cmath>

namespace yapo::train::transformer {

namespace {

ggml_tensor * rms_norm(ggml_context * ctx, const config & c, ggml_tensor * x, ggml_tensor * w) {
    return ggml_mul(ctx, ggml_rms_norm(ctx, x, c.eps), w);
}

// W^T x
ggml_tensor * product(ggml_context * ctx, ggml_tensor * w, ggml_tensor * x, lowering form) {
    return form == lowering::fused ? autograd::inner(ctx, w, x) : autograd::product(ctx, w, x);
}

ggml_tensor * affine(ggml_context * ctx, ggml_tensor * w, ggml_tensor * bias, ggml_tensor * x, lowering form) {
    ggml_tensor * y = product(ctx, w, x, form);
    return bias ? ggml_add(ctx, y, bias) : y;
}

// [hd, H, T*B] -> rotated [hd, T, H, B]
ggml_tensor * rotated_heads(ggml_context * ctx, const config & c, ggml_tensor * x, int32_t il, const inputs & in) {
    if (in.form == lowering::fused) {
        return autograd::rope_split_heads(ctx, x, in.rope_table[c.window_of(il) ? 1 : 0], in.n_tokens, c.arch->rope == rotation::interleaved);
    }
    const int mode = c.arch->rope == rotation::neox ? GGML_ROPE_TYPE_NEOX : GGML_ROPE_TYPE_NORMAL;
    x = ggml_rope_ext(ctx, x, in.positions, in.rope_factors, c.head_dim, mode, c.n_ctx_train, c.theta_of(il), c.rope_scale_of(il), 0.0f, 1.0f, 32.0f, 1.0f);
    x = ggml_reshape_4d(ctx, x, c.head_dim, x->ne[1], in.n_tokens, in.n_sequences);
    return ggml_cont(ctx, ggml_permute(ctx, x, 0, 2, 1, 3));
}

ggml_tensor * attention_probabilities(ggml_context * ctx, const config & c, ggml_tensor * scores, int32_t il, const inputs & in) {
    if (in.form == lowering::fused) {
        autograd::attention_shape shape;
        shape.n_tokens = in.n_tokens;
        shape.window   = c.window_of(il);
        shape.scale    = c.attention_scale;
        shape.softcap  = c.attention_softcap;
        return autograd::attention_softmax(ctx, scores, shape);
    }
    ggml_tensor * capped = softcap(ctx, ggml_scale(ctx, scores, c.attention_scale), c.attention_softcap);
    return ggml_soft_max_ext(ctx, capped, in.mask[c.window_of(il) ? 1 : 0], 1.0f, 0.0f);
}

// Grouped-query attention without broadcasting: the G query heads of a key head are G*T rows of one matrix.
ggml_tensor * attention(ggml_context * ctx, const config & c, const block & b, int32_t il, ggml_tensor * x, const inputs & in) {
    const int64_t T = in.n_tokens, B = in.n_sequences, hd = c.head_dim, KV = c.n_head_kv, G = c.n_head / c.n_head_kv;

    ggml_tensor * q = ggml_reshape_3d(ctx, affine(ctx, b.attn_q, b.attn_q_bias, x, in.form), hd, c.n_head, T * B);
    ggml_tensor * k = ggml_reshape_3d(ctx, affine(ctx, b.attn_k, b.attn_k_bias, x, in.form), hd, KV, T * B);
    ggml_tensor * v = ggml_reshape_4d(ctx, affine(ctx, b.attn_v, b.attn_v_bias, x, in.form), hd, KV, T, B);
    if (c.arch->head_norms) {
        q = rms_norm(ctx, c, q, b.attn_q_norm);
        k = rms_norm(ctx, c, k, b.attn_k_norm);
    }

    q = ggml_reshape_4d(ctx, rotated_heads(ctx, c, q, il, in), hd, T * G, KV, B);
    k = rotated_heads(ctx, c, k, il, in);                                       // [hd, T, KV, B]
    v = ggml_permute(ctx, v, 0, 2, 1, 3);                                       // [hd, T, KV, B]

    ggml_tensor * p = attention_probabilities(ctx, c, product(ctx, k, q, in.form), il, in); // [T, T*G, KV, B]
    ggml_tensor * o = in.form == lowering::fused ? autograd::combine(ctx, v, p)
        : product(ctx, ggml_cont(ctx, ggml_transpose(ctx, v)), p, in.form);     // [hd, T*G, KV, B]
    o = ggml_reshape_4d(ctx, o, hd, T, c.n_head, B);
    o = ggml_cont(ctx, ggml_permute(ctx, o, 0, 2, 1, 3));                       // [hd, H, T, B]
    return product(ctx, b.attn_output, ggml_reshape_2d(ctx, o, hd * c.n_head, T * B), in.form);
}

ggml_tensor * feed_forward(ggml_context * ctx, const config & c, const block & b, ggml_tensor * x, const inputs & in) {
    ggml_tensor * gate = product(ctx, b.ffn_gate, x, in.form);
    ggml_tensor * up   = product(ctx, b.ffn_up, x, in.form);
    ggml_tensor * act  = c.arch->act == activation::silu ? ggml_mul(ctx, ggml_silu(ctx, gate), up)
        : in.form == lowering::fused ? autograd::geglu(ctx, gate, up) : ggml_mul(ctx, gelu(ctx, gate), up);
    return product(ctx, b.ffn_down, act, in.form);
}

} // namespace

inputs make_inputs(ggml_context * ctx, const config & c, const weights & w, int32_t n_tokens, int32_t n_sequences, lowering form) {
    inputs in;
    in.n_tokens    = n_tokens;
    in.n_sequences = n_sequences;
    in.form        = form;
    const bool two_windows = c.window > 0 && c.window < n_tokens; // otherwise the window hides nothing
    const auto input = [](ggml_tensor * t, const char * name) {
        ggml_set_input(t);
        ggml_set_output(t); // filled once: its memory must not be reused between computes
        ggml_set_name(t, name);
        return t;
    };
    if (form == lowering::fused) {
        in.rope_table[0] = input(ggml_new_tensor_2d(ctx, GGML_TYPE_F32, c.head_dim, n_tokens), "rope_table");
        in.rope_table[1] = !c.two_rotations() ? in.rope_table[0]
            : input(ggml_new_tensor_2d(ctx, GGML_TYPE_F32, c.head_dim, n_tokens), "rope_table_window");
        return in;
    }
    in.rope_factors = w.rope_factors;
    const int64_t rows = int64_t(n_tokens) * (c.n_head / c.n_head_kv);
    in.positions = input(ggml_new_tensor_1d(ctx, GGML_TYPE_I32, int64_t(n_tokens) * n_sequences), "positions");
    in.mask[0]   = input(ggml_new_tensor_2d(ctx, GGML_TYPE_F32, n_tokens, rows), "mask");
    in.mask[1]   = two_windows ? input(ggml_new_tensor_2d(ctx, GGML_TYPE_F32, n_tokens, rows), "mask_window") : in.mask[0];
    return in;
}

void fill_inputs(const config & c, const weights & w, const inputs & in) {
    const auto upload = [](ggml_tensor * t, const void * data) {
        if (t && t->buffer) { // an input no block reads is not allocated
            ggml_backend_tensor_set(t, data, 0, ggml_nbytes(t));
        }
    };
    if (in.form == lowering::fused) {
        std::vector<float> table(size_t(c.head_dim) * in.n_tokens), factors(w.rope_factors ? c.head_dim / 2 : 0);
        if (w.rope_factors) {
            ggml_backend_tensor_get(w.rope_factors, factors.data(), 0, factors.size() * sizeof(float));
        }
        for (int i = 0; i < (c.two_rotations() ? 2 : 1); ++i) {
            autograd::fill_rope_table(table.data(), c.head_dim, in.n_tokens, i ? c.theta_window : c.theta, i ? c.rope_scale_window : c.rope_scale,
                factors.empty() ? nullptr : factors.data());
            upload(in.rope_table[i], table.data());
        }
        return;
    }
    std::vector<int32_t> positions(size_t(in.n_tokens) * in.n_sequences);
    for (size_t i = 0; i < positions.size(); ++i) {
        positions[i] = static_cast<int32_t>(i % in.n_tokens);
    }
    upload(in.positions, positions.data());
    for (int i = 0; i < 2; ++i) {
        if (i == 1 && in.mask[1] == in.mask[0]) {
            break;
        }
        const int64_t T = in.n_tokens, rows = in.mask[i]->ne[1];
        std::vector<float> mask(size_t(T) * rows);
        for (int64_t r = 0; r < rows; ++r) {
            const int64_t q = r % T;
            for (int64_t k = 0; k < T; ++k) {
                mask[r * T + k] = k <= q && (i == 0 || q - k < c.window) ? 0.0f : -INFINITY;
            }
        }
        upload(in.mask[i], mask.data());
    }
}

// gelu_tanh(x) = x sigmoid(2u) = silu(x w) / w with w = 2u / x = 2c + 2ca x^2 > 0: exact, and finite everywhere
// (ggml_gelu rounds x to F16 on the CPU).
ggml_tensor * gelu(ggml_context * ctx, ggml_tensor * x) {
    const float c = 0.79788456080286535588f, a = 0.044715f;
    ggml_tensor * w = ggml_scale_bias(ctx, ggml_sqr(ctx, x), 2.0f * c * a, 2.0f * c);
    return ggml_div(ctx, ggml_silu(ctx, ggml_mul(ctx, x, w)), w);
}

ggml_tensor * softcap(ggml_context * ctx, ggml_tensor * x, float cap) {
    return cap > 0.0f ? ggml_scale(ctx, ggml_tanh(ctx, ggml_scale(ctx, x, 1.0f / cap)), cap) : x;
}

ggml_tensor * embed(ggml_context * ctx, const config & c, const weights & w, ggml_tensor * tokens) {
    ggml_tensor * x = ggml_get_rows(ctx, w.token_embd, tokens);
    return c.arch->scaled_embedding ? ggml_scale(ctx, x, std::sqrt(static_cast<float>(c.d_model))) : x;
}

ggml_tensor * run_block(ggml_context * ctx, const config & c, const block & b, int32_t il, ggml_tensor * x, const inputs & in) {
    const auto post_norm = [&](ggml_tensor * y, ggml_tensor * w) { return c.arch->post_norms ? rms_norm(ctx, c, y, w) : y; };
    ggml_tensor * attended = attention(ctx, c, b, il, rms_norm(ctx, c, x, b.attn_norm), in);
    x = ggml_add(ctx, post_norm(attended, b.post_attention_norm), x);
    ggml_tensor * fed = feed_forward(ctx, c, b, rms_norm(ctx, c, x, b.ffn_norm), in);
    return ggml_add(ctx, post_norm(fed, b.post_ffw_norm), x);
}

ggml_tensor * final_norm(ggml_context * ctx, const config & c, const weights & w, ggml_tensor * x) { return rms_norm(ctx, c, x, w.output_norm); }

ggml_tensor * raw_logits(ggml_context * ctx, const weights & w, ggml_tensor * normed, lowering form) { return product(ctx, w.head(), normed, form); }

} // namespace yapo::train::transformer
