/* yapo.h - the C ABI of libyapo (C11).
 *
 * Steering, capture, tokens, templates, sampling and decoding of GGUF models over a patched llama.cpp.
 * Training has its own header, yapo_train.h, over the same conventions:
 *
 *  - Handles are opaque. Every yapo_x_create/_load is paired with yapo_x_free; free(NULL) is a no-op.
 *    A context keeps its model alive, so handles may be freed in any order.
 *  - Functions that can fail return yapo_status and fill *err (when err is not NULL) with an object that the caller
 *    frees with yapo_error_free. On failure no out parameter is written. No C++ exception crosses this header, and no
 *    argument, however wrong, aborts the process.
 *  - Structs that may grow start with struct_size = sizeof(the struct the caller compiled against).
 *  - Strings are UTF-8. Out strings are owned by the caller and freed with yapo_string_free.
 *  - Shapes: T tokens, D d_model, K support of a sparse vector, F width of an SAE, V vocabulary. Matrices are row-major; [T, D] means T
 *    rows of D. Layers are zero-based block numbers and mean the residual stream after that block.
 *  - A handle is used by one thread at a time, except where a function says otherwise.
 */
#ifndef YAPO_H
#define YAPO_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#  if defined(YAPO_BUILD)
#    define YAPO_API __declspec(dllexport)
#  else
#    define YAPO_API __declspec(dllimport)
#  endif
#else
#  define YAPO_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Matched exactly by the managed side at load. */
#define YAPO_ABI_VERSION 6

typedef enum yapo_status {
    YAPO_OK                   = 0,
    YAPO_ERR_INVALID_ARGUMENT = 1, /* a value the caller passed cannot be right */
    YAPO_ERR_IO               = 2, /* a file could not be read or written */
    YAPO_ERR_FORMAT           = 3, /* a file is not what it claims to be */
    YAPO_ERR_MISMATCH         = 4, /* two good things that do not belong together (vector and model, ...) */
    YAPO_ERR_UNSUPPORTED      = 5, /* valid, but not something this build or architecture can do */
    YAPO_ERR_OUT_OF_MEMORY    = 6,
    YAPO_ERR_CANCELLED        = 7,
    YAPO_ERR_CONTEXT_FULL     = 8, /* no KV cells left for the batch */
    YAPO_ERR_INTERNAL         = 9
} yapo_status;

typedef struct yapo_error   yapo_error;
typedef struct yapo_model   yapo_model;
typedef struct yapo_context yapo_context;
typedef struct yapo_sampler yapo_sampler;
typedef struct yapo_full_sae yapo_full_sae;

/* ---- errors, strings, library ------------------------------------------------------------------------------- */

YAPO_API yapo_status  yapo_error_status (const yapo_error * err);
YAPO_API const char * yapo_error_message(const yapo_error * err); /* valid until yapo_error_free */
YAPO_API void         yapo_error_free   (yapo_error * err);
YAPO_API void         yapo_string_free  (char * s);

YAPO_API uint32_t     yapo_abi_version(void);

/* JSON, static: {"yapo": "...", "llama_cpp": "v0.5.0", "backends": ["CPU", ...], "cpu_features": "..."}. */
YAPO_API const char * yapo_build_info(void);

/* JSON array of devices, with those of the plug-in that the variable GGML_BACKEND_PATH names: [{"name","description","type":"cpu|gpu|igpu|accel","memory_free","memory_total"}]. */
YAPO_API yapo_status  yapo_devices(char ** json, yapo_error ** err);

/* The same for the devices of the RPC servers "host:port,host:port", which are connected to; YAPO_ERR_IO where one does not answer. */
YAPO_API yapo_status  yapo_rpc_devices(const char * servers, char ** json, yapo_error ** err);

/* Serves devices of this machine to other processes over llama.cpp's RPC protocol, one client at a time, and returns only when it
 * cannot listen. The protocol has no authentication and no encryption: whoever reaches the port controls this process.
 * host: an IPv4 address of this machine; device: a name from yapo_devices, NULL: the GPUs, else the CPU; n_threads of a CPU, 0: all. */
YAPO_API yapo_status  yapo_rpc_serve(const char * host, int32_t port, const char * device, int32_t n_threads, yapo_error ** err);

/* Number of models, contexts, samplers, SAEs and trainers alive: zero after everything was freed. Any thread. */
YAPO_API int64_t      yapo_live_handles(void);

