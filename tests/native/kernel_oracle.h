// The steering kernel, slow and in double precision, in the paper's own form: h' = h + (relu(z + s v) - z) W_dec.
#pragma once

#include "session.h"

#include <map>
#include <set>

namespace yapo_test {

struct oracle_result {
    std::vector<double> h;      // [D] after steering
    std::vector<double> delta;  // [D]
    double              margin; // smallest |pre - threshold| / (1 + |threshold| + |pre's scale|) over the features: below ~1e-6 a gate may fall either side
};

// h: the residual before, [D]; one strength per vector. Vectors of other layers are ignored.
template <typename T>
inline oracle_result steer_oracle(const std::vector<steer> & vectors, int32_t layer, const T * h, const float * strengths) {
    const int64_t d = vectors.at(0).d;
    oracle_result out{std::vector<double>(h, h + d), std::vector<double>(d, 0.0), 1e30};

    std::set<uint64_t> done;
    for (size_t i = 0; i < vectors.size(); ++i) {
        const steer & v = vectors[i];
        if (v.layer != layer) continue;
        if (v.kind == YAPO_VECTOR_DENSE) {
            for (int64_t j = 0; j < d; ++j) out.delta[j] += double(strengths[i]) * v.value[j];
            continue;
        }
        // the vectors that act jointly with this one
        std::vector<size_t> members;
        if (v.sae_id == 0) {
            members.push_back(i);
        } else if (done.insert(v.sae_id).second) {
            for (size_t m = 0; m < vectors.size(); ++m) {
                if (vectors[m].layer == layer && vectors[m].kind == YAPO_VECTOR_SPARSE && vectors[m].sae_id == v.sae_id) members.push_back(m);
            }
        }
        struct feature { double s; const steer * v; int64_t k; };
        std::map<int32_t, feature> features;
        for (size_t m : members) {
            for (int64_t k = 0; k < vectors[m].k(); ++k) {
                feature & f = features.emplace(vectors[m].index[k], feature{0.0, &vectors[m], k}).first->second;
                f.s += double(strengths[m]) * vectors[m].value[k];
            }
        }
        for (const auto & [index, f] : features) {
            double pre = f.v->bias[f.k], scale = std::fabs(pre);
            for (int64_t j = 0; j < d; ++j) {
                const double x = double(f.v->enc[f.k * d + j]) * h[j];
                pre += x;
                scale += std::fabs(x);
            }
            const double theta = f.v->threshold[f.k];
            out.margin = std::min(out.margin, std::fabs(pre - theta) / (scale + std::fabs(theta) + 1e-30));
            const double z = pre > theta && pre > 0 ? pre : 0.0;
            const double c = std::max(z + f.s, 0.0) - z;
            for (int64_t j = 0; j < d; ++j) out.delta[j] += c * f.v->dec[f.k * d + j];
        }
    }
    for (int64_t j = 0; j < d; ++j) out.h[j] += out.delta[j];
    return out;
}

} // namespace yapo_test
