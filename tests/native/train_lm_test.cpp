// Language-model training: loss and every gradient against a double-precision oracle and llama.cpp, and what a step does.
#include "train_model_oracle.h"
#include "train_lm_session.h"

#include "llama.h"
#include "train/lm/worker.h"

#include <algorithm>
#include <cmath>
#include <map>

using namespace yapo_test;
using namespace yapo_test::lm;

namespace {

double oracle_loss(const model_oracle & o, const std::vector<int32_t> & tokens, int rows, int n_ctx) {
    double loss = 0;
    for (int r = 0; r < rows; ++r) {
        const int32_t * row = tokens.data() + r * (n_ctx + 1);
        std::vector<int32_t> inputs(row, row + n_ctx), targets(row + 1, row + n_ctx + 1);
        for (int32_t & t : inputs) {
            t = std::max(t, 0);
        }
        loss += o.loss(o.blocks(o.embed(inputs), 0, o.n_layer), targets);
    }
    return loss;
}

// "blk.0.attn_q.weight" -> "attn_q"
std::string kind_of(const std::string & name) {
    const std::string cut = name.substr(0, name.rfind(".weight"));
    return cut.substr(cut.rfind('.') + 1);
}

} // namespace

// Relative L2 error of the gradient over at least 16 coordinates of every parameter kind, against central differences of the
// double-precision loss. Tolerance: the graph is F32 over three blocks (2^-24 per operation, a few thousand of them in a dot
// product chain); what a wrong rule gives is of order 1.
YAPO_TEST(TrainLm_Gradient_AgreesWithFiniteDifferences) {
    const std::string path = write_random_model(small_model(), scratch("m.gguf"));
    model_oracle oracle(path);
    const yapo::train::gguf_source source(path);
    const auto config = yapo::train::transformer::read_config(source);
    yapo::train::lm::parameters parameters(source, config);
    yapo::train::lm::worker worker(parameters, config, T, B, true);

    auto tokens = random_tokens(B, T, oracle.n_vocab, 11);
    tokens[3] = -1;           // an unscored target
    tokens[2 * T + 1] = -1;   // and a padded tail
    const double loss = worker.run(tokens.data(), 1.0f);
    CHECK_NEAR(loss, oracle_loss(oracle, tokens, B, T), 0, 2e-6);
    std::vector<float> gradient(parameters.size());
    worker.add_gradients(gradient.data());

    random_source rng(5);
    struct sum { double error = 0, norm = 0; int n = 0; };
    std::map<std::string, sum> kinds;
    for (const auto & p : parameters.list()) {
        auto & w = oracle.weights.at(p.name);
        double largest = 0;
        for (int64_t k = 0; k < p.size; ++k) {
            largest = std::max(largest, std::fabs(double(gradient[p.offset + k])));
        }
        CHECK_MSG(largest > 0, "%s has no gradient", p.name.c_str());
        for (int i = 0; i < 16; ++i) {
            // coordinates that matter: a zero gradient (an unused token's row) says nothing
            int64_t k = rng.below(int32_t(p.size));
            while (std::fabs(gradient[p.offset + k]) < 0.02 * largest) {
                k = (k + 1) % p.size;
            }
            const double keep = w[k], h = 1e-5;
            w[k] = keep + h;
            const double up = oracle_loss(oracle, tokens, B, T);
            w[k] = keep - h;
            const double down = oracle_loss(oracle, tokens, B, T);
            w[k] = keep;
            const double expected = (up - down) / (2 * h);
            sum & s = kinds[kind_of(p.name)];
            s.error += (gradient[p.offset + k] - expected) * (gradient[p.offset + k] - expected);
            s.norm += expected * expected;
            ++s.n;
        }
    }
    CHECK_EQ(kinds.size(), size_t(13));
    for (const auto & [kind, s] : kinds) {
        const double relative = std::sqrt(s.error / s.norm);
        note("%-20s %d coordinates, relative L2 error %.2e", kind.c_str(), s.n, relative);
        CHECK_MSG(relative <= 1e-5, "%s: relative L2 error %.2e", kind.c_str(), relative);
    }
}

