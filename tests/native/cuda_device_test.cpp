// On an NVIDIA GPU or the emulated one (builds with the preset "cuda" only; every case fails without): the kernels against their host twin,
// and the steered model against the oracle.
#include "cuda_problem.h"
#include "kernel_oracle.h"

#include "cuda/launch.h"

#include <cuda_runtime.h>

using namespace yapo_test;

namespace {

void must(cudaError_t status, const char * what) {
    CHECK_MSG(status == cudaSuccess, "%s: %s", what, cudaGetErrorString(status));
}

// A copy on the device.
struct on_device {
    void * data = nullptr;
    template <class T> explicit on_device(const std::vector<T> & x) {
        must(cudaMalloc(&data, x.size() * sizeof(T)), "cudaMalloc");
        must(cudaMemcpy(data, x.data(), x.size() * sizeof(T), cudaMemcpyHostToDevice), "cudaMemcpy");
    }
    ~on_device() { cudaFree(data); }
    on_device(const on_device &) = delete;
    template <class T> T * as() const { return static_cast<T *>(data); }
    std::vector<float> floats(size_t n) const {
        std::vector<float> x(n);
        must(cudaDeviceSynchronize(), "the kernels");
        must(cudaMemcpy(x.data(), data, n * sizeof(float), cudaMemcpyDeviceToHost), "cudaMemcpy");
        return x;
    }
};

yapo_model_options all_on_gpu() {
    yapo_model_options options;
    yapo_model_default_options(&options);
    options.gpu_layers = -1;
    return options;
}

const dictionary sae(64, 200, 3);

std::vector<steer> vectors() {
    steer a = sae.vector(0, 40, 1), b = sae.vector(0, 33, 2), c = sae.vector(2, 100, 3), d = sae.vector(3, 64, 5);
    return {a, random_dense(1, 64, 3), b, c, d};
}

} // namespace

YAPO_TEST(Cuda_Kernels_AgreeWithTwin) {
    // The same additions in the same order: the last bits agree too, where the device's multiply-add is the host's.
    int64_t bits = 0, all = 0;
    const auto check = [&](const char * what, const std::vector<float> & got, const std::vector<float> & want) {
        check_close(what, got, want, 1e-6);
        bits += compare(got.data(), want.data(), int64_t(want.size())).bits;
        all += int64_t(want.size());
    };
    for (const auto & [d, k, t, v] : {std::array<int64_t, 4>{64, 1, 1, 1}, {2304, 256, 1, 1}, {65, 31, 2, 2}, {127, 33, 3, 1}, {256, 100, 8, 8}, {2304, 2048, 8, 8}, {33, 96, 9, 40}, {64, 4999, 4, 33}, {64, 64, 32, 1}, {65, 65, 33, 2}, {257, 130, 64, 1}, {96, 200, 512, 7}, {1, 1, 100, 1}}) {
        const problem p(d, k, t, v, uint64_t(d + 1000 * k + t));
        const on_device h(p.h), strengths(p.strengths), enc(p.enc), bias(p.bias), threshold(p.threshold), values(p.values), c(std::vector<float>(size_t(t * k), untouched));
        launch_codes({h.as<float>(), strengths.as<float>(), enc.as<float>(), bias.as<float>(), threshold.as<float>(), values.as<float>(), c.as<float>(), d, k, t, v, p.stride}, nullptr);
        must(cudaGetLastError(), "the launch");
        check("codes", c.floats(size_t(t * k)), p.codes({}));

        for (const auto & [type, as, block] : row_types) {
            const int64_t    kp = blocks_of(k, block) * block;
            const typed_rows rows(type, d, kp, 17);
            random_source    rng(3);
            std::vector<float> codes, base, out(size_t(t * d), untouched);
            for (int64_t i = 0; i < t * kp; ++i) codes.push_back(i / kp % 5 == 4 || i % 3 == 0 ? 0.0f : rng.normal());
            for (int64_t i = 0; i < t * d; ++i) base.push_back(rng.normal());
            dispatch_apply({codes.data(), base.data(), rows.data.data(), as, out.data(), d, kp, t}, on_host{});
            const on_device dc(codes), db(base), dr(rows.data), dout(std::vector<float>(size_t(t * d), untouched));
            launch_apply({dc.as<float>(), db.as<float>(), dr.data, as, dout.as<float>(), d, kp, t}, nullptr);
            must(cudaGetLastError(), "the launch");
            check(ggml_type_name(type), dout.floats(size_t(t * d)), out);
        }
    }
    note("%lld of %lld values differ in any bit", (long long) bits, (long long) all);
}

YAPO_TEST(Cuda_SteeredModel_AgreesWithOracle) {
    model m(write_random_model(random_model(), scratch("m.gguf")), all_on_gpu());
    const std::vector<steer> all = vectors();
    for (int32_t n_tokens : {1, 8, 50}) {
        context c(m);
        c.attach(all);
        c.capture({0, 0}, {YAPO_CAPTURE_BEFORE, YAPO_CAPTURE_AFTER});
        const std::vector<int32_t> tokens = random_tokens(n_tokens, 5);
        random_source rng(9);
        batch b;
        for (int32_t i = 0; i < n_tokens; ++i) {
            std::vector<float> of_token;
            for (size_t v = 0; v < all.size(); ++v) of_token.push_back((i + int32_t(v)) % 3 == 2 ? 0.0f : 1.5f * rng.normal());
            b.add(tokens[i], i, 0, true, of_token);
        }
        c.decode(b);
        const std::vector<float> before = c.captured(0), after = c.captured(1);
        double  worst = 0;
        int32_t compared = 0;
        for (int32_t i = 0; i < n_tokens; ++i) {
            const oracle_result want = steer_oracle(all, 0, before.data() + i * 64, b.strengths.data() + i * all.size());
            if (want.margin < 1e-6) continue; // a gate within rounding of its threshold
            ++compared;
            double top = 0;
            for (int64_t j = 0; j < 64; ++j) top = std::max(top, std::fabs(want.h[j]));
            for (int64_t j = 0; j < 64; ++j) worst = std::max(worst, std::fabs(want.h[j] - after[size_t(i * 64 + j)]) / top);
        }
        note("%d of %d tokens, relative error %.2g", compared, n_tokens, worst);
        CHECK(compared * 4 >= n_tokens * 3 && worst < 1e-6);
    }
}
