// SAE read-out: the most active latents of every row, before and after steering, against codes in double precision.
#include "full_sae_oracle.h"

using namespace yapo_test;

namespace {

const dictionary sae(64, 150, 3);

struct rows {
    std::vector<int32_t> latents, active;
    std::vector<float>   activations;
    int32_t              top;
};

void set(const context & c, const std::vector<yapo_readout_desc> & readouts) {
    OK(yapo_context_set_readout(c.handle, readouts.data(), int32_t(readouts.size()), &err));
}

yapo_readout_desc readout(const full_sae & s, int32_t top, int32_t site = YAPO_CAPTURE_BEFORE) {
    yapo_readout_desc r = {};
    r.struct_size = sizeof r;
    r.sae = s.handle, r.top = top, r.site = site;
    return r;
}

rows read(const context & c, int32_t slot, int32_t top) {
    rows r;
    r.top = top;
    r.latents.resize(size_t(c.last) * top), r.activations.resize(size_t(c.last) * top), r.active.resize(c.last);
    OK(yapo_context_readout(c.handle, slot, r.latents.data(), r.activations.data(), r.active.data(), c.last, &err));
    return r;
}

// Rows of h [T, D] against what was read; returns the largest error of an activation relative to the row's largest.
double check(const full_sae & s, const rows & got, const std::vector<float> & h, int32_t & excluded) {
    double worst = 0;
    for (size_t t = 0; t < got.active.size(); ++t) {
        const auto codes = s.encode(h.data() + t * s.of.d);
        if (codes.margin < 1e-6) {
            ++excluded;
            continue;
        }
        const auto n_active = std::count_if(codes.z.begin(), codes.z.end(), [](double z) { return z > 0; });
        CHECK_EQ(int64_t(got.active[t]), int64_t(n_active));
        std::vector<double> sorted = codes.z;
        std::sort(sorted.begin(), sorted.end(), std::greater<double>());
        float previous = INFINITY;
        for (int32_t k = 0; k < got.top; ++k) {
            const int32_t id = got.latents[t * got.top + k];
            const float   z  = got.activations[t * got.top + k];
            if (k >= n_active) {
                CHECK(id == -1 && z == 0.0f);
                continue;
            }
            CHECK(id >= 0 && id < s.of.width && z <= previous);
            previous = z;
            worst = std::max({worst, std::fabs(z - codes.z[id]) / sorted[0], std::fabs(z - sorted[k]) / sorted[0]});
        }
    }
    return worst;
}

} // namespace

YAPO_TEST(Readout_BeforeAndAfterSteering_AgreesWithOracle) {
    model m((random_model()));
    const auto tokens = random_tokens(24, 5);
    for (int32_t topk : {0, 20}) {
        for (int32_t layer : {0, 2, 3}) {
            for (uint32_t n_ubatch : {0u, 7u}) {
                const full_sae s(m, sae, layer, topk);
                sizes sz;
                sz.n_ubatch = n_ubatch;
                context c(m, sz);
                c.attach({s.vector(layer, 70, 1, 3.0f)});
                c.capture({layer, layer}, {YAPO_CAPTURE_BEFORE, YAPO_CAPTURE_AFTER});
                set(c, {readout(s, 12), readout(s, 150, YAPO_CAPTURE_AFTER), readout(s, 1)});
                c.decode(whole(tokens, {1.0f}));
                int32_t excluded = 0;
                const auto before = read(c, 0, 12), after = read(c, 1, 150);
                const double worst = std::max({check(s, before, c.captured(0), excluded), check(s, after, c.captured(1), excluded), check(s, read(c, 2, 1), c.captured(0), excluded)});
                note("top-%d, layer %d, ubatch %u: max error %.2g of the largest activation, %d of 72 rows excluded", topk, layer, n_ubatch, worst, excluded);
                CHECK(worst < 1e-5);
                CHECK(excluded * 4 < 72);
                CHECK(c.captured(0) != c.captured(1));
            }
        }
    }
}