/* level: 0 debug, 1 info, 2 warning, 3 error. text is one line without its end. Called from any thread, one call at a
 * time. callback NULL silences the library (the default); after yapo_log_set returns, the old callback is not called again. */
typedef void (*yapo_log_callback)(int32_t level, const char * text, void * user);
YAPO_API void         yapo_log_set(yapo_log_callback callback, void * user);

/* Checks the structure of a GGUF file (magic, version, counts, types, sizes, offsets, alignment, duplicate names,
 * overflow, file length) without allocating more than the file's own size justifies: YAPO_ERR_FORMAT names what was expected
 * and found, and where. Any GGUF may be given. yapo_model_load and yapo_model_quantize do the same first, and then check the
 * hyper-parameters, the vocabulary and the tensor types that a model needs. */
YAPO_API yapo_status  yapo_gguf_validate(const char * path, yapo_error ** err);

/* ---- models -------------------------------------------------------------------------------------------------- */

typedef struct yapo_model_options {
    uint32_t     struct_size;
    int32_t      gpu_layers;  /* layers to offload; -1 all, 0 none */
    int32_t      vocab_only;  /* 1: tokenizer and metadata only */
    int32_t      use_mmap;    /* 1 default */
    const char * device;      /* NULL: the servers of `rpc`, then the GPUs; else "cpu" or one name from yapo_devices or yapo_rpc_devices */
    const char * rpc;         /* NULL, or "host:port,host:port": RPC servers whose devices are there to hold blocks */
    int32_t (*progress)(float fraction, void * user); /* NULL, or called while loading; return 0 to cancel */
    void *       progress_user;
    int32_t      no_alloc;    /* 1: nothing is loaded, contexts only work out what they would allocate (yapo_context_memory) and cannot decode */
    int32_t      keep_layout; /* 1: the CPU computes with the weights as the file holds them, mapped; 0: llama.cpp may copy them into an order that is faster */
} yapo_model_options;

YAPO_API void        yapo_model_default_options(yapo_model_options * options);
YAPO_API yapo_status yapo_model_load(const char * path, const yapo_model_options * options, yapo_model ** out, yapo_error ** err);
YAPO_API void        yapo_model_free(yapo_model * model);

typedef struct yapo_model_info {
    uint32_t struct_size;
    int32_t  n_layer;
    int32_t  d_model;
    int32_t  n_head;
    int32_t  n_head_kv;
    int32_t  n_vocab;
    int32_t  n_ctx_train;
    int32_t  token_bos;      /* -1 where the vocabulary has none */
    int32_t  token_eos;
    int32_t  token_eot;
    int32_t  add_bos;        /* 1: the model wants a BOS token in front */
    int32_t  vocab_only;
    uint64_t n_params;
    uint64_t size_bytes;     /* of all tensors */
} yapo_model_info;

YAPO_API yapo_status yapo_model_get_info(const yapo_model * model, yapo_model_info * out, yapo_error ** err);
/* *out is NULL where the key does not exist or holds an array. Numbers and booleans come as llama.cpp prints them. */
YAPO_API yapo_status yapo_model_meta(const yapo_model * model, const char * key, char ** out, yapo_error ** err);
YAPO_API yapo_status yapo_model_description(const yapo_model * model, char ** out, yapo_error ** err);

/* Quantizes src into dst (written beside it and renamed; an existing dst is replaced only on success, and dst may not be src).
 * type: "f32","f16","bf16","q8_0","q6_k","q5_k_m","q5_k_s","q5_1","q5_0","q4_k_m","q4_k_s","q4_1","q4_0","iq4_nl","iq4_xs","q3_k_l","q3_k_m",
 * "q3_k_s","q2_k"; what needs an importance matrix is not offered. n_threads 0: all. An already quantized src is refused unless its tensors stay. */
YAPO_API yapo_status yapo_model_quantize(const char * src, const char * dst, const char * type, int32_t n_threads, yapo_error ** err);

/* n values of any ggml type that floats can be made of (weights of a GGUF, by rows), as ggml's reference code decodes them. type: the
 * number in the file; n: whole blocks, which `bytes` bytes hold exactly. Any thread. */
YAPO_API yapo_status yapo_dequantize(int32_t type, const void * data, int64_t bytes, float * out, int64_t n, yapo_error ** err);

