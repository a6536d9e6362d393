// Every backward rule of the autograd op table against central differences of the op in double precision.
#include "harness.h"
#include "random_model.h"

#include "train/autograd/autograd.h"
#include "train/autograd/kernels.h"
#include "train/compute.h"
#include "train/gemma2/gemma2.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

using namespace yapo_test;
namespace ag = yapo::autograd;

namespace {

using reals = std::vector<double>;

struct leaf {
    int64_t ne[4];
    double  low, high;         // entries are uniform in [low, high)
    bool    wanted = true;     // differentiate with respect to it
    int64_t size() const { return ne[0] * ne[1] * ne[2] * ne[3]; }
};

struct op_case {
    const char *                                                              name;
    std::vector<leaf>                                                         leaves;
    std::function<ggml_tensor *(ggml_context *, std::vector<ggml_tensor *> &)> build; // the op on the leaves
    std::function<reals(const std::vector<reals> &)>                          value;  // the same in double
};

double silu(double x) { return x / (1 + std::exp(-x)); }
double gelu(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }

reals each(const reals & a, double (*f)(double)) {
    reals y;
    for (double x : a) y.push_back(f(x));
    return y;
}

// y[m, t] = sum_k w[k, m] x[k, t]
reals product(const reals & w, const reals & x, int64_t K, int64_t M, int64_t T) {
    reals y(M * T, 0.0);
    for (int64_t t = 0; t < T; ++t)
        for (int64_t m = 0; m < M; ++m)
            for (int64_t k = 0; k < K; ++k) y[t * M + m] += w[m * K + k] * x[t * K + k];
    return y;
}

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

void run(const op_case & c, uint64_t seed) {
    random_source rng(seed);
    yapo::train::context_ptr ctx(ggml_init({size_t(32) << 20, nullptr, false}));
    std::vector<ggml_tensor *> tensors, wanted;
    std::vector<reals> values;
    for (const leaf & l : c.leaves) {
        ggml_tensor * t = ggml_new_tensor(ctx.get(), GGML_TYPE_F32, 4, l.ne);
        values.emplace_back();
        for (int64_t i = 0; i < l.size(); ++i) {
            const float x = float(l.low + (l.high - l.low) * rng.uniform());
            static_cast<float *>(t->data)[i] = x;
            values.back().push_back(x);
        }
        tensors.push_back(t);
        if (l.wanted) wanted.push_back(t);
    }
    ggml_tensor * y = c.build(ctx.get(), tensors);
    ggml_tensor * dy = ggml_new_tensor(ctx.get(), GGML_TYPE_F32, 4, y->ne);
    reals weight;
    for (int64_t i = 0; i < ggml_nelements(dy); ++i) {
        weight.push_back(static_cast<float *>(dy->data)[i] = rng.normal());
    }
    ag::tape tape(ctx.get(), {});
    tape.seed(y, dy);
    tape.differentiate({y}, wanted);
    ggml_cgraph * graph = ggml_new_graph(ctx.get());
    ggml_build_forward_expand(graph, y);
    std::vector<ggml_tensor *> gradients;
    for (ggml_tensor * w : wanted) {
        CHECK_MSG(tape.gradient(w), "%s: no gradient", c.name);
        gradients.push_back(tape.contiguous(tape.gradient(w)));
        ggml_build_forward_expand(graph, gradients.back());
    }
    const auto backend = yapo::train::new_cpu_backend();
    yapo::train::compute(backend.get(), graph);

    const reals exact = c.value(values);
    CHECK_MSG(int64_t(exact.size()) == ggml_nelements(y), "%s: %zu entries, the graph has %lld", c.name, exact.size(), (long long) ggml_nelements(y));
    double forward = 0;
    for (size_t i = 0; i < exact.size(); ++i) {
        forward = std::max(forward, std::fabs(exact[i] - static_cast<float *>(y->data)[i]) / (1 + std::fabs(exact[i])));
    }
    double worst = 0;
    for (size_t g = 0, l = 0; l < c.leaves.size(); ++l) {
        if (!c.leaves[l].wanted) continue;
        double error = 0, norm = 0;
        for (int64_t i = 0; i < c.leaves[l].size(); ++i) {
            const double keep = values[l][i], h = 1e-5;
            const auto loss = [&](double x) {
                values[l][i] = x;
                const reals out = c.value(values);
                double sum = 0;
                for (size_t k = 0; k < out.size(); ++k) sum += weight[k] * out[k];
                return sum;
            };
            const double expected = (loss(keep + h) - loss(keep - h)) / (2 * h);
            values[l][i] = keep;
            const double mine = static_cast<float *>(gradients[g]->data)[i];
            error += (mine - expected) * (mine - expected);
            norm += expected * expected;
        }
        CHECK_MSG(norm > 0, "%s: the gradient of leaf %zu is zero", c.name, l);
        worst = std::max(worst, std::sqrt(error / norm));
        ++g;
    }
    note("%-24s forward %.1e, gradient relative L2 error %.1e", c.name, forward, worst);
    CHECK_MSG(forward < 2e-6, "%s: forward off by %.1e", c.name, forward);
    CHECK_MSG(worst < 5e-6, "%s: gradient off by %.1e", c.name, worst);
}

leaf full(double low = -2, double high = 2) { return {{5, 4, 3, 2}, low, high}; }
leaf row(double low = -2, double high = 2) { return {{5, 1, 1, 1}, low, high}; } // broadcast over the rest

using tensors = std::vector<ggml_tensor *>;
using leaves  = std::vector<reals>;

op_case binary(const char * name, ggml_tensor * (*op)(ggml_context *, ggml_tensor *, ggml_tensor *), double (*f)(double, double), leaf b) {
    return {name, {full(), b}, [=](ggml_context * ctx, tensors & t) { return op(ctx, t[0], t[1]); }, [=](const leaves & v) {
        reals y;
        for (size_t i = 0; i < v[0].size(); ++i) y.push_back(f(v[0][i], v[1][i % v[1].size()]));
        return y;
    }};
}

op_case unary(const char * name, ggml_tensor * (*op)(ggml_context *, ggml_tensor *), double (*f)(double), leaf a = full(-4, 4)) {
    return {name, {a}, [=](ggml_context * ctx, tensors & t) { return op(ctx, t[0]); }, [=](const leaves & v) { return each(v[0], f); }};
}

ggml_tensor * ints(ggml_context * ctx, const std::vector<int32_t> & v) {
    ggml_tensor * t = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, int64_t(v.size()));
    memcpy(t->data, v.data(), v.size() * sizeof(int32_t));
    return t;
}

} // namespace

