// Not checks (YAPO_BENCHMARK=1 runs them): the kernels alone, and a steered model against the same one unsteered, on an NVIDIA GPU.
#include "cuda_problem.h"
#include "session.h"

#include "cuda/launch.h"

#include <cuda_runtime.h>

#include <chrono>
#include <cstdlib>

using namespace yapo_test;

namespace {

struct buffer {
    void * data = nullptr;
    explicit buffer(size_t bytes, bool random = false) {
        CHECK(cudaMalloc(&data, bytes) == cudaSuccess);
        std::vector<float> x(bytes / sizeof(float) + 1);
        random_source rng(bytes);
        for (size_t i = 0; random && i < x.size(); ++i) x[i] = i < 4096 ? 0.1f * rng.normal() : x[i - 4096];
        CHECK(cudaMemcpy(data, x.data(), bytes, cudaMemcpyHostToDevice) == cudaSuccess);
    }
    ~buffer() { cudaFree(data); }
    buffer(const buffer &) = delete;
    float * floats() const { return static_cast<float *>(data); }
};

void use_kernel(const char * name) { CHECK(setenv("YAPO_STEERING_KERNEL", name, 1) == 0); }

} // namespace

YAPO_TEST(Cuda_Kernels_Speed) {
    if (!getenv("YAPO_BENCHMARK")) {
        note("set YAPO_BENCHMARK=1 to measure");
        return;
    }
    constexpr int64_t d = 2304;
    cudaEvent_t start, stop;
    CHECK(cudaEventCreate(&start) == cudaSuccess && cudaEventCreate(&stop) == cudaSuccess);
    for (int64_t k : {64, 256, 1024, 4096, 16384}) {
        for (int64_t t : {1, 8, 32, 128, 512}) {
            const buffer h(size_t(t * d) * 4, true), strengths(size_t(t) * 4, true), enc(size_t(k * d) * 4, true), bias(size_t(k) * 4), threshold(size_t(k) * 4), values(size_t(k) * 4, true), c(size_t(t * k) * 4), dec(size_t(k * d) * 2), out(size_t(t * d) * 4);
            const codes_args codes = {h.floats(), strengths.floats(), enc.floats(), bias.floats(), threshold.floats(), values.floats(), c.floats(), d, k, t, 1, 1};
            const apply_call apply = {c.floats(), h.floats(), dec.data, row_type::f16, out.floats(), d, k, t};
            std::vector<double> times;
            for (int round = -2; round < 20; ++round) {
                float ms = 0;
                cudaEventRecord(start);
                for (int i = 0; i < 20; ++i) {
                    launch_codes(codes, nullptr);
                    launch_apply(apply, nullptr);
                }
                cudaEventRecord(stop);
                CHECK(cudaEventSynchronize(stop) == cudaSuccess && cudaEventElapsedTime(&ms, start, stop) == cudaSuccess);
                if (round >= 0) times.push_back(ms / 20);
            }
            std::sort(times.begin(), times.end());
            note("{\"kernel\": \"codes + apply\", \"d\": %lld, \"k\": %lld, \"tokens\": %lld, \"us\": %.2f, \"row_gbytes_per_s\": %.0f, \"gflops\": %.0f}", (long long) d, (long long) k, (long long) t, 1e3 * times[10], double(k) * d * 6 / times[10] / 1e6, 4.0 * double(k) * d * t / times[10] / 1e6);
        }
    }
}

