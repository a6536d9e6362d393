// Steering through a whole SAE: TopK against an oracle, JumpReLU against the sparse form, replacement by the reconstruction.
#include "full_sae_oracle.h"

#include <cstddef>
#include <cstring>

using namespace yapo_test;

namespace {

const dictionary sae(64, 150, 3); // not a multiple of 32

// Steers with `vectors`, all of one SAE and layer, and compares every row with h + dec^T max(sum s v, -z) in double precision.
// Returns the largest error relative to the row.
double against_oracle(const model & m, const full_sae & s, const std::vector<steer> & vectors, float size, uint32_t n_ubatch = 0, bool decode_one_by_one = false) {
    const int32_t layer = vectors[0].layer;
    sizes         sz;
    sz.n_ubatch = n_ubatch;
    context c(m, sz);
    c.attach(vectors);
    c.capture({layer, layer}, {YAPO_CAPTURE_BEFORE, YAPO_CAPTURE_AFTER});
    const std::vector<int32_t> tokens = random_tokens(24, 5);
    random_source rng(9);
    batch all;
    for (size_t i = 0; i < tokens.size(); ++i) {
        std::vector<float> strengths;
        for (size_t v = 0; v < vectors.size(); ++v) strengths.push_back(i % 5 == 4 ? 0.0f : size * rng.normal());
        all.add(tokens[i], int32_t(i), 0, true, strengths);
    }
    std::vector<float> before, after;
    if (decode_one_by_one) {
        for (size_t i = 0; i < tokens.size(); ++i) {
            const auto at = all.strengths.begin() + i * vectors.size();
            c.decode(batch().add(tokens[i], int32_t(i), 0, true, {at, at + vectors.size()}));
            const auto b = c.captured(0), a = c.captured(1);
            before.insert(before.end(), b.begin(), b.end());
            after.insert(after.end(), a.begin(), a.end());
        }
    } else {
        c.decode(all);
        before = c.captured(0), after = c.captured(1);
    }
    double  worst = 0, effect = 0, total = 0;
    int32_t excluded = 0;
    for (size_t i = 0; i < tokens.size(); ++i) {
        const float * h = before.data() + i * c.d;
        const auto codes = s.encode(h);
        std::vector<double> strength(sae.width), step(sae.width);
        for (size_t v = 0; v < vectors.size(); ++v) {
            for (int64_t k = 0; k < vectors[v].k(); ++k) strength[vectors[v].index[k]] += double(all.strengths[i * vectors.size() + v]) * vectors[v].value[k];
        }
        for (int64_t f = 0; f < sae.width; ++f) step[f] = std::max(codes.z[f] + strength[f], 0.0) - codes.z[f];
        const auto delta = s.decode(step);
        double top = 0, error = 0;
        for (int64_t j = 0; j < c.d; ++j) {
            top   = std::max(top, std::fabs(h[j] + delta[j]));
            error = std::max(error, std::fabs(h[j] + delta[j] - after[i * c.d + j]));
            effect += std::fabs(delta[j]);
            total += std::fabs(h[j]);
        }
        if (codes.margin < 1e-6) {
            ++excluded;
        } else {
            worst = std::max(worst, error / top);
        }
    }
    note("top-%d, ubatch %u: max error %.2g of the row, %d of %zu rows excluded; mean |delta|/|h| %.2g", s.topk, n_ubatch, worst, excluded, tokens.size(), effect / total);
    CHECK(effect > 0.01 * total);
    CHECK(excluded * 4 < int32_t(tokens.size()));
    return worst;
}

} // namespace

YAPO_TEST(FullSae_TopK_AgreesWithOracle) {
    model m((random_model()));
    for (int32_t layer : {0, 1, 3}) {
        for (int32_t k : {1, 2, 20, 149, 150}) {
            const full_sae s(m, sae, layer, k);
            CHECK(against_oracle(m, s, {s.vector(layer, 40, 1)}, 1.5f) < 1e-5);
        }
    }
    const full_sae s(m, sae, 1, 20);
    CHECK(against_oracle(m, s, {s.vector(1, 40, 1), s.vector(1, 70, 2), s.vector(1, 150, 3)}, 1.0f) < 1e-5); // jointly
    CHECK(against_oracle(m, s, {s.vector(1, 40, 1)}, 1.5f, 7) < 1e-5);
    CHECK(against_oracle(m, s, {s.vector(1, 40, 1)}, 1.5f, 0, true) < 1e-5);
    steer ablation = s.vector(1, 150, 4); // removes exactly what is there
    for (float & x : ablation.value) x = -std::fabs(x) - 1.0f;
    CHECK(against_oracle(m, s, {ablation}, 1e6f) < 1e-5);
}

