// Given the residual before it, the residual after the kernel agrees with a double-precision oracle.
#include "kernel_oracle.h"

using namespace yapo_test;

namespace {

struct outcome {
    double  relative  = 0; // max over rows of |h' - oracle| / max |oracle h'|
    double  of_delta  = 0; // max over rows of |h' - oracle| / max |oracle delta|, where delta is not lost in h's own rounding
    double  effect    = 0; // mean |delta| / |h|
    int32_t excluded  = 0; // rows where a gate is within rounding of its threshold
    int32_t rows      = 0;
};

// Steers a batch of n tokens with per-token strengths from `strength`, and compares every row of every steered layer.
outcome run(const random_model & spec, const std::vector<steer> & vectors, float size, const std::vector<int32_t> & layers, uint32_t n_ubatch = 0) {
    model   m(spec);
    sizes   s;
    s.n_ubatch = n_ubatch;
    context c(m, s);
    c.attach(vectors);
    std::vector<int32_t> where, sites;
    for (int32_t layer : layers) {
        where.insert(where.end(), {layer, layer});
        sites.insert(sites.end(), {YAPO_CAPTURE_BEFORE, YAPO_CAPTURE_AFTER});
    }
    c.capture(where, sites);

    const std::vector<int32_t> tokens = random_tokens(24, 5);
    random_source rng(9);
    batch b;
    for (size_t i = 0; i < tokens.size(); ++i) {
        std::vector<float> strengths;
        for (size_t v = 0; v < vectors.size(); ++v) strengths.push_back(i % 5 == 4 ? 0.0f : size * rng.normal());
        b.add(tokens[i], int32_t(i), 0, true, strengths);
    }
    c.decode(b);

    outcome out;
    double  effect = 0, total = 0;
    for (size_t l = 0; l < layers.size(); ++l) {
        const std::vector<float> before = c.captured(int32_t(2 * l)), after = c.captured(int32_t(2 * l + 1));
        for (size_t i = 0; i < tokens.size(); ++i) {
            const oracle_result want = steer_oracle(vectors, layers[l], before.data() + i * c.d, b.strengths.data() + i * vectors.size());
            double top = 0, top_delta = 0, error = 0;
            for (int64_t j = 0; j < c.d; ++j) {
                top       = std::max(top, std::fabs(want.h[j]));
                top_delta = std::max(top_delta, std::fabs(want.delta[j]));
                error     = std::max(error, std::fabs(want.h[j] - double(after[i * c.d + j])));
                effect += std::fabs(want.delta[j]);
                total += std::fabs(double(before[i * c.d + j]));
            }
            ++out.rows;
            if (want.margin < 1e-6) {
                ++out.excluded;
                continue;
            }
            out.relative = std::max(out.relative, error / top);
            if (top_delta > 0.1 * top) {
                out.of_delta = std::max(out.of_delta, error / top_delta);
            }
        }
    }
    out.effect = effect / total;
    note("%d rows (%d excluded), max error %.2g of the row, %.2g of delta; mean |delta|/|h| %.2g", out.rows, out.excluded, out.relative, out.of_delta, out.effect);
    CHECK(out.effect > 0.01); // the test steers at all
    CHECK(out.excluded * 4 < out.rows);
    return out;
}

const dictionary sae(64, 96, 3);

} // namespace

YAPO_TEST(Kernel_Sparse_AgreesWithOracle) {
    for (int32_t layer : {0, 1, 3}) { // the first block, one inside, the last
        CHECK(run({}, {sae.vector(layer, 40, 1)}, 1.5f, {layer}).relative < 1e-5);
    }
}

YAPO_TEST(Kernel_Dense_AgreesWithOracle) {
    for (int32_t layer : {0, 3}) {
        CHECK(run({}, {random_dense(layer, 64, 2)}, 1.5f, {layer}).relative < 1e-5);
    }
}

YAPO_TEST(Kernel_StrongAblation_AgreesWithOracle) {
    // s much larger than any activation: negative entries remove exactly what is there, c = -z
    steer v = sae.vector(1, 40, 4);
    for (float & x : v.value) x = -std::fabs(x) - 1.0f;
    CHECK(run({}, {v}, 1e6f, {1}).relative < 1e-5);
}

YAPO_TEST(Kernel_TinyStrength_AgreesWithOracle) {
    const outcome o = run({}, {sae.vector(1, 40, 4, 1e-2f), random_dense(1, 64, 5)}, 1.0f, {1});
    CHECK(o.relative < 1e-5);
}

