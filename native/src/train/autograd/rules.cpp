// The op table: one backward rule per op. dy is dL/dy; each rule adds to dL/d(source).
//
//   op            y                         rule
//   ADD           a + b                     da += dy                    db += sum_to(dy, b)
//   SUB           a - b                     da += dy                    db -= sum_to(dy, b)
//   MUL           a b                       da += dy b                  db += sum_to(dy a, b)
//   DIV           a / b                     da += dy / b                db -= sum_to(dy y / b, b)
//   SCALE         s a + c                   da += s dy
//   SQR           a^2                       da += 2 a dy
//   SQRT          a^1/2                     da += dy / (2 y)
//   LOG           ln a                      da += dy / a
//   SUM           sum of all                da += repeat(dy)
//   SUM_ROWS      sum over dimension 0      da += repeat(dy)
//   REPEAT        a repeated                da += sum_to(dy, a)
//   RMS_NORM      a / rms(a)                RMS_NORM_BACK
//   MUL_MAT       W^T x  [K,N],[K,T]->[N,T] dx += mul_mat(Wt, dy)       dW += mul_mat(xt, dyt)      (t: transposed)
//   CONT, CPY     a, laid out anew          da += dy
//   RESHAPE       a                         da += reshape(dy)
//   VIEW          rows i..j of a            da += dy padded with zero rows
//   PERMUTE       axes moved                da += axes moved back
//   TRANSPOSE     axes 0, 1 swapped         da += transpose(dy)
//   GET_ROWS      a[:, ids]                 da += GET_ROWS_BACK (rows of dy added at ids)
//   SOFT_MAX      softmax(s a + mask)       SOFT_MAX_BACK
//   ROPE          rotated by position       ROPE_BACK
//   UNARY  RELU   max(a, 0)                 da += dy step(a)            relu'(0) = 0
//          SILU   a sigmoid(a)              SILU_BACK
//          TANH   tanh(a)                   da += dy (1 - y^2)
//          SIGMOID                          da += dy y (1 - y)
//          EXP    e^a                       da += dy y
//          SOFTPLUS ln(1 + e^a)             da += dy sigmoid(a)
//          NEG    -a                        da -= dy
//          STEP   1[a > 0]                  nothing flows
//   CUSTOM        kernels.h                 beside each kernel
//
// In a portable tape RMS_NORM, SOFT_MAX and sum_to are composed of plain ops.
#include "train/autograd/kernel_table.h"

#include <cstring>
#include <string>

