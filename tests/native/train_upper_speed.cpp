// Not a check: what the gradient of one completion costs at the demo model's size. YAPO_BENCHMARK=1 runs it; YAPO_TEST_DEVICE names a device to compare with.
#include "harness.h"
#include "random_model.h"

#include "llama.h"
#include "train/autograd/weight_gemm.h"
#include "yapo_train.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <utility>

using namespace yapo_test;

namespace {

// Operations per second of CPU time, best of n.
template <typename F>
double rate(double operations, int n, F && body) {
    double best = 0;
    for (int i = 0; i < n; ++i) {
        const clock_t start = clock();
        body();
        best = std::max(best, operations * CLOCKS_PER_SEC / double(std::max<clock_t>(1, clock() - start)));
    }
    return best;
}

// What one thread's matrix products reach: with operands that stay in the caches (the peak), and of T rows with a whole weight of this type, either way.
struct product_rates { double peak, forward, backward; };

product_rates measure_products(ggml_type type, int64_t K, int64_t N, int64_t T) {
    namespace ag = yapo::autograd;
    random_source rng(9);
    std::vector<float> row(K), w(size_t(K) * N), x(size_t(T) * std::max(K, N)), y(x.size());
    for (float & v : w) v = rng.normal();
    for (float & v : x) v = rng.normal();
    std::vector<char> packed(ggml_row_size(type, K) * N);
    ggml_quantize_chunk(type, w.data(), packed.data(), 0, N, K, nullptr);
    const ag::weight_rows weights{type, packed.data(), K, ggml_row_size(type, K)};
    const int64_t m = 4096, k = 1024, n = 256; // W is packed once for 4096 rows
    std::vector<float> many(m * k), out(m * n);
    const ag::weight_rows small{GGML_TYPE_F32, w.data(), k, size_t(k) * sizeof(float)};
    return {
        rate(2.0 * m * k * n, 20, [&] { ag::rows_times(m, n, many.data(), k, small, out.data(), n, false); }),
        rate(2.0 * T * K * N, 5, [&] { ag::rows_times(T, N, x.data(), K, weights, y.data(), N, false); }),
        rate(2.0 * T * K * N, 5, [&] { ag::rows_weighted(T, N, x.data(), N, weights, y.data(), K, false); }),
    };
}

// Seconds of one call: CPU time of this process, and on the clock.
struct step_times { double forward, both, forward_clock, both_clock; };

step_times measure_steps(const std::string & path, const yapo_latents & latents, const yapo_sequence & s, const std::vector<float> & v, int n, const char * device) {
    yapo_upper * upper = nullptr;
    yapo_upper_worker * worker = nullptr;
    OK(yapo_upper_load(path.c_str(), 1, &upper, &err));
    if (device) OK(yapo_upper_place(upper, device, nullptr, &err));
    OK(yapo_upper_worker_create(upper, &worker, &err));
    OK(yapo_upper_set_latents(upper, &latents, 1, &err));
    std::vector<float> gradient(v.size());
    double logprob = 0;
    const auto times = [&](auto && call) {
        call(); // builds its graph
        const clock_t start = clock();
        const auto began = std::chrono::steady_clock::now();
        for (int i = 0; i < n; ++i) call();
        return std::make_pair(double(clock() - start) / CLOCKS_PER_SEC / n, std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count() / n);
    };
    const auto forward = times([&] { OK(yapo_upper_logprob(worker, &s, v.data(), 1.0f, &logprob, &err)); });
    const auto both = times([&] { OK(yapo_upper_logprob_gradient(worker, &s, v.data(), 1.0f, 1.0, gradient.data(), &logprob, &err)); });
    yapo_upper_worker_free(worker);
    yapo_upper_free(upper);
    return {forward.first, both.first, forward.second, both.second};
}

} // namespace