YAPO_TEST(Kernel_SeveralVectorsAndLayers_AgreeWithOracle) {
    steer a = sae.vector(0, 40, 1), b = sae.vector(0, 33, 2), c = sae.vector(2, 64, 3), e = sae.vector(3, 7, 4);
    a.sae_id = b.sae_id = 11;
    const dictionary other(64, 50, 8);
    std::vector<steer> all = {a, random_dense(0, 64, 3), b, other.vector(0, 20, 6), c, random_dense(3, 64, 7), e};
    CHECK(run({}, all, 1.0f, {0, 2, 3}).relative < 1e-5);
}

YAPO_TEST(Kernel_Joint_IsNotTheSumOfSeparate) {
    // Two vectors that both ablate: jointly a feature is removed once, separately twice.
    steer a = sae.vector(1, 60, 4), b = sae.vector(1, 60, 4);
    for (float & x : a.value) x = -100.0f;
    for (float & x : b.value) x = -100.0f;
    std::vector<float> results[2];
    for (int joint = 0; joint < 2; ++joint) {
        a.sae_id = b.sae_id = joint ? 5 : 0;
        CHECK(run({}, {a, b}, 1.0f, {1}).relative < 1e-5);
        model   m((random_model()));
        context c(m);
        c.attach({a, b});
        c.decode(whole(random_tokens(8, 1), {1.0f, 1.0f}));
        results[joint] = c.logits();
    }
    CHECK(compare(results[0].data(), results[1].data(), int64_t(results[0].size())).max_abs > 1e-3);

    // One vector with both values is the same as the two jointly.
    steer both = a;
    for (float & x : both.value) x = -200.0f;
    model   m((random_model()));
    context c(m);
    c.attach({both});
    c.decode(whole(random_tokens(8, 1), {1.0f}));
    check_close("one vector of the summed values against two joint ones", c.logits(), results[1], 1e-6);
}

YAPO_TEST(Kernel_MassiveResiduals_AgreesWithOracle) {
    // residual entries up to 1e6 and beyond, ablation of features as large
    for (float gain : {1e3f, 1e6f}) {
        random_model spec;
        spec.embedding_gain = gain;
        const dictionary large(64, 96, 3, gain);
        steer v = large.vector(1, 64, 4, gain);
        const outcome o = run(spec, {v, random_dense(1, 64, 6, gain)}, 1.0f, {1});
        CHECK(o.relative < 1e-5);
    }
}

YAPO_TEST(Kernel_RowTypes_AgreeToTheirPrecision) {
    // F16 rows: 2^-11 relative each for rows and codes. BF16: 2^-8. Q8_0: 1/254 of the largest of each block of 32, for
    // rows and codes. The errors of K terms add up like sqrt(K), against a delta that does too; 2x for the maximum over entries.
    struct { int32_t type; double tolerance; } cases[] = {{YAPO_ROW_F32, 1e-5}, {YAPO_ROW_F16, 2e-3}, {YAPO_ROW_BF16, 1.6e-2}, {YAPO_ROW_Q8_0, 3e-2}};
    for (const auto & [type, tolerance] : cases) {
        steer v = sae.vector(1, 50, 1);
        v.row_type = type;
        const outcome o = run({}, {v}, 2.0f, {1});
        CHECK_MSG(o.of_delta < tolerance, "row type %d: %.3g of delta", type, o.of_delta);
        // large codes do not overflow F16
        random_model spec;
        spec.embedding_gain = 1e6f;
        const dictionary large(64, 96, 3, 1e6f);
        v = large.vector(1, 50, 4, 1e6f);
        v.row_type = type;
        CHECK(run(spec, {v}, 1.0f, {1}).of_delta < tolerance);
    }
}

YAPO_TEST(Kernel_SplitOverUbatches_AgreesWithOracle) {
    CHECK(run({}, {sae.vector(1, 40, 1), sae.vector(3, 40, 2)}, 1.5f, {1, 3}, 7).relative < 1e-5);
}

YAPO_TEST(Kernel_SupportSizes_AgreeWithOracle) {
    const dictionary wide(64, 2000, 12);
    for (int32_t k : {1, 31, 32, 33, 1000}) {
        CHECK(run({}, {wide.vector(1, k, 3, k == 1 ? 20.0f : 1.0f)}, 2.0f, {1}).relative < 1e-5);
    }
}
