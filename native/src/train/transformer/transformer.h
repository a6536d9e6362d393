// Decoder-only transformers on ggml, described once for every trainer: hyper-parameters as llama.cpp reads them, the tensor
// table, and the forward graph of a block and of the head. What differs between architectures is data (architectures.cpp).
//
//   x0  = s E[token]                                  s = sqrt(D) where embeddings are scaled, else 1
//   a   = x + PN(attention(RN(x; attn_norm)); post_attention_norm)
//   x'  = a + PN(down(act(gate RN(a; ffn_norm)) * up RN(a; ffn_norm)); post_ffw_norm)
//   logits = cap(H RN(x_N; output_norm), c_f)         H = output, or E where the head is tied
//   attention: q, k, v = W RN(x) (+ bias); q, k normalized per head where the architecture does; RoPE; scores cap(q.k scale, c_a), causal,
//              a sliding window in some blocks; grouped-query heads.
//   RN(x; w) = x / sqrt(mean x^2 + eps) * w    PN = RN, or the identity without post-norms    cap(x, c) = c tanh(x / c), or x where c = 0
//
// Shapes (ggml order, fastest first): x [D, T*B], tokens of one sequence adjacent.
#pragma once

#include "ggml.h"
#include "train/files/gguf_source.h"

#include <string>
#include <vector>

namespace yapo::train::transformer {

enum class activation { gelu_tanh, silu };
enum class rotation { neox, interleaved }; // pairs (i, i + hd/2), or (2i, 2i + 1)

// What an architecture is made of, beside its sizes.
struct architecture {
    const char * name; // as in GGUF
    activation   act;
    rotation     rope;
    bool         scaled_embedding; // by sqrt(D)
    bool         post_norms;       // behind attention and feed-forward
    bool         head_norms;       // of queries and keys
    float        attention_softcap, final_softcap; // where the file does not say; 0: none
    int32_t      window;           // tokens, where the file does not say; 0: no sliding window unless it does; -1: never one
    int32_t      window_pattern;   // block il slides iff il % pattern < pattern - 1
    float        theta_window;     // of sliding blocks, where the file does not say; 0: as the others
};
const architecture * find_architecture(const std::string & name); // NULL where training does not support it
std::string          supported_architectures();                   // "gemma2, gemma3, ..."

struct config {
    const architecture * arch = nullptr;
    int32_t d_model = 0, n_layer = 0, n_head = 0, n_head_kv = 0, head_dim = 0, n_ff = 0, n_vocab = 0, n_ctx_train = 0;
    bool    tied_head = true;
    bool    qkv_bias = false;
    bool    rope_factors = false;   // the file has rope_freqs.weight
    float   eps = 1e-6f;
    float   attention_scale = 1.0f;
    float   attention_softcap = 0.0f;
    float   final_softcap = 0.0f;
    float   theta = 10000.0f;       // blocks with full attention
    float   theta_window = 10000.0f;
    float   rope_scale = 1.0f;      // of positions, in blocks with full attention
    float   rope_scale_window = 1.0f;
    int32_t window = 0;             // 0: none
    int32_t window_pattern = 2;

    int32_t window_of(int32_t il) const { return window > 0 && (window_pattern == 0 || il % window_pattern < window_pattern - 1) ? window : 0; }
    float   theta_of(int32_t il) const { return window_of(il) ? theta_window : theta; }
    float   rope_scale_of(int32_t il) const { return window_of(il) ? rope_scale_window : rope_scale; }
    bool    two_rotations() const { return window > 0 && (theta != theta_window || rope_scale != rope_scale_window); }
};

// YAPO_ERR_UNSUPPORTED for another architecture or a feature the graph does not have (experts, YaRN, per-block shapes).
config read_config(const gguf_source & source);

struct block {
    ggml_tensor * attn_norm = nullptr, * attn_q = nullptr, * attn_k = nullptr, * attn_v = nullptr, * attn_output = nullptr;
    ggml_tensor * attn_q_bias = nullptr, * attn_k_bias = nullptr, * attn_v_bias = nullptr; // qkv_bias, in any architecture
    ggml_tensor * attn_q_norm = nullptr, * attn_k_norm = nullptr;                          // head_norms
    ggml_tensor * post_attention_norm = nullptr;                                           // post_norms
    ggml_tensor * ffn_norm = nullptr, * ffn_gate = nullptr, * ffn_up = nullptr, * ffn_down = nullptr;
    ggml_tensor * post_ffw_norm = nullptr;                                                 // post_norms
};

struct weights {
    ggml_tensor *      token_embd   = nullptr; // NULL where only upper blocks with a head of their own were loaded
    ggml_tensor *      output       = nullptr; // NULL: tied
    ggml_tensor *      output_norm  = nullptr;
    ggml_tensor *      rope_factors = nullptr; // [hd/2] divisors of the frequencies; no parameter
    std::vector<block> blocks;                 // n_layer; those below first_layer stay empty

    ggml_tensor * head() const { return output ? output : token_embd; }
};

struct tensor_slot {
    std::string    name;
    int64_t        ne0, ne1;   // ne1 = 1: one-dimensional
    ggml_tensor ** slot;
    bool           parameter = true; // false: a constant that training leaves alone
};
// Every tensor of the blocks from first_layer on, the final norm and the head; from block 0 on the embedding too. Points into `w`.
// YAPO_ERR_UNSUPPORTED where the file's blocks hold a tensor that the graph would leave out.
std::vector<tensor_slot> tensor_table(const gguf_source & source, const config & c, weights & w, int32_t first_layer);

// How a graph is said in ggml. plain: ops that every backend has. fused: CPU kernels (autograd/kernels.h), same mathematics.
enum class lowering { plain, fused };

// Inputs shared by all blocks of one graph of B sequences of T tokens; the caller allocates and fills them once.
struct inputs {
    int32_t       n_tokens = 0, n_sequences = 0;
    lowering      form = lowering::plain;
    ggml_tensor * rope_table[2] = {};  // fused: [hd, T] for full and sliding blocks (one tensor where they rotate alike)
    ggml_tensor * positions = nullptr; // plain: I32 [T*B]
    ggml_tensor * mask[2] = {};        // plain: [T, T*G] 0 / -inf for full and sliding blocks
    ggml_tensor * rope_factors = nullptr; // plain: the weights', or NULL
};
inputs make_inputs(ggml_context * ctx, const config & c, const weights & w, int32_t n_tokens, int32_t n_sequences, lowering form);
void   fill_inputs(const config & c, const weights & w, const inputs & in); // after allocation, on any backend

ggml_tensor * embed(ggml_context * ctx, const config & c, const weights & w, ggml_tensor * tokens);
ggml_tensor * run_block(ggml_context * ctx, const config & c, const block & b, int32_t il, ggml_tensor * x, const inputs & in);
ggml_tensor * final_norm(ggml_context * ctx, const config & c, const weights & w, ggml_tensor * x);
ggml_tensor * raw_logits(ggml_context * ctx, const weights & w, ggml_tensor * normed, lowering form); // before the final softcap
ggml_tensor * softcap(ggml_context * ctx, ggml_tensor * x, float cap);                 // c tanh(x / c), plain ops; x where c = 0
ggml_tensor * gelu(ggml_context * ctx, ggml_tensor * x);                               // gelu_tanh(x), plain ops

} // namespace yapo::train::transformer