/* ---- tokens and chat templates ------------------------------------------------------------------------------- */

/* Writes at most capacity ids and always sets *n to the number needed; *n > capacity means call again with more room. */
YAPO_API yapo_status yapo_tokenize(const yapo_model * model, const char * text, int64_t text_bytes, int32_t add_special, int32_t parse_special,
                                   int32_t * ids, int64_t capacity, int64_t * n, yapo_error ** err);
/* The bytes of one token (not necessarily whole UTF-8 characters). special: 1 renders control tokens as text, 0 as nothing. */
YAPO_API yapo_status yapo_token_piece(const yapo_model * model, int32_t id, int32_t special, char * bytes, int32_t capacity, int32_t * n, yapo_error ** err);
YAPO_API int32_t     yapo_token_is_eog(const yapo_model * model, int32_t id);     /* ends a generation: EOS, EOT, ... ; 0 for bad ids */
YAPO_API int32_t     yapo_token_is_control(const yapo_model * model, int32_t id);

typedef struct yapo_chat_message {
    const char * role;    /* "system", "user", "assistant" */
    const char * content;
} yapo_chat_message;

/* Renders messages with the Jinja template in the GGUF (llama.cpp's engine), or with template_override when given.
 * The result is complete: tokenize it with add_special = 0, parse_special = 1. A control token that is written out in a message ("<end_of_turn>" typed
 * by a user) stays text: a word joiner (U+2060) behind its first character breaks it. The result begins with exactly one BOS where the
 * model wants one (add_bos), whether the template writes it or leaves it to the tokenizer.
 * A template that refuses a role (Gemma refuses "system") is YAPO_ERR_UNSUPPORTED with the template's own message; so is a
 * model without a template, and a template that passes a bound (1 MiB of source, 5 seconds, 64 MiB of output, nesting);
 * one that cannot be parsed or executed is YAPO_ERR_FORMAT. Templates that ask for the date get today's. */
YAPO_API yapo_status yapo_chat_format(const yapo_model * model, const char * template_override, const yapo_chat_message * messages, int64_t n_messages,
                                      int32_t add_generation_prompt, char ** out, yapo_error ** err);

/* ---- contexts and decoding ----------------------------------------------------------------------------------- */

typedef struct yapo_context_options {
    uint32_t struct_size;
    uint32_t n_ctx;           /* KV cells shared by all sequences; 0: the model's training length */
    uint32_t n_batch;         /* most tokens of one decode call; 0: 512 */
    uint32_t n_ubatch;        /* most tokens computed at once; 0: n_batch */
    uint32_t n_seq_max;       /* 0: 1 */
    int32_t  n_threads;       /* 0: the number of physical cores */
    int32_t  swa_full;        /* 1 (default): keep the whole cache of sliding-window layers, needed to rewind */
    int32_t  flash_attention; /* -1 auto (default), 0 off, 1 on */
    int32_t  type_kv;         /* 0: F16 (default), 1: F32, 2: Q8_0 */
    int32_t  embeddings;      /* 1: gives embeddings instead of logits (yapo_context_embedding); a batch is computed at once, n_ubatch is not read */
} yapo_context_options;

YAPO_API void        yapo_context_default_options(yapo_context_options * options);
YAPO_API yapo_status yapo_context_create(yapo_model * model, const yapo_context_options * options, yapo_context ** out, yapo_error ** err);
YAPO_API void        yapo_context_free(yapo_context * context);

typedef struct yapo_context_stats {
    uint32_t struct_size;
    uint32_t n_ctx, n_batch, n_ubatch, n_seq_max;
    int64_t  n_graphs_computed; /* since creation */
    int64_t  n_graphs_reused;   /* of those, without rebuilding */
    int64_t  bytes_steering;    /* device memory of the attached vectors */
} yapo_context_stats;

YAPO_API yapo_status yapo_context_get_stats(const yapo_context * context, yapo_context_stats * out, yapo_error ** err);

/* What llama.cpp has allocated for the model and this context (with no_alloc: would allocate), by kind of memory, as JSON:
 * [{"buffer": "CPU", "host": true, "model": bytes, "context": bytes, "compute": bytes}]. The compute buffer includes what attached vectors,
 * captures and read-outs need in the graph; their own weights are bytes_steering. */
