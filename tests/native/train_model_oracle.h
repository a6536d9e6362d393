// Transformers in double precision, written as plainly as possible: what training's losses and gradients are checked against.
// Shares no code with native/src/train.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace yapo_test {

struct model_oracle {
    std::string arch;   // gemma2, gemma3, llama, qwen2, qwen3
    int d_model, n_layer, n_head, n_head_kv, head_dim, n_ff, n_vocab;
    int window = 0, window_pattern = 0; // 0: none
    double eps = 1e-6, attention_cap = 0, final_cap = 0; // 0: none
    double theta = 10000, theta_window = 10000, position_scale = 1;
    std::map<std::string, std::vector<double>> weights; // row-major [out][in], by GGUF name

    using matrix = std::vector<std::vector<double>>; // [T][D]

    explicit model_oracle(const std::string & gguf_path); // an F32 model

    matrix embed(const std::vector<int32_t> & tokens) const;
    matrix blocks(matrix x, int first, int last) const;  // [first, last)
    matrix logits(const matrix & x) const;               // capped, [T][V]
    // sum over positions t with target[t] >= 0 of -log p(target[t] | ..t)
    double loss(const matrix & x, const std::vector<int32_t> & target) const;

private:
    bool   slides(int il) const { return window > 0 && il % window_pattern < window_pattern - 1; }
    double angle(int il, int position, int i) const; // of frequency i
    void   rotate(std::vector<double> & heads, int il, int position) const;
};

} // namespace yapo_test
