// Steering and batching: sequences do not see each other's vectors, ubatches do not matter, graphs are reused, and a changed
// strength after re-evaluation is a fresh run.
//
// Tolerances. A batch of another size goes through other matrix kernels of ggml (blocked instead of row by row), which add the
// same products in another order: each F32 dot product of n terms moves by about sqrt(n) * 2^-24 relative to its terms' size.
//  - llama (SiLU in F32): over the 4 blocks a few 1e-6 of the largest logit; tolerance 2e-5.
//  - gemma2: ggml's CPU GELU looks its argument up in a table after rounding it to F16, so that a difference in the last bit of
//    an argument can flip one rounding: 2^-11 of one of the 128 FFN entries, some 4e-5 of the block's output, several times
//    over tokens and blocks; tolerance 3e-4.
// A wrong strength, vector or row changes logits by 1e-2 and more (checked).
#include "session.h"

using namespace yapo_test;

namespace {

struct setting {
    const char * arch;
    double       rounding;
    random_model spec() const {
        random_model m;
        m.arch = arch;
        return m;
    }
};
const setting settings[] = {{"gemma2", 3e-4}, {"llama", 2e-5}};

const dictionary sae(64, 96, 3);

std::vector<steer> four_vectors() {
    return {sae.vector(0, 40, 1), sae.vector(1, 40, 2), random_dense(2, 64, 3, 0.5f), sae.vector(3, 40, 4)};
}

std::vector<float> alone(const model & m, const std::vector<steer> & vectors, const std::vector<int32_t> & tokens, const std::vector<float> & strengths) {
    context c(m);
    c.attach(vectors);
    c.decode(whole(tokens, strengths));
    return c.logits();
}

} // namespace

static void check_batch_two_sequences_different_vectors(const setting & of) {
    model m(of.spec());
    const auto vectors = four_vectors();
    const auto ta = random_tokens(20, 1), tb = random_tokens(17, 2);
    const std::vector<float> sa = {1.5f, 0.0f, 0.0f, 1.0f}, sb = {0.0f, -1.0f, 2.0f, 0.0f};
    const auto wanted_a = alone(m, vectors, ta, sa), wanted_b = alone(m, vectors, tb, sb);
    CHECK(compare(wanted_a.data(), alone(m, vectors, ta, sb).data(), int64_t(wanted_a.size())).max_abs > 1e-2);

    for (uint32_t n_ubatch : {0u, 5u}) {
        sizes s;
        s.n_seq_max = 2, s.n_ubatch = n_ubatch;
        context c(m, s);
        c.attach(vectors);
        batch b;
        std::vector<int32_t> row_a, row_b;
        for (int32_t i = 0; i < 20; ++i) { // interleaved
            row_a.push_back(int32_t(b.tokens.size()));
            b.add(ta[i], i, 0, true, sa);
            if (i < 17) {
                row_b.push_back(int32_t(b.tokens.size()));
                b.add(tb[i], i, 1, true, sb);
            }
        }
        c.decode(b);
        std::vector<float> got_a, got_b;
        for (int32_t r : row_a) { const auto x = c.logits(r); got_a.insert(got_a.end(), x.begin(), x.end()); }
        for (int32_t r : row_b) { const auto x = c.logits(r); got_b.insert(got_b.end(), x.begin(), x.end()); }
        check_close("sequence 0", got_a, wanted_a, of.rounding);
        check_close("sequence 1", got_b, wanted_b, of.rounding);
    }
}
YAPO_TEST(Batch_TwoSequencesDifferentVectors_EachAsAlone) { for (const setting & of : settings) check_batch_two_sequences_different_vectors(of); }

static void check_batch_prompt_split_over_ubatches(const setting & of) {
    model m(of.spec());
    const auto vectors = four_vectors();
    const auto tokens  = random_tokens(40, 1);
    // another strength at every token and vector: an ubatch that took its strengths from the wrong rows would show
    batch b;
    random_source rng(4);
    for (int32_t i = 0; i < 40; ++i) b.add(tokens[i], i, 0, true, {rng.normal(), rng.normal(), rng.normal(), rng.normal()});
    std::vector<float> wanted;
    for (uint32_t n_ubatch : {0u, 32u, 16u, 7u, 1u}) {
        sizes s;
        s.n_ubatch = n_ubatch;
        context c(m, s);
        c.attach(vectors);
        c.decode(b);
        if (wanted.empty()) {
            wanted = c.logits();
        } else {
            check_close(format("ubatches of %u", n_ubatch).c_str(), c.logits(), wanted, of.rounding);
        }
    }
}
YAPO_TEST(Batch_PromptSplitOverUbatches_SameLogits) { for (const setting & of : settings) check_batch_prompt_split_over_ubatches(of); }

