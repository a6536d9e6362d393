// cuBLAS in plain loops: matrix products and the solution with a triangular matrix, queued like kernels.
#include "allocations.h"
#include "capture.h"
#include "../device/numbers.h"
#include "runtime.h"

#include <algorithm>
#include <cstring>
#include <vector>

using namespace cuda_emulator;

namespace {

enum : int { real_32 = 0, real_16 = 2, brain_16 = 14 };                     // cudaDataType
enum : int { compute_16 = 64, compute_16_pedantic = 65, compute_32 = 68, compute_32_pedantic = 69, fast_16 = 74, fast_brain_16 = 75, fast_tf32 = 77 };
enum : int { not_initialized = 1, invalid_argument = 7, execution_failed = 13, unsupported = 15 }; // cublasStatus_t
enum : int { no_transpose = 0, conjugate_transpose = 2 };

struct handle {
    void * stream = nullptr;
};

handles<handle> & all_handles() {
    static auto * const all = new handles<handle>;
    return *all;
}

size_t size_of(int type) {
    return type == real_32 ? 4 : 2;
}

template <class T> T at(const char * from, size_t i) {
    T value;
    std::memcpy(&value, from + sizeof value * i, sizeof value);
    return value;
}

template <class T> void put(char * to, size_t i, T value) {
    std::memcpy(to + sizeof value * i, &value, sizeof value);
}

float load(const char * from, int type, size_t i) {
    return type == real_32 ? at<float>(from, i) : type == real_16 ? to_float(at<f16>(from, i)) : to_float(at<bf16>(from, i));
}

void store(char * to, int type, size_t i, float value) {
    if (type == real_32) {
        put(to, i, value);
    } else if (type == real_16) {
        put(to, i, to_f16(value));
    } else {
        put(to, i, to_bf16(value));
    }
}

// Columns one after another, `leading` elements apart.
struct matrix {
    int type;
    int leading;
};

struct product {
    int    m, n, k;
    bool   transpose_a, transpose_b;
    float  alpha, beta;
    matrix a, b, c;
};

// A matrix that the device may access all of, as floats in rows of `inner` values: `outer` of them.
std::vector<float> gather(const char * from, const matrix & x, bool rows_are_columns, int outer, int inner, const char * what) {
    const size_t columns = rows_are_columns ? outer : inner, rows = rows_are_columns ? inner : outer;
    if (columns > 0 && rows > 0) {
        require(from, ((columns - 1) * x.leading + rows) * size_of(x.type), what);
    }
    std::vector<float> values(size_t(outer) * inner);
    for (int i = 0; i < outer; i++) {
        for (int j = 0; j < inner; j++) {
            values[size_t(i) * inner + j] = load(from, x.type, rows_are_columns ? size_t(i) * x.leading + j : size_t(j) * x.leading + i);
        }
    }
    return values;
}

void multiply(const product & p, const void * a, const void * b, void * c) {
    if (p.m == 0 || p.n == 0) {
        return;
    }
    const std::vector<float> left  = gather(static_cast<const char *>(a), p.a, p.transpose_a, p.m, p.k, "cuBLAS, matrix A");
    const std::vector<float> right = gather(static_cast<const char *>(b), p.b, !p.transpose_b, p.n, p.k, "cuBLAS, matrix B");
    char * const to = static_cast<char *>(c);
    require(to, (size_t(p.n - 1) * p.c.leading + p.m) * size_of(p.c.type), "cuBLAS, matrix C");
    for (int j = 0; j < p.n; j++) {
        for (int i = 0; i < p.m; i++) {
            double sum = 0;
            for (int l = 0; l < p.k; l++) {
                sum += double(left[size_t(i) * p.k + l]) * right[size_t(j) * p.k + l];
            }
            const size_t at  = size_t(j) * p.c.leading + i;
            const float  old = p.beta == 0 ? 0 : p.beta * load(to, p.c.type, at); // not read then: it may hold anything
            store(to, p.c.type, at, static_cast<float>(p.alpha * sum) + old);
        }
    }
}

bool known(int type) {
    return type == real_32 || type == real_16 || type == brain_16;
}

float scalar(const void * from, int compute) {
    return load(static_cast<const char *>(from), compute == compute_16 || compute == compute_16_pedantic ? real_16 : real_32, 0);
}

// A call of cuBLAS; what goes wrong in the CUDA runtime is "execution failed".
template <class Body> int blas(void * h, Body && body) {
    int own = 0;
    const int status = call([&] {
        try {
            body(all_handles().at(h));
        } catch (const failure & f) {
            own = f.status == invalid_handle ? not_initialized : f.status < 0 ? -f.status : execution_failed;
            if (f.status > 0) {
                throw;
            }
        }
    });
    return own ? own : status ? execution_failed : 0;
}

void need(bool right, int otherwise = invalid_argument) {
    if (!right) {
        throw failure{-otherwise}; // apart from the numbers of the runtime
    }
}

template <class Run> void queue(const handle & h, const void * function, Run && run) {
    submit(*stream_of(h.stream), {operation::type::kernel, function, [run = std::forward<Run>(run)] {
        ++counts().kernels_run;
        run();
    }});
}

product checked(int transpose_a, int transpose_b, int m, int n, int k, const void * alpha, matrix a, matrix b, const void * beta, matrix c, int compute) {
    need(m >= 0 && n >= 0 && k >= 0 && alpha && beta);
    need(transpose_a >= 0 && transpose_a <= conjugate_transpose && transpose_b >= 0 && transpose_b <= conjugate_transpose);
    need(a.leading >= std::max(1, transpose_a == no_transpose ? m : k) && b.leading >= std::max(1, transpose_b == no_transpose ? k : n) &&
         c.leading >= std::max(1, m));
    need(known(a.type) && known(b.type) && known(c.type), unsupported);
    need(compute == compute_16 || compute == compute_16_pedantic || compute == compute_32 || compute == compute_32_pedantic || compute == fast_16 ||
         compute == fast_brain_16 || compute == fast_tf32, unsupported);
    return {m, n, k, transpose_a != no_transpose, transpose_b != no_transpose, scalar(alpha, compute), scalar(beta, compute), a, b, c};
}

const void * moved(const void * p, int type, long long stride, int i) {
    return static_cast<const char *>(p) + stride * i * static_cast<long long>(size_of(type));
}

int strided(const void * function, void * h, int transpose_a, int transpose_b, int m, int n, int k, const void * alpha, const void * a, matrix a_is,
            long long a_stride, const void * b, matrix b_is, long long b_stride, const void * beta, void * c, matrix c_is, long long c_stride,
            int count, int compute) {
    return blas(h, [&](const handle & own) {
        need(count >= 0);
        const product p = checked(transpose_a, transpose_b, m, n, k, alpha, a_is, b_is, beta, c_is, compute);
        queue(own, function, [=] {
            for (int i = 0; i < count; i++) {
                multiply(p, moved(a, a_is.type, a_stride, i), moved(b, b_is.type, b_stride, i), const_cast<void *>(moved(c, c_is.type, c_stride, i)));
            }
        });
    });
}

// The arrays of pointers are the device's too.
int batched(const void * function, void * h, int transpose_a, int transpose_b, int m, int n, int k, const void * alpha, const void * const * a, matrix a_is,
            const void * const * b, matrix b_is, const void * beta, void * const * c, matrix c_is, int count, int compute) {
    return blas(h, [&](const handle & own) {
        need(count >= 0);
        const product p = checked(transpose_a, transpose_b, m, n, k, alpha, a_is, b_is, beta, c_is, compute);
        queue(own, function, [=] {
            for (const void * array : {static_cast<const void *>(a), static_cast<const void *>(b), static_cast<const void *>(c)}) {
                require(array, count * sizeof(void *), "cuBLAS, an array of matrices");
            }
            for (int i = 0; i < count; i++) {
                multiply(p, a[i], b[i], c[i]);
            }
        });
    });
}

struct triangle {
    bool  left, upper, transpose, unit;
    int   m, n, a_leading, b_leading;
    float alpha;
};

// op(A) X = alpha B or X op(A) = alpha B, X over B.
void solve(const triangle & t, const float * a, float * b) {
    const int order = t.left ? t.m : t.n, count = t.left ? t.n : t.m;
    if (order == 0 || count == 0) {
        return;
    }
    require(a, (size_t(order - 1) * t.a_leading + order) * sizeof *a, "cuBLAS, the triangular matrix");
    require(b, (size_t(t.n - 1) * t.b_leading + t.m) * sizeof *b, "cuBLAS, the right-hand side");
    // From the right it is op(A)' X' = alpha B'.
    const bool transpose = t.transpose == t.left;
    const auto element   = [&](int i, int j) { return transpose ? a[size_t(i) * t.a_leading + j] : a[size_t(j) * t.a_leading + i]; };
    const auto x         = [&](int i, int c) -> float & { return t.left ? b[size_t(c) * t.b_leading + i] : b[size_t(i) * t.b_leading + c]; };
    const bool backwards = t.upper != transpose;
    for (int c = 0; c < count; c++) {
        for (int step = 0; step < order; step++) {
            const int i   = backwards ? order - 1 - step : step;
            double    sum = double(t.alpha) * x(i, c);
            for (int before = 0; before < step; before++) {
                const int j = backwards ? order - 1 - before : before;
                sum -= double(element(i, j)) * x(j, c);
            }
            x(i, c) = static_cast<float>(t.unit ? sum : sum / element(i, i));
        }
    }
}

} // namespace

