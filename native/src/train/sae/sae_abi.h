// Argument checks that the exports of yapo_train.h for SAEs share.
#pragma once

#include "sae.h"
#include "train/autograd/vector_math.h"

#include <cmath>

namespace yapo::sae {

inline long long ll(int64_t x) { return static_cast<long long>(x); }

// One row scaled to length 1; a zero row stays.
inline void unit(float * row, int64_t d) {
    const float length = std::sqrt(autograd::dot(row, row, d));
    if (length > 0) {
        for (int64_t i = 0; i < d; ++i) {
            row[i] /= length;
        }
    }
}

template <typename T>
T & require(T * p, const char * name) {
    if (!p) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "%s is NULL", name);
    }
    return *p;
}

} // namespace yapo::sae
