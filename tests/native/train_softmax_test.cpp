// Norms, softmax, rotary embedding, loss and GEGLU: rules against central differences, and the ends of their ranges.
#include "harness.h"
#include "train/autograd/kernels.h"
#include "train/compute.h"
#include "train/transformer/transformer.h"
#include "train_op_case.h"

#include <algorithm>
#include <cmath>

using namespace yapo_test;
namespace ag = yapo::autograd;

namespace {

reals softmax_rows(const reals & a, int64_t n, const std::function<bool(int64_t row, int64_t k)> & visible) {
    reals y(a.size(), 0.0);
    for (int64_t r = 0; r < int64_t(a.size()) / n; ++r) {
        double sum = 0;
        for (int64_t k = 0; k < n; ++k) sum += visible(r, k) ? std::exp(a[r * n + k]) : 0.0;
        for (int64_t k = 0; k < n; ++k) y[r * n + k] = visible(r, k) ? std::exp(a[r * n + k]) / sum : 0.0;
    }
    return y;
}

// Pairs (i, i + hd/2) of each head of [hd, H, T] turned by position / 10000^(2i/hd).
reals rotated(const reals & x, int64_t hd, int64_t H, int64_t T) {
    reals y(x.size());
    for (int64_t t = 0; t < T; ++t)
        for (int64_t h = 0; h < H; ++h)
            for (int64_t i = 0; i < hd / 2; ++i) {
                const double angle = t * std::pow(10000.0, -2.0 * i / hd), c = std::cos(angle), s = std::sin(angle);
                const double * in = x.data() + (t * H + h) * hd;
                double * out = y.data() + (t * H + h) * hd;
                out[i] = in[i] * c - in[i + hd / 2] * s;
                out[i + hd / 2] = in[i] * s + in[i + hd / 2] * c;
            }
    return y;
}

} // namespace

YAPO_TEST(TrainRules_NormsSoftmaxRopeLoss_AgreeWithFiniteDifferences) {
    constexpr int hd = 6, H = 2, T = 5;
    const auto all = [](int64_t, int64_t) { return true; };
    ag::attention_shape shape;
    shape.n_tokens = T;
    shape.window   = 3;
    shape.scale    = 0.7f;
    shape.softcap  = 2.0f;
    const auto causal = [](int64_t r, int64_t k) { return k <= r % T && r % T - k < 3; };
    const auto cross_entropy = [](const leaves & v) {
        const std::vector<int> target{3, -1, 0};
        reals y;
        for (int n = 0; n < 3; ++n) {
            double sum = 0;
            for (int k = 0; k < 9; ++k) sum += std::exp(4 * std::tanh(v[0][n * 9 + k] / 4));
            y.push_back(target[n] < 0 ? 0 : std::log(sum) - 4 * std::tanh(v[0][n * 9 + target[n]] / 4));
        }
        return y;
    };
    const op_case cases[] = {
        {"RMS_NORM", {full()}, [](ggml_context * ctx, tensors & t) { return ggml_rms_norm(ctx, t[0], 1e-3f); }, [](const leaves & v) {
            reals y;
            for (int r = 0; r < 24; ++r) {
                double sum = 0;
                for (int i = 0; i < 5; ++i) sum += v[0][r * 5 + i] * v[0][r * 5 + i];
                for (int i = 0; i < 5; ++i) y.push_back(v[0][r * 5 + i] / std::sqrt(sum / 5 + double(1e-3f)));
            }
            return y;
        }},
        {"SOFT_MAX", {full()}, [](ggml_context * ctx, tensors & t) { return ggml_soft_max_ext(ctx, t[0], nullptr, 0.5f, 0.0f); },
            [=](const leaves & v) { return softmax_rows(each(v[0], [](double x) { return 0.5 * x; }), 5, all); }},
        {"attention_softmax", {{{T, 2 * T, 2, 1}, -6, 6}}, [=](ggml_context * ctx, tensors & t) { return ag::attention_softmax(ctx, t[0], shape); },
            [=](const leaves & v) { return softmax_rows(each(v[0], [](double x) { return 2 * std::tanh(double(0.7f) * x / 2); }), T, causal); }},
        {"ROPE", {{{hd, H, T, 1}, -1, 1}}, [](ggml_context * ctx, tensors & t) {
            return ggml_rope_ext(ctx, t[0], ints(ctx, {0, 1, 2, 3, 4}), nullptr, hd, GGML_ROPE_TYPE_NEOX, 64, 10000.0f, 1.0f, 0.0f, 1.0f, 32.0f, 1.0f);
        }, [](const leaves & v) { return rotated(v[0], hd, H, T); }},
        {"rope_split_heads", {{{hd, H, T, 1}, -1, 1}}, [](ggml_context * ctx, tensors & t) {
            ggml_tensor * table = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, hd, T);
            ag::fill_rope_table(static_cast<float *>(table->data), hd, T, 10000.0);
            return ag::rope_split_heads(ctx, t[0], table, T);
        }, [](const leaves & v) { // [hd, H, T] -> [hd, T, H]
            const reals r = rotated(v[0], hd, H, T);
            reals y(r.size());
            for (int t = 0; t < T; ++t) for (int h = 0; h < H; ++h) for (int i = 0; i < hd; ++i) y[(h * T + t) * hd + i] = r[(t * H + h) * hd + i];
            return y;
        }},
        {"cross_entropy", {{{9, 3, 1, 1}, -5, 5}}, [](ggml_context * ctx, tensors & t) { return ag::cross_entropy(ctx, t[0], ints(ctx, {3, -1, 0}), 4.0f); }, cross_entropy},
    };
    uint64_t seed = 300;
    for (const op_case & c : cases) run(c, seed++);
}

