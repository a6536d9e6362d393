#include "train/autograd/gemm.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace yapo::autograd {

namespace {

// A tile of MR rows of two vectors, sized to the registers: accumulators, two vectors of q, one broadcast of p.
#if defined(__AVX512F__)
constexpr int vector_bytes = 64, MR = 14;
#elif defined(__AVX__)
constexpr int vector_bytes = 32, MR = 6;
#else
constexpr int vector_bytes = 16, MR = 6;
#endif
constexpr int W  = vector_bytes / sizeof(float);
constexpr int NR = 2 * W;
constexpr int64_t KC = 192; // a q panel [KC, NR] stays in the first-level cache
constexpr int64_t MC = MR * 16; // a block of p panels [MC, KC] in the second

#if defined(__GNUC__)
typedef float vec __attribute__((vector_size(vector_bytes), aligned(4)));
#else
struct vec {
    float x[W];
    vec & operator+=(const vec & o) { for (int i = 0; i < W; ++i) x[i] += o.x[i]; return *this; }
    friend vec operator*(const vec & a, float b) { vec r; for (int i = 0; i < W; ++i) r.x[i] = a.x[i] * b; return r; }
};
#endif

inline vec load(const float * p) { vec v; memcpy(&v, p, sizeof v); return v; }
inline void store(float * p, const vec & v) { memcpy(p, &v, sizeof v); }

// c [MR, NR] (+)= p panel [depth, MR] . q panel [depth, NR]
template <bool add>
void tile(int64_t depth, const float * p, const float * q, float * c, int64_t ldc) {
    vec acc[MR][2] = {};
    for (int64_t k = 0; k < depth; ++k, p += MR, q += NR) {
        const vec q0 = load(q), q1 = load(q + W);
        for (int r = 0; r < MR; ++r) {
            acc[r][0] += q0 * p[r];
            acc[r][1] += q1 * p[r];
        }
    }
    for (int r = 0; r < MR; ++r) {
        for (int h = 0; h < 2; ++h) {
            float * to = c + r * ldc + h * W;
            if (add) {
                acc[r][h] += load(to);
            }
            store(to, acc[r][h]);
        }
    }
}

// Panels of `width` outer indices, [depth, width] each, padded with zeros.
template <int width>
void pack(const gemm_operand & o, int64_t first, int64_t count, int64_t k0, int64_t depth, float * to) {
    for (int64_t i0 = 0; i0 < count; i0 += width, to += width * depth) {
        const int64_t n = std::min<int64_t>(width, count - i0);
        const float * from = o.data + (first + i0) * o.outer + k0 * o.inner;
        if (o.outer == 1) {
            for (int64_t k = 0; k < depth; ++k) {
                if (n == width) {
                    memcpy(to + k * width, from + k * o.inner, width * sizeof(float));
                } else {
                    for (int64_t i = 0; i < width; ++i) {
                        to[k * width + i] = i < n ? from[k * o.inner + i] : 0.0f;
                    }
                }
            }
            continue;
        }
        constexpr int64_t block = 16; // columns read a cache line at a time
        for (int64_t b = 0; b < depth; b += block) {
            const int64_t nb = std::min(block, depth - b);
            for (int64_t i = 0; i < width; ++i) {
                if (i < n) {
                    const float * row = from + i * o.outer + b;
                    for (int64_t k = 0; k < nb; ++k) {
                        to[(b + k) * width + i] = row[k];
                    }
                } else {
                    for (int64_t k = 0; k < nb; ++k) {
                        to[(b + k) * width + i] = 0.0f;
                    }
                }
            }
        }
    }
}

} // namespace

void gemm(int64_t m, int64_t n, int64_t depth, const gemm_operand & p, const gemm_operand & q, float * c, int64_t ldc, bool accumulate) {
    static thread_local std::vector<float> p_panels, q_panels;
    p_panels.resize(MC * KC);
    q_panels.resize((n + NR - 1) / NR * NR * KC);
    float edge[MR * NR];

    for (int64_t k0 = 0; k0 < depth; k0 += KC) {
        const int64_t kc = std::min(KC, depth - k0);
        const bool first = k0 == 0 && !accumulate;
        const auto run = first ? tile<false> : tile<true>;
        pack<NR>(q, 0, n, k0, kc, q_panels.data());
        for (int64_t i0 = 0; i0 < m; i0 += MC) {
            const int64_t mc = std::min(MC, m - i0);
            pack<MR>(p, i0, mc, k0, kc, p_panels.data());
            for (int64_t j = 0; j < n; j += NR) {
                const float * qp = q_panels.data() + j * kc;
                const int64_t nj = std::min<int64_t>(NR, n - j);
                for (int64_t i = 0; i < mc; i += MR) {
                    const float * pp = p_panels.data() + i * kc;
                    const int64_t ni = std::min<int64_t>(MR, mc - i);
                    float * to = c + (i0 + i) * ldc + j;
                    if (ni == MR && nj == NR) {
                        run(kc, pp, qp, to, ldc);
                        continue;
                    }
                    for (int64_t a = 0; a < ni && !first; ++a) {
                        memcpy(edge + a * NR, to + a * ldc, nj * sizeof(float));
                    }
                    run(kc, pp, qp, edge, NR);
                    for (int64_t a = 0; a < ni; ++a) {
                        memcpy(to + a * ldc, edge + a * NR, nj * sizeof(float));
                    }
                }
            }
        }
    }
}

} // namespace yapo::autograd
