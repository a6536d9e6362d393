#include "steering/vectors.h"

#include "abi/guard.h"
#include "steering/descriptors.h"
#include "steering/fused.h"

#include "llama-ext.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <tuple>

namespace yapo {
namespace {

constexpr int64_t k_block = 32; // of Q8_0, the largest block among the row types

void check_sae(const llama_model & model, int32_t i, const yapo_vector_desc & v) {
    const full_sae & sae = *v.sae->weights;
    if (sae.model.get() != &model) {
        fail(YAPO_ERR_MISMATCH, "vector %d: its SAE was created for another loaded model", i);
    }
    if (sae.layer != v.layer) {
        fail(YAPO_ERR_MISMATCH, "vector %d is for layer %d, its SAE for layer %d", i, v.layer, sae.layer);
    }
    if (v.kind == YAPO_VECTOR_SPARSE && v.index[v.k - 1] >= sae.width) {
        fail(YAPO_ERR_MISMATCH, "vector %d: feature %d is beyond the %lld latents of its SAE", i, v.index[v.k - 1], (long long) sae.width);
    }
    require_complete(sae, v.kind == YAPO_VECTOR_REPLACE);
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

    // `rows` rows of n floats, each filled by fill(row, floats) from zeros, converted to type
    template <class F> ggml_tensor * add(ggml_backend_buffer_type_t buft, ggml_type type, int64_t n, int64_t rows, F && fill) {
        ggml_context * ctx = context(buft);
        ggml_tensor *  t   = rows == 1 ? ggml_new_tensor_1d(ctx, type, n) : ggml_new_tensor_2d(ctx, type, n, rows);
        std::vector<uint8_t> data(ggml_nbytes(t));
        std::vector<float>   row(n);
        for (int64_t r = 0; r < rows; ++r) {
            std::fill(row.begin(), row.end(), 0.0f);
            fill(r, row.data());
            if (type == GGML_TYPE_F32) {
                memcpy(data.data() + size_t(r) * t->nb[1], row.data(), size_t(n) * sizeof(float));
            } else {
                ggml_quantize_chunk(type, row.data(), data.data() + size_t(r) * t->nb[1], 0, 1, n, nullptr);
            }
        }
        arenas[buft].tensors.push_back({t, std::move(data)});
        return t;
    }

    ggml_tensor * add(ggml_backend_buffer_type_t buft, const float * x, int64_t n) {
        return add(buft, GGML_TYPE_F32, n, 1, [&](int64_t, float * row) { std::copy_n(x, n, row); });
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

// Sets of vectors that act jointly and can go through the same products.
using joint_sets = std::vector<const joint *>;

// Columns of the graph's strengths from set.given.size() on.
sparse_group add_group(uploader & up, ggml_backend_buffer_type_t buft, const yapo_vector_desc * descs, const joint_sets & sets, int64_t d) {
    sparse_group out;
    out.column = int32_t(up.set.given.size());
    std::vector<const joint::row *> rows;     // [K]; null: padding
    std::vector<std::vector<float>> values;   // [V][K]
    std::vector<int64_t> first;               // [K] of each set
    for (const joint * g : sets) {
        if (g->sae && g->rows.back().index >= g->sae->weights->width) {
            fail(YAPO_ERR_MISMATCH, "vectors share a sae_id, but feature %d is beyond the %lld latents of its SAE", g->rows.back().index, (long long) g->sae->weights->width);
        }
        first.push_back(int64_t(rows.size()));
        for (const joint::row & row : g->rows) {
            rows.push_back(&row);
        }
        rows.resize((rows.size() + k_block - 1) / k_block * k_block);
    }
    const int64_t k = int64_t(rows.size());
    for (size_t s = 0; s < sets.size(); ++s) {
        for (int32_t m : sets[s]->members) {
            up.set.given.push_back(m);
            std::vector<float> & value = values.emplace_back(k, 0.0f);
            size_t r = 0;
            for (int64_t i = 0; i < descs[m].k; ++i) {
                while (sets[s]->rows[r].index != descs[m].index[i]) {
                    ++r;
                }
                value[first[s] + r] = descs[m].value[i];
            }
        }
    }
    const int64_t v = int64_t(values.size());
    out.values = up.add(buft, GGML_TYPE_F32, v, k, [&](int64_t r, float * x) {
        for (int64_t i = 0; i < v; ++i) {
            x[i] = values[i][r];
        }
    });

    if (sets.front()->sae) {
        std::vector<int32_t> support(k, 0);
        for (int64_t r = 0; r < k; ++r) {
            support[r] = rows[r] ? rows[r]->index : 0;
        }
        out.sae     = up.keep(sets.front()->sae);
        out.support = up.add(buft, support);
    } else {
        std::vector<float> bias(k, 0.0f), threshold(k, std::numeric_limits<float>::infinity());
        for (int64_t r = 0; r < k; ++r) {
            if (rows[r]) {
                bias[r]      = descs[rows[r]->member].enc_bias[rows[r]->k];
                threshold[r] = descs[rows[r]->member].threshold[rows[r]->k];
            }
        }
        out.enc = up.add(buft, GGML_TYPE_F32, d, k, [&](int64_t r, float * x) {
            if (rows[r]) {
                std::copy_n(descs[rows[r]->member].enc + rows[r]->k * d, d, x);
            }
        });
        out.enc_bias  = up.add(buft, bias.data(), k);
        out.threshold = up.add(buft, threshold.data(), k);
        out.fused     = fused_steering(buft);
    }
    out.dec = up.add(buft, to_ggml(sets.front()->row_type), k, d, [&](int64_t j, float * x) {
        for (int64_t r = 0; r < k; ++r) {
            if (rows[r]) {
                x[r] = descs[rows[r]->member].dec[rows[r]->k * d + j];
            }
        }
    });
    return out;
}

} // namespace

std::shared_ptr<const vector_set> upload_vectors(const llama_model & model, const yapo_vector_desc * given, int32_t n) {
    const int64_t d = llama_model_n_embd(&model);
    const std::vector<yapo_vector_desc> checked = read_descriptors(given, n, llama_model_n_layer(&model), d);
    const yapo_vector_desc * descs = checked.data();
    for (int32_t i = 0; i < n; ++i) {
        if (descs[i].sae && descs[i].kind != YAPO_VECTOR_DENSE) {
            check_sae(model, i, descs[i]);
        }
    }

    auto set = std::make_shared<vector_set>();
    set->columns = n;
    uploader up{*set, {}, size_t(n) * 6 + 1};
    for (int32_t i = 0; i < n; ++i) {
        const yapo_vector_desc & v = descs[i];
        if (v.kind == YAPO_VECTOR_SPARSE) {
            continue;
        }
        layer_vectors & layer = set->layers[v.layer];
        const weighted_value value = {int32_t(set->given.size()), up.add(llama_model_layer_buft(&model, v.layer), v.value, d)};
        set->given.push_back(i);
        if (v.kind == YAPO_VECTOR_DENSE) {
            layer.dense.push_back(value);
        } else {
            layer.replace.push_back({value, v.sae ? up.keep(v.sae) : nullptr});
        }
    }
    const std::vector<joint> joints = join_sparse(checked, d);
    std::vector<std::pair<std::tuple<int32_t, int32_t, const full_sae *>, joint_sets>> alike; // of one layer, row type and SAE
    for (const joint & g : joints) {
        const std::tuple<int32_t, int32_t, const full_sae *> kind = {g.layer, g.row_type, g.sae ? g.sae->weights.get() : nullptr};
        auto found = std::find_if(alike.begin(), alike.end(), [&](const auto & x) { return x.first == kind; });
        if (found == alike.end()) {
            found = alike.insert(alike.end(), {kind, {}});
        }
        found->second.push_back(&g);
    }
    for (const auto & [kind, sets] : alike) {
        const int32_t layer = std::get<0>(kind);
        set->layers[layer].sparse.push_back(add_group(up, llama_model_layer_buft(&model, layer), descs, sets, d));
    }
    up.run();
    return set;
}

} // namespace yapo
