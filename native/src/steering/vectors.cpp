#include "steering/vectors.h"

#include "abi/guard.h"
#include "llama-ext.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <string>

namespace yapo {
namespace {

constexpr int64_t k_block  = 32;      // of Q8_0, the largest block among the row types
constexpr int64_t k_most   = 1 << 24; // wider than any published SAE by far; keeps every size product inside 64 bits
constexpr int32_t n_most   = 4096;

void check_finite(const char * what, int32_t i, const float * x, int64_t n) {
    for (int64_t j = 0; j < n; ++j) {
        if (!std::isfinite(x[j])) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "vector %d: %s[%lld] is not finite", i, what, (long long) j);
        }
    }
}

// The descriptors as this build knows them, whatever size the caller's have: later fields are zero.
std::vector<yapo_vector_desc> read(const yapo_vector_desc * given, int32_t n) {
    std::vector<yapo_vector_desc> descs(n);
    const char * at = reinterpret_cast<const char *>(given);
    for (int32_t i = 0; i < n; ++i) {
        uint32_t size = 0;
        memcpy(&size, at, sizeof size);
        if (size < offsetof(yapo_vector_desc, sae) || size > 4096 || size % alignof(yapo_vector_desc) != 0) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "vector %d: struct_size is %u, expected %zu", i, size, sizeof descs[i]);
        }
        memcpy(&descs[i], at, std::min<size_t>(size, sizeof descs[i]));
        at += size;
    }
    return descs;
}

void check_sae(const llama_model & model, int32_t i, const yapo_vector_desc & v) {
    const full_sae & sae = *v.sae->weights;
    if (sae.model.get() != &model) {
        fail(YAPO_ERR_MISMATCH, "vector %d: its SAE was created for another loaded model", i);
    }
    if (sae.layer != v.layer) {
        fail(YAPO_ERR_MISMATCH, "vector %d is for layer %d, its SAE for layer %d", i, v.layer, sae.layer);
    }
    require_complete(sae, v.kind == YAPO_VECTOR_REPLACE);
}

void check(const llama_model & model, int32_t i, const yapo_vector_desc & v) {
    const int32_t n_layer = llama_model_n_layer(&model);
    const int32_t n_embd  = llama_model_n_embd(&model);
    if (v.layer < 0 || v.layer >= n_layer) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "vector %d: layer %d is out of range, the model has blocks 0 to %d", i, v.layer, n_layer - 1);
    }
    if (v.d_model != n_embd) {
        fail(YAPO_ERR_MISMATCH, "vector %d: d_model is %lld, the model has %d; was it made for another model?", i, (long long) v.d_model, n_embd);
    }
    if (v.op != YAPO_OPERATOR_ADD) {
        fail(YAPO_ERR_UNSUPPORTED, "vector %d: operator %d is not implemented, only add (0)", i, v.op);
    }
    if (!v.value) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "vector %d: value is NULL", i);
    }
    if (v.kind < YAPO_VECTOR_DENSE || v.kind > YAPO_VECTOR_REPLACE) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "vector %d: kind is %d, expected 0 (dense), 1 (sparse) or 2 (replace)", i, v.kind);
    }
    if (v.sae && v.kind != YAPO_VECTOR_DENSE) {
        check_sae(model, i, v);
    }
    if (v.kind != YAPO_VECTOR_SPARSE) {
        check_finite("value", i, v.value, n_embd);
        return;
    }
    if (v.k < 1 || v.k > k_most) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "vector %d: k is %lld, expected 1 to %lld", i, (long long) v.k, (long long) k_most);
    }
    if (!v.index || !v.dec || (!v.sae && (!v.enc || !v.enc_bias || !v.threshold))) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "vector %d: a sparse vector needs index, enc, enc_bias, threshold and dec (the middle three not with an SAE)", i);
    }
    if (v.dec_row_type < YAPO_ROW_F32 || v.dec_row_type > YAPO_ROW_Q8_0) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "vector %d: dec_row_type is %d, expected 0 (F32), 1 (F16), 2 (BF16) or 3 (Q8_0)", i, v.dec_row_type);
    }
    for (int64_t j = 0; j < v.k; ++j) {
        if (v.index[j] < 0 || (j > 0 && v.index[j] <= v.index[j - 1])) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "vector %d: index[%lld] is %d, expected ascending feature numbers from 0", i, (long long) j, v.index[j]);
        }
    }
    if (v.sae && v.index[v.k - 1] >= v.sae->weights->width) {
        fail(YAPO_ERR_MISMATCH, "vector %d: feature %d is beyond the %lld latents of its SAE", i, v.index[v.k - 1], (long long) v.sae->weights->width);
    }
    check_finite("value", i, v.value, v.k);
    if (!v.sae) {
        check_finite("enc", i, v.enc, v.k * n_embd);
        check_finite("enc_bias", i, v.enc_bias, v.k);
        check_finite("threshold", i, v.threshold, v.k);
    }
    check_finite("dec", i, v.dec, v.k * n_embd);
    if (v.dec_row_type == YAPO_ROW_F16) {
        for (int64_t j = 0; j < v.k * n_embd; ++j) {
            if (std::fabs(v.dec[j]) > 65504.0f) {
                fail(YAPO_ERR_INVALID_ARGUMENT, "vector %d: dec[%lld] is %g, too large for F16 rows; use F32 or BF16", i, (long long) j, double(v.dec[j]));
            }
        }
    }
}

