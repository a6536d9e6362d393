// End to end: the logits of a steered Gemma-2 model against an independent double-precision forward pass with steering.
//
// Tolerances. ggml's CPU GELU rounds its argument and its value to F16: 2^-12 relative each at most for every one of the 128 FFN
// entries of a block, independent, so about 2^-12 * sqrt(2) of the FFN's output, which the norm after it keeps; the residual
// grows by one such output a block. Over 4 blocks and the head: about 4e-4 of the final norm's output, and logits are sums of 64
// products of it: the same share of the largest logit, times about 3 for the maximum over thousands of them: 2e-3.
// Against the oracle with the same table what remains is F32 rounding and arguments that round the other way (one flip
// is 2^-11 of one entry): 3e-4, as in steering_batch_test.cpp.
#include "steering_gemma2_oracle.h"

using namespace yapo_test;

namespace {

struct gap {
    double logits = 0, top = 0, logprob = 0;
};

gap distance(const std::vector<float> & got, const std::vector<double> & want, int32_t n_vocab) {
    gap g;
    for (size_t row = 0; row < got.size() / n_vocab; ++row) {
        double a = 0, b = 0;
        for (int32_t i = 0; i < n_vocab; ++i) {
            a += std::exp(double(got[row * n_vocab + i]));
            b += std::exp(want[row * n_vocab + i]);
        }
        for (int32_t i = 0; i < n_vocab; ++i) {
            const double x = got[row * n_vocab + i], y = want[row * n_vocab + i];
            g.logits  = std::max(g.logits, std::fabs(x - y));
            g.top     = std::max(g.top, std::fabs(y));
            g.logprob = std::max(g.logprob, std::fabs((x - std::log(a)) - (y - std::log(b))));
        }
    }
    return g;
}

void check(const char * what, const random_model & spec, const std::vector<steer> & vectors, float size, bool one_by_one = false) {
    const std::string path = write_random_model(spec, scratch("end.gguf"));
    model   m(path);
    context c(m);
    if (!vectors.empty()) c.attach(vectors);
    const auto tokens = random_tokens(40, 6);
    random_source rng(2);
    batch b;
    for (int32_t i = 0; i < 40; ++i) {
        std::vector<float> s;
        for (size_t v = 0; v < vectors.size(); ++v) s.push_back(i == 0 ? 0.0f : size * rng.normal()); // BOS excluded
        b.add(tokens[i], i, 0, true, s);
    }
    std::vector<float> got;
    if (one_by_one) {
        for (int32_t i = 0; i < 40; ++i) {
            c.decode(whole({tokens[i]}, {b.strengths.begin() + i * vectors.size(), b.strengths.begin() + (i + 1) * vectors.size()}, 0, i));
            const auto x = c.logits(0);
            got.insert(got.end(), x.begin(), x.end());
        }
    } else {
        c.decode(b);
        got = c.logits();
    }
    const steered_gemma2 oracle(path);
    const gap exact = distance(got, oracle.forward(tokens, vectors, b.strengths, false), c.n_vocab);
    const gap table = distance(got, oracle.forward(tokens, vectors, b.strengths, true), c.n_vocab);
    const gap unsteered = distance(got, oracle.forward(tokens, {}, {}, false), c.n_vocab);
    note("%s: logits up to %.3g; exact GELU: off by %.2g (log-prob %.2g); F16 table: %.2g (log-prob %.2g); unsteered oracle: %.2g", what, exact.top, exact.logits, exact.logprob,
         table.logits, table.logprob, unsteered.logits);
    CHECK(exact.logits < 2e-3 * exact.top);
    CHECK(table.logits < 3e-4 * exact.top);
    if (!vectors.empty()) CHECK(unsteered.logits > 100 * exact.logits); // steering is what was compared
}

random_model small_window() {
    random_model spec;
    spec.sliding_window = 12; // shorter than the prompt
    return spec;
}

const dictionary sae(64, 96, 3);

} // namespace

YAPO_TEST(EndToEnd_Unsteered_AgreesWithOracle) { check("plain", small_window(), {}, 0.0f); }

YAPO_TEST(EndToEnd_SparseEveryLayer_AgreesWithOracle) {
    for (int32_t layer = 0; layer < 4; ++layer) check(format("sparse at %d", layer).c_str(), small_window(), {sae.vector(layer, 40, 1, 2.0f)}, 1.0f);
}

YAPO_TEST(EndToEnd_ManyVectors_AgreesWithOracle) {
    steer a = sae.vector(1, 40, 1), b = sae.vector(1, 33, 2);
    a.sae_id = b.sae_id = 4;
    const dictionary other(64, 50, 8);
    check("many", small_window(), {random_dense(0, 64, 3), a, b, other.vector(1, 20, 6), sae.vector(3, 64, 7)}, 1.0f);
}

YAPO_TEST(EndToEnd_TokenByToken_AgreesWithOracle) { check("token by token", small_window(), {sae.vector(2, 40, 1, 2.0f), random_dense(3, 64, 3)}, 1.0f, true); }
