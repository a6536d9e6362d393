// A small random Gemma-2 model in training.
#pragma once

#include "harness.h"
#include "random_model.h"

#include "yapo_train.h"

namespace yapo_test::lm {

constexpr int T = 12, B = 2;

random_model small_model();
std::vector<int32_t> random_tokens(int rows, int n_ctx, int n_vocab, uint64_t seed);
yapo_lm_trainer * create(const std::string & path, int n_ctx, int micro_batch, int n_workers);
yapo_lm_step train(yapo_lm_trainer * trainer, const std::vector<int32_t> & tokens, int rows, float rate);
std::string bytes(const std::string & path);

} // namespace yapo_test::lm