// Descriptors that act jointly, and for every feature of their union the descriptor and row that defines it.
struct joint {
    std::vector<int32_t> members;
    struct row { int32_t index; int32_t member; int64_t k; };
    std::vector<row> rows;
    int32_t row_type = YAPO_ROW_Q8_0; // the most precise that a member asks for
    const yapo_full_sae * sae = nullptr; // of the members that bring one
};

joint make_joint(const yapo_vector_desc * descs, std::vector<int32_t> members, int64_t d) {
    joint g;
    g.members = std::move(members);
    for (int32_t m : g.members) {
        g.row_type = std::min(g.row_type, descs[m].dec_row_type);
        if (g.sae && descs[m].sae && g.sae != descs[m].sae) {
            fail(YAPO_ERR_MISMATCH, "vectors %d and %d share a sae_id, but name two SAEs", g.members.front(), m);
        }
        g.sae = g.sae ? g.sae : descs[m].sae;
        for (int64_t k = 0; k < descs[m].k; ++k) {
            g.rows.push_back({descs[m].index[k], m, k});
        }
    }
    std::stable_sort(g.rows.begin(), g.rows.end(), [](const joint::row & a, const joint::row & b) { return a.index < b.index; });
    if (g.sae && !g.rows.empty() && g.rows.back().index >= g.sae->weights->width) {
        fail(YAPO_ERR_MISMATCH, "vectors share a sae_id, but feature %d is beyond the %lld latents of its SAE", g.rows.back().index, (long long) g.sae->weights->width);
    }
    // Equal ids promise equal rows. The encoder side decides what is active, so a broken promise there is refused.
    for (size_t r = 1; r < g.rows.size() && !g.sae; ++r) {
        const joint::row & a = g.rows[r - 1];
        const joint::row & b = g.rows[r];
        const yapo_vector_desc & va = descs[a.member];
        const yapo_vector_desc & vb = descs[b.member];
        if (a.index == b.index && (va.enc_bias[a.k] != vb.enc_bias[b.k] || va.threshold[a.k] != vb.threshold[b.k] ||
                                   memcmp(va.enc + a.k * d, vb.enc + b.k * d, size_t(d) * sizeof(float)) != 0)) {
            fail(YAPO_ERR_MISMATCH, "vectors %d and %d share a sae_id, but their encoders differ at feature %d: are they from the same SAE?", a.member, b.member, a.index);
        }
    }
    g.rows.erase(std::unique(g.rows.begin(), g.rows.end(), [](const joint::row & a, const joint::row & b) { return a.index == b.index; }), g.rows.end());
    return g;
}

