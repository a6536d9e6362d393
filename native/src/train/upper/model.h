// The blocks above a steered layer, with the weights as the file has them and a transposed copy of every quantized matrix for
// the gradients of activations (F32 needs none). Immutable after loading; shared by all workers.
#pragma once

#include "train/compute.h"
#include "train/transformer/transformer.h"

#include <unordered_map>

namespace yapo::train::upper {

class model {
public:
    model(const std::string & gguf_path, int32_t layer);

    const transformer::config &  config() const { return config_; }
    const transformer::weights & weights() const { return weights_; }
    int32_t                 layer() const { return layer_; }
    const std::unordered_map<const ggml_tensor *, ggml_tensor *> & transposed() const { return transposed_; }

private:
    transformer::config  config_;
    transformer::weights weights_;
    int32_t         layer_;
    context_ptr     ctx_;
    buffer_ptr      buffer_;
    std::unordered_map<const ggml_tensor *, ggml_tensor *> transposed_;
};

// The type of the transposed copy of a matrix [K, N] of `type`, which is not F32: BF16 of F16 and BF16 (F16 would round
// gradients to F16's range), else Q8_0 (error 8e-3 of the product; a Q4_K copy would be off by 7e-2), or F32 where N does not divide into blocks.
ggml_type transposed_type(ggml_type type, int64_t n);

// Fills `to` [N, K] with the transpose of `from` [K, N], panel by panel: no whole F32 copy of either exists at any time.
void fill_transposed(const ggml_tensor * from, ggml_tensor * to);

} // namespace yapo::train::upper
