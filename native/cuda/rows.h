// Matrices whose rows are F32, F16, BF16 or Q8_0, as ggml lays them out; an entry is read as F32.
#pragma once

#include "team.h"

namespace yapo::cuda {

enum class row_type { f32, f16, bf16, q8_0 };

YAPO_KERNEL float float_of_bits(uint32_t bits) {
    union { uint32_t bits; float value; } x = {bits};
    return x.value;
}

// IEEE binary16; exact.
YAPO_KERNEL float float_of_half(uint16_t bits) {
#ifdef YAPO_DEVICE_CODE
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
#else
    const uint32_t sign = uint32_t(bits & 0x8000u) << 16, exponent = bits >> 10 & 31u, fraction = bits & 1023u;
    if (exponent == 31) {
        return float_of_bits(sign | 0x7f800000u | fraction << 13);
    }
    if (exponent == 0) { // zero and subnormals: fraction * 2^-24
        const float value = float(fraction) * float_of_bits(103u << 23);
        return sign ? -value : value;
    }
    return float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
#endif
}

struct f32_rows {
    const float * data;
    int64_t       width;
    YAPO_KERNEL float at(int64_t row, int64_t i) const { return data[row * width + i]; }
};

struct f16_rows {
    const uint16_t * data;
    int64_t          width;
    YAPO_KERNEL float at(int64_t row, int64_t i) const { return float_of_half(data[row * width + i]); }
};

struct bf16_rows {
    const uint16_t * data;
    int64_t          width;
    YAPO_KERNEL float at(int64_t row, int64_t i) const { return float_of_bits(uint32_t(data[row * width + i]) << 16); }
};

// Blocks of 32 entries: an F16 scale, then 32 signed bytes. width is a multiple of 32.
struct q8_0_rows {
    static constexpr int block = 32, bytes = 34;
    const uint8_t * data;
    int64_t         width;
    YAPO_KERNEL float at(int64_t row, int64_t i) const {
        const uint8_t * b = data + (row * (width / block) + i / block) * bytes;
        return float_of_half(*reinterpret_cast<const uint16_t *>(b)) * float(int8_t(b[2 + i % block]));
    }
};

// f(rows) for the type; data must be aligned to 4 bytes.
template <class F> void with_rows(row_type type, const void * data, int64_t width, F && f) {
    switch (type) {
        case row_type::f32:  f(f32_rows{static_cast<const float *>(data), width}); break;
        case row_type::f16:  f(f16_rows{static_cast<const uint16_t *>(data), width}); break;
        case row_type::bf16: f(bf16_rows{static_cast<const uint16_t *>(data), width}); break;
        case row_type::q8_0: f(q8_0_rows{static_cast<const uint8_t *>(data), width}); break;
    }
}

} // namespace yapo::cuda
