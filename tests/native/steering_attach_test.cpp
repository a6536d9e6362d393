// Attaching: what can be steered is, what cannot is refused with the old set still attached.
#include "session.h"

#include "context/context.h"

using namespace yapo_test;

namespace {

const dictionary sae(64, 96, 3);

void every_layer_steers(const char * arch) {
    random_model spec;
    spec.arch = arch;
    model   m(spec);
    context c(m);
    const auto tokens = random_tokens(12, 1);
    c.decode(whole(tokens));
    const auto plain = c.logits();
    for (int32_t layer = 0; layer < spec.n_layer; ++layer) {
        for (const steer & v : {sae.vector(layer, 40, 1, 3.0f), random_dense(layer, 64, 2, 3.0f)}) {
            c.clear();
            c.attach({v});
            c.decode(whole(tokens, {1.0f}));
            const auto steered = c.logits();
            CHECK_MSG(compare(plain.data(), steered.data(), int64_t(plain.size())).max_abs > 1e-2, "%s block %d was not steered", arch, layer);
        }
    }
}

} // namespace

YAPO_TEST(Hook_Gemma2EveryLayer_Steers) { every_layer_steers("gemma2"); }
YAPO_TEST(Hook_Gemma3EveryLayer_Steers) { every_layer_steers("gemma3"); }
YAPO_TEST(Hook_LlamaEveryLayer_Steers)  { every_layer_steers("llama"); }
YAPO_TEST(Hook_Qwen3EveryLayer_Steers)  { every_layer_steers("qwen3"); }
YAPO_TEST(Hook_MambaEveryLayer_Steers)  { every_layer_steers("mamba"); }

namespace {

void refused_but_usable(const char * arch, const char * why) {
    random_model spec;
    spec.arch = arch;
    model   m(spec);
    context c(m);
    c.decode(whole(random_tokens(5, 1)));
    const auto plain = c.logits();
    for (int32_t layer = 0; layer < spec.n_layer; ++layer) {
        const steer v = random_dense(layer, 64, 1);
        const yapo_vector_desc desc = v.desc();
        REFUSED(YAPO_ERR_UNSUPPORTED, format("layer %d of this architecture cannot be steered or captured: %s", layer, why), yapo_context_set_vectors(c.handle, &desc, 1, &err));
        const int32_t site = YAPO_CAPTURE_AFTER;
        REFUSED(YAPO_ERR_UNSUPPORTED, why, yapo_context_set_capture(c.handle, &layer, &site, 1, &err));
    }
    c.clear();
    c.decode(whole(random_tokens(5, 1)));
    check_same_bits("after the refusals", c.logits(), plain);
}

} // namespace

YAPO_TEST(Hook_ArchitectureWithoutIt_RefusedAndUsable) { refused_but_usable("plamo2", "llama.cpp's graph for it never offers the residual stream"); }
// four parallel streams: [d_model, tokens, 4]
YAPO_TEST(Hook_AnotherShape_RefusedAndUsable) { refused_but_usable("gemma3n", "its residual stream is f32 [64, "); }

YAPO_TEST(Hook_GraphWithoutIt_DecodeRefusedAndNothingIsKept) {
    random_model spec;
    model   m(spec);
    context c(m);
    const auto  tokens = random_tokens(6, 1);
    const batch b = whole(tokens, {1.0f});
    const yapo_batch view = b.view();
    c.attach({sae.vector(1, 40, 1, 3.0f)});
    c.decode(b);
    const auto steered = c.logits();
    c.clear();
    // no graph built from here on has it, as were llama.cpp to build one that never offers the layer
    CHECK(llama_set_layer_hook(c.handle->handle.get(), nullptr, nullptr, 0));
    REFUSED(YAPO_ERR_INTERNAL, "6 of the batch's 6 tokens went through a graph without what is attached", yapo_context_decode(c.handle, &view, &err));
    std::vector<float> row(c.n_vocab);
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "the last decode failed", yapo_context_logits(c.handle, 0, row.data(), c.n_vocab, &err));
    c.attach({sae.vector(1, 40, 1, 3.0f)});
    c.decode(b); // at position 0: nothing of the refused batch is in the cache
    check_same_bits("attached again", c.logits(), steered);
}

