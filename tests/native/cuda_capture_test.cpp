// Stream capture and graphs in the emulated CUDA runtime: what CUDA forbids a program that captures, and what a graph does each time it is launched.
#include "cuda_runtime.h"

#include <thread>

using namespace yapo_test;
using namespace yapo_test::cuda_runtime;

YAPO_TEST(CudaRuntime_Capture_RefusesWhatCudaForbids) {
    const device d;
    void *   other = nullptr, * got = nullptr, * blocking = nullptr;
    uint32_t value = 0;
    int      state = 0;
    DONE(cudaStreamCreateWithFlags(&blocking, 0));
    const auto malloc_elsewhere = [] {
        int status = 0;
        std::thread([&] { void * p; status = cudaMalloc(&p, 16); }).join();
        return status;
    };
    const struct {
        const char *         what;
        std::function<int()> call;
        int                  status[3]; // in modes global, of this thread, relaxed
    } calls[] = {
        {"waiting for the stream", [&] { return cudaStreamSynchronize(d.s); }, {900, 900, 900}},
        {"asking how far it is", [&] { return cudaStreamQuery(d.s); }, {900, 900, 900}},
        {"waiting for the device", [] { return cudaDeviceSynchronize(); }, {900, 900, 900}},
        {"cudaMalloc", [&] { return cudaMalloc(&got, 16); }, {900, 900, 0}},
        {"cudaFree", [&] { return cudaFree(d.memory + 1); }, {900, 900, 1}}, // which is no allocation
        {"cudaMalloc in another thread", malloc_elsewhere, {900, 0, 0}},
        {"cudaMemcpy", [&] { return cudaMemcpy(&value, d.memory, 4, to_host); }, {900, 900, 0}},
        {"waiting for an event in it", [&] { DONE(cudaEventRecord(d.e, d.s)); return cudaEventSynchronize(d.e); }, {907, 907, 907}},
        {"an event from outside", [&] { DONE(cudaEventRecord(d.e, d.t)); return cudaStreamWaitEvent(d.s, d.e, 0); }, {905, 905, 905}},
        {"the legacy stream, which this one is not in order with", [&] { return d.code.launch(d.code.plus, d.memory, 1, nullptr); }, {0, 0, 0}},
        {"work of another stream", [&] { return d.code.launch(d.code.plus, d.memory, 1, d.t); }, {0, 0, 0}},
    };
    for (const auto & c : calls) {
        for (int mode = 0; mode < 3; ++mode) {
            DONE(cudaStreamBeginCapture(d.s, mode));
            d.add(d.s, 1);
            const int status = c.call(), invalid = status >= 900;
            CHECK_MSG(status == c.status[mode], "%s, mode %d: %d, expected %d", c.what, mode, status, c.status[mode]);
            DONE(cudaStreamIsCapturing(d.s, &state));
            CHECK_EQ(state, 1 + invalid);
            CHECK_EQ(d.code.launch(d.code.plus, d.memory, 1, d.s), invalid ? 901 : 0);
            CHECK_EQ(cudaStreamEndCapture(d.s, &other), invalid ? 901 : 0);
            CHECK((other == nullptr) == invalid);
            DONE(cudaStreamIsCapturing(d.s, &state));
            CHECK_EQ(state, 0);
        }
    }
    DONE(cudaStreamBeginCapture(blocking, 2));
    CHECK_EQ(d.code.launch(d.code.plus, d.memory, 1, nullptr), 906);
    CHECK_EQ(cudaStreamEndCapture(blocking, &other), 901);

    DONE(cudaStreamBeginCapture(d.s, 0)); // what went to t is not back at the end
    d.after(d.t, d.s, d.e), d.add(d.t, 1);
    DONE(cudaStreamIsCapturing(d.t, &state));
    CHECK_EQ(state, 1);
    CHECK_EQ(cudaStreamEndCapture(d.s, &other), 904);
    DONE(cudaStreamIsCapturing(d.t, &state));
    CHECK_EQ(state, 0);
    DONE(cudaStreamBeginCapture(d.s, 0)); // ended by another stream than it began with
    d.after(d.t, d.s, d.e);
    CHECK_EQ(cudaStreamEndCapture(d.t, &other), 903);
    CHECK_EQ(cudaStreamEndCapture(d.s, &other), 901);

    CHECK_EQ(cudaStreamBeginCapture(nullptr, 2), 900);
    CHECK_EQ(cudaStreamEndCapture(d.s, &other), 401);
    d.capture([&] { CHECK_EQ(cudaStreamBeginCapture(d.s, 0), 401); });
    DONE(cudaStreamBeginCapture(d.s, 1));
    std::thread([&] { state = cudaStreamEndCapture(d.s, &other); }).join();
    CHECK_EQ(state, 908);
    DONE(cudaStreamEndCapture(d.s, &other));
}