YAPO_API yapo_status yapo_context_memory(const yapo_context * context, char ** json, yapo_error ** err);

/* llama.cpp's own dense steering, which ours is measured against: after block l, 1 <= l < L, rows[l - 1] is added to every token,
 * whatever the strengths of a batch say. n: (L - 1) D values; rows NULL and n 0 remove it. */
YAPO_API yapo_status yapo_context_set_control_vector(yapo_context * context, const float * rows, int64_t n, yapo_error ** err);

/* One token per row. Positions of a sequence must continue its cache without a gap. */
typedef struct yapo_batch {
    uint32_t        struct_size;
    int32_t         n_tokens;
    const int32_t * tokens;      /* [T] */
    const int32_t * positions;   /* [T] */
    const int32_t * sequences;   /* [T]; NULL: all 0 */
    const uint8_t * outputs;     /* [T], 1: logits wanted; NULL: only the last token */
    const float   * strengths;   /* [T, N] strength of attached vector i at token t; N as set by yapo_context_set_vectors. Required when N > 0. */
} yapo_batch;

/* Evaluates the batch (split into ubatches as needed). YAPO_ERR_CONTEXT_FULL leaves the cache as it was before. After any other failure the sequences of
 * the batch hold what they held before it, or, where the model's memory cannot go back a part, nothing; of such a one yapo_context_remove removes
 * all and nothing less (YAPO_ERR_UNSUPPORTED). */
YAPO_API yapo_status yapo_context_decode(yapo_context * context, const yapo_batch * batch, yapo_error ** err);
/* Makes a running decode return YAPO_ERR_CANCELLED soon. Any thread. */
YAPO_API void        yapo_context_cancel(yapo_context * context);
/* Logits of batch row `row` of the last decode ([V] floats, copied). A row without output is YAPO_ERR_INVALID_ARGUMENT. */
YAPO_API yapo_status yapo_context_logits(const yapo_context * context, int32_t row, float * logits, int64_t capacity, yapo_error ** err);
/* log softmax(logits[row])[ids[k]] in double precision, for k < n. */
YAPO_API yapo_status yapo_context_logprobs(const yapo_context * context, int32_t row, const int32_t * ids, int64_t n, double * out, yapo_error ** err);

/* The embedding of a sequence of the last decode, pooled over its tokens in that batch as the model's file says (mean, first or last token), not
 * normalized. n: what yapo_context_embedding_size gives. A context without `embeddings`, or a sequence that was not in the batch, is
 * YAPO_ERR_INVALID_ARGUMENT. yapo_context_create refuses `embeddings` for models whose file names no pooling (YAPO_ERR_UNSUPPORTED). */
YAPO_API yapo_status yapo_context_embedding(const yapo_context * context, int32_t sequence, float * out, int64_t n, yapo_error ** err);
YAPO_API yapo_status yapo_context_embedding_size(const yapo_context * context, int64_t * n, yapo_error ** err);

/* Removes the cells of a sequence with position in [p0, p1); p1 < 0: to the end; sequence < 0: all sequences. A range inside the
 * sequence is refused: the hole could never be filled. YAPO_ERR_UNSUPPORTED where only the whole sequence can be forgotten: of recurrent models, and of those
 * with a sliding window whose cells before p0 are gone (swa_full 0, or given to other sequences). */
YAPO_API yapo_status yapo_context_remove(yapo_context * context, int32_t sequence, int32_t p0, int32_t p1, yapo_error ** err);
/* Shares the cells of src in [p0, p1) with dst, which must hold exactly the positions before p0. YAPO_ERR_UNSUPPORTED as of yapo_context_remove. */
YAPO_API yapo_status yapo_context_copy(yapo_context * context, int32_t src, int32_t dst, int32_t p0, int32_t p1, yapo_error ** err);

/* ---- full SAEs ----------------------------------------------------------------------------------------------- */

typedef enum yapo_row_type { YAPO_ROW_F32 = 0, YAPO_ROW_F16 = 1, YAPO_ROW_BF16 = 2, YAPO_ROW_Q8_0 = 3 } yapo_row_type;

typedef enum yapo_activation {
    YAPO_SAE_JUMPRELU = 0, /* z = relu(pre) * (pre > threshold), strict; threshold 0 makes it a plain ReLU */
    YAPO_SAE_TOPK     = 1  /* z = relu(pre) * (pre >= the topk-th largest pre of the token); entries equal to that one all stay */
} yapo_activation;

