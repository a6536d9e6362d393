// One thread's graph: loss and gradient of one micro-batch. Built and placed once, computed many times.
#pragma once

#include "train/lm/parameters.h"

namespace yapo::train::lm {

class worker {
public:
    worker(const parameters & p, const transformer::config & c, int32_t n_ctx, int32_t micro_batch, bool with_gradient);

    // tokens [B, T+1] rows. Every scored target weighs `target_weight` in the gradient. Returns the summed loss, nats.
    double run(const int32_t * tokens, float target_weight);

    // sum[offset of i ...] += gradient of parameter i, for all i.
    void add_gradients(float * sum) const;

private:
    const parameters &         parameters_;
    int32_t                    n_ctx_, micro_batch_;
    backend_ptr                backend_;
    context_ptr                ctx_;
    ggml_cgraph *              graph_ = nullptr;
    gallocr_ptr                allocation_;
    ggml_tensor *              tokens_ = nullptr, * targets_ = nullptr, * seed_ = nullptr, * loss_ = nullptr;
    std::vector<ggml_tensor *> gradients_; // in the order of parameters::list
    std::vector<int32_t>       inputs_host_, targets_host_;
    std::vector<float>         seed_host_, loss_host_;
};

} // namespace yapo::train::lm
