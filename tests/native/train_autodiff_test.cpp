// Our gradients against ggml's own autodiff, and the two forms of the Gemma-2 graph against each other.
#include "harness.h"
#include "random_model.h"

#include "train/autograd/autograd.h"
#include "train/autograd/kernels.h"
#include "train/compute.h"
#include "train/transformer/transformer.h"
#include "train/lm/parameters.h"

#include <algorithm>
#include <cmath>

using namespace yapo_test;
namespace ag = yapo::autograd;
namespace tr = yapo::train;
namespace tf = yapo::train::transformer;

namespace {

ggml_tensor * random(ggml_context * ctx, random_source & rng, int64_t ne0, int64_t ne1, float deviation) {
    ggml_tensor * t = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, ne0, ne1);
    for (int64_t i = 0; i < ne0 * ne1; ++i) {
        static_cast<float *>(t->data)[i] = deviation * rng.normal();
    }
    return t;
}

double relative_l2(const float * a, const float * b, int64_t n) {
    double error = 0, norm = 0;
    for (int64_t i = 0; i < n; ++i) {
        error += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
        norm += double(b[i]) * b[i];
    }
    return std::sqrt(error / norm);
}

// One attention layer and one gated layer in ops that ggml differentiates too.
struct small_network {
    std::vector<ggml_tensor *> weights;
    ggml_tensor *              loss;
    small_network(ggml_context * ctx) {
        random_source rng(9);
        constexpr int D = 32, hd = 16, H = 2, T = 12, F = 48, V = 40;
        const auto weight = [&](int64_t ne0, int64_t ne1) {
            weights.push_back(random(ctx, rng, ne0, ne1, 1.0f / std::sqrt(float(ne0))));
            return weights.back();
        };
        ggml_tensor * table = weight(D, V), * tokens = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, T), * positions = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, T);
        ggml_tensor * labels = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, V, T);
        std::fill_n(static_cast<float *>(labels->data), V * T, 0.0f);
        for (int t = 0; t < T; ++t) {
            static_cast<int32_t *>(tokens->data)[t] = rng.below(V);
            static_cast<int32_t *>(positions->data)[t] = t;
            static_cast<float *>(labels->data)[t * V + rng.below(V)] = 1.0f;
        }
        ggml_tensor * x = ggml_get_rows(ctx, table, tokens);
        ggml_tensor * n = ggml_mul(ctx, ggml_rms_norm(ctx, x, 1e-6f), weight(D, 1));
        const auto heads = [&] { return ggml_reshape_3d(ctx, ggml_mul_mat(ctx, weight(D, H * hd), n), hd, H, T); };
        const auto rotated = [&] { return ggml_cont(ctx, ggml_permute(ctx, ggml_rope(ctx, heads(), positions, hd, GGML_ROPE_TYPE_NEOX), 0, 2, 1, 3)); };
        ggml_tensor * q = rotated(), * k = rotated(), * v = ggml_cont(ctx, ggml_permute(ctx, heads(), 1, 2, 0, 3)); // [T, hd, H]
        ggml_tensor * p = ggml_soft_max_ext(ctx, ggml_diag_mask_inf(ctx, ggml_mul_mat(ctx, k, q), 0), nullptr, 0.25f, 0.0f);
        ggml_tensor * o = ggml_cont(ctx, ggml_permute(ctx, ggml_mul_mat(ctx, v, p), 0, 2, 1, 3));
        x = ggml_add(ctx, x, ggml_mul_mat(ctx, weight(H * hd, D), ggml_reshape_2d(ctx, o, H * hd, T)));
        ggml_tensor * gate = ggml_silu(ctx, ggml_mul_mat(ctx, weight(D, F), x));
        ggml_tensor * up = ggml_mul_mat(ctx, weight(D, F), x);
        x = ggml_add(ctx, x, ggml_mul_mat(ctx, weight(F, D), ggml_mul(ctx, gate, up)));
        loss = ggml_cross_entropy_loss(ctx, ggml_mul_mat(ctx, table, x), labels);
    }
};

} // namespace

// DIAG_MASK_INF and CROSS_ENTROPY_LOSS have no rule in our table (the Gemma graphs do not use them); the test gives them one, as a caller may.
YAPO_TEST(TrainAutodiff_Network_AgreesWithGgml) {
    tr::context_ptr ctx(ggml_init({size_t(64) << 20, nullptr, false}));
    small_network net(ctx.get());
    ag::tape tape(ctx.get(), {});
    tape.set_rule(net.loss, [](ag::tape & tp, ggml_tensor * y, ggml_tensor * dy) {
        tp.accumulate(y->src[0], ggml_cross_entropy_loss_back(tp.ctx(), dy, y->src[0], y->src[1]));
    });
    for (ggml_tensor * w : net.weights) {
        ggml_set_param(w);
    }
    ggml_set_loss(net.loss);
    ggml_cgraph * graph = ggml_new_graph_custom(ctx.get(), 4096, true);
    ggml_build_forward_expand(graph, net.loss);
    for (int i = 0; i < ggml_graph_n_nodes(graph); ++i) {
        if (ggml_graph_node(graph, i)->op == GGML_OP_DIAG_MASK_INF) {
            tape.set_rule(ggml_graph_node(graph, i), [](ag::tape & tp, ggml_tensor * y, ggml_tensor * dy) {
                tp.accumulate(y->src[0], ggml_diag_mask_zero(tp.ctx(), dy, 0));
            });
        }
    }
    ggml_tensor * one = ggml_new_tensor_1d(ctx.get(), GGML_TYPE_F32, 1);
    *static_cast<float *>(one->data) = 1.0f;
    tape.seed(net.loss, one);
    tape.differentiate({net.loss}, net.weights);

    ggml_build_backward_expand(ctx.get(), graph, nullptr);
    std::vector<ggml_tensor *> mine;
    for (ggml_tensor * w : net.weights) {
        mine.push_back(tape.contiguous(tape.gradient(w)));
        ggml_build_forward_expand(graph, mine.back());
    }
    ggml_graph_reset(graph);
    tr::compute(tr::new_cpu_backend().get(), graph);
    double worst = 0;
    for (size_t i = 0; i < net.weights.size(); ++i) {
        const ggml_tensor * theirs = ggml_graph_get_grad(graph, net.weights[i]);
        CHECK(theirs);
        worst = std::max(worst, relative_l2(static_cast<const float *>(mine[i]->data), static_cast<const float *>(theirs->data), ggml_nelements(mine[i])));
    }
    note("%zu weights, largest relative L2 difference %.1e", net.weights.size(), worst);
    CHECK(worst < 1e-5);
}

