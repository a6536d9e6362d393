// Bits and predicates: logic, shifts, fields, bytes, and the sums of products of bytes.
#include "arithmetic.h"

namespace cuda_emulator {
namespace {

#define CUDA_EMULATOR_BITS(name, ...)                              \
    struct name {                                                  \
        template <class T> T operator()(__VA_ARGS__) const;        \
    };                                                             \
    template <class T> T name::operator()(__VA_ARGS__) const
CUDA_EMULATOR_BITS(both, T a, T b) { return a & b; }
CUDA_EMULATOR_BITS(either, T a, T b) { return a | b; }
CUDA_EMULATOR_BITS(differing, T a, T b) { return a ^ b; }
CUDA_EMULATOR_BITS(inverted, T a) { return ~a; }
CUDA_EMULATOR_BITS(reversed, T a) {
    T r = 0;
    for (size_t n = 0; n < 8 * sizeof(T); ++n) r = T(r << 1 | (a >> n & 1));
    return r;
}
#undef CUDA_EMULATOR_BITS

template <class T> struct shift_left {
    T operator()(T a, uint32_t n) const { return n < 8 * sizeof(T) ? T(a << n) : T(0); }
};
template <class T> struct shift_right {
    T operator()(T a, uint32_t n) const {
        constexpr uint32_t bits = 8 * sizeof(T);
        return n < bits ? T(a >> n) : std::is_signed_v<T> ? T(a >> (bits - 1)) : T(0);
    }
};
template <bool Left, bool Wrap> struct funnel {
    uint32_t operator()(uint32_t low, uint32_t high, uint32_t n) const {
        const uint64_t x = uint64_t(high) << 32 | low;
        n = Wrap ? n & 31 : std::min(n, 32u);
        return Left ? uint32_t(x << n >> 32) : uint32_t(x >> n);
    }
};
struct ones {
    template <class T> uint32_t operator()(T a) const { return uint32_t(__builtin_popcountll(a)); }
};
struct leading_zeros {
    template <class T> uint32_t operator()(T a) const { return a ? uint32_t(__builtin_clzll(a)) - (64 - 8 * uint32_t(sizeof(T))) : 8 * uint32_t(sizeof(T)); }
};
template <class T> struct extract { // bfe
    T operator()(T a, uint32_t from, uint32_t length) const {
        constexpr uint32_t bits = 8 * sizeof(T);
        from &= 255, length &= 255;
        if (length == 0) return 0;
        const uint32_t last = std::min(from + length - 1, bits - 1);
        const bool     sign = std::is_signed_v<T> && a >> last & 1;
        uint64_t       r    = from < bits ? uint64_t(std::make_unsigned_t<T>(a)) >> from : 0;
        if (length < 64) r &= (uint64_t(1) << length) - 1;
        if (sign && length < 64) r |= ~uint64_t(0) << (from < bits ? std::min(length, bits - from) : 0);
        return T(r);
    }
};
template <class T> struct insert { // bfi
    T operator()(T field, T into, uint32_t from, uint32_t length) const {
        constexpr uint32_t bits = 8 * sizeof(T);
        from &= 255, length &= 255;
        if (length == 0 || from >= bits) return into;
        const T mask = T((length >= bits ? ~T(0) : T((T(1) << length) - 1)) << from);
        return T((into & ~mask) | (T(field << from) & mask));
    }
};
struct mask_of_bits { // bmsk.clamp
    uint32_t operator()(uint32_t from, uint32_t length) const { return from > 31 ? 0 : uint32_t(((uint64_t(1) << std::min(length, 32u)) - 1) << from); }
};
struct permute { // prmt
    uint32_t operator()(uint32_t a, uint32_t b, uint32_t selector) const {
        const uint64_t bytes = uint64_t(b) << 32 | a;
        uint32_t       r     = 0;
        for (int n = 0; n < 4; ++n) {
            const uint32_t s    = selector >> 4 * n & 15;
            const uint8_t  byte = uint8_t(bytes >> 8 * (s & 7));
            r |= uint32_t(s & 8 ? (byte & 0x80 ? 0xff : 0) : byte) << 8 * n;
        }
        return r;
    }
};
template <class A, class B> struct dot_of_four { // dp4a
    int32_t operator()(uint32_t a, uint32_t b, int32_t c) const {
        for (int n = 0; n < 4; ++n) c = int32_t(uint32_t(c) + uint32_t(int32_t(A(a >> 8 * n)) * int32_t(B(b >> 8 * n))));
        return c;
    }
};

void three_way(warp & w, const instruction & i, uint32_t lanes) { // lop3, its table the last operand
    const uint32_t *a = w.lanes<uint32_t>(w(i, 1)), *b = w.lanes<uint32_t>(w(i, 2)), *c = w.lanes<uint32_t>(w(i, 3));
    const uint64_t table = w.get(w(i, 4), 0);
    uint32_t *     d     = w.lanes<uint32_t>(w(i, 0));
    for_lanes(lanes, [&](uint32_t l) {
        uint32_t r = 0;
        for (int n = 0; n < 8; ++n) {
            if (table >> n & 1) r |= (n & 4 ? a[l] : ~a[l]) & (n & 2 ? b[l] : ~b[l]) & (n & 1 ? c[l] : ~c[l]);
        }
        d[l] = r;
    });
}

enum class logic { both, either, differing, inverted, copy };
template <logic L> void predicates(warp & w, const instruction & i, uint32_t lanes) {
    const uint32_t a = w.predicate(w(i, 1)), b = L < logic::inverted ? w.predicate(w(i, 2)) : 0;
    const uint32_t r = L == logic::both ? a & b : L == logic::either ? a | b : L == logic::differing ? a ^ b : L == logic::inverted ? ~a : a;
    uint32_t &     d = w.predicate(w(i, 0));
    d                = (d & ~lanes) | (r & lanes);
}

handler logical(const std::string & op, const std::string & type) {
    const bool pred = type == "pred";
    if (op == "and") return pred ? predicates<logic::both> : for_bits<both, 2>(type);
    if (op == "or") return pred ? predicates<logic::either> : for_bits<either, 2>(type);
    if (op == "xor") return pred ? predicates<logic::differing> : for_bits<differing, 2>(type);
    if (op == "not") return pred ? predicates<logic::inverted> : for_bits<inverted, 1>(type);
    return nullptr;
}

handler shifts(const std::string & op, const std::string & type) {
    if (op == "shl") return type == "b16" ? map<shift_left<uint16_t>, uint16_t, uint16_t, uint32_t> : type == "b32" ? map<shift_left<uint32_t>, uint32_t, uint32_t, uint32_t> : type == "b64" ? map<shift_left<uint64_t>, uint64_t, uint64_t, uint32_t> : nullptr;
    if (op != "shr") return nullptr;
    if (type == "u16" || type == "b16") return map<shift_right<uint16_t>, uint16_t, uint16_t, uint32_t>;
    if (type == "s16") return map<shift_right<int16_t>, int16_t, int16_t, uint32_t>;
    if (type == "u32" || type == "b32") return map<shift_right<uint32_t>, uint32_t, uint32_t, uint32_t>;
    if (type == "s32") return map<shift_right<int32_t>, int32_t, int32_t, uint32_t>;
    if (type == "u64" || type == "b64") return map<shift_right<uint64_t>, uint64_t, uint64_t, uint32_t>;
    return type == "s64" ? map<shift_right<int64_t>, int64_t, int64_t, uint32_t> : nullptr;
}

handler bit_fields(const std::vector<std::string> & parts, const std::string & type) {
    const std::string & op = parts[0];
    if (op == "popc") return type == "b64" ? map<ones, uint32_t, uint64_t> : map<ones, uint32_t, uint32_t>;
    if (op == "clz") return type == "b64" ? map<leading_zeros, uint32_t, uint64_t> : map<leading_zeros, uint32_t, uint32_t>;
    if (op == "brev") return type == "b64" ? map<reversed, uint64_t, uint64_t> : map<reversed, uint32_t, uint32_t>;
    if (op == "bfi") return type == "b64" ? map<insert<uint64_t>, uint64_t, uint64_t, uint64_t, uint32_t, uint32_t> : map<insert<uint32_t>, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t>;
    if (op == "bfe" && type == "u32") return map<extract<uint32_t>, uint32_t, uint32_t, uint32_t, uint32_t>;
    if (op == "bfe" && type == "s32") return map<extract<int32_t>, int32_t, int32_t, uint32_t, uint32_t>;
    if (op == "bfe" && type == "u64") return map<extract<uint64_t>, uint64_t, uint64_t, uint32_t, uint32_t>;
    if (op == "bfe" && type == "s64") return map<extract<int64_t>, int64_t, int64_t, uint32_t, uint32_t>;
    if (op == "bmsk") return map<mask_of_bits, uint32_t, uint32_t, uint32_t>;
    if (op == "prmt" && parts.size() == 2) return map<permute, uint32_t, uint32_t, uint32_t, uint32_t>;
    if (op == "lop3") return three_way;
    if (op == "shf") {
        const bool wrap = parts.at(2) == "wrap";
        if (parts.at(1) == "l") return wrap ? map<funnel<true, true>, uint32_t, uint32_t, uint32_t, uint32_t> : map<funnel<true, false>, uint32_t, uint32_t, uint32_t, uint32_t>;
        return wrap ? map<funnel<false, true>, uint32_t, uint32_t, uint32_t, uint32_t> : map<funnel<false, false>, uint32_t, uint32_t, uint32_t, uint32_t>;
    }
    if (op == "dp4a") {
        const bool a = parts.at(1) == "s32", b = parts.at(2) == "s32";
        if (a) return b ? map<dot_of_four<int8_t, int8_t>, int32_t, uint32_t, uint32_t, int32_t> : map<dot_of_four<int8_t, uint8_t>, int32_t, uint32_t, uint32_t, int32_t>;
        return b ? map<dot_of_four<uint8_t, int8_t>, int32_t, uint32_t, uint32_t, int32_t> : map<dot_of_four<uint8_t, uint8_t>, int32_t, uint32_t, uint32_t, int32_t>;
    }
    return nullptr;
}

} // namespace

decoded bit_operation(const std::vector<std::string> & parts) {
    const std::string &op = parts[0], &type = parts.back();
    if (op == "mov" && type == "pred") return {predicates<logic::copy>};
    handler run = logical(op, type);
    if (!run) run = shifts(op, type);
    return {run ? run : bit_fields(parts, type)};
}

} // namespace cuda_emulator