YAPO_TEST(FullSae_TopKMassiveResiduals_AgreesWithOracle) {
    for (float gain : {1e3f, 1e6f}) {
        random_model spec;
        spec.embedding_gain = gain;
        model            m(spec);
        const full_sae   s(m, sae, 1, 20);
        CHECK(against_oracle(m, s, {s.vector(1, 60, 4, gain)}, 1.0f) < 1e-5);
    }
}

YAPO_TEST(FullSae_TopKTies_AllStay) {
    // Two features with the same rows compete for the last place: both stay, whatever the order in which a backend sorts.
    dictionary twins(64, 64, 4);
    std::copy(twins.enc.begin(), twins.enc.begin() + 64, twins.enc.begin() + 64);
    twins.bias[0] = twins.bias[1] = 100.0f;
    model m((random_model()));
    const full_sae s(m, twins, 1, 1);
    steer v = twins.vector(1, std::vector<int32_t>{0, 1}, 1);
    v.value = {-1e4f, -1e4f};
    v.sae   = s.handle;
    context c(m);
    c.attach({v});
    c.capture({1, 1}, {YAPO_CAPTURE_BEFORE, YAPO_CAPTURE_AFTER});
    c.decode(whole(random_tokens(6, 1), {1.0f}));
    const auto h = c.captured(0), after = c.captured(1);
    for (int32_t i = 0; i < 6; ++i) {
        auto codes = s.encode(h.data() + i * 64);
        CHECK(codes.z[0] > 0 && codes.z[0] == codes.z[1]);
        for (double & z : codes.z) z = -z;
        const auto delta = s.decode(codes.z);
        for (int32_t j = 0; j < 64; ++j) CHECK_NEAR(after[i * 64 + j], h[i * 64 + j] + delta[j], 1e-4, 1e-5);
    }
}

YAPO_TEST(FullSae_JumpRelu_AgreesWithSparseForm) {
    const auto tokens = random_tokens(24, 5);
    for (const char * arch : {"gemma2", "llama"}) {
        random_model spec;
        spec.arch = arch;
        model m(spec);
        for (int32_t layer : {0, 2, 3}) {
            const full_sae s(m, sae, layer);
            const auto logits = [&](bool full, bool one_by_one) {
                std::vector<steer> vectors;
                for (int i = 0; i < 2; ++i) {
                    vectors.push_back(full ? s.vector(layer, 40 + i, 1 + i) : sae.vector(layer, 40 + i, 1 + i));
                    vectors.back().sae_id = 6;
                }
                context c(m);
                c.attach(vectors);
                if (!one_by_one) {
                    c.decode(whole(tokens, {1.5f, -0.5f}));
                    return c.logits();
                }
                for (int32_t i = 0; i < 8; ++i) c.decode(whole({tokens[i]}, {1.5f, -0.5f}, 0, i));
                return c.logits();
            };
            check_close("whole SAE against sparse form", logits(true, false), logits(false, false), arch == std::string("llama") ? 2e-5 : 3e-4);
            check_close("token by token", logits(true, true), logits(false, true), arch == std::string("llama") ? 2e-5 : 3e-4);
        }
    }
}

YAPO_TEST(FullSae_JoinedWithSparseVectorsOfTheSameId) {
    // Both ablate the same features: together once, with different ids twice.
    model m((random_model()));
    const full_sae s(m, sae, 1);
    steer a = s.vector(1, 150, 4), b = sae.vector(1, 150, 4);
    for (float & x : a.value) x = -100.0f;
    b.value = a.value;
    const auto logits = [&](const std::vector<steer> & vectors) {
        context c(m);
        c.attach(vectors);
        c.decode(whole(random_tokens(8, 1), std::vector<float>(vectors.size(), 1.0f)));
        return c.logits();
    };
    const auto alone = logits({a});
    a.sae_id = b.sae_id = 5;
    check_close("joined", logits({a, b}), alone, 1e-6);
    b.sae_id = 6;
    CHECK(compare(logits({a, b}).data(), alone.data(), int64_t(alone.size())).max_abs > 1e-3);
}

