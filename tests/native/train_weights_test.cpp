// Products with weights as files store them, and the head with its loss: against double-precision sums over the dequantized rows.
#include "harness.h"
#include "random_model.h"
#include "train/autograd/kernels.h"
#include "train/autograd/weight_gemm.h"
#include "train/compute.h"
#include "train_op_case.h"

#include <cmath>
#include <cstring>

using namespace yapo_test;
namespace ag = yapo::autograd;

namespace {

// Both sides rounded to BF16 where the CPU multiplies that, else F32.
constexpr double product_tolerance = 5e-3;

struct matrix {
    ggml_type          type;
    int64_t            rows, width;
    std::vector<char>  data;
    std::vector<float> floats; // what the stored form says

    matrix(ggml_type type, int64_t rows, int64_t width, uint64_t seed) : type(type), rows(rows), width(width), data(ggml_row_size(type, width) * rows), floats(rows * width) {
        random_source rng(seed);
        for (float & x : floats) x = rng.normal() / std::sqrt(float(width));
        ggml_quantize_chunk(type, floats.data(), data.data(), 0, rows, width, nullptr);
        if (type != GGML_TYPE_F32) {
            for (int64_t j = 0; j < rows; ++j) {
                ggml_get_type_traits(type)->to_float(data.data() + j * ggml_row_size(type, width), floats.data() + j * width, width);
            }
        }
    }
    ag::weight_rows view() const { return {type, data.data(), width, ggml_row_size(type, width)}; }
};

double relative_l2(const std::vector<float> & a, const std::vector<double> & b) {
    double error = 0, norm = 0;
    for (size_t i = 0; i < b.size(); ++i) {
        error += (a[i] - b[i]) * (a[i] - b[i]);
        norm += b[i] * b[i];
    }
    return std::sqrt(error / norm);
}

// loss [N] and its gradient [N, D] for one head, plainly
void head_oracle(const matrix & w, const std::vector<float> & x, const std::vector<int32_t> & target, double cap, std::vector<double> & loss, std::vector<double> & gradient) {
    const int64_t D = w.width, N = int64_t(target.size());
    loss.assign(N, 0.0);
    gradient.assign(N * D, 0.0);
    for (int64_t n = 0; n < N; ++n) {
        if (target[n] < 0) continue;
        std::vector<double> logit(w.rows), slope(w.rows, 1.0);
        double largest = -INFINITY, sum = 0;
        for (int64_t v = 0; v < w.rows; ++v) {
            for (int64_t d = 0; d < D; ++d) logit[v] += double(w.floats[v * D + d]) * x[n * D + d];
            if (cap > 0) {
                const double th = std::tanh(logit[v] / cap);
                logit[v] = cap * th;
                slope[v] = 1 - th * th;
            }
            largest = std::max(largest, logit[v]);
        }
        for (double l : logit) sum += std::exp(l - largest);
        loss[n] = std::log(sum) + largest - logit[target[n]];
        for (int64_t v = 0; v < w.rows; ++v) {
            const double p = std::exp(logit[v] - largest) / sum - (v == target[n] ? 1 : 0);
            for (int64_t d = 0; d < D; ++d) gradient[n * D + d] += p * slope[v] * w.floats[v * D + d];
        }
    }
}

void check_head(const char * what, const matrix & w, float size, float cap, double loss_tolerance, double gradient_tolerance) {
    const std::vector<int32_t> target{3, -1, int32_t(w.rows) - 1, 1023, 1024, 700};
    const int64_t D = w.width, N = int64_t(target.size());
    random_source rng(8);
    yapo::train::context_ptr ctx(ggml_init({size_t(64) << 20, nullptr, false}));
    ggml_tensor * weights = ggml_new_tensor_2d(ctx.get(), w.type, D, w.rows), * x = ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F32, D, N), * seed = ggml_new_tensor_1d(ctx.get(), GGML_TYPE_F32, N);
    std::copy(w.data.begin(), w.data.end(), static_cast<char *>(weights->data));
    std::vector<float> values(N * D);
    for (float & v : values) v = size * rng.normal();
    std::copy(values.begin(), values.end(), static_cast<float *>(x->data));
    std::fill_n(static_cast<float *>(seed->data), N, 2.0f);
    ggml_tensor * loss = ag::head_loss(ctx.get(), weights, x, ints(ctx.get(), target), cap, true), * alone = ag::head_loss(ctx.get(), weights, x, ints(ctx.get(), target), cap, false);
    ag::tape tape(ctx.get(), {});
    tape.seed(loss, seed);
    tape.differentiate({loss}, {x});
    ggml_cgraph * graph = ggml_new_graph(ctx.get());
    ggml_build_forward_expand(graph, loss);
    ggml_build_forward_expand(graph, tape.gradient(x));
    ggml_build_forward_expand(graph, alone);
    yapo::train::compute(yapo::train::new_cpu_backend().get(), graph);

