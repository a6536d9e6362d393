// An independent forward pass of a small F32 Gemma-2 model in double precision, with steering: slow, scalar, from the GGUF.
#pragma once

#include "kernel_oracle.h"

#include <map>
#include <string>
#include <vector>

namespace yapo_test {

class steered_gemma2 {
public:
    explicit steered_gemma2(const std::string & path);

    // gelu_table: false: the tanh GELU in double precision; true: as ggml's CPU backend has it, argument and value rounded to F16.
    // strengths: [T, vectors]. Returns the logits of every token, [T, V].
    std::vector<double> forward(const std::vector<int32_t> & tokens, const std::vector<steer> & vectors, const std::vector<float> & strengths, bool gelu_table) const;

    int32_t n_vocab() const { return vocab; }

private:
    std::map<std::string, std::vector<float>> tensors;
    int32_t layers, d, heads, heads_kv, head_dim, ffn, vocab, window;

    const std::vector<float> & weight(const std::string & name) const { return tensors.at(name + ".weight"); }
    const std::vector<float> & weight(int32_t layer, const char * name) const { return weight("blk." + std::to_string(layer) + "." + name); }
};

} // namespace yapo_test
