#include "stock/host_kernel.h"

#include "steering/descriptors.h"

#include <algorithm>
#include <cmath>
#include <system_error>
#include <thread>

namespace yapo {
namespace {

constexpr int64_t lanes = 16; // independent partial sums, which the compiler may keep in vector registers

float dot(const float * a, const float * b, int64_t n) {
    float sums[lanes] = {};
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        for (int64_t j = 0; j < lanes; ++j) {
            sums[j] += a[i + j] * b[i + j];
        }
    }
    for (; i < n; ++i) {
        sums[0] += a[i] * b[i];
    }
    for (int64_t width = lanes / 2; width > 0; width /= 2) {
        for (int64_t j = 0; j < width; ++j) {
            sums[j] += sums[j + width];
        }
    }
    return sums[0];
}

void add_scaled(float * y, float c, const float * x, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        y[i] += c * x[i];
    }
}

// c = max(s, -z). z >= 0, so the encoder matters only where s < 0.
float correction(const host_group & g, int64_t k, const float * h, int64_t d) {
    const float s = g.s[k];
    if (s >= 0.0f) {
        return s;
    }
    const float pre = dot(g.enc.data() + k * d, h, d) + g.bias[k];
    const float z   = pre > g.threshold[k] && pre > 0.0f ? pre : 0.0f;
    return std::max(s, -z);
}

void steer_row(const host_layer & layer, float * h, float * delta, int64_t d) {
    if (layer.shift.empty()) {
        std::fill_n(delta, d, 0.0f);
    } else {
        std::copy(layer.shift.begin(), layer.shift.end(), delta);
    }
    for (const host_group & g : layer.sparse) {
        for (int64_t k = 0; k < g.k; ++k) {
            const float c = correction(g, k, h, d);
            if (c != 0.0f) {
                add_scaled(delta, c, g.dec.data() + k * d, d);
            }
        }
    }
    add_scaled(h, 1.0f, delta, d);
}

// The sum of strength times value over the vectors.
std::vector<float> weighted(const std::map<int32_t, std::vector<float>> & values, const float * strengths) {
    std::vector<float> sum(values.begin()->second.size(), 0.0f);
    for (const auto & [column, value] : values) {
        add_scaled(sum.data(), strengths[column], value.data(), int64_t(sum.size()));
    }
    return sum;
}

bool any(const std::vector<float> & x) {
    return std::any_of(x.begin(), x.end(), [](float v) { return v != 0.0f; });
}

host_group make_group(const std::vector<yapo_vector_desc> & descs, const joint & g, int64_t d) {
    host_group out;
    out.k = int64_t(g.rows.size());
    for (const joint::row & row : g.rows) {
        const yapo_vector_desc & v = descs[row.member];
        out.enc.insert(out.enc.end(), v.enc + row.k * d, v.enc + (row.k + 1) * d);
        out.dec.insert(out.dec.end(), v.dec + row.k * d, v.dec + (row.k + 1) * d);
        out.bias.push_back(v.enc_bias[row.k]);
        out.threshold.push_back(v.threshold[row.k]);
    }
    for (int32_t m : g.members) {
        std::vector<float> & value = out.values[m];
        value.assign(out.k, 0.0f);
        size_t r = 0;
        for (int64_t i = 0; i < descs[m].k; ++i) {
            while (g.rows[r].index != descs[m].index[i]) {
                ++r;
            }
            value[r] = descs[m].value[i];
        }
    }
    return out;
}

} // namespace

void host_layer::set_strengths(const float * strengths) {
    active = false;
    shift.clear();
    if (!dense.empty()) {
        shift = weighted(dense, strengths);
        if (any(shift)) {
            active = true;
        } else {
            shift.clear();
        }
    }
    for (host_group & g : sparse) {
        g.s    = weighted(g.values, strengths);
        active = active || any(g.s);
    }
}

std::map<int32_t, host_layer> host_layers(const std::vector<yapo_vector_desc> & descs, int64_t d_model) {
    std::map<int32_t, host_layer> layers;
    for (int32_t i = 0; i < int32_t(descs.size()); ++i) {
        if (descs[i].kind == YAPO_VECTOR_DENSE) {
            layers[descs[i].layer].dense[i].assign(descs[i].value, descs[i].value + d_model);
        }
    }
    for (const joint & g : join_sparse(descs, d_model)) {
        layers[g.layer].sparse.push_back(make_group(descs, g, d_model));
    }
    const std::vector<float> zero(descs.size(), 0.0f);
    for (auto & [number, layer] : layers) {
        layer.set_strengths(zero.data());
    }
    return layers;
}

void steer_rows(const host_layer & layer, float * h, int64_t t, int64_t d_model, int32_t n_threads) {
    int64_t features = 1;
    for (const host_group & g : layer.sparse) {
        features += g.k;
    }
    // below about a millisecond of work, starting a thread costs more than it saves
    const int64_t workers = std::clamp<int64_t>(t * features * d_model / 4'000'000, 1, std::min<int64_t>(n_threads, t));
    std::vector<float> deltas(workers * d_model); // here, because nothing may throw in a thread
    const auto work = [&](int64_t w) {
        for (int64_t row = t * w / workers; row < t * (w + 1) / workers; ++row) {
            steer_row(layer, h + row * d_model, deltas.data() + w * d_model, d_model);
        }
    };
    std::vector<std::thread> threads;
    threads.reserve(workers);
    int64_t given = 1; // parts that are some thread's, the first one ours
    try {
        for (; given < workers; ++given) {
            threads.emplace_back(work, given);
        }
    } catch (const std::system_error &) {
        // no more threads: the other parts are ours too
    }
    work(0);
    for (; given < workers; ++given) {
        work(given);
    }
    for (std::thread & thread : threads) {
        thread.join();
    }
}

} // namespace yapo