YAPO_TEST(FullSae_VectorsOfOneSae_ActJointlyWhateverTheirIds) {
    // b brings the same SAE without an id, c an id of its own, d no SAE but the id of c
    model m((random_model()));
    const full_sae s(m, sae, 1);
    steer a = s.vector(1, 150, 4), b = a, c = a, d = sae.vector(1, 150, 4);
    for (steer * v : {&a, &b, &c, &d}) v->value.assign(150, -100.0f);
    a.sae_id = 5, b.sae_id = 0, c.sae_id = 6, d.sae_id = 6;
    const auto logits = [&](const std::vector<steer> & vectors) {
        context x(m);
        x.attach(vectors);
        x.decode(whole(random_tokens(8, 1), std::vector<float>(vectors.size(), 1.0f)));
        return x.logits();
    };
    const auto alone = logits({a}); // each ablates all features: together as one
    check_close("with and without an id", logits({a, b}), alone, 1e-6);
    check_close("two ids", logits({a, c}), alone, 1e-6);
    check_close("through a third", logits({d, b, c, a}), alone, 1e-6);
}

YAPO_TEST(FullSae_StrengthZero_SameBits) {
    const auto tokens = random_tokens(40, 2);
    for (float gain : {1.0f, 1e6f}) {
        for (uint32_t n_ubatch : {0u, 16u, 1u}) {
            random_model spec;
            spec.embedding_gain = gain;
            model m(spec);
            sizes sz;
            sz.n_ubatch = n_ubatch;
            context c(m, sz);
            std::vector<std::unique_ptr<full_sae>> saes;
            std::vector<steer> vectors;
            for (int32_t layer = 0; layer < spec.n_layer; ++layer) {
                saes.push_back(std::make_unique<full_sae>(m, sae, layer, layer % 2 ? 20 : 0, layer % 4));
                vectors.push_back(saes.back()->vector(layer, 40, layer, gain));
                vectors.push_back(random_dense(layer, 64, layer, gain));
                vectors.back().kind = YAPO_VECTOR_REPLACE;
                vectors.back().sae  = saes.back()->handle;
            }
            for (bool last_only : {false, true}) { // ubatches without any output occur
                const auto run = [&](const std::vector<float> & strengths) {
                    batch b = whole(tokens, strengths);
                    if (last_only) std::fill(b.outputs.begin(), b.outputs.end() - 1, 0);
                    c.clear();
                    c.decode(b);
                    return last_only ? c.logits(39) : c.logits();
                };
                c.attach({});
                const auto plain = run({});
                c.attach(vectors);
                check_same_bits("strength 0", run(std::vector<float>(vectors.size(), 0.0f)), plain);
                const auto steered = run(std::vector<float>(vectors.size(), 0.5f));
                CHECK(compare(steered.data(), plain.data(), int64_t(plain.size())).max_abs > 1e-3);
            }
        }
    }
}

YAPO_TEST(FullSae_ChangingStrengths_ReusesGraphs) {
    model m((random_model()));
    const full_sae s(m, sae, 1, 20);
    context c(m);
    c.attach({s.vector(1, 40, 1)});
    const auto tokens = random_tokens(30, 1);
    for (int32_t i = 0; i < 30; ++i) c.decode(whole({tokens[i]}, {0.1f * i}, 0, i));
    const auto stats = c.stats();
    note("%lld graphs, %lld reused", (long long) stats.n_graphs_computed, (long long) stats.n_graphs_reused);
    CHECK(stats.n_graphs_reused >= stats.n_graphs_computed - 2);
}

