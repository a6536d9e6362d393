// Upper blocks on a ggml device: against the fused CPU worker, finite differences, and a server in a second process. YAPO_TEST_DEVICE names another device
// than the CPU backend in plain ops; bounds are then those of products whose inputs are rounded to F16.
#include "train_upper_problem.h"

#if !defined(_WIN32)
#    include "rpc_server.h"
#endif

#include <cstdlib>

using namespace yapo_test;
using namespace yapo_test::upper;

namespace {

const char * device_name() {
    const char * name = getenv("YAPO_TEST_DEVICE");
    return name ? name : "cpu";
}

// What is allowed of a relative error: `here` on the CPU backend.
double bound(double here) { return getenv("YAPO_TEST_DEVICE") ? std::max(here, 1e-2) : here; }

// On the CPU backend every graph gives the same bits; elsewhere a backend may fuse what one graph has and another has not.
bool same(double a, double b) { return getenv("YAPO_TEST_DEVICE") ? std::fabs(a - b) <= 1e-3 * std::fabs(b) : a == b; }

struct result {
    double             logprob;
    std::vector<float> gradient;
};

result differentiate(session & s, const yapo_sequence & q, const std::vector<float> & v, float multiplier) {
    result r;
    r.gradient = s.gradient(q, v.data(), int64_t(v.size()), multiplier, &r.logprob);
    CHECK(same(s.logprob(q, v.data(), multiplier), r.logprob));
    return r;
}

double relative_l2(const std::vector<float> & a, const std::vector<float> & b) { return upper::relative_l2(a, {b.begin(), b.end()}); }

} // namespace

YAPO_TEST(TrainUpper_Device_Gradient_AgreesWithFiniteDifferences) {
    const problem p;
    session s(p.path, layer, device_name());
    s.use(p.sae);
    for (float multiplier : {1.0f, -1.0f, 1.7f}) {
        const std::vector<double> value(p.v.begin(), p.v.end());
        const result r = differentiate(s, p.sequence(), p.v, multiplier);
        const double expected = p.logprob(value, multiplier, true);
        const double error = upper::relative_l2(r.gradient, finite_differences(p, value, multiplier, true));
        note("sparse, multiplier %4.1f: log-probability off by %.1e of %.3f, gradient relative L2 error %.2e", multiplier, r.logprob - expected, expected, error);
        CHECK_NEAR(r.logprob, expected, 0, bound(2e-6));
        CHECK(error <= bound(1e-5));
    }
    s.use_dense(p.model.d_model);
    random_source rng(8);
    std::vector<float> v(p.model.d_model);
    for (float & x : v) x = 0.3f * rng.normal();
    const result r = differentiate(s, p.sequence(), v, -1.0f);
    const double error = upper::relative_l2(r.gradient, finite_differences(p, {v.begin(), v.end()}, -1.0, false));
    note("dense: gradient relative L2 error %.2e", error);
    CHECK(error <= bound(1e-5));
}

// At v = 0 the derivative is that from the side of growth, and the log-probability the unsteered one.
YAPO_TEST(TrainUpper_Device_AtZero_OnlyFiringLatentsGetAGradient) {
    problem p;
    for (int64_t j = 0; j < p.sae.f; j += 4) {
        p.sae.threshold[j] = 1e3f; // never fires
    }
    session host(p.path), s(p.path, layer, device_name());
    host.use(p.sae);
    s.use(p.sae);
    const std::vector<float> zero(p.sae.f, 0.0f);
    const result r = differentiate(s, p.sequence(), zero, 1.0f), expected = differentiate(host, p.sequence(), zero, 1.0f);
    CHECK(same(r.logprob, s.logprob(p.sequence(), nullptr, 1.0f)));
    for (int64_t j = 0; j < p.sae.f; ++j) {
        CHECK((r.gradient[j] == 0.0f) == (expected.gradient[j] == 0.0f));
    }
    CHECK(relative_l2(r.gradient, expected.gradient) <= bound(1e-5));
}

// F32 weights: the two workers differ in the order of sums.
YAPO_TEST(TrainUpper_Device_Architectures_AgreeWithTheFusedWorker) {
    for (const variant & of : variants()) {
        const problem p(of.model);
        session host(p.path), s(p.path, layer, device_name());
        host.use(p.sae);
        s.use(p.sae);
        const result a = differentiate(host, p.sequence(), p.v, 1.3f), b = differentiate(s, p.sequence(), p.v, 1.3f);
        const double error = relative_l2(b.gradient, a.gradient);
        note("%s: log-probability off by %.1e of %.3f, gradient relative L2 difference %.2e", of.what, b.logprob - a.logprob, a.logprob, error);
        CHECK_NEAR(b.logprob, a.logprob, 0, bound(2e-6));
        CHECK(error <= bound(1e-5));
    }
}