// One ggml context and buffer per buffer type; tensors are declared first, allocated together, then filled.
struct uploader {
    vector_set & set;

    struct pending { ggml_tensor * tensor; std::vector<uint8_t> data; };
    struct arena   { ggml_context * ctx; std::vector<pending> tensors; };
    std::map<ggml_backend_buffer_type_t, arena> arenas;
    size_t n_tensors; // an upper bound

    ggml_context * context(ggml_backend_buffer_type_t buft) {
        arena & a = arenas[buft];
        if (!a.ctx) {
            a.ctx = ggml_init({ggml_tensor_overhead() * n_tensors, nullptr, true});
            if (!a.ctx) {
                throw std::bad_alloc();
            }
            set.contexts.emplace_back(a.ctx);
        }
        return a.ctx;
    }

    const full_sae * keep(const yapo_full_sae * sae) {
        const std::shared_ptr<const full_sae> weights = sae->weights;
        if (std::find(set.saes.begin(), set.saes.end(), weights) == set.saes.end()) {
            set.saes.push_back(weights);
            set.bytes += weights->bytes();
        }
        return weights.get();
    }

    // rows of n floats each, converted to type
    ggml_tensor * add(ggml_backend_buffer_type_t buft, ggml_type type, int64_t n, int64_t rows, const std::vector<float> & x) {
        ggml_context * ctx = context(buft);
        ggml_tensor *  t   = rows == 1 ? ggml_new_tensor_1d(ctx, type, n) : ggml_new_tensor_2d(ctx, type, n, rows);
        std::vector<uint8_t> data(ggml_nbytes(t));
        if (type == GGML_TYPE_F32) {
            memcpy(data.data(), x.data(), data.size());
        } else {
            ggml_quantize_chunk(type, x.data(), data.data(), 0, rows, n, nullptr);
        }
        arenas[buft].tensors.push_back({t, std::move(data)});
        return t;
    }

    ggml_tensor * add(ggml_backend_buffer_type_t buft, const std::vector<int32_t> & x) {
        ggml_tensor * t = ggml_new_tensor_1d(context(buft), GGML_TYPE_I32, int64_t(x.size()));
        const auto *  p = reinterpret_cast<const uint8_t *>(x.data());
        arenas[buft].tensors.push_back({t, std::vector<uint8_t>(p, p + x.size() * sizeof(int32_t))});
        return t;
    }

