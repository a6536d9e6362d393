// exp and tanh as straight-line code, so that loops over them vectorize (libm's do not, and differ between machines), and
// sums of products in a fixed order.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace yapo::autograd {

// e^x for x <= 88; relative error below 2e-7; e^-87 below -87.
inline float fast_exp(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    const float shifted = x * 1.44269504f + 12582912.0f; // 1.5 * 2^23: the integer part lands in the low mantissa bits
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    const float n = shifted - 12582912.0f;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f; // Cody-Waite
    float p = 1.9875691500e-4f;                                  // Cephes expf
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const uint32_t exponent = (static_cast<uint32_t>(bits) + 127u) << 23; // the low bits of `shifted` are n
    float scale;
    memcpy(&scale, &exponent, sizeof scale);
    return p * scale;
}

// tanh x; relative error below 3e-7.
inline float fast_tanh(float x) {
    const float a = std::fabs(x);
    const float big = 1.0f - 2.0f / (fast_exp(2.0f * (a > 20.0f ? 20.0f : a)) + 1.0f);
    const float z = x * x;
    float p = -5.70498872745e-3f; // Cephes tanhf, |x| < 0.625
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    const float small = x + x * z * p;
    return a < 0.625f ? small : (x < 0.0f ? -big : big);
}

// Sums in 16 lanes: a fixed order that the compiler may vectorize without being allowed to reassociate.
constexpr int lanes = 16;

template <typename F>
inline double lane_sum(int64_t n, F && term) {
    float acc[lanes] = {};
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        for (int k = 0; k < lanes; ++k) {
            acc[k] += term(i + k);
        }
    }
    double sum = 0.0;
    for (; i < n; ++i) {
        sum += term(i);
    }
    for (int k = 0; k < lanes; ++k) {
        sum += acc[k];
    }
    return sum;
}

// a . b in 32 lanes.
inline float dot(const float * a, const float * b, int64_t n) {
    constexpr int wide = 32;
    float acc[wide] = {};
    int64_t i = 0;
    for (; i + wide <= n; i += wide) {
        for (int k = 0; k < wide; ++k) {
            acc[k] += a[i + k] * b[i + k];
        }
    }
    float sum = 0.0f;
    for (; i < n; ++i) {
        sum += a[i] * b[i];
    }
    for (int half = wide / 2; half > 0; half /= 2) {
        for (int k = 0; k < half; ++k) {
            acc[k] += acc[k + half];
        }
    }
    return sum + acc[0];
}

// y += a x
inline void axpy(float * y, float a, const float * x, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        y[i] += a * x[i];
    }
}

} // namespace yapo::autograd
