// The few types and constants of the CUDA interfaces that the emulator needs, by their layout in memory. Enumerations travel as int.
#pragma once

#include <cstddef>
#include <cstdint>

#define YAPO_CUDA_EXPORT extern "C" __attribute__((visibility("default")))
#define YAPO_CUDA_API YAPO_CUDA_EXPORT int

namespace cuda_emulator {

// cudaError_t, and where the number is the same, CUresult.
enum status : int {
    success                        = 0,
    invalid_value                  = 1,
    out_of_memory                  = 2,
    invalid_configuration          = 9,
    invalid_pitch                  = 12,
    invalid_memcpy_direction       = 21,
    missing_configuration          = 52,
    invalid_device_function        = 98,
    invalid_device                 = 101,
    no_kernel_image                = 209,
    peer_access_unsupported        = 217,
    invalid_ptx                    = 218,
    invalid_handle                 = 400,
    illegal_state                  = 401,
    not_ready                      = 600,
    illegal_address                = 700,
    launch_out_of_resources        = 701,
    host_memory_registered         = 712,
    host_memory_not_registered     = 713,
    not_supported                  = 801,
    capture_unsupported            = 900,
    capture_invalidated            = 901,
    capture_merge                  = 902,
    capture_unmatched              = 903,
    capture_unjoined               = 904,
    capture_isolation              = 905,
    capture_implicit               = 906,
    captured_event                 = 907,
    capture_wrong_thread           = 908,
    graph_update_failure           = 910,
    unknown_error                  = 999,
};

const char * describe(int status);
const char * name_of(int status);

struct dim3 {
    unsigned x, y, z;
};

enum class copy_kind : int { host_to_host, host_to_device, device_to_host, device_to_device, by_address };

// The emulated device, like an A100 of two multiprocessors.
namespace limits {
constexpr int    major = 8, minor = 0;
constexpr int    multiprocessors        = 2;
constexpr int    block_threads          = 1024;
constexpr int    multiprocessor_threads = 2048;
constexpr int    multiprocessor_blocks  = 32;
constexpr int    registers              = 65536;
constexpr int    warp                   = 32;
constexpr size_t memory                 = size_t(4) << 30;
constexpr size_t shared                 = 48 << 10;  // of a block that did not ask for more
constexpr size_t shared_opt_in          = 163 << 10; // of one that did
constexpr size_t shared_multiprocessor  = 164 << 10;
constexpr size_t shared_reserved        = 1 << 10;   // that every block takes beside its own
constexpr size_t constant               = 64 << 10;
constexpr size_t granularity            = 2 << 20;   // of virtual memory
constexpr size_t pitch                  = 0x7fffffff;
} // namespace limits

struct function_attributes { // cudaFuncAttributes, without what is reserved behind
    size_t shared, constant, local;
    int    max_threads, registers, ptx_version, binary_version, cache_mode, max_dynamic_shared, carveout;
    int    cluster_must_be_set, cluster[3], cluster_policy, non_portable_cluster;
};
static_assert(sizeof(function_attributes) == 80);

struct launch_attribute { // cudaLaunchAttribute
    int  id;
    int  padding;
    union {
        char     bytes[64];
        unsigned cluster[3];
    };
};
static_assert(sizeof(launch_attribute) == 72);

struct launch_config { // cudaLaunchConfig_t
    dim3               grid, block;
    size_t             dynamic_shared;
    void *             stream;
    launch_attribute * attributes;
    unsigned           attribute_count;
};
static_assert(sizeof(launch_config) == 56);

struct graph_update_info { // cudaGraphExecUpdateResultInfo
    int    result;
    void * node;
    void * from;
};

} // namespace cuda_emulator
