// A tile of rows times tokens, the inner part of the kernels for many tokens:  acc[m, n] += sum_k a[m, k] b[n, k]
#pragma once

#include "team.h"

namespace yapo::cuda {

struct tile {
    static constexpr int side    = 64; // rows and tokens
    static constexpr int depth   = 16; // k at a time
    static constexpr int threads = 256;
    static constexpr int across  = 16; // threads along either side
    static constexpr int each    = side / across;
    static constexpr int loads   = side * depth / threads;
    static constexpr int stride  = side + 1; // neighbouring k of one row fall into different banks

    struct memory {
        float a[depth * stride];
        float b[depth * stride];
    };

    // A thread's part: [row, token] for row = x + 16 i, token = y + 16 j, at i * each + j.
    using sums = few<float, each * each>;
    static YAPO_KERNEL int row(int thread, int i) { return thread % across + across * i; }
    static YAPO_KERNEL int token(int thread, int j) { return thread / across + across * j; }

    // value(m, k) of all m, and of the next `depth` k, into one side of the memory.
    template <class F> static YAPO_KERNEL void load(float * to, int thread, F && value) {
        YAPO_UNROLL
        for (int i = 0; i < loads; ++i) {
            const int e = thread + threads * i;
            const int k = e % depth, m = e / depth;
            to[k * stride + m] = value(m, k);
        }
    }

    static YAPO_KERNEL void multiply(const memory & m, int thread, sums & acc) {
        YAPO_UNROLL
        for (int k = 0; k < depth; ++k) {
            few<float, each> a, b;
            YAPO_UNROLL
            for (int i = 0; i < each; ++i) {
                a[i] = m.a[k * stride + row(thread, i)];
                b[i] = m.b[k * stride + token(thread, i)];
            }
            YAPO_UNROLL
            for (int i = 0; i < each; ++i) {
                YAPO_UNROLL
                for (int j = 0; j < each; ++j) {
                    acc[i * each + j] = multiply_add(a[i], b[j], acc[i * each + j]);
                }
            }
        }
    }
};

} // namespace yapo::cuda
