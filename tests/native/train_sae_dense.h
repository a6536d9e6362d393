// The SAE's loss in plain ggml ops: what autograd/sparse.h computes with lists, as [F, N] matrices.
#pragma once

#include "train/autograd/autograd.h"

namespace yapo_test {

struct dense_sae {
    ggml_tensor * y;  // [D, N]  sum_j z_j dec_j
    ggml_tensor * l0; // [1, N]

    // enc, dec [D, F]; bias, theta [F]; x [D, N]. Gives the tape the straight-through rules of the threshold.
    dense_sae(yapo::autograd::tape & tape, ggml_tensor * x, ggml_tensor * enc, ggml_tensor * bias, ggml_tensor * theta, ggml_tensor * dec, float bandwidth) {
        ggml_context * ctx = tape.ctx();
        ggml_tensor * pre    = ggml_add(ctx, ggml_mul_mat(ctx, enc, x), bias);
        ggml_tensor * above  = ggml_sub(ctx, pre, theta);
        ggml_tensor * gate   = ggml_step(ctx, above);
        ggml_tensor * z      = ggml_mul(ctx, pre, gate);
        ggml_tensor * window = ggml_step(ctx, ggml_scale_bias(ctx, ggml_abs(ctx, above), -1.0f, 0.5f * bandwidth));
        tape.set_rule(z, [=](yapo::autograd::tape & t, ggml_tensor *, ggml_tensor * dz) {
            t.accumulate(pre, ggml_mul(t.ctx(), dz, gate));
            t.accumulate(theta, ggml_mul(t.ctx(), ggml_mul(t.ctx(), dz, window), ggml_scale(t.ctx(), theta, -1.0f / bandwidth)));
        });
        tape.set_rule(gate, [=](yapo::autograd::tape & t, ggml_tensor *, ggml_tensor * dgate) {
            t.accumulate(theta, ggml_scale(t.ctx(), ggml_mul(t.ctx(), window, dgate), -1.0f / bandwidth));
        });
        y  = ggml_mul_mat(ctx, ggml_cont(ctx, ggml_transpose(ctx, dec)), z);
        l0 = ggml_sum_rows(ctx, gate);
    }
};

} // namespace yapo_test
