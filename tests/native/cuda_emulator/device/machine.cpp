#include "machine.h"

#include <algorithm>

namespace cuda_emulator {

void warp::fault(const instruction & i, uint32_t lane, const std::string & said) const {
    const uint32_t * b = of.shape.block;
    const uint32_t   t = number * warp_size + lane;
    char             where[160];
    snprintf(where, sizeof where, "block (%u, %u, %u), thread (%u, %u, %u), line %u of the PTX: ", of.index[0], of.index[1], of.index[2], t % b[0], t / b[0] % b[1], t / b[0] / b[1], i.line);
    throw device_fault(of.what.name + ", " + where + body.statements[size_t(&i - body.instructions.data())] + ": " + said);
}

namespace {

constexpr uint64_t most_steps = uint64_t(1) << 32; // of a warp; a kernel that waits for another block never ends here

uint32_t special_value(code::special::name what, const warp & w, uint32_t lane) {
    using s = code::special;
    const uint32_t *b = w.of.shape.block, *g = w.of.shape.grid, t = w.number * warp_size + lane;
    switch (what) {
        case s::tid_x: return t % b[0];
        case s::tid_y: return t / b[0] % b[1];
        case s::tid_z: return t / b[0] / b[1];
        case s::ntid_x: return b[0];
        case s::ntid_y: return b[1];
        case s::ntid_z: return b[2];
        case s::ctaid_x: return w.of.index[0];
        case s::ctaid_y: return w.of.index[1];
        case s::ctaid_z: return w.of.index[2];
        case s::nctaid_x: return g[0];
        case s::nctaid_y: return g[1];
        case s::nctaid_z: return g[2];
        case s::laneid: return lane;
        case s::warpid: return w.number;
        case s::lanemask_eq: return 1u << lane;
        case s::lanemask_lt: return (1u << lane) - 1;
        case s::lanemask_le: return (2u << lane) - 1;
        case s::lanemask_gt: return ~((2u << lane) - 1);
        case s::lanemask_ge: return ~((1u << lane) - 1);
        case s::dynamic_shared_bytes: return uint32_t(w.of.shape.dynamic_shared);
        default: return 0;
    }
}

void begin(warp & w, uint32_t threads) {
    w.alive      = threads >= warp_size ? UINT32_MAX : (1u << threads) - 1;
    w.at_barrier = w.at_meeting = 0;
    std::fill(std::begin(w.waiting), std::end(w.waiting), 0);
    std::fill(std::begin(w.pc), std::end(w.pc), 0);
    for (const code::constant & c : w.body.constants) {
        for (uint32_t l = 0; l < warp_size; ++l) w.set(c.reg, l, c.value);
    }
    for (const code::special & s : w.body.specials) {
        for (uint32_t l = 0; l < warp_size; ++l) w.set(s.reg, l, special_value(s.what, w, l));
    }
}

// Runs the lanes that stand at the lowest position, as far as they go together. False where every lane has left or waits for the block.
bool advance(warp & w, uint64_t & steps) {
    uint32_t runnable = w.alive & ~w.at_barrier & ~w.at_meeting;
    if (!runnable) { // who waits for lanes that have left meanwhile
        runnable = w.alive & w.at_meeting;
        if (!runnable) return false;
        w.at_meeting = 0;
    }
    uint32_t pc = UINT32_MAX, others = UINT32_MAX, active = 0;
    for_lanes(runnable, [&](uint32_t l) { pc = std::min(pc, w.pc[l]); });
    for_lanes(runnable, [&](uint32_t l) {
        if (w.pc[l] == pc) active |= 1u << l;
        else others = std::min(others, w.pc[l]);
    });
    const auto stand = [&](uint32_t lanes, uint32_t at) { for_lanes(lanes, [&](uint32_t l) { w.pc[l] = at; }); };

    for (; pc < others; ) {
        if (++steps > most_steps) throw device_fault(w.of.what.name + " does not end");
        const instruction & i = w.body.instructions[pc];
        uint32_t lanes = active;
        if (i.guard != no_register) {
            const uint32_t p = *reinterpret_cast<const uint32_t *>(w.registers.data() + i.guard);
            lanes &= i.guard_negated ? ~p : p;
        }
        switch (i.kind) {
            case flow::next:
                if (lanes) i.run(w, i, lanes);
                ++pc;
                break;
            case flow::branch:
                if (lanes == active) {
                    pc = i.target;
                } else if (!lanes) {
                    ++pc;
                } else {
                    stand(lanes, i.target);
                    stand(active & ~lanes, pc + 1);
                    return true;
                }
                break;
            case flow::leave:
                w.alive &= ~lanes;
                active &= ~lanes;
                if (!active) return true;
                ++pc;
                break;
            case flow::barrier: {
                if (lanes) {
                    const uint32_t id = uint32_t(w.get(w(i, 1), uint32_t(__builtin_ctz(lanes))));
                    if (id > 15) w.fault(i, uint32_t(__builtin_ctz(lanes)), "barrier " + std::to_string(id) + " of 16");
                    w.waiting[id] |= lanes;
                    w.at_barrier |= lanes;
                    stand(lanes, pc);
                }
                stand(active & ~lanes, pc + 1);
                return true;
            }
            case flow::meet: {
                uint32_t needed = 0;
                if (!lanes) {
                    ++pc;
                    break;
                }
                for_lanes(w.at_meeting & w.alive, [&](uint32_t l) { lanes |= w.pc[l] == pc ? 1u << l : 0; });
                if (i.member == no_register) needed = UINT32_MAX;
                else for_lanes(lanes, [&](uint32_t l) { needed |= reinterpret_cast<const uint32_t *>(w.registers.data() + i.member)[l]; });
                stand(active & ~lanes, pc + 1);
                if (needed & w.alive & ~lanes) {
                    w.at_meeting |= lanes;
                    stand(lanes, pc);
                    if ((w.alive & ~w.at_barrier & ~w.at_meeting) == 0) w.fault(i, uint32_t(__builtin_ctz(lanes)), "waits for lanes of its warp that never come");
                    return true;
                }
                i.run(w, i, lanes);
                w.at_meeting &= ~lanes;
                if (lanes != active) {
                    stand(lanes, pc + 1);
                    return true;
                }
                ++pc;
                break;
            }
        }
    }
    stand(active, pc);
    return true;
}

// Lets the threads go on from a barrier where all have come. False where none is complete.
bool release(std::vector<warp> & warps) {
    uint32_t alive = 0;
    for (const warp & w : warps) alive += uint32_t(__builtin_popcount(w.alive));
    bool any = false;
    for (uint32_t id = 0; id < 16; ++id) {
        uint32_t            come = 0, yes = 0, expected = alive;
        const instruction * at = nullptr;
        for (warp & w : warps) {
            if (!w.waiting[id]) continue;
            come += uint32_t(__builtin_popcount(w.waiting[id]));
            const uint32_t first = uint32_t(__builtin_ctz(w.waiting[id]));
            at                   = &w.body.instructions[w.pc[first]];
            if (w(*at, 2).at != no_register) expected = uint32_t(w.get(w(*at, 2), first));
            if (at->count) yes += uint32_t(__builtin_popcount(w.waiting[id] & w.predicate(w(*at, 3))));
        }
        if (!come || come < expected) continue;
        for (warp & w : warps) {
            const uint32_t lanes = w.waiting[id];
            if (!lanes) continue;
            const instruction & i = w.body.instructions[w.pc[__builtin_ctz(lanes)]];
            if (i.count == 3) {
                for_lanes(lanes, [&](uint32_t l) { w.set(w(i, 0), l, yes); });
            } else if (i.count) {
                uint32_t & d = w.predicate(w(i, 0));
                d            = (d & ~lanes) | ((i.count == 1 ? yes == come : yes > 0) ? lanes : 0);
            }
            for_lanes(lanes, [&](uint32_t l) { ++w.pc[l]; });
            w.at_barrier &= ~lanes;
            w.waiting[id] = 0;
            any           = true;
        }
    }
    return any;
}

void run_block(block & b, std::vector<warp> & warps, uint32_t threads, uint64_t & steps) {
    std::fill(b.shared.begin(), b.shared.end(), uint8_t(0xff)); // nobody may count on what is there
    for (warp & w : warps) begin(w, threads - w.number * warp_size);
    for (;;) {
        bool left = false;
        for (warp & w : warps) {
            while (advance(w, steps)) {}
            left |= w.alive != 0;
        }
        if (!left) return;
        if (!release(warps)) {
            for (const warp & w : warps) {
                if (w.at_barrier) w.fault(w.body.instructions[w.pc[__builtin_ctz(w.at_barrier)]], uint32_t(__builtin_ctz(w.at_barrier)), "a barrier that not all threads of the block reach");
            }
            throw device_fault(b.what.name + " cannot go on");
        }
    }
}

} // namespace

void run(const kernel & what, const launch_shape & shape, const void * parameters) {
    forget_ranges();
    const uint32_t       threads = shape.block[0] * shape.block[1] * shape.block[2];
    std::vector<uint64_t> aligned((what.parameter_bytes + 15) / 8); // wherever the caller keeps them
    memcpy(aligned.data(), parameters, what.parameter_bytes);
    block b{what, shape, reinterpret_cast<const uint8_t *>(aligned.data()), {}, std::vector<uint8_t>(what.static_shared + shape.dynamic_shared)};
    std::vector<warp> warps;
    for (uint32_t n = 0; n * warp_size < threads; ++n) {
        warps.push_back({b, *what.body, n, std::vector<uint8_t>(what.body->register_bytes), std::vector<uint8_t>(what.local * warp_size)});
    }
    uint64_t steps = 0;
    for (b.index[2] = 0; b.index[2] < shape.grid[2]; ++b.index[2]) {
        for (b.index[1] = 0; b.index[1] < shape.grid[1]; ++b.index[1]) {
            for (b.index[0] = 0; b.index[0] < shape.grid[0]; ++b.index[0]) run_block(b, warps, threads, steps);
        }
    }
}

} // namespace cuda_emulator
