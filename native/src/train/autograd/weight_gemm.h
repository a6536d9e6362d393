// Products with weights as a model file stores them, of any ggml type. Rows are dequantized while they are packed, a slice at a time, so that
// neither a float copy nor a transposed copy of a matrix ever exists. Where the CPU multiplies BF16 pairs (AVX512-BF16), both sides are rounded
// to BF16 and summed in F32 (relative error of a product about 2^-8 / sqrt(depth)): twice the speed, and far below what 8-bit or 4-bit weights
// lost already. Elsewhere everything is F32.
#pragma once

#include "ggml.h"

#include <cstdint>

namespace yapo::autograd {

struct weight_rows {
    ggml_type    type;
    const void * data;      // [rows, width], each row whole blocks of the type
    int64_t      width;     // elements of a row
    size_t       row_bytes;
};

// c[i * ldc + j] (+)= sum_k x[i * ldx + k] W[j][k],  i < m, j < n rows of W, k < width
void rows_times(int64_t m, int64_t n, const float * x, int64_t ldx, const weight_rows & w, float * c, int64_t ldc, bool accumulate = false);
// c[i * ldc + k] (+)= sum_j a[i * lda + j] W[j][k],  i < m, j < n rows of W, k < width
void rows_weighted(int64_t m, int64_t n, const float * a, int64_t lda, const weight_rows & w, float * c, int64_t ldc, bool accumulate = false);

} // namespace yapo::autograd
