#include "train_lm_session.h"

#include <fstream>

namespace yapo_test::lm {

random_model small_model() {
    random_model m;
    m.n_layer = 3;
    m.d_model = 32;
    m.n_head = 4;
    m.n_head_kv = 2;
    m.head_dim = 16;
    m.n_ff = 48;
    m.n_vocab = 340;
    m.sliding_window = 5; // bites at 12 tokens
    m.seed = 7;
    return m;
}

std::vector<int32_t> random_tokens(int rows, int n_ctx, int n_vocab, uint64_t seed) {
    random_source rng(seed);
    std::vector<int32_t> tokens(rows * (n_ctx + 1));
    for (int32_t & t : tokens) {
        t = rng.below(n_vocab);
    }
    return tokens;
}

yapo_lm_trainer * create(const std::string & path, int n_ctx, int micro_batch, int n_workers) {
    yapo_lm_options o;
    yapo_lm_default_options(&o);
    o.n_ctx = n_ctx;
    o.micro_batch = micro_batch;
    o.n_workers = n_workers;
    yapo_lm_trainer * trainer = nullptr;
    OK(yapo_lm_create(path.c_str(), &o, &trainer, &err));
    return trainer;
}

yapo_lm_step train(yapo_lm_trainer * trainer, const std::vector<int32_t> & tokens, int rows, float rate) {
    yapo_lm_step step{sizeof step, 0, 0, 0};
    OK(yapo_lm_train_step(trainer, tokens.data(), rows, rate, &step, &err));
    return step;
}

std::string bytes(const std::string & path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

} // namespace yapo_test::lm
