#include "random_model.h"

#include "harness.h"

#include "ggml.h"
#include "gguf.h"

#include <algorithm>
#include <cmath>
#include <memory>

namespace yapo_test {

uint64_t random_source::next() {
    uint64_t z = (state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

double random_source::uniform() { return double(next() >> 11) * 0x1.0p-53; }

float random_source::normal() {
    const double u = 1.0 - uniform();
    const double v = uniform();
    return float(std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v));
}

int32_t random_source::below(int32_t n) { return int32_t(next() % uint64_t(n)); }

namespace {

const char * const chat_template =
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}";

enum token_kind : int32_t { kind_normal = 1, kind_unknown = 2, kind_control = 3, kind_byte = 6 };

struct vocabulary {
    std::vector<std::string> text;
    std::vector<float>       score;
    std::vector<int32_t>     kind;

    void add(const std::string & t, int32_t k) {
        // SentencePiece BPE: score = -rank, so that an earlier token merges first
        score.push_back(k == kind_normal ? -float(text.size()) : 0.0f);
        text.push_back(t);
        kind.push_back(k);
    }

    explicit vocabulary(int32_t n) {
        for (const char * t : {"<pad>", "<eos>", "<bos>"}) add(t, kind_control);
        add("<unk>", kind_unknown);
        for (const char * t : {"<start_of_turn>", "<end_of_turn>"}) add(t, kind_control);
        for (int b = 0; b < 256; ++b) add(format("<0x%02X>", b), kind_byte);
        add("\xe2\x96\x81", kind_normal);
        for (char c = 'a'; c <= 'z'; ++c) add(std::string(1, c), kind_normal);
        for (char c = 'a'; c <= 'z'; ++c) add("\xe2\x96\x81" + std::string(1, c), kind_normal);
        for (const char * t : {"th", "he", "in", "er", "an", "re", "on", "at", "en", "nd", "ti", "es", "or", "te", "of", "ed", "is", "it", "al", "ar", "st", "to", "nt", "ng", "se"}) {
            add(t, kind_normal);
        }
        if (int32_t(text.size()) > n) {
            throw failed(format("random_model: n_vocab %d is below the %zu tokens of the fixed vocabulary", n, text.size()));
        }
        while (int32_t(text.size()) < n) {
            add(format("\xe2\x96\x81word%zu", text.size()), kind_normal);
        }
    }
};

struct writer {
    const random_model & m;
    random_source        rng;
    ggml_context *       data;
    gguf_context *       out;

    void f32(const std::string & name, int64_t ne0, int64_t ne1, float mean, float deviation) {
        ggml_tensor * t = ggml_new_tensor_2d(data, GGML_TYPE_F32, ne0, ne1);
        if (ne1 == 1) {
            t = ggml_reshape_1d(data, t, ne0);
        }
        ggml_set_name(t, name.c_str());
        float * x = static_cast<float *>(t->data);
        for (int64_t i = 0; i < ne0 * ne1; ++i) {
            x[i] = mean + deviation * rng.normal();
        }
        gguf_add_tensor(out, t);
    }
    void matrix(const std::string & name, int64_t in, int64_t rows) { f32(name, in, rows, 0.0f, 1.0f / std::sqrt(float(in))); }
    void norm  (const std::string & name, int64_t n)                { f32(name, n, 1, 1.0f, 0.1f); }
    void bias  (const std::string & name, int64_t n)                { f32(name, n, 1, 0.0f, 0.1f); }

    void u32(const std::string & key, uint32_t v) { gguf_set_val_u32(out, (m.arch + "." + key).c_str(), v); }
    void f32_key(const std::string & key, float v) { gguf_set_val_f32(out, (m.arch + "." + key).c_str(), v); }

    void metadata() {
        gguf_set_val_str(out, "general.architecture", m.arch.c_str());
        gguf_set_val_str(out, "general.name", ("random " + m.arch).c_str());
        u32("context_length", m.n_ctx);
        u32("embedding_length", m.d_model);
        u32("block_count", m.n_layer);
        u32("feed_forward_length", m.n_ff);
        u32("attention.head_count", m.n_head);
        u32("attention.head_count_kv", m.n_head_kv);
        u32("attention.key_length", m.head_dim);
        u32("attention.value_length", m.head_dim);
        u32("rope.dimension_count", m.head_dim);
        f32_key("rope.freq_base", m.rope_base);
        if (m.rope_scaling > 0.0f) {
            gguf_set_val_str(out, (m.arch + ".rope.scaling.type").c_str(), "linear");
            f32_key("rope.scaling.factor", m.rope_scaling);
        }
        f32_key("attention.layer_norm_rms_epsilon", 1e-6f);
        if (m.arch == "gemma2" || m.arch == "gemma3" || m.arch == "gemma3n") {
            u32("attention.sliding_window", m.sliding_window);
        }
        if (m.arch == "gemma2") {
            f32_key("attn_logit_softcapping", 50.0f);
            f32_key("final_logit_softcapping", 30.0f);
        }
        if (m.arch == "plamo2") { // state-space and attention blocks in turn
            std::vector<uint32_t> kv;
            for (int32_t il = 0; il < m.n_layer; ++il) kv.push_back(il % 2 ? m.n_head_kv : 0);
            gguf_remove_key(out, "plamo2.attention.head_count_kv");
            gguf_set_arr_data(out, "plamo2.attention.head_count_kv", GGUF_TYPE_UINT32, kv.data(), kv.size());
            u32("ssm.conv_kernel", 4);
            u32("ssm.inner_size", 2 * m.d_model);
            u32("ssm.state_size", 16);
            u32("ssm.time_step_rank", 8);
            u32("ssm.group_count", 0);
        }
        if (m.arch == "mamba") {
            u32("ssm.conv_kernel", 4);
            u32("ssm.inner_size", 2 * m.d_model);
            u32("ssm.state_size", 16);
            u32("ssm.time_step_rank", 8);
        }
        if (m.arch == "bert") {
            f32_key("attention.layer_norm_epsilon", 1e-6f);
            gguf_set_val_bool(out, "bert.attention.causal", false);
            gguf_set_val_u32(out, "tokenizer.ggml.token_type_count", 2);
        }
    }

    void tokenizer() {
        const vocabulary vocab(m.n_vocab);
        std::vector<const char *> text;
        for (const std::string & t : vocab.text) {
            text.push_back(t.c_str());
        }
        gguf_set_val_str(out, "tokenizer.ggml.model", "llama");
        gguf_set_arr_str(out, "tokenizer.ggml.tokens", text.data(), text.size());
        gguf_set_arr_data(out, "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, vocab.score.data(), vocab.score.size());
        gguf_set_arr_data(out, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, vocab.kind.data(), vocab.kind.size());
        gguf_set_val_u32(out, "tokenizer.ggml.padding_token_id", 0);
        gguf_set_val_u32(out, "tokenizer.ggml.eos_token_id", 1);
        gguf_set_val_u32(out, "tokenizer.ggml.bos_token_id", 2);
        gguf_set_val_u32(out, "tokenizer.ggml.unknown_token_id", 3);
        gguf_set_val_bool(out, "tokenizer.ggml.add_bos_token", true);
        gguf_set_val_bool(out, "tokenizer.ggml.add_eos_token", false);
        gguf_set_val_bool(out, "tokenizer.ggml.add_space_prefix", false);
        gguf_set_val_str(out, "tokenizer.chat_template", chat_template);
    }

    void decoder_tensors() {
        const bool gemma3n = m.arch == "gemma3n";
        const bool gemma   = gemma3n || m.arch == "gemma2" || m.arch == "gemma3";
        const int64_t d = m.d_model, q = int64_t(m.n_head) * m.head_dim, kv = int64_t(m.n_head_kv) * m.head_dim;
        f32("token_embd.weight", d, m.n_vocab, 0.0f, m.embedding_gain * (gemma ? 1.0f / std::sqrt(float(d)) : 1.0f));
        norm("output_norm.weight", d);
        if (m.untied_head) matrix("output.weight", d, m.n_vocab);
        if (m.rope_factors) f32("rope_freqs.weight", m.head_dim / 2, 1, 4.0f, 0.5f);
        for (int32_t il = 0; il < m.n_layer; ++il) {
            const std::string b = format("blk.%d.", il);
            norm(b + "attn_norm.weight", d);
            matrix(b + "attn_q.weight", d, q);
            matrix(b + "attn_k.weight", d, kv);
            matrix(b + "attn_v.weight", d, kv);
            if (m.arch == "qwen2") {
                bias(b + "attn_q.bias", q);
                bias(b + "attn_k.bias", kv);
                bias(b + "attn_v.bias", kv);
            }
            matrix(b + "attn_output.weight", q, d);
            if (m.output_bias) bias(b + "attn_output.bias", d);
            if (m.arch == "gemma3" || m.arch == "qwen3" || gemma3n) {
                norm(b + "attn_q_norm.weight", m.head_dim);
                norm(b + "attn_k_norm.weight", m.head_dim);
            }
            if (gemma) norm(b + "post_attention_norm.weight", d);
            norm(b + "ffn_norm.weight", d);
            matrix(b + "ffn_gate.weight", d, m.n_ff);
            matrix(b + "ffn_up.weight", d, m.n_ff);
            matrix(b + "ffn_down.weight", m.n_ff, d);
            if (gemma) norm(b + "post_ffw_norm.weight", d);
            if (gemma3n) altup_tensors(b);
        }
        if (gemma3n) {
            cube("altup_proj.weight", d, d, n_altup - 1);
            cube("altup_unembd_proj.weight", d, d, n_altup - 1);
            matrix("per_layer_token_embd.weight", d_altup * m.n_layer, m.n_vocab);
            matrix("per_layer_model_proj.weight", d, d_altup * m.n_layer);
            norm("per_layer_proj_norm.weight", d_altup);
        }
    }

    // gemma3n keeps n_altup residual streams; the sizes are llama.cpp's constants
    static constexpr int64_t n_altup = 4, d_altup = 256, laurel = 64;

    void altup_tensors(const std::string & b) {
        const int64_t d = m.d_model;
        matrix(b + "inp_gate.weight", d, d_altup);
        matrix(b + "proj.weight", d_altup, d);
        norm(b + "post_norm.weight", d);
        matrix(b + "altup_correct_coef.weight", n_altup, n_altup);
        norm(b + "altup_correct_scale.weight", d);
        matrix(b + "altup_predict_coef.weight", n_altup, n_altup * n_altup);
        matrix(b + "altup_router.weight", d, n_altup);
        norm(b + "altup_router_norm.weight", d);
        matrix(b + "laurel_l.weight", d, laurel);
        matrix(b + "laurel_r.weight", laurel, d);
        norm(b + "laurel_post_norm.weight", d);
    }

    void cube(const std::string & name, int64_t in, int64_t rows, int64_t n) {
        ggml_tensor * t = ggml_new_tensor_3d(data, GGML_TYPE_F32, in, rows, n);
        ggml_set_name(t, name.c_str());
        for (int64_t i = 0; i < in * rows * n; ++i) {
            static_cast<float *>(t->data)[i] = rng.normal() / std::sqrt(float(in));
        }
        gguf_add_tensor(out, t);
    }

    void plamo2_tensors() {
        const int64_t d = m.d_model, inner = 2 * d, dt = std::max<int64_t>(64, d / 16), state = 16, heads = 8;
        f32("token_embd.weight", d, m.n_vocab, 0.0f, 1.0f);
        norm("output_norm.weight", d);
        for (int32_t il = 0; il < m.n_layer; ++il) {
            const std::string b = format("blk.%d.", il);
            norm(b + "attn_norm.weight", d);
            if (il % 2) {
                matrix(b + "attn_qkv.weight", d, int64_t(m.n_head + 2 * m.n_head_kv) * m.head_dim);
                f32(b + "attn_q_norm.weight", m.head_dim, m.n_head, 1.0f, 0.1f);
                f32(b + "attn_k_norm.weight", m.head_dim, m.n_head_kv, 1.0f, 0.1f);
                matrix(b + "attn_output.weight", int64_t(m.n_head) * m.head_dim, d);
            } else {
                matrix(b + "ssm_in.weight", d, 2 * inner);
                matrix(b + "ssm_conv1d.weight", 4, inner);
                matrix(b + "ssm_x.weight", inner, dt + 2 * state);
                matrix(b + "ssm_dt.weight", dt, heads);
                bias(b + "ssm_dt.bias", heads);
                f32(b + "ssm_a", heads, 1, -1.0f, 0.1f);
                f32(b + "ssm_d", heads, 1, 1.0f, 0.1f);
                matrix(b + "ssm_out.weight", inner, d);
                norm(b + "ssm_dt_norm", dt);
                norm(b + "ssm_b_norm", state);
                norm(b + "ssm_c_norm", state);
            }
            norm(b + "post_attention_norm", d);
            norm(b + "ffn_norm.weight", d);
            matrix(b + "ffn_down.weight", m.n_ff, d);
            matrix(b + "ffn_up.weight", d, 2 * int64_t(m.n_ff));
            norm(b + "post_ffw_norm", d);
        }
    }

    void mamba_tensors() {
        const int64_t d = m.d_model, inner = 2 * d, rank = 8, state = 16;
        f32("token_embd.weight", d, m.n_vocab, 0.0f, 1.0f);
        norm("output_norm.weight", d);
        for (int32_t il = 0; il < m.n_layer; ++il) {
            const std::string b = format("blk.%d.", il);
            norm(b + "attn_norm.weight", d);
            matrix(b + "ssm_in.weight", d, 2 * inner);
            matrix(b + "ssm_conv1d.weight", 4, inner);
            bias(b + "ssm_conv1d.bias", inner);
            matrix(b + "ssm_x.weight", inner, rank + 2 * state);
            matrix(b + "ssm_dt.weight", rank, inner);
            bias(b + "ssm_dt.bias", inner);
            f32(b + "ssm_a", state, inner, -1.0f, 0.1f);
            f32(b + "ssm_d", inner, 1, 1.0f, 0.1f);
            matrix(b + "ssm_out.weight", inner, d);
        }
    }

    void bert_tensors() {
        const int64_t d = m.d_model;
        f32("token_embd.weight", d, m.n_vocab, 0.0f, 1.0f);
        f32("token_types.weight", d, 2, 0.0f, 0.1f);
        f32("position_embd.weight", d, m.n_ctx, 0.0f, 0.1f);
        norm("token_embd_norm.weight", d);
        bias("token_embd_norm.bias", d);
        for (int32_t il = 0; il < m.n_layer; ++il) {
            const std::string b = format("blk.%d.", il);
            for (const char * name : {"attn_q", "attn_k", "attn_v", "attn_output"}) {
                matrix(b + name + ".weight", d, d);
                bias(b + name + ".bias", d);
            }
            norm(b + "attn_output_norm.weight", d);
            bias(b + "attn_output_norm.bias", d);
            matrix(b + "ffn_up.weight", d, m.n_ff);
            bias(b + "ffn_up.bias", m.n_ff);
            matrix(b + "ffn_down.weight", m.n_ff, d);
            bias(b + "ffn_down.bias", d);
            norm(b + "layer_output_norm.weight", d);
            bias(b + "layer_output_norm.bias", d);
        }
    }
};

} // namespace

std::string write_random_model(const random_model & model, const std::string & path) {
    random_model m = model;
    if (m.arch == "bert") { // as many heads for keys, and heads that fill d_model
        m.n_head_kv = m.n_head;
        m.head_dim  = m.d_model / m.n_head;
    }
    const size_t parameters = size_t(m.d_model) * (2 * m.n_vocab + m.n_ctx + 64) +
        size_t(m.n_layer) * (size_t(m.d_model) * (4 * size_t(m.n_head) * m.head_dim + 12 * size_t(m.d_model) + 3 * size_t(m.n_ff) + 256) + 8 * size_t(m.n_ff)) +
        (m.arch == "gemma3n" ? size_t(m.d_model) * m.d_model * 6 + size_t(m.n_layer) * 256 * (m.n_vocab + 4 * size_t(m.d_model)) : 0);
    std::unique_ptr<ggml_context, void (*)(ggml_context *)> data(
        ggml_init({parameters * sizeof(float) + ggml_tensor_overhead() * 64 * (m.n_layer + 1), nullptr, false}), ggml_free);
    std::unique_ptr<gguf_context, void (*)(gguf_context *)> out(gguf_init_empty(), gguf_free);

    writer w{m, random_source(m.seed), data.get(), out.get()};
    w.metadata();
    w.tokenizer();
    if (m.arch == "bert") {
        w.bert_tensors();
    } else if (m.arch == "plamo2") {
        w.plamo2_tensors();
    } else if (m.arch == "mamba") {
        w.mamba_tensors();
    } else {
        w.decoder_tensors();
    }
    if (!gguf_write_to_file(out.get(), path.c_str(), false)) {
        throw failed("random_model: could not write " + path);
    }
    return path;
}

} // namespace yapo_test
