// A whole SAE for tests: its handle over a dictionary, and its codes in double precision by sorting.
#pragma once

#include "session.h"

#include <functional>

namespace yapo_test {

struct full_sae {
    const dictionary & of;
    int32_t            topk; // 0: JumpReLU
    yapo_full_sae *    handle = nullptr;

    full_sae(const model & m, const dictionary & of, int32_t layer, int32_t topk = 0, int32_t dec_row_type = YAPO_ROW_F32) : of(of), topk(topk) {
        yapo_full_sae_desc d = {};
        d.struct_size = sizeof d;
        d.layer = layer, d.d_model = of.d, d.width = of.width, d.topk = topk, d.dec_row_type = dec_row_type;
        d.activation = topk ? YAPO_SAE_TOPK : YAPO_SAE_JUMPRELU;
        d.enc_bias = of.bias.data(), d.threshold = of.threshold.data();
        OK(yapo_full_sae_create(m.handle, &d, &handle, &err));
        for (int64_t first = 0; first < of.width; first += 32) {
            const int64_t n = std::min<int64_t>(32, of.width - first);
            OK(yapo_full_sae_set_encoder(handle, first, n, of.enc.data() + first * of.d, &err));
            OK(yapo_full_sae_set_decoder(handle, first, n, of.dec.data() + first * of.d, &err));
        }
    }
    ~full_sae() { yapo_full_sae_free(handle); }
    full_sae(const full_sae &) = delete;

    // A vector on some of its features that encodes with all of them.
    steer vector(int32_t layer, int32_t k, uint64_t seed, float size = 1.0f) const {
        steer v = of.vector(layer, k, seed, size);
        v.sae = handle;
        v.enc.clear(), v.bias.clear(), v.threshold.clear();
        return v;
    }

    struct codes {
        std::vector<double> z;      // [F]
        double              margin; // relative distance of the nearest entry to the gate
    };
    template <typename T>
    codes encode(const T * h) const {
        std::vector<double> pre(of.width);
        double scale = 1e-30;
        for (int64_t f = 0; f < of.width; ++f) {
            double sum = of.bias[f], size = std::fabs(sum);
            for (int64_t j = 0; j < of.d; ++j) {
                sum += double(of.enc[f * of.d + j]) * h[j];
                size += std::fabs(double(of.enc[f * of.d + j]) * h[j]);
            }
            pre[f] = sum;
            scale = std::max(scale, size);
        }
        codes out{std::vector<double>(of.width), 1e30};
        double last = 0, next = -1e300;
        if (topk) {
            std::vector<double> sorted = pre;
            std::sort(sorted.begin(), sorted.end(), std::greater<double>());
            last = sorted[topk - 1];
            next = topk < of.width ? sorted[topk] : next;
            out.margin = std::max(last, 0.0) - std::max(next, 0.0) > 0 ? (last - next) / scale : 1e30;
        }
        for (int64_t f = 0; f < of.width; ++f) {
            const bool open = topk ? pre[f] >= last : pre[f] > of.threshold[f];
            out.z[f] = open && pre[f] > 0 ? pre[f] : 0.0;
            if (!topk) {
                out.margin = std::min(out.margin, std::fabs(pre[f] - of.threshold[f]) / scale);
            }
        }
        return out;
    }
    std::vector<double> decode(const std::vector<double> & z) const {
        std::vector<double> x(of.d);
        for (int64_t f = 0; f < of.width; ++f) {
            for (int64_t j = 0; j < of.d; ++j) x[j] += z[f] * of.dec[f * of.d + j];
        }
        return x;
    }
};

} // namespace yapo_test