YAPO_TEST(CudaRuntime_Graph_LaunchedAgain_ComputesAnew) {
    const device d;
    const auto before = counts();
    const auto counted = [&](uint64_t yapo_cuda_emulator_counts::*what) { return counts().*what - before.*what; };
    d.host[0] = 1, d.host[1] = 1, d.host[2] = d.host[3] = 7;
    void * const graph = d.capture([&] {
        d.put_later(d.s, d.host, 0), d.put_later(d.s, d.host + 1, 1);
        d.after(d.t, d.s, d.e); // t goes on beside s, and comes back
        d.twice(d.t, 1), d.add(d.s, 1, 0);
        d.after(d.s, d.t, d.f);
        d.get_later(d.s, d.host + 2, 0), d.get_later(d.s, d.host + 3, 1);
    });
    void * launched = nullptr;
    DONE(cudaGraphInstantiate(&launched, graph, 0));
    DONE(cudaGraphDestroy(graph));
    DONE(cudaDeviceSynchronize());
    CHECK_EQ(counted(&yapo_cuda_emulator_counts::kernels_run), 0u); // recorded, not run
    CHECK(d.now(0) == UINT32_MAX && d.host[2] == 7);
    uint32_t value = 3;
    for (void * stream : {d.s, d.t, d.s}) {
        d.host[0] = value, d.host[1] = 10 * value;
        const uint32_t old = d.host[2];
        DONE(cudaGraphLaunch(launched, stream));
        CHECK_EQ(d.host[2], old);
        d.wait(stream);
        CHECK_EQ(d.host[2], value + 1);
        CHECK_EQ(d.host[3], 20 * value);
        value += 100;
    }
    CHECK_EQ(counted(&yapo_cuda_emulator_counts::captures), 1u);
    CHECK_EQ(counted(&yapo_cuda_emulator_counts::graph_instantiations), 1u);
    CHECK_EQ(counted(&yapo_cuda_emulator_counts::graph_launches), 3u);
    CHECK_EQ(counted(&yapo_cuda_emulator_counts::kernels_run), 6u);
    CHECK_EQ(counted(&yapo_cuda_emulator_counts::kernels_launched), 0u);
}

YAPO_TEST(CudaRuntime_GraphBranches_WithoutOrder_RunLastFirst) {
    const device d;
    void * launched = nullptr;
    const auto run = [&](bool ordered) { // s adds, t doubles
        DONE(cudaGraphInstantiate(&launched, d.capture([&] {
            DONE(cudaMemsetAsync(d.memory, 0, 4, d.s));
            d.after(d.t, d.s, d.e);
            d.add(d.s, 3);
            if (ordered) d.after(d.t, d.s, d.e);
            d.twice(d.t);
            d.after(d.s, d.t, d.f);
        }), 0));
        DONE(cudaGraphLaunch(launched, d.s));
        d.wait(d.s);
        return d.now();
    };
    CHECK_EQ(run(true), 6u);
    CHECK_EQ(run(false), 3u);
}

YAPO_TEST(CudaRuntime_GraphUpdate_TakesArguments_RefusesAnotherGraph) {
    const device d;
    const auto before = counts();
    void * launched = nullptr;
    d.set(0, 0), d.set(0, 1), d.set(0, 2);
    DONE(cudaGraphInstantiate(&launched, d.capture([&] { d.add(d.s, 1), d.add(d.s, 1, 1); }), 0));
    update_info info = {-1, nullptr, nullptr};
    DONE(cudaGraphLaunch(launched, d.s)); // queued: it keeps the arguments it was launched with
    DONE(cudaGraphExecUpdate(launched, d.capture([&] { d.add(d.s, 10), d.add(d.s, 20, 2); }), &info));
    CHECK_EQ(info.result, 0);
    DONE(cudaGraphLaunch(launched, d.s));
    d.wait(d.s);
    CHECK(d.now(0) == 11 && d.now(1) == 1 && d.now(2) == 20);

    const struct {
        const char *          what;
        std::function<void()> work;
        int                   result; // cudaGraphExecUpdateResult
    } others[] = {
        {"a node more", [&] { d.add(d.s, 1), d.add(d.s, 1), d.add(d.s, 1); }, 2},
        {"side by side", [&] { d.after(d.t, d.s, d.e), d.add(d.s, 1), d.add(d.t, 1), d.after(d.s, d.t, d.f); }, 2},
        {"a fill", [&] { d.add(d.s, 1); DONE(cudaMemsetAsync(d.memory, 0, 4, d.s)); }, 3},
        {"another kernel", [&] { d.add(d.s, 1), d.twice(d.s); }, 4},
    };
    for (const auto & o : others) {
        const int status = cudaGraphExecUpdate(launched, d.capture(o.work), &info);
        CHECK_MSG(status == 910 && info.result == o.result, "%s: %d, result %d, expected 910, %d", o.what, status, info.result, o.result);
        CHECK_EQ(cudaGetLastError(), 910);
        DONE(cudaGetLastError());
        d.set(0), d.set(0, 2);
        DONE(cudaGraphLaunch(launched, d.s)); // as it was
        d.wait(d.s);
        CHECK(d.now(0) == 10 && d.now(2) == 20);
    }
    CHECK_EQ(counts().graph_updates, before.graph_updates + 1);
}
