// Contexts: what decode accepts and refuses, what a failure leaves behind, log-probabilities, cancelling.
#include "session.h"

#include <atomic>
#include <chrono>
#include <thread>

using namespace yapo_test;

YAPO_TEST(Context_BadOptions_Refused) {
    model m((random_model()));
    yapo_context * c = nullptr;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "must be given", yapo_context_create(nullptr, nullptr, &c, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "must be given", yapo_context_create(m.handle, nullptr, nullptr, &err));
    const auto refused = [&](auto change, const char * part) {
        yapo_context_options o = options_of({});
        change(o);
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, part, yapo_context_create(m.handle, &o, &c, &err));
    };
    refused([](auto & o) { o.struct_size = 3; }, "struct_size");
    refused([](auto & o) { o.n_seq_max = 100000; }, "n_seq_max");
    refused([](auto & o) { o.n_threads = -1; }, "n_threads");
    refused([](auto & o) { o.n_threads = 100000; }, "n_threads");
    refused([](auto & o) { o.n_ctx = 4000000000u; }, "n_ctx");
    refused([](auto & o) { o.n_batch = 4000000000u; }, "n_batch");
    refused([](auto & o) { o.flash_attention = 2; }, "flash_attention");
    refused([](auto & o) { o.type_kv = 3; }, "type_kv");
    refused([](auto & o) { o.embeddings = 2; }, "embeddings");
    CHECK(c == nullptr);
    // 16 entries a head are no whole Q8_0 block
    yapo_context_options o = options_of({});
    o.type_kv = 2, o.flash_attention = 1;
    REFUSED(YAPO_ERR_UNSUPPORTED, "does not divide", yapo_context_create(m.handle, &o, &c, &err));
    o.flash_attention = 0;
    REFUSED(YAPO_ERR_UNSUPPORTED, "", yapo_context_create(m.handle, &o, &c, &err));
    CHECK(c == nullptr);
}

YAPO_TEST(Context_Encoder_Refused) {
    random_model spec;
    spec.arch = "bert";
    model m(spec);
    yapo_context * c = nullptr;
    REFUSED(YAPO_ERR_UNSUPPORTED, "encoder", yapo_context_create(m.handle, nullptr, &c, &err));
    CHECK(c == nullptr);
}

// Embeddings themselves are held against an oracle from the managed side, on a model that has a pooling.
YAPO_TEST(Context_EmbeddingsMisused_Refused) {
    model m((random_model()));
    yapo_context_options o = options_of({});
    o.embeddings = 1;
    yapo_context * none = nullptr;
    REFUSED(YAPO_ERR_UNSUPPORTED, "names no pooling", yapo_context_create(m.handle, &o, &none, &err));
    CHECK(none == nullptr);
    context c(m);
    c.decode(whole(random_tokens(5, 1)));
    int64_t n = 0;
    float x[64];
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "no embeddings", yapo_context_embedding_size(c.handle, &n, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "no embeddings", yapo_context_embedding(c.handle, 0, x, 64, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "NULL", yapo_context_embedding(nullptr, 0, x, 64, &err));
}

YAPO_TEST(Context_ModelFreedFirst_StillWorks) {
    auto m = std::make_unique<model>(random_model());
    context c(*m);
    m.reset();
    c.decode(whole(random_tokens(5, 1)));
    CHECK(std::isfinite(c.logits(4)[0]));
}

YAPO_TEST(Decode_BadBatches_RefusedAndHarmless) {
    model m((random_model()));
    sizes s;
    s.n_seq_max = 2;
    context c(m, s);
    const auto tokens = random_tokens(10, 1);
    const auto refused = [&](auto change, const char * part) {
        batch b = whole(tokens, {}, 0, 10);
        yapo_batch v = b.view();
        change(b, v);
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, part, yapo_context_decode(c.handle, &v, &err));
    };
    c.decode(whole(tokens));
    refused([](batch &, yapo_batch & v) { v.struct_size = 0; }, "struct_size");
    refused([](batch &, yapo_batch & v) { v.n_tokens = 0; }, "tokens");
    refused([](batch &, yapo_batch & v) { v.n_tokens = -3; }, "tokens");
    refused([](batch &, yapo_batch & v) { v.n_tokens = 65; }, "n_batch");
    refused([](batch &, yapo_batch & v) { v.tokens = nullptr; }, "must be given");
    refused([](batch &, yapo_batch & v) { v.positions = nullptr; }, "must be given");
    refused([](batch & b, yapo_batch &) { b.tokens[3] = -1; }, "tokens[3] is -1");
    refused([](batch & b, yapo_batch &) { b.tokens[3] = 384; }, "vocabulary");
    refused([](batch & b, yapo_batch &) { b.sequences[2] = 2; }, "sequences[2]");
    refused([](batch & b, yapo_batch &) { b.sequences[2] = -1; }, "sequences[2]");
    refused([](batch & b, yapo_batch &) { b.positions[0] = 9; }, "without a gap");   // already in the cache
    refused([](batch & b, yapo_batch &) { b.positions[0] = 11; }, "without a gap");
    refused([](batch & b, yapo_batch &) { b.positions[5] = 14; }, "expected 15");    // repeated
    refused([](batch & b, yapo_batch &) { b.positions[5] = -1; }, "without a gap");
    refused([](batch & b, yapo_batch &) { b.sequences[9] = 1; }, "expected 0");      // a sequence that starts late
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "context is NULL", yapo_context_decode(nullptr, nullptr, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "must be given", yapo_context_decode(c.handle, nullptr, &err));

    // none of it touched the cache
    c.decode(whole(tokens, {}, 0, 10));
    const auto got = c.logits();
    context clean(m, s);
    clean.decode(whole(tokens));
    clean.decode(whole(tokens, {}, 0, 10));
    check_same_bits("after refused batches", got, clean.logits());
}

