// The tape itself: what it refuses, and rules that a caller brings.
#include "harness.h"
#include "train/autograd/autograd.h"
#include "train/autograd/kernels.h"
#include "train/autograd/sparse.h"
#include "train/autograd/steer.h"
#include "train/compute.h"

using namespace yapo_test;
namespace ag = yapo::autograd;

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

// What kernels can compute and not differentiate: a graph that asks for it is a mistake of a trainer, and says so before anything is computed.
YAPO_TEST(TrainRules_GradientsThatKernelsDoNotHave_AreRefused) {
    yapo::train::context_ptr ctx(ggml_init({size_t(1) << 20, nullptr, false}));
    constexpr int64_t D = 4, N = 3, F = 8;
    const auto leaf = [&](int64_t ne0, int64_t ne1) { return ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F32, ne0, ne1); };
    const auto refused = [&](ggml_tensor * y, ggml_tensor * wanted, const char * part, yapo_status status = YAPO_ERR_INTERNAL) {
        try {
            ag::options portable;
            portable.portable = status == YAPO_ERR_UNSUPPORTED;
            ag::tape tape(ctx.get(), portable);
            tape.seed(y, ggml_new_tensor(ctx.get(), GGML_TYPE_F32, 4, y->ne));
            tape.differentiate({y}, {wanted});
        } catch (const yapo::failure & e) {
            CHECK(e.status == status);
            CHECK_MSG(std::string(e.what()).find(part) != std::string::npos, "%s", e.what());
            return;
        }
        FAIL("differentiated, expected: %s", part);
    };
    ggml_tensor * x = leaf(D, N), * enc = leaf(D, F), * dec = leaf(D, F), * bias = leaf(F, 1), * theta = leaf(F, 1), * v = leaf(1, F), * s = leaf(1, N);
    ag::code_options forward_only;
    forward_only.capacity = N * ag::code_slice;
    ggml_tensor * codes = ag::encode(ctx.get(), x, enc, bias, theta, forward_only);
    refused(ag::decode(ctx.get(), codes, dec), theta, "codes without a bandwidth have no gradient in their thresholds");
    refused(ag::steer(ctx.get(), x, codes, v, s, dec), s, "steer has no gradient in strengths or decoder rows");
    refused(ag::steer(ctx.get(), x, codes, v, s, dec), dec, "steer has no gradient in strengths or decoder rows");
    ggml_tensor * target = ggml_new_tensor_1d(ctx.get(), GGML_TYPE_I32, N);
    ggml_tensor * many = ggml_new_tensor_3d(ctx.get(), GGML_TYPE_F32, D, N, 5);
    refused(ggml_mul(ctx.get(), many, x), x, "no portable gradient of", YAPO_ERR_UNSUPPORTED);
    refused(ag::head_loss(ctx.get(), leaf(D, 16), x, target, 0.0f, false), x, "head_loss was built without its gradient");
}
