#include "train/autograd/weight_gemm.h"

#include <algorithm>
#include <cstring>
#include <vector>

#if defined(__AVX512BF16__) && defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace yapo::autograd {

namespace {

// Operands are packed in units along the depth: two BF16 values, or one float.
#if defined(__AVX512BF16__) && defined(__AVX512F__)

constexpr int MR = 14, W = 16, per_unit = 2;
using unit = uint32_t;

inline uint32_t bf16(float x) { // round to nearest even; weights and activations are finite
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}
inline unit make_unit(float first, float second) { return bf16(first) | bf16(second) << 16; }

using vec = __m512;
inline vec zero() { return _mm512_setzero_ps(); }
inline vec fma(vec acc, unit p, const unit * q) {
    return _mm512_dpbf16_ps(acc, (__m512bh) _mm512_set1_epi32(static_cast<int>(p)), (__m512bh) _mm512_loadu_si512(q));
}
inline vec load(const float * p) { return _mm512_loadu_ps(p); }
inline void store(float * p, vec v) { _mm512_storeu_ps(p, v); }
inline vec add(vec a, vec b) { return _mm512_add_ps(a, b); }

#else

#if defined(__AVX512F__)
constexpr int MR = 14, vector_bytes = 64;
#elif defined(__AVX__)
constexpr int MR = 6, vector_bytes = 32;
#else
constexpr int MR = 6, vector_bytes = 16;
#endif
constexpr int W = vector_bytes / sizeof(float), per_unit = 1;
using unit = float;
inline unit make_unit(float first, float) { return first; }

struct vec { float x[W]; };
inline vec zero() { return {}; }
inline vec fma(vec acc, unit p, const unit * q) {
    for (int i = 0; i < W; ++i) acc.x[i] += p * q[i];
    return acc;
}
inline vec load(const float * p) { vec v; memcpy(&v, p, sizeof v); return v; }
inline void store(float * p, const vec & v) { memcpy(p, &v, sizeof v); }
inline vec add(vec a, const vec & b) {
    for (int i = 0; i < W; ++i) a.x[i] += b.x[i];
    return a;
}

#endif

constexpr int     NR = 2 * W;
constexpr int64_t KC = 1024;    // depth of a slice: a panel of x [KC, MR] stays in the first-level cache; whole blocks of every type
constexpr int64_t NC = 8 * NR;  // columns packed at a time: [KC, NC] stays in the second

constexpr int64_t units(int64_t depth) { return (depth + per_unit - 1) / per_unit; }

// c [MR, NR] (+)= p panel [units, MR] . q panel [units, NR]
void tile(int64_t n_units, const unit * p, const unit * q, float * c, int64_t ldc, bool accumulate) {
    vec acc[MR][2];
    for (int r = 0; r < MR; ++r) acc[r][0] = acc[r][1] = zero();
    for (int64_t k = 0; k < n_units; ++k, p += MR, q += NR) {
        for (int r = 0; r < MR; ++r) {
            acc[r][0] = fma(acc[r][0], p[r], q);
            acc[r][1] = fma(acc[r][1], p[r], q + W);
        }
    }
    for (int r = 0; r < MR; ++r) {
        for (int h = 0; h < 2; ++h) {
            float * to = c + r * ldc + h * W;
            store(to, accumulate ? add(acc[r][h], load(to)) : acc[r][h]);
        }
    }
}

// Rows of x in panels of MR, [units, MR] each, padded with zeros.
void pack_rows(const float * x, int64_t ldx, int64_t m, int64_t depth, unit * to) {
    const int64_t n_units = units(depth);
    for (int64_t i0 = 0; i0 < m; i0 += MR, to += MR * n_units) {
        for (int64_t i = 0; i < MR; ++i) {
            if (i0 + i >= m) {
                for (int64_t u = 0; u < n_units; ++u) to[u * MR + i] = make_unit(0.0f, 0.0f);
                continue;
            }
            const float * row = x + (i0 + i) * ldx;
            for (int64_t u = 0; u < n_units; ++u) {
                const int64_t k = u * per_unit;
                to[u * MR + i] = make_unit(row[k], k + 1 < depth ? row[k + 1] : 0.0f);
            }
        }
    }
}

struct reader {
    const weight_rows & w;
    ggml_to_float_t     to_float;
    explicit reader(const weight_rows & w) : w(w), to_float(w.type == GGML_TYPE_F32 ? nullptr : ggml_get_type_traits(w.type)->to_float) {}

