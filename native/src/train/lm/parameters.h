// The trainable state of a language model: weights, Adam moments, step count.
#pragma once

#include "train/compute.h"
#include "train/transformer/transformer.h"

namespace yapo::train::lm {

struct adamw {
    float beta1, beta2, epsilon, weight_decay, gradient_clip;
};

struct parameter {
    std::string   name;
    ggml_tensor * weight = nullptr;
    int64_t       offset = 0;   // into the flat gradient and moment arrays
    int64_t       size   = 0;
    bool          decays = false; // matrices only
    float *       data() const { return static_cast<float *>(weight->data); }
};

class parameters {
public:
    parameters(const gguf_source & source, const transformer::config & config); // F32 only: YAPO_ERR_UNSUPPORTED

    const transformer::weights &        weights() const { return weights_; }
    const std::vector<parameter> & list() const { return list_; }
    int64_t size() const { return size_; }

    // AdamW on parameter i with gradient g [size of i], scaled by `scale` (clipping). Norm weights are not decayed. Parameters are
    // independent of each other, so threads may share them out.
    void update(size_t i, const float * gradient, float scale, float learning_rate, const adamw & o);

    int64_t            step = 0;
    std::vector<float> first, second; // moments, flat

private:
    transformer::weights        weights_;
    context_ptr            ctx_;
    buffer_ptr             buffer_;
    std::vector<parameter> list_;
    int64_t                size_ = 0;
};

} // namespace yapo::train::lm
