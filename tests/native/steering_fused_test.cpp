// Steering by our own two ops (steering/fused.h) agrees with ggml's ops and with the oracle: the graph, its arguments and their
// layouts as on a CUDA device, the kernels run by their host twin.
#include "kernel_oracle.h"

#include <cstdlib>

using namespace yapo_test;

namespace {

void use_kernel(const char * name) {
#ifdef _WIN32
    CHECK(_putenv_s("YAPO_STEERING_KERNEL", name) == 0);
#else
    CHECK(setenv("YAPO_STEERING_KERNEL", name, 1) == 0);
#endif
}

const dictionary sae(64, 200, 3);

// Joint and separate vectors, dense ones between them, several layers, the first and the last among them.
std::vector<steer> vectors(int32_t row_type) {
    steer a = sae.vector(0, 40, 1), b = sae.vector(0, 33, 2), c = sae.vector(0, 64, 3), d = sae.vector(2, 7, 4), e = sae.vector(3, 100, 5), f = sae.vector(3, 100, 6);
    a.sae_id = c.sae_id = 11;
    std::vector<steer> all = {a, random_dense(0, 64, 3), b, d, random_dense(3, 64, 7), c, e, f};
    for (steer & v : all) v.row_type = row_type;
    return all;
}

struct outcome {
    std::vector<float> logits, before, after; // residuals of layer 0
};

// Tokens of three sequences in turn; strengths differ at every token and vector, and are 0 at some.
outcome run(const model & m, const std::vector<steer> & all, int32_t n_tokens, std::vector<float> * strengths = nullptr, float size = 0.5f) {
    sizes s;
    s.n_seq_max = 3;
    context c(m, s);
    c.attach(all);
    c.capture({0, 0}, {YAPO_CAPTURE_BEFORE, YAPO_CAPTURE_AFTER});
    const std::vector<int32_t> tokens = random_tokens(n_tokens, 5);
    random_source rng(9);
    batch b;
    for (int32_t i = 0; i < n_tokens; ++i) {
        std::vector<float> of_token;
        for (size_t v = 0; v < all.size(); ++v) of_token.push_back((i + int32_t(v)) % 3 == 2 ? 0.0f : size * rng.normal());
        b.add(tokens[i], i / 3, i % 3, true, of_token);
    }
    if (strengths) *strengths = b.strengths;
    c.decode(b);
    return {c.logits(), c.captured(0), c.captured(1)};
}

} // namespace

YAPO_TEST(Fused_AgreesWithOpsAndOracle) {
    model m((random_model()));
    for (int32_t n_tokens : {1, 3, 8, 30, 50}) { // every kernel
        const std::vector<steer> all = vectors(YAPO_ROW_F32);
        std::vector<float> strengths;
        use_kernel("ops");
        const outcome ops = run(m, all, n_tokens);
        use_kernel("fused");
        const outcome fused = run(m, all, n_tokens, &strengths);
        CHECK(fused.before == ops.before);
        CHECK(compare(fused.after.data(), ops.after.data(), int64_t(ops.after.size())).bits > 0); // another kernel indeed
        check_close("logits", fused.logits, ops.logits, 3e-4);                                    // see steering_batch_test.cpp
        double worst = 0;
        int32_t compared = 0;
        for (int32_t i = 0; i < n_tokens; ++i) {
            const oracle_result want = steer_oracle(all, 0, fused.before.data() + i * 64, strengths.data() + i * all.size());
            if (want.margin < 1e-6) continue; // a gate within rounding of its threshold
            ++compared;
            double top = 0;
            for (int64_t j = 0; j < 64; ++j) top = std::max(top, std::fabs(want.h[j]));
            for (int64_t j = 0; j < 64; ++j) worst = std::max(worst, std::fabs(want.h[j] - fused.after[size_t(i * 64 + j)]) / top);
        }
        note("%d of %d tokens, relative error %.2g", compared, n_tokens, worst);
        CHECK(compared * 4 >= n_tokens * 3 && worst < 1e-6);
    }
}

YAPO_TEST(Fused_RowTypes_AgreeWithOps) {
    // ggml's ops round c to the rows' type, ours do not: the tolerances of Kernel_RowTypes_AgreeToTheirPrecision
    model m((random_model()));
    struct { int32_t type; double tolerance; } cases[] = {{YAPO_ROW_F16, 2e-3}, {YAPO_ROW_BF16, 1.6e-2}, {YAPO_ROW_Q8_0, 3e-2}};
    for (const auto & [type, tolerance] : cases) {
        for (int32_t n_tokens : {1, 8, 50}) {
            outcome of[2];
            for (int i = 0; i < 2; ++i) {
                use_kernel(i ? "fused" : "ops");
                of[i] = run(m, vectors(type), n_tokens);
                for (size_t j = 0; j < of[i].after.size(); ++j) of[i].after[j] -= of[i].before[j];
            }
            check_close("change of the residual", of[1].after, of[0].after, tolerance);
        }
    }
}

YAPO_TEST(Fused_StrengthZero_IsUnsteeredBitForBit) {
    model m((random_model()));
    use_kernel("fused");
    for (int32_t n_tokens : {1, 8, 50}) {
        check_same_bits("strength 0", run(m, vectors(YAPO_ROW_Q8_0), n_tokens, nullptr, 0.0f).logits, run(m, {}, n_tokens).logits);
    }
}

YAPO_TEST(Fused_UnknownKernel_IsRefused) {
    model m((random_model()));
    context c(m);
    use_kernel("quick");
    const steer v = sae.vector(1, 10, 1);
    const yapo_vector_desc d = v.desc();
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "YAPO_STEERING_KERNEL is 'quick', expected 'ops' or 'fused'", yapo_context_set_vectors(c.handle, &d, 1, &err));
}
