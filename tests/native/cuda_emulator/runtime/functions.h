// The device code that programs register as they start: their fat binaries, and the host's names for the kernels in them.
#pragma once

#include "api.h"
#include "../ptx.h"

#include <memory>
#include <string>

namespace cuda_emulator {

struct binary { // read when one of its kernels is first asked for
    const void *            wrapper = nullptr;
    bool                    read    = false;
    int                     status  = success;
    int                     arch    = 0; // of the PTX that was chosen
    std::unique_ptr<module> code;
};

struct function {
    std::shared_ptr<binary>       of;
    std::string                   name; // mangled
    std::shared_ptr<const kernel> found;
    size_t                        max_dynamic = 0; // bytes of shared memory, where cudaFuncSetAttribute named it
};

// By the address of the host's stub, or by a cudaKernel_t, which is the function itself. Throws invalid_device_function.
function & function_of(const void * host);
// Its kernel; throws failure where the binary has none that this device or the emulator can run.
const kernel & kernel_of(function & f);

// Dynamic shared memory that a launch of it may ask for, and blocks of it that fit on one multiprocessor.
size_t dynamic_limit(const function & f, const kernel & k);
int    blocks_that_fit(const kernel & k, int threads, size_t dynamic_shared);

} // namespace cuda_emulator
