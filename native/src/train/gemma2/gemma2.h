// Gemma 2 on ggml, described once for every trainer: hyper-parameters as llama.cpp reads them, the tensor table, and the
// forward graph of a block and of the head.
//
//   x0  = sqrt(D) E[token]
//   a   = x + RN(attention(RN(x; attn_norm)); post_attention_norm)
//   x'  = a + RN(down(gelu_tanh(gate RN(a; ffn_norm)) * up RN(a; ffn_norm)); post_ffw_norm)
//   logits = c_f tanh(E RN(x_N; output_norm) / c_f)
//   attention: scores c_a tanh(q.k scale / c_a), causal; even blocks see a sliding window; grouped-query heads; NEOX RoPE.
//   RN(x; w) = x / sqrt(mean x^2 + eps) * w
//
// Shapes (ggml order, fastest first): x [D, T*B], tokens of one sequence adjacent.
#pragma once

#include "ggml.h"
#include "train/files/gguf_source.h"

#include <string>
#include <vector>

namespace yapo::train::gemma2 {

struct config {
    int32_t d_model = 0, n_layer = 0, n_head = 0, n_head_kv = 0, head_dim = 0, n_ff = 0, n_vocab = 0, n_ctx_train = 0;
    float   eps = 1e-6f;
    float   attention_scale = 1.0f;
    float   attention_softcap = 50.0f;
    float   final_softcap = 30.0f;
    float   theta = 10000.0f;      // blocks with full attention
    float   theta_window = 10000.0f;
    int32_t window = 4096;
    int32_t window_pattern = 2;    // block il slides iff il % pattern < pattern - 1

    int32_t window_of(int32_t il) const { return window_pattern == 0 || il % window_pattern < window_pattern - 1 ? window : 0; }
    float   theta_of(int32_t il) const { return window_of(il) ? theta_window : theta; }
};

// YAPO_ERR_UNSUPPORTED for another architecture or a feature the graph does not have (RoPE scaling, biases, per-block shapes).
config read_config(const gguf_source & source);

struct block {
    ggml_tensor * attn_norm = nullptr, * attn_q = nullptr, * attn_k = nullptr, * attn_v = nullptr, * attn_output = nullptr;
    ggml_tensor * post_attention_norm = nullptr;
    ggml_tensor * ffn_norm = nullptr, * ffn_gate = nullptr, * ffn_up = nullptr, * ffn_down = nullptr;
    ggml_tensor * post_ffw_norm = nullptr;
};

struct weights {
    ggml_tensor *      token_embd  = nullptr;
    ggml_tensor *      output_norm = nullptr;
    std::vector<block> blocks; // n_layer; those below first_layer stay empty
};

struct tensor_slot {
    std::string    name;
    int64_t        ne0, ne1;   // ne1 = 1: a norm
    ggml_tensor ** slot;
};
// Every tensor of the blocks from first_layer on, the final norm and the embedding (= head). Points into `w`.
std::vector<tensor_slot> tensor_table(const config & c, weights & w, int32_t first_layer);

// How a graph is said in ggml. plain: ops that every backend has. fused: CPU kernels (autograd/kernels.h), same mathematics.
enum class lowering { plain, fused };

// Inputs shared by all blocks of one graph of B sequences of T tokens; the caller allocates and fills them once.
struct inputs {
    int32_t       n_tokens = 0, n_sequences = 0;
    lowering      form = lowering::plain;
    ggml_tensor * rope_table[2] = {};  // fused: [hd, T] for full and sliding blocks (one tensor where theta is the same)
    ggml_tensor * positions = nullptr; // plain: I32 [T*B]
    ggml_tensor * mask[2] = {};        // plain: [T, T*G] 0 / -inf for full and sliding blocks
};
inputs make_inputs(ggml_context * ctx, const config & c, int32_t n_tokens, int32_t n_sequences, lowering form);
void   fill_inputs(const config & c, const inputs & in); // after allocation, on any backend

ggml_tensor * embed(ggml_context * ctx, const config & c, const weights & w, ggml_tensor * tokens);
ggml_tensor * run_block(ggml_context * ctx, const config & c, const block & b, int32_t il, ggml_tensor * x, const inputs & in);
ggml_tensor * final_norm(ggml_context * ctx, const config & c, const weights & w, ggml_tensor * x);
ggml_tensor * raw_logits(ggml_context * ctx, const weights & w, ggml_tensor * normed, lowering form); // before the final softcap
ggml_tensor * softcap(ggml_context * ctx, ggml_tensor * x, float cap);                 // c tanh(x / c), plain ops
ggml_tensor * gelu(ggml_context * ctx, ggml_tensor * x);                               // gelu_tanh(x), plain ops

} // namespace yapo::train::gemma2
