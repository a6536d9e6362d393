#include "model/gguf/model_rules.h"

#include "abi/guard.h"
#include "model/gguf/file_reader.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <vector>

namespace yapo {
namespace {

constexpr int64_t max_layers = 512; // LLAMA_MAX_LAYERS

struct integer_rule {
    const char * key; // after "<architecture>."
    int64_t      low, high;
    bool         per_layer; // may be an array with one entry per block
};

// Ranges are generous: they keep sums and products within 64 bits and allocations within reason, not models ordinary.
constexpr integer_rule integer_rules[] = {
    {"block_count",                     1, max_layers,  false},
    {"context_length",                  1, INT32_MAX,   false},
    {"embedding_length",                1, 1 << 20,     false},
    {"embedding_length_out",            1, 1 << 20,     false},
    {"vocab_size",                      1, 1 << 26,     false},
    {"feed_forward_length",             0, 1 << 24,     true},
    {"expert_feed_forward_length",      0, 1 << 24,     true},
    {"expert_shared_feed_forward_length", 0, 1 << 24,   true},
    {"expert_count",                    0, 1024,        false}, // LLAMA_MAX_EXPERTS
    {"expert_used_count",               0, 1024,        true},
    {"expert_shared_count",             0, 1024,        false},
    {"expert_group_count",              0, 1024,        false},
    {"expert_group_used_count",         0, 1024,        false},
    {"leading_dense_block_count",       0, max_layers,  false},
    {"nextn_predict_layers",            0, max_layers - 1, false},
    {"pooling_type",                    0, 4,           false},
    {"attention.head_count",            0, 1 << 16,     true},
    {"attention.head_count_kv",         0, 1 << 16,     true},
    {"attention.key_length",            1, 1 << 16,     false},
    {"attention.value_length",          1, 1 << 16,     false},
    {"attention.key_length_swa",        1, 1 << 16,     false},
    {"attention.value_length_swa",      1, 1 << 16,     false},
    {"attention.key_length_mla",        1, 1 << 16,     false},
    {"attention.value_length_mla",      1, 1 << 16,     false},
    {"attention.group_norm_groups",     1, 1 << 16,     false},
    {"attention.sliding_window",        0, INT32_MAX,   true},
    {"rope.dimension_count",            0, 1 << 16,     false},
    {"rope.dimension_count_swa",        0, 1 << 16,     false},
    {"rope.scaling.original_context_length", 1, INT32_MAX, false},
    {"ssm.conv_kernel",                 1, 1 << 16,     false},
    {"ssm.inner_size",                  1, 1 << 24,     false},
    {"ssm.state_size",                  1, 1 << 20,     false},
    {"ssm.time_step_rank",              1, 1 << 20,     false},
    {"ssm.group_count",                 0, 1 << 20,     false},
};

struct float_rule {
    const char * key;
    double       low, high;
};

constexpr float_rule float_rules[] = {
    {"attention.layer_norm_epsilon",     0.0, 1.0},
    {"attention.layer_norm_rms_epsilon", 0.0, 1.0},
    {"attention.group_norm_epsilon",     0.0, 1.0},
    {"attention.max_alibi_bias",         0.0, 1e6},
    {"attention.clamp_kqv",              0.0, 1e9},
    {"attention.scale",                  -1e9, 1e9},
    {"attn_logit_softcapping",           0.0, 1e9},
    {"final_logit_softcapping",          0.0, 1e9},
    {"rope.freq_base",                   1e-6, 1e12},
    {"rope.freq_base_swa",               1e-6, 1e12},
    {"rope.scaling.factor",              0.0, 1e9},
    {"rope.scaling.attn_factor",         0.0, 1e9},
    {"rope.scale_linear",                0.0, 1e9},
    {"logit_scale",                      -1e9, 1e9},
    {"embedding_scale",                  -1e9, 1e9},
    {"residual_scale",                   -1e9, 1e9},
};

class rules {
public:
    rules(file_reader & file, const gguf_index & index, const std::string & architecture)
        : file(file), path(file.path()), index(index), prefix(architecture + ".") {}

