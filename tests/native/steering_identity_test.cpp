// Strength 0 gives, bit for bit, the logits of no vector; so does detaching. A vector of non-zero strength does not.
#include "session.h"

using namespace yapo_test;

namespace {

std::vector<steer> vectors_for(int32_t n_layer, int64_t d, float gain) {
    const dictionary sae(d, 96, 3, gain);
    std::vector<steer> all;
    for (int32_t layer = 0; layer < n_layer; ++layer) {
        steer v = sae.vector(layer, 40, 10 + layer, gain);
        v.row_type = layer % 4;
        all.push_back(v);
    }
    all.push_back(random_dense(1, d, 4, gain));
    return all;
}

void check_identity(const random_model & spec, uint32_t n_ubatch, bool last_only = false) {
    model   m(spec);
    sizes   s;
    s.n_ubatch = n_ubatch;
    context c(m, s);
    const std::vector<int32_t> tokens = random_tokens(40, 2);
    const std::vector<steer>   all    = vectors_for(spec.n_layer, spec.d_model, spec.embedding_gain);
    const auto prompt = [&](const std::vector<float> & strengths) {
        batch b = whole(tokens, strengths);
        if (last_only) {
            std::fill(b.outputs.begin(), b.outputs.end() - 1, 0); // ubatches without any output occur
        }
        c.clear();
        c.decode(b);
        return last_only ? c.logits(int32_t(tokens.size()) - 1) : c.logits();
    };
    const std::vector<float> plain = prompt({});
    for (float x : plain) CHECK(std::isfinite(x));

    c.attach(all);
    check_same_bits("strength 0", prompt(std::vector<float>(all.size(), 0.0f)), plain);
    check_same_bits("strength -0", prompt(std::vector<float>(all.size(), -0.0f)), plain);
    const std::vector<float> steered = prompt(std::vector<float>(all.size(), 1.0f));
    CHECK(compare(steered.data(), plain.data(), int64_t(plain.size())).max_abs > 1e-3);
    c.attach({});
    check_same_bits("detached", prompt({}), plain);
}

} // namespace

YAPO_TEST(Identity_StrengthZero_SameBits) {
    for (uint32_t n_ubatch : {0u, 16u, 1u}) check_identity({}, n_ubatch);
}

YAPO_TEST(Identity_StrengthZeroLastOutputOnly_SameBits) {
    for (uint32_t n_ubatch : {0u, 16u, 7u}) check_identity({}, n_ubatch, true);
}

// Strengths whose corrections squared are nothing: a product that is scaled by their length must not blow up.
YAPO_TEST(Identity_StrengthNextToZero_ChangesNothing) {
    const model m{random_model{}};
    context     c(m);
    const auto  tokens = random_tokens(12, 2);
    const auto  all    = vectors_for(4, 64, 1.0f); // of every row type
    c.decode(whole(tokens));
    const auto plain = c.logits();
    c.attach(all);
    for (float size : {1e-12f, 1e-18f, 1e-20f, 1e-24f, 1e-30f, 1e-38f, 1e-45f}) {
        for (float strength : {size, -size}) {
            c.clear();
            c.decode(whole(tokens, std::vector<float>(all.size(), strength)));
            check_close(format("strength %g", strength).c_str(), c.logits(), plain, 1e-5);
        }
    }
}

YAPO_TEST(Identity_StrengthZeroMassiveResiduals_SameBits) {
    for (float gain : {1e2f, 1e4f, 1e6f}) {
        random_model spec;
        spec.embedding_gain = gain;
        check_identity(spec, 16);
    }
}

YAPO_TEST(Identity_StrengthZeroOtherArchitectures_SameBits) {
    for (const char * arch : {"gemma3", "llama", "qwen3", "mamba"}) {
        random_model spec;
        spec.arch = arch;
        check_identity(spec, 16);
    }
}
