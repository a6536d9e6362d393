// On CUDA a token's graph is captured once and launched again for every later token: on CUDA0, an NVIDIA GPU or the emulated one, that stays so
// while strengths change at every token, nothing of the graph goes back to the host, and what crosses to the device are the strengths.
#include "session.h"

#include "context/context.h"
#include "cuda_emulator/counters.h"

#include "ggml-backend.h"
#include "llama-context.h"

#include <cstdlib>
#include <cstring>
#include <dlfcn.h>

using namespace yapo_test;

namespace {

const dictionary sae(64, 200, 3);

// At three blocks, in four parts.
std::vector<steer> vectors() {
    steer a = sae.vector(0, 40, 1), b = sae.vector(0, 33, 2), c = sae.vector(2, 100, 3), d = sae.vector(3, 64, 5);
    return {a, random_dense(1, 64, 3), b, c, d};
}

// What the emulated runtime has done; nothing on a GPU.
yapo_cuda_emulator_counts done_so_far(bool & counted) {
    yapo_cuda_emulator_counts counts = {};
    for (const char * library : {"libcudart.so.13", "libcudart.so.12"}) {
        if (void * loaded = dlopen(library, RTLD_LAZY | RTLD_NOLOAD)) {
            const auto read = reinterpret_cast<decltype(&yapo_cuda_emulator_counters)>(dlsym(loaded, "yapo_cuda_emulator_counters"));
            dlclose(loaded);
            if (read) {
                counted = true;
                read(&counts);
            }
        }
    }
    return counts;
}

struct observed {
    int64_t warm = 0, reset = 0, reused = 0; // as ggml-cuda says
    int     splits  = 0;
    bool    counted = false;
    yapo_cuda_emulator_counts counts = {};

    static void line(ggml_log_level, const char * text, void * user) {
        observed & log = *static_cast<observed *>(user);
        log.warm += strstr(text, "CUDA graph warmup complete") != nullptr;
        log.reset += strstr(text, "CUDA graph warmup reset") != nullptr;
        log.reused += strstr(text, "CUDA Graph id") != nullptr && strstr(text, "reused") != nullptr;
    }
};

constexpr int settle = 10, steps = 50;

observed decode_steps(const char * what, const std::vector<steer> & attached) {
    observed log;
    yapo_model_options options;
    yapo_model_default_options(&options);
    options.device = "CUDA0", options.gpu_layers = -1;
    model m(write_random_model(random_model(), scratch(std::string(what) + ".gguf")), options);
    llama_log_set(observed::line, &log);
    {
        context c(m);
        if (!attached.empty()) c.attach(attached);
        random_source rng(1);
        yapo_cuda_emulator_counts before = {};
        for (int32_t i = 0; i < settle + steps; ++i) {
            if (i == settle) {
                log.reset = log.reused = 0;
                before    = done_so_far(log.counted);
            }
            std::vector<float> strengths;
            for (size_t v = 0; v < attached.size(); ++v) strengths.push_back(v == 2 ? 0.0f : rng.normal());
            c.decode(whole({6 + i}, strengths, 0, i));
            c.logits();
        }
        log.counts = done_so_far(log.counted);
        log.splits = ggml_backend_sched_get_n_splits(c.handle->handle->get_sched());
        uint64_t * at = reinterpret_cast<uint64_t *>(&log.counts);
        for (size_t n = 0; n < sizeof before / sizeof *at; ++n) at[n] -= reinterpret_cast<const uint64_t *>(&before)[n];
    }
    llama_log_set(nullptr, nullptr);
    note("%s: %lld warm-ups, then in %d steps %lld graphs reused, %lld reset; %d splits", what, (long long) log.warm, steps, (long long) log.reused, (long long) log.reset, log.splits);
    if (log.counted) {
        note("counted: %llu graphs launched, %llu captured, %llu kernels launched beside them; %llu bytes to the device, %llu to the host; %llu allocations, %llu waits", (unsigned long long) log.counts.graph_launches, (unsigned long long) log.counts.captures,
             (unsigned long long) log.counts.kernels_launched, (unsigned long long) log.counts.bytes_to_device, (unsigned long long) log.counts.bytes_to_host, (unsigned long long) log.counts.allocations, (unsigned long long) log.counts.host_waits);
    }
    return log;
}

} // namespace

YAPO_TEST(CudaGraphs_StrengthsChange_TheGraphStaysCaptured) {
    const observed plain = decode_steps("unsteered", {});
    CHECK(plain.warm > 0 && plain.reset == 0); // ggml-cuda captures here at all
    for (const auto & [what, attached] : {std::pair<const char *, std::vector<steer>>{"one vector", {sae.vector(2, 100, 3)}}, {"five vectors", vectors()}}) {
        const observed steered = decode_steps(what, attached);
        CHECK(steered.warm > 0);
        CHECK_EQ(steered.reset, int64_t(0));
        CHECK(steered.reused >= plain.reused && steered.reused >= steps);
        CHECK_EQ(steered.splits, plain.splits); // nothing went back to the host
        if (!plain.counted) continue;
        CHECK_EQ(steered.counts.graph_launches, uint64_t(steps));
        CHECK_EQ(steered.counts.captures, uint64_t(0));
        CHECK_EQ(steered.counts.kernels_launched, uint64_t(0));
        CHECK_EQ(steered.counts.allocations, uint64_t(0));
        CHECK_EQ(steered.counts.bytes_to_host, plain.counts.bytes_to_host);
        CHECK_EQ(steered.counts.bytes_to_device - plain.counts.bytes_to_device, uint64_t(steps) * attached.size() * sizeof(float));
        CHECK_EQ((steered.counts.host_waits - plain.counts.host_waits) / steps, uint64_t(2)); // however many vectors: as for any input, the copy's and the one before it
    }
}
