// The little of CUDA that launch.cu uses, for a check of the device code where no toolkit is installed:
//   clang++ -x cuda --cuda-device-only -nocudainc -nocudalib -I native/cuda/check
// No program is ever linked from it.
#pragma once

#include <stddef.h>

#define __device__ __attribute__((device))
#define __host__ __attribute__((host))
#define __global__ __attribute__((global))
#define __shared__ __attribute__((shared))
#define __forceinline__ __inline__ __attribute__((always_inline))
#define __launch_bounds__(n) __attribute__((launch_bounds(n)))

// threadIdx.x and its kin are registers
#define YAPO_CHECK_REGISTER(name, read)                                                     \
    struct yapo_check_##name {                                                              \
        __declspec(property(get = get_x)) unsigned x;                                       \
        __declspec(property(get = get_y)) unsigned y;                                       \
        static __device__ unsigned get_x() { return __nvvm_read_ptx_sreg_##read##_x(); }    \
        static __device__ unsigned get_y() { return __nvvm_read_ptx_sreg_##read##_y(); }    \
    };                                                                                      \
    extern const __device__ __attribute__((weak)) yapo_check_##name name;
YAPO_CHECK_REGISTER(threadIdx, tid)
YAPO_CHECK_REGISTER(blockIdx, ctaid)

static __device__ __forceinline__ float fmaf(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static __device__ __forceinline__ float __shfl_xor_sync(unsigned mask, float x, int lanes) { return __nvvm_shfl_sync_bfly_f32(mask, x, lanes, 31); }

struct dim3 {
    unsigned x, y, z;
    __host__ __device__ dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

typedef struct yapo_check_stream * cudaStream_t;
extern "C" int cudaConfigureCall(dim3 blocks, dim3 threads, size_t shared = 0, cudaStream_t stream = 0);
extern "C" unsigned __cudaPushCallConfiguration(dim3 blocks, dim3 threads, size_t shared = 0, void * stream = 0);
extern "C" int cudaLaunchKernel(const void * f, dim3 blocks, dim3 threads, void ** args, size_t shared, cudaStream_t stream);
