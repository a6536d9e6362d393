// Not a check: what one step of SAE training costs at the demo's size, as it is and as a graph of dense ops. YAPO_BENCHMARK=1 runs it.
#include "harness.h"
#include "random_model.h"
#include "train/compute.h"
#include "train_sae_dense.h"
#include "yapo_train.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ctime>

using namespace yapo_test;
namespace ag = yapo::autograd;

namespace {

double cpu_seconds() { return double(clock()) / CLOCKS_PER_SEC; }

} // namespace

YAPO_TEST(TrainSae_Speed) {
    if (!getenv("YAPO_BENCHMARK")) {
        note("set YAPO_BENCHMARK=1 to measure");
        return;
    }
    const auto number = [](const char * name, int otherwise) { const char * v = getenv(name); return v ? atoi(v) : otherwise; };
    const int64_t D = number("D", 256), F = number("F", 4096), N = number("N", 1024), pool = 16 * N;
    const int steps = number("STEPS", 200);

    // Rows of thirty atoms out of three thousand, of unit variance.
    random_source rng(5);
    std::vector<float> atoms(3000 * D), rows(pool * D), mean(D, 0.0f);
    for (float & x : atoms) {
        x = rng.normal() / 16;
    }
    double squares = 0;
    for (int64_t r = 0; r < pool; ++r) {
        for (int k = 0; k < 30; ++k) {
            const int64_t atom = int64_t(3000 * std::pow(rng.uniform(), 2));
            const float amount = 1 + std::fabs(rng.normal());
            for (int64_t i = 0; i < D; ++i) {
                rows[r * D + i] += amount * atoms[atom * D + i];
            }
        }
        for (int64_t i = 0; i < D; ++i) {
            squares += double(rows[r * D + i]) * rows[r * D + i];
        }
    }
    const float scale = float(std::sqrt(squares / double(rows.size())));
    for (float & x : rows) {
        x /= scale;
    }

    yapo_sae_options o;
    yapo_sae_default_options(&o);
    o.d_model = D;
    o.f = F;
    o.n_workers = number("WORKERS", 1);
    o.bandwidth = 0.2f;
    o.threshold_rate = 5;
    yapo_sae_trainer * trainer = nullptr;
    OK(yapo_sae_create(&o, mean.data(), 1.2f, &trainer, &err));
    std::vector<double> taken;
    yapo_sae_step s{};
    s.struct_size = sizeof s;
    for (int i = 0; i < steps; ++i) {
        const double start = cpu_seconds();
        OK(yapo_sae_train_step(trainer, rows.data() + i % 16 * N * D, N, 1e-3f, float(1e-3 * std::min(1.0, i / (0.3 * steps))), &s, &err));
        taken.push_back(cpu_seconds() - start);
    }
    yapo_sae_free(trainer);
    std::vector<double> late(taken.end() - steps / 2, taken.end());
    std::nth_element(late.begin(), late.begin() + late.size() / 2, late.end());
    note("lists: loss %.4f, L0 %.1f: median %.1f ms of CPU per step (first step, at its L0: %.1f)", s.loss, s.l0, 1e3 * late[late.size() / 2], 1e3 * taken[0]);

    // Loss and gradients in plain ops; Adam would come on top.
    yapo::train::context_ptr ctx(ggml_init({size_t(8) * size_t(F) * size_t(2 * N + 3 * D) * 8 + (size_t(64) << 20), nullptr, false}));
    std::vector<ggml_tensor *> leaf;
    for (const auto & [ne0, ne1] : {std::pair{D, N}, {D, F}, {F, int64_t(1)}, {F, int64_t(1)}, {D, F}}) {
        leaf.push_back(ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F32, ne0, ne1));
        for (int64_t i = 0; i < ne0 * ne1; ++i) {
            static_cast<float *>(leaf.back()->data)[i] = ne1 == 1 ? 1.0f : rng.normal() / 16;
        }
    }
    ag::tape tape(ctx.get(), {});
    const dense_sae dense(tape, leaf[0], leaf[1], leaf[2], leaf[3], leaf[4], 0.2f);
    ggml_tensor * loss = ggml_sum_rows(ctx.get(), ggml_sqr(ctx.get(), ggml_sub(ctx.get(), dense.y, leaf[0])));
    tape.seed(loss, ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F32, 1, N));
    tape.seed(dense.l0, ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F32, 1, N));
    tape.differentiate({loss, dense.l0}, {leaf.begin() + 1, leaf.end()});
    ggml_cgraph * graph = ggml_new_graph(ctx.get());
    for (int i = 1; i < 5; ++i) {
        ggml_build_forward_expand(graph, tape.gradient(leaf[i]));
    }
    const auto backend = yapo::train::new_cpu_backend();
    for (int i = 0; i < 5; ++i) {
        const double start = cpu_seconds();
        yapo::train::compute(backend.get(), graph);
        note("dense ops: %.1f ms of CPU, without Adam", 1e3 * (cpu_seconds() - start));
    }
}
