#include "train/transformer/transformer.h"

#include <cmath>
#include <cstdio>
#include <unordered_set>

namespace yapo::train::transformer {

namespace {

void read_rotation(const gguf_source & s, config & c) {
    const auto key = [&](const char * k) { return std::string(c.arch->name) + "." + k; };
    c.theta        = s.number(key("rope.freq_base"), c.theta);
    c.theta_window = s.number(key("rope.freq_base_swa"), c.arch->theta_window > 0.0f ? c.arch->theta_window : c.theta);
    const std::string type = s.text(key("rope.scaling.type"), "linear");
    float factor = s.number(key("rope.scaling.factor"), s.number(key("rope.scale_linear"), 1.0f));
    factor = factor == 0.0f || type == "none" ? 1.0f : factor;
    if (!(factor > 0.0f) || (factor != 1.0f && type != "linear")) {
        fail(YAPO_ERR_UNSUPPORTED, "%s: RoPE scaling of type '%s' by %g is not supported in training (linear is)", s.path().c_str(), type.c_str(), factor);
    }
    c.rope_scale        = 1.0f / factor;
    c.rope_scale_window = c.arch->theta_window > 0.0f ? 1.0f : c.rope_scale;
}

} // namespace

config read_config(const gguf_source & s) {
    const std::string arch = s.architecture();
    config c;
    c.arch = find_architecture(arch);
    if (!c.arch) {
        fail(YAPO_ERR_UNSUPPORTED, "%s: the file's architecture is '%s'; training supports %s", s.path().c_str(), arch.c_str(), supported_architectures().c_str());
    }
    const auto key = [&](const char * k) { return arch + "." + k; };
    const auto size = [&](const char * k, int64_t otherwise, int64_t most) {
        const int64_t v = otherwise > 0 ? s.integer(key(k), otherwise) : s.integer(key(k));
        if (v <= 0 || v > most) {
            fail(YAPO_ERR_FORMAT, "%s: %s is %lld, expected 1 to %lld", s.path().c_str(), key(k).c_str(), (long long) v, (long long) most);
        }
        return static_cast<int32_t>(v);
    };

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
    if (s.integer(key("expert_count"), 0) != 0) {
        fail(YAPO_ERR_UNSUPPORTED, "%s: training through a mixture of experts is not supported", s.path().c_str());
    }
    const auto cap = [&](const char * k, float otherwise) {
        const float value = s.number(key(k), otherwise);
        if (!(value >= 0.0f && value <= 80.0f)) { // the softmax kernels rely on e^cap being finite
            fail(YAPO_ERR_UNSUPPORTED, "%s: %s is %g; expected 0 (none) to 80", s.path().c_str(), key(k).c_str(), value);
        }
        return value;
    };
    c.eps               = s.number(key("attention.layer_norm_rms_epsilon"));
    c.attention_softcap = c.arch->attention_softcap > 0.0f ? cap("attn_logit_softcapping", c.arch->attention_softcap) : 0.0f;
    c.final_softcap     = cap("final_logit_softcapping", c.arch->final_softcap);
    read_rotation(s, c);
    if (c.arch->window >= 0 && (c.arch->window > 0 || s.integer(key("attention.sliding_window"), 0) > 0)) {
        c.window         = size("attention.sliding_window", c.arch->window > 0 ? c.arch->window : 0, INT32_MAX);
        c.window_pattern = static_cast<int32_t>(s.integer(key("attention.sliding_window_pattern"), c.arch->window_pattern));
    }
    const bool gemma_27b = (arch == "gemma2" && c.n_layer == 46) || (arch == "gemma3" && c.n_layer == 62);
    c.attention_scale = 1.0f / std::sqrt(static_cast<float>(gemma_27b ? c.d_model / c.n_head : c.head_dim));

    const ggml_tensor * embd = s.find("token_embd.weight");
    if (!embd) {
        fail(YAPO_ERR_FORMAT, "%s: tensor token_embd.weight is missing", s.path().c_str());
    }
    c.n_vocab      = static_cast<int32_t>(embd->ne[1]);
    c.tied_head    = !s.find("output.weight");
    c.qkv_bias     = s.find("blk.0.attn_q.bias") != nullptr;
    c.rope_factors = s.find("rope_freqs.weight") != nullptr;
    return c;
}

namespace {

// A bias or scale that the graph does not have would go missing without a word.
void check_complete(const gguf_source & source, const std::vector<tensor_slot> & table, int32_t first_layer) {
    std::unordered_set<std::string> known;
    for (const tensor_slot & slot : table) {
        known.insert(slot.name);
    }
    for (int64_t i = 0; i < gguf_get_n_tensors(source.metadata()); ++i) {
        const std::string name = gguf_get_tensor_name(source.metadata(), i);
        int il = -1;
        if (sscanf(name.c_str(), "blk.%d.", &il) == 1 && il >= first_layer && !known.count(name)) {
            fail(YAPO_ERR_UNSUPPORTED, "%s: tensor %s has no place in the graph that training knows for its architecture", source.path().c_str(), name.c_str());
        }
    }
}

} // namespace

std::vector<tensor_slot> tensor_table(const gguf_source & source, const config & c, weights & w, int32_t first_layer) {
    const int64_t D = c.d_model, Q = int64_t(c.n_head) * c.head_dim, KV = int64_t(c.n_head_kv) * c.head_dim, F = c.n_ff;
    w.blocks.resize(c.n_layer);
    std::vector<tensor_slot> table;
    if (c.tied_head || first_layer == 0) {
        table.push_back({"token_embd.weight", D, c.n_vocab, &w.token_embd});
    }
    if (!c.tied_head) {
        table.push_back({"output.weight", D, c.n_vocab, &w.output});
    }
    table.push_back({"output_norm.weight", D, 1, &w.output_norm});
    if (c.rope_factors) {
        table.push_back({"rope_freqs.weight", c.head_dim / 2, 1, &w.rope_factors, false});
    }
    for (int32_t il = first_layer; il < c.n_layer; ++il) {
        block & b = w.blocks[il];
        const std::string p = "blk." + std::to_string(il) + ".";
        const auto add = [&](bool has, const char * name, int64_t ne0, int64_t ne1, ggml_tensor ** slot) {
            if (has) {
                table.push_back({p + name, ne0, ne1, slot});
            }
        };
        add(true,              "attn_norm.weight",           D,          1,  &b.attn_norm);
        add(true,              "attn_q.weight",              D,          Q,  &b.attn_q);
        add(true,              "attn_k.weight",              D,          KV, &b.attn_k);
        add(true,              "attn_v.weight",              D,          KV, &b.attn_v);
        add(c.qkv_bias,        "attn_q.bias",                Q,          1,  &b.attn_q_bias);
        add(c.qkv_bias,        "attn_k.bias",                KV,         1,  &b.attn_k_bias);
        add(c.qkv_bias,        "attn_v.bias",                KV,         1,  &b.attn_v_bias);
        add(true,              "attn_output.weight",         Q,          D,  &b.attn_output);
        add(c.arch->head_norms, "attn_q_norm.weight",        c.head_dim, 1,  &b.attn_q_norm);
        add(c.arch->head_norms, "attn_k_norm.weight",        c.head_dim, 1,  &b.attn_k_norm);
        add(c.arch->post_norms, "post_attention_norm.weight", D,         1,  &b.post_attention_norm);
        add(true,              "ffn_norm.weight",            D,          1,  &b.ffn_norm);
        add(true,              "ffn_gate.weight",            D,          F,  &b.ffn_gate);
        add(true,              "ffn_up.weight",              D,          F,  &b.ffn_up);
        add(true,              "ffn_down.weight",            F,          D,  &b.ffn_down);
        add(c.arch->post_norms, "post_ffw_norm.weight",      D,          1,  &b.post_ffw_norm);
    }
    check_complete(source, table, first_layer);
    return table;
}

} // namespace yapo::train::transformer