YAPO_TEST(TrainUpper_Speed) {
    if (!getenv("YAPO_BENCHMARK")) {
        note("set YAPO_BENCHMARK=1 to measure");
        return;
    }
    const auto number = [](const char * name, int otherwise) { const char * v = getenv(name); return v ? atoi(v) : otherwise; };
    random_model m;
    m.d_model = 256;
    m.head_dim = 64;
    m.n_ff = 768;
    m.n_vocab = 1536;
    if (number("REAL", 0)) { // blocks of Gemma-2-2B
        m.n_layer = 3;
        m.d_model = 2304;
        m.n_head = 8;
        m.n_head_kv = 4;
        m.head_dim = 256;
        m.n_ff = 9216;
    }
    const std::string exact = write_random_model(m, scratch("m.gguf"));
    const int T = number("TOKENS", 48), F = number("LATENTS", 1024);
    random_source rng(3);
    const auto normal = [&](size_t n, float deviation) {
        std::vector<float> x(n);
        for (float & v : x) v = deviation * rng.normal();
        return x;
    };
    const auto residual = normal(size_t(T) * m.d_model, 1.0f), enc = normal(size_t(F) * m.d_model, 1.0f / 16), dec = normal(size_t(F) * m.d_model, 1.0f / 16);
    const auto bias = normal(F, 0.1f), v = normal(F, 0.1f);
    const std::vector<float> threshold(F, float(number("THRESHOLD", 1)));
    std::vector<int32_t> tokens(T);
    for (int32_t & t : tokens) t = rng.below(m.n_vocab);
    struct kind { const char * name; llama_ftype type; };
    for (const kind & k : {kind{"F32", LLAMA_FTYPE_ALL_F32}, kind{"F16", LLAMA_FTYPE_MOSTLY_F16}, kind{"BF16", LLAMA_FTYPE_MOSTLY_BF16}, kind{"Q8_0", LLAMA_FTYPE_MOSTLY_Q8_0}, kind{"Q4_K", LLAMA_FTYPE_MOSTLY_Q4_K_M}}) {
        if (getenv("TYPE") && k.name != std::string(getenv("TYPE"))) {
            continue;
        }
        const std::string path = scratch(std::string(k.name) + ".gguf");
        llama_model_quantize_params q = llama_model_quantize_default_params();
        q.ftype = k.type;
        q.nthread = 1;
        CHECK_EQ(llama_model_quantize(exact.c_str(), path.c_str(), &q), 0u);
        const yapo_latents latents{sizeof latents, YAPO_VECTOR_SPARSE, 1, 0, F, m.d_model, nullptr, enc.data(), bias.data(), threshold.data(), dec.data()};
        const yapo_sequence s{sizeof s, T, tokens.data(), residual.data(), T * 2 / 3, nullptr, nullptr, nullptr, nullptr};
        const int n = number("REPEATS", 20);
        const step_times here = measure_steps(path, latents, s, v, n, nullptr);
        const double both = here.both;
        note("%-5s %d tokens, %d latents, %d blocks: forward %.2f ms, with gradient %.2f ms (CPU time, one thread)", k.name, T, F, m.n_layer - 2, 1e3 * here.forward, 1e3 * both);
        if (const char * device = getenv("YAPO_TEST_DEVICE")) {
            const step_times there = measure_steps(path, latents, s, v, n, device);
            note("      on %s: forward %.2f ms, with gradient %.2f ms of CPU time here, %.2f and %.2f ms on the clock", device, 1e3 * there.forward, 1e3 * there.both, 1e3 * there.forward_clock, 1e3 * there.both_clock);
        }
        const double products = 2.0 * T * (m.n_layer - 2) * m.d_model * (m.head_dim * (2.0 * m.n_head + 2 * m.n_head_kv) + 3.0 * m.n_ff); // forward; backward the same
        const ggml_type weight = k.type == LLAMA_FTYPE_MOSTLY_Q4_K_M ? GGML_TYPE_Q4_K : k.type == LLAMA_FTYPE_MOSTLY_Q8_0 ? GGML_TYPE_Q8_0 : GGML_TYPE_F16;
        const product_rates r = measure_products(weight, m.d_model, m.n_ff, T);
        note("      GFLOP/s: peak of the products %.0f; W x of %s %.0f, W^T y %.0f; the whole step %.0f, %.0f %% of the peak", r.peak * 1e-9, ggml_type_name(weight), r.forward * 1e-9,
            r.backward * 1e-9, 2 * products / both * 1e-9, 100 * 2 * products / both / r.peak);
    }
}
