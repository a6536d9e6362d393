// Gemma 2 in double precision, written as plainly as possible: what training's losses and gradients are checked against.
// Shares no code with native/src/train.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace yapo_test {

struct gemma2_oracle {
    int d_model, n_layer, n_head, n_head_kv, head_dim, n_ff, n_vocab, window;
    double eps = 1e-6, attention_cap = 50, final_cap = 30, theta = 10000;
    std::map<std::string, std::vector<double>> weights; // row-major [out][in], by GGUF name

    using matrix = std::vector<std::vector<double>>; // [T][D]

    explicit gemma2_oracle(const std::string & gguf_path); // an F32 model

    matrix embed(const std::vector<int32_t> & tokens) const;
    matrix blocks(matrix x, int first, int last) const;  // [first, last)
    matrix logits(const matrix & x) const;               // capped, [T][V]
    // sum over positions t with target[t] >= 0 of -log p(target[t] | ..t)
    double loss(const matrix & x, const std::vector<int32_t> & target) const;
};

} // namespace yapo_test