// Quantized weights: against the gradient of exactly what they stand for, in F32. ggml's products round the other side first (to 8 bits for quantized matrices), and
// the gradient again where it meets a transposed copy in Q8_0; the fused worker rounds both sides to BF16. Bounds for the worst of three models, about twice
// what was measured.
YAPO_TEST(TrainUpper_Device_QuantizedWeights_AgreeWithWhatTheyStandFor) {
    struct kind { const char * name; llama_ftype type; double logprob, error; };
    for (const kind & k : {kind{"F16", LLAMA_FTYPE_MOSTLY_F16, 4e-4, 2e-3}, kind{"BF16", LLAMA_FTYPE_MOSTLY_BF16, 6e-3, 1e-2}, kind{"Q8_0", LLAMA_FTYPE_MOSTLY_Q8_0, 1e-2, 5e-2},
                           kind{"Q4_K", LLAMA_FTYPE_MOSTLY_Q4_K_M, 2e-2, 5e-2}}) {
        double worst = 0, off = 0, fused = 0;
        for (uint64_t seed = 1; seed <= 3; ++seed) {
            const problem p(wide_model(seed));
            const std::string small = scratch("q.gguf"), same = scratch("f32.gguf");
            quantize(p.path, small, k.type);
            quantize(small, same, LLAMA_FTYPE_ALL_F32);
            session exact(same), host(small), s(small, layer, device_name());
            for (session * each : {&exact, &host, &s}) each->use(p.sae);
            const result a = differentiate(exact, p.sequence(), p.v, 1.0f), b = differentiate(s, p.sequence(), p.v, 1.0f), c = differentiate(host, p.sequence(), p.v, 1.0f);
            worst = std::max(worst, relative_l2(b.gradient, a.gradient));
            fused = std::max(fused, relative_l2(c.gradient, a.gradient));
            off   = std::max(off, std::fabs(b.logprob - a.logprob) / 8); // per scored token
        }
        note("%s: log-probability per token off by %.1e, gradient relative L2 error %.2e (the fused worker's: %.2e)", k.name, off, worst, fused);
        CHECK(off <= bound(k.logprob));
        CHECK(worst <= bound(k.error));
    }
}

// The codes given or computed, vectors at two blocks, one of them dense.
YAPO_TEST(TrainUpper_Device_Sites_AgreeWithTheFusedWorker) {
    const problem p;
    const latents second(24, p.model.d_model, 41);
    const int64_t D = p.model.d_model, T = int64_t(p.tokens.size());
    std::vector<float> z(p.sae.f * T), value;
    OK(yapo_sae_encode(D, p.sae.f, p.sae.enc.data(), p.sae.enc_bias.data(), p.sae.threshold.data(), p.residual.data(), T, 1, z.data(), &err));
    std::vector<int32_t> start{0}, number, index;
    for (int64_t t = 0; t < T; ++t) {
        for (int64_t j = 0; j < p.sae.f; ++j) {
            if (z[t * p.sae.f + j] > 0) {
                number.insert(number.end(), {int32_t(3 * j + 1), int32_t(3 * j + 2)}); // the second is nobody's
                value.insert(value.end(), {z[t * p.sae.f + j], 0.5f});
            }
        }
        start.push_back(int32_t(number.size()));
    }
    for (int64_t j = 0; j < p.sae.f; ++j) index.push_back(int32_t(3 * j + 1));
    yapo_latents numbered = p.sae.at(layer);
    numbered.index = index.data();
    const yapo_latents dense{sizeof dense, YAPO_VECTOR_DENSE, 3, 0, 0, D, nullptr, nullptr, nullptr, nullptr, nullptr};
    yapo_sequence with_codes = p.sequence();
    with_codes.code_start = start.data(), with_codes.code_latent = number.data(), with_codes.code_value = value.data();

    const auto compare_at = [&](const char * what, const std::vector<yapo_latents> & sites, const yapo_sequence & q, int64_t parameters) {
        session host(p.path), s(p.path, layer, device_name());
        random_source rng(5);
        std::vector<float> v(parameters);
        for (float & x : v) x = 0.5f * rng.normal();
        for (session * each : {&host, &s}) OK(yapo_upper_set_latents(each->upper, sites.data(), int32_t(sites.size()), &err));
        for (float multiplier : {1.0f, -0.8f}) {
            const result a = differentiate(host, q, v, multiplier), b = differentiate(s, q, v, multiplier);
            const double error = relative_l2(b.gradient, a.gradient);
            note("%s, multiplier %4.1f: log-probability off by %.1e of %.3f, gradient relative L2 difference %.2e", what, multiplier, b.logprob - a.logprob, a.logprob, error);
            CHECK_NEAR(b.logprob, a.logprob, 0, bound(2e-6));
            CHECK(error <= bound(1e-5));
        }
    };
    compare_at("codes given", {numbered}, with_codes, p.sae.f);
    compare_at("two sparse blocks", {p.sae.at(1), second.at(2)}, p.sequence(), p.sae.f + second.f);
    compare_at("codes given, two more blocks, one dense", {numbered, second.at(2), dense}, with_codes, p.sae.f + second.f + D);
    compare_at("the last block alone", {second.at(3)}, p.sequence(), second.f);
}

