// Language-model training: determinism, saved states, bad input.
#include "train_lm_session.h"

#include <algorithm>
#include <cmath>
#include <fstream>

using namespace yapo_test;
using namespace yapo_test::lm;

YAPO_TEST(TrainLm_Step_DoesNotDependOnTheNumberOfWorkers) {
    const random_model m = small_model();
    const std::string path = write_random_model(m, scratch("m.gguf"));
    const auto tokens = random_tokens(8, T, m.n_vocab, 31);
    std::string saved[3];
    yapo_lm_step steps[3];
    for (int i = 0; i < 3; ++i) {
        yapo_lm_trainer * trainer = create(path, T, 2, i + 1);
        for (int k = 0; k < 3; ++k) {
            steps[i] = train(trainer, tokens, 8, 1e-2f);
        }
        const std::string out = scratch("out" + std::to_string(i) + ".gguf");
        OK(yapo_lm_save_model(trainer, out.c_str(), &err));
        saved[i] = bytes(out);
        yapo_lm_free(trainer);
    }
    CHECK(saved[0].size() > 1000);
    CHECK(saved[0] == saved[1] && saved[0] == saved[2]);
    CHECK(steps[0].loss == steps[1].loss && steps[0].gradient_norm == steps[2].gradient_norm);
    CHECK_EQ(yapo_live_handles(), int64_t(0));
}

YAPO_TEST(TrainLm_State_ResumesToTheSameBytes) {
    const random_model m = small_model();
    const std::string path = write_random_model(m, scratch("m.gguf"));
    const std::string state = scratch("state.gguf"), direct = scratch("a.gguf"), resumed = scratch("b.gguf");
    yapo_lm_trainer * trainer = create(path, T, 2, 1);
    for (int k = 0; k < 6; ++k) {
        if (k == 3) {
            OK(yapo_lm_save_state(trainer, state.c_str(), &err));
        }
        train(trainer, random_tokens(4, T, m.n_vocab, 100 + k), 4, 1e-2f);
    }
    OK(yapo_lm_save_state(trainer, direct.c_str(), &err));
    yapo_lm_free(trainer);
    trainer = create(path, T, 2, 2);
    OK(yapo_lm_load_state(trainer, state.c_str(), &err));
    for (int k = 3; k < 6; ++k) {
        train(trainer, random_tokens(4, T, m.n_vocab, 100 + k), 4, 1e-2f);
    }
    OK(yapo_lm_save_state(trainer, resumed.c_str(), &err));
    yapo_lm_free(trainer);
    CHECK(bytes(direct).size() > 1000 && bytes(direct) == bytes(resumed));
}

YAPO_TEST(TrainLm_BadInput_IsRefused) {
    const random_model m = small_model();
    const std::string path = write_random_model(m, scratch("m.gguf"));
    yapo_lm_options o;
    yapo_lm_default_options(&o);
    o.n_ctx = T;
    o.micro_batch = 2;
    yapo_lm_trainer * trainer = nullptr;
    REFUSED(YAPO_ERR_IO, "absent.gguf", yapo_lm_create(scratch("absent.gguf").c_str(), &o, &trainer, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "gguf_path", yapo_lm_create(nullptr, &o, &trainer, &err));
    random_model other = m;
    other.arch = "bert";
    const std::string bert = write_random_model(other, scratch("bert.gguf"));
    REFUSED(YAPO_ERR_UNSUPPORTED, "architecture is 'bert'", yapo_lm_create(bert.c_str(), &o, &trainer, &err));
    yapo_lm_options bad = o;
    bad.micro_batch = 0;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "micro_batch", yapo_lm_create(path.c_str(), &bad, &trainer, &err));
    bad = o;
    bad.n_ctx = 1 << 20;
    bad.micro_batch = 1 << 10;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "n_ctx * micro_batch", yapo_lm_create(path.c_str(), &bad, &trainer, &err));
    bad = o;
    bad.beta2 = NAN;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "beta2", yapo_lm_create(path.c_str(), &bad, &trainer, &err));
    const std::string whole = bytes(path), cut = scratch("cut.gguf");
    std::ofstream(cut, std::ios::binary) << whole.substr(0, whole.size() - 100);
    REFUSED(YAPO_ERR_FORMAT, "cut.gguf", yapo_lm_create(cut.c_str(), &o, &trainer, &err));
    CHECK(trainer == nullptr);

    trainer = create(path, T, 2, 1);
    auto tokens = random_tokens(2, T, m.n_vocab, 1);
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "multiple of the micro-batch", yapo_lm_train_step(trainer, tokens.data(), 3, 1e-3f, nullptr, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "learning_rate", yapo_lm_train_step(trainer, tokens.data(), 2, NAN, nullptr, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "tokens is NULL", yapo_lm_train_step(trainer, nullptr, 2, 1e-3f, nullptr, &err));
    tokens[4] = m.n_vocab;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "not in the vocabulary", yapo_lm_train_step(trainer, tokens.data(), 2, 1e-3f, nullptr, &err));
    std::fill(tokens.begin(), tokens.end(), -1);
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "every target is -1", yapo_lm_evaluate(trainer, tokens.data(), 2, nullptr, &err));
    REFUSED(YAPO_ERR_IO, "opened for writing", yapo_lm_save_model(trainer, scratch("no/such/folder/m.gguf").c_str(), &err));
    REFUSED(YAPO_ERR_FORMAT, "not a training state", yapo_lm_load_state(trainer, path.c_str(), &err));
    const std::string state = scratch("state.gguf");
    OK(yapo_lm_save_state(trainer, state.c_str(), &err));
    const std::string good = bytes(state);
    std::ofstream(state, std::ios::binary) << good.substr(0, good.size() / 2);
    REFUSED(YAPO_ERR_FORMAT, "state.gguf", yapo_lm_load_state(trainer, state.c_str(), &err));
    // the refused load changed nothing
    const std::string again = scratch("again.gguf");
    OK(yapo_lm_save_state(trainer, again.c_str(), &err));
    CHECK(bytes(again) == good);
    yapo_lm_free(trainer);
    yapo_lm_free(nullptr);
    CHECK_EQ(yapo_live_handles(), int64_t(0));
}
