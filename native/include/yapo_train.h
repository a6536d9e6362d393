/* yapo_train.h - training over ggml: the C ABI of libyapo's trainers (C11). Conventions as in yapo.h.
 *
 * The native side computes losses and gradients; data order, schedules, AdamW on a steering vector, checkpoints and
 * logs belong to the managed side, where they are easy to test. Every handle computes with one thread (or on one device) and is used by one
 * thread at a time: parallelism is several workers, whose results the caller adds in a fixed order, so that the thread
 * count never changes a result.
 *
 * Shapes: B sequences, T tokens, D d_model, F SAE width, V vocabulary.
 */
#ifndef YAPO_TRAIN_H
#define YAPO_TRAIN_H

#include "yapo.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- language-model training (all parameters, F32; used to make the demo model) -------------------------------- */

typedef struct yapo_lm_trainer yapo_lm_trainer;

typedef struct yapo_lm_options {
    uint32_t struct_size;
    int32_t  n_ctx;          /* T of every sequence */
    int32_t  n_workers;      /* threads; each computes whole micro-batches */
    int32_t  micro_batch;    /* sequences per micro-batch; results depend on it, not on n_workers */
    float    beta1, beta2, epsilon, weight_decay;
    float    gradient_clip;  /* global norm; 0: off */
} yapo_lm_options;

typedef struct yapo_lm_step {
    uint32_t struct_size;
    double   loss;           /* mean cross-entropy per target token, nats */
    double   gradient_norm;  /* before clipping */
    double   tokens;
} yapo_lm_step;

YAPO_API void        yapo_lm_default_options(yapo_lm_options * options);
/* gguf_path: an F32 GGUF of a supported architecture (gemma2, gemma3, llama, qwen2, qwen3) that holds the initial weights. */
YAPO_API yapo_status yapo_lm_create(const char * gguf_path, const yapo_lm_options * options, yapo_lm_trainer ** out, yapo_error ** err);
YAPO_API void        yapo_lm_free(yapo_lm_trainer * trainer);
/* One AdamW step. tokens [B, T+1]: inputs are [:, :T], targets [:, 1:]; a target of -1 is not scored. B % micro_batch == 0. */
YAPO_API yapo_status yapo_lm_train_step(yapo_lm_trainer * trainer, const int32_t * tokens, int32_t n_sequences, float learning_rate, yapo_lm_step * out, yapo_error ** err);
/* Loss only. */
YAPO_API yapo_status yapo_lm_evaluate(yapo_lm_trainer * trainer, const int32_t * tokens, int32_t n_sequences, yapo_lm_step * out, yapo_error ** err);
/* The initial GGUF with the weights replaced (atomic). */
YAPO_API yapo_status yapo_lm_save_model(yapo_lm_trainer * trainer, const char * path, yapo_error ** err);
/* Weights, both moments and the step count (atomic); load gives exactly the state that was saved. */
YAPO_API yapo_status yapo_lm_save_state(yapo_lm_trainer * trainer, const char * path, yapo_error ** err);
YAPO_API yapo_status yapo_lm_load_state(yapo_lm_trainer * trainer, const char * path, yapo_error ** err);

/* ---- upper blocks: loss and gradient of a steering vector ------------------------------------------------------ */

typedef struct yapo_upper        yapo_upper;        /* weights of blocks layer+1 .. n_layer-1 and the head, shared by workers */
typedef struct yapo_upper_worker yapo_upper_worker; /* graph and buffers of one thread; keeps its yapo_upper alive */

