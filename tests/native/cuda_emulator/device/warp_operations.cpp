// What the lanes of a warp compute together: shuffles, votes, and the products of small matrices that lie spread over their registers.
#include "arithmetic.h"

namespace cuda_emulator {
namespace {

enum class shuffle_mode { up, down, butterfly, index };

// d[|valid] = a of another lane; b says which, c clamps within segments.
template <shuffle_mode M> void shuffle(warp & w, const instruction & i, uint32_t lanes) {
    const uint32_t   results = i.size;
    const uint32_t * a = w.lanes<uint32_t>(w(i, results)), *b = w.lanes<uint32_t>(w(i, results + 1)), *c = w.lanes<uint32_t>(w(i, results + 2));
    uint32_t         moved[warp_size], valid = 0;
    for_lanes(lanes, [&](uint32_t l) {
        const uint32_t segment = c[l] >> 8 & 31, clamp = c[l] & 31, by = b[l] & 31;
        const uint32_t top = (l & segment) | (clamp & ~segment), bottom = l & segment;
        int32_t        from;
        bool           in;
        switch (M) {
            case shuffle_mode::up: from = int32_t(l) - int32_t(by), in = from >= int32_t(top); break;
            case shuffle_mode::down: from = int32_t(l + by), in = from <= int32_t(top); break;
            case shuffle_mode::butterfly: from = int32_t(l ^ by), in = from <= int32_t(top); break;
            default: from = int32_t(bottom | (by & ~segment)), in = from <= int32_t(top);
        }
        if (in && !(lanes >> from & 1)) w.fault(i, l, "reads lane " + std::to_string(from) + ", which takes no part");
        moved[l] = a[in ? uint32_t(from) : l];
        valid |= uint32_t(in) << l;
    });
    if (w(i, 0).at != no_register) {
        uint32_t * d = w.lanes<uint32_t>(w(i, 0));
        for_lanes(lanes, [&](uint32_t l) { d[l] = moved[l]; });
    }
    if (results == 2 && w(i, 1).at != no_register) {
        uint32_t & p = w.predicate(w(i, 1));
        p            = (p & ~lanes) | (valid & lanes);
    }
}

enum class vote { all, any, uniform, ballot };

template <vote V> void votes(warp & w, const instruction & i, uint32_t lanes) {
    const uint32_t yes = w.predicate(w(i, 1)) & lanes;
    if (V == vote::ballot) {
        uint32_t * d = w.lanes<uint32_t>(w(i, 0));
        for_lanes(lanes, [&](uint32_t l) { d[l] = yes; });
        return;
    }
    const bool r = V == vote::all ? yes == lanes : V == vote::any ? yes != 0 : yes == lanes || yes == 0;
    uint32_t & d = w.predicate(w(i, 0));
    d            = (d & ~lanes) | (r ? lanes : 0);
}

template <class T, int How> void reduce(warp & w, const instruction & i, uint32_t lanes) { // 0 add, 1 min, 2 max, 3 and, 4 or, 5 xor
    const T * a     = w.lanes<T>(w(i, 1));
    bool      first = true;
    T         r     = 0;
    for_lanes(lanes, [&](uint32_t l) {
        const T x = a[l];
        r     = first ? x : How == 0 ? T(uint32_t(r) + uint32_t(x)) : How == 1 ? std::min(r, x) : How == 2 ? std::max(r, x) : How == 3 ? T(r & x) : How == 4 ? T(r | x) : T(r ^ x);
        first = false;
    });
    T * d = w.lanes<T>(w(i, 0));
    for_lanes(lanes, [&](uint32_t l) { d[l] = r; });
}

void equal_lanes(warp & w, const instruction & i, uint32_t lanes) { // match.any
    const uint32_t * a = w.lanes<uint32_t>(w(i, 1));
    uint32_t         found[warp_size];
    for_lanes(lanes, [&](uint32_t l) {
        found[l] = 0;
        for_lanes(lanes, [&](uint32_t other) { found[l] |= uint32_t(a[other] == a[l]) << other; });
    });
    uint32_t * d = w.lanes<uint32_t>(w(i, 0));
    for_lanes(lanes, [&](uint32_t l) { d[l] = found[l]; });
}

void active_lanes(warp & w, const instruction & i, uint32_t lanes) {
    uint32_t * d = w.lanes<uint32_t>(w(i, 0));
    for_lanes(lanes, [&](uint32_t l) { d[l] = lanes; });
}

void met(warp &, const instruction &, uint32_t) {} // bar.warp.sync

// 8 x 8 matrices of 16-bit numbers: lane l of a fragment holds row l / 4, columns 2 (l % 4) and the next.
using matrix = uint16_t[8][8];

void spread(warp & w, const operand & to, const matrix & m, bool transposed) {
    uint32_t * d = w.lanes<uint32_t>(to);
    for (uint32_t l = 0; l < warp_size; ++l) {
        const uint32_t row = l / 4, column = l % 4 * 2;
        d[l] = transposed ? m[column][row] | uint32_t(m[column + 1][row]) << 16 : m[row][column] | uint32_t(m[row][column + 1]) << 16;
    }
}

// The rows of matrix n lie at the addresses that lanes 8 n to 8 n + 7 hold.
template <bool Transposed> void load_matrices(warp & w, const instruction & i, uint32_t) {
    for (uint32_t n = 0; n < i.count; ++n) {
        matrix m;
        for (uint32_t row = 0; row < 8; ++row) {
            const uint32_t lane = 8 * n + row;
            memcpy(m[row], locate(w, i, lane, i.where, w.get(w(i, i.count), lane) + uint64_t(i.offset), 16), 16);
        }
        spread(w, w(i, n), m, Transposed);
    }
}

void transpose_matrix(warp & w, const instruction & i, uint32_t) {
    const uint32_t * a = w.lanes<uint32_t>(w(i, 1));
    matrix           m;
    for (uint32_t l = 0; l < warp_size; ++l) {
        m[l / 4][l % 4 * 2]     = uint16_t(a[l]);
        m[l / 4][l % 4 * 2 + 1] = uint16_t(a[l] >> 16);
    }
    spread(w, w(i, 0), m, true);
}

struct s8 {
    int8_t x;
};
struct tf32 {
    float x;
};
inline float value(f16 x) { return to_float(x); }
inline float value(bf16 x) { return to_float(x); }
inline float value(tf32 x) { return as_tf32(x.x); }
inline int32_t value(s8 x) { return x.x; }

// D = A B + C for a 16 x K matrix A, K x 8 B. Numbers of type E lie 4 / sizeof(E) to a register. A register r of A holds row l / 4 + 8 (r % 2),
// one of B column l / 4; its first column, or row, is l % 4 registers' worth into block r / 2, or r. C and D: rows l / 4 and 8 below,
// columns 2 (l % 4) and the next.
template <class E, class Sum, int K, bool Half> void multiply_matrices(warp & w, const instruction & i, uint32_t) {
    constexpr int each = 4 / int(sizeof(E)), block = 4 * each, a_registers = 2 * K / block, b_registers = K / block, c_registers = Half ? 2 : 4;
    Sum a[16][K], b[K][8], c[16][8];
    const auto numbers = [&](uint32_t reg, uint32_t l, E * to) {
        const uint32_t x = w.lanes<uint32_t>(w(i, reg))[l];
        memcpy(to, &x, 4);
    };
    const auto c_at = [&](uint32_t reg, uint32_t l) { return w.lanes<uint32_t>(w(i, reg)) + l; };
    constexpr uint32_t first_a = c_registers, first_b = first_a + a_registers, first_c = first_b + b_registers;
    for (uint32_t l = 0; l < warp_size; ++l) {
        E e[each];
        for (int r = 0; r < a_registers; ++r) {
            numbers(first_a + uint32_t(r), l, e);
            for (int n = 0; n < each; ++n) a[l / 4 + 8 * (r % 2)][int(l % 4) * each + block * (r / 2) + n] = value(e[n]);
        }
        for (int r = 0; r < b_registers; ++r) {
            numbers(first_b + uint32_t(r), l, e);
            for (int n = 0; n < each; ++n) b[int(l % 4) * each + block * r + n][l / 4] = value(e[n]);
        }
        for (int r = 0; r < c_registers; ++r) {
            const uint32_t bits = *c_at(first_c + uint32_t(r), l);
            if (Half) {
                for (int n = 0; n < 2; ++n) c[l / 4 + 8 * uint32_t(r)][l % 4 * 2 + uint32_t(n)] = Sum(to_float(f16{uint16_t(bits >> 16 * n)}));
            } else {
                c[l / 4 + 8 * uint32_t(r / 2)][l % 4 * 2 + uint32_t(r % 2)] = bits_as<Sum>(bits);
            }
        }
    }
    Sum d[16][8];
    for (int row = 0; row < 16; ++row) {
        for (int column = 0; column < 8; ++column) {
            Sum sum = 0;
            for (int k = 0; k < K; ++k) sum += a[row][k] * b[k][column];
            d[row][column] = c[row][column] + sum;
        }
    }
    for (uint32_t l = 0; l < warp_size; ++l) {
        for (int r = 0; r < c_registers; ++r) {
            uint32_t bits;
            if (Half) {
                const Sum * pair = &d[l / 4 + 8 * uint32_t(r)][l % 4 * 2];
                bits             = to_f16(double(pair[0])).bits | uint32_t(to_f16(double(pair[1])).bits) << 16;
            } else {
                bits = bits_as<uint32_t>(d[l / 4 + 8 * uint32_t(r / 2)][l % 4 * 2 + uint32_t(r % 2)]);
            }
            *c_at(uint32_t(r), l) = bits;
        }
    }
}

handler matrix_product(const std::vector<std::string> & parts) {
    std::string kind;
    for (size_t n = 3; n < parts.size(); ++n) kind += parts[n] + '.';
    if (kind == "m16n8k16.row.col.f32.f16.f16.f32.") return multiply_matrices<f16, float, 16, false>;
    if (kind == "m16n8k8.row.col.f32.f16.f16.f32.") return multiply_matrices<f16, float, 8, false>;
    if (kind == "m16n8k16.row.col.f16.f16.f16.f16.") return multiply_matrices<f16, float, 16, true>;
    if (kind == "m16n8k8.row.col.f16.f16.f16.f16.") return multiply_matrices<f16, float, 8, true>;
    if (kind == "m16n8k16.row.col.f32.bf16.bf16.f32.") return multiply_matrices<bf16, float, 16, false>;
    if (kind == "m16n8k8.row.col.f32.tf32.tf32.f32.") return multiply_matrices<tf32, float, 8, false>;
    if (kind == "m16n8k4.row.col.f32.tf32.tf32.f32.") return multiply_matrices<tf32, float, 4, false>;
    if (kind == "m16n8k16.row.col.s32.s8.s8.s32.") return multiply_matrices<s8, int32_t, 16, false>;
    if (kind == "m16n8k32.row.col.s32.s8.s8.s32.") return multiply_matrices<s8, int32_t, 32, false>;
    return nullptr;
}

template <class T> handler reduction(const std::string & op) {
    return op == "add" ? reduce<T, 0> : op == "min" ? reduce<T, 1> : op == "max" ? reduce<T, 2> : op == "and" ? reduce<T, 3> : op == "or" ? reduce<T, 4> : op == "xor" ? reduce<T, 5> : nullptr;
}

} // namespace

decoded warp_operation(const std::vector<std::string> & parts, instruction & i, size_t results, size_t operands) {
    const std::string & op  = parts[0];
    const auto          has = [&](const char * modifier) { return std::find(parts.begin() + 1, parts.end(), modifier) != parts.end(); };
    if (op == "activemask") return {active_lanes};
    if (!has("sync")) return {};
    if (op == "shfl") {
        i.size = uint8_t(results);
        return {has("up") ? shuffle<shuffle_mode::up> : has("down") ? shuffle<shuffle_mode::down> : has("bfly") ? shuffle<shuffle_mode::butterfly> : has("idx") ? shuffle<shuffle_mode::index> : nullptr, flow::meet};
    }
    if (op == "vote") return {has("all") ? votes<vote::all> : has("any") ? votes<vote::any> : has("uni") ? votes<vote::uniform> : has("ballot") ? votes<vote::ballot> : nullptr, flow::meet};
    if (op == "redux") return {parts.back() == "s32" ? reduction<int32_t>(parts.at(2)) : reduction<uint32_t>(parts.at(2)), flow::meet};
    if (op == "match" && has("any") && parts.back() == "b32") return {equal_lanes, flow::meet};
    if (op == "bar" && parts.at(1) == "warp") return {met, flow::meet};
    if (op == "ldmatrix" && has("m8n8") && has("b16")) {
        i.count = uint8_t(operands - 1);
        i.where = has("shared") || has("shared::cta") ? space::shared : space::generic;
        return {has("trans") ? load_matrices<true> : load_matrices<false>, flow::meet};
    }
    if (op == "movmatrix") return {transpose_matrix, flow::meet};
    if (op == "mma") return {matrix_product(parts), flow::meet};
    return {};
}

} // namespace cuda_emulator
