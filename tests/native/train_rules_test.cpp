// The backward rules of plain ops and products against central differences of the op in double precision.
#include "harness.h"
#include "train/autograd/kernels.h"
#include "train_op_case.h"

#include <algorithm>
#include <cmath>

using namespace yapo_test;
namespace ag = yapo::autograd;

namespace {

double silu(double x) { return x / (1 + std::exp(-x)); }
double gelu(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }

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
