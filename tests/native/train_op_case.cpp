#include "train_op_case.h"

#include "harness.h"
#include "random_model.h"
#include "train/compute.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace ag = yapo::autograd;

namespace yapo_test {

reals each(const reals & a, double (*f)(double)) {
    reals y;
    for (double x : a) y.push_back(f(x));
    return y;
}

reals product(const reals & w, const reals & x, int64_t K, int64_t M, int64_t T) {
    reals y(M * T, 0.0);
    for (int64_t t = 0; t < T; ++t)
        for (int64_t m = 0; m < M; ++m)
            for (int64_t k = 0; k < K; ++k) y[t * M + m] += w[m * K + k] * x[t * K + k];
    return y;
}

ggml_tensor * ints(ggml_context * ctx, const std::vector<int32_t> & v) {
    ggml_tensor * t = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, int64_t(v.size()));
    memcpy(t->data, v.data(), v.size() * sizeof(int32_t));
    return t;
}

void run(const op_case & c, uint64_t seed) {
    random_source rng(seed);
    yapo::train::context_ptr ctx(ggml_init({size_t(32) << 20, nullptr, false}));
    std::vector<ggml_tensor *> tensors, wanted;
    std::vector<reals> values;
    for (const leaf & l : c.args) {
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
    for (size_t g = 0, l = 0; l < c.args.size(); ++l) {
        if (!c.args[l].wanted) continue;
        double error = 0, norm = 0;
        for (int64_t i = 0; i < c.args[l].size(); ++i) {
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

} // namespace yapo_test