YAPO_CUDA_API cublasCreate_v2(void ** out) {
    return call([&] { *out = all_handles().add(std::make_unique<handle>()); }) ? not_initialized : 0;
}

YAPO_CUDA_API cublasDestroy_v2(void * h) {
    return blas(h, [&](const handle &) {
        refuse_for_device();
        run_everything(); // as its workspace is freed
        all_handles().erase(h);
    });
}

YAPO_CUDA_API cublasSetStream_v2(void * h, void * stream) {
    return blas(h, [&](handle & own) { own.stream = stream; });
}

YAPO_CUDA_API cublasSetWorkspace_v2(void * h, void *, size_t) {
    return blas(h, [](const handle &) {});
}

YAPO_CUDA_API cublasSetMathMode(void * h, int) {
    return blas(h, [](const handle &) {});
}

YAPO_CUDA_EXPORT const char * cublasGetStatusString(int status) {
    switch (status) {
        case 0:                return "CUBLAS_STATUS_SUCCESS";
        case not_initialized:  return "CUBLAS_STATUS_NOT_INITIALIZED";
        case invalid_argument: return "CUBLAS_STATUS_INVALID_VALUE";
        case execution_failed: return "CUBLAS_STATUS_EXECUTION_FAILED";
        case unsupported:      return "CUBLAS_STATUS_NOT_SUPPORTED";
        default:               return "unknown CUBLAS status";
    }
}

