#include "train/gemma2/gemma2.h"

#include <cmath>

namespace yapo::train::gemma2 {

config read_config(const gguf_source & s) {
    const std::string arch = s.architecture();
    if (arch != "gemma2") {
        fail(YAPO_ERR_UNSUPPORTED, "%s: training supports gemma2, the file's architecture is '%s'", s.path().c_str(), arch.c_str());
    }
    const auto key = [&](const char * k) { return arch + "." + k; };
    const auto size = [&](const char * k, int64_t otherwise, int64_t most) {
        const int64_t v = otherwise > 0 ? s.integer(key(k), otherwise) : s.integer(key(k));
        if (v <= 0 || v > most) {
            fail(YAPO_ERR_FORMAT, "%s: %s is %lld, expected 1 to %lld", s.path().c_str(), key(k).c_str(), (long long) v, (long long) most);
        }
        return static_cast<int32_t>(v);
    };

    config c;
    c.d_model     = size("embedding_length", 0, 1 << 20);
    c.n_layer     = size("block_count", 0, 512);
    c.n_ctx_train = size("context_length", 0, INT32_MAX);
    c.n_ff        = size("feed_forward_length", 0, 1 << 24);
    c.n_head      = size("attention.head_count", 0, 1 << 12);
    c.n_head_kv   = size("attention.head_count_kv", c.n_head, 1 << 12);
    c.head_dim    = size("attention.key_length", std::max(1, c.d_model / c.n_head), 1 << 16);
    const int32_t value_length = size("attention.value_length", std::max(1, c.d_model / c.n_head), 1 << 16);
    if (value_length != c.head_dim || c.n_head % c.n_head_kv != 0 || c.head_dim % 2 != 0) {
        fail(YAPO_ERR_UNSUPPORTED, "%s: %d heads over %d key heads of length %d and values of length %d are not a shape this graph has",
            s.path().c_str(), c.n_head, c.n_head_kv, c.head_dim, value_length);
    }
    if (s.integer(key("rope.dimension_count"), c.head_dim) != c.head_dim) {
        fail(YAPO_ERR_UNSUPPORTED, "%s: rotary embedding over part of a head is not supported", s.path().c_str());
    }
    for (const char * k : {"rope.scaling.factor", "rope.scale_linear"}) {
        const float factor = s.number(key(k), 1.0f);
        if (factor != 1.0f && factor != 0.0f) {
            fail(YAPO_ERR_UNSUPPORTED, "%s: %s is %g; RoPE scaling is not supported in training", s.path().c_str(), key(k).c_str(), factor);
        }
    }
    c.eps               = s.number(key("attention.layer_norm_rms_epsilon"));
    c.attention_softcap = s.number(key("attn_logit_softcapping"), c.attention_softcap);
    c.final_softcap     = s.number(key("final_logit_softcapping"), c.final_softcap);
    for (const float cap : {c.attention_softcap, c.final_softcap}) {
        if (!(cap > 0.0f && cap <= 80.0f)) { // the softmax kernels rely on e^cap being finite
            fail(YAPO_ERR_UNSUPPORTED, "%s: a softcap of %g is not supported (expected above 0, at most 80)", s.path().c_str(), cap);
        }
    }
    c.theta          = s.number(key("rope.freq_base"), c.theta);
    c.theta_window   = s.number(key("rope.freq_base_swa"), c.theta);
    c.window         = size("attention.sliding_window", 4096, INT32_MAX);
    c.window_pattern = static_cast<int32_t>(s.integer(key("attention.sliding_window_pattern"), 2));
    c.attention_scale = c.n_layer == 46 // 27B
        ? 1.0f / std::sqrt(static_cast<float>(c.d_model / c.n_head))
        : 1.0f / std::sqrt(static_cast<float>(c.head_dim));

    const ggml_tensor * embd = s.find("token_embd.weight");
    if (!embd) {
        fail(YAPO_ERR_FORMAT, "%s: tensor token_embd.weight is missing", s.path().c_str());
    }
    c.n_vocab = static_cast<int32_t>(embd->ne[1]);
    return c;
}

std::vector<tensor_slot> tensor_table(const config & c, weights & w, int32_t first_layer) {
    const int64_t D = c.d_model, Q = int64_t(c.n_head) * c.head_dim, KV = int64_t(c.n_head_kv) * c.head_dim, F = c.n_ff;
    w.blocks.resize(c.n_layer);
    std::vector<tensor_slot> table = {
        {"token_embd.weight",  D, c.n_vocab, &w.token_embd},
        {"output_norm.weight", D, 1,         &w.output_norm},
    };
    for (int32_t il = first_layer; il < c.n_layer; ++il) {
        block & b = w.blocks[il];
        const std::string p = "blk." + std::to_string(il) + ".";
        table.insert(table.end(), {
            {p + "attn_norm.weight",           D,  1,  &b.attn_norm},
            {p + "attn_q.weight",              D,  Q,  &b.attn_q},
            {p + "attn_k.weight",              D,  KV, &b.attn_k},
            {p + "attn_v.weight",              D,  KV, &b.attn_v},
            {p + "attn_output.weight",         Q,  D,  &b.attn_output},
            {p + "post_attention_norm.weight", D,  1,  &b.post_attention_norm},
            {p + "ffn_norm.weight",            D,  1,  &b.ffn_norm},
            {p + "ffn_gate.weight",            D,  F,  &b.ffn_gate},
            {p + "ffn_up.weight",              D,  F,  &b.ffn_up},
            {p + "ffn_down.weight",            F,  D,  &b.ffn_down},
            {p + "post_ffw_norm.weight",       D,  1,  &b.post_ffw_norm},
        });
    }
    return table;
}

} // namespace yapo::train::gemma2
