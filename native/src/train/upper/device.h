// A ggml device that trains: its memory, and whether it computes what it will be asked for.
#pragma once

#include "train/compute.h"

#include <string>

namespace yapo::train::upper {

class device {
public:
    explicit device(ggml_backend_dev_t dev) : dev_(dev) {}

    std::string                name() const { return ggml_backend_dev_name(dev_); }
    ggml_backend_buffer_type_t memory() const { return ggml_backend_dev_buffer_type(dev_); }
    // One per worker. The CPU as a device computes with one thread.
    backend_ptr new_backend() const;
    // All tensors of ctx. YAPO_ERR_OUT_OF_MEMORY with what was needed and what is free; `what` is named in it.
    buffer_ptr  allocate(ggml_context * ctx, const char * what) const;
    // Asks for every node. YAPO_ERR_UNSUPPORTED with the first that the device has no kernel for. (RPC devices say yes to everything, so graphs for a device
    // keep to what common backends have: see autograd::options::portable.)
    void        require(ggml_cgraph * graph) const;
    // "; 1.2 GB of 8.0 GB are free on CUDA0", or "" where the device does not say.
    std::string free_memory() const;

private:
    ggml_backend_dev_t dev_;
};

} // namespace yapo::train::upper
