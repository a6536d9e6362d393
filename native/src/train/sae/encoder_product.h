// The dense product of an encoder with a block of rows, on one thread, by ggml.
#pragma once

#include "abi/guard.h"

#include "ggml.h"
#include "ggml-cpu.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace yapo::sae {

// output [rows, F] = enc [F, D] . input [rows, D]. The graph refers to the weights in place.
class encoder_product {
public:
    encoder_product(const float * enc, int64_t d, int64_t f, int64_t rows) : input_(rows * d), output_(rows * f) {
        ctx_.reset(ggml_init({16 * ggml_tensor_overhead() + ggml_graph_overhead_custom(8, false), nullptr, /*no_alloc*/ true}));
        if (!ctx_) {
            fail(YAPO_ERR_OUT_OF_MEMORY, "out of memory for the encoder's graph");
        }
        ggml_tensor * w = ggml_new_tensor_2d(ctx_.get(), GGML_TYPE_F32, d, f);
        ggml_tensor * x = ggml_new_tensor_2d(ctx_.get(), GGML_TYPE_F32, d, rows);
        w->data = const_cast<float *>(enc);
        x->data = input_.data();
        ggml_tensor * y = ggml_mul_mat(ctx_.get(), w, x);
        y->data = output_.data();
        graph_ = ggml_new_graph_custom(ctx_.get(), 8, false);
        ggml_build_forward_expand(graph_, y);
        plan_ = ggml_graph_plan(graph_, 1, nullptr);
        work_.resize(plan_.work_size);
        plan_.work_data = work_.data();
    }

    float *       input() { return input_.data(); }
    const float * compute() {
        if (ggml_graph_compute(graph_, &plan_) != GGML_STATUS_SUCCESS) {
            fail(YAPO_ERR_INTERNAL, "the encoder product failed");
        }
        return output_.data();
    }

private:
    struct release {
        void operator()(ggml_context * c) const { ggml_free(c); }
    };
    std::unique_ptr<ggml_context, release> ctx_;
    std::vector<float>   input_, output_;
    std::vector<uint8_t> work_;
    ggml_cgraph *        graph_ = nullptr;
    ggml_cplan           plan_{};
};

} // namespace yapo::sae