static void check_batch_prompt_split_over_decodes(const setting & of) {
    model m(of.spec());
    const auto vectors = four_vectors();
    const auto tokens  = random_tokens(40, 1);
    const std::vector<float> s = {1.0f, -0.5f, 0.7f, 1.2f};
    const auto wanted = alone(m, vectors, tokens, s);
    context c(m);
    c.attach(vectors);
    std::vector<float> got;
    for (int32_t p = 0; p < 40; p += 13) {
        c.decode(whole({tokens.begin() + p, tokens.begin() + std::min(40, p + 13)}, s, 0, p));
        const auto x = c.logits();
        got.insert(got.end(), x.begin(), x.end());
    }
    check_close("decodes of 13 tokens", got, wanted, of.rounding);
}
YAPO_TEST(Batch_PromptSplitOverDecodes_SameLogits) { for (const setting & of : settings) check_batch_prompt_split_over_decodes(of); }

static void check_batch_some_outputs(const setting & of) {
    // The last block holds output rows only: their strengths must follow them.
    model m(of.spec());
    const std::vector<steer> vectors = {sae.vector(3, 60, 4, 2.0f), random_dense(3, 64, 3)};
    const auto tokens = random_tokens(30, 1);
    random_source rng(4);
    batch all;
    for (int32_t i = 0; i < 30; ++i) all.add(tokens[i], i, 0, true, {rng.normal(), rng.normal()});
    context c(m);
    c.attach(vectors);
    c.decode(all);
    std::vector<std::vector<float>> wanted;
    for (int32_t i = 0; i < 30; ++i) wanted.push_back(c.logits(i));
    for (uint32_t n_ubatch : {0u, 4u}) {
        sizes s;
        s.n_ubatch = n_ubatch;
        context few(m, s);
        few.attach(vectors);
        batch b = all;
        for (int32_t i = 0; i < 30; ++i) b.outputs[i] = i == 3 || i == 17 || i == 18 || i == 29;
        few.decode(b);
        for (int32_t i : {3, 17, 18, 29}) check_close(format("row %d", i).c_str(), few.logits(i), wanted[i], of.rounding);
    }
}
YAPO_TEST(Batch_SomeOutputs_SameRows) { for (const setting & of : settings) check_batch_some_outputs(of); }

// Batches for recurrent states are cut into runs of equal length, one of each sequence: rows of an ubatch are in another order than those of the batch.
YAPO_TEST(Batch_RecurrentSequencesOfUnequalLength_EachAsAlone) {
    random_model spec;
    spec.arch = "mamba";
    const model               m(spec);
    const dictionary          sae(64, 96, 3);
    const std::vector<steer>  all = {random_dense(0, 64, 1), sae.vector(1, 40, 2, 3.0f), random_dense(3, 64, 4), sae.vector(3, 30, 5, 3.0f)};
    const std::vector<int32_t> layers = {0, 0, 1, 3, 3}, sites = {YAPO_CAPTURE_BEFORE, YAPO_CAPTURE_AFTER, YAPO_CAPTURE_AFTER, YAPO_CAPTURE_BEFORE, YAPO_CAPTURE_AFTER};
    const std::vector<int32_t> lengths = {7, 3, 12};
    const auto strengths = [](int32_t s, int32_t t) { return std::vector<float>{0.5f * float(s), 1.0f - float(s), 0.1f * float(t), -0.3f}; };
    const auto output    = [](int32_t s, int32_t t) { return (s + t) % 3 != 1; };
    for (uint32_t n_ubatch : {0u, 4u, 1u}) {
        sizes sz;
        sz.n_seq_max = 3, sz.n_ubatch = n_ubatch;
        context together(m, sz);
        together.attach(all);
        together.capture(layers, sites);
        batch b;
        std::vector<std::pair<int32_t, int32_t>> rows; // sequence, position
        for (int32_t t = 0; t < 12; ++t) {
            for (int32_t s = 2; s >= 0; --s) {
                if (t < lengths[s]) {
                    b.add(random_tokens(12, 5 + s)[t], t, s, output(s, t), strengths(s, t));
                    rows.push_back({s, t});
                }
            }
        }
        together.decode(b);
        for (int32_t s = 0; s < 3; ++s) {
            context alone(m, sz);
            alone.attach(all);
            alone.capture(layers, sites);
            batch own;
            for (int32_t t = 0; t < lengths[s]; ++t) own.add(random_tokens(12, 5 + s)[t], t, 0, output(s, t), strengths(s, t));
            alone.decode(own);
            for (size_t r = 0; r < rows.size(); ++r) {
                const auto [sequence, t] = rows[r];
                if (sequence != s) continue;
                if (output(s, t)) check_close("logits", together.logits(int32_t(r)), alone.logits(t), 1e-4);
                for (int32_t slot = 0; slot < int32_t(layers.size()); ++slot) {
                    const auto x = together.captured(slot), y = alone.captured(slot);
                    const std::vector<float> mine(x.begin() + r * 64, x.begin() + (r + 1) * 64), its(y.begin() + t * 64, y.begin() + (t + 1) * 64);
                    CHECK_EQ(std::isnan(mine[0]), std::isnan(its[0]));
                    CHECK_EQ(std::isnan(mine[0]), layers[slot] == 3 && !output(s, t));
                    if (!std::isnan(mine[0])) check_close("residual", mine, its, 1e-4);
                }
            }
        }
    }
}

