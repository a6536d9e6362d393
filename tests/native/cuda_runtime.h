// The emulated CUDA runtime as programs built with CUDA 13 call it: by the names and structures they use, and without NVIDIA's headers.
// LD_LIBRARY_PATH names the folder of its libcudart.so.13.
#pragma once

#include "harness.h"

#include "cuda_emulator/counters.h"

#include <dlfcn.h>
#include <functional>

namespace yapo_test::cuda_runtime {

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

struct update_info {
    int    result;
    void * node, * from;
};

#define CUDA_FUNCTIONS(F)                                                                                                 \
    F(void **, __cudaRegisterFatBinary, (void *))                                                                         \
    F(void, __cudaRegisterFatBinaryEnd, (void **))                                                                        \
    F(void, __cudaUnregisterFatBinary, (void **))                                                                         \
    F(void, __cudaRegisterFunction, (void **, const char *, char *, const char *, int, void *, void *, void *, void *, int *)) \
    F(int, __cudaGetKernel, (void **, const void *))                                                                      \
    F(int, __cudaLaunchKernel, (void *, dim3, dim3, void **, size_t, void *))                                             \
    F(int, cudaFuncSetAttribute, (const void *, int, int))                                                                \
    F(int, cudaGetLastError, ())                                                                                          \
    F(int, cudaDeviceSynchronize, ())                                                                                     \
    F(int, cudaMalloc, (void **, size_t))                                                                                 \
    F(int, cudaFree, (void *))                                                                                            \
    F(int, cudaMallocHost, (void **, size_t))                                                                             \
    F(int, cudaHostRegister, (void *, size_t, unsigned))                                                                  \
    F(int, cudaHostUnregister, (void *))                                                                                  \
    F(int, cudaMemcpy, (void *, const void *, size_t, int))                                                               \
    F(int, cudaMemcpyAsync, (void *, const void *, size_t, int, void *))                                                  \
    F(int, cudaMemsetAsync, (void *, int, size_t, void *))                                                                \
    F(int, cudaStreamCreateWithFlags, (void **, unsigned))                                                                \
    F(int, cudaStreamSynchronize, (void *))                                                                               \
    F(int, cudaStreamQuery, (void *))                                                                                     \
    F(int, cudaStreamWaitEvent, (void *, void *, unsigned))                                                               \
    F(int, cudaEventCreateWithFlags, (void **, unsigned))                                                                 \
    F(int, cudaEventRecord, (void *, void *))                                                                             \
    F(int, cudaEventSynchronize, (void *))                                                                                \
    F(int, cudaStreamBeginCapture, (void *, int))                                                                         \
    F(int, cudaStreamEndCapture, (void *, void **))                                                                       \
    F(int, cudaStreamIsCapturing, (void *, int *))                                                                        \
    F(int, cudaGraphInstantiate, (void **, void *, unsigned long long))                                                   \
    F(int, cudaGraphExecUpdate, (void *, void *, update_info *))                                                          \
    F(int, cudaGraphLaunch, (void *, void *))                                                                             \
    F(int, cudaGraphDestroy, (void *))

#define DECLARE(result, name, parameters) inline result (*name) parameters = nullptr;
CUDA_FUNCTIONS(DECLARE)
#undef DECLARE
inline decltype(&yapo_cuda_emulator_counters) read_counts = nullptr;

template <class F> void take(void * library, const char * name, F *& function) {
    function = reinterpret_cast<F *>(dlsym(library, name));
    CHECK_MSG(function, "libcudart.so.13 has no %s; expected the emulator's, which the CMake target yapo-cuda-emulator builds", name);
}

inline void load() {
    void * library = dlopen("libcudart.so.13", RTLD_NOW | RTLD_LOCAL);
    if (!library) FAIL("%s; build the CMake target yapo-cuda-emulator and name the folder cuda-emulator/13 of its build directory in LD_LIBRARY_PATH", dlerror());
    take(library, "yapo_cuda_emulator_counters", read_counts); // first: NVIDIA's library has all the others
#define TAKE(result, name, parameters) take(library, #name, name);
    CUDA_FUNCTIONS(TAKE)
#undef TAKE
}

inline yapo_cuda_emulator_counts counts() {
    yapo_cuda_emulator_counts now = {};
    read_counts(&now);
    return now;
}

#define DONE(call) CHECK_EQ(call, 0)

enum { to_device = 1, to_host = 2 };

// plus adds p_by, and `more`, to the numbers at p_x, one a thread; twice doubles them, in blocks of at most 256 threads.
inline std::string ptx(int arch = 80, int more = 0) {
    const auto kernel = [](const std::string & name, const std::string & rest, const std::string & body) {
        return ".visible .entry " + name + "(.param .u64 p_x" + rest + "\n{\n.reg .b32 %r<6>;\n.reg .b64 %rd<3>;\nld.param.u64 %rd1, [p_x];\n"
               "mov.u32 %r1, %tid.x;\nmov.u32 %r2, %ctaid.x;\nmov.u32 %r3, %ntid.x;\nmad.lo.s32 %r1, %r2, %r3, %r1;\nmul.wide.u32 %rd2, %r1, 4;\nadd.s64 %rd1, %rd1, %rd2;\n"
               "ld.global.u32 %r4, [%rd1];\n" + body + "st.global.u32 [%rd1], %r4;\nret;\n}\n";
    };
    return "//\n.version 7.0\n.target sm_" + std::to_string(arch) + "\n.address_size 64\n" +
           kernel("plus", ", .param .u32 p_by)", "ld.param.u32 %r5, [p_by];\nadd.u32 %r4, %r4, %r5;\nadd.u32 %r4, %r4, " + std::to_string(more) + ";\n") +
           kernel("twice", ") .maxntid 256, 1, 1", "add.u32 %r4, %r4, %r4;\n");
}

// Device code as a program registers it while it starts.
struct device_code {
    struct {
        uint32_t     magic = 0x466243B1, version = 1;
        const void * data  = nullptr;
        void *       file  = nullptr;
    } wrapper;
    char    stubs[2] = {};
    void ** handle;
    void *  plus = nullptr, * twice = nullptr;