YAPO_TEST(TrainRules_Elementwise_AgreeWithFiniteDifferences) {
    const auto add = [](double a, double b) { return a + b; };
    const auto sub = [](double a, double b) { return a - b; };
    const auto mul = [](double a, double b) { return a * b; };
    const auto div = [](double a, double b) { return a / b; };
    const op_case cases[] = {
        binary("ADD", ggml_add, add, full()), binary("ADD broadcast", ggml_add, add, row()),
        binary("SUB", ggml_sub, sub, full()), binary("SUB broadcast", ggml_sub, sub, row()),
        binary("MUL", ggml_mul, mul, full()), binary("MUL broadcast", ggml_mul, mul, row()),
        binary("DIV", ggml_div, div, full(1, 3)), binary("DIV broadcast", ggml_div, div, row(1, 3)),
        unary("SQR", ggml_sqr, [](double x) { return x * x; }),
        unary("SQRT", ggml_sqrt, [](double x) { return std::sqrt(x); }, full(0.5, 4)),
        unary("LOG", ggml_log, [](double x) { return std::log(x); }, full(0.5, 4)),
        unary("RELU", ggml_relu, [](double x) { return std::max(x, 0.0); }),
        unary("SILU", ggml_silu, silu),
        unary("TANH", ggml_tanh, [](double x) { return std::tanh(x); }),
        unary("SIGMOID", ggml_sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }),
        unary("EXP", ggml_exp, [](double x) { return std::exp(x); }),
        unary("SOFTPLUS", ggml_softplus, [](double x) { return std::log1p(std::exp(x)); }),
        unary("NEG", ggml_neg, [](double x) { return -x; }),
        {"SCALE", {full()}, [](ggml_context * ctx, tensors & t) { return ggml_scale_bias(ctx, t[0], -1.5f, 0.25f); },
            [](const leaves & v) { return each(v[0], [](double x) { return -1.5 * x + 0.25; }); }},
        {"geglu", {{{6, 7, 1, 1}, -4, 4}, {{6, 7, 1, 1}, -2, 2}}, [](ggml_context * ctx, tensors & t) { return ag::geglu(ctx, t[0], t[1]); },
            [](const leaves & v) { reals y; for (size_t i = 0; i < v[0].size(); ++i) y.push_back(gelu(v[0][i]) * v[1][i]); return y; }},
    };
    uint64_t seed = 1;
    for (const op_case & c : cases) run(c, seed++);
}

