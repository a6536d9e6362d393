// Small random GGUF models, deterministic from a seed: what the native tests run on.
#pragma once

#include <cstdint>
#include <string>

namespace yapo_test {

// Sizes divide by 32 (Q8_0) by default; use multiples of 256 throughout (d_model, n_ff, n_head * head_dim) for K-quants.
struct random_model {
    std::string arch           = "gemma2"; // gemma2, gemma3, llama, qwen2, qwen3 (tied heads), gemma3n (hooked with another shape), mamba (recurrent states), plamo2 (no hook), bert (an encoder)
    int32_t     n_layer        = 4;
    int32_t     d_model        = 64;
    int32_t     n_head         = 4;
    int32_t     n_head_kv      = 2;
    int32_t     head_dim       = 16;
    int32_t     n_ff           = 128;
    int32_t     n_vocab        = 384;      // at least 340: see vocabulary below
    int32_t     n_ctx          = 512;
    int32_t     sliding_window = 64;       // gemma2, gemma3
    float       rope_base      = 10000.0f;
    float       rope_scaling   = 0.0f;     // linear factor; 0: the key is absent
    bool        rope_factors   = false;    // a tensor of divisors of the frequencies, as in Llama 3
    bool        untied_head    = false;
    bool        output_bias    = false;    // of attention
    uint64_t    seed           = 1;
    float       embedding_gain = 1.0f;     // multiplies the embeddings: 1e6 gives residual entries of that size from block 0 on
};

// Writes an F32 model. The vocabulary is SentencePiece-like: 0 <pad>, 1 <eos>, 2 <bos>, 3 <unk>, 4 <start_of_turn>,
// 5 <end_of_turn>, 6-261 bytes, 262 "▁", 263-288 a-z, 289-314 "▁a"-"▁z", then bigrams, then filler words; with a chat template of
// the Gemma kind that refuses a system role. Returns the path.
std::string write_random_model(const random_model & model, const std::string & path);

// Deterministic on every platform: splitmix64.
struct random_source {
    uint64_t state;
    explicit random_source(uint64_t seed) : state(seed) {}
    uint64_t next();
    double   uniform();           // [0, 1)
    float    normal();            // mean 0, deviation 1
    int32_t  below(int32_t n);    // [0, n)
};

} // namespace yapo_test
