// Launches on a CUDA stream (a cudaStream_t). They only add work to it: no allocation, no synchronization, so that they can be
// captured in a CUDA graph. Errors stay with the CUDA runtime (cudaGetLastError), where ggml looks after every op.
#pragma once

#include "apply.h"
#include "codes.h"

namespace yapo::cuda {

void launch_codes(const codes_args & args, void * stream);
void launch_apply(const apply_call & call, void * stream);

} // namespace yapo::cuda