/* Loads blocks layer+1 .. n_layer-1, final norm and head of a GGUF (any quantization) of a supported architecture (gemma2, gemma3, llama, qwen2, qwen3). */
YAPO_API yapo_status yapo_upper_load(const char * gguf_path, int32_t layer, yapo_upper ** out, yapo_error ** err);
YAPO_API void        yapo_upper_free(yapo_upper * upper);
/* Copies the weights to a device: workers created from now on compute there, with the same mathematics in plain ggml ops. device: a name of yapo_devices, or
 * of the devices of the RPC servers "host:port,host:port" (rpc; NULL: none); "cpu" is the CPU backend in plain ops, slower than the fused kernels that workers
 * use without this call. The device holds each matrix twice: as in the file, and transposed (F32, F16 and BF16 in their type, quantized ones as Q8_0). One worker
 * is enough: it uses the whole device. Once for a yapo_upper (YAPO_ERR_INVALID_ARGUMENT). YAPO_ERR_OUT_OF_MEMORY where they do not fit; a worker's first call on a device that lacks an operation is
 * YAPO_ERR_UNSUPPORTED, and names it. */
YAPO_API yapo_status yapo_upper_place(yapo_upper * upper, const char * device, const char * rpc, yapo_error ** err);
YAPO_API yapo_status yapo_upper_worker_create(yapo_upper * upper, yapo_upper_worker ** out, yapo_error ** err);
YAPO_API void        yapo_upper_worker_free(yapo_upper_worker * worker);

/* What is trained at one block: F latents of an SAE, or the residual stream itself. */
typedef struct yapo_latents {
    uint32_t        struct_size;
    int32_t         kind;       /* YAPO_VECTOR_SPARSE or YAPO_VECTOR_DENSE; of a dense one only layer and d_model matter */
    int32_t         layer;
    int32_t         reserved;
    int64_t         f, d_model;
    const int32_t * index;      /* [F] ascending numbers of the latents in yapo_sequence's codes; NULL: 0 .. F-1 */
    const float   * enc;        /* [F, D]; at the lowest block NULL where every sequence comes with its codes */
    const float   * enc_bias;   /* [F], as enc */
    const float   * threshold;  /* [F], as enc */
    const float   * dec;        /* [F, D] */
} yapo_latents;

/* The steered latents, for all workers from their next call on; none may be computing. Blocks ascend, from yapo_upper_load's layer on; v and its
 * gradient are the coordinates of all of them, block after block. Copied. */
YAPO_API yapo_status yapo_upper_set_latents(yapo_upper * upper, const yapo_latents * latents, int32_t n, yapo_error ** err);

/* One sequence: the residual stream after block `layer`, captured by llama.cpp, and what follows. The codes of that residual stream depend on nothing
 * that is trained, so whoever has them gives them; those of higher blocks are computed, since lower steering changes them. */
typedef struct yapo_sequence {
    uint32_t        struct_size;
    int32_t         n_tokens;
    const int32_t * tokens;           /* [T] */
    const float   * residual;         /* [T, D] */
    int32_t         completion_start; /* scored tokens are completion_start .. T-1, each predicted from the position before */
    const float   * position_weight;  /* [T] 1 steered, 0 not (BOS); NULL: all but position 0 */
    const int32_t * code_start;       /* [T+1] active latents of position t are entries code_start[t] .. code_start[t+1]-1; NULL: computed */
    const int32_t * code_latent;      /* their numbers, ascending within a position; those that are not trained are skipped */
    const float   * code_value;       /* their z > 0 */
} yapo_sequence;

/* Sum over the completion of log p(token | before) under h' = steer(h, multiplier * v). v NULL or multiplier 0: unsteered. */
YAPO_API yapo_status yapo_upper_logprob(yapo_upper_worker * worker, const yapo_sequence * sequence, const float * v, float multiplier, double * logprob, yapo_error ** err);

/* As yapo_upper_logprob, and gradient += scale * d(logprob)/dv, one entry per coordinate. Nothing flows below the lowest steered block, nor into its
 * encoder; above it the gradient flows through the residual stream and through max(v, -z) into higher encoders. */
YAPO_API yapo_status yapo_upper_logprob_gradient(yapo_upper_worker * worker, const yapo_sequence * sequence, const float * v, float multiplier,
                                                 double scale, float * gradient, double * logprob, yapo_error ** err);

