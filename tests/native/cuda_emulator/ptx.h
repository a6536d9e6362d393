// PTX, the form in which CUDA device code travels, parsed and run on the host: one thread of a block after another between barriers
// and warp operations. Slow and plain; it exists so that device code runs in tests on machines without a GPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace cuda_emulator {

// What a GPU would report as a sticky error: an address outside every allocation, a misaligned one, a trap, a barrier that not all
// threads reach. The message names the kernel, the block and thread, and the line of PTX.
struct device_fault : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct code; // the instructions of one kernel

struct kernel {
    struct parameter {
        size_t size, offset; // bytes; in the order of the arguments
    };
    std::string             name; // mangled
    std::vector<parameter>  parameters;
    size_t                  parameter_bytes = 0;
    size_t                  static_shared   = 0; // bytes per block
    size_t                  local           = 0; // bytes per thread
    int                     registers       = 0; // of the PTX, which are not the GPU's
    int                     max_threads     = 1024; // .maxntid, the product
    std::shared_ptr<const code> body;
};

class module {
  public:
    // Throws std::runtime_error for text that cannot be parsed, with the line. Kernels are decoded when first asked for.
    explicit module(std::string text);
    ~module();

    // Null where the module has no kernel of that name; throws where its code holds an instruction that is not emulated.
    std::shared_ptr<const kernel> find(const std::string & mangled_name);
    // A .global or .const variable of the module, in memory the device may access; null where there is none.
    void * variable(const std::string & mangled_name, size_t * bytes = nullptr);

    struct parts;

  private:
    std::unique_ptr<parts> parts_;
};

struct launch_shape {
    uint32_t grid[3]  = {1, 1, 1};
    uint32_t block[3] = {1, 1, 1};
    size_t   dynamic_shared = 0; // bytes
};

// Runs every block to its end. `parameters` holds parameter_bytes bytes, each parameter at its offset. Throws device_fault.
void run(const kernel & what, const launch_shape & shape, const void * parameters);

} // namespace cuda_emulator