YAPO_TEST(Cuda_SteeredModel_Speed) {
    if (!getenv("YAPO_BENCHMARK")) {
        note("set YAPO_BENCHMARK=1 to measure; YAPO_LAYERS: blocks of the random model of Gemma-2-2B's width, default 8 of its 26");
        return;
    }
    random_model spec;
    spec.arch = "llama", spec.n_layer = getenv("YAPO_LAYERS") ? atoi(getenv("YAPO_LAYERS")) : 8;
    spec.d_model = 2304, spec.n_head = 8, spec.n_head_kv = 4, spec.head_dim = 256, spec.n_ff = 9216;
    const std::string full = write_random_model(spec, scratch("f32.gguf")), file = scratch("q8_0.gguf");
    OK(yapo_model_quantize(full.c_str(), file.c_str(), "q8_0", 0, &err));
    remove(full.c_str());
    yapo_model_options on_gpu;
    yapo_model_default_options(&on_gpu);
    on_gpu.gpu_layers = -1;
    model m(file, on_gpu);
    const int32_t layer = spec.n_layer / 2;

    struct arm {
        std::string name;
        int         sequences, baseline;
        std::vector<steer> vectors;
        std::unique_ptr<context> c;
        std::vector<double> ratio[2];
        double seconds[2] = {};
    };
    std::vector<arm> arms;
    const auto add = [&](const std::string & name, int sequences, int baseline, const char * kernel, const std::vector<steer> & vectors) {
        sizes s;
        s.n_ctx = 1024, s.n_batch = 128, s.n_seq_max = uint32_t(sequences), s.type_kv = 0, s.flash_attention = -1;
        use_kernel(kernel);
        arms.push_back({name, sequences, baseline, vectors, std::make_unique<context>(m, s), {}});
        arms.back().c->attach(vectors);
    };
    add("unsteered", 1, 0, "", {});
    add("unsteered, second context", 1, 0, "", {});
    for (int32_t k : {64, 256, 1024, 4096, 16384}) {
        const dictionary rows(spec.d_model, k, 1);
        steer v = rows.vector(layer, k, 1, 0.1f);
        v.row_type = YAPO_ROW_F16;
        for (const char * kernel : {"fused", "ops"}) add(std::string(kernel) + ", K = " + std::to_string(k), 1, 0, kernel, {v});
    }
    const dictionary rows(spec.d_model, 512, 2);
    std::vector<steer> eight;
    for (uint64_t i = 0; i < 8; ++i) {
        eight.push_back(rows.vector(layer, 256, i + 1, 0.1f));
        eight.back().row_type = YAPO_ROW_F16;
    }
    const int plain = int(arms.size());
    add("8 sequences, unsteered", 8, plain, "", {});
    for (const char * kernel : {"fused", "ops"}) add(std::string(kernel) + ", 8 sequences, a vector of K = 256 each", 8, plain, kernel, eight);

    constexpr int rounds = 30, steps = 8;
    for (int round = -2; round < rounds; ++round) {
        for (int step = -1; step < steps; ++step) { // a prompt of 128, then tokens
            std::vector<double> times;
            for (arm & a : arms) {
                const int32_t length = step < 0 ? 128 / a.sequences : 1, p0 = step < 0 ? 0 : 128 / a.sequences + step;
                if (step < 0) a.c->clear();
                batch b;
                for (int32_t s = 0; s < a.sequences; ++s) {
                    std::vector<float> strengths(a.vectors.size(), 0.0f);
                    if (!strengths.empty()) strengths[size_t(s)] = 0.5f + 0.01f * float(step);
                    for (int32_t i = 0; i < length; ++i) b.add(6 + (i * 7 + round * 3 + s + 300) % 300, p0 + i, s, i == length - 1, strengths);
                }
                const auto start = std::chrono::steady_clock::now();
                a.c->decode(b);
                a.c->logits(int32_t(b.tokens.size()) - 1);
                times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
            }
            for (size_t i = 0; round >= 0 && i < arms.size(); ++i) {
                const int kind = step < 0 ? 0 : 1;
                arms[i].ratio[kind].push_back(times[i] / times[size_t(arms[i].baseline)]);
                arms[i].seconds[kind] += times[i] / (kind ? rounds * steps : rounds);
            }
        }
    }
    for (arm & a : arms) {
        for (auto & r : a.ratio) std::nth_element(r.begin(), r.begin() + int64_t(r.size() / 2), r.end());
        note("{\"arm\": \"%s\", \"prefill_ms\": %.3f, \"prefill_ratio\": %.4f, \"decode_ms\": %.3f, \"decode_ratio\": %.4f}", a.name.c_str(), 1e3 * a.seconds[0], a.ratio[0][a.ratio[0].size() / 2], 1e3 * a.seconds[1], a.ratio[1][a.ratio[1].size() / 2]);
    }
}
