// Sampling: greedy is exact, a seed repeats, cuts cut, penalties penalize, and every way to be refused.
#include "session.h"

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>

using namespace yapo_test;

namespace {

struct decoded {
    model          m{random_model()};
    yapo_context * context = nullptr;
    std::vector<float> logits;

    decoded() {
        const yapo_context_options options = options_of({});
        OK(yapo_context_create(m.handle, &options, &context, &err));
        const batch b = whole(random_tokens(8, 3));
        const yapo_batch view = b.view();
        OK(yapo_context_decode(context, &view, &err));
        logits.resize(384);
        OK(yapo_context_logits(context, 7, logits.data(), 384, &err));
    }
    ~decoded() { yapo_context_free(context); }

    int32_t best() const { return int32_t(std::max_element(logits.begin(), logits.end()) - logits.begin()); }
};

struct sampler {
    yapo_sampler * handle = nullptr;
    sampler(const decoded & d, const yapo_sampler_options & options) { OK(yapo_sampler_create(d.m.handle, &options, &handle, &err)); }
    ~sampler() { yapo_sampler_free(handle); }
    sampler(const sampler &) = delete;
    int32_t draw(const decoded & d) {
        int32_t token = -1;
        OK(yapo_sampler_sample(handle, d.context, 7, &token, &err));
        return token;
    }
    std::vector<int32_t> draw(const decoded & d, int n) {
        std::vector<int32_t> tokens;
        for (int i = 0; i < n; ++i) tokens.push_back(draw(d));
        return tokens;
    }
};

yapo_sampler_options plain(float temperature, uint32_t seed = 1) {
    yapo_sampler_options o;
    yapo_sampler_default_options(&o);
    o.temperature = temperature;
    o.seed  = seed;
    o.top_k = 0, o.top_p = 1, o.min_p = 0;
    return o;
}

} // namespace

YAPO_TEST(Sampler_TemperatureZero_TakesTheLargestLogit) {
    decoded d;
    sampler greedy(d, plain(0));
    for (int32_t token : greedy.draw(d, 5)) {
        CHECK_EQ(token, d.best());
    }
}

YAPO_TEST(Sampler_Seed_DecidesTheDraws) {
    decoded d;
    for (uint32_t seed : {0u, 1u, 0xffffffffu}) {
        sampler a(d, plain(1, seed)), b(d, plain(1, seed));
        const std::vector<int32_t> drawn = a.draw(d, 50);
        CHECK(drawn == b.draw(d, 50));
        OK(yapo_sampler_reset(a.handle, &err));
        CHECK(drawn == a.draw(d, 50));
    }
    sampler a(d, plain(1, 1)), b(d, plain(1, 2));
    CHECK(a.draw(d, 50) != b.draw(d, 50));
}

YAPO_TEST(Sampler_Temperature1_DrawsFromTheSoftmax) {
    decoded d;
    double  sum = 0;
    for (float l : d.logits) sum += std::exp(double(l));
    sampler s(d, plain(1, 5));
    std::map<int32_t, int> count;
    const int n = 20000;
    for (int32_t token : s.draw(d, n)) ++count[token];
    double worst = 0; // in standard deviations, over tokens expected at least 10 times
    for (int32_t id = 0; id < 384; ++id) {
        const double p = std::exp(double(d.logits[id])) / sum;
        if (n * p >= 10) {
            worst = std::max(worst, std::fabs(count[id] - n * p) / std::sqrt(n * p * (1 - p)));
        }
    }
    note("largest deviation of a token's frequency: %.2f standard deviations", worst);
    CHECK_MSG(worst < 5, "%.2f", worst);
}

YAPO_TEST(Sampler_Cuts_KeepTheLikeliest) {
    decoded d;
    std::vector<int32_t> order(384);
    for (int32_t i = 0; i < 384; ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return d.logits[a] > d.logits[b]; });

    yapo_sampler_options o = plain(2);
    o.top_k = 3;
    sampler top_k(d, o);
    const std::vector<int32_t> drawn = top_k.draw(d, 300);
    CHECK(std::set<int32_t>(drawn.begin(), drawn.end()) == std::set<int32_t>(order.begin(), order.begin() + 3));

    o = plain(1);
    o.top_p = 0;
    sampler top_p(d, o);
    o = plain(1);
    o.min_p = 1;
    sampler min_p(d, o);
    for (int i = 0; i < 20; ++i) {
        CHECK_EQ(top_p.draw(d), order[0]);
        CHECK_EQ(min_p.draw(d), order[0]);
    }
}