    void check() const {
        for (const integer_rule & rule : integer_rules) {
            check_integer(rule);
        }
        for (const float_rule & rule : float_rules) {
            check_float(rule);
        }
        check_heads();
        check_vocabulary();
        check_tensors();
    }

private:
    file_reader &       file;
    const std::string & path;
    const gguf_index &  index;
    std::string         prefix;

    [[noreturn]] void refuse(const std::string & key, const std::string & found, const std::string & expected) const {
        throw failure(YAPO_ERR_FORMAT, path + ": key " + key + " is " + found + ", expected " + expected);
    }

    static std::string described(const gguf_value & value) {
        if (value.is_array) {
            return "an array of " + std::to_string(value.count) + " " + gguf_type_name(value.type);
        }
        if (value.type == GGUF_TYPE_STRING) {
            return "the string \"" + value.text.substr(0, 40) + "\"";
        }
        return std::string(gguf_type_name(value.type)) + " " + (value.is_float() ? std::to_string(value.number()) : std::to_string(value.integer()));
    }

    int64_t integer(const std::string & name, int64_t otherwise) const {
        const gguf_value * value = index.find(prefix + name);
        return value && value->is_integer() ? value->integer() : otherwise;
    }

    void check_integer(const integer_rule & rule) const {
        const std::string  key   = prefix + rule.key;
        const gguf_value * value = index.find(key);
        if (!value) {
            return;
        }
        const std::string range = std::to_string(rule.low) + " to " + std::to_string(rule.high);
        if (value->is_array && rule.per_layer) {
            const int64_t layers = integer("block_count", 0);
            if (value->count != static_cast<uint64_t>(layers)) {
                refuse(key, described(*value), "one value, or one per block (" + std::to_string(layers) + ")");
            }
            return;
        }
        if (!value->is_integer() || value->integer() < rule.low || value->integer() > rule.high) {
            refuse(key, described(*value), "an integer from " + range);
        }
    }

    void check_float(const float_rule & rule) const {
        const std::string  key   = prefix + rule.key;
        const gguf_value * value = index.find(key);
        if (!value || value->is_array) {
            return; // arrays: llama.cpp checks their type and length
        }
        if (!value->is_float() || !(value->number() >= rule.low && value->number() <= rule.high)) { // NaN too
            char range[64];
            snprintf(range, sizeof range, "a number from %g to %g", rule.low, rule.high);
            refuse(key, described(*value), range);
        }
    }

    void check_heads() const {
        const int64_t heads    = integer("attention.head_count", 0);
        const int64_t heads_kv = integer("attention.head_count_kv", heads);
        if (heads > 0 && heads_kv > 0 && heads % heads_kv != 0) {
            refuse(prefix + "attention.head_count_kv", std::to_string(heads_kv), "a divisor of attention.head_count, " + std::to_string(heads));
        }
        const int64_t d_model = integer("embedding_length", 0);
        const int64_t head    = integer("attention.key_length", heads > 0 ? d_model / heads : 0);
        const int64_t rotated = integer("rope.dimension_count", head);
        const bool    hybrid  = index.find(prefix + "ssm.conv_kernel") != nullptr; // may have attention without rotation
        if (head > 0 && (rotated > head || rotated % 2 != 0 || (rotated == 0 && !hybrid))) {
            refuse(prefix + "rope.dimension_count", std::to_string(rotated), "an even number from 2 to the head size, " + std::to_string(head));
        }
        const int64_t experts = integer("expert_count", 0);
        const int64_t used    = integer("expert_used_count", 0);
        if (used > experts || (experts > 0 && used == 0 && index.find(prefix + "expert_used_count"))) {
            refuse(prefix + "expert_used_count", std::to_string(used), "1 to expert_count, " + std::to_string(experts));
        }
        if (integer("nextn_predict_layers", 0) >= integer("block_count", max_layers)) {
            refuse(prefix + "nextn_predict_layers", std::to_string(integer("nextn_predict_layers", 0)), "less than block_count");
        }
        if (const gguf_value * scaling = index.find(prefix + "rope.scaling.type")) {
            const std::string & type = scaling->text;
            if (scaling->is_array || (type != "none" && type != "linear" && type != "yarn" && type != "longrope")) {
                refuse(prefix + "rope.scaling.type", described(*scaling), "none, linear, yarn or longrope");
            }
        }
    }

