// Loads, stores, atomic operations and asynchronous copies, each address checked.
#include "arithmetic.h"
#include "../memory.h"

namespace cuda_emulator {
namespace {

bool within(uintptr_t address, size_t bytes, const void * first, size_t size) {
    const uintptr_t begin = uintptr_t(first);
    return address >= begin && address - begin <= size && size - (address - begin) >= bytes;
}

thread_local range last; // of global memory; a launch starts with none, so that what was freed before is not held to be there

} // namespace

void forget_ranges() { last = {}; }

uint8_t * locate(warp & w, const instruction & i, uint32_t lane, space where, uint64_t address, size_t bytes) {
    const size_t local = w.local.size() / warp_size;
    uint8_t *    at    = nullptr;
    switch (where) {
        case space::shared:
            if (address > w.of.shared.size() || w.of.shared.size() - address < bytes) w.fault(i, lane, "shared address " + std::to_string(address) + " of " + std::to_string(w.of.shared.size()) + " bytes");
            at = w.of.shared.data() + address;
            break;
        case space::local:
            if (address > local || local - address < bytes) w.fault(i, lane, "local address " + std::to_string(address) + " of " + std::to_string(local) + " bytes");
            at = w.local.data() + lane * local + address;
            break;
        case space::param:
            if (address > w.of.what.parameter_bytes || w.of.what.parameter_bytes - address < bytes) w.fault(i, lane, "parameter address " + std::to_string(address) + " of " + std::to_string(w.of.what.parameter_bytes) + " bytes");
            at = const_cast<uint8_t *>(w.of.parameters) + address;
            break;
        default:
            at = reinterpret_cast<uint8_t *>(address);
            if (address - last.first >= last.end - last.first || last.end - address < bytes) {
                if (where == space::generic && (within(address, bytes, w.of.shared.data(), w.of.shared.size()) || within(address, bytes, w.local.data() + lane * local, local) || within(address, bytes, w.of.parameters, w.of.what.parameter_bytes))) break;
                const range there = range_of(address);
                if (there.end - there.first < bytes || address < there.first || there.end - address < bytes) {
                    char hex[40];
                    snprintf(hex, sizeof hex, "global address 0x%llx", (unsigned long long) address);
                    w.fault(i, lane, std::string(hex) + ", " + std::to_string(bytes) + " bytes, in no allocation");
                }
                last = there;
            }
    }
    if (uintptr_t(at) % bytes != 0) w.fault(i, lane, "misaligned address " + std::to_string(address) + " for " + std::to_string(bytes) + " bytes");
    return at;
}

namespace {

uint64_t element(const uint8_t * from, size_t size, bool is_signed) {
    uint64_t x = 0;
    memcpy(&x, from, size);
    const unsigned unused = unsigned(64 - 8 * size);
    return is_signed ? uint64_t(int64_t(x << unused) >> unused) : x;
}

template <size_t Size> void load(warp & w, const instruction & i, uint32_t lanes) {
    const operand & base = w(i, i.count);
    for_lanes(lanes, [&](uint32_t l) {
        const uint8_t * from = locate(w, i, l, i.where, w.get(base, l) + uint64_t(i.offset), Size * i.count);
        for (uint32_t n = 0; n < i.count; ++n) w.set(w(i, n), l, element(from + n * Size, Size, i.is_signed));
    });
}

template <size_t Size> void store(warp & w, const instruction & i, uint32_t lanes) {
    const operand & base = w(i, 0);
    for_lanes(lanes, [&](uint32_t l) {
        uint8_t * to = locate(w, i, l, i.where, w.get(base, l) + uint64_t(i.offset), Size * i.count);
        for (uint32_t n = 0; n < i.count; ++n) {
            const uint64_t x = w.get(w(i, n + 1), l);
            memcpy(to + n * Size, &x, Size);
        }
    });
}

// Lane after lane, as good an order as any. size 1: the old value goes to the first operand.
template <class T, class F> void exchange(warp & w, const instruction & i, uint32_t lanes, F && changed) {
    const uint32_t at = i.size; // of the address
    for_lanes(lanes, [&](uint32_t l) {
        uint8_t * to = locate(w, i, l, i.where, w.get(w(i, at), l) + uint64_t(i.offset), sizeof(T));
        T old, x, y = {};
        memcpy(&old, to, sizeof old);
        x = bits_as<T>(w.lanes<T>(w(i, at + 1))[l]);
        if (i.count == 3) y = w.lanes<T>(w(i, at + 2))[l];
        const T now = changed(old, x, y);
        memcpy(to, &now, sizeof now);
        if (at == 1 && w(i, 0).at != no_register) w.lanes<T>(w(i, 0))[l] = old;
    });
}

struct atomic_add {
    template <class T> T operator()(T a, T b, T) const { return T(a + b); }
};
struct atomic_min {
    template <class T> T operator()(T a, T b, T) const { return b < a ? b : a; }
};
struct atomic_max {
    template <class T> T operator()(T a, T b, T) const { return b > a ? b : a; }
};
struct atomic_and {
    template <class T> T operator()(T a, T b, T) const { return a & b; }
};
struct atomic_or {
    template <class T> T operator()(T a, T b, T) const { return a | b; }
};
struct atomic_exchange {
    template <class T> T operator()(T, T b, T) const { return b; }
};
struct atomic_compare {
    template <class T> T operator()(T a, T b, T c) const { return a == b ? c : a; }
};
template <class Op, class T> void atomic(warp & w, const instruction & i, uint32_t lanes) { exchange<T>(w, i, lanes, Op()); }

handler atomic_operation(const std::string & op, const std::string & type) {
    if (op == "add" && type == "f32") return atomic<atomic_add, float>;
    if (op == "add" && type == "f64") return atomic<atomic_add, double>;
    if (op == "add") return type.find("32") != std::string::npos ? atomic<atomic_add, uint32_t> : type == "u64" ? atomic<atomic_add, uint64_t> : nullptr;
    if (op == "min") return type == "u32" ? atomic<atomic_min, uint32_t> : type == "s32" ? atomic<atomic_min, int32_t> : nullptr;
    if (op == "max") return type == "u32" ? atomic<atomic_max, uint32_t> : type == "s32" ? atomic<atomic_max, int32_t> : nullptr;
    if (op == "and") return type == "b32" ? atomic<atomic_and, uint32_t> : nullptr;
    if (op == "or") return type == "b32" ? atomic<atomic_or, uint32_t> : nullptr;
    if (op == "exch") return type == "b32" ? atomic<atomic_exchange, uint32_t> : type == "b64" ? atomic<atomic_exchange, uint64_t> : nullptr;
    if (op == "cas") return type == "b32" ? atomic<atomic_compare, uint32_t> : type == "b64" ? atomic<atomic_compare, uint64_t> : nullptr;
    return nullptr;
}

// cp.async [shared], [global], bytes{, of which are read}: done at once, which is one of the moments it may be done at.
void copy(warp & w, const instruction & i, uint32_t lanes) {
    for_lanes(lanes, [&](uint32_t l) {
        const size_t bytes = size_t(w.get(w(i, 2), l)), read = i.count == 4 ? size_t(w.get(w(i, 3), l)) : bytes;
        uint8_t *    to    = locate(w, i, l, space::shared, w.get(w(i, 0), l), bytes);
        memset(to, 0, bytes);
        if (read) memcpy(to, locate(w, i, l, space::global, w.get(w(i, 1), l), bytes), std::min(read, bytes));
    });
}

void nothing(warp &, const instruction &, uint32_t) {}

size_t size_of(const std::string & type) { return type.find("64") != std::string::npos ? 8 : type.find("32") != std::string::npos || type == "f16x2" ? 4 : type.find("16") != std::string::npos ? 2 : type.back() == '8' ? 1 : 0; }

} // namespace

decoded memory_access(const std::vector<std::string> & parts, instruction & i, size_t operands) {
    const std::string &op = parts[0], &type = parts.back();
    for (size_t n = 1; n < parts.size(); ++n) {
        const std::string & p = parts[n];
        if (p == "global") i.where = space::global;
        else if (p == "shared" || p == "shared::cta") i.where = space::shared;
        else if (p == "local") i.where = space::local;
        else if (p == "param") i.where = space::param;
        else if (p == "const") i.where = space::constant;
    }
    if (op == "ld" || op == "ldu" || op == "st") {
        i.count = 1;
        for (const std::string & p : parts) i.count = p == "v2" ? 2 : p == "v4" ? 4 : i.count;
        if (operands != size_t(i.count) + 1) return {};
        i.is_signed = type[0] == 's';
        switch (i.size = uint8_t(size_of(type))) {
            case 1: return {op == "st" ? store<1> : load<1>};
            case 2: return {op == "st" ? store<2> : load<2>};
            case 4: return {op == "st" ? store<4> : load<4>};
            case 8: return {op == "st" ? store<8> : load<8>};
            default: return {};
        }
    }
    if (op == "atom" || op == "red") {
        i.size  = op == "atom";
        i.count = uint8_t(operands - i.size);
        for (const char * name : {"add", "min", "max", "and", "or", "exch", "cas"}) {
            if (std::find(parts.begin(), parts.end(), name) != parts.end()) return {atomic_operation(name, type)};
        }
        return {};
    }
    if (op == "cp" && parts.size() > 2 && parts[1] == "async") {
        i.count = uint8_t(operands);
        return {parts[2] == "ca" || parts[2] == "cg" ? copy : parts[2] == "commit_group" || parts[2] == "wait_group" || parts[2] == "wait_all" ? nothing : nullptr};
    }
    // What orders or hastens accesses: here they happen in the order of the text.
    if (op == "membar" || op == "fence" || op == "nanosleep" || op == "prefetch" || op == "griddepcontrol") return {nothing};
    return {};
}

} // namespace cuda_emulator