YAPO_TEST(Sampler_Penalties_MoveOnFromRepetition) {
    decoded d;
    for (int which = 0; which < 3; ++which) {
        yapo_sampler_options o = plain(0);
        (which == 0 ? o.repeat_penalty : which == 1 ? o.frequency_penalty : o.presence_penalty) = 100.0f;
        if (which == 0 && d.logits[d.best()] <= 0) {
            continue; // dividing a negative logit would be multiplied instead; covered by the others
        }
        sampler s(d, o);
        const std::vector<int32_t> drawn = s.draw(d, 4);
        CHECK_EQ(drawn[0], d.best());
        CHECK_EQ(std::set<int32_t>(drawn.begin(), drawn.end()).size(), 4u);
        OK(yapo_sampler_reset(s.handle, &err));
        CHECK_EQ(s.draw(d), d.best());
        o.penalty_last_n = 0; // off
        sampler off(d, o);
        CHECK_EQ(off.draw(d), d.best());
        CHECK_EQ(off.draw(d), d.best());
    }
}

YAPO_TEST(Sampler_OutlivesItsModel) {
    yapo_sampler * s = nullptr;
    {
        model m{random_model()};
        OK(yapo_sampler_create(m.handle, nullptr, &s, &err));
    }
    OK(yapo_sampler_reset(s, &err));
    yapo_sampler_free(s);
    yapo_sampler_free(nullptr);
}

YAPO_TEST(Sampler_OfAnotherVocabulary_Refused) {
    const decoded d;
    for (int32_t n_vocab : {340, 512}) {
        random_model spec;
        spec.n_vocab = n_vocab;
        const model    other(write_random_model(spec, scratch("other.gguf")));
        yapo_sampler * s = nullptr;
        OK(yapo_sampler_create(other.handle, nullptr, &s, &err));
        int32_t token = -1;
        REFUSED(YAPO_ERR_MISMATCH, format("for a model of %d tokens, the context's has 384", n_vocab), yapo_sampler_sample(s, d.context, 7, &token, &err));
        CHECK_EQ(token, -1);
        yapo_sampler_free(s);
    }
}

YAPO_TEST(Sampler_BadArguments_AreRefused) {
    decoded d;
    yapo_sampler * s = nullptr;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "model", yapo_sampler_create(nullptr, nullptr, &s, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "out", yapo_sampler_create(d.m.handle, nullptr, nullptr, &err));
    const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
    const auto  bad = [&](const char * name, const std::function<void(yapo_sampler_options &)> & change) {
        yapo_sampler_options o = plain(1);
        change(o);
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, name, yapo_sampler_create(d.m.handle, &o, &s, &err));
        CHECK(!s);
    };
    for (float value : {nan, inf, -1.0f}) {
        bad("temperature", [&](auto & o) { o.temperature = value; });
        bad("top_p", [&](auto & o) { o.top_p = value; });
        bad("min_p", [&](auto & o) { o.min_p = value; });
        bad("repeat_penalty", [&](auto & o) { o.repeat_penalty = value; });
    }
    for (float value : {nan, inf}) {
        bad("frequency_penalty", [&](auto & o) { o.frequency_penalty = value; });
        bad("presence_penalty", [&](auto & o) { o.presence_penalty = value; });
    }
    bad("top_k", [](auto & o) { o.top_k = -1; });
    bad("penalty_last_n", [](auto & o) { o.penalty_last_n = -1; });
    bad("penalty_last_n", [](auto & o) { o.penalty_last_n = INT32_MAX; });
    bad("struct_size", [](auto & o) { o.struct_size = 4; });

    sampler good(d, plain(0));
    int32_t token = -5;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "sampler", yapo_sampler_sample(nullptr, d.context, 7, &token, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "context", yapo_sampler_sample(good.handle, nullptr, 7, &token, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "token", yapo_sampler_sample(good.handle, d.context, 7, nullptr, &err));
    for (int32_t row : {-1, 8, INT32_MAX}) {
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, "", yapo_sampler_sample(good.handle, d.context, row, &token, &err));
    }
    CHECK_EQ(token, -5);
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "NULL", yapo_sampler_reset(nullptr, &err));
}