YAPO_TEST(TrainRules_ShapesAndSums_AgreeWithFiniteDifferences) {
    const auto sum = [](const leaves & v) { double s = 0; for (double x : v[0]) s += x; return reals{s}; };
    const op_case cases[] = {
        {"SUM", {full()}, [](ggml_context * ctx, tensors & t) { return ggml_sum(ctx, t[0]); }, sum},
        {"SUM_ROWS", {full()}, [](ggml_context * ctx, tensors & t) { return ggml_sum_rows(ctx, t[0]); },
            [](const leaves & v) { reals y(24, 0.0); for (int i = 0; i < 120; ++i) y[i / 5] += v[0][i]; return y; }},
        {"REPEAT", {row(), {{5, 4, 3, 2}, 0, 0, false}}, [](ggml_context * ctx, tensors & t) { return ggml_repeat(ctx, t[0], t[1]); },
            [](const leaves & v) { reals y; for (int i = 0; i < 120; ++i) y.push_back(v[0][i % 5]); return y; }},
        {"RESHAPE", {full()}, [](ggml_context * ctx, tensors & t) { return ggml_reshape_2d(ctx, t[0], 20, 6); }, [](const leaves & v) { return v[0]; }},
        {"PERMUTE, CONT", {full()}, [](ggml_context * ctx, tensors & t) { return ggml_cont(ctx, ggml_permute(ctx, t[0], 2, 0, 3, 1)); },
            [](const leaves & v) { // axis 0 -> 2, 1 -> 0, 2 -> 3, 3 -> 1: [4, 2, 5, 3]
                reals y(120);
                for (int d = 0; d < 2; ++d) for (int c = 0; c < 3; ++c) for (int b = 0; b < 4; ++b) for (int a = 0; a < 5; ++a)
                    y[((c * 5 + a) * 2 + d) * 4 + b] = v[0][((d * 3 + c) * 4 + b) * 5 + a];
                return y;
            }},
        {"TRANSPOSE, CONT", {{{5, 4, 1, 1}, -1, 1}}, [](ggml_context * ctx, tensors & t) { return ggml_cont(ctx, ggml_transpose(ctx, t[0])); },
            [](const leaves & v) { reals y(20); for (int i = 0; i < 20; ++i) y[(i % 5) * 4 + i / 5] = v[0][i]; return y; }},
        {"transpose", {{{19, 37, 2, 1}, -1, 1}}, [](ggml_context * ctx, tensors & t) { return ag::transpose(ctx, t[0]); },
            [](const leaves & v) { reals y(v[0].size()); for (int b = 0; b < 2; ++b) for (int i = 0; i < 703; ++i) y[b * 703 + (i % 19) * 37 + i / 19] = v[0][b * 703 + i]; return y; }},
        {"VIEW of rows", {{{5, 6, 1, 1}, -1, 1}}, [](ggml_context * ctx, tensors & t) { return ggml_scale(ctx, ggml_view_2d(ctx, t[0], 5, 3, t[0]->nb[1], 2 * t[0]->nb[1]), 2.0f); },
            [](const leaves & v) { reals y; for (int i = 10; i < 25; ++i) y.push_back(2 * v[0][i]); return y; }},
        {"GET_ROWS", {{{5, 6, 1, 1}, -1, 1}}, [](ggml_context * ctx, tensors & t) { return ggml_get_rows(ctx, t[0], ints(ctx, {4, 0, 4, 2})); },
            [](const leaves & v) { reals y; for (int r : {4, 0, 4, 2}) for (int i = 0; i < 5; ++i) y.push_back(v[0][r * 5 + i]); return y; }},
        {"one leaf, several uses", {full()}, [](ggml_context * ctx, tensors & t) { return ggml_add(ctx, ggml_mul(ctx, t[0], t[0]), t[0]); },
            [](const leaves & v) { return each(v[0], [](double x) { return x * x + x; }); }},
    };
    uint64_t seed = 100;
    for (const op_case & c : cases) run(c, seed++);
}

