// encode with thresholds: the dense product slice by slice, and the lists of what it leaves; its gradients by latent.
#include "train/autograd/gemm.h"
#include "train/autograd/sparse.h"
#include "train/autograd/vector_math.h"
#include "train/parallel.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

namespace yapo::autograd {

namespace {

const float * floats(const ggml_tensor * t) { return static_cast<const float *>(t->data); }

// Products enc . x of one slice of latents, tile by tile: body(first row, rows, [rows, latents] of the slice)
template <typename F>
void each_tile(const ggml_tensor * x, const ggml_tensor * enc, int64_t first, int64_t latents, std::vector<float> & pre, F && body) {
    const int64_t D = x->ne[0], N = x->ne[1];
    pre.resize(row_tile * code_slice);
    for (int64_t r = 0; r < N; r += row_tile) {
        const int64_t rows = std::min(row_tile, N - r);
        gemm(rows, latents, D, {floats(x) + r * D, D, 1}, {floats(enc) + first * D, D, 1}, pre.data(), latents);
        body(r, rows, pre.data());
    }
}

} // namespace

void choose_above(ggml_tensor * y) {
    const code_lists lists(y);
    const code_params & p = lists.params();
    const float half = 0.5f * p.bandwidth;
    train::parallel(p.n_workers, lists.n_slices(), [&](int32_t, int64_t s) {
        std::vector<float> pre;
        const int64_t first = lists.first_latent(s), n = lists.latents(s);
        const float * bias = floats(y->src[2]) + first, * theta = floats(y->src[3]) + first;
        float low[code_slice];
        for (int64_t j = 0; j < n; ++j) {
            // Candidates: product > low. Below what the sums here and there may be rounded by, so that no active latent is passed over.
            low[j] = theta[j] - half - bias[j] - 4 * std::numeric_limits<float>::epsilon() * (std::fabs(theta[j]) + half + std::fabs(bias[j]));
        }
        int32_t * start = lists.start(s);
        code *    entry = lists.entries(s);
        int32_t   found = 0;
        each_tile(y->src[0], y->src[1], first, n, pre, [&](int64_t r0, int64_t rows, const float * products) {
            for (int64_t r = 0; r < rows; ++r) {
                const float * q = products + r * n;
                start[r0 + r] = found;
                for (int64_t j0 = 0; j0 < n; j0 += scan) {
                    const int64_t j1 = std::min(j0 + scan, n);
                    int any = 0;
                    for (int64_t j = j0; j < j1; ++j) {
                        any |= q[j] > low[j];
                    }
                    if (!any) {
                        continue;
                    }
                    for (int64_t j = j0; j < j1; ++j) {
                        const float value  = q[j] + bias[j];
                        const bool  active = value > theta[j];
                        const bool  window = std::fabs(value - theta[j]) < half;
                        if (active || window) {
                            if (found < p.capacity) {
                                entry[found] = {code::make(j, active, window), value};
                            }
                            ++found;
                        }
                    }
                }
            }
        });
        lists.close(s, found);
    });
}

namespace {

void compute_encode(ggml_tensor * y, int, int, void *) {
    if (kernel_params<code_params>(y).k > 0) {
        choose_top(y);
    } else {
        choose_above(y);
    }
}

void compute_by_latent(ggml_tensor * y, int, int, void *) {
    const code_lists lists(y->src[0]);
    const code_order order(y);
    train::parallel(lists.params().n_workers, lists.n_slices(), [&](int32_t, int64_t s) {
        int32_t * start = order.start(s);
        std::fill_n(start, code_slice + 1, 0);
        const code *  entry = lists.entries(s);
        const int32_t n     = lists.start(s)[lists.n_rows()];
        for (int32_t i = 0; i < n; ++i) {
            ++start[entry[i].latent() + 1];
        }
        std::partial_sum(start, start + code_slice + 1, start);
        int32_t next[code_slice];
        std::copy_n(start, code_slice, next);
        code_place * places = order.places(s);
        for (int64_t row = 0; row < lists.n_rows(); ++row) {
            for (int32_t i = lists.start(s)[row]; i < lists.start(s)[row + 1]; ++i) {
                places[next[entry[i].latent()]++] = {i, static_cast<int32_t>(row)};
            }
        }
    });
}

// [F, 2]: d bias, then d theta (0 without thresholds), from the lists of dL/dz.
void compute_encode_scalars(ggml_tensor * y, int, int, void *) {
    const code_lists lists(y->src[0]);
    const code_order order(y->src[1]);
    const code_params & p = lists.params();
    const float * theta = y->src[2] ? floats(y->src[2]) : nullptr;
    float * d_bias = static_cast<float *>(y->data), * d_theta = d_bias + p.n_latents;
    train::parallel(p.n_workers, lists.n_slices(), [&](int32_t, int64_t s) {
        const code *       entry  = lists.entries(s);
        const code_place * places = order.places(s);
        for (int64_t j = 0; j < lists.latents(s); ++j) {
            double active = 0, window = 0;
            for (int32_t i = order.start(s)[j]; i < order.start(s)[j + 1]; ++i) {
                const code & c = entry[places[i].entry];
                active += c.active() ? c.value : 0.0f;
                window += c.window() ? c.value : 0.0f;
            }
            const int64_t latent = lists.first_latent(s) + j;
            d_bias[latent]  = static_cast<float>(active);
            d_theta[latent] = theta ? static_cast<float>(-theta[latent] / p.bandwidth * window) : 0.0f;
        }
    });
}

ggml_tensor * codes_node(ggml_context * ctx, ggml_tensor * x, ggml_tensor * enc, ggml_tensor * bias, ggml_tensor * theta, int32_t k, const code_options & o) {
    const int64_t N = x->ne[1], F = enc->ne[1];
    const int64_t ne[4] = {code_lists::words(N, o.capacity), (F + code_slice - 1) / code_slice, 1, 1};
    const code_params p{static_cast<int32_t>(N), static_cast<int32_t>(F), o.n_workers, o.capacity, o.bandwidth, k};
    return theta ? kernel_node(ctx, encode_kernel.compute, ne, {x, enc, bias, theta}, p) : kernel_node(ctx, encode_kernel.compute, ne, {x, enc, bias}, p);
}

} // namespace

const kernel_entry codes_by_latent_kernel = {"codes_by_latent", compute_by_latent, nullptr};
const kernel_entry encode_scalars_kernel  = {"encode_scalars", compute_encode_scalars, nullptr};

const kernel_entry encode_kernel = {"encode", compute_encode, [](tape & t, ggml_tensor * y, ggml_tensor * dy) {
    const code_params & p = kernel_params<code_params>(y);
    ggml_tensor * x = y->src[0], * enc = y->src[1], * bias = y->src[2], * theta = y->src[3]; // NULL for top-k
    if (theta && t.wants(theta) && p.bandwidth <= 0.0f) {
        fail(YAPO_ERR_INTERNAL, "autograd: codes without a bandwidth have no gradient in their thresholds");
    }
    if (t.wants(x)) {
        t.accumulate(x, decode(t.ctx(), dy, enc));
    }
    if (t.wants(enc)) {
        t.accumulate(enc, codes_outer(t.ctx(), dy, t.transposed(y), x));
    }
    if (t.wants(bias) || t.wants(theta)) {
        const int64_t ne[4] = {bias->ne[0], 2, 1, 1};
        ggml_tensor * both = theta ? kernel_node(t.ctx(), encode_scalars_kernel.compute, ne, {dy, t.transposed(y), theta}, no_params{})
                                   : kernel_node(t.ctx(), encode_scalars_kernel.compute, ne, {dy, t.transposed(y)}, no_params{});
        t.accumulate(bias, ggml_view_1d(t.ctx(), both, bias->ne[0], 0));
        if (theta) {
            t.accumulate(theta, ggml_view_1d(t.ctx(), both, bias->ne[0], both->nb[1]));
        }
    }
}};

ggml_tensor * encode(ggml_context * ctx, ggml_tensor * x, ggml_tensor * enc, ggml_tensor * bias, ggml_tensor * theta, const code_options & o) {
    return codes_node(ctx, x, enc, bias, theta, 0, o);
}

ggml_tensor * encode_top(ggml_context * ctx, ggml_tensor * x, ggml_tensor * enc, ggml_tensor * bias, int32_t k, const code_options & o) {
    return codes_node(ctx, x, enc, bias, nullptr, k, o);
}

ggml_tensor * given_codes(ggml_context * ctx, int64_t n_rows, int64_t n_latents, int32_t capacity) {
    ggml_tensor * t = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, code_lists::words(n_rows, capacity), (n_latents + code_slice - 1) / code_slice);
    const code_params p{static_cast<int32_t>(n_rows), static_cast<int32_t>(n_latents), 1, capacity, 0.0f, 0};
    memcpy(reinterpret_cast<char *>(t->op_params) + kernel_params_offset, &p, sizeof p);
    return t;
}

