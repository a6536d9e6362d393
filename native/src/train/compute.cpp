#include "train/compute.h"

namespace yapo::train {

context_ptr new_context(size_t n_tensors, size_t n_graph_nodes) {
    size_t size = n_tensors * ggml_tensor_overhead();
    if (n_graph_nodes) {
        size += ggml_graph_overhead_custom(n_graph_nodes, false);
    }
    context_ptr ctx(ggml_init({size, nullptr, /*no_alloc*/ true}));
    if (!ctx) {
        throw std::bad_alloc();
    }
    return ctx;
}

backend_ptr new_cpu_backend() {
    ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    backend_ptr backend(device ? ggml_backend_dev_init(device, nullptr) : nullptr);
    if (!backend) {
        fail(YAPO_ERR_INTERNAL, "the CPU backend of ggml is not available");
    }
    const auto set_threads = reinterpret_cast<ggml_backend_set_n_threads_t>(
        ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device), "ggml_backend_set_n_threads"));
    if (!set_threads) {
        fail(YAPO_ERR_INTERNAL, "the CPU backend of ggml does not let its thread count be set");
    }
    set_threads(backend.get(), 1);
    return backend;
}

buffer_ptr allocate(ggml_context * ctx) {
    buffer_ptr buffer(ggml_backend_alloc_ctx_tensors_from_buft(ctx, ggml_backend_cpu_buffer_type()));
    if (!buffer) {
        fail(YAPO_ERR_OUT_OF_MEMORY, "no memory for the training weights");
    }
    return buffer;
}

gallocr_ptr allocate_graph(ggml_cgraph * graph) {
    gallocr_ptr allocr(ggml_gallocr_new(ggml_backend_cpu_buffer_type()));
    if (!allocr || !ggml_gallocr_alloc_graph(allocr.get(), graph)) {
        fail(YAPO_ERR_OUT_OF_MEMORY, "no memory for a training graph of %d nodes", ggml_graph_n_nodes(graph));
    }
    return allocr;
}

void compute(ggml_backend_t backend, ggml_cgraph * graph) {
    const ggml_status status = ggml_backend_graph_compute(backend, graph);
    if (status != GGML_STATUS_SUCCESS) {
        fail(status == GGML_STATUS_ALLOC_FAILED ? YAPO_ERR_OUT_OF_MEMORY : YAPO_ERR_INTERNAL, "computing a training graph failed (%s)", ggml_status_to_string(status));
    }
}

} // namespace yapo::train
