// attention_softmax and rope_split_heads.
#include "train/autograd/kernel_table.h"
#include "train/autograd/kernels.h"
#include "train/autograd/vector_math.h"

#include <algorithm>
#include <cmath>

namespace yapo::autograd {

namespace {

struct visible { int64_t first, count; };

visible visible_keys(const attention_shape & p, int64_t row) {
    const int64_t q = row % p.n_tokens;
    const int64_t first = p.window > 0 ? std::max<int64_t>(0, q - p.window + 1) : 0;
    return {first, q - first + 1};
}

void compute_softmax(ggml_tensor * y, int, int, void *) {
    const attention_shape & p = kernel_params<attention_shape>(y);
    const int64_t n = y->ne[0], rows = ggml_nrows(y);
    const float * scores = static_cast<const float *>(y->src[0]->data);
    float * out = static_cast<float *>(y->data);
    for (int64_t r = 0; r < rows; ++r, scores += n, out += n) {
        const visible v = visible_keys(p, r);
        const float * in = scores + v.first;
        float * o = out + v.first;
        std::fill(out, out + v.first, 0.0f);
        std::fill(o + v.count, out + n, 0.0f);
        float largest = 0.0f; // subtracted before exp; a cap (below 88) bounds the scores by itself
        if (p.softcap > 0.0f) {
            const float inner = p.scale / p.softcap;
            for (int64_t j = 0; j < v.count; ++j) {
                o[j] = p.softcap * fast_tanh(in[j] * inner);
            }
        } else {
            largest = -INFINITY;
            for (int64_t j = 0; j < v.count; ++j) {
                o[j] = in[j] * p.scale;
                largest = std::max(largest, o[j]);
            }
        }
        for (int64_t j = 0; j < v.count; ++j) {
            o[j] = fast_exp(o[j] - largest);
        }
        const float inverse = static_cast<float>(1.0 / lane_sum(v.count, [&](int64_t j) { return o[j]; }));
        for (int64_t j = 0; j < v.count; ++j) {
            o[j] *= inverse;
        }
    }
}

// dscore = scale (1 - tanh^2) P (dP - P . dP)
void compute_softmax_back(ggml_tensor * y, int, int, void *) {
    const attention_shape & p = kernel_params<attention_shape>(y);
    const int64_t n = y->ne[0], rows = ggml_nrows(y);
    const float * scores = static_cast<const float *>(y->src[0]->data);
    const float * prob   = static_cast<const float *>(y->src[1]->data);
    const float * dprob  = static_cast<const float *>(y->src[2]->data);
    float * out = static_cast<float *>(y->data);
    for (int64_t r = 0; r < rows; ++r, scores += n, prob += n, dprob += n, out += n) {
        const visible v = visible_keys(p, r);
        const float * in = scores + v.first;
        const float * P  = prob + v.first;
        const float * dP = dprob + v.first;
        float * o = out + v.first;
        std::fill(out, out + v.first, 0.0f);
        std::fill(o + v.count, out + n, 0.0f);
        const float dot = static_cast<float>(lane_sum(v.count, [&](int64_t j) { return P[j] * dP[j]; }));
        if (p.softcap > 0.0f) {
            const float inner = p.scale / p.softcap;
            for (int64_t j = 0; j < v.count; ++j) {
                const float th = fast_tanh(in[j] * inner);
                o[j] = p.scale * (1.0f - th * th) * P[j] * (dP[j] - dot);
            }
        } else {
            for (int64_t j = 0; j < v.count; ++j) {
                o[j] = p.scale * P[j] * (dP[j] - dot);
            }
        }
    }
}

struct rope_params { int32_t interleaved; }; // pairs (2i, 2i + 1) instead of (i, i + hd/2)

// x [hd, H, T*B] -> y [hd, T, H, B]
void compute_rope_split(ggml_tensor * y, int, int, void *) {
    const ggml_tensor * x = y->src[0];
    const float * table = static_cast<const float *>(y->src[1]->data);
    const int64_t hd = y->ne[0], T = y->ne[1], H = y->ne[2], B = y->ne[3], half = hd / 2;
    const bool interleaved = kernel_params<rope_params>(y).interleaved != 0;
    for (int64_t b = 0; b < B; ++b) {
        for (int64_t h = 0; h < H; ++h) {
            for (int64_t t = 0; t < T; ++t) {
                const float * in = static_cast<const float *>(x->data) + ((b * T + t) * H + h) * hd;
                float * out = static_cast<float *>(y->data) + ((b * H + h) * T + t) * hd;
                const float * c = table + t * hd;
                const float * s = c + half;
                if (!interleaved) {
                    for (int64_t i = 0; i < half; ++i) {
                        out[i]        = in[i] * c[i] - in[i + half] * s[i];
                        out[i + half] = in[i] * s[i] + in[i + half] * c[i];
                    }
                    continue;
                }
                for (int64_t i = 0; i < half; ++i) {
                    out[2 * i]     = in[2 * i] * c[i] - in[2 * i + 1] * s[i];
                    out[2 * i + 1] = in[2 * i] * s[i] + in[2 * i + 1] * c[i];
                }
            }
        }
    }
}

// The inverse rotation and move: dy [hd, T, H, B] -> dx [hd, H, T*B]
void compute_rope_merge(ggml_tensor * y, int, int, void *) {
    const ggml_tensor * dy = y->src[0];
    const float * table = static_cast<const float *>(y->src[1]->data);
    const int64_t hd = dy->ne[0], T = dy->ne[1], H = dy->ne[2], B = dy->ne[3], half = hd / 2;
    const bool interleaved = kernel_params<rope_params>(y).interleaved != 0;
    for (int64_t b = 0; b < B; ++b) {
        for (int64_t h = 0; h < H; ++h) {
            for (int64_t t = 0; t < T; ++t) {
                const float * in = static_cast<const float *>(dy->data) + ((b * H + h) * T + t) * hd;
                float * out = static_cast<float *>(y->data) + ((b * T + t) * H + h) * hd;
                const float * c = table + t * hd;
                const float * s = c + half;
                if (!interleaved) {
                    for (int64_t i = 0; i < half; ++i) {
                        out[i]        = in[i] * c[i] + in[i + half] * s[i];
                        out[i + half] = in[i + half] * c[i] - in[i] * s[i];
                    }
                    continue;
                }
                for (int64_t i = 0; i < half; ++i) {
                    out[2 * i]     = in[2 * i] * c[i] + in[2 * i + 1] * s[i];
                    out[2 * i + 1] = in[2 * i + 1] * c[i] - in[2 * i] * s[i];
                }
            }
        }
    }
}

} // namespace

const kernel_entry attention_softmax_back_kernel = {"attention_softmax_back", compute_softmax_back, nullptr};

const kernel_entry attention_softmax_kernel = {"attention_softmax", compute_softmax, [](tape & t, ggml_tensor * y, ggml_tensor * dy) {
    const int64_t ne[4] = {y->ne[0], y->ne[1], y->ne[2], y->ne[3]};
    t.accumulate(y->src[0], kernel_node(t.ctx(), attention_softmax_back_kernel.compute, ne, {y->src[0], y, t.contiguous(dy)},
        kernel_params<attention_shape>(y)));
}};

const kernel_entry rope_merge_kernel = {"rope_merge_heads", compute_rope_merge, nullptr};

const kernel_entry rope_split_kernel = {"rope_split_heads", compute_rope_split, [](tape & t, ggml_tensor * y, ggml_tensor * dy) {
    const ggml_tensor * x = y->src[0];
    const int64_t ne[4] = {x->ne[0], x->ne[1], x->ne[2], x->ne[3]};
    t.accumulate(y->src[0], kernel_node(t.ctx(), rope_merge_kernel.compute, ne, {t.contiguous(dy), y->src[1]}, kernel_params<rope_params>(y)));
}};

ggml_tensor * attention_softmax(ggml_context * ctx, ggml_tensor * scores, const attention_shape & shape) {
    const int64_t ne[4] = {scores->ne[0], scores->ne[1], scores->ne[2], scores->ne[3]};
    return kernel_node(ctx, attention_softmax_kernel.compute, ne, {scores}, shape);
}

ggml_tensor * rope_split_heads(ggml_context * ctx, ggml_tensor * x, ggml_tensor * table, int32_t n_tokens, bool interleaved) {
    const int64_t ne[4] = {x->ne[0], n_tokens, x->ne[1], x->ne[2] / n_tokens};
    return kernel_node(ctx, rope_split_kernel.compute, ne, {x, table}, rope_params{interleaved});
}

void fill_rope_table(float * table, int32_t head_dim, int32_t n_tokens, double theta, double scale, const float * factors) {
    const int32_t half = head_dim / 2;
    for (int32_t t = 0; t < n_tokens; ++t) {
        for (int32_t i = 0; i < half; ++i) {
            const double angle = t * scale * std::pow(theta, -2.0 * i / head_dim) / (factors ? factors[i] : 1.0f);
            table[t * head_dim + i]        = static_cast<float>(std::cos(angle));
            table[t * head_dim + half + i] = static_cast<float>(std::sin(angle));
        }
    }
}

} // namespace yapo::autograd