    // `count` elements of row j from element k0, a multiple of KC
    const float * read(int64_t j, int64_t k0, int64_t count, float * buffer) const {
        const char * row = static_cast<const char *>(w.data) + size_t(j) * w.row_bytes + ggml_row_size(w.type, k0);
        if (!to_float) {
            return reinterpret_cast<const float *>(row);
        }
        to_float(row, buffer, count);
        return buffer;
    }
};

struct scratch {
    std::vector<unit>  p, q;
    std::vector<float> rows;
};
scratch & thread_scratch() {
    static thread_local scratch s;
    return s;
}

// q(j, k) = W[j][k] for `count` rows from j0, elements [k0, k0 + depth): panels [units, NR].
void pack_as_rows(const reader & r, int64_t j0, int64_t count, int64_t k0, int64_t depth, std::vector<float> & buffer, unit * to) {
    const int64_t n_units = units(depth);
    buffer.resize(KC);
    std::vector<unit> & line = []() -> std::vector<unit> & { static thread_local std::vector<unit> l; return l; }();
    line.resize(size_t(NR) * n_units);
    for (int64_t p0 = 0; p0 < count; p0 += NR, to += NR * n_units) {
        for (int64_t j = 0; j < NR; ++j) {
            unit * out = line.data() + j * n_units;
            if (p0 + j >= count) {
                std::fill(out, out + n_units, make_unit(0.0f, 0.0f));
                continue;
            }
            const float * row = r.read(j0 + p0 + j, k0, depth, buffer.data());
            const int64_t whole = depth / per_unit;
            for (int64_t u = 0; u < whole; ++u) out[u] = make_unit(row[u * per_unit], row[u * per_unit + per_unit - 1]);
            if (whole < n_units) out[whole] = make_unit(row[depth - 1], 0.0f);
        }
        constexpr int64_t block = 16; // units read a cache line at a time
        for (int64_t u0 = 0; u0 < n_units; u0 += block) {
            const int64_t u1 = std::min(n_units, u0 + block);
            for (int64_t j = 0; j < NR; ++j) {
                for (int64_t u = u0; u < u1; ++u) to[u * NR + j] = line[j * n_units + u];
            }
        }
    }
}

// q(k, j) = W[j][k] for elements [k0, k0 + count), rows [j0, j0 + depth): panels [units, NR].
void pack_as_columns(const reader & r, int64_t k0, int64_t count, int64_t j0, int64_t depth, std::vector<float> & buffer, unit * to) {
    const int64_t n_units = units(depth);
    buffer.assign(size_t(2) * KC, 0.0f);
    const int64_t panels = (count + NR - 1) / NR;
    for (int64_t u = 0; u < n_units; ++u) {
        const float * rows[2] = {buffer.data(), buffer.data() + KC};
        for (int64_t i = 0; i < per_unit; ++i) {
            const int64_t j = u * per_unit + i;
            if (j < depth) {
                rows[i] = r.read(j0 + j, k0, count, buffer.data() + i * KC);
            } else {
                std::fill_n(buffer.data() + i * KC, KC, 0.0f);
                rows[i] = buffer.data() + i * KC;
            }
        }
        for (int64_t p = 0; p < panels; ++p) {
            unit * out = to + (p * n_units + u) * NR;
            const int64_t n = std::min<int64_t>(NR, count - p * NR);
            const float * a = rows[0] + p * NR;
            const float * b = rows[per_unit - 1] + p * NR;
            for (int64_t k = 0; k < n; ++k) out[k] = make_unit(a[k], b[k]);
            for (int64_t k = n; k < NR; ++k) out[k] = make_unit(0.0f, 0.0f);
        }
    }
}

// c [m, n] (+)= packed x . packed q, for one slice of the depth and a block of columns.
void multiply(int64_t m, int64_t n, int64_t depth, const unit * p, const unit * q, float * c, int64_t ldc, bool accumulate) {
    const int64_t n_units = units(depth);
    float edge[MR * NR];
    for (int64_t j = 0; j < n; j += NR) {
        const int64_t nj = std::min<int64_t>(NR, n - j);
        for (int64_t i = 0; i < m; i += MR) {
            const int64_t mi = std::min<int64_t>(MR, m - i);
            float * to = c + i * ldc + j;
            if (mi == MR && nj == NR) {
                tile(n_units, p + i * n_units, q + j * n_units, to, ldc, accumulate);
                continue;
            }
            tile(n_units, p + i * n_units, q + j * n_units, edge, NR, false);
            for (int64_t a = 0; a < mi; ++a) {
                for (int64_t b = 0; b < nj; ++b) {
                    to[a * ldc + b] = accumulate ? to[a * ldc + b] + edge[a * NR + b] : edge[a * NR + b];
                }
            }
        }
    }
}

int64_t panels_of(int64_t m) { return (m + MR - 1) / MR * MR; }

} // namespace

void rows_times(int64_t m, int64_t n, const float * x, int64_t ldx, const weight_rows & w, float * c, int64_t ldc, bool accumulate) {
    const reader r(w);
    scratch & s = thread_scratch();
    s.p.resize(size_t(panels_of(m)) * units(KC));
    s.q.resize(size_t(NC) * units(KC));
    for (int64_t k0 = 0; k0 < w.width; k0 += KC) {
        const int64_t depth = std::min(KC, w.width - k0);
        pack_rows(x + k0, ldx, m, depth, s.p.data());
        for (int64_t j0 = 0; j0 < n; j0 += NC) {
            const int64_t count = std::min(NC, n - j0);
            pack_as_rows(r, j0, count, k0, depth, s.rows, s.q.data());
            multiply(m, count, depth, s.p.data(), s.q.data(), c + j0, ldc, accumulate || k0 > 0);
        }
    }
}

void rows_weighted(int64_t m, int64_t n, const float * a, int64_t lda, const weight_rows & w, float * c, int64_t ldc, bool accumulate) {
    const reader r(w);
    scratch & s = thread_scratch();
    s.p.resize(size_t(panels_of(m)) * units(KC));
    s.q.resize(size_t(KC) * units(NC));
    // Rows are read KC elements at a time, so the block of columns is wide and the slice of the depth short.
    for (int64_t j0 = 0; j0 < n; j0 += NC) {
        const int64_t depth = std::min(NC, n - j0);
        pack_rows(a + j0, lda, m, depth, s.p.data());
        for (int64_t k0 = 0; k0 < w.width; k0 += KC) {
            const int64_t count = std::min(KC, w.width - k0);
            pack_as_columns(r, k0, count, j0, depth, s.rows, s.q.data());
            multiply(m, count, depth, s.p.data(), s.q.data(), c + k0, ldc, accumulate || j0 > 0);
        }
    }
}

} // namespace yapo::autograd