YAPO_TEST(Attach_BadVectors_RefusedWithOldSetAttached) {
    model   m((random_model()));
    context c(m);
    const auto tokens = random_tokens(12, 1);
    c.attach({sae.vector(1, 40, 1, 3.0f)});
    c.decode(whole(tokens, {1.0f}));
    const auto wanted = c.logits();
    const int64_t bytes = c.stats().bytes_steering;
    CHECK(bytes >= 64 * 2 * 64 * 4);

    const auto refused = [&](yapo_status status, const char * part, auto change) {
        steer v = sae.vector(2, 40, 1), w = random_dense(2, 64, 2);
        yapo_vector_desc descs[2] = {};
        steer * owner[] = {&v, &w};
        change(v, w);
        for (int i = 0; i < 2; ++i) descs[i] = owner[i]->desc();
        REFUSED(status, part, yapo_context_set_vectors(c.handle, descs, 2, &err));
    };
    const float bad[] = {float(NAN), float(INFINITY), -float(INFINITY)};
    for (float x : bad) {
        refused(YAPO_ERR_INVALID_ARGUMENT, "vector 0: value[3]", [&](steer & v, steer &) { v.value[3] = x; });
        refused(YAPO_ERR_INVALID_ARGUMENT, "vector 1: value[63]", [&](steer &, steer & w) { w.value[63] = x; });
        refused(YAPO_ERR_INVALID_ARGUMENT, "enc[100]", [&](steer & v, steer &) { v.enc[100] = x; });
        refused(YAPO_ERR_INVALID_ARGUMENT, "enc_bias[0]", [&](steer & v, steer &) { v.bias[0] = x; });
        refused(YAPO_ERR_INVALID_ARGUMENT, "threshold[39]", [&](steer & v, steer &) { v.threshold[39] = x; });
        refused(YAPO_ERR_INVALID_ARGUMENT, "dec[2559]", [&](steer & v, steer &) { v.dec[2559] = x; });
    }
    refused(YAPO_ERR_INVALID_ARGUMENT, "layer 4 is out of range", [](steer & v, steer &) { v.layer = 4; });
    refused(YAPO_ERR_INVALID_ARGUMENT, "blocks 0 to 3", [](steer & v, steer &) { v.layer = -1; });
    refused(YAPO_ERR_MISMATCH, "d_model is 65, the model has 64", [](steer & v, steer &) { v.d = 65; });
    refused(YAPO_ERR_INVALID_ARGUMENT, "kind is 7", [](steer & v, steer &) { v.kind = 7; });
    refused(YAPO_ERR_INVALID_ARGUMENT, "dec_row_type is 4", [](steer & v, steer &) { v.row_type = 4; });
    refused(YAPO_ERR_INVALID_ARGUMENT, "ascending", [](steer & v, steer &) { v.index[5] = v.index[4]; });
    refused(YAPO_ERR_INVALID_ARGUMENT, "ascending", [](steer & v, steer &) { v.index[0] = -1; });
    refused(YAPO_ERR_INVALID_ARGUMENT, "too large for F16", [](steer & v, steer &) { v.row_type = YAPO_ROW_F16, v.dec[1] = 7e4f; });

    const auto refused_desc = [&](yapo_status status, const char * part, auto change) {
        const steer v = sae.vector(2, 40, 1);
        yapo_vector_desc desc = v.desc();
        change(desc);
        REFUSED(status, part, yapo_context_set_vectors(c.handle, &desc, 1, &err));
    };
    refused_desc(YAPO_ERR_INVALID_ARGUMENT, "k is 0", [](auto & v) { v.k = 0; });
    refused_desc(YAPO_ERR_INVALID_ARGUMENT, "k is -5", [](auto & v) { v.k = -5; });
    refused_desc(YAPO_ERR_INVALID_ARGUMENT, "k is", [](auto & v) { v.k = INT64_MAX; });
    refused_desc(YAPO_ERR_INVALID_ARGUMENT, "struct_size", [](auto & v) { v.struct_size = 8; });
    refused_desc(YAPO_ERR_UNSUPPORTED, "operator 1", [](auto & v) { v.op = 1; });
    refused_desc(YAPO_ERR_INVALID_ARGUMENT, "value is NULL", [](auto & v) { v.value = nullptr; });
    refused_desc(YAPO_ERR_INVALID_ARGUMENT, "needs index", [](auto & v) { v.index = nullptr; });
    refused_desc(YAPO_ERR_INVALID_ARGUMENT, "needs index", [](auto & v) { v.dec = nullptr; });
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "n is -1", yapo_context_set_vectors(c.handle, nullptr, -1, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "n is 2", yapo_context_set_vectors(c.handle, nullptr, 2, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "context is NULL", yapo_context_set_vectors(nullptr, nullptr, 0, &err));

    // equal sae_id, unequal encoders
    steer a = sae.vector(2, 40, 1), b = sae.vector(2, 40, 1);
    a.sae_id = b.sae_id = 9;
    b.enc[70] += 1.0f;
    const yapo_vector_desc pair[] = {a.desc(), b.desc()};
    REFUSED(YAPO_ERR_MISMATCH, "encoders differ at feature", yapo_context_set_vectors(c.handle, pair, 2, &err));

    CHECK_EQ(c.stats().bytes_steering, bytes);
    c.clear();
    c.decode(whole(tokens, {1.0f}));
    check_same_bits("the old set after every refusal", c.logits(), wanted);
    c.attach({});
    CHECK_EQ(c.stats().bytes_steering, int64_t(0));
}

YAPO_TEST(Attach_ManyVectorsOnEveryLayer_FitsTheGraph) {
    // more nodes than llama.cpp budgets for the model itself
    random_model spec;
    spec.n_layer = 6;
    model   m(spec);
    context c(m);
    std::vector<steer> all;
    for (int32_t i = 0; i < 40; ++i) {
        for (int32_t layer = 0; layer < spec.n_layer; ++layer) {
            steer v = sae.vector(layer, 8, 100 + i, 0.1f);
            v.sae_id = i % 2 ? 3 : 0;
            all.push_back(v);
            all.push_back(random_dense(layer, 64, i, 0.1f));
        }
    }
    c.attach(all);
    std::vector<int32_t> layers, sites;
    for (int32_t layer = 0; layer < spec.n_layer; ++layer) {
        layers.insert(layers.end(), {layer, layer});
        sites.insert(sites.end(), {YAPO_CAPTURE_BEFORE, YAPO_CAPTURE_AFTER});
    }
    c.capture(layers, sites);
    c.decode(whole(random_tokens(20, 1), std::vector<float>(all.size(), 0.1f)));
    for (float x : c.logits()) CHECK(std::isfinite(x));
}

YAPO_TEST(Attach_ThousandsOfDenseVectors_FitTheScheduler) {
    model   m((random_model()));
    context c(m);
    // counted without their values, these are just as many nodes as one of ggml's hash tables has room for
    const std::vector<steer> all(1780, random_dense(1, 64, 1, 1e-3f));
    c.attach(all);
    c.decode(whole(random_tokens(5, 1), std::vector<float>(all.size(), 0.5f)));
    const auto many = c.logits();
    c.clear();
    c.attach({random_dense(1, 64, 1, 1e-3f)});
    c.decode(whole(random_tokens(5, 1), {890.0f}));
    check_close("their sum", many, c.logits(), 1e-4);
}

YAPO_TEST(Attach_RepeatedSwaps_KeepWorking) {
    model   m((random_model()));
    context c(m);
    const auto tokens = random_tokens(6, 1);
    std::vector<float> first;
    for (int32_t i = 0; i < 30; ++i) {
        c.attach({sae.vector(i % 4, 40, 1), random_dense(3, 64, 1)});
        c.clear();
        c.decode(whole(tokens, {1.0f, 1.0f}));
        c.attach({});
        c.clear();
        c.decode(whole(tokens));
        first.empty() ? void(first = c.logits()) : check_same_bits("plain", c.logits(), first);
    }
}
