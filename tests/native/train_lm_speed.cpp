// Not a check: what one training step of the demo model's size costs, for those who tune it. YAPO_BENCHMARK=1 runs it.
#include "harness.h"
#include "random_model.h"

#include "yapo_train.h"

#include <chrono>
#include <cstdlib>
#include <ctime>

using namespace yapo_test;

YAPO_TEST(TrainLm_Speed) {
    if (!getenv("YAPO_BENCHMARK")) {
        note("set YAPO_BENCHMARK=1 to measure");
        return;
    }
    const auto number = [](const char * name, int otherwise) { const char * v = getenv(name); return v ? atoi(v) : otherwise; };
    random_model m;
    m.d_model = 256;
    m.head_dim = 64;
    m.n_ff = number("N_FF", 768);
    m.n_vocab = 1536;
    const std::string path = write_random_model(m, scratch("m.gguf"));
    yapo_lm_options o;
    yapo_lm_default_options(&o);
    o.n_workers = number("WORKERS", 2);
    o.micro_batch = number("MICRO_BATCH", 4);
    yapo_lm_trainer * trainer = nullptr;
    OK(yapo_lm_create(path.c_str(), &o, &trainer, &err));
    const int rows = 16;
    std::vector<int32_t> tokens(rows * (o.n_ctx + 1));
    random_source rng(3);
    for (int32_t & t : tokens) {
        t = rng.below(m.n_vocab);
    }
    for (int i = 0; i < number("STEPS", 6); ++i) {
        yapo_lm_step s{sizeof s, 0, 0, 0};
        const auto start = std::chrono::steady_clock::now();
        const clock_t cpu = clock();
        OK(yapo_lm_train_step(trainer, tokens.data(), rows, 1e-3f, &s, &err));
        const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        note("loss %.6f, gradient norm %.6f: %.0f tokens/s, %.0f tokens per CPU second", s.loss, s.gradient_norm, s.tokens / wall,
            s.tokens / (double(clock() - cpu) / CLOCKS_PER_SEC));
    }
    yapo_lm_free(trainer);
}
