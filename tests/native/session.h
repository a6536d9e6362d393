// Handles over the C ABI for tests: a model made on the spot, a context on it, batches, vectors.
#pragma once

#include "harness.h"
#include "random_model.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

namespace yapo_test {

struct model {
    yapo_model * handle = nullptr;
    explicit model(const std::string & path) : model(path, on_cpu()) {}
    model(const std::string & path, const yapo_model_options & options) { OK(yapo_model_load(path.c_str(), &options, &handle, &err)); }
    explicit model(const random_model & m) : model(write_random_model(m, scratch(m.arch + ".gguf"))) {}
    ~model() { yapo_model_free(handle); }
    model(const model &) = delete;

    static yapo_model_options on_cpu() {
        yapo_model_options options;
        yapo_model_default_options(&options);
        options.device = "cpu"; // with no layers on it a GPU would still take the products of long prompts
        return options;
    }
};

struct sizes {
    uint32_t n_ctx = 256, n_batch = 64, n_ubatch = 0, n_seq_max = 1;
    int32_t  type_kv = 1, flash_attention = 0; // F32 and no fused attention: comparisons are then about the code, not about F16
};

inline yapo_context_options options_of(const sizes & s) {
    yapo_context_options o;
    yapo_context_default_options(&o);
    o.n_ctx = s.n_ctx, o.n_batch = s.n_batch, o.n_ubatch = s.n_ubatch, o.n_seq_max = s.n_seq_max;
    o.n_threads = 1, o.type_kv = s.type_kv, o.flash_attention = s.flash_attention;
    return o;
}

struct batch {
    std::vector<int32_t> tokens, positions, sequences;
    std::vector<uint8_t> outputs;
    std::vector<float>   strengths;

    // n columns of strengths follow
    batch & add(int32_t token, int32_t position, int32_t sequence = 0, bool output = true, const std::vector<float> & s = {}) {
        tokens.push_back(token), positions.push_back(position), sequences.push_back(sequence), outputs.push_back(output);
        strengths.insert(strengths.end(), s.begin(), s.end());
        return *this;
    }
    yapo_batch view() const {
        yapo_batch b = {};
        b.struct_size = sizeof b;
        b.n_tokens    = int32_t(tokens.size());
        b.tokens = tokens.data(), b.positions = positions.data(), b.sequences = sequences.data(), b.outputs = outputs.data();
        b.strengths = strengths.empty() ? nullptr : strengths.data();
        return b;
    }
};

inline std::vector<int32_t> random_tokens(int32_t n, uint64_t seed, int32_t n_vocab = 384) {
    random_source rng(seed);
    std::vector<int32_t> t(n);
    for (int32_t & x : t) x = 6 + rng.below(n_vocab - 6);
    t[0] = 2; // <bos>
    return t;
}

// All tokens of one sequence from position p0 on, every output wanted, the same strengths everywhere.
inline batch whole(const std::vector<int32_t> & tokens, const std::vector<float> & s = {}, int32_t sequence = 0, int32_t p0 = 0) {
    batch b;
    for (size_t i = 0; i < tokens.size(); ++i) b.add(tokens[i], p0 + int32_t(i), sequence, true, s);
    return b;
}

// Owns the arrays behind a yapo_vector_desc.
struct steer {
    int32_t              kind = YAPO_VECTOR_SPARSE, layer = 0, row_type = YAPO_ROW_F32;
    uint64_t             sae_id = 0;
    const yapo_full_sae * sae   = nullptr;
    int64_t              d = 0;
    std::vector<int32_t> index;
    std::vector<float>   value, enc, bias, threshold, dec;