    explicit device_code(const void * data) {
        wrapper.data = data;
        handle       = __cudaRegisterFatBinary(&wrapper);
        char names[2][6] = {"plus", "twice"};
        for (int n = 0; n < 2; ++n) __cudaRegisterFunction(handle, &stubs[n], names[n], names[n], -1, nullptr, nullptr, nullptr, nullptr, nullptr);
        __cudaRegisterFatBinaryEnd(handle);
        DONE(__cudaGetKernel(&plus, &stubs[0]));
        DONE(__cudaGetKernel(&twice, &stubs[1]));
    }
    device_code(const device_code &) = delete;
    ~device_code() { __cudaUnregisterFatBinary(handle); }

    int launch(void * kernel, uint32_t * x, uint32_t by, void * stream, dim3 grid = {}, dim3 block = {}, size_t shared = 0) const {
        void * arguments[] = {&x, &by};
        return __cudaLaunchKernel(kernel, grid, block, arguments, shared, stream);
    }
};

constexpr size_t numbers = 1024;

// Two streams that only events bring in order, two events, memory of the device and pinned memory. The process ends with the case, and frees it.
struct device {
    const std::string text = (load(), ptx());
    device_code       code{text.c_str()};
    void *     s = nullptr, * t = nullptr, * e = nullptr, * f = nullptr;
    uint32_t * memory = nullptr, * host = nullptr;

    device() {
        for (void ** stream : {&s, &t}) DONE(cudaStreamCreateWithFlags(stream, 1)); // non-blocking
        for (void ** event : {&e, &f}) DONE(cudaEventCreateWithFlags(event, 2));    // without times
        DONE(cudaMalloc(reinterpret_cast<void **>(&memory), numbers * sizeof *memory));
        DONE(cudaMallocHost(reinterpret_cast<void **>(&host), numbers * sizeof *host));
    }
    void add(void * stream, uint32_t by, size_t at = 0) const { DONE(code.launch(code.plus, memory + at, by, stream)); }
    void twice(void * stream, size_t at = 0) const { DONE(code.launch(code.twice, memory + at, 0, stream)); }
    void put_later(void * stream, const uint32_t * from, size_t at = 0) const { DONE(cudaMemcpyAsync(memory + at, from, sizeof *from, to_device, stream)); }
    void get_later(void * stream, uint32_t * to, size_t at = 0) const { DONE(cudaMemcpyAsync(to, memory + at, sizeof *to, to_host, stream)); }
    // What the device has now, and its change: on the legacy default stream, so nothing of s and t runs.
    uint32_t now(size_t at = 0) const {
        uint32_t value = 0;
        DONE(cudaMemcpy(&value, memory + at, sizeof value, to_host));
        return value;
    }
    void set(uint32_t value, size_t at = 0) const {
        DONE(cudaMemcpy(memory + at, &value, sizeof value, to_device));
        CHECK_EQ(now(at), value);
    }
    void wait(void * stream) const { DONE(cudaStreamSynchronize(stream)); }
    void after(void * stream, void * other, void * event) const {
        DONE(cudaEventRecord(event, other));
        DONE(cudaStreamWaitEvent(stream, event, 0));
    }
    // The graph of what `work` does on s and on what it joins to s.
    void * capture(const std::function<void()> & work) const {
        void * graph = nullptr;
        DONE(cudaStreamBeginCapture(s, 0));
        work();
        DONE(cudaStreamEndCapture(s, &graph));
        return graph;
    }
};

} // namespace yapo_test::cuda_runtime