    static bool ends_with(const std::string & text, const char * tail) {
        const std::string end = tail;
        return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
    }

    // ggml computes with weights of float and quantized types, and adds or multiplies vectors of F32 only; it asserts on
    // a worker thread otherwise. Tables of expert ids are the one kind of integer weights.
    void check_tensors() const {
        for (const gguf_tensor & t : index.tensors) {
            const bool integer  = t.type == GGML_TYPE_I8 || t.type == GGML_TYPE_I16 || t.type == GGML_TYPE_I32 || t.type == GGML_TYPE_I64;
            const bool table    = t.name.find("tid2eid") != std::string::npos;
            const bool vector   = t.n_dims <= 1 || ends_with(t.name, ".bias") || ends_with(t.name, "_norm.weight");
            const char * expected = vector && t.type != GGML_TYPE_F32 ? "f32" : integer || t.type == GGML_TYPE_F64 ? "a float or quantized type" : nullptr;
            if (expected && !table) {
                throw failure(YAPO_ERR_FORMAT, path + ": tensor " + t.name + " " + t.shape() + " has type " + ggml_type_name(t.type) + ", expected " + expected);
            }
        }
    }

    void check_vocabulary() const {
        const gguf_value * tokens = index.find("tokenizer.ggml.tokens");
        if (!tokens) {
            return;
        }
        if (!tokens->is_array || tokens->type != GGUF_TYPE_STRING || tokens->count == 0) {
            refuse("tokenizer.ggml.tokens", described(*tokens), "a non-empty array of strings");
        }
        check_parallel("tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, tokens->count);
        check_parallel("tokenizer.ggml.token_type", GGUF_TYPE_INT32, tokens->count);
        check_distinct(*tokens);
    }

    // llama.cpp asserts that there are as many texts as tokens. By hash: 2 MB instead of 20 for a vocabulary of 256k.
    void check_distinct(const gguf_value & tokens) const {
        std::vector<uint64_t> hashes(static_cast<size_t>(tokens.count));
        std::string           text;
        file.seek(tokens.at);
        for (size_t i = 0; i < hashes.size(); ++i) {
            text = file.text(UINT32_MAX, "tokenizer.ggml.tokens");
            uint64_t hash = 0xcbf29ce484222325u; // FNV-1a
            for (const char * c = text.c_str(); *c; ++c) { // llama.cpp takes them as C strings
                hash = (hash ^ static_cast<unsigned char>(*c)) * 0x100000001b3u;
            }
            hashes[i] = text.c_str()[0] ? hash : i; // empty ones get names of their own
        }
        std::sort(hashes.begin(), hashes.end());
        if (std::adjacent_find(hashes.begin(), hashes.end()) != hashes.end()) {
            refuse("tokenizer.ggml.tokens", "an array in which a text occurs twice", "distinct texts");
        }
    }

    void check_parallel(const char * key, gguf_type type, uint64_t count) const {
        const gguf_value * value = index.find(key);
        if (value && (!value->is_array || value->type != type || value->count < count)) {
            refuse(key, described(*value), "an array of " + std::to_string(count) + " " + gguf_type_name(type) + ", one for each of tokenizer.ggml.tokens");
        }
    }
};

} // namespace

void check_model_rules(file_reader & file, const gguf_index & index) {
    const std::string & path         = file.path();
    const gguf_value *  architecture = index.find("general.architecture");
    if (!architecture || architecture->is_array || architecture->type != GGUF_TYPE_STRING || architecture->text.empty()) {
        throw failure(YAPO_ERR_FORMAT, path + ": there is no string general.architecture: this is a GGUF file, but not of a model");
    }
    const std::string & name = architecture->text;
    if (name.compare(0, 5, "yapo-") == 0) {
        const char * what = name == "yapo-steering" ? "a steering vector" : name == "yapo-sae" ? "a sparse autoencoder" : "a file of this project";
        throw failure(YAPO_ERR_MISMATCH, path + ": this is " + what + " (general.architecture " + name + "), expected a language model");
    }
    rules(file, index, name).check();
}

} // namespace yapo