YAPO_TEST(FullSae_Replacement_AgreesWithOracle) {
    model m((random_model()));
    struct { int32_t type; double tolerance; } types[] = {{YAPO_ROW_F32, 1e-5}, {YAPO_ROW_F16, 2e-3}, {YAPO_ROW_BF16, 1.6e-2}, {YAPO_ROW_Q8_0, 3e-2}};
    const auto tokens = random_tokens(16, 3);
    for (int32_t topk : {0, 20}) {
        for (const auto & [type, tolerance] : types) {
            const full_sae s(m, sae, 2, topk, type);
            steer v = random_dense(2, 64, 8, 0.3f); // the decoder's bias
            v.kind = YAPO_VECTOR_REPLACE;
            v.sae  = s.handle;
            context c(m);
            c.attach({v});
            c.capture({2, 2}, {YAPO_CAPTURE_BEFORE, YAPO_CAPTURE_AFTER});
            batch b;
            for (int32_t i = 0; i < 16; ++i) b.add(tokens[i], i, 0, true, {i == 0 ? 0.0f : 1.0f}); // BOS stays
            c.decode(b);
            const auto h = c.captured(0), after = c.captured(1);
            check_same_bits("BOS", {after.begin(), after.begin() + 64}, {h.begin(), h.begin() + 64});
            double worst = 0;
            for (int32_t i = 1; i < 16; ++i) {
                const auto codes = s.encode(h.data() + i * 64);
                if (codes.margin < 1e-6) continue;
                const auto x = s.decode(codes.z);
                double top = 0, error = 0;
                for (int32_t j = 0; j < 64; ++j) {
                    top   = std::max(top, std::fabs(x[j] + v.value[j]));
                    error = std::max(error, std::fabs(x[j] + v.value[j] - after[i * 64 + j]));
                }
                worst = std::max(worst, error / top);
            }
            note("top-%d, decoder rows of type %d: max error %.2g of the row", topk, type, worst);
            CHECK(worst < tolerance);
        }
    }
    // Without an SAE: the value alone. Zeros are the zero ablation, exactly.
    steer zero = random_dense(2, 64, 1, 0.0f), mean = random_dense(2, 64, 2);
    for (steer * v : {&zero, &mean}) {
        v->kind = YAPO_VECTOR_REPLACE;
        context c(m);
        c.attach({*v});
        c.capture({2}, {YAPO_CAPTURE_AFTER});
        c.decode(whole(tokens, {1.0f}));
        const auto after = c.captured(0);
        for (int32_t i = 0; i < 16 * 64; ++i) CHECK_NEAR(after[i], v->value[i % 64], 2e-6, 1e-6);
    }
}