    void run() {
        for (auto & [buft, a] : arenas) {
            ggml_backend_buffer_ptr buffer(ggml_backend_alloc_ctx_tensors_from_buft(a.ctx, buft));
            if (!buffer) {
                fail(YAPO_ERR_OUT_OF_MEMORY, "no room for the steering vectors on %s", ggml_backend_buft_name(buft));
            }
            ggml_backend_buffer_set_usage(buffer.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
            for (const pending & p : a.tensors) {
                ggml_backend_tensor_set(p.tensor, p.data.data(), 0, p.data.size());
            }
            set.bytes += int64_t(ggml_backend_buffer_get_size(buffer.get()));
            set.buffers.push_back(std::move(buffer));
        }
    }
};

sparse_group add_group(uploader & up, ggml_backend_buffer_type_t buft, const yapo_vector_desc * descs, const joint & g, int64_t d) {
    const int64_t k  = int64_t(g.rows.size());
    const int64_t kp = (k + k_block - 1) / k_block * k_block;
    sparse_group out;
    if (g.sae) {
        std::vector<int32_t> support(kp, 0);
        std::transform(g.rows.begin(), g.rows.end(), support.begin(), [](const joint::row & row) { return row.index; });
        out.sae     = up.keep(g.sae);
        out.support = up.add(buft, support);
    } else {
        std::vector<float> enc(kp * d, 0.0f), bias(kp, 0.0f), threshold(kp, std::numeric_limits<float>::infinity());
        for (int64_t r = 0; r < k; ++r) {
            const joint::row &       row = g.rows[r];
            const yapo_vector_desc & v   = descs[row.member];
            memcpy(enc.data() + r * d, v.enc + row.k * d, size_t(d) * sizeof(float));
            bias[r]      = v.enc_bias[row.k];
            threshold[r] = v.threshold[row.k];
        }
        out.enc       = up.add(buft, GGML_TYPE_F32, d, kp, enc);
        out.enc_bias  = up.add(buft, GGML_TYPE_F32, kp, 1, bias);
        out.threshold = up.add(buft, GGML_TYPE_F32, kp, 1, threshold);
    }
    std::vector<float> dec(kp * d, 0.0f);
    for (int64_t r = 0; r < k; ++r) {
        const float * row = descs[g.rows[r].member].dec + g.rows[r].k * d;
        for (int64_t j = 0; j < d; ++j) {
            dec[j * kp + r] = row[j];
        }
    }
    out.dec = up.add(buft, to_ggml(g.row_type), kp, d, dec);
    for (int32_t m : g.members) {
        std::vector<float> value(kp, 0.0f);
        size_t r = 0;
        for (int64_t i = 0; i < descs[m].k; ++i) {
            while (g.rows[r].index != descs[m].index[i]) {
                ++r;
            }
            value[r] = descs[m].value[i];
        }
        out.values.push_back({m, up.add(buft, GGML_TYPE_F32, kp, 1, value)});
    }
    return out;
}

} // namespace

std::shared_ptr<const vector_set> upload_vectors(const llama_model & model, const yapo_vector_desc * given, int32_t n) {
    if (n < 0 || n > n_most || (n > 0 && !given)) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_context_set_vectors: n is %d, expected 0 to %d with vectors given", n, n_most);
    }
    const std::vector<yapo_vector_desc> read_descs = read(given, n);
    const yapo_vector_desc * descs = read_descs.data();
    for (int32_t i = 0; i < n; ++i) {
        check(model, i, descs[i]);
    }
    const int64_t d = llama_model_n_embd(&model);

    auto set = std::make_shared<vector_set>();
    set->columns = n;
    uploader up{*set, {}, size_t(n) * 5 + 1};
    std::map<std::pair<int32_t, uint64_t>, std::vector<int32_t>> same_sae;
    const auto add_joint = [&](int32_t layer, std::vector<int32_t> members) {
        set->layers[layer].sparse.push_back(add_group(up, llama_model_layer_buft(&model, layer), descs, make_joint(descs, std::move(members), d), d));
    };
    for (int32_t i = 0; i < n; ++i) {
        const yapo_vector_desc & v = descs[i];
        if (v.kind == YAPO_VECTOR_SPARSE) {
            // a sparse vector without an id is joined with none, but those that bring the same SAE are
            const uint64_t id = v.sae_id != 0 ? v.sae_id : uint64_t(reinterpret_cast<uintptr_t>(v.sae));
            if (id != 0) {
                same_sae[{v.layer, id}].push_back(i);
            } else {
                add_joint(v.layer, {i});
            }
            continue;
        }
        layer_vectors & layer = set->layers[v.layer];
        const weighted_value value = {i, up.add(llama_model_layer_buft(&model, v.layer), GGML_TYPE_F32, d, 1, std::vector<float>(v.value, v.value + d))};
        if (v.kind == YAPO_VECTOR_DENSE) {
            layer.dense.push_back(value);
        } else {
            layer.replace.push_back({value, v.sae ? up.keep(v.sae) : nullptr});
        }
    }
    for (const auto & [key, members] : same_sae) {
        add_joint(key.first, members);
    }
    up.run();
    return set;
}

} // namespace yapo
