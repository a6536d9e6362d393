// What an instruction computes of the numbers of one lane, turned into a handler for a warp.
#pragma once

#include "machine.h"
#include "numbers.h"

#include <tuple>
#include <type_traits>
#include <utility>

namespace cuda_emulator {

// d[lane] = op(a[lane], b[lane], ...)
template <class Op, class D, class... S> void map(warp & w, const instruction & i, uint32_t lanes) {
    D * d = w.lanes<D>(w(i, 0));
    [&]<size_t... N>(std::index_sequence<N...>) {
        const std::tuple<const S *...> s = {w.lanes<S>(w(i, uint32_t(N) + 1))...};
        for_lanes(lanes, [&](uint32_t l) { d[l] = Op()(std::get<N>(s)[l]...); });
    }(std::index_sequence_for<S...>());
}

template <class T> inline constexpr bool is_half = std::is_same_v<T, f16> || std::is_same_v<T, bf16>;

template <class T> T narrowed(float x) {
    if constexpr (std::is_same_v<T, f16>) {
        return to_f16(x);
    } else if constexpr (std::is_same_v<T, bf16>) {
        return to_bf16(x);
    } else {
        return x;
    }
}

// Op on two numbers in one register.
template <class Op, class H> struct paired {
    template <class... S> uint32_t operator()(S... s) const {
        const H low = Op()(H{uint16_t(s)}...), high = Op()(H{uint16_t(s >> 16)}...);
        return low.bits | uint32_t(high.bits) << 16;
    }
};

// Op, defined on float, on halves; and on float with subnormals flushed.
template <class Op> struct on_halves {
    template <class H, class... R> H operator()(H a, R... r) const { return narrowed<H>(Op()(to_float(a), to_float(r)...)); }
};
template <class Op> struct flushed {
    template <class... S> float operator()(S... s) const { return flush(Op()(flush(s)...)); }
};

template <class Op, int Inputs, class T> constexpr handler handler_of() {
    if constexpr (Inputs == 1) return map<Op, T, T>;
    else if constexpr (Inputs == 2) return map<Op, T, T, T>;
    else return map<Op, T, T, T, T>;
}

// Op for the type named last in the mnemonic; ftz for .f32.
template <class Op, int Inputs> handler for_float(const std::string & type, bool ftz) {
    if (type == "f32") return ftz ? handler_of<flushed<Op>, Inputs, float>() : handler_of<Op, Inputs, float>();
    if (type == "f64") return handler_of<Op, Inputs, double>();
    if (type == "f16") return handler_of<on_halves<Op>, Inputs, f16>();
    if (type == "bf16") return handler_of<on_halves<Op>, Inputs, bf16>();
    if (type == "f16x2") return handler_of<paired<on_halves<Op>, f16>, Inputs, uint32_t>();
    if (type == "bf16x2") return handler_of<paired<on_halves<Op>, bf16>, Inputs, uint32_t>();
    return nullptr;
}
template <class Op, int Inputs> handler for_integer(const std::string & type) {
    if (type == "u16") return handler_of<Op, Inputs, uint16_t>();
    if (type == "s16") return handler_of<Op, Inputs, int16_t>();
    if (type == "u32") return handler_of<Op, Inputs, uint32_t>();
    if (type == "s32") return handler_of<Op, Inputs, int32_t>();
    if (type == "u64") return handler_of<Op, Inputs, uint64_t>();
    if (type == "s64") return handler_of<Op, Inputs, int64_t>();
    return nullptr;
}
template <class Op, int Inputs> handler for_bits(const std::string & type) {
    if (type == "b16") return handler_of<Op, Inputs, uint16_t>();
    if (type == "b32") return handler_of<Op, Inputs, uint32_t>();
    if (type == "b64") return handler_of<Op, Inputs, uint64_t>();
    return for_integer<Op, Inputs>(type);
}

} // namespace cuda_emulator
