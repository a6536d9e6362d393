// A single-threaded F32 matrix product for small models. ggml's own sums every output element across a vector at the end,
// which costs a third of the time at inner dimensions of a few hundred; this one keeps output elements side by side in
// registers and packs its operands, so that any side may be transposed and gradients need no transposed copies.
#pragma once

#include <cstdint>

namespace yapo::autograd {

// Element (i, k) of an operand is data[i * outer + k * inner]; one of the strides is 1.
struct gemm_operand {
    const float * data;
    int64_t       outer, inner;
};

// c[i * ldc + j] (+)= sum_k p(i, k) q(j, k),  i < m, j < n, k < depth. The order of summation depends on `depth` alone.
void gemm(int64_t m, int64_t n, int64_t depth, const gemm_operand & p, const gemm_operand & q, float * c, int64_t ldc, bool accumulate = false);

} // namespace yapo::autograd