YAPO_TEST(Graphs_DecodeSteps_ReusedAsOftenWithSteering) {
    model m((random_model()));
    const auto tokens = random_tokens(100, 1);
    const auto reuse = [&](bool steered) {
        context c(m);
        if (steered) {
            c.attach(four_vectors());
            c.capture({1}, {YAPO_CAPTURE_AFTER});
        }
        const auto before = c.stats();
        random_source rng(1);
        for (int32_t i = 0; i < 100; ++i) { // another strength at every step
            c.decode(whole({tokens[i]}, steered ? std::vector<float>{rng.normal(), rng.normal(), 0.0f, rng.normal()} : std::vector<float>{}, 0, i));
        }
        const auto after = c.stats();
        CHECK_EQ(after.n_graphs_computed - before.n_graphs_computed, int64_t(100));
        return after.n_graphs_reused - before.n_graphs_reused;
    };
    const int64_t plain = reuse(false), steered = reuse(true);
    note("of 100 one-token decodes, graphs reused: %lld without, %lld with steering", (long long) plain, (long long) steered);
    CHECK(plain > 50);
    CHECK_EQ(steered, plain);
}

YAPO_TEST(Graphs_AttachChangeDetach_TakeEffectAtOnce) {
    // A graph kept from before an attach must not be reused after it.
    model m((random_model()));
    const auto tokens = random_tokens(30, 1);
    const auto step = [&](context & c, int32_t i, const std::vector<float> & s) {
        c.decode(whole({tokens[i]}, s, 0, i));
        return c.logits(0);
    };
    const steer strong = random_dense(3, 64, 3, 5.0f), other = random_dense(3, 64, 4, 5.0f);
    context c(m), plain(m), with_strong(m), with_other(m);
    with_strong.attach({strong});
    with_other.attach({other});
    for (int32_t i = 0; i < 30; ++i) {
        // the vector is in the last block, so caches agree whatever was attached before
        const auto p = step(plain, i, {}), s = step(with_strong, i, {1.0f}), o = step(with_other, i, {1.0f});
        CHECK(compare(p.data(), s.data(), int64_t(p.size())).max_abs > 1e-2);
        CHECK(compare(s.data(), o.data(), int64_t(p.size())).max_abs > 1e-2);
        if (i % 10 == 0) c.attach({});
        if (i % 10 == 3) c.attach({strong});
        if (i % 10 == 6) c.attach({other});
        const auto got = i % 10 < 3 ? step(c, i, {}) : step(c, i, {1.0f});
        check_same_bits("after the change", got, i % 10 < 3 ? p : i % 10 < 6 ? s : o);
    }
}

YAPO_TEST(Conversation_StrengthChangedAndReevaluated_EqualsFreshRun) {
    model m((random_model()));
    const auto vectors = four_vectors();
    const auto tokens  = random_tokens(40, 1);
    const std::vector<float> first = {1.0f, 0.5f, -0.5f, 1.0f}, second = {-1.0f, 0.0f, 1.0f, 0.3f};

    // fresh: positions 0-14 under `first`, the rest under `second`
    const auto run = [&](context & c, int32_t from, int32_t to, const std::vector<float> & s) {
        std::vector<float> last;
        for (int32_t i = from; i < to; ++i) {
            c.decode(whole({tokens[i]}, s, 0, i));
            last = c.logits(0);
        }
        return last;
    };
    context fresh(m);
    fresh.attach(vectors);
    run(fresh, 0, 15, first);
    const auto wanted = run(fresh, 15, 40, second);

    context c(m);
    c.attach(vectors);
    const auto stale = run(c, 0, 40, first);
    CHECK(compare(stale.data(), wanted.data(), int64_t(wanted.size())).max_abs > 1e-2);
    c.remove(0, 15);
    check_close("re-evaluated from the first changed position", run(c, 15, 40, second), wanted, 1e-6);
}

static void check_sequences_copied_prefix(const setting & of) {
    model m(of.spec());
    const auto vectors = four_vectors();
    const auto prefix = random_tokens(20, 1), tail = random_tokens(8, 2);
    const std::vector<float> s = {1.0f, 0.5f, -0.5f, 1.0f}, t = {0.0f, -0.5f, 1.0f, 0.0f};
    sizes two;
    two.n_seq_max = 2;
    context c(m, two);
    c.attach(vectors);
    c.decode(whole(prefix, s, 0));
    OK(yapo_context_copy(c.handle, 0, 1, 0, -1, &err));
    c.decode(whole(tail, t, 1, 20));
    const auto got = c.logits();

    context direct(m, two);
    direct.attach(vectors);
    direct.decode(whole(prefix, s, 0));
    direct.decode(whole(tail, t, 0, 20));
    check_close("after a copied prefix", got, direct.logits(), of.rounding);
}
YAPO_TEST(Sequences_CopiedPrefix_AsEvaluatedTwice) { for (const setting & of : settings) check_sequences_copied_prefix(of); }