YAPO_TEST(Decode_Strengths_RequiredAndFinite) {
    model m((random_model()));
    context c(m);
    c.attach({random_dense(1, 64, 1)});
    const auto tokens = random_tokens(4, 1);
    batch none = whole(tokens), bad = whole(tokens, {1.0f});
    yapo_batch v = none.view();
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "strengths is NULL", yapo_context_decode(c.handle, &v, &err));
    for (float x : {float(NAN), float(INFINITY)}) {
        bad.strengths[2] = x;
        v = bad.view();
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, "strengths[2, 0]", yapo_context_decode(c.handle, &v, &err));
    }
}

YAPO_TEST(Decode_ContextFull_LeavesCacheAsItWas) {
    model m((random_model()));
    sizes s;
    s.n_seq_max = 2; // n_ctx 256 shared by both
    context c(m, s);
    const auto tokens = random_tokens(60, 1);
    for (int32_t p = 0; p < 240; p += 60) c.decode(whole(tokens, {}, 0, p));
    batch b = whole(tokens, {}, 1);
    yapo_batch v = b.view();
    REFUSED(YAPO_ERR_CONTEXT_FULL, "no room for 60", yapo_context_decode(c.handle, &v, &err));
    std::vector<float> x(384);
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "no logits", yapo_context_logits(c.handle, 0, x.data(), 384, &err));
    c.decode(whole({7}, {}, 0, 240)); // continues where it was
    const auto got = c.logits(0);
    context clean(m, s);
    for (int32_t p = 0; p < 240; p += 60) clean.decode(whole(tokens, {}, 0, p));
    clean.decode(whole({7}, {}, 0, 240));
    check_same_bits("after a full context", got, clean.logits(0));
    c.remove(0, 100);
    c.decode(whole(tokens, {}, 1)); // and there is room again
}