// The fused CPU form and the plain-op form are the same function with the same gradient.
namespace {

void plain_and_fused_agree(const random_model & m) {
    const tr::gguf_source source(write_random_model(m, scratch("m.gguf")));
    const tf::config config = tf::read_config(source);
    const tr::lm::parameters parameters(source, config);
    constexpr int T = 20, B = 2;
    random_source rng(4);
    std::vector<int32_t> tokens, targets;
    for (int i = 0; i < T * B; ++i) {
        tokens.push_back(rng.below(m.n_vocab));
        targets.push_back(rng.below(m.n_vocab));
    }
    std::vector<std::vector<float>> gradients[2];
    std::vector<float> losses[2];
    for (int form = 0; form < 2; ++form) {
        const auto lowering = form ? tf::lowering::plain : tf::lowering::fused;
        tr::context_ptr holder = tr::new_context(4096, 4096);
        ggml_context * ctx = holder.get();
        const auto input = [&](ggml_type type) { ggml_tensor * t = ggml_new_tensor_1d(ctx, type, T * B); ggml_set_input(t); return t; };
        ggml_tensor * ids = input(GGML_TYPE_I32), * target = input(GGML_TYPE_I32), * seed = input(GGML_TYPE_F32);
        const tf::inputs in = tf::make_inputs(ctx, config, parameters.weights(), T, B, lowering);
        ggml_tensor * x = tf::embed(ctx, config, parameters.weights(), ids);
        for (int il = 0; il < config.n_layer; ++il) {
            x = tf::run_block(ctx, config, parameters.weights().blocks[il], il, x, in);
        }
        ggml_tensor * loss = ag::cross_entropy(ctx, tf::raw_logits(ctx, parameters.weights(), tf::final_norm(ctx, config, parameters.weights(), x), lowering), target, config.final_softcap);
        ggml_set_output(loss);
        ag::options o;
        o.cpu_kernels = form == 0;
        ag::tape tape(ctx, o);
        tape.seed(loss, seed);
        std::vector<ggml_tensor *> wanted, outputs;
        for (const auto & p : parameters.list()) {
            wanted.push_back(p.weight);
        }
        tape.differentiate({loss}, wanted);
        ggml_cgraph * graph = ggml_new_graph_custom(ctx, 4096, false);
        ggml_build_forward_expand(graph, loss);
        for (ggml_tensor * w : wanted) {
            outputs.push_back(tape.contiguous(tape.gradient(w)));
            ggml_set_output(outputs.back());
            ggml_build_forward_expand(graph, outputs.back());
        }
        const auto allocation = tr::allocate_graph(graph);
        tf::fill_inputs(config, parameters.weights(), in);
        const std::vector<float> ones(T * B, 1.0f);
        ggml_backend_tensor_set(ids, tokens.data(), 0, ggml_nbytes(ids));
        ggml_backend_tensor_set(target, targets.data(), 0, ggml_nbytes(target));
        ggml_backend_tensor_set(seed, ones.data(), 0, ggml_nbytes(seed));
        tr::compute(tr::new_cpu_backend().get(), graph);
        losses[form].assign(static_cast<float *>(loss->data), static_cast<float *>(loss->data) + T * B);
        for (ggml_tensor * g : outputs) {
            gradients[form].emplace_back(static_cast<float *>(g->data), static_cast<float *>(g->data) + ggml_nelements(g));
        }
    }
    const double forward = relative_l2(losses[1].data(), losses[0].data(), T * B);
    double worst = 0;
    for (size_t i = 0; i < gradients[0].size(); ++i) {
        worst = std::max(worst, relative_l2(gradients[1][i].data(), gradients[0][i].data(), int64_t(gradients[0][i].size())));
    }
    note("%s: losses differ by %.1e, gradients of %zu tensors by at most %.1e (relative L2)", m.arch.c_str(), forward, gradients[0].size(), worst);
    CHECK(forward < 2e-6 && worst < 1e-5);
}

} // namespace

YAPO_TEST(TrainAutodiff_PlainAndFusedGraphs_Agree) {
    for (const char * arch : {"gemma2", "gemma3", "llama", "qwen2", "qwen3"}) {
        random_model m;
        m.arch = arch;
        m.n_layer = m.arch == "gemma3" ? 6 : 3;
        m.sliding_window = 6;
        m.untied_head = m.arch == "llama";
        m.rope_scaling = m.arch == "gemma3" ? 8.0f : 0.0f;
        plain_and_fused_agree(m);
    }
}
