#include "launch.h"

#include <cuda_runtime.h>

namespace yapo::cuda {
namespace {

template <class Kernel> __global__ void __launch_bounds__(Kernel::threads) entry(typename Kernel::args args) {
    __shared__ typename Kernel::memory memory;
    const device_team<Kernel::threads> team = {int64_t(blockIdx.x), int64_t(blockIdx.y)};
    Kernel::run(team, args, memory);
}

struct on_stream {
    cudaStream_t stream;

    template <class Kernel, class Args> void operator()(Kernel, const Args & args) const {
        const grid g = Kernel::blocks(args);
        entry<Kernel><<<dim3(unsigned(g.x), unsigned(g.y)), dim3(Kernel::threads), 0, stream>>>(args);
    }
};

} // namespace

void launch_codes(const codes_args & args, void * stream) {
    dispatch_codes(args, on_stream{static_cast<cudaStream_t>(stream)});
}

void launch_apply(const apply_call & call, void * stream) {
    dispatch_apply(call, on_stream{static_cast<cudaStream_t>(stream)});
}

} // namespace yapo::cuda
