// The emulated CUDA runtime: that it shows what a program on a GPU gets away with by luck, and refuses what CUDA refuses, with CUDA's numbers.
// Captures and graphs: cuda_capture_test.cpp; the containers of device code: cuda_fat_binary_test.cpp; the code itself: cuda_machine_test.cpp.
#include "cuda_runtime.h"

using namespace yapo_test;
using namespace yapo_test::cuda_runtime;

YAPO_TEST(CudaRuntime_Work_IsLazy_AMissingWaitShows) {
    const device d;
    CHECK_EQ(d.now(5), UINT32_MAX); // never written
    d.set(1), d.host[0] = 7;
    const auto before = counts();
    d.add(d.s, 1);
    d.get_later(d.s, d.host);
    CHECK_EQ(counts().kernels_launched, before.kernels_launched + 1);
    CHECK_EQ(counts().kernels_run, before.kernels_run);
    CHECK_EQ(d.host[0], 7u);
    d.wait(d.s);
    CHECK_EQ(d.host[0], 2u);
    CHECK_EQ(counts().kernels_run, before.kernels_run + 1);
    CHECK_EQ(counts().host_waits, before.host_waits + 1);
    CHECK_EQ(counts().bytes_to_host, before.bytes_to_host + sizeof(uint32_t));

    d.add(d.s, 1); // the copy does not wait for it, and nobody waits for s
    d.get_later(d.t, d.host);
    d.wait(d.t);
    CHECK_EQ(d.host[0], 2u);
    d.wait(d.s);
    d.get_later(d.t, d.host);
    d.wait(d.t);
    CHECK_EQ(d.host[0], 3u);

    d.add(d.s, 1); // both are waited for, but not one by the other: what was called last runs first
    d.get_later(d.t, d.host);
    DONE(cudaDeviceSynchronize());
    CHECK_EQ(d.host[0], 3u);
    CHECK_EQ(d.now(), 4u);

    d.add(d.s, 1);
    CHECK_EQ(cudaStreamQuery(d.s), 600); // polling brings it on
    DONE(cudaStreamQuery(d.s));
    CHECK_EQ(d.now(), 5u);
}

YAPO_TEST(CudaRuntime_Events_AndTheLegacyStream_OrderStreams) {
    const device d;
    DONE(cudaStreamWaitEvent(d.t, d.e, 0)); // never recorded: nothing to wait for
    d.set(1);
    d.add(d.s, 1);
    DONE(cudaEventRecord(d.e, d.s));
    d.add(d.s, 10); // behind the event
    DONE(cudaStreamWaitEvent(d.t, d.e, 0));
    DONE(cudaEventRecord(d.e, d.s)); // t waits for what the event meant then
    d.get_later(d.t, d.host);
    d.wait(d.t);
    CHECK_EQ(d.host[0], 2u);
    CHECK_EQ(d.now(), 2u);
    DONE(cudaEventSynchronize(d.e));
    CHECK_EQ(d.now(), 12u);

    void * blocking = nullptr, * per_thread = reinterpret_cast<void *>(2);
    DONE(cudaStreamCreateWithFlags(&blocking, 0));
    for (void * stream : {blocking, per_thread}) {
        d.set(1);
        d.add(stream, 1), d.twice(nullptr), d.add(stream, 5);
        d.wait(stream);
        CHECK_EQ(d.now(), 9u);
    }
    d.set(1);
    d.add(d.s, 1), d.twice(nullptr);
    d.wait(nullptr);
    CHECK_EQ(d.now(), 2u);
    d.wait(d.s);
    CHECK_EQ(d.now(), 3u);
}

