// What the emulator has done so far, for tests: they find the function with dlsym in the library that stands in for the CUDA runtime.
#pragma once

#include <cstdint>

struct yapo_cuda_emulator_counts {
    uint64_t kernels_run;          // those of graphs and of cuBLAS included
    uint64_t kernels_launched;     // by calls of the host that a stream, not a capture, took
    uint64_t graph_launches;
    uint64_t captures;             // that ended with a graph
    uint64_t graph_instantiations;
    uint64_t graph_updates;        // that succeeded
    uint64_t bytes_to_device;
    uint64_t bytes_to_host;
    uint64_t allocations;          // of device memory, the managed and the virtual included
    uint64_t host_waits;           // calls that end when work has ended: synchronizations and blocking copies
};

extern "C" void yapo_cuda_emulator_counters(struct yapo_cuda_emulator_counts * out);
