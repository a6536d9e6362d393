#include "other_device.h"

#include <cstdlib>

namespace yapo_test {
namespace {

// The server computes with the CPU backend of this build, so that nothing but the transport and the split of the graph differs. Both
// sides add the same products, but where a graph is cut decides which of ggml's fused forms of an operation is taken.
constexpr double rpc_tolerance = 1e-5;

// Other kernels, with F16 where the driver has it. Measured with Mesa 22.3's software driver: at most 6.5e-4 for vectors with F32 rows
// (1.9e-4 of it with GGML_VK_DISABLE_F16=1) and 1.7e-3 for F16, BF16 and Q8_0 rows.
constexpr double gpu_tolerance = 5e-3;

} // namespace

yapo_model_options other_device::options(int32_t gpu_layers) const {
    if (server) {
        return server->options(gpu_layers);
    }
    yapo_model_options o;
    yapo_model_default_options(&o);
    o.device     = name.c_str();
    o.gpu_layers = gpu_layers;
    return o;
}

ggml_backend_dev_t other_device::handle() const {
    if (!server) {
        return ggml_backend_dev_by_name(name.c_str());
    }
    using add_server = ggml_backend_reg_t (*)(const char *);
    const auto add = reinterpret_cast<add_server>(ggml_backend_reg_get_proc_address(ggml_backend_reg_by_name("RPC"), "ggml_backend_rpc_add_server"));
    return ggml_backend_reg_dev_get(add(server->endpoint.c_str()), 0);
}

std::vector<other_device> other_devices() {
    std::vector<other_device> all;
    all.push_back({"RPC0", rpc_tolerance, false, std::make_unique<rpc_server>()});
    for (size_t i = 0; i < ggml_backend_dev_count(); ++i) {
        ggml_backend_dev_t device = ggml_backend_dev_get(i);
        const enum ggml_backend_dev_type type = ggml_backend_dev_type(device);
        if (type == GGML_BACKEND_DEVICE_TYPE_GPU || type == GGML_BACKEND_DEVICE_TYPE_IGPU) {
            all.push_back({ggml_backend_dev_name(device), gpu_tolerance, !std::getenv("GGML_VK_DISABLE_FUSION"), nullptr});
            note("also on %s: %s", ggml_backend_dev_name(device), ggml_backend_dev_description(device));
        }
    }
    return all;
}

} // namespace yapo_test