// Cancellation is where a loss breaks: almost certain and almost impossible targets, with and without a cap.
YAPO_TEST(TrainRules_CrossEntropy_KeepsSmallDifferences) {
    for (const float cap : {30.0f, 0.0f}) {
        yapo::train::context_ptr ctx(ggml_init({size_t(1) << 20, nullptr, false}));
        ggml_tensor * logits = ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F32, 33, 2), * seed = ggml_new_tensor_1d(ctx.get(), GGML_TYPE_F32, 2);
        float * l = static_cast<float *>(logits->data);
        std::fill(l, l + 66, -5.0f);
        l[2] = l[33 + 2] = 16.0f;
        static_cast<float *>(seed->data)[0] = static_cast<float *>(seed->data)[1] = 1.0f;
        ggml_tensor * loss = ag::cross_entropy(ctx.get(), logits, ints(ctx.get(), {2, 9}), cap);
        ag::tape tape(ctx.get(), {});
        tape.seed(loss, seed);
        tape.differentiate({loss}, {logits});
        ggml_cgraph * graph = ggml_new_graph(ctx.get());
        ggml_build_forward_expand(graph, tape.gradient(logits));
        yapo::train::compute(yapo::train::new_cpu_backend().get(), graph);
        const auto capped = [&](double x) { return cap > 0 ? cap * std::tanh(x / cap) : x; };
        const auto slope = [&](double x) { return cap > 0 ? 1 - std::pow(std::tanh(x / cap), 2) : 1.0; };
        const double rest = 32 * std::exp(capped(-5) - capped(16)); // about 2e-8
        const float * g = static_cast<const float *>(tape.gradient(logits)->data);
        CHECK_NEAR(static_cast<float *>(loss->data)[0], std::log1p(rest), 0, 1e-5);
        CHECK_NEAR(static_cast<float *>(loss->data)[1], std::log1p(rest) + capped(16) - capped(-5), 0, 1e-6);
        CHECK_NEAR(g[2], -rest / (1 + rest) * slope(16), 0, 1e-5);
        CHECK_NEAR(g[0], rest / (1 + rest) / 32 * slope(-5), 0, 1e-5);
    }
}

// Both forms of GEGLU over the whole range that activations can have, where naive formulas are 0/0 or inf - inf.
YAPO_TEST(TrainRules_Geglu_IsFiniteAndExactFarOut) {
    yapo::train::context_ptr ctx(ggml_init({size_t(8) << 20, nullptr, false}));
    const std::vector<float> at{-2000, -300, -44.1f, -20, -9, -6, -3, -1e-3f, -1e-20f, 0, 1e-20f, 1e-3f, 3, 6, 9, 20, 44.1f, 300, 2000};
    ggml_tensor * x = ggml_new_tensor_1d(ctx.get(), GGML_TYPE_F32, int64_t(at.size())), * one = ggml_new_tensor_1d(ctx.get(), GGML_TYPE_F32, int64_t(at.size()));
    std::copy(at.begin(), at.end(), static_cast<float *>(x->data));
    std::fill_n(static_cast<float *>(one->data), at.size(), 1.0f);
    for (const bool fused : {true, false}) {
        ggml_tensor * y = fused ? ag::geglu(ctx.get(), x, one) : yapo::train::transformer::gelu(ctx.get(), x);
        ag::tape tape(ctx.get(), {});
        tape.seed(y, one);
        tape.differentiate({y}, {x});
        ggml_cgraph * graph = ggml_new_graph(ctx.get());
        ggml_tensor * dx = tape.contiguous(tape.gradient(x));
        ggml_build_forward_expand(graph, dx);
        ggml_build_forward_expand(graph, y);
        yapo::train::compute(yapo::train::new_cpu_backend().get(), graph);
        for (size_t i = 0; i < at.size(); ++i) {
            const double a = at[i], u = std::sqrt(2 / M_PI) * (a + 0.044715 * a * a * a), s = 1 / (1 + std::exp(-2 * u));
            const double slope = s + 2 * a * s * (1 - s) * std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * a * a);
            CHECK_NEAR(static_cast<float *>(y->data)[i], a * s, 2e-6, 2e-6);
            CHECK_NEAR(static_cast<float *>(dx->data)[i], std::isfinite(slope) ? slope : s, 4e-6, 4e-6);
        }
    }
}