YAPO_TEST(Decode_Cancelled_LeavesNothingOfTheBatch) {
    random_model spec;
    spec.n_layer = 12, spec.d_model = 256, spec.n_ff = 1024;
    model m(spec);
    sizes s;
    s.n_ctx = 2048, s.n_batch = 1024, s.n_ubatch = 64;
    context c(m, s);
    const auto tokens = random_tokens(1000, 1);
    c.decode(whole({tokens.begin(), tokens.begin() + 20}));
    batch rest = whole({tokens.begin() + 20, tokens.end()}, {}, 0, 20);
    std::fill(rest.outputs.begin(), rest.outputs.end() - 1, 0);
    const yapo_batch v = rest.view();

    std::atomic<bool> stop{false};
    std::thread canceller([&] { // until it takes: a request before the decode began does not count
        while (!stop) {
            yapo_context_cancel(c.handle);
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    });
    yapo_error * err = nullptr;
    const yapo_status status = yapo_context_decode(c.handle, &v, &err);
    stop = true;
    canceller.join();
    const std::string message = yapo_error_message(err);
    yapo_error_free(err);
    CHECK_MSG(status == YAPO_ERR_CANCELLED, "status %d: %s", int(status), message.c_str());

    c.decode(rest); // the same batch again: nothing of it stayed
    const auto got = c.logits(979);
    context clean(m, s);
    clean.decode(whole({tokens.begin(), tokens.begin() + 20}));
    clean.decode(rest);
    check_same_bits("after a cancelled decode", got, clean.logits(979));
}

YAPO_TEST(Logits_RowsWithoutOutput_Refused) {
    model m((random_model()));
    context c(m);
    std::vector<float> x(384);
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "no logits", yapo_context_logits(c.handle, 0, x.data(), 384, &err));
    batch b = whole(random_tokens(4, 1));
    b.outputs = {0, 1, 0, 1};
    c.decode(b);
    OK(yapo_context_logits(c.handle, 1, x.data(), 384, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "row 2", yapo_context_logits(c.handle, 2, x.data(), 384, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "row is 4", yapo_context_logits(c.handle, 4, x.data(), 384, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "row is -1", yapo_context_logits(c.handle, -1, x.data(), 384, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "room for 383", yapo_context_logits(c.handle, 1, x.data(), 383, &err));
    // without flags, only the last token
    yapo_batch v = {};
    const int32_t token = 9, position = 4;
    v.struct_size = sizeof v, v.n_tokens = 1, v.tokens = &token, v.positions = &position;
    OK(yapo_context_decode(c.handle, &v, &err));
    OK(yapo_context_logits(c.handle, 0, x.data(), 384, &err));
}

YAPO_TEST(Logprobs_SumToOne) {
    model m((random_model()));
    context c(m);
    c.decode(whole(random_tokens(4, 1)));
    std::vector<int32_t> ids(384);
    std::vector<double>  p(384);
    for (int32_t i = 0; i < 384; ++i) ids[i] = i;
    OK(yapo_context_logprobs(c.handle, 2, ids.data(), 384, p.data(), &err));
    double sum = 0;
    for (double x : p) sum += std::exp(x);
    CHECK_NEAR(sum, 1.0, 1e-12, 0);
    const auto logits = c.logits(2);
    CHECK_NEAR(p[10] - p[20], double(logits[10]) - double(logits[20]), 1e-12, 0);
    ids[3] = 384;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "ids[3]", yapo_context_logprobs(c.handle, 2, ids.data(), 384, p.data(), &err));
}

YAPO_TEST(Sequences_BadRanges_Refused) {
    model m((random_model()));
    sizes s;
    s.n_seq_max = 3;
    context c(m, s);
    c.decode(whole(random_tokens(10, 1)));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "sequence is 3", yapo_context_remove(c.handle, 3, 0, -1, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "no range", yapo_context_remove(c.handle, 0, -2, 4, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "no range", yapo_context_remove(c.handle, 0, 5, 4, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "hole", yapo_context_remove(c.handle, 0, 3, 6, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "src is 9", yapo_context_copy(c.handle, 9, 1, 0, -1, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "dst is -1", yapo_context_copy(c.handle, 0, -1, 0, -1, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "expected p0 = 0", yapo_context_copy(c.handle, 0, 1, 4, -1, &err));
    OK(yapo_context_copy(c.handle, 0, 1, 0, 6, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "expected p0 = 6", yapo_context_copy(c.handle, 0, 1, 0, -1, &err));
    OK(yapo_context_copy(c.handle, 0, 1, 6, 8, &err));
    c.decode(whole({9, 10}, {}, 1, 8));
    OK(yapo_context_copy(c.handle, 2, 1, 0, -1, &err)); // nothing to copy
    OK(yapo_context_remove(c.handle, 1, 100, -1, &err)); // nothing there
    OK(yapo_context_remove(c.handle, -1, 0, -1, &err));
    c.decode(whole({9, 10}, {}, 1, 0));
}
