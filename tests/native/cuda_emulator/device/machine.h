// How decoded PTX runs: a warp's 32 lanes together, an instruction at a time. Every register holds its 32 lanes side by side; a predicate
// is one mask of 32 bits. Lanes that took different ways wait for those behind them and join again where their ways meet.
#pragma once

#include "../ptx.h"

#include <cstring>
#include <vector>

namespace cuda_emulator {

constexpr uint32_t warp_size = 32;
constexpr uint32_t no_register = UINT32_MAX;

struct warp;
struct instruction;
using handler = void (*)(warp &, const instruction &, uint32_t lanes);

enum class flow : uint8_t {
    next,    // every lane by itself
    branch,  // to `target`
    leave,   // ret, exit
    barrier, // waits for the block
    meet,    // waits for the warp: what the lanes of `member` compute together
};

enum class space : uint8_t { generic, global, shared, local, param, constant };

struct operand {
    uint32_t at    = no_register; // bytes into the register file; `no_register` for "_"
    uint8_t  width = 0;           // bytes of a lane; 0: a predicate
};

struct instruction {
    handler  run   = nullptr;
    flow     kind  = flow::next;
    space    where = space::generic;
    bool     guard_negated = false;
    uint8_t  size  = 0;               // of a memory access, bytes of one element
    uint8_t  count = 0;               // and its elements; of a barrier.red the operation
    bool     is_signed = false;
    uint32_t guard  = no_register;
    uint32_t target = 0;
    uint32_t member = no_register;    // register of the lanes that meet; none: all of the warp
    int64_t  offset = 0;              // of an address, on top of its register
    uint32_t first  = 0;              // of code::operands
    uint32_t line   = 0;              // of the PTX
};

struct code {
    std::vector<instruction> instructions;
    std::vector<operand>     operands;
    std::vector<std::string> statements; // for messages, one for each instruction
    size_t                   register_bytes = 0;

    struct constant { // a register that holds the same number in every lane
        operand  reg;
        uint64_t value;
    };
    struct special {
        enum name { tid_x, tid_y, tid_z, ntid_x, ntid_y, ntid_z, ctaid_x, ctaid_y, ctaid_z, nctaid_x, nctaid_y, nctaid_z, laneid, warpid, lanemask_eq, lanemask_lt, lanemask_le, lanemask_gt, lanemask_ge, dynamic_shared_bytes } what;
        operand reg;
    };
    std::vector<constant> constants;
    std::vector<special>  specials;
};

// One block while it runs.
struct block {
    const kernel &       what;
    const launch_shape & shape;
    const uint8_t *      parameters;
    uint32_t             index[3];
    std::vector<uint8_t> shared;
};

struct warp {
    block &     of;
    const code & body;
    uint32_t    number;                // within the block
    std::vector<uint8_t> registers, local;
    uint32_t    alive = 0;             // lanes that have not left
    uint32_t    waiting[16] = {};      // lanes at each of the block's barriers
    uint32_t    at_barrier = 0, at_meeting = 0;
    uint32_t    pc[warp_size] = {};

    template <class T> T * lanes(const operand & x) { return reinterpret_cast<T *>(registers.data() + x.at); }
    uint32_t & predicate(const operand & x) { return *reinterpret_cast<uint32_t *>(registers.data() + x.at); }
    const operand & operator()(const instruction & i, uint32_t n) const { return body.operands[i.first + n]; }

    // The number in a lane of a register of any width, as bits.
    uint64_t get(const operand & x, uint32_t lane) const {
        uint64_t v = 0;
        memcpy(&v, registers.data() + x.at + size_t(lane) * x.width, x.width);
        return v;
    }
    void set(const operand & x, uint32_t lane, uint64_t v) {
        if (x.at != no_register) memcpy(registers.data() + x.at + size_t(lane) * x.width, &v, x.width);
    }
    [[noreturn]] void fault(const instruction & i, uint32_t lane, const std::string & what) const;
};

// f(lane) for each lane of the mask.
template <class F> inline void for_lanes(uint32_t lanes, F && f) {
    if (lanes == UINT32_MAX) {
        for (uint32_t l = 0; l < warp_size; ++l) f(l);
    } else {
        for (; lanes; lanes &= lanes - 1) f(uint32_t(__builtin_ctz(lanes)));
    }
}

// The host's address of `bytes` bytes that a lane names, checked: within what the device may access, and aligned to the access.
uint8_t * locate(warp & w, const instruction & i, uint32_t lane, space where, uint64_t address, size_t bytes);

// What a launch remembers of global memory: nothing at its start, since allocations come and go between launches.
void forget_ranges();

// Of an opcode: null where nothing is known of it. `parts` are the mnemonic's, split at the dots; std::out_of_range where too few.
struct decoded {
    handler run  = nullptr;
    flow    kind = flow::next;
};
decoded arithmetic(const std::vector<std::string> & parts);
decoded bit_operation(const std::vector<std::string> & parts);
decoded conversion(const std::vector<std::string> & parts, instruction & i, size_t results, size_t sources);
decoded memory_access(const std::vector<std::string> & parts, instruction & i, size_t operands);
decoded warp_operation(const std::vector<std::string> & parts, instruction & i, size_t results, size_t operands);

} // namespace cuda_emulator