/* What the upper blocks are, for engines that compute them elsewhere: one description for every supported architecture, as this library reads it from
 * the file. Of block il, with x [D] in and out:
 *   a = x + PN(attention(RN(x; attn_norm)); post_attention_norm)      x' = a + PN(down(act(gate RN(a; ffn_norm)) * up RN(a; ffn_norm)); post_ffw_norm)
 *   attention: q, k, v = W RN(x) + bias; q, k = RN per head (attn_q_norm, attn_k_norm); rotation by p rope_scale theta^(-2i/head_dim) / rope_freqs[i] in
 *              pairs (i, i + head_dim/2), or (2i, 2i + 1) where interleaved; softmax of cap(q.k attention_scale, attention_softcap) over the positions
 *              at or before, fewer than `window` back; key head j serves query heads j n_head/n_head_kv and on
 *   logits = cap(H RN(x; output_norm), final_softcap)       cap(x, c) = c tanh(x / c), or x where c = 0       H = output, or token_embd where there is none
 *   RN(x; w) = x / sqrt(mean x^2 + eps) * w                 PN = RN
 * A bias or norm whose tensor is not in the table is left out. */
typedef struct yapo_upper_shape {
    uint32_t struct_size;
    int32_t  layer, n_layer;  /* blocks layer+1 .. n_layer-1 are here */
    int32_t  d_model, n_head, n_head_kv, head_dim, n_ff, n_vocab;
    int32_t  silu;            /* act: 1 x sigmoid(x), 0 GELU in its tanh form */
    int32_t  interleaved;
    int32_t  n_tensors;
    float    eps, attention_scale, attention_softcap, final_softcap;
} yapo_upper_shape;

typedef struct yapo_upper_block {
    uint32_t struct_size;
    int32_t  window;          /* 0: none */
    float    theta, rope_scale;
} yapo_upper_block;

typedef struct yapo_upper_tensor {
    uint32_t     struct_size;
    int32_t      reserved;
    const char * name;        /* as in the file; the handle's */
    int64_t      row, n_rows; /* values per row (inputs of a matrix), rows (1: a vector) */
} yapo_upper_tensor;

YAPO_API yapo_status yapo_upper_describe       (const yapo_upper * upper, yapo_upper_shape * out, yapo_error ** err);
YAPO_API yapo_status yapo_upper_describe_block (const yapo_upper * upper, int32_t il, yapo_upper_block * out, yapo_error ** err);
YAPO_API yapo_status yapo_upper_describe_tensor(const yapo_upper * upper, int32_t i, yapo_upper_tensor * out, yapo_error ** err);
/* Rows first_row .. first_row + n_rows - 1 of tensor i as floats [n_rows, row], whatever their type in the file. */
YAPO_API yapo_status yapo_upper_read_tensor    (const yapo_upper * upper, int32_t i, int64_t first_row, int64_t n_rows, float * out, yapo_error ** err);

/* ---- SAE training ------------------------------------------------------------------------------------------------ */

typedef struct yapo_sae_trainer yapo_sae_trainer;

typedef struct yapo_sae_options {
    uint32_t struct_size;
    int64_t  d_model, f;
    int32_t  n_workers;          /* threads; never change the result */
    float    beta1, beta2, epsilon;
    float    bandwidth;          /* of the straight-through estimator of the threshold, in units of pre-activations */
    float    gradient_clip;
    uint64_t seed;
    float    threshold_rate;     /* learning rate of log theta, relative to the others'; default 1. Short runs need more. */
    int32_t  k;                  /* 0: JumpReLU. Else top-k: the k largest pre-activations of a row, through a ReLU; no thresholds, no sparsity */
} yapo_sae_options;

typedef struct yapo_sae_step {
    uint32_t struct_size;
    double   loss;               /* mean squared error per row / mean ||h - mean||^2 + sparsity * L0 */
    double   explained_variance; /* 1 - sum ||h - h^||^2 / sum ||h - mean||^2 over the batch */
    double   l0;                 /* mean active latents per row */
} yapo_sae_step;