YAPO_TEST(Readout_DoesNotChangeLogits) {
    model m((random_model()));
    const full_sae s(m, sae, 2);
    context c(m);
    const auto tokens = random_tokens(30, 1);
    c.decode(whole(tokens));
    const auto plain = c.logits();
    set(c, {readout(s, 5), readout(s, 5, YAPO_CAPTURE_AFTER)});
    c.clear();
    c.decode(whole(tokens));
    check_same_bits("with read-outs", c.logits(), plain);
    CHECK(read(c, 0, 5).latents == read(c, 1, 5).latents); // nothing steers
    set(c, {});
    c.clear();
    c.decode(whole(tokens));
    check_same_bits("read-outs stopped", c.logits(), plain);
}

YAPO_TEST(Readout_TokenByToken_ReusesGraphs) {
    model m((random_model()));
    const full_sae s(m, sae, 2, 20);
    context c(m), all(m);
    set(c, {readout(s, 6)});
    set(all, {readout(s, 6)});
    const auto tokens = random_tokens(30, 1);
    all.decode(whole(tokens));
    const auto wanted = read(all, 0, 6);
    int32_t same = 0;
    for (int32_t i = 0; i < 30; ++i) {
        c.decode(whole({tokens[i]}, {}, 0, i));
        const auto got = read(c, 0, 6);
        same += std::equal(got.latents.begin(), got.latents.end(), wanted.latents.begin() + 6 * i);
        CHECK_NEAR(got.activations[0], wanted.activations[6 * i], 1e-3, 1e-3);
    }
    CHECK(same >= 28); // near-equal activations may change places
    CHECK(c.stats().n_graphs_reused >= c.stats().n_graphs_computed - 2);
}

YAPO_TEST(Readout_LastBlockWithoutOutput_IsMarked) {
    model m((random_model()));
    const full_sae s(m, sae, 3);
    sizes sz;
    sz.n_ubatch = 4;
    context c(m, sz);
    set(c, {readout(s, 6)});
    batch b = whole(random_tokens(20, 1));
    for (int32_t i = 0; i < 20; ++i) b.outputs[i] = i == 2 || i == 13 || i == 19;
    c.decode(b);
    const auto got = read(c, 0, 6);
    for (int32_t i = 0; i < 20; ++i) {
        CHECK(b.outputs[i] ? got.active[i] > 0 && got.latents[i * 6] >= 0 : got.active[i] == -1 && got.latents[i * 6] == -1 && std::isnan(got.activations[i * 6]));
    }
}

YAPO_TEST(Readout_BadArguments_Refused) {
    model   m((random_model())), other((random_model()));
    context c(m);
    const full_sae s(m, sae, 2), elsewhere(other, sae, 2);
    const auto refused = [&](yapo_status status, const char * part, yapo_readout_desc r) { REFUSED(status, part, yapo_context_set_readout(c.handle, &r, 1, &err)); };
    yapo_readout_desc r = readout(s, 5);
    r.struct_size = 5;
    refused(YAPO_ERR_INVALID_ARGUMENT, "struct_size is 5", r);
    r = readout(s, 5), r.sae = nullptr;
    refused(YAPO_ERR_INVALID_ARGUMENT, "sae is NULL", r);
    refused(YAPO_ERR_INVALID_ARGUMENT, "site is 2", readout(s, 5, 2));
    for (int32_t top : {0, -1, 151}) refused(YAPO_ERR_INVALID_ARGUMENT, "expected 1 to 150", readout(s, top));
    refused(YAPO_ERR_MISMATCH, "another loaded model", readout(elsewhere, 5));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "n is 1000", yapo_context_set_readout(c.handle, nullptr, 1000, &err));
    std::vector<int32_t> ids(50), active(10);
    std::vector<float>   z(50);
    const auto read = [&](const char * part, int32_t slot, int32_t * latents, int64_t capacity) {
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, part, yapo_context_readout(c.handle, slot, latents, z.data(), active.data(), capacity, &err));
    };
    read("0 read-outs are set", 0, ids.data(), 10);
    set(c, {readout(s, 5)});
    read("nothing is read out", 0, ids.data(), 10);
    c.decode(whole(random_tokens(10, 1)));
    read("slot is 1", 1, ids.data(), 10);
    read("room for 10 tokens, found 9", 0, ids.data(), 9);
    read("must be given", 0, nullptr, 10);
    OK(yapo_context_readout(c.handle, 0, ids.data(), z.data(), active.data(), 10, &err));
}
