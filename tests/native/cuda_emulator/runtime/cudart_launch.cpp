// Launches of kernels, and what the runtime tells of them.
#include "functions.h"
#include "runtime.h"
#include "capture.h"

#include <algorithm>
#include <cstring>

using namespace cuda_emulator;

namespace {

struct configuration {
    dim3   grid, block;
    size_t shared;
    void * stream;
};

thread_local std::vector<configuration> configurations; // <<<...>>>, between its parts

void check_shape(const dim3 & grid, const dim3 & block) {
    must(grid.x && grid.y && grid.z && block.x && block.y && block.z, invalid_configuration);
    must(grid.x <= 0x7fffffff && grid.y <= 65535 && grid.z <= 65535, invalid_configuration);
    must(block.x <= 1024 && block.y <= 1024 && block.z <= 64, invalid_configuration);
    must(size_t(block.x) * block.y * block.z <= limits::block_threads, invalid_configuration);
}

// Called under the lock. The arguments are copied: what the program passes lives only as long as the call.
void launch(const void * host, const configuration & c, void ** arguments, bool cooperative) {
    const auto     s = stream_of(c.stream);
    function &     f = function_of(host);
    const kernel & k = kernel_of(f);
    check_shape(c.grid, c.block);
    must(c.block.x * c.block.y * c.block.z <= static_cast<unsigned>(k.max_threads), launch_out_of_resources);
    must(k.static_shared <= limits::shared, launch_out_of_resources);
    must(c.shared <= dynamic_limit(f, k));
    if (cooperative) { // the blocks run one after another, so they cannot wait for each other
        must(size_t(c.grid.x) * c.grid.y * c.grid.z <= 1, not_supported);
    }
    const auto parameters = std::make_shared<std::vector<uint8_t>>(k.parameter_bytes);
    for (size_t i = 0; i < k.parameters.size(); i++) {
        must(arguments && arguments[i]);
        std::memcpy(parameters->data() + k.parameters[i].offset, arguments[i], k.parameters[i].size);
    }
    const launch_shape shape = {{c.grid.x, c.grid.y, c.grid.z}, {c.block.x, c.block.y, c.block.z}, c.shared};
    operation what = {operation::type::kernel, &f, [parameters, shape, what = f.found, code = f.of] {
        ++counts().kernels_run;
        run(*what, shape, parameters->data());
    }};
    if (!s->capturing) {
        ++counts().kernels_launched;
    }
    submit(*s, std::move(what));
}

} // namespace

YAPO_CUDA_EXPORT unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void * stream) {
    configurations.push_back({grid, block, shared, stream});
    return 0;
}

YAPO_CUDA_API __cudaPopCallConfiguration(dim3 * grid, dim3 * block, size_t * shared, void * stream) {
    if (configurations.empty()) {
        return note(missing_configuration);
    }
    const configuration c = configurations.back();
    configurations.pop_back();
    *grid   = c.grid;
    *block  = c.block;
    *shared = c.shared;
    *static_cast<void **>(stream) = c.stream;
    return success;
}

YAPO_CUDA_API cudaLaunchKernel(const void * host, dim3 grid, dim3 block, void ** arguments, size_t shared, void * stream) {
    return call([&] { launch(host, {grid, block, shared, stream}, arguments, false); });
}

YAPO_CUDA_API __cudaLaunchKernel(void * kernel, dim3 grid, dim3 block, void ** arguments, size_t shared, void * stream) {
    return cudaLaunchKernel(kernel, grid, block, arguments, shared, stream);
}

YAPO_CUDA_API cudaLaunchCooperativeKernel(const void * host, dim3 grid, dim3 block, void ** arguments, size_t shared, void * stream) {
    return call([&] { launch(host, {grid, block, shared, stream}, arguments, true); });
}

YAPO_CUDA_API cudaLaunchKernelExC(const launch_config * c, const void * host, void ** arguments) {
    constexpr int cooperative = 2, cluster_dimension = 4;
    return call([&] {
        bool together = false;
        for (unsigned i = 0; i < c->attribute_count; i++) { // the others change when kernels run, not what they do
            const launch_attribute & a = c->attributes[i];
            must(a.id != cluster_dimension || (a.cluster[0] <= 1 && a.cluster[1] <= 1 && a.cluster[2] <= 1), not_supported);
            together |= a.id == cooperative && a.cluster[0] != 0;
        }
        launch(host, {c->grid, c->block, c->dynamic_shared, c->stream}, arguments, together);
    });
}

YAPO_CUDA_API cudaFuncGetAttributes(function_attributes * out, const void * host) {
    return call([&] {
        function &     f = function_of(host);
        const kernel & k = kernel_of(f);
        *out = {};
        out->shared             = k.static_shared;
        out->local              = k.local;
        out->max_threads        = std::min(k.max_threads, limits::block_threads);
        out->registers          = std::min(k.registers, 255); // PTX has any number; a thread of the device at most these
        out->ptx_version        = f.of->arch;
        out->binary_version     = limits::major * 10 + limits::minor;
        out->max_dynamic_shared = static_cast<int>(dynamic_limit(f, k));
        out->carveout           = -1;
    });
}

YAPO_CUDA_API cudaFuncSetAttribute(const void * host, int attribute, int value) {
    constexpr int max_dynamic_shared = 8;
    return call([&] {
        function & f = function_of(host);
        if (attribute == max_dynamic_shared) {
            must(value >= 0 && kernel_of(f).static_shared + value <= limits::shared_opt_in);
            f.max_dynamic = value;
        }
    });
}

YAPO_CUDA_API cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int * blocks, const void * host, int threads, size_t shared, unsigned) {
    return call([&] {
        function &     f = function_of(host);
        const kernel & k = kernel_of(f);
        must(threads > 0);
        *blocks = shared <= dynamic_limit(f, k) ? blocks_that_fit(k, threads, shared) : 0;
    });
}

YAPO_CUDA_API cudaOccupancyMaxActiveBlocksPerMultiprocessor(int * blocks, const void * host, int threads, size_t shared) {
    return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, host, threads, shared, 0);
}
