// The number formats of a GPU that C++ lacks, and its rounding.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace cuda_emulator {

template <class To, class From> To bits_as(From x) {
    static_assert(sizeof(To) == sizeof(From));
    To y;
    memcpy(&y, &x, sizeof y);
    return y;
}

// Subnormals become zero of the same sign: the modifier .ftz.
inline float flush(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }

// `x` to `mantissa` bits behind the leading one, the nearest and of two the even one, or toward zero; `lowest` is the exponent of the
// smallest normal number, below which bits are lost.
inline double rounded(double x, int mantissa, int lowest, bool toward_zero = false) {
    if (x == 0 || !std::isfinite(x)) return x;
    const int    unit   = std::max(std::ilogb(x), lowest) - mantissa;
    const double scaled = std::ldexp(x, -unit);
    return std::ldexp(toward_zero ? std::trunc(scaled) : std::nearbyint(scaled), unit);
}

struct f16 {
    uint16_t bits;
};
struct bf16 {
    uint16_t bits;
};

inline float to_float(f16 h) {
    const uint32_t sign = uint32_t(h.bits & 0x8000) << 16, exponent = h.bits >> 10 & 31, mantissa = h.bits & 1023;
    if (exponent == 31) return bits_as<float>(sign | 0x7f800000 | mantissa << 13);
    if (exponent == 0) return bits_as<float>(sign | bits_as<uint32_t>(float(mantissa) * 0x1p-24f));
    return bits_as<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}
inline float to_float(bf16 h) { return bits_as<float>(uint32_t(h.bits) << 16); }
inline float to_float(float x) { return x; }

inline f16 to_f16(double x, bool toward_zero = false) {
    const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
    if (std::isnan(x)) return {0x7fff};
    const double y = std::fabs(rounded(x, 10, -14, toward_zero));
    if (y >= 65536.0) return {uint16_t(sign | (toward_zero && std::isfinite(x) ? 0x7bff : 0x7c00))};
    if (y < 0x1p-14) return {uint16_t(sign | uint16_t(y * 0x1p24))};
    const int exponent = std::ilogb(y);
    return {uint16_t(sign | (exponent + 15) << 10 | (uint16_t(std::ldexp(y, 10 - exponent)) & 1023))};
}
inline bf16 to_bf16(float x, bool toward_zero = false) {
    const uint32_t u = bits_as<uint32_t>(x);
    if (std::isnan(x)) return {0x7fff};
    return {uint16_t((toward_zero ? u : u + 0x7fff + (u >> 16 & 1)) >> 16)};
}

// What the tensor cores take of an F32 number: its low 13 bits are not looked at.
inline float as_tf32(float x) { return bits_as<float>(bits_as<uint32_t>(x) & 0xffffe000u); }

} // namespace cuda_emulator