/* A whole SAE on the device of one layer, for what a few copied rows cannot do: TopK selection, read-out, reconstruction.
 *
 *     pre = enc h + enc_bias  [F]       z as above  [F]       reconstruction = dec^T z + dec_bias  [D]
 *
 * Encoder rows are F32 there: 4 F D bytes. The decoder (F D entries of dec_row_type) is allocated with its first rows and
 * is needed for reconstruction only. */
typedef struct yapo_full_sae_desc {
    uint32_t      struct_size;
    int32_t       layer;
    int64_t       d_model;
    int64_t       width;        /* F */
    int32_t       activation;   /* yapo_activation */
    int32_t       topk;         /* TopK only: 1 to F */
    const float * enc_bias;     /* [F] */
    const float * threshold;    /* [F], JumpReLU only; NULL: zeros */
    int32_t       dec_row_type; /* yapo_row_type on the device */
} yapo_full_sae_desc;

YAPO_API yapo_status yapo_full_sae_create(const yapo_model * model, const yapo_full_sae_desc * desc, yapo_full_sae ** out, yapo_error ** err);
/* Copies rows first .. first + n - 1, [n, D]. An SAE is usable once every row of what is used was given. Blocks of decoder rows start at
 * a multiple of 32, and their number is one too, but for the last block. */
YAPO_API yapo_status yapo_full_sae_set_encoder(yapo_full_sae * sae, int64_t first, int64_t n, const float * rows, yapo_error ** err);
YAPO_API yapo_status yapo_full_sae_set_decoder(yapo_full_sae * sae, int64_t first, int64_t n, const float * rows, yapo_error ** err);
YAPO_API void        yapo_full_sae_free(yapo_full_sae * sae); /* contexts that use it keep the weights */

/* ---- steering ------------------------------------------------------------------------------------------------ */

typedef enum yapo_vector_kind { YAPO_VECTOR_DENSE = 0, YAPO_VECTOR_SPARSE = 1, YAPO_VECTOR_REPLACE = 2 } yapo_vector_kind;
typedef enum yapo_vector_operator { YAPO_OPERATOR_ADD = 0 /* reserved: SET, SCALE, CLAMP, ABLATE */ } yapo_vector_operator;

/* One steering vector at one layer.
 *
 * dense:   h += s_t * value                                                              value [D]
 * sparse:  pre = enc h + enc_bias          [K]        z = relu(pre) * (pre > threshold)   strict
 *          c   = max(sum_i s_ti v_i, -z)   [K]        h += dec^T c
 *
 * Sparse vectors of one layer with the same non-zero sae_id act jointly on the union of their supports: the sum over i
 * above. Vectors with different SAEs and dense ones read the same incoming h, and their corrections add.
 *
 * With `sae`, z comes from that whole SAE (which TopK needs) instead of enc, enc_bias and threshold, which may then be NULL.
 * Its layer is the vector's. Vectors with the same `sae` act jointly, and with sparse ones of the same sae_id.
 *
 * replace: h += s_t * (x - h), x = value [D], plus dec^T z of `sae` where given: s_t = 1 puts x in h's place. Zeros make the
 * zero ablation, the mean residual the mean ablation, an SAE with its decoder bias as value the reconstruction.
 *
 * s = 0 for all vectors leaves h bit for bit as it was, but for -0, which may become +0. (YaPO, arXiv 2601.08441, rewritten: relu(z + sv) - z = max(sv, -z).)
 */
typedef struct yapo_vector_desc {
    uint32_t        struct_size;
    int32_t         kind;         /* yapo_vector_kind */
    int32_t         op;           /* yapo_vector_operator */
    int32_t         layer;
    int64_t         d_model;
    int64_t         k;            /* sparse only */
    uint64_t        sae_id;       /* sparse only; equal ids promise equal rows for equal indices; 0: never joined */
    const int32_t * index;        /* [K] ascending, sparse only */
    const float   * value;        /* [K] or [D] */
    const float   * enc;          /* [K, D] encoder columns as rows */
    const float   * enc_bias;     /* [K] */
    const float   * threshold;    /* [K]; 0 makes it a plain ReLU SAE */
    const float   * dec;          /* [K, D] decoder rows */
    int32_t         dec_row_type; /* yapo_row_type used on the device; F32 default. Error of the correction h' - h, measured on random
                                     dictionaries, relative to its largest entry: F32 5e-7, F16 5e-4, BF16 4e-3, Q8_0 1.1e-2 */
    const yapo_full_sae * sae;    /* NULL, or of the same model and layer; sparse and replace only */
} yapo_vector_desc;