YAPO_TEST(TrainRules_Products_AgreeWithFiniteDifferences) {
    const leaf w{{19, 21, 1, 1}, -1, 1}, x{{19, 17, 1, 1}, -1, 1}, a{{21, 17, 1, 1}, -1, 1};
    const auto inner = [](const leaves & v) { return product(v[0], v[1], 19, 21, 17); };
    const op_case cases[] = {
        {"MUL_MAT", {w, x}, [](ggml_context * ctx, tensors & t) { return ggml_mul_mat(ctx, t[0], t[1]); }, inner},
        {"MUL_MAT, batched", {{{4, 3, 2, 2}, -1, 1}, {{4, 5, 2, 2}, -1, 1}}, [](ggml_context * ctx, tensors & t) { return ggml_mul_mat(ctx, t[0], t[1]); },
            [](const leaves & v) {
                reals y;
                for (int b = 0; b < 4; ++b) {
                    const reals p = product(reals(v[0].begin() + b * 12, v[0].begin() + b * 12 + 12), reals(v[1].begin() + b * 20, v[1].begin() + b * 20 + 20), 4, 3, 5);
                    y.insert(y.end(), p.begin(), p.end());
                }
                return y;
            }},
        {"inner", {w, x}, [](ggml_context * ctx, tensors & t) { return ag::inner(ctx, t[0], t[1]); }, inner},
        {"inner, strided, batched", {{{4, 2, 3, 2}, -1, 1}, {{4, 5, 2, 2}, -1, 1}}, // w [4, 3, 2, 2] as a view with rows apart
            [](ggml_context * ctx, tensors & t) { return ag::inner(ctx, ggml_permute(ctx, t[0], 0, 2, 1, 3), t[1]); },
            [](const leaves & v) {
                reals y;
                for (int d = 0; d < 2; ++d) for (int c = 0; c < 2; ++c) {
                    reals w;
                    for (int n = 0; n < 3; ++n) for (int k = 0; k < 4; ++k) w.push_back(v[0][((d * 3 + n) * 2 + c) * 4 + k]);
                    const int b = d * 2 + c;
                    const reals p = product(w, reals(v[1].begin() + b * 20, v[1].begin() + b * 20 + 20), 4, 3, 5);
                    y.insert(y.end(), p.begin(), p.end());
                }
                return y;
            }},
        {"combine", {w, a}, [](ggml_context * ctx, tensors & t) { return ag::combine(ctx, t[0], t[1]); },
            [](const leaves & v) {
                reals y(19 * 17, 0.0);
                for (int t = 0; t < 17; ++t) for (int n = 0; n < 21; ++n) for (int k = 0; k < 19; ++k) y[t * 19 + k] += v[0][n * 19 + k] * v[1][t * 21 + n];
                return y;
            }},
    };
    uint64_t seed = 200;
    for (const op_case & c : cases) run(c, seed++);
}

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
        ggml_tensor * y = fused ? ag::geglu(ctx.get(), x, one) : yapo::train::gemma2::gelu(ctx.get(), x);
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

YAPO_TEST(TrainRules_OpWithoutRule_IsRefused) {
    yapo::train::context_ptr ctx(ggml_init({size_t(1) << 20, nullptr, false}));
    ggml_tensor * x = ggml_new_tensor_1d(ctx.get(), GGML_TYPE_F32, 4);
    const auto refused = [&](ggml_tensor * y, const char * part) {
        try {
            ag::tape tape(ctx.get(), {});
            tape.seed(y, ggml_new_tensor(ctx.get(), GGML_TYPE_F32, 4, y->ne));
            tape.differentiate({y}, {x});
        } catch (const yapo::failure & e) {
            CHECK(e.status == YAPO_ERR_UNSUPPORTED);
            CHECK_MSG(std::string(e.what()).find(part) != std::string::npos, "%s", e.what());
            return;
        }
        FAIL("%s was differentiated", part);
    };
    refused(ggml_gelu(ctx.get(), x), "GELU");
    refused(ggml_concat(ctx.get(), x, x, 0), "CONCAT");
    refused(ggml_scale(ctx.get(), ggml_view_1d(ctx.get(), x, 2, 4), 2.0f), "VIEW");
    // but an op that nothing wanted depends on needs no rule
    ggml_tensor * y = ggml_mul(ctx.get(), x, ggml_gelu(ctx.get(), ggml_new_tensor_1d(ctx.get(), GGML_TYPE_F32, 4)));
    ag::tape tape(ctx.get(), {});
    tape.seed(y, ggml_new_tensor_1d(ctx.get(), GGML_TYPE_F32, 4));
    tape.differentiate({y}, {x});
    CHECK(tape.gradient(x) != nullptr);
}

// A caller's rule replaces the table's: here a straight-through estimator.
YAPO_TEST(TrainRules_SetRule_ReplacesTheTable) {
    yapo::train::context_ptr ctx(ggml_init({size_t(1) << 20, nullptr, false}));
    ggml_tensor * x = ggml_new_tensor_1d(ctx.get(), GGML_TYPE_F32, 3);
    ggml_tensor * dy = ggml_new_tensor_1d(ctx.get(), GGML_TYPE_F32, 3);
    for (int i = 0; i < 3; ++i) {
        static_cast<float *>(x->data)[i] = float(i - 1);
        static_cast<float *>(dy->data)[i] = float(i + 5);
    }
    ggml_tensor * y = ggml_step(ctx.get(), x);
    ag::tape tape(ctx.get(), {});
    tape.set_rule(y, [](ag::tape & t, ggml_tensor * node, ggml_tensor * d) { t.accumulate(node->src[0], ggml_scale(t.ctx(), d, 3.0f)); });
    tape.seed(y, dy);
    tape.differentiate({y}, {x});
    ggml_cgraph * graph = ggml_new_graph(ctx.get());
    ggml_build_forward_expand(graph, tape.gradient(x));
    yapo::train::compute(yapo::train::new_cpu_backend().get(), graph);
    for (int i = 0; i < 3; ++i) {
        CHECK_EQ(static_cast<float *>(tape.gradient(x)->data)[i], 3.0f * (i + 5));
    }
}
