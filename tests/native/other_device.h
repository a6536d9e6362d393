// Devices whose memory is not the host's. What the cases Device_ check, they check on each of them; what assumes host memory fails there.
#pragma once

#include "rpc_server.h"

#include "ggml-backend.h"

#include <memory>
#include <string>
#include <vector>

namespace yapo_test {

struct other_device {
    std::string                 name;          // of ggml: "RPC0", "Vulkan0", "CUDA0"
    double                      tolerance = 0; // of what an F32 model computes there, relative to the largest value of the same run on the CPU
    // ggml-vulkan adds and begins the norm behind it in one step, which rounds another way than the two apart. A graph with vectors has one
    // more addition there: at strength 0 it is the unsteered one to rounding only. GGML_VK_DISABLE_FUSION=1 keeps the steps apart.
    bool                        fuses = false;
    std::unique_ptr<rpc_server> server;        // of RPC0

    // Blocks on it from the last one up; -1: all, the output included.
    yapo_model_options options(int32_t gpu_layers = -1) const;
    // For what does without our C ABI (libyapo-stock).
    ggml_backend_dev_t handle() const;
};

// An RPC server in a second process, which every machine has, and in a build with their backend all GPUs that the machine shows. Mesa's
// software driver is one to Vulkan; GGML_VK_VISIBLE_DEVICES=0 makes ggml show it.
std::vector<other_device> other_devices();

} // namespace yapo_test