// Long enough that the head's positions come in two chunks; what was computed before changes nothing, nor does who computes.
YAPO_TEST(TrainUpper_Device_ChunkedHead_AndRepeatedCalls) {
    const problem p, longer(upper_model(), 1120, 40);
    session host(p.path), a(p.path, layer, device_name()), b(p.path, layer, device_name());
    for (session * s : {&host, &a, &b}) s->use(p.sae);
    const result first = differentiate(a, p.sequence(), p.v, 1.0f);
    const result l = differentiate(a, longer.sequence(), p.v, 1.0f), expected = differentiate(host, longer.sequence(), p.v, 1.0f);
    const double error = relative_l2(l.gradient, expected.gradient);
    note("1080 scored tokens: log-probability off by %.1e of %.1f, gradient relative L2 difference %.2e", l.logprob - expected.logprob, expected.logprob, error);
    CHECK_NEAR(l.logprob, expected.logprob, 0, bound(2e-6));
    CHECK(error <= bound(1e-5));
    const result again = differentiate(a, p.sequence(), p.v, 1.0f), other = differentiate(b, p.sequence(), p.v, 1.0f);
    CHECK(same(first.logprob, again.logprob) && same(first.logprob, other.logprob));
    CHECK(relative_l2(again.gradient, first.gradient) <= bound(0) && relative_l2(other.gradient, first.gradient) <= bound(0));
}

#if !defined(_WIN32)
// The server computes with the same CPU backend: the same bits, or something did not travel.
YAPO_TEST(TrainUpper_Device_Rpc_SameBitsAsHere) {
    const rpc_server server;
    for (const llama_ftype type : {LLAMA_FTYPE_ALL_F32, LLAMA_FTYPE_MOSTLY_Q4_K_M}) {
        const problem p(wide_model(4));
        const std::string file = scratch("q.gguf");
        quantize(p.path, file, type);
        session here(file, layer, "cpu"), there(file, layer, "RPC0", server.endpoint.c_str());
        here.use(p.sae);
        there.use(p.sae);
        const result a = differentiate(here, p.sequence(), p.v, 1.0f), b = differentiate(there, p.sequence(), p.v, 1.0f);
        CHECK(a.logprob == b.logprob);
        CHECK(a.gradient == b.gradient);
        const std::vector<float> zero(p.sae.f, 0.0f);
        CHECK(there.logprob(p.sequence(), zero.data(), 1.0f) == there.logprob(p.sequence(), nullptr, 1.0f));
        there.use_dense(p.model.d_model);
        here.use_dense(p.model.d_model);
        std::vector<float> v(p.model.d_model, 0.01f);
        CHECK(differentiate(here, p.sequence(), v, 1.0f).gradient == differentiate(there, p.sequence(), v, 1.0f).gradient);
    }
}
#endif

YAPO_TEST(TrainUpper_Device_ThatIsNotThere_Refused) {
    const problem p;
    yapo_upper * upper = nullptr;
    OK(yapo_upper_load(p.path.c_str(), layer, &upper, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "there is no device \"CUDA7\"; this build and machine have: ", yapo_upper_place(upper, "CUDA7", nullptr, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "there is no device \"RPC0\"", yapo_upper_place(upper, "RPC0", nullptr, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "device is NULL", yapo_upper_place(upper, nullptr, nullptr, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "upper is NULL", yapo_upper_place(nullptr, "cpu", nullptr, &err));
    REFUSED(YAPO_ERR_IO, "does not answer", yapo_upper_place(upper, "RPC0", "127.0.0.1:1", &err));
    OK(yapo_upper_place(upper, "cpu", nullptr, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "the weights are on device CPU already", yapo_upper_place(upper, "cpu", nullptr, &err));
    yapo_upper_free(upper);
}
