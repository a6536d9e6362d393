// One source for every kernel, compiled twice: for the device, and by the host compiler as its twin.
//
// A kernel is written in phases. team.each(f) runs f(thread) for all threads of the block and ends with a barrier; what a thread
// keeps from one phase to the next is an own<T>; code between the phases is uniform over the block. On the device every thread runs
// its part of each phase; the twin runs the threads of a phase one after another, in either order: what differs between the orders
// is a race. Both add up warps by the same butterfly, so that the twin has the device's order of additions too.
#pragma once

#include <stdint.h>

#if defined(__CUDACC__) || defined(__CUDA__)
#define YAPO_DEVICE_CODE 1
#define YAPO_KERNEL __device__ __forceinline__
#define YAPO_UNROLL _Pragma("unroll")
#else
#include <array>
#include <cmath>
#define YAPO_KERNEL inline
#define YAPO_UNROLL
#endif

// For lambdas: what a thread keeps stays in registers only where all of its phases are one function.
#ifdef _MSC_VER
#define YAPO_INLINED
#else
#define YAPO_INLINED __attribute__((always_inline))
#endif

namespace yapo::cuda {

constexpr int warp = 32;

// N values of one thread.
template <class T, int N> struct few {
    T x[N];
    YAPO_KERNEL T & operator[](int i) { return x[i]; }
};

YAPO_KERNEL float multiply_add(float a, float b, float c) {
#ifdef YAPO_DEVICE_CODE
    return fmaf(a, b, c);
#else
    return std::fma(a, b, c);
#endif
}

#ifdef YAPO_DEVICE_CODE

template <int Threads> struct device_team {
    template <class T> struct own {
        T value = {};
        YAPO_KERNEL T & operator[](int) { return value; }
    };

    int64_t block_x, block_y;

    template <class F> YAPO_KERNEL void each(F && phase) const {
        phase(int(threadIdx.x));
        __syncthreads();
    }

    // Every thread gets the sums over its warp.
    template <int N> YAPO_KERNEL void warp_sum(own<few<float, N>> & x) const {
        YAPO_UNROLL
        for (int i = 0; i < N; ++i) {
            YAPO_UNROLL
            for (int offset = warp / 2; offset > 0; offset /= 2) {
                x.value[i] += __shfl_xor_sync(0xffffffffu, x.value[i], offset);
            }
        }
    }
};

#else

template <int Threads> struct host_team {
    template <class T> struct own {
        std::array<T, Threads> value = {};
        T & operator[](int thread) { return value[size_t(thread)]; }
    };

    int64_t block_x, block_y;
    bool    reverse; // the threads of each phase from the last to the first

    template <class F> void each(F && phase) const {
        for (int i = 0; i < Threads; ++i) {
            phase(reverse ? Threads - 1 - i : i);
        }
    }

    template <int N> void warp_sum(own<few<float, N>> & x) const {
        for (int first = 0; first < Threads; first += warp) {
            for (int i = 0; i < N; ++i) {
                for (int offset = warp / 2; offset > 0; offset /= 2) {
                    float sums[warp];
                    for (int lane = 0; lane < warp; ++lane) {
                        sums[lane] = x[first + lane][i] + x[first + (lane ^ offset)][i];
                    }
                    for (int lane = 0; lane < warp; ++lane) {
                        x[first + lane][i] = sums[lane];
                    }
                }
            }
        }
    }
};

#endif

// Blocks of a launch.
struct grid {
    int64_t x, y;
};

constexpr int64_t blocks_of(int64_t n, int64_t size) { return (n + size - 1) / size; }

} // namespace yapo::cuda