// The fused graph, seen through the loss of one target, against llama.cpp's logits of the same file. Tolerance: ggml's GELU table
// (relative 3.3e-3 at worst) and the F16 KV cache of llama.cpp; an independent reference came within 7e-4 of a log-probability.
YAPO_TEST(TrainLm_Loss_AgreesWithLlamaCpp) {
    const random_model m = small_model();
    const std::string path = write_random_model(m, scratch("m.gguf"));
    const auto tokens = random_tokens(1, T, m.n_vocab, 21);

    llama_model_params mp = llama_model_default_params();
    llama_model * model = llama_model_load_from_file(path.c_str(), mp);
    CHECK(model);
    llama_context_params cp = llama_context_default_params();
    cp.n_ctx = 64;
    cp.n_threads = cp.n_threads_batch = 1;
    cp.type_k = cp.type_v = GGML_TYPE_F32;
    cp.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    llama_context * ctx = llama_init_from_model(model, cp);
    CHECK(ctx);
    llama_batch batch = llama_batch_init(T, 0, 1);
    batch.n_tokens = T;
    for (int t = 0; t < T; ++t) {
        batch.token[t] = tokens[t];
        batch.pos[t] = t;
        batch.n_seq_id[t] = 1;
        batch.seq_id[t][0] = 0;
        batch.logits[t] = 1;
    }
    CHECK_EQ(llama_decode(ctx, batch), 0);

    yapo_lm_trainer * trainer = create(path, T, 1, 1);
    double worst = 0;
    for (int t = 0; t < T; ++t) {
        const float * l = llama_get_logits_ith(ctx, t);
        double sum = 0;
        for (int v = 0; v < m.n_vocab; ++v) {
            sum += std::exp(double(l[v]));
        }
        const double expected = std::log(sum) - l[tokens[t + 1]];
        // position t alone: the sum over positions 0..t minus the sum over 0..t-1 (a hidden target's token would be lost as an input)
        auto only = tokens;
        std::fill(only.begin() + t + 2, only.end(), -1);
        yapo_lm_step with{sizeof with, 0, 0, 0}, without{sizeof without, 0, 0, 0};
        OK(yapo_lm_evaluate(trainer, only.data(), 1, &with, &err));
        double mine = with.loss * with.tokens;
        if (t > 0) {
            only[t + 1] = -1;
            OK(yapo_lm_evaluate(trainer, only.data(), 1, &without, &err));
            mine -= without.loss * without.tokens;
        }
        worst = std::max(worst, std::fabs(mine - expected));
    }
    note("largest difference of a log-probability: %.2e", worst);
    CHECK(worst < 3e-3);
    yapo_lm_free(trainer);
    llama_batch_free(batch);
    llama_free(ctx);
    llama_model_free(model);
}

YAPO_TEST(TrainLm_Training_LearnsASequence) {
    const random_model m = small_model();
    const std::string path = write_random_model(m, scratch("m.gguf"));
    const auto tokens = random_tokens(2, T, m.n_vocab, 41);
    yapo_lm_trainer * trainer = create(path, T, 2, 1);
    const double before = train(trainer, tokens, 2, 0.0f).loss; // a step of rate 0 changes nothing
    double loss = train(trainer, tokens, 2, 3e-3f).loss;
    CHECK_EQ(loss, before);
    for (int i = 0; i < 60; ++i) {
        loss = train(trainer, tokens, 2, 3e-3f).loss;
    }
    note("loss %.3f -> %.3f in 60 steps", before, loss);
    CHECK(before > 4 && loss < 0.5);
    // what was saved is what was trained, and llama.cpp and a new trainer read it
    const std::string out = scratch("out.gguf");
    OK(yapo_lm_save_model(trainer, out.c_str(), &err));
    yapo_lm_step a{sizeof a, 0, 0, 0}, b{sizeof b, 0, 0, 0};
    OK(yapo_lm_evaluate(trainer, tokens.data(), 2, &a, &err));
    yapo_lm_free(trainer);
    trainer = create(out, T, 2, 1);
    OK(yapo_lm_evaluate(trainer, tokens.data(), 2, &b, &err));
    CHECK_EQ(a.loss, b.loss);
    yapo_lm_free(trainer);
    llama_model_params mp = llama_model_default_params();
    llama_model * model = llama_model_load_from_file(out.c_str(), mp);
    CHECK(model);
    llama_model_free(model);
}

// AdamW by hand for one step: m = (1-b1) g, v = (1-b2) g^2, so the corrected step is g/|g| per entry (epsilon aside).
YAPO_TEST(TrainLm_FirstStep_IsTheLearningRateAgainstTheSignOfTheGradient) {
    const random_model m = small_model();
    const std::string path = write_random_model(m, scratch("m.gguf")), out = scratch("out.gguf");
    const auto tokens = random_tokens(2, T, m.n_vocab, 51);
    yapo_lm_options o;
    yapo_lm_default_options(&o);
    o.n_ctx = T;
    o.micro_batch = 2;
    o.weight_decay = 0.5f;
    o.epsilon = 1e-16f;
    yapo_lm_trainer * trainer = nullptr;
    OK(yapo_lm_create(path.c_str(), &o, &trainer, &err));
    const float rate = 1e-2f;
    train(trainer, tokens, 2, rate);
    OK(yapo_lm_save_model(trainer, out.c_str(), &err));
    yapo_lm_free(trainer);
    model_oracle before(path), after(out);
    const auto & w0 = before.weights.at("blk.1.ffn_up.weight");
    const auto & w1 = after.weights.at("blk.1.ffn_up.weight");
    for (size_t i = 0; i < w0.size(); ++i) {
        CHECK_NEAR(std::fabs(w1[i] - w0[i] * (1 - rate * 0.5)), rate, 0, 2e-3);
    }
    const auto & n0 = before.weights.at("blk.1.ffn_norm.weight"); // not decayed
    const auto & n1 = after.weights.at("blk.1.ffn_norm.weight");
    for (size_t i = 0; i < n0.size(); ++i) {
        CHECK_NEAR(std::fabs(n1[i] - n0[i]), rate, 0, 2e-3);
    }
}
