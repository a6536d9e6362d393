// The upper blocks on a device: every weight in the type of the file, for the forward products, and transposed copies of the matrices for the backward
// ones, since no backend but the CPU multiplies with a quantized matrix the other way round.
//
// Type of a transposed copy: F32, F16 and BF16 matrices keep theirs, which loses nothing. Quantized ones become Q8_0, where their rows come in whole
// blocks of 32, else F16: blocks of K-quants cannot be transposed as they are. Error of the gradient by the type of the copies, of small random models in
// Q8_0 and Q4_K_M on the CPU backend (tests/native/train_upper_backends_test.cpp measures it): F32 or F16 0.9 and 1.3 %, which the forward products' rounding
// of activations costs; Q8_0 1.8 and 1.9 %; Q4_0 14 %. F16 would take twice the memory, and ggml-cuda would widen such a matrix to F32 for every product.
#pragma once

#include "train/autograd/autograd.h"
#include "train/files/gguf_source.h"
#include "train/transformer/transformer.h"
#include "train/upper/device.h"

namespace yapo::train::upper {

// The type of the copy of a matrix with n_rows rows; `quantized`: of a quantized one.
ggml_type transposed_type(ggml_type type, int64_t n_rows, ggml_type quantized = GGML_TYPE_Q8_0);

class device_weights {
public:
    // host: the tensors of the table of `source` from block first_layer on, in its order, with their data in host memory.
    device_weights(std::shared_ptr<const device> where, const gguf_source & source, const transformer::config & config, int32_t first_layer,
                   const std::vector<const ggml_tensor *> & host, ggml_type quantized_copies = GGML_TYPE_Q8_0);

    const transformer::weights & weights() const { return weights_; }
    const device &               where() const { return *where_; }
    ggml_tensor *                transposed(const ggml_tensor * w) const { return copies_.at(w); }
    // So that gradients flow through any of them.
    void                         give_transposed(autograd::tape & tape) const;

private:
    std::shared_ptr<const device> where_;
    transformer::weights          weights_;
    std::unordered_map<const ggml_tensor *, ggml_tensor *> copies_;
    context_ptr                   ctx_;
    buffer_ptr                    buffer_;
};

} // namespace yapo::train::upper
