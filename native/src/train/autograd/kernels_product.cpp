// inner, combine: matrix products over gemm.h. Their gradients are products of the same three kinds, on operands as they lie.
#include "train/autograd/gemm.h"
#include "train/autograd/kernel_table.h"
#include "train/autograd/kernels.h"
#include "train/autograd/weight_gemm.h"

namespace yapo::autograd {

namespace {

struct batch_of {
    const ggml_tensor * t;
    const float * at(int64_t i2, int64_t i3) const {
        return reinterpret_cast<const float *>(static_cast<const char *>(t->data) + i2 * t->nb[2] + i3 * t->nb[3]);
    }
    int64_t stride() const { return static_cast<int64_t>(t->nb[1] / sizeof(float)); }
};

template <typename F>
void each_matrix(ggml_tensor * y, F && body) {
    for (int64_t i3 = 0; i3 < y->ne[3]; ++i3) {
        for (int64_t i2 = 0; i2 < y->ne[2]; ++i2) {
            body(i2, i3, reinterpret_cast<float *>(static_cast<char *>(y->data) + i2 * y->nb[2] + i3 * y->nb[3]));
        }
    }
}

weight_rows rows_of(const ggml_tensor * w) { return {w->type, w->data, w->ne[0], w->nb[1]}; }

// y[n, t] = sum_k w[k, n] x[k, t]
void compute_inner(ggml_tensor * y, int, int, void *) {
    const batch_of w{y->src[0]}, x{y->src[1]};
    if (w.t->type != GGML_TYPE_F32) {
        rows_times(y->ne[1], y->ne[0], x.at(0, 0), x.stride(), rows_of(w.t), static_cast<float *>(y->data), y->ne[0]);
        return;
    }
    each_matrix(y, [&](int64_t i2, int64_t i3, float * out) {
        gemm(y->ne[1], y->ne[0], w.t->ne[0], {x.at(i2, i3), x.stride(), 1}, {w.at(i2, i3), w.stride(), 1}, out, y->ne[0]);
    });
}

// y[k, t] = sum_n w[k, n] a[n, t]
void compute_combine(ggml_tensor * y, int, int, void *) {
    const batch_of w{y->src[0]}, a{y->src[1]};
    if (w.t->type != GGML_TYPE_F32) {
        rows_weighted(y->ne[1], w.t->ne[1], a.at(0, 0), a.stride(), rows_of(w.t), static_cast<float *>(y->data), y->ne[0]);
        return;
    }
    each_matrix(y, [&](int64_t i2, int64_t i3, float * out) {
        gemm(y->ne[1], y->ne[0], w.t->ne[1], {a.at(i2, i3), a.stride(), 1}, {w.at(i2, i3), 1, w.stride()}, out, y->ne[0]);
    });
}

// y[k, n] = sum_t x[k, t] a[n, t]
void compute_outer(ggml_tensor * y, int, int, void *) {
    const batch_of x{y->src[0]}, a{y->src[1]};
    each_matrix(y, [&](int64_t i2, int64_t i3, float * out) {
        gemm(y->ne[1], y->ne[0], x.t->ne[1], {a.at(i2, i3), 1, a.stride()}, {x.at(i2, i3), 1, x.stride()}, out, y->ne[0]);
    });
}

ggml_tensor * rows_in_place(tape & t, ggml_tensor * x) { return x->nb[0] == sizeof(float) ? x : t.contiguous(x); }

ggml_tensor * outer(tape & t, ggml_tensor * x, ggml_tensor * a) {
    x = rows_in_place(t, x);
    a = rows_in_place(t, a);
    const int64_t ne[4] = {x->ne[0], a->ne[0], x->ne[2], x->ne[3]};
    return kernel_node(t.ctx(), outer_kernel.compute, ne, {x, a}, no_params{});
}

} // namespace

const kernel_entry outer_kernel = {"outer", compute_outer, nullptr};

const kernel_entry inner_kernel = {"inner", compute_inner, [](tape & t, ggml_tensor * y, ggml_tensor * dy) {
    ggml_tensor * w = y->src[0], * x = y->src[1];
    if (t.wants(x)) {
        t.accumulate(x, combine(t.ctx(), w, rows_in_place(t, dy)));
    }
    if (t.wants(w)) {
        t.accumulate(w, outer(t, x, dy));
    }
}};

const kernel_entry combine_kernel = {"combine", compute_combine, [](tape & t, ggml_tensor * y, ggml_tensor * dy) {
    ggml_tensor * w = y->src[0], * a = y->src[1];
    if (t.wants(a)) {
        t.accumulate(a, inner(t.ctx(), w, rows_in_place(t, dy)));
    }
    if (t.wants(w)) {
        t.accumulate(w, outer(t, dy, a));
    }
}};

ggml_tensor * inner(ggml_context * ctx, ggml_tensor * w, ggml_tensor * x) {
    const int64_t ne[4] = {w->ne[1], x->ne[1], x->ne[2], x->ne[3]};
    return kernel_node(ctx, inner_kernel.compute, ne, {w, x}, no_params{});
}

ggml_tensor * combine(ggml_context * ctx, ggml_tensor * w, ggml_tensor * a) {
    const int64_t ne[4] = {w->ne[0], a->ne[1], a->ne[2], a->ne[3]};
    return kernel_node(ctx, combine_kernel.compute, ne, {w, a}, no_params{});
}

} // namespace yapo::autograd
