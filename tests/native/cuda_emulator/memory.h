// What the emulated device may read and write: the ranges that cudaMalloc and its kin handed out, in the host's own address space.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cuda_emulator {

struct range {
    uintptr_t first = 0, end = 0; // [first, end)
};

void allow(const void * first, size_t bytes);
void forbid(const void * first);

// The range that holds `address`; an empty one where none does.
range range_of(uintptr_t address);

} // namespace cuda_emulator