YAPO_CUDA_API cublasGemmEx(void * h, int ta, int tb, int m, int n, int k, const void * alpha, const void * a, int a_type, int lda, const void * b, int b_type,
                           int ldb, const void * beta, void * c, int c_type, int ldc, int compute, int) {
    return strided(reinterpret_cast<const void *>(cublasGemmEx), h, ta, tb, m, n, k, alpha, a, {a_type, lda}, 0, b, {b_type, ldb}, 0, beta, c, {c_type, ldc}, 0, 1, compute);
}

YAPO_CUDA_API cublasGemmStridedBatchedEx(void * h, int ta, int tb, int m, int n, int k, const void * alpha, const void * a, int a_type, int lda,
                                         long long a_stride, const void * b, int b_type, int ldb, long long b_stride, const void * beta, void * c,
                                         int c_type, int ldc, long long c_stride, int count, int compute, int) {
    return strided(reinterpret_cast<const void *>(cublasGemmStridedBatchedEx), h, ta, tb, m, n, k, alpha, a, {a_type, lda}, a_stride, b, {b_type, ldb}, b_stride,
                   beta, c, {c_type, ldc}, c_stride, count, compute);
}

YAPO_CUDA_API cublasGemmBatchedEx(void * h, int ta, int tb, int m, int n, int k, const void * alpha, const void * const * a, int a_type, int lda,
                                  const void * const * b, int b_type, int ldb, const void * beta, void * const * c, int c_type, int ldc, int count, int compute, int) {
    return batched(reinterpret_cast<const void *>(cublasGemmBatchedEx), h, ta, tb, m, n, k, alpha, a, {a_type, lda}, b, {b_type, ldb}, beta, c, {c_type, ldc}, count, compute);
}

YAPO_CUDA_API cublasSgemm_v2(void * h, int ta, int tb, int m, int n, int k, const float * alpha, const float * a, int lda, const float * b, int ldb,
                             const float * beta, float * c, int ldc) {
    return strided(reinterpret_cast<const void *>(cublasSgemm_v2), h, ta, tb, m, n, k, alpha, a, {real_32, lda}, 0, b, {real_32, ldb}, 0, beta, c, {real_32, ldc}, 0, 1, compute_32);
}

YAPO_CUDA_API cublasSgemmStridedBatched(void * h, int ta, int tb, int m, int n, int k, const float * alpha, const float * a, int lda, long long a_stride,
                                        const float * b, int ldb, long long b_stride, const float * beta, float * c, int ldc, long long c_stride, int count) {
    return strided(reinterpret_cast<const void *>(cublasSgemmStridedBatched), h, ta, tb, m, n, k, alpha, a, {real_32, lda}, a_stride, b, {real_32, ldb}, b_stride,
                   beta, c, {real_32, ldc}, c_stride, count, compute_32);
}

YAPO_CUDA_API cublasSgemmBatched(void * h, int ta, int tb, int m, int n, int k, const float * alpha, const float * const * a, int lda,
                                 const float * const * b, int ldb, const float * beta, float * const * c, int ldc, int count) {
    return batched(reinterpret_cast<const void *>(cublasSgemmBatched), h, ta, tb, m, n, k, alpha, reinterpret_cast<const void * const *>(a), {real_32, lda},
                   reinterpret_cast<const void * const *>(b), {real_32, ldb}, beta, reinterpret_cast<void * const *>(c), {real_32, ldc}, count, compute_32);
}

YAPO_CUDA_API cublasStrsmBatched(void * h, int side, int uplo, int transpose, int diagonal, int m, int n, const float * alpha, const float * const * a, int lda,
                                 float * const * b, int ldb, int count) {
    return blas(h, [&](const handle & own) {
        need(m >= 0 && n >= 0 && count >= 0 && alpha && (side == 0 || side == 1) && (uplo == 0 || uplo == 1));
        need(lda >= std::max(1, side == 0 ? m : n) && ldb >= std::max(1, m));
        const triangle t = {side == 0, uplo == 1, transpose != no_transpose, diagonal == 1, m, n, lda, ldb, *alpha};
        queue(own, reinterpret_cast<const void *>(cublasStrsmBatched), [=] {
            require(a, count * sizeof *a, "cuBLAS, an array of matrices");
            require(b, count * sizeof *b, "cuBLAS, an array of matrices");
            for (int i = 0; i < count; i++) {
                solve(t, a[i], b[i]);
            }
        });
    });
}
