// Contexts that give embeddings: what is pooled, steered or not, and what is refused.
#include "altered_gguf.h"
#include "session.h"

using namespace yapo_test;

namespace {

constexpr uint32_t mean = 1, last = 3; // llama.cpp's numbers of ARCHITECTURE.pooling_type

struct pooled {
    model          m;
    yapo_context * handle = nullptr;
    int64_t        d = 0;

    explicit pooled(uint32_t pooling, int32_t n_seq_max = 2)
        : m(altered(write_random_model({}, scratch("pooled.gguf")), [&](gguf_context * g) { gguf_set_val_u32(g, "gemma2.pooling_type", pooling); })) {
        sizes s;
        s.n_seq_max = uint32_t(n_seq_max);
        yapo_context_options o = options_of(s);
        o.embeddings = 1;
        OK(yapo_context_create(m.handle, &o, &handle, &err));
        OK(yapo_context_embedding_size(handle, &d, &err));
    }
    ~pooled() { yapo_context_free(handle); }
    pooled(const pooled &) = delete;

    void decode(const batch & b) {
        const yapo_batch view = b.view();
        OK(yapo_context_decode(handle, &view, &err));
    }
    std::vector<float> of(int32_t sequence) const {
        std::vector<float> x(d);
        OK(yapo_context_embedding(handle, sequence, x.data(), d, &err));
        return x;
    }
    std::vector<float> of(const std::vector<int32_t> & tokens, const std::vector<float> & strengths = {}) {
        OK(yapo_context_remove(handle, -1, 0, -1, &err));
        decode(whole(tokens, strengths));
        return of(0);
    }
};

const std::vector<int32_t> tokens = random_tokens(9, 4), others = random_tokens(5, 5);

} // namespace

YAPO_TEST(Embedding_Mean_IsTheMeanOfTheLastTokensOfEveryPrefix) {
    pooled by_mean(mean), by_last(last);
    std::vector<float> sum(size_t(by_last.d), 0.0f);
    for (size_t n = 1; n <= tokens.size(); ++n) {
        const auto prefix = by_last.of({tokens.begin(), tokens.begin() + int64_t(n)});
        for (size_t i = 0; i < sum.size(); ++i) sum[i] += prefix[i] / float(tokens.size());
    }
    check_close("the mean", by_mean.of(tokens), sum, 1e-5);
}

YAPO_TEST(Embedding_OfABatch_IsEachSequencesOwn) {
    pooled p(mean);
    batch  both = whole(tokens);
    for (size_t i = 0; i < others.size(); ++i) both.add(others[i], int32_t(i), 1);
    p.decode(both);
    const auto first = p.of(0), second = p.of(1);
    check_close("the first", first, p.of(tokens), 1e-5);
    check_close("the second", second, p.of(others), 1e-5);
}

YAPO_TEST(Embedding_Steered_OnlyWhereItsStrengthIsNotZero) {
    pooled     p(mean);
    const auto plain = p.of(tokens);
    const steer            v = random_dense(1, 64, 7, 3.0f);
    const yapo_vector_desc d = v.desc();
    OK(yapo_context_set_vectors(p.handle, &d, 1, &err));
    check_same_bits("at strength 0", p.of(tokens, {0.0f}), plain);
    const auto steered = p.of(tokens, {1.0f});
    CHECK(compare(steered.data(), plain.data(), p.d).max_abs > 1e-2);
}

YAPO_TEST(Embedding_WhatIsNotThere_IsRefused) {
    pooled             p(mean);
    std::vector<float> x(size_t(p.d));
    int64_t            n = 0;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "sequence 0 was not in the last decode", yapo_context_embedding(p.handle, 0, x.data(), p.d, &err));
    p.decode(whole(tokens));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "sequence 1 was not in the last decode", yapo_context_embedding(p.handle, 1, x.data(), p.d, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "sequence is 2, expected 0 to 1", yapo_context_embedding(p.handle, 2, x.data(), p.d, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "sequence is -1, expected 0 to 1", yapo_context_embedding(p.handle, -1, x.data(), p.d, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "room for 63 floats, expected 64", yapo_context_embedding(p.handle, 0, x.data(), p.d - 1, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "room for 64 floats, expected 64", yapo_context_embedding(p.handle, 0, nullptr, p.d, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "n must be given", yapo_context_embedding_size(p.handle, nullptr, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "context is NULL", yapo_context_embedding_size(nullptr, &n, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "gives embeddings and no logits", yapo_context_logits(p.handle, 0, x.data(), 1 << 20, &err));

    const model   m{random_model{}};
    const context logits(m);
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "gives logits and no embeddings", yapo_context_embedding(logits.handle, 0, x.data(), p.d, &err));
    yapo_context_options o = options_of({});
    o.embeddings           = 1;
    yapo_context * none    = nullptr;
    REFUSED(YAPO_ERR_UNSUPPORTED, "names no pooling", yapo_context_create(m.handle, &o, &none, &err));
}