YAPO_API void        yapo_sae_default_options(yapo_sae_options * options);
/* Initial encoder = decoder^T with unit decoder rows drawn from the seed, threshold initial_threshold, decoder bias = mean [D]. */
YAPO_API yapo_status yapo_sae_create(const yapo_sae_options * options, const float * mean, float initial_threshold, yapo_sae_trainer ** out, yapo_error ** err);
YAPO_API void        yapo_sae_free(yapo_sae_trainer * trainer);
/* One Adam step on rows [N, D]. Decoder rows are renormalized to unit length after the step. */
YAPO_API yapo_status yapo_sae_train_step(yapo_sae_trainer * trainer, const float * rows, int64_t n_rows, float learning_rate, float sparsity, yapo_sae_step * out, yapo_error ** err);
/* Forward only; fired [F] (may be NULL) receives how many rows each latent was active in, largest [F] (may be NULL) its largest activation (0: never). */
YAPO_API yapo_status yapo_sae_evaluate(yapo_sae_trainer * trainer, const float * rows, int64_t n_rows, yapo_sae_step * out, int64_t * fired, float * largest, yapo_error ** err);
/* Re-initializes the given latents from rows [n, D] (the worst-reconstructed ones, chosen by the caller) and clears their moments. */
YAPO_API yapo_status yapo_sae_resample(yapo_sae_trainer * trainer, const int32_t * latents, const float * rows, int64_t n, yapo_error ** err);
/* Per-row squared reconstruction error [N]. */
YAPO_API yapo_status yapo_sae_row_errors(yapo_sae_trainer * trainer, const float * rows, int64_t n_rows, float * errors, yapo_error ** err);
/* rows [F]: how many rows each latent has been trained on since it was last active (or resampled). */
YAPO_API yapo_status yapo_sae_quiet(yapo_sae_trainer * trainer, int64_t * rows, yapo_error ** err);
/* Loss and gradient without a step. Each output may be NULL: enc, dec [F, D] (dec without its component along the row), enc_bias, log_threshold
 * [F] (straight-through, with respect to log theta), dec_bias [D]. */
YAPO_API yapo_status yapo_sae_gradient(yapo_sae_trainer * trainer, const float * rows, int64_t n_rows, float sparsity, yapo_sae_step * out,
                                       float * enc, float * enc_bias, float * log_threshold, float * dec, float * dec_bias, yapo_error ** err);
/* Copies the weights out: enc [F, D], enc_bias [F], threshold [F], dec [F, D], dec_bias [D], in yapo.h's convention (decoder bias not subtracted first: folded). */
YAPO_API yapo_status yapo_sae_weights(yapo_sae_trainer * trainer, float * enc, float * enc_bias, float * threshold, float * dec, float * dec_bias, yapo_error ** err);
/* The reverse, to go on from an existing SAE: decoder rows are scaled to unit length (function unchanged), moments and step count cleared. */
YAPO_API yapo_status yapo_sae_set_weights(yapo_sae_trainer * trainer, const float * enc, const float * enc_bias, const float * threshold, const float * dec, const float * dec_bias, yapo_error ** err);
YAPO_API yapo_status yapo_sae_save_state(yapo_sae_trainer * trainer, const char * path, yapo_error ** err);
YAPO_API yapo_status yapo_sae_load_state(yapo_sae_trainer * trainer, const char * path, yapo_error ** err);

/* Codes of rows [N, D] under any JumpReLU SAE (enc [F, D], enc_bias, threshold [F]): z [N, F] = relu(pre) * (pre > threshold), pre = enc h + enc_bias.
 * No handle: statistics over features, in slices of F or N as memory allows. */
YAPO_API yapo_status yapo_sae_encode(int64_t d_model, int64_t f, const float * enc, const float * enc_bias, const float * threshold,
                                     const float * rows, int64_t n_rows, int32_t n_workers, float * z, yapo_error ** err);

#ifdef __cplusplus
}
#endif

#endif /* YAPO_TRAIN_H */