    std::vector<double> expected, gradient;
    head_oracle(w, values, target, cap, expected, gradient);
    for (double & g : gradient) g *= 2;
    double worst = 0;
    for (int64_t n = 0; n < N; ++n) {
        const float l = static_cast<float *>(loss->data)[n];
        worst = std::max(worst, std::fabs(l - expected[n]) / std::max(1.0, expected[n]));
        CHECK_EQ(l, static_cast<float *>(alone->data)[n]); // with and without gradient
    }
    const float * g = static_cast<float *>(tape.gradient(x)->data);
    const double error = relative_l2({g, g + N * D}, gradient);
    note("%-28s loss off by %.1e, gradient relative L2 error %.1e", what, worst, error);
    CHECK_MSG(worst < loss_tolerance && error < gradient_tolerance, "%s", what);
}

} // namespace

YAPO_TEST(TrainWeights_Products_AgreeWithDequantizedSums) {
    struct shape { int64_t m, rows, width; };
    for (const ggml_type type : {GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0, GGML_TYPE_Q5_0, GGML_TYPE_Q4_K, GGML_TYPE_Q6_K, GGML_TYPE_F32}) {
        double worst = 0;
        for (const shape & s : {shape{1, 3, 256}, shape{15, 33, 512}, shape{29, 300, 1280}, shape{2, 257, 2304}}) {
            const matrix w(type, s.rows, s.width, 5);
            random_source rng(6);
            std::vector<float> x(s.m * s.width), a(s.m * s.rows), y(s.m * s.rows, 1.0f), d(s.m * s.width, -2.0f);
            for (float & v : x) v = rng.normal();
            for (float & v : a) v = rng.normal();
            std::vector<double> ey(y.size()), ed(d.size(), -2.0);
            for (int64_t i = 0; i < s.m; ++i)
                for (int64_t j = 0; j < s.rows; ++j)
                    for (int64_t k = 0; k < s.width; ++k) {
                        ey[i * s.rows + j] += double(x[i * s.width + k]) * w.floats[j * s.width + k];
                        ed[i * s.width + k] += double(a[i * s.rows + j]) * w.floats[j * s.width + k];
                    }
            ag::rows_times(s.m, s.rows, x.data(), s.width, w.view(), y.data(), s.rows);
            ag::rows_weighted(s.m, s.rows, a.data(), s.rows, w.view(), d.data(), s.width, true);
            worst = std::max({worst, relative_l2(y, ey), relative_l2(d, ed)});
        }
        note("%-5s relative L2 error %.1e", ggml_type_name(type), worst);
        CHECK_MSG(worst < product_tolerance, "%s", ggml_type_name(type));
    }
}

YAPO_TEST(TrainHead_Loss_AgreesWithDouble) {
    check_head("F32", {GGML_TYPE_F32, 1500, 64, 1}, 1.0f, 0.0f, 1e-6, 1e-5);
    check_head("F32, capped", {GGML_TYPE_F32, 1500, 64, 1}, 3.0f, 30.0f, 1e-6, 1e-5);
    check_head("F32, far apart", {GGML_TYPE_F32, 2100, 64, 1}, 60.0f, 0.0f, 1e-6, 1e-5);
    check_head("F32, far apart, capped", {GGML_TYPE_F32, 2100, 64, 1}, 60.0f, 50.0f, 1e-6, 1e-5);
    check_head("Q8_0", {GGML_TYPE_Q8_0, 1500, 256, 1}, 1.0f, 0.0f, 2e-3, 1e-2);
    check_head("Q6_K, capped", {GGML_TYPE_Q6_K, 1500, 256, 1}, 2.0f, 30.0f, 5e-3, 1e-2);
    check_head("Q4_K", {GGML_TYPE_Q4_K, 1500, 256, 1}, 2.0f, 0.0f, 5e-3, 1e-2);
}

// Almost certain targets: 1 - p must not drown in 1.
YAPO_TEST(TrainHead_CertainTarget_KeepsItsGradient) {
    matrix w(GGML_TYPE_F32, 1100, 4, 2);
    std::fill(w.floats.begin(), w.floats.end(), 0.0f);
    w.floats[7 * 4] = 1.0f;
    memcpy(w.data.data(), w.floats.data(), w.data.size());
    yapo::train::context_ptr ctx(ggml_init({size_t(1) << 20, nullptr, false}));
    ggml_tensor * weights = ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F32, 4, 1100), * x = ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F32, 4, 1), * seed = ggml_new_tensor_1d(ctx.get(), GGML_TYPE_F32, 1);
    memcpy(weights->data, w.data.data(), w.data.size());
    std::fill_n(static_cast<float *>(x->data), 4, 30.0f);
    static_cast<float *>(seed->data)[0] = 1.0f;
    ggml_tensor * loss = ag::head_loss(ctx.get(), weights, x, ints(ctx.get(), {7}), 0.0f, true);
    ag::tape tape(ctx.get(), {});
    tape.seed(loss, seed);
    tape.differentiate({loss}, {x});
    ggml_cgraph * graph = ggml_new_graph(ctx.get());
    ggml_build_forward_expand(graph, loss);
    ggml_build_forward_expand(graph, tape.gradient(x));
    yapo::train::compute(yapo::train::new_cpu_backend().get(), graph);
    const double expected = std::log1p(1099 * std::exp(-30.0));
    CHECK_NEAR(static_cast<float *>(loss->data)[0], expected, 0, 1e-5);
    CHECK_NEAR(static_cast<float *>(tape.gradient(x)->data)[0], std::expm1(-expected), 0, 1e-5);
}
