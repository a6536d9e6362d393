// The kernels on the host: the same source, blocks and threads one after another. Slow; the fallback of the ops where a scheduler
// gives them to the CPU, and what tests compare with the oracle.
#pragma once

#include "apply.h"
#include "codes.h"

#include <memory>

namespace yapo::cuda {

// Every parts-th block from block `part` on. reverse: the last thread of each phase first.
struct on_host {
    int64_t part = 0, parts = 1;
    bool    reverse = false;

    template <class Kernel, class Args> void operator()(Kernel, const Args & a) const {
        const grid g = Kernel::blocks(a);
        const auto memory = std::make_unique<typename Kernel::memory>();
        for (int64_t block = part; block < g.x * g.y; block += parts) {
            Kernel::run(host_team<Kernel::threads>{block % g.x, block / g.x, reverse}, a, *memory);
        }
    }
};

} // namespace yapo::cuda