namespace yapo::autograd {

namespace {

float param_f32(const ggml_tensor * y, int i) {
    float v;
    memcpy(&v, &y->op_params[i], sizeof v);
    return v;
}

ggml_tensor * src(const ggml_tensor * y, int i) { return y->src[i]; }

// ---- elementwise ----

void add_back(tape & t, ggml_tensor * y, ggml_tensor * dy) {
    t.accumulate(src(y, 0), dy);
    t.accumulate(src(y, 1), dy);
}

void sub_back(tape & t, ggml_tensor * y, ggml_tensor * dy) {
    t.accumulate(src(y, 0), dy);
    if (t.wants(src(y, 1))) {
        t.accumulate(src(y, 1), ggml_neg(t.ctx(), t.sum_to(dy, src(y, 1))));
    }
}

void mul_back(tape & t, ggml_tensor * y, ggml_tensor * dy) {
    if (t.wants(src(y, 0))) {
        t.accumulate(src(y, 0), ggml_mul(t.ctx(), dy, src(y, 1)));
    }
    if (t.wants(src(y, 1))) {
        t.accumulate(src(y, 1), ggml_mul(t.ctx(), dy, src(y, 0)));
    }
}

void div_back(tape & t, ggml_tensor * y, ggml_tensor * dy) {
    ggml_tensor * da = ggml_div(t.ctx(), dy, src(y, 1));
    t.accumulate(src(y, 0), da);
    if (t.wants(src(y, 1))) {
        t.accumulate(src(y, 1), ggml_neg(t.ctx(), ggml_mul(t.ctx(), da, y)));
    }
}

void scale_back(tape & t, ggml_tensor * y, ggml_tensor * dy) { t.accumulate(src(y, 0), ggml_scale(t.ctx(), dy, param_f32(y, 0))); }

void sqr_back(tape & t, ggml_tensor * y, ggml_tensor * dy) {
    t.accumulate(src(y, 0), ggml_scale(t.ctx(), ggml_mul(t.ctx(), dy, src(y, 0)), 2.0f));
}

void sqrt_back(tape & t, ggml_tensor * y, ggml_tensor * dy) {
    t.accumulate(src(y, 0), ggml_scale(t.ctx(), ggml_div(t.ctx(), dy, y), 0.5f));
}

void log_back(tape & t, ggml_tensor * y, ggml_tensor * dy) { t.accumulate(src(y, 0), ggml_div(t.ctx(), dy, src(y, 0))); }

void spread_back(tape & t, ggml_tensor * y, ggml_tensor * dy) { t.accumulate(src(y, 0), ggml_repeat(t.ctx(), dy, src(y, 0))); }

void pass_back(tape & t, ggml_tensor * y, ggml_tensor * dy) { t.accumulate(src(y, 0), dy); }

void none_back(tape &, ggml_tensor *, ggml_tensor *) {}

void relu_back(tape & t, ggml_tensor * y, ggml_tensor * dy) {
    t.accumulate(src(y, 0), ggml_mul(t.ctx(), dy, ggml_step(t.ctx(), src(y, 0))));
}

void silu_back(tape & t, ggml_tensor * y, ggml_tensor * dy) {
    t.accumulate(src(y, 0), ggml_silu_back(t.ctx(), t.contiguous(dy), t.contiguous(src(y, 0))));
}

void tanh_back(tape & t, ggml_tensor * y, ggml_tensor * dy) {
    t.accumulate(src(y, 0), ggml_mul(t.ctx(), dy, ggml_scale_bias(t.ctx(), ggml_sqr(t.ctx(), y), -1.0f, 1.0f)));
}

void sigmoid_back(tape & t, ggml_tensor * y, ggml_tensor * dy) {
    t.accumulate(src(y, 0), ggml_mul(t.ctx(), dy, ggml_mul(t.ctx(), y, ggml_scale_bias(t.ctx(), y, -1.0f, 1.0f))));
}

void exp_back(tape & t, ggml_tensor * y, ggml_tensor * dy) { t.accumulate(src(y, 0), ggml_mul(t.ctx(), dy, y)); }

void softplus_back(tape & t, ggml_tensor * y, ggml_tensor * dy) {
    t.accumulate(src(y, 0), ggml_mul(t.ctx(), dy, ggml_sigmoid(t.ctx(), src(y, 0))));
}

void neg_back(tape & t, ggml_tensor * y, ggml_tensor * dy) { t.accumulate(src(y, 0), ggml_neg(t.ctx(), dy)); }

// ---- normalization, softmax, rotation ----

// With r = sqrt(mean a^2 + eps):  da = (dy - y mean(dy y)) / r
void portable_rms_norm_back(tape & t, ggml_tensor * y, ggml_tensor * dy) {
    ggml_context * ctx = t.ctx();
    ggml_tensor * a = src(y, 0);
    const float n = static_cast<float>(a->ne[0]);
    ggml_tensor * r    = ggml_sqrt(ctx, ggml_scale_bias(ctx, ggml_sum_rows(ctx, ggml_sqr(ctx, a)), 1.0f / n, param_f32(y, 0)));
    ggml_tensor * mean = ggml_scale(ctx, ggml_sum_rows(ctx, ggml_mul(ctx, dy, y)), 1.0f / n);
    t.accumulate(a, ggml_div(ctx, ggml_sub(ctx, dy, ggml_mul(ctx, y, mean)), r));
}

void rms_norm_back(tape & t, ggml_tensor * y, ggml_tensor * dy) {
    if (t.portable()) {
        return portable_rms_norm_back(t, y, t.contiguous(dy));
    }
    t.accumulate(src(y, 0), ggml_rms_norm_back(t.ctx(), t.contiguous(dy), src(y, 0), param_f32(y, 0)));
}

// da = s y (dy - sum(dy y))
void portable_soft_max_back(tape & t, ggml_tensor * y, ggml_tensor * dy) {
    ggml_context * ctx = t.ctx();
    const float scale = param_f32(y, 0);
    ggml_tensor * da = ggml_mul(ctx, ggml_sub(ctx, dy, ggml_sum_rows(ctx, ggml_mul(ctx, dy, y))), y);
    t.accumulate(src(y, 0), scale == 1.0f ? da : ggml_scale(ctx, da, scale));
}

void soft_max_back(tape & t, ggml_tensor * y, ggml_tensor * dy) {
    if (t.portable() && param_f32(y, 1) == 0.0f) {
        return portable_soft_max_back(t, y, t.contiguous(dy));
    }
    t.accumulate(src(y, 0), ggml_soft_max_ext_back(t.ctx(), t.contiguous(dy), y, param_f32(y, 0), param_f32(y, 1)));
}

void rope_back(tape & t, ggml_tensor * y, ggml_tensor * dy) {
    const int32_t * p = y->op_params; // as ggml_rope_impl writes them
    t.accumulate(src(y, 0), ggml_rope_ext_back(t.ctx(), dy, src(y, 1), src(y, 2), p[1], p[2], p[4],
        param_f32(y, 5), param_f32(y, 6), param_f32(y, 7), param_f32(y, 8), param_f32(y, 9), param_f32(y, 10)));
}

// ---- matrix products and rows ----

void mul_mat_back(tape & t, ggml_tensor * y, ggml_tensor * dy) {
    ggml_tensor * w = src(y, 0);
    ggml_tensor * x = src(y, 1);
    if (w->ne[2] != x->ne[2] || w->ne[3] != x->ne[3]) {
        fail(YAPO_ERR_UNSUPPORTED, "autograd: MUL_MAT with a broadcast left side ('%s') has no rule; fold the groups into rows", y->name);
    }
    if (t.wants(x)) {
        t.accumulate(x, product(t.ctx(), t.transposed(w), t.contiguous(dy)));
    }
    if (t.wants(w)) {
        t.accumulate(w, product(t.ctx(), t.transposed(x), t.transposed(dy)));
    }
}

void get_rows_back(tape & t, ggml_tensor * y, ggml_tensor * dy) {
    t.accumulate(src(y, 0), ggml_get_rows_back(t.ctx(), t.contiguous(dy), src(y, 1), src(y, 0)));
}

// ---- shape ----

void reshape_back(tape & t, ggml_tensor * y, ggml_tensor * dy) {
    t.accumulate(src(y, 0), ggml_reshape(t.ctx(), t.contiguous(dy), src(y, 0)));
}

// Whole contiguous rows of a contiguous 2-D tensor: what the completion's slice of a sequence is.
void view_back(tape & t, ggml_tensor * y, ggml_tensor * dy) {
    ggml_tensor * a = src(y, 0);
    size_t offset;
    memcpy(&offset, y->op_params, sizeof offset);
    const bool rows = ggml_is_contiguous(a) && ggml_is_contiguous(y) && a->ne[2] * a->ne[3] == 1 && y->ne[2] * y->ne[3] == 1 &&
        y->ne[0] == a->ne[0] && offset % a->nb[1] == 0;
    if (!rows) {
        fail(YAPO_ERR_UNSUPPORTED, "autograd: VIEW '%s' is not a range of whole rows", y->name);
    }
    const int first = static_cast<int>(offset / a->nb[1]);
    const int after = static_cast<int>(a->ne[1] - first - y->ne[1]);
    t.accumulate(a, first == 0 && after == 0 ? dy : ggml_pad_ext(t.ctx(), t.contiguous(dy), 0, 0, first, after, 0, 0, 0, 0));
}

void permute_back(tape & t, ggml_tensor * y, ggml_tensor * dy) {
    int inverse[4];
    for (int i = 0; i < 4; ++i) {
        inverse[y->op_params[i]] = i; // axis i of a became axis op_params[i] of y
    }
    t.accumulate(src(y, 0), ggml_permute(t.ctx(), dy, inverse[0], inverse[1], inverse[2], inverse[3]));
}

void transpose_back(tape & t, ggml_tensor * y, ggml_tensor * dy) { t.accumulate(src(y, 0), ggml_transpose(t.ctx(), dy)); }

const std::unordered_map<int, rule> & op_table() {
    static const std::unordered_map<int, rule> table = {
        {GGML_OP_ADD, add_back},           {GGML_OP_SUB, sub_back},             {GGML_OP_MUL, mul_back},
        {GGML_OP_DIV, div_back},           {GGML_OP_SCALE, scale_back},         {GGML_OP_SQR, sqr_back},
        {GGML_OP_SQRT, sqrt_back},         {GGML_OP_LOG, log_back},             {GGML_OP_SUM, spread_back},
        {GGML_OP_SUM_ROWS, spread_back},   {GGML_OP_REPEAT, pass_back},         {GGML_OP_RMS_NORM, rms_norm_back},
        {GGML_OP_MUL_MAT, mul_mat_back},   {GGML_OP_CONT, pass_back},           {GGML_OP_CPY, pass_back},
        {GGML_OP_RESHAPE, reshape_back},   {GGML_OP_VIEW, view_back},           {GGML_OP_PERMUTE, permute_back},
        {GGML_OP_TRANSPOSE, transpose_back}, {GGML_OP_GET_ROWS, get_rows_back}, {GGML_OP_SOFT_MAX, soft_max_back},
        {GGML_OP_ROPE, rope_back},
    };
    return table;
}

const std::unordered_map<int, rule> & unary_table() {
    static const std::unordered_map<int, rule> table = {
        {GGML_UNARY_OP_RELU, relu_back},       {GGML_UNARY_OP_SILU, silu_back}, {GGML_UNARY_OP_TANH, tanh_back},
        {GGML_UNARY_OP_SIGMOID, sigmoid_back}, {GGML_UNARY_OP_EXP, exp_back},   {GGML_UNARY_OP_SOFTPLUS, softplus_back},
        {GGML_UNARY_OP_NEG, neg_back},         {GGML_UNARY_OP_STEP, none_back},
    };
    return table;
}

} // namespace

ggml_tensor * product(ggml_context * ctx, ggml_tensor * w, ggml_tensor * x) {
    ggml_tensor * y = ggml_mul_mat(ctx, w, x);
    ggml_prec_set_acc(y, GGML_PREC_F32);
    return y;
}

const rule * find_rule(const ggml_tensor * y) {
    if (y->op == GGML_OP_CUSTOM) {
        const kernel_entry * k = find_kernel(y);
        return k && k->backward ? &k->backward : nullptr;
    }
    const auto & table = y->op == GGML_OP_UNARY ? unary_table() : op_table();
    const auto it = table.find(y->op == GGML_OP_UNARY ? static_cast<int>(ggml_get_unary_op(y)) : static_cast<int>(y->op));
    return it == table.end() ? nullptr : &it->second;
}

std::string op_name(const ggml_tensor * y) {
    if (y->op == GGML_OP_CUSTOM) {
        const kernel_entry * k = find_kernel(y);
        return std::string("CUSTOM ") + (k ? k->name : "(unknown)");
    }
    return y->op == GGML_OP_UNARY ? std::string("UNARY ") + ggml_unary_op_name(ggml_get_unary_op(y)) : ggml_op_name(y->op);
}

} // namespace yapo::autograd
