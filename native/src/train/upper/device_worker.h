// A worker on a ggml device: the same mathematics as host_worker in ops that CPU, CUDA, Vulkan and Metal backends all have, on weights and latents that live
// there. Per sequence its residuals, its codes as a dense [F, T] matrix and v go to the device; log-probabilities and gradients come back.
//
// What it emits, with the condition that backends put on it (ggml-cuda, ggml-vulkan, ggml-metal of llama.cpp v0.5.0):
//   MUL_MAT of F32, F16, BF16 and quantized matrices by F32, rows adjacent; summed in F32     ADD SUB MUL DIV with broadcast right sides, F32, rows adjacent
//   SQR SQRT LOG SCALE and UNARY SILU TANH RELU STEP EXP NEG, contiguous F32                  SILU_BACK contiguous; ROPE and ROPE_BACK of contiguous heads
//   RMS_NORM SOFT_MAX (F32 mask) SUM_ROWS ARGMAX, contiguous F32                              GET_ROWS by I32; CONCAT REPEAT CONT; RESHAPE VIEW PERMUTE TRANSPOSE
// and none of what one of them lacks: OUT_PROD, SOFT_MAX_BACK, RMS_NORM_BACK, REPEAT_BACK, GET_ROWS_BACK, CROSS_ENTROPY_LOSS, PAD at the front (Metal).
// Of matrix types CUDA lacks TQ1_0 and TQ2_0, Metal NVFP4 and TQ1_0, and BF16 on older chips; device::require says so by name.
#pragma once

#include "train/upper/device_head.h"
#include "train/upper/worker.h"

namespace yapo::train::upper {

class device_worker final : public worker {
public:
    // m has been placed on a device.
    explicit device_worker(std::shared_ptr<const model> m);

    // What the largest graph so far holds on the device beside weights and latents.
    size_t activation_bytes() const { return ggml_gallocr_get_buffer_size(allocation_.get(), 0); }

protected:
    double evaluate(const request & r) override;
    void   read_gradients(std::vector<float> & dh, std::vector<float> & dv) override;
    void   forget() override { graph_.reset(); }

private:
    struct shape {
        int32_t n_tokens, n_scored; // n_scored: at least one more than there are, see graph::spread
        bool    steered, gradient, given;
        bool operator==(const shape & o) const {
            return n_tokens == o.n_tokens && n_scored == o.n_scored && steered == o.steered && gradient == o.gradient && given == o.given;
        }
    };
    struct graph {
        shape                      key;
        context_ptr                ctx;
        ggml_cgraph *              nodes = nullptr;
        ggml_tensor *              residual = nullptr, * strength = nullptr, * codes = nullptr; // codes [F, T] of the lowest block, where given
        ggml_tensor *              rows = nullptr, * targets = nullptr, * seeds = nullptr;
        ggml_tensor *              spread = nullptr; // [T] which scored row a position is; the last, which has seed 0 and so gradient 0, where none
        ggml_tensor *              first = nullptr, * dh = nullptr; // first: the lowest steered h'
        std::vector<ggml_tensor *> v, dv;
        std::vector<head_chunk>    chunks;
    };

    void          build(const shape & key);
    ggml_tensor * steer(graph & g, size_t i, ggml_tensor * h);
    void          differentiate(graph & g, ggml_tensor * normed, ggml_tensor * picked);
    void          upload(const request & r);
    double        read_logprob(int32_t n) const;

    std::shared_ptr<const device_weights> weights_; // the model's
    backend_ptr                           backend_;
    gallocr_ptr                           allocation_; // one buffer, as large as the largest graph so far
    std::unique_ptr<graph>                graph_;      // the last one used
};

} // namespace yapo::train::upper
