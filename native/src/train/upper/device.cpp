#include "train/upper/device.h"

#include "train/autograd/autograd.h"

#include <cstdio>

namespace yapo::train::upper {

namespace {

// "q4_K [2304, 256]"
std::string described(const ggml_tensor * t) {
    std::string shape;
    for (int i = 0; i < ggml_n_dims(t); ++i) {
        shape += (i ? ", " : "") + std::to_string(t->ne[i]);
    }
    return std::string(ggml_type_name(t->type)) + " [" + shape + "]";
}

} // namespace

backend_ptr device::new_backend() const {
    if (ggml_backend_dev_type(dev_) == GGML_BACKEND_DEVICE_TYPE_CPU) {
        return new_cpu_backend();
    }
    backend_ptr backend(ggml_backend_dev_init(dev_, nullptr));
    if (!backend) {
        fail(YAPO_ERR_INTERNAL, "device %s could not be started", name().c_str());
    }
    return backend;
}

buffer_ptr device::allocate(ggml_context * ctx, const char * what) const {
    const size_t needed = ggml_backend_alloc_ctx_tensors_from_buft_size(ctx, memory());
    size_t free = 0, total = 0;
    ggml_backend_dev_memory(dev_, &free, &total);
    const bool known = total > 0 && ggml_backend_dev_type(dev_) != GGML_BACKEND_DEVICE_TYPE_CPU; // a host swaps
    buffer_ptr buffer(known && needed > free ? nullptr : ggml_backend_alloc_ctx_tensors_from_buft(ctx, memory()));
    if (!buffer) {
        fail(YAPO_ERR_OUT_OF_MEMORY, "device %s has no room for %s: %.2f GB%s. A later layer, a smaller SAE or a stronger quantization need less; so does the CPU", name().c_str(),
             what, double(needed) / 1e9, free_memory().c_str());
    }
    return buffer;
}

void device::require(ggml_cgraph * graph) const {
    for (int i = 0; i < ggml_graph_n_nodes(graph); ++i) {
        const ggml_tensor * node = ggml_graph_node(graph, i);
        if (ggml_backend_dev_supports_op(dev_, node)) {
            continue;
        }
        std::string sources;
        for (int k = 0; k < GGML_MAX_SRC && node->src[k]; ++k) {
            sources += (k ? ", " : "") + described(node->src[k]) + (*node->src[k]->name ? std::string(" '") + node->src[k]->name + "'" : "");
        }
        fail(YAPO_ERR_UNSUPPORTED, "device %s has no %s of %s to %s, which this model's gradients need; train on the CPU (--device cpu)", name().c_str(),
             autograd::op_name(node).c_str(), sources.c_str(), described(node).c_str());
    }
}

std::string device::free_memory() const {
    size_t free = 0, total = 0;
    ggml_backend_dev_memory(dev_, &free, &total);
    if (total == 0) {
        return "";
    }
    char text[128];
    snprintf(text, sizeof text, "; %.2f GB of %.2f GB are free", double(free) / 1e9, double(total) / 1e9);
    return text;
}

} // namespace yapo::train::upper