YAPO_TEST(FullSae_BadArguments_Refused) {
    model   m((random_model())), other((random_model()));
    context c(m);
    const auto refused = [&](yapo_status status, const char * part, auto change) {
        yapo_full_sae_desc d = {};
        d.struct_size = sizeof d;
        d.layer = 1, d.d_model = 64, d.width = 150, d.enc_bias = sae.bias.data(), d.threshold = sae.threshold.data();
        change(d);
        yapo_full_sae * out = nullptr;
        REFUSED(status, part, yapo_full_sae_create(m.handle, &d, &out, &err));
        CHECK(!out);
    };
    refused(YAPO_ERR_INVALID_ARGUMENT, "struct_size", [](auto & d) { d.struct_size = 3; });
    refused(YAPO_ERR_MISMATCH, "blocks 0 to 3", [](auto & d) { d.layer = 4; });
    refused(YAPO_ERR_MISMATCH, "blocks 0 to 3", [](auto & d) { d.layer = -1; });
    refused(YAPO_ERR_MISMATCH, "d_model 65", [](auto & d) { d.d_model = 65; });
    for (int64_t width : {int64_t(0), int64_t(-1), int64_t(1) << 25, INT64_MAX}) refused(YAPO_ERR_INVALID_ARGUMENT, "latents", [&](auto & d) { d.width = width; });
    refused(YAPO_ERR_INVALID_ARGUMENT, "activation is 2", [](auto & d) { d.activation = 2; });
    for (int32_t k : {0, -1, 151}) refused(YAPO_ERR_INVALID_ARGUMENT, "topk is", [&](auto & d) { d.activation = YAPO_SAE_TOPK, d.topk = k; });
    refused(YAPO_ERR_INVALID_ARGUMENT, "dec_row_type is 9", [](auto & d) { d.dec_row_type = 9; });
    refused(YAPO_ERR_INVALID_ARGUMENT, "enc_bias is NULL", [](auto & d) { d.enc_bias = nullptr; });
    std::vector<float> bad = sae.bias;
    bad[7] = float(NAN);
    refused(YAPO_ERR_INVALID_ARGUMENT, "enc_bias[7]", [&](auto & d) { d.enc_bias = bad.data(); });
    refused(YAPO_ERR_INVALID_ARGUMENT, "threshold[7]", [&](auto & d) { d.threshold = bad.data(); });

    full_sae s(m, sae, 1, 0, YAPO_ROW_F16);
    const auto rows = [&](const char * part, int64_t first, int64_t n, const float * x) {
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, part, yapo_full_sae_set_encoder(s.handle, first, n, x, &err));
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, part, yapo_full_sae_set_decoder(s.handle, first, n, x, &err));
    };
    std::vector<float> x(32 * 64, 1.0f);
    rows("lie in 0 to 149", 150, 1, x.data());
    rows("lie in 0 to 149", 149, 2, x.data());
    rows("lie in 0 to 149", -1, 1, x.data());
    rows("lie in 0 to 149", 0, 0, x.data());
    rows("lie in 0 to 149", 1, INT64_MAX, x.data());
    rows("must be given", 0, 1, nullptr);
    x[70] = float(INFINITY);
    rows("[70] of the SAE is not finite", 0, 32, x.data());
    x[70] = 7e4f;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "decoder row 33 is 70000, too large for F16", yapo_full_sae_set_decoder(s.handle, 32, 32, x.data(), &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "a multiple of 32", yapo_full_sae_set_decoder(s.handle, 1, 32, x.data(), &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "a multiple of 32", yapo_full_sae_set_decoder(s.handle, 0, 31, x.data(), &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "sae is NULL", yapo_full_sae_set_encoder(nullptr, 0, 1, x.data(), &err));

    const auto attach = [&](yapo_status status, const char * part, steer v) {
        const yapo_vector_desc desc = v.desc();
        REFUSED(status, part, yapo_context_set_vectors(c.handle, &desc, 1, &err));
    };
    full_sae elsewhere(other, sae, 1);
    attach(YAPO_ERR_MISMATCH, "another loaded model", elsewhere.vector(1, 40, 1));
    attach(YAPO_ERR_MISMATCH, "vector 0 is for layer 2, its SAE for layer 1", s.vector(2, 40, 1));
    steer beyond = s.vector(1, 150, 1);
    beyond.index.back() = 150;
    attach(YAPO_ERR_MISMATCH, "feature 150 is beyond the 150 latents", beyond);
    yapo_full_sae_desc d = {};
    d.struct_size = sizeof d;
    d.layer = 1, d.d_model = 64, d.width = 150, d.enc_bias = sae.bias.data();
    yapo_full_sae * part = nullptr;
    OK(yapo_full_sae_create(m.handle, &d, &part, &err));
    steer v = sae.vector(1, 40, 1);
    v.sae = part;
    attach(YAPO_ERR_INVALID_ARGUMENT, "encoder row 0 of the SAE of layer 1 was never set", v);
    OK(yapo_full_sae_set_encoder(part, 0, 149, sae.enc.data(), &err));
    attach(YAPO_ERR_INVALID_ARGUMENT, "encoder row 149", v);
    OK(yapo_full_sae_set_encoder(part, 149, 1, sae.enc.data() + 149 * 64, &err));
    c.attach({v});
    steer r = random_dense(1, 64, 1);
    r.kind = YAPO_VECTOR_REPLACE, r.sae = part;
    attach(YAPO_ERR_INVALID_ARGUMENT, "decoder row 0", r);
    yapo_full_sae_free(part); // the context keeps its weights
    c.decode(whole(random_tokens(5, 1), {1.0f}));
    for (float logit : c.logits()) CHECK(std::isfinite(logit));
    const full_sae full(m, sae, 1), again(m, sae, 1);
    steer a = full.vector(1, 40, 1), b = again.vector(1, 40, 2);
    a.sae_id = b.sae_id = 3;
    const yapo_vector_desc two[] = {a.desc(), b.desc()};
    REFUSED(YAPO_ERR_MISMATCH, "name two SAEs", yapo_context_set_vectors(c.handle, two, 2, &err));
    yapo_full_sae_free(nullptr);
}

YAPO_TEST(FullSae_DescriptorsWithoutTheField_StillAttach) {
    // What a caller compiled against the header before `sae` was added passes.
    model   m((random_model()));
    context c(m);
    const steer a = sae.vector(1, 40, 1), b = random_dense(2, 64, 2);
    c.attach({a, b});
    c.decode(whole(random_tokens(8, 1), {1.0f, 1.0f}));
    const auto wanted = c.logits();
    constexpr size_t old = offsetof(yapo_vector_desc, sae);
    std::vector<uint64_t> bytes(2 * old / sizeof(uint64_t));
    yapo_vector_desc descs[] = {a.desc(), b.desc()};
    for (int i = 0; i < 2; ++i) {
        descs[i].struct_size = old;
        memcpy(reinterpret_cast<char *>(bytes.data()) + i * old, &descs[i], old);
    }
    OK(yapo_context_set_vectors(c.handle, reinterpret_cast<const yapo_vector_desc *>(bytes.data()), 2, &err));
    c.clear();
    c.decode(whole(random_tokens(8, 1), {1.0f, 1.0f}));
    check_same_bits("descriptors of the old size", c.logits(), wanted);
}
