// Upper blocks: completion log-probability and its gradient in a steering vector, against a double-precision oracle.
#include "train_upper_problem.h"

using namespace yapo_test;
using namespace yapo_test::upper;

YAPO_TEST(TrainUpper_Gradient_Sparse_AgreesWithFiniteDifferences) {
    const problem p;
    session s(p.path);
    s.use(p.sae);
    for (float multiplier : {1.0f, -1.0f, 1.7f}) {
        const std::vector<double> value(p.v.begin(), p.v.end());
        double logprob = 0;
        const auto gradient = s.gradient(p.sequence(), p.v.data(), p.sae.f, multiplier, &logprob);
        const double expected = p.logprob(value, multiplier, true);
        const double error = relative_l2(gradient, finite_differences(p, value, multiplier, true));
        note("multiplier %4.1f: log-probability off by %.1e of %.3f, gradient relative L2 error %.2e over %zu coordinates",
            multiplier, logprob - expected, expected, error, gradient.size());
        CHECK_NEAR(logprob, expected, 0, 2e-6);
        CHECK(error <= 1e-5);
        CHECK_EQ(s.logprob(p.sequence(), p.v.data(), multiplier), logprob);
    }
}

YAPO_TEST(TrainUpper_Gradient_Dense_AgreesWithFiniteDifferences) {
    const problem p;
    session s(p.path);
    s.use_dense(p.model.d_model);
    random_source rng(8);
    std::vector<float> v(p.model.d_model);
    for (float & x : v) x = 0.3f * rng.normal();
    const auto gradient = s.gradient(p.sequence(), v.data(), p.model.d_model, -1.0f);
    const double error = relative_l2(gradient, finite_differences(p, {v.begin(), v.end()}, -1.0, false));
    note("gradient relative L2 error %.2e over %zu coordinates", error, gradient.size());
    CHECK(error <= 1e-5);
}

// At v = 0 the derivative from the side of growth: latents that fire somewhere in the steered positions get a gradient, others none;
// and the unsteered log-probability is the same to the bit, so that the training loss starts at exactly ln 2.
YAPO_TEST(TrainUpper_AtZero_OnlyFiringLatentsGetAGradient) {
    problem p;
    for (int64_t j = 0; j < p.sae.f; j += 4) {
        p.sae.threshold[j] = 1e3f; // never fires
    }
    session s(p.path);
    s.use(p.sae);
    const std::vector<float> zero(p.sae.f, 0.0f);
    double steered = 0;
    const auto gradient = s.gradient(p.sequence(), zero.data(), p.sae.f, 1.0f, &steered);
    CHECK(steered == s.logprob(p.sequence(), nullptr, 1.0f));
    CHECK(steered == s.logprob(p.sequence(), zero.data(), -1.0f));
    CHECK(steered == s.logprob(p.sequence(), p.v.data(), 0.0f));
    int64_t live = 0;
    for (int64_t j = 0; j < p.sae.f; ++j) {
        bool fires = false;
        for (size_t t = 1; t < p.tokens.size(); ++t) {
            double pre = p.sae.enc_bias[j];
            for (int64_t d = 0; d < p.sae.d; ++d) pre += p.sae.enc[j * p.sae.d + d] * p.residual[t * p.sae.d + d];
            fires = fires || (pre > p.sae.threshold[j] && pre > 0);
        }
        CHECK_MSG((gradient[j] != 0.0f) == fires, "latent %lld: gradient %g, fires %d", (long long) j, gradient[j], fires);
        live += fires;
    }
    CHECK(live >= 16 && live <= p.sae.f * 3 / 4);
    // NULL is v = 0
    CHECK(gradient == s.gradient(p.sequence(), nullptr, p.sae.f, 1.0f));
}

YAPO_TEST(TrainUpper_Gradient_ScalesAndAccumulates) {
    const problem p;
    session s(p.path);
    s.use(p.sae);
    const auto once = s.gradient(p.sequence(), p.v.data(), p.sae.f, 1.0f);
    std::vector<float> sum(p.sae.f, 1.0f);
    const yapo_sequence q = p.sequence();
    OK(yapo_upper_logprob_gradient(s.worker, &q, p.v.data(), 1.0f, -0.25, sum.data(), nullptr, &err));
    for (int64_t j = 0; j < p.sae.f; ++j) {
        CHECK_NEAR(sum[j], 1.0 - 0.25 * once[j], 2e-7, 2e-7);
    }
    // positions without weight give no gradient
    std::vector<float> weight(p.tokens.size(), 0.0f);
    yapo_sequence unsteered = q;
    unsteered.position_weight = weight.data();
    for (float g : s.gradient(unsteered, p.v.data(), p.sae.f, 1.0f)) {
        CHECK(g == 0.0f);
    }
}

// A sequence's result does not depend on what the worker computed before, nor on which worker computes it.
YAPO_TEST(TrainUpper_Result_DependsOnTheSequenceOnly) {
    const problem p, longer(40, 20, 17);
    session a(p.path), b(p.path);
    a.use(p.sae);
    b.use(p.sae);
    double first = 0, again = 0, other = 0;
    const auto g1 = a.gradient(p.sequence(), p.v.data(), p.sae.f, 1.0f, &first);
    a.gradient(longer.sequence(), p.v.data(), p.sae.f, 1.0f);
    a.logprob(longer.sequence(), nullptr, 0.0f);
    const auto g2 = a.gradient(p.sequence(), p.v.data(), p.sae.f, 1.0f, &again);
    const auto g3 = b.gradient(p.sequence(), p.v.data(), p.sae.f, 1.0f, &other);
    CHECK(g1 == g2 && g1 == g3 && first == again && first == other);
}

// The last layer has no block above it: only the head.
YAPO_TEST(TrainUpper_LastLayer_IsTheHeadAlone) {
    problem p;
    const int last = p.oracle.n_layer - 1;
    session s(p.path, last);
    s.use(p.sae);
    const auto gradient = s.gradient(p.sequence(), p.v.data(), p.sae.f, 1.0f);
    std::vector<double> value(p.v.begin(), p.v.end()), expected;
    std::vector<int32_t> target(p.tokens.size(), -1);
    for (size_t t = p.start; t < p.tokens.size(); ++t) target[t - 1] = p.tokens[t];
    for (size_t j = 0; j < value.size(); ++j) {
        const double keep = value[j], h = 1e-5;
        value[j] = keep + h;
        const double up = -p.oracle.loss(p.steered(value, 1, true), target);
        value[j] = keep - h;
        const double down = -p.oracle.loss(p.steered(value, 1, true), target);
        value[j] = keep;
        expected.push_back((up - down) / (2 * h));
    }
    const double error = relative_l2(gradient, expected);
    note("relative L2 error %.2e", error);
    CHECK(error <= 1e-5);
}
