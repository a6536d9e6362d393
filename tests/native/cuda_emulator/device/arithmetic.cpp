#include "arithmetic.h"

#include <cstdlib>
#include <limits>

namespace cuda_emulator {
namespace {

template <class T> using wide = std::conditional_t<sizeof(T) == 8, std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>, std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>>;
// Integers wrap around.
template <class T> using wrapping = std::make_unsigned_t<T>;
template <class T> inline constexpr bool integer = std::is_integral_v<T>;

struct add {
    template <class T> T operator()(T a, T b) const {
        if constexpr (integer<T>) return T(wrapping<T>(a) + wrapping<T>(b));
        else return a + b;
    }
};
struct subtract {
    template <class T> T operator()(T a, T b) const {
        if constexpr (integer<T>) return T(wrapping<T>(a) - wrapping<T>(b));
        else return a - b;
    }
};
struct multiply {
    template <class T> T operator()(T a, T b) const {
        if constexpr (integer<T>) return T(uint64_t(a) * uint64_t(b));
        else return a * b;
    }
};
struct multiply_high {
    template <class T> T operator()(T a, T b) const { return T(wide<T>(a) * wide<T>(b) >> 8 * sizeof(T)); }
};
template <class Product> struct with_sum {
    template <class T> T operator()(T a, T b, T c) const { return add()(Product()(a, b), c); }
};
template <class D> struct multiply_wide {
    template <class T> D operator()(T a, T b) const { return D(wide<T>(a) * wide<T>(b)); }
};
template <class D> struct multiply_wide_add {
    template <class T> D operator()(T a, T b, D c) const { return add()(D(wide<T>(a) * wide<T>(b)), c); }
};
struct divide { // by zero: all bits, as NVIDIA's division leaves them
    template <class T> T operator()(T a, T b) const {
        if constexpr (!integer<T>) return a / b;
        else if (b == 0) return T(-1);
        else if (std::is_signed_v<T> && b == T(-1)) return subtract()(T(0), a);
        else return T(a / b);
    }
};
struct remainder_of {
    template <class T> T operator()(T a, T b) const { return b == 0 ? a : std::is_signed_v<T> && b == T(-1) ? T(0) : T(a % b); }
};
struct fused {
    float  operator()(float a, float b, float c) const { return std::fma(a, b, c); }
    double operator()(double a, double b, double c) const { return std::fma(a, b, c); }
};
struct smaller { // of numbers; NaN only where both are
    template <class T> T operator()(T a, T b) const {
        if constexpr (integer<T>) return b < a ? b : a;
        else return std::isnan(a) ? b : std::isnan(b) ? a : a == b ? (std::signbit(a) ? a : b) : b < a ? b : a;
    }
};
struct larger {
    template <class T> T operator()(T a, T b) const {
        if constexpr (integer<T>) return b > a ? b : a;
        else return std::isnan(a) ? b : std::isnan(b) ? a : a == b ? (std::signbit(a) ? b : a) : b > a ? b : a;
    }
};
template <class Which> struct or_nan {
    float operator()(float a, float b) const { return std::isnan(a) || std::isnan(b) ? std::numeric_limits<float>::quiet_NaN() : Which()(a, b); }
};
struct magnitude {
    template <class T> T operator()(T a) const {
        if constexpr (integer<T>) return a < 0 ? subtract()(T(0), a) : a;
        else return std::fabs(a);
    }
};
struct negated {
    template <class T> T operator()(T a) const {
        if constexpr (integer<T>) return subtract()(T(0), a);
        else return -a;
    }
};
struct add_toward_zero {
    float operator()(float a, float b) const { return float(rounded(double(a) + double(b), 23, -126, true)); }
};
struct sign_of { // the magnitude of the second
    float operator()(float a, float b) const { return std::copysign(b, a); }
    double operator()(double a, double b) const { return std::copysign(b, a); }
};
#define CUDA_EMULATOR_FUNCTION(name, expression)                              \
    struct name {                                                             \
        template <class T> T operator()(T x) const { return T(expression); }  \
    };
CUDA_EMULATOR_FUNCTION(reciprocal, 1 / x)
CUDA_EMULATOR_FUNCTION(root, std::sqrt(x))
CUDA_EMULATOR_FUNCTION(reciprocal_root, 1 / std::sqrt(double(x)))
CUDA_EMULATOR_FUNCTION(power_of_two, std::exp2(x))
CUDA_EMULATOR_FUNCTION(logarithm, std::log2(x))
CUDA_EMULATOR_FUNCTION(sine, std::sin(x))
CUDA_EMULATOR_FUNCTION(cosine, std::cos(x))
CUDA_EMULATOR_FUNCTION(hyperbolic_tangent, std::tanh(x))
#undef CUDA_EMULATOR_FUNCTION

template <class T> void select(warp & w, const instruction & i, uint32_t lanes) {
    const T *      a = w.lanes<T>(w(i, 1)), *b = w.lanes<T>(w(i, 2));
    const uint32_t p = w.predicate(w(i, 3));
    T *            d = w.lanes<T>(w(i, 0));
    for_lanes(lanes, [&](uint32_t l) { d[l] = p >> l & 1 ? a[l] : b[l]; });
}

// mul and mad of integers: the low half, the high half, or all of the product.
handler products(bool sum, const std::string & part, const std::string & type) {
    if (part == "lo") return sum ? for_integer<with_sum<multiply>, 3>(type) : for_integer<multiply, 2>(type);
    if (part == "hi") return sum ? for_integer<with_sum<multiply_high>, 3>(type) : for_integer<multiply_high, 2>(type);
    if (part != "wide") return nullptr;
    if (type == "u16") return sum ? map<multiply_wide_add<uint32_t>, uint32_t, uint16_t, uint16_t, uint32_t> : map<multiply_wide<uint32_t>, uint32_t, uint16_t, uint16_t>;
    if (type == "s16") return sum ? map<multiply_wide_add<int32_t>, int32_t, int16_t, int16_t, int32_t> : map<multiply_wide<int32_t>, int32_t, int16_t, int16_t>;
    if (type == "u32") return sum ? map<multiply_wide_add<uint64_t>, uint64_t, uint32_t, uint32_t, uint64_t> : map<multiply_wide<uint64_t>, uint64_t, uint32_t, uint32_t>;
    if (type == "s32") return sum ? map<multiply_wide_add<int64_t>, int64_t, int32_t, int32_t, int64_t> : map<multiply_wide<int64_t>, int64_t, int32_t, int32_t>;
    return nullptr;
}

handler float_function(const std::string & op, const std::string & type, bool ftz) {
    if (op == "fma" || op == "mad") return for_float<fused, 3>(type, ftz);
    if (op == "rcp") return for_float<reciprocal, 1>(type, ftz);
    if (op == "sqrt") return for_float<root, 1>(type, ftz);
    if (op == "rsqrt") return for_float<reciprocal_root, 1>(type, ftz);
    if (op == "ex2") return for_float<power_of_two, 1>(type, ftz);
    if (op == "lg2") return for_float<logarithm, 1>(type, ftz);
    if (op == "sin") return for_float<sine, 1>(type, ftz);
    if (op == "cos") return for_float<cosine, 1>(type, ftz);
    if (op == "tanh") return for_float<hyperbolic_tangent, 1>(type, ftz);
    if (op == "copysign") return type == "f64" ? map<sign_of, double, double, double> : map<sign_of, float, float, float>;
    return nullptr;
}

} // namespace

decoded arithmetic(const std::vector<std::string> & parts) {
    const std::string &op = parts[0], &type = parts.back();
    const auto         has  = [&](const char * modifier) { return std::find(parts.begin() + 1, parts.end(), modifier) != parts.end(); };
    const bool         ftz = has("ftz"), real = type.find('f') != std::string::npos, zero = has("rz");
    if (has("sat") || has("rm") || has("rp") || (zero && !(op == "add" && type == "f32"))) return {};
    handler run = nullptr;
    if (op == "add") run = zero ? for_float<add_toward_zero, 2>(type, ftz) : real ? for_float<add, 2>(type, ftz) : for_integer<add, 2>(type);
    else if (op == "sub") run = real ? for_float<subtract, 2>(type, ftz) : for_integer<subtract, 2>(type);
    else if (op == "mul" && real) run = for_float<multiply, 2>(type, ftz);
    else if ((op == "mul" || op == "mad") && !real) run = products(op == "mad", parts.at(1), type);
    else if (op == "div") run = real ? for_float<divide, 2>(type, ftz) : for_integer<divide, 2>(type);
    else if (op == "rem") run = for_integer<remainder_of, 2>(type);
    else if (op == "min" || op == "max") {
        if (has("NaN")) run = op == "min" ? for_float<or_nan<smaller>, 2>(type, ftz) : for_float<or_nan<larger>, 2>(type, ftz);
        else if (real) run = op == "min" ? for_float<smaller, 2>(type, ftz) : for_float<larger, 2>(type, ftz);
        else run = op == "min" ? for_integer<smaller, 2>(type) : for_integer<larger, 2>(type);
    } else if (op == "abs") run = real ? for_float<magnitude, 1>(type, ftz) : for_integer<magnitude, 1>(type);
    else if (op == "neg") run = real ? for_float<negated, 1>(type, ftz) : for_integer<negated, 1>(type);
    else if (op == "selp") {
        const char last = type.back();
        run = last == '6' ? select<uint16_t> : last == '2' ? select<uint32_t> : select<uint64_t>;
    } else run = float_function(op, type, ftz);
    return {run};
}

} // namespace cuda_emulator
