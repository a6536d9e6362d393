// Products of rows in 32 lanes: a fixed order of summation that the compiler can vectorize without reassociating.
#pragma once

#include <cstdint>

namespace yapo::sae {

inline float dot(const float * a, const float * b, int64_t n) {
    constexpr int lanes = 32;
    float acc[lanes] = {};
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        for (int k = 0; k < lanes; ++k) {
            acc[k] += a[i + k] * b[i + k];
        }
    }
    float sum = 0.0f;
    for (; i < n; ++i) {
        sum += a[i] * b[i];
    }
    for (int half = lanes / 2; half > 0; half /= 2) {
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

} // namespace yapo::sae