    int64_t k() const { return int64_t(index.size()); }
    yapo_vector_desc desc() const {
        yapo_vector_desc v = {};
        v.struct_size = sizeof v;
        v.kind = kind, v.op = YAPO_OPERATOR_ADD, v.layer = layer, v.d_model = d, v.k = k(), v.sae_id = sae_id, v.dec_row_type = row_type;
        v.index = index.data(), v.value = value.data(), v.enc = enc.data(), v.enc_bias = bias.data(), v.threshold = threshold.data(), v.dec = dec.data();
        v.sae = sae;
        return v;
    }
};

inline steer random_dense(int32_t layer, int64_t d, uint64_t seed, float size = 1.0f) {
    random_source rng(seed);
    steer v;
    v.kind = YAPO_VECTOR_DENSE, v.layer = layer, v.d = d;
    for (int64_t i = 0; i < d; ++i) v.value.push_back(size * rng.normal());
    return v;
}

// A dictionary: the rows of an SAE's features, so that vectors can share it.
struct dictionary {
    int64_t d, width;
    std::vector<float> enc, bias, threshold, dec;
    dictionary(int64_t d, int64_t width, uint64_t seed, float scale = 1.0f) : d(d), width(width) {
        random_source rng(seed);
        const float unit = 1.0f / std::sqrt(float(d));
        for (int64_t i = 0; i < width * d; ++i) enc.push_back(unit * rng.normal());
        for (int64_t i = 0; i < width; ++i) bias.push_back(scale * 0.1f * rng.normal());
        for (int64_t i = 0; i < width; ++i) threshold.push_back(scale * 0.3f * float(rng.uniform()));
        for (int64_t i = 0; i < width * d; ++i) dec.push_back(unit * rng.normal());
    }
    // Values of both signs on the given features.
    steer vector(int32_t layer, const std::vector<int32_t> & features, uint64_t seed, float size = 1.0f) const {
        random_source rng(seed);
        steer v;
        v.layer = layer, v.d = d, v.index = features;
        for (int32_t f : features) {
            v.value.push_back(size * rng.normal());
            v.bias.push_back(bias[f]);
            v.threshold.push_back(threshold[f]);
            v.enc.insert(v.enc.end(), enc.begin() + f * d, enc.begin() + (f + 1) * d);
            v.dec.insert(v.dec.end(), dec.begin() + f * d, dec.begin() + (f + 1) * d);
        }
        return v;
    }
    steer vector(int32_t layer, int32_t k, uint64_t seed, float size = 1.0f) const {
        random_source rng(seed ^ 77);
        std::vector<int32_t> features;
        for (int32_t f = 0; f < width && int32_t(features.size()) < k; ++f) {
            if (rng.below(int32_t(width) - f) < k - int32_t(features.size())) features.push_back(f);
        }
        return vector(layer, features, seed, size);
    }
};

struct context {
    yapo_context * handle = nullptr;
    int32_t        n_vocab = 0, d = 0, last = 0;

    context(const model & m, const sizes & s = {}) {
        const yapo_context_options o = options_of(s);
        OK(yapo_context_create(m.handle, &o, &handle, &err));
        yapo_model_info info = {};
        info.struct_size = sizeof info;
        OK(yapo_model_get_info(m.handle, &info, &err));
        n_vocab = info.n_vocab, d = info.d_model;
    }
    ~context() { yapo_context_free(handle); }
    context(const context &) = delete;

    void attach(const std::vector<steer> & vectors) {
        std::vector<yapo_vector_desc> descs;
        for (const steer & v : vectors) descs.push_back(v.desc());
        OK(yapo_context_set_vectors(handle, descs.data(), int32_t(descs.size()), &err));
    }
    void capture(const std::vector<int32_t> & layers, const std::vector<int32_t> & sites) {
        OK(yapo_context_set_capture(handle, layers.data(), sites.data(), int32_t(layers.size()), &err));
    }
    void decode(const batch & b) {
        const yapo_batch view = b.view();
        OK(yapo_context_decode(handle, &view, &err));
        last = view.n_tokens;
    }
    // Logits of one row, or of all rows of a batch whose outputs were all wanted, [T, V].
    std::vector<float> logits(int32_t row) const {
        std::vector<float> x(n_vocab);
        OK(yapo_context_logits(handle, row, x.data(), n_vocab, &err));
        return x;
    }
    std::vector<float> logits() const {
        std::vector<float> all;
        for (int32_t i = 0; i < last; ++i) {
            const std::vector<float> x = logits(i);
            all.insert(all.end(), x.begin(), x.end());
        }
        return all;
    }
    std::vector<float> captured(int32_t slot) const {
        std::vector<float> x(size_t(last) * d);
        OK(yapo_context_captured(handle, slot, x.data(), int64_t(x.size()), &err));
        return x;
    }
    void remove(int32_t sequence, int32_t p0, int32_t p1 = -1) { OK(yapo_context_remove(handle, sequence, p0, p1, &err)); }
    void clear() { remove(-1, 0); }
    yapo_context_stats stats() const {
        yapo_context_stats s = {};
        s.struct_size = sizeof s;
        OK(yapo_context_get_stats(handle, &s, &err));
        return s;
    }
};

inline void check_same_bits(const char * what, const std::vector<float> & a, const std::vector<float> & b) {
    CHECK_EQ(a.size(), b.size());
    const difference diff = compare(a.data(), b.data(), int64_t(a.size()));
    CHECK_MSG(diff.bits == 0, "%s: %lld of %zu values differ, by at most %.3g at %lld", what, (long long) diff.bits, a.size(), diff.max_abs, (long long) diff.index);
}

// max |a - b| <= tolerance * max |b|; says what was found.
inline void check_close(const char * what, const std::vector<float> & a, const std::vector<float> & b, double tolerance) {
    CHECK_EQ(a.size(), b.size());
    double top = 0;
    for (float x : b) top = std::max(top, double(std::fabs(x)));
    const difference diff = compare(a.data(), b.data(), int64_t(a.size()));
    note("%s: max difference %.3g of values up to %.3g (relative %.2g, tolerance %.2g)", what, diff.max_abs, top, diff.max_abs / top, tolerance);
    CHECK_MSG(diff.max_abs <= tolerance * top, "%s: max difference %.3g at %lld exceeds %.2g of %.3g", what, diff.max_abs, (long long) diff.index, tolerance, top);
}

} // namespace yapo_test
