// The CUDA kernels' own source, run by its host twin, against double precision: every shape the device takes another path for.
#include "cuda_problem.h"
#include "harness.h"

#include <cstring>

using namespace yapo_test;
using namespace yapo::cuda;

namespace {

struct counts {
    int64_t clipped = 0, ablated = 0, zero = 0, excluded = 0;
};

counts check_codes(const problem & p) {
    const std::vector<float> c = p.codes({});
    CHECK(p.codes({0, 3, true}) == c); // no race, and blocks in any order
    counts n;
    double worst = 0;
    for (int64_t t = 0; t < p.t; ++t) {
        for (int64_t k = 0; k < p.k; ++k) {
            double s = 0, pre = p.bias[k], scale = std::fabs(pre);
            for (int64_t v = 0; v < p.v; ++v) s += double(p.strengths[t * p.stride + v]) * p.values[k * p.v + v];
            for (int64_t i = 0; i < p.d; ++i) {
                const double x = double(p.enc[k * p.d + i]) * p.h[t * p.d + i];
                pre += x;
                scale += std::fabs(x);
            }
            const double z = pre > p.threshold[k] && pre > 0 ? pre : 0.0, want = std::max(s, -z);
            const float  got = c[size_t(t * p.k + k)];
            n.zero += s == 0;
            CHECK(s != 0 || got == 0.0f);
            n.clipped += want > s;
            n.ablated += want > s && z > 0;
            if (s < 0 && (std::fabs(pre - p.threshold[k]) < 1e-6 * scale || std::fabs(pre) < 1e-6 * scale)) {
                ++n.excluded; // rounding decides whether it is active
                continue;
            }
            worst = std::max(worst, std::fabs(got - want) / (scale + std::fabs(s)));
        }
    }
    CHECK_MSG(worst < 1e-6, "d %lld, K %lld, T %lld, V %lld: relative error %.2g", (long long) p.d, (long long) p.k, (long long) p.t, (long long) p.v, worst);
    CHECK(n.excluded * 100 <= p.k * p.t);
    return n;
}

void check_apply(ggml_type type, row_type as, int64_t d, int64_t k, int64_t t, bool sparse) {
    const typed_rows dec(type, d, k, 17);
    random_source    rng(uint64_t(d * 31 + k * 7 + t));
    std::vector<float> c, base;
    for (int64_t i = 0; i < t * k; ++i) c.push_back(sparse && (i % k) * 4 / k != (i / k) % 5 ? 0.0f : rng.normal()); // a quarter of the features each, or none
    for (int64_t i = 0; i < t * d; ++i) base.push_back(rng.normal());
    const auto run = [&](const on_host & how) {
        std::vector<float> out(size_t(t * d), untouched);
        const apply_call call = {c.data(), base.data(), dec.data.data(), as, out.data(), d, k, t};
        for (int64_t part = 0; part < how.parts; ++part) dispatch_apply(call, on_host{part, how.parts, how.reverse});
        return out;
    };
    const std::vector<float> out = run({});
    CHECK(run({0, 5, true}) == out);
    double worst = 0;
    for (int64_t i = 0; i < t; ++i) {
        const bool none = sparse && i % 5 == 4;
        for (int64_t j = 0; j < d; ++j) {
            double want = base[i * d + j], scale = std::fabs(want);
            for (int64_t l = 0; l < k; ++l) {
                const double x = double(dec.values[size_t(j * k + l)]) * c[size_t(i * k + l)];
                want += x;
                scale += std::fabs(x);
            }
            CHECK(!none || out[size_t(i * d + j)] == base[size_t(i * d + j)]);
            worst = std::max(worst, std::fabs(out[size_t(i * d + j)] - want) / scale);
        }
    }
    CHECK_MSG(worst < 1e-6, "%s, d %lld, K %lld, T %lld: relative error %.2g", ggml_type_name(type), (long long) d, (long long) k, (long long) t, worst);
}

} // namespace

YAPO_TEST(CudaTwin_Codes_AgreeWithOracle) {
    counts all;
    for (const auto & [d, k, t, v] : {std::array<int64_t, 4>{64, 1, 1, 1}, {2304, 256, 1, 1}, {65, 31, 2, 2}, {127, 33, 3, 1}, {1, 5, 5, 2}, {256, 100, 8, 8}, {130, 2048, 8, 8}, {33, 96, 9, 40}, {96, 5000, 1, 1},
                                      {64, 4999, 4, 33}, {129, 77, 31, 3}, {64, 64, 32, 1}, {65, 65, 33, 2}, {257, 130, 64, 1}, {31, 257, 65, 8}, {96, 200, 512, 7}, {1, 1, 100, 1}, {15, 3, 40, 5}}) {
        const counts n = check_codes(problem(d, k, t, v, uint64_t(d + 1000 * k + t)));
        all.clipped += n.clipped, all.ablated += n.ablated, all.zero += n.zero, all.excluded += n.excluded;
    }
    note("%lld codes clipped, %lld of them active features removed, %lld of strength 0, %lld at a gate's edge", (long long) all.clipped, (long long) all.ablated, (long long) all.zero, (long long) all.excluded);
    CHECK(all.ablated > 1000 && all.clipped > 2 * all.ablated && all.zero > 10000);
}

YAPO_TEST(CudaTwin_Codes_MassiveResidualsAndStrengths) {
    for (int64_t t : {1, 40}) {
        problem p(100, 70, t, 1, 5);
        for (int64_t i = 0; i < t; ++i) p.h[size_t(i * 100 + 7)] = 7e4f;
        for (float & x : p.strengths) x *= 1e6f;
        CHECK(check_codes(p).ablated > 0);
    }
}

YAPO_TEST(CudaTwin_Apply_AgreesWithOracle) {
    for (const auto & [type, as, block] : row_types) {
        for (const auto & [d, k, t] : {std::array<int64_t, 3>{64, 1, 1}, {65, 31, 2}, {2304, 256, 1}, {1, 33, 5}, {130, 1024, 8}, {67, 1025, 3}, {66, 2048, 8}, {129, 5000, 1}, {33, 96, 32}, {65, 65, 33}, {257, 130, 64}, {63, 100, 65}, {96, 200, 512}}) {
            for (bool sparse : {false, true}) {
                check_apply(type, as, d, blocks_of(k, block) * block, t, sparse);
            }
        }
    }
}

YAPO_TEST(CudaTwin_Half_EveryValueIsGgmls) {
    for (uint32_t bits = 0; bits < 65536; ++bits) {
        const ggml_fp16_t half = ggml_fp16_t(bits);
        const float want = ggml_fp16_to_fp32(half), got = float_of_half(half);
        CHECK_MSG(std::memcmp(&want, &got, sizeof want) == 0 || (std::isnan(want) && std::isnan(got)), "%04x: %g, expected %g", bits, got, want);
    }
}
