// mov, cvt, cvta and the comparisons: what looks at a number without computing with it.
#include "arithmetic.h"

#include <limits>

namespace cuda_emulator {
namespace {

template <class T> struct same {
    T operator()(T a) const { return a; }
};

// {a, b} into one register or one register into {a, b}: the widths of the operands say which.
void pack(warp & w, const instruction & i, uint32_t lanes) {
    uint32_t bytes = 0;
    for (uint32_t n = i.count; n < uint32_t(i.count + i.size); ++n) bytes += w(i, n).width;
    const uint32_t each = 8 * bytes / i.count; // bits; "_" has no width of its own
    for_lanes(lanes, [&](uint32_t l) {
        uint64_t whole = 0;
        for (uint32_t n = i.count, at = 0; n < uint32_t(i.count + i.size); ++n) {
            whole |= w.get(w(i, n), l) << at;
            at += 8u * w(i, n).width;
        }
        for (uint32_t n = 0; n < i.count; ++n) {
            w.set(w(i, n), l, whole);
            whole = each < 64 ? whole >> each : 0;
        }
    });
}

enum class number { u8, s8, u16, s16, u32, s32, u64, s64, f16, bf16, f32, f64, none };

number number_of(const std::string & type) {
    static const char * const names[] = {"u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64", "f16", "bf16", "f32", "f64"};
    for (int n = 0; n < 12; ++n) {
        if (type == names[n]) return number(n);
    }
    return number::none;
}

enum class rounding { none, nearest, zero, down, up };

double to_integer(double x, rounding r) {
    return r == rounding::nearest ? std::nearbyint(x) : r == rounding::down ? std::floor(x) : r == rounding::up ? std::ceil(x) : std::trunc(x);
}

// Out of range: the nearest number there is; NaN: 0.
template <class D> D clamped(double x) {
    if (std::isnan(x)) return 0;
    if (x <= double(std::numeric_limits<D>::lowest())) return std::numeric_limits<D>::lowest();
    if (x >= double(std::numeric_limits<D>::max())) return std::numeric_limits<D>::max();
    return D(x);
}

template <class T> inline constexpr bool integer = std::is_integral_v<T>;

template <class D, class S> D convert(S s, rounding r, bool integral, bool ftz, bool saturate) {
    if constexpr (integer<D> && integer<S>) {
        if (!saturate) return D(s);
        const __int128 x = s;
        return D(std::clamp(x, __int128(std::numeric_limits<D>::lowest()), __int128(std::numeric_limits<D>::max())));
    } else if constexpr (integer<D>) {
        double x;
        if constexpr (std::is_same_v<S, double>) x = s;
        else x = ftz ? flush(to_float(s)) : to_float(s);
        return clamped<D>(to_integer(x, r));
    } else {
        double x;
        if constexpr (integer<S>) {
            if constexpr (std::is_same_v<D, float>) return r == rounding::zero ? float(rounded(double(s), 23, -126, true)) : float(s); // one rounding
            x = double(s);
        } else if constexpr (std::is_same_v<S, double>) {
            x = s;
        } else {
            x = ftz ? flush(to_float(s)) : to_float(s);
        }
        if (integral) x = to_integer(x, r);
        if (saturate) x = std::isnan(x) ? 0 : std::clamp(x, 0.0, 1.0);
        const bool zero = r == rounding::zero && !integral;
        if constexpr (std::is_same_v<D, double>) return x;
        else if constexpr (std::is_same_v<D, float>) return ftz ? flush(float(zero ? rounded(x, 23, -126, true) : x)) : float(zero ? rounded(x, 23, -126, true) : x);
        else if constexpr (std::is_same_v<D, f16>) return to_f16(x, zero);
        else return to_bf16(float(x), zero);
    }
}

// How: rounding | 8 for .ftz | 16 for .sat | 32 for an integral result, in instruction::count. Registers may be wider than the numbers.
template <class D, class S> void convert_lanes(warp & w, const instruction & i, uint32_t lanes) {
    const operand &from = w(i, 1), &to = w(i, 0);
    const rounding r = rounding(i.count & 7);
    for_lanes(lanes, [&](uint32_t l) {
        S s;
        memcpy(&s, w.registers.data() + from.at + size_t(l) * from.width, sizeof s);
        const D d = convert<D, S>(s, r, i.count & 32, i.count & 8, i.count & 16);
        if constexpr (integer<D>) {
            w.set(to, l, uint64_t(std::is_signed_v<D> ? uint64_t(int64_t(d)) : uint64_t(d)));
        } else {
            uint64_t bits = 0;
            memcpy(&bits, &d, sizeof d);
            w.set(to, l, bits);
        }
    });
}

template <class D> handler convert_from(number s) {
    switch (s) {
        case number::u8: return convert_lanes<D, uint8_t>;
        case number::s8: return convert_lanes<D, int8_t>;
        case number::u16: return convert_lanes<D, uint16_t>;
        case number::s16: return convert_lanes<D, int16_t>;
        case number::u32: return convert_lanes<D, uint32_t>;
        case number::s32: return convert_lanes<D, int32_t>;
        case number::u64: return convert_lanes<D, uint64_t>;
        case number::s64: return convert_lanes<D, int64_t>;
        case number::f16: return convert_lanes<D, f16>;
        case number::bf16: return convert_lanes<D, bf16>;
        case number::f32: return convert_lanes<D, float>;
        case number::f64: return convert_lanes<D, double>;
        default: return nullptr;
    }
}

handler convert_to(number d, number s) {
    switch (d) {
        case number::u8: return convert_from<uint8_t>(s);
        case number::s8: return convert_from<int8_t>(s);
        case number::u16: return convert_from<uint16_t>(s);
        case number::s16: return convert_from<int16_t>(s);
        case number::u32: return convert_from<uint32_t>(s);
        case number::s32: return convert_from<int32_t>(s);
        case number::u64: return convert_from<uint64_t>(s);
        case number::s64: return convert_from<int64_t>(s);
        case number::f16: return convert_from<f16>(s);
        case number::bf16: return convert_from<bf16>(s);
        case number::f32: return convert_from<float>(s);
        case number::f64: return convert_from<double>(s);
        default: return nullptr;
    }
}

// Two F32 numbers into one register, the first in the upper half.
template <class H> void convert_pair(warp & w, const instruction & i, uint32_t lanes) {
    const float *high = w.lanes<float>(w(i, 1)), *low = w.lanes<float>(w(i, 2));
    uint32_t *   d    = w.lanes<uint32_t>(w(i, 0));
    for_lanes(lanes, [&](uint32_t l) { d[l] = uint32_t(narrowed<H>(high[l]).bits) << 16 | narrowed<H>(low[l]).bits; });
}

// Addresses: of a state space to the generic one, which is the host's, and back.
template <bool ToGeneric> void convert_address(warp & w, const instruction & i, uint32_t lanes) {
    const size_t local = w.local.size() / warp_size;
    for_lanes(lanes, [&](uint32_t l) {
        const uint64_t base = i.where == space::shared ? uint64_t(w.of.shared.data()) : i.where == space::local ? uint64_t(w.local.data() + l * local) : i.where == space::param ? uint64_t(w.of.parameters) : 0;
        const uint64_t from = w.get(w(i, 1), l);
        w.set(w(i, 0), l, ToGeneric ? from + base : from - base);
    });
}

enum class order { eq, ne, lt, le, gt, ge, equ, neu, ltu, leu, gtu, geu, num, nan, none };

template <order O, class T> bool holds(T a, T b) {
    bool unordered = false;
    if constexpr (!integer<T>) unordered = std::isnan(a) || std::isnan(b);
    if (O == order::num) return !unordered;
    if (O == order::nan) return unordered;
    if (unordered) return O >= order::equ;
    constexpr order plain = O >= order::equ ? order(int(O) - int(order::equ)) : O;
    return plain == order::eq ? a == b : plain == order::ne ? a != b : plain == order::lt ? a < b : plain == order::le ? a <= b : plain == order::gt ? a > b : a >= b;
}

// setp: d[|inverse] = a ? b, joined with a third predicate where instruction::count names how (1 and, 2 or, 3 xor); size is 2 with an inverse.
template <order O, class T, bool Flush> void compare(warp & w, const instruction & i, uint32_t lanes) {
    const uint32_t results = i.size;
    const T *      a = w.lanes<T>(w(i, results)), *b = w.lanes<T>(w(i, results + 1));
    uint32_t       r = 0;
    for_lanes(lanes, [&](uint32_t l) {
        bool is;
        if constexpr (is_half<T>) is = holds<O, float>(to_float(a[l]), to_float(b[l]));
        else if constexpr (Flush) is = holds<O, float>(flush(a[l]), flush(b[l]));
        else is = holds<O, T>(a[l], b[l]);
        r |= uint32_t(is) << l;
    });
    const uint32_t other = i.count ? w.predicate(w(i, results + 2)) : 0;
    const auto     store = [&](uint32_t n, uint32_t value) {
        if (w(i, n).at == no_register) return;
        value        = i.count == 1 ? value & other : i.count == 2 ? value | other : i.count == 3 ? value ^ other : value;
        uint32_t & d = w.predicate(w(i, n));
        d            = (d & ~lanes) | (value & lanes);
    };
    store(0, r);
    if (results == 2) store(1, ~r);
}

template <order O> handler compare_as(const std::string & type, bool ftz) {
    if (type == "f32") return ftz ? compare<O, float, true> : compare<O, float, false>;
    if (type == "f64") return compare<O, double, false>;
    if (type == "f16") return compare<O, f16, false>;
    if (type == "bf16") return compare<O, bf16, false>;
    if (type == "b16" || type == "u16") return compare<O, uint16_t, false>;
    if (type == "s16") return compare<O, int16_t, false>;
    if (type == "b32" || type == "u32") return compare<O, uint32_t, false>;
    if (type == "s32") return compare<O, int32_t, false>;
    if (type == "b64" || type == "u64") return compare<O, uint64_t, false>;
    if (type == "s64") return compare<O, int64_t, false>;
    return nullptr;
}

handler comparison(const std::string & name, const std::string & type, bool ftz) {
    if (name == "eq") return compare_as<order::eq>(type, ftz);
    if (name == "ne") return compare_as<order::ne>(type, ftz);
    if (name == "lt" || name == "lo") return compare_as<order::lt>(type, ftz);
    if (name == "le" || name == "ls") return compare_as<order::le>(type, ftz);
    if (name == "gt" || name == "hi") return compare_as<order::gt>(type, ftz);
    if (name == "ge" || name == "hs") return compare_as<order::ge>(type, ftz);
    if (name == "equ") return compare_as<order::equ>(type, ftz);
    if (name == "neu") return compare_as<order::neu>(type, ftz);
    if (name == "ltu") return compare_as<order::ltu>(type, ftz);
    if (name == "leu") return compare_as<order::leu>(type, ftz);
    if (name == "gtu") return compare_as<order::gtu>(type, ftz);
    if (name == "geu") return compare_as<order::geu>(type, ftz);
    if (name == "num") return compare_as<order::num>(type, ftz);
    if (name == "nan") return compare_as<order::nan>(type, ftz);
    return nullptr;
}

} // namespace

decoded conversion(const std::vector<std::string> & parts, instruction & i, size_t results, size_t sources) {
    const std::string &op = parts[0], &type = parts.back();
    const auto         has = [&](const char * modifier) { return std::find(parts.begin() + 1, parts.end(), modifier) != parts.end(); };
    if (op == "mov" && type != "pred") {
        i.count = uint8_t(results), i.size = uint8_t(sources);
        if (results != 1 || sources != 1) return {pack};
        return {type.find("16") != std::string::npos ? map<same<uint16_t>, uint16_t, uint16_t> : type.find("32") != std::string::npos ? map<same<uint32_t>, uint32_t, uint32_t> : map<same<uint64_t>, uint64_t, uint64_t>};
    }
    if (op == "cvta") {
        const bool to = parts.at(1) == "to"; // to a space, from the generic one
        const std::string & name = parts.at(to ? 2 : 1);
        i.where = name == "shared" ? space::shared : name == "local" ? space::local : name == "param" ? space::param : space::global;
        return {to ? convert_address<false> : convert_address<true>};
    }
    if (op == "cvt" && parts.size() >= 3) {
        if (type == "f32" && parts[parts.size() - 2] == "f16x2" && has("rn")) return {convert_pair<f16>};
        if (type == "f32" && parts[parts.size() - 2] == "bf16x2" && has("rn")) return {convert_pair<bf16>};
        const bool     integral = has("rni") || has("rzi") || has("rmi") || has("rpi");
        const rounding r        = has("rn") || has("rni") ? rounding::nearest : has("rz") || has("rzi") ? rounding::zero : has("rmi") ? rounding::down : has("rpi") ? rounding::up : rounding::none;
        if (has("rm") || has("rp") || has("relu")) return {};
        i.count = uint8_t(int(r) | has("ftz") * 8 | has("sat") * 16 | integral * 32);
        return {convert_to(number_of(parts[parts.size() - 2]), number_of(type))};
    }
    if (op == "setp") {
        i.count = has("and") ? 1 : has("or") ? 2 : has("xor") ? 3 : 0;
        i.size  = uint8_t(results);
        return {comparison(parts.at(1), type, has("ftz"))};
    }
    return {};
}

} // namespace cuda_emulator