void set_codes(ggml_tensor * codes, const std::vector<std::vector<latent_value>> & rows) {
    const code_lists lists(codes);
    std::vector<int32_t> found(lists.n_slices(), 0);
    for (int64_t n = 0; n < lists.n_rows(); ++n) {
        for (int64_t s = 0; s < lists.n_slices(); ++s) {
            lists.start(s)[n] = found[s];
        }
        for (const latent_value & c : n < int64_t(rows.size()) ? rows[n] : std::vector<latent_value>{}) {
            int32_t & i = found[c.latent / code_slice];
            if (i < lists.params().capacity) {
                lists.entries(c.latent / code_slice)[i] = {code::make(c.latent % code_slice, true, false), c.value};
            }
            ++i;
        }
    }
    for (int64_t s = 0; s < lists.n_slices(); ++s) {
        lists.close(s, found[s]);
    }
}

ggml_tensor * codes_by_latent(ggml_context * ctx, ggml_tensor * codes) {
    const int64_t ne[4] = {code_order::words(kernel_params<code_params>(codes).capacity), codes->ne[1], 1, 1};
    return kernel_node(ctx, codes_by_latent_kernel.compute, ne, {codes}, no_params{});
}

int64_t codes_needed(const ggml_tensor * codes) {
    const code_lists lists(codes);
    int64_t most = 0;
    for (int64_t s = 0; s < lists.n_slices(); ++s) {
        most = std::max<int64_t>(most, lists.needed(s));
    }
    return most;
}

} // namespace yapo::autograd
