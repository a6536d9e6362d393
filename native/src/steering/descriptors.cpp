#include "steering/descriptors.h"

#include "abi/guard.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <map>

namespace yapo {
namespace {

constexpr int64_t k_most   = 1 << 24; // wider than any published SAE by far; keeps every size product inside 64 bits
constexpr int32_t n_most   = 4096;

void check_finite(const char * what, int32_t i, const float * x, int64_t n) {
    for (int64_t j = 0; j < n; ++j) {
        if (!std::isfinite(x[j])) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "vector %d: %s[%lld] is not finite", i, what, (long long) j);
        }
    }
}

// Whatever size the caller's have: later fields are zero.
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

void check(int32_t i, const yapo_vector_desc & v, int32_t n_layer, int64_t n_embd) {
    if (v.layer < 0 || v.layer >= n_layer) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "vector %d: layer %d is out of range, the model has blocks 0 to %d", i, v.layer, n_layer - 1);
    }
    if (v.d_model != n_embd) {
        fail(YAPO_ERR_MISMATCH, "vector %d: d_model is %lld, the model has %lld; was it made for another model?", i, (long long) v.d_model, (long long) n_embd);
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

joint make_joint(const yapo_vector_desc * descs, std::vector<int32_t> members, int64_t d) {
    joint g;
    g.layer   = descs[members.front()].layer;
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

} // namespace

std::vector<yapo_vector_desc> read_descriptors(const yapo_vector_desc * given, int32_t n, int32_t n_layer, int64_t d_model) {
    if (n < 0 || n > n_most || (n > 0 && !given)) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "set_vectors: n is %d, expected 0 to %d with vectors given", n, n_most);
    }
    std::vector<yapo_vector_desc> descs = read(given, n);
    for (int32_t i = 0; i < n; ++i) {
        check(i, descs[i], n_layer, d_model);
    }
    return descs;
}

std::vector<joint> join_sparse(const std::vector<yapo_vector_desc> & descs, int64_t d_model) {
    // Each vector's group, by the number of its first member: one that shares its id or its SAE, or is joined with such a one by a third.
    std::vector<int32_t> group_of(descs.size());
    std::map<std::pair<int32_t, uint64_t>, int32_t>              with_id;  // the first of a layer, for ids that are not 0
    std::map<std::pair<int32_t, const yapo_full_sae *>, int32_t> with_sae;
    const auto join = [&](int32_t a, int32_t b) {
        const int32_t kept = std::min(group_of[a], group_of[b]), given_up = std::max(group_of[a], group_of[b]);
        std::replace(group_of.begin(), group_of.end(), given_up, kept);
    };
    for (int32_t i = 0; i < int32_t(descs.size()); ++i) {
        const yapo_vector_desc & v = descs[i];
        group_of[i] = i;
        if (v.kind == YAPO_VECTOR_SPARSE && v.sae_id != 0) {
            join(i, with_id.emplace(std::make_pair(v.layer, v.sae_id), i).first->second);
        }
        if (v.kind == YAPO_VECTOR_SPARSE && v.sae) {
            join(i, with_sae.emplace(std::make_pair(v.layer, v.sae), i).first->second);
        }
    }
    std::map<int32_t, std::vector<int32_t>> members; // in the order of the vectors, whatever their SAEs' addresses are
    for (int32_t i = 0; i < int32_t(descs.size()); ++i) {
        if (descs[i].kind == YAPO_VECTOR_SPARSE) {
            members[group_of[i]].push_back(i);
        }
    }
    std::vector<joint> groups;
    for (const auto & [first, all] : members) {
        groups.push_back(make_joint(descs.data(), all, d_model));
    }
    return groups;
}

} // namespace yapo