/* Replaces all attached vectors of the context by these (n = 0: detach all). Data is copied to the device of each
 * layer. The order defines the columns of yapo_batch.strengths. Refused, with the old set still attached: a layer out of range, a
 * wrong d_model (YAPO_ERR_MISMATCH), non-finite entries, an architecture whose graph does not reach the hook at the
 * layer with [D, T] (YAPO_ERR_UNSUPPORTED). */
YAPO_API yapo_status yapo_context_set_vectors(yapo_context * context, const yapo_vector_desc * vectors, int32_t n, yapo_error ** err);

/* ---- capture ------------------------------------------------------------------------------------------------- */

typedef enum yapo_capture_site { YAPO_CAPTURE_BEFORE = 0 /* before steering */, YAPO_CAPTURE_AFTER = 1 /* after steering */ } yapo_capture_site;

/* From the next decode on, keeps the residual stream at these layers for every token of the batch (in the last block:
 * for the rows with outputs only, the others are NaN). n = 0 stops. */
YAPO_API yapo_status yapo_context_set_capture(yapo_context * context, const int32_t * layers, const int32_t * sites, int32_t n, yapo_error ** err);
/* Residuals of the last decode for capture `slot` (index into the arrays above), [T, D] in batch order. */
YAPO_API yapo_status yapo_context_captured(const yapo_context * context, int32_t slot, float * out, int64_t capacity, yapo_error ** err);

/* ---- SAE read-out -------------------------------------------------------------------------------------------- */

typedef struct yapo_readout_desc {
    uint32_t              struct_size;
    int32_t               site; /* yapo_capture_site: of the layer's residual before or after steering */
    int32_t               top;  /* N: latents kept per token, 1 to F */
    const yapo_full_sae * sae;  /* names the layer */
} yapo_readout_desc;

/* From the next decode on, encodes the residual stream of every token with these SAEs and keeps the N most active latents. n = 0 stops. */
YAPO_API yapo_status yapo_context_set_readout(yapo_context * context, const yapo_readout_desc * readouts, int32_t n, yapo_error ** err);
/* Of the last decode, in batch order: latents and activations [T, N], the most active first (equal ones by number), -1 and 0 where fewer
 * than N are active; active [T], how many are. Rows that were not computed (last block, no output): -1, NaN and -1. Where equal activations
 * compete for the last place, the device chooses. capacity: rows that the arrays have room for. */
YAPO_API yapo_status yapo_context_readout(const yapo_context * context, int32_t slot, int32_t * latents, float * activations, int32_t * active,
                                          int64_t capacity, yapo_error ** err);

/* ---- sampling ------------------------------------------------------------------------------------------------ */

typedef struct yapo_sampler_options {
    uint32_t struct_size;
    uint32_t seed;
    float    temperature;        /* 0: greedy */
    int32_t  top_k;              /* 0: off */
    float    top_p;              /* 1: off */
    float    min_p;              /* 0: off */
    float    repeat_penalty;     /* 1: off */
    float    frequency_penalty;  /* 0: off */
    float    presence_penalty;   /* 0: off */
    int32_t  penalty_last_n;     /* tokens looked back on; 0: off */
} yapo_sampler_options;

YAPO_API void        yapo_sampler_default_options(yapo_sampler_options * options);
YAPO_API yapo_status yapo_sampler_create(const yapo_model * model, const yapo_sampler_options * options, yapo_sampler ** out, yapo_error ** err);
YAPO_API void        yapo_sampler_free(yapo_sampler * sampler);
/* Samples from the logits of batch row `row` and accepts the token into the sampler's history. */
YAPO_API yapo_status yapo_sampler_sample(yapo_sampler * sampler, yapo_context * context, int32_t row, int32_t * token, yapo_error ** err);
YAPO_API yapo_status yapo_sampler_reset(yapo_sampler * sampler, yapo_error ** err);

#ifdef __cplusplus
}
#endif

#endif /* YAPO_H */