YAPO_TEST(CudaRuntime_HostMemory_PageableIsReadAtOnce_PinnedWhenTheCopyRuns) {
    const device d;
    std::vector<uint32_t> pageable(numbers);
    const auto changed_behind = [&](uint32_t * source) {
        *source = 5, d.put_later(d.s, source), *source = 6;
        d.wait(d.s);
        return d.now();
    };
    CHECK_EQ(changed_behind(pageable.data()), 5u);
    CHECK_EQ(changed_behind(d.host), 6u);
    DONE(cudaHostRegister(pageable.data(), numbers * sizeof pageable[0], 0));
    CHECK_EQ(cudaHostRegister(pageable.data(), 4, 0), 712);
    CHECK_EQ(changed_behind(pageable.data()), 6u);
    DONE(cudaHostUnregister(pageable.data()));
    CHECK_EQ(changed_behind(pageable.data()), 5u);

    d.add(d.s, 1), d.host[1] = 0; // a copy into pageable memory is done when its call is, with what stands before it
    d.get_later(d.s, d.host + 1);
    CHECK_EQ(d.host[1], 0u);
    d.get_later(d.s, pageable.data());
    CHECK_EQ(pageable[0], 6u);
    CHECK_EQ(d.host[1], 6u);

    CHECK_EQ(cudaMemcpyAsync(d.memory, pageable.data(), 4, to_host, d.s), 1); // not its direction
    CHECK_EQ(cudaMemcpyAsync(d.memory + numbers - 1, pageable.data(), 8, to_device, d.s), 1);
    CHECK_EQ(cudaMemsetAsync(pageable.data(), 0, 4, d.s), 1);
}

YAPO_TEST(CudaRuntime_LaunchLimits_AreCudas) {
    const device d;
    const auto before = counts();
    constexpr size_t usual = 48 << 10, more = 64 << 10, most = 163 << 10;
    const auto launch = [&](dim3 grid, dim3 block, size_t shared = 0) { return d.code.launch(d.code.plus, d.memory, 1, d.s, grid, block, shared); };
    for (const dim3 block : {dim3{1025, 1, 1}, dim3{1024, 2, 1}, dim3{1, 1, 65}, dim3{0, 1, 1}}) CHECK_EQ(launch({}, block), 9);
    for (const dim3 grid : {dim3{0, 1, 1}, dim3{1, 65536, 1}, dim3{1, 1, 65536}}) CHECK_EQ(launch(grid, {}), 9);
    CHECK_EQ(d.code.launch(d.code.twice, d.memory, 0, d.s, {}, {257, 1, 1}), 701); // its own limit
    CHECK_EQ(launch({}, {}, usual + 1), 1);
    constexpr int max_dynamic_shared = 8;
    CHECK_EQ(cudaFuncSetAttribute(d.code.plus, max_dynamic_shared, most + 1), 1);
    CHECK_EQ(cudaFuncSetAttribute(&d, max_dynamic_shared, more), 98); // not a kernel
    CHECK_EQ(cudaGetLastError(), 98);
    DONE(cudaGetLastError()); // none of it stays

    d.set(0, 0), d.set(0, numbers - 1);
    DONE(launch({}, {1024, 1, 1}, usual));
    DONE(launch({4, 1, 1}, {256, 1, 1}));
    DONE(cudaFuncSetAttribute(d.code.plus, max_dynamic_shared, more));
    DONE(launch({}, {}, more));
    CHECK_EQ(launch({}, {}, more + 1), 1);
    CHECK_EQ(d.code.launch(d.code.twice, d.memory, 0, d.s, {}, {}, usual + 1), 1); // it did not ask for more
    d.wait(d.s);
    CHECK(d.now(0) == 3 && d.now(numbers - 1) == 2);
    CHECK_EQ(counts().kernels_launched, before.kernels_launched + 3);
}

YAPO_TEST(CudaRuntime_Fault_Stays) {
    const device d;
    void *   p = nullptr;
    uint32_t value = 0;
    d.set(1), d.host[0] = 7;
    d.add(d.s, 1, numbers); // behind the end
    d.get_later(d.s, d.host);
    d.add(d.t, 1);
    DONE(cudaGetLastError()); // nobody has seen it yet
    CHECK_EQ(cudaStreamSynchronize(d.s), 700);
    CHECK_EQ(d.host[0], 7u);
    for (int again = 0; again < 2; ++again) {
        CHECK_EQ(cudaGetLastError(), 700);
        CHECK_EQ(cudaStreamSynchronize(d.t), 700);
        CHECK_EQ(cudaMalloc(&p, 16), 700);
        CHECK_EQ(cudaMemcpy(&value, d.memory, 4, to_host), 700);
        CHECK_EQ(d.code.launch(d.code.plus, d.memory, 1, d.t), 700);
        CHECK_EQ(cudaStreamBeginCapture(d.t, 0), 700);
    }
    for (int again = 0; again < 2; ++again) CHECK_EQ(cudaGetLastError(), 700); // asking does not end it
}
