// Creating and freeing contexts, and what they tell about themselves.
#include "context/context.h"
#include "context/flash_attention.h"
#include "model/assert_scope.h"
#include "model/model.h"
#include "model/runtime.h"
#include "yapo_eval.h"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <thread>

namespace yapo {
namespace {

// ggml's workers spin, so a second hardware thread of a core costs more than it gives.
int32_t physical_cores() {
    const int32_t logical = std::max(1, int32_t(std::thread::hardware_concurrency())); // respects the affinity mask on Linux
    int32_t smt = 0;
#if defined(__linux__)
    if (FILE * f = fopen("/sys/devices/system/cpu/smt/active", "r")) {
        if (fscanf(f, "%d", &smt) != 1) {
            smt = 0;
        }
        fclose(f);
    }
#elif defined(__x86_64__) || defined(_M_X64)
    smt = logical >= 4; // no portable way to ask; most x86 desktops have two threads per core
#endif
    return smt ? std::max(1, logical / 2) : logical;
}

yapo_context_options read_options(const yapo_context_options * given) {
    yapo_context_options o;
    yapo_context_default_options(&o);
    if (given) {
        if (given->struct_size < offsetof(yapo_context_options, type_kv) + sizeof(int32_t) || given->struct_size > 4096) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_context_options.struct_size is %u, expected %zu: start from yapo_context_default_options",
                 given->struct_size, sizeof o);
        }
        memcpy(&o, given, std::min<size_t>(given->struct_size, sizeof o));
    }
    const auto limit = [](const char * name, uint32_t value, uint32_t most) {
        if (value > most) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "%s is %u, expected at most %u", name, value, most);
        }
    };
    limit("n_ctx", o.n_ctx, 1u << 27);
    limit("n_batch", o.n_batch, 1u << 20);
    limit("n_ubatch", o.n_ubatch, 1u << 20);
    limit("n_seq_max", o.n_seq_max, uint32_t(llama_max_parallel_sequences()));
    if (o.n_threads < 0 || o.n_threads > 512) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "n_threads is %d, expected 1 to 512, or 0 for the number of physical cores", o.n_threads);
    }
    if (o.flash_attention < -1 || o.flash_attention > 1) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "flash_attention is %d, expected -1 (auto), 0 (off) or 1 (on)", o.flash_attention);
    }
    if (o.type_kv < 0 || o.type_kv > 2) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "type_kv is %d, expected 0 (F16), 1 (F32) or 2 (Q8_0)", o.type_kv);
    }
    if (o.embeddings < 0 || o.embeddings > 1) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "embeddings is %d, expected 0 (logits) or 1 (embeddings)", o.embeddings);
    }
    return o;
}

llama_context_params to_llama(const yapo_context_options & o, yapo_context & context, ggml_backend_sched_eval_callback eval, void * eval_user) {
    static const ggml_type kv_types[] = {GGML_TYPE_F16, GGML_TYPE_F32, GGML_TYPE_Q8_0};
    llama_context_params p = llama_context_default_params();
    p.n_ctx           = o.n_ctx;
    p.n_batch         = o.n_batch ? o.n_batch : 512;
    p.n_ubatch        = o.n_ubatch ? std::min(o.n_ubatch, p.n_batch) : p.n_batch;
    p.n_seq_max       = o.n_seq_max ? o.n_seq_max : 1;
    p.n_threads       = o.n_threads ? o.n_threads : physical_cores();
    p.n_threads_batch = p.n_threads;
    p.flash_attn_type = flash_attention_of(*context.model, o.flash_attention, context.path);
    p.type_k          = kv_types[o.type_kv];
    p.type_v          = kv_types[o.type_kv];
    p.embeddings      = o.embeddings != 0;
    p.pooling_type    = o.embeddings ? LLAMA_POOLING_TYPE_UNSPECIFIED : LLAMA_POOLING_TYPE_NONE; // unspecified: the file's
    if (o.embeddings) {
        p.n_ubatch = p.n_batch; // llama.cpp pools what it computes at once
    }
    p.swa_full        = o.swa_full != 0;
    p.kv_unified      = true; // partial copies between sequences abort across separate streams
    p.cb_eval             = eval;
    p.cb_eval_user_data   = eval_user;
    p.abort_callback_data = &context.cancelled;
    p.abort_callback  = [](void * flag) { return static_cast<std::atomic<bool> *>(flag)->load(std::memory_order_relaxed); };
    return p;
}

} // namespace
} // namespace yapo

extern "C" {

void yapo_context_default_options(yapo_context_options * options) {
    if (options) {
        *options = {};
        options->struct_size     = sizeof *options;
        options->swa_full        = 1;
        options->flash_attention = -1;
    }
}

yapo_status yapo_context_create(yapo_model * model, const yapo_context_options * given, yapo_context ** out, yapo_error ** err) {
    return yapo_context_create_with_eval(model, given, nullptr, nullptr, out, err);
}

yapo_status yapo_context_create_with_eval(yapo_model * model, const yapo_context_options * given, void * eval, void * eval_user, yapo_context ** out, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        if (!model || !out) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_context_create: model and out must be given");
        }
        const yapo_context_options options = read_options(given);
        if (model->vocab_only) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "model %s was loaded with vocab_only, so it has no weights to evaluate", model->path.c_str());
        }
        if (llama_model_has_encoder(model->handle.get())) {
            fail(YAPO_ERR_UNSUPPORTED, "model %s has an encoder; only decoder-only language models are supported", model->path.c_str());
        }
        auto context = std::make_unique<yapo_context>();
        context->model = model->handle;
        context->path  = model->path;
        context->no_alloc = model->no_alloc;

        log_capture  log;
        assert_scope asserts; // the first graphs are built here: shapes that do not fit end in an error, not in an abort
        context->handle.reset(llama_init_from_model(context->model.get(), to_llama(options, *context, reinterpret_cast<ggml_backend_sched_eval_callback>(eval), eval_user)));
        if (!context->handle) {
            const bool memory = log.contains("allocate");
            fail(memory ? YAPO_ERR_OUT_OF_MEMORY : YAPO_ERR_UNSUPPORTED, "model %s: llama.cpp could not create a context with n_ctx %u, n_batch %u, n_seq_max %u%s%s",
                 model->path.c_str(), options.n_ctx, options.n_batch, options.n_seq_max, log.suffix().c_str(), memory ? " (a smaller n_ctx needs less memory)" : "");
        }
        if (!llama_get_memory(context->handle.get())) {
            fail(YAPO_ERR_UNSUPPORTED, "model %s is an encoder without a KV cache; only decoder-only language models are supported", model->path.c_str());
        }
        context->embeddings = options.embeddings != 0;
        const enum llama_pooling_type pooling = llama_pooling_type(context->handle.get());
        if (context->embeddings && (pooling == LLAMA_POOLING_TYPE_NONE || pooling == LLAMA_POOLING_TYPE_RANK)) {
            fail(YAPO_ERR_UNSUPPORTED, "model %s gives no embeddings: %s", model->path.c_str(),
                 pooling == LLAMA_POOLING_TYPE_RANK ? "it ranks (ARCHITECTURE.pooling_type is 4)" : "its file names no pooling (ARCHITECTURE.pooling_type)");
        }
        context->remote     = is_remote(*context->model);
        context->freed_seen = buffers_freed;
        context->n_vocab   = llama_vocab_n_tokens(llama_model_get_vocab(context->model.get()));
        context->n_seq_max = int32_t(llama_n_seq_max(context->handle.get()));
        context->sequences.resize(context->n_seq_max);
        *out = context.release();
    });
}

void yapo_context_free(yapo_context * context) { delete context; }

void yapo_context_cancel(yapo_context * context) {
    if (context) {
        context->cancelled.store(true, std::memory_order_relaxed);
    }
}

yapo_status yapo_context_get_stats(const yapo_context * context, yapo_context_stats * out, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        const yapo_context & c = require(context, "yapo_context_get_stats");
        if (!out || out->struct_size < sizeof(uint32_t) || out->struct_size > 4096) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_context_get_stats: out must be given with struct_size = sizeof(yapo_context_stats), %zu", sizeof *out);
        }
        yapo_context_stats s = {};
        s.struct_size       = out->struct_size;
        s.n_ctx             = llama_n_ctx(c.handle.get());
        s.n_batch           = llama_n_batch(c.handle.get());
        s.n_ubatch          = llama_n_ubatch(c.handle.get());
        s.n_seq_max         = uint32_t(c.n_seq_max);
        s.n_graphs_computed = c.n_graphs_computed;
        s.n_graphs_reused   = llama_perf_context(c.handle.get()).n_reused;
        s.bytes_steering    = c.steering.vectors ? c.steering.vectors->bytes : 0;
        memcpy(out, &s, std::min<size_t>(out->struct_size, sizeof s));
    });
}

} // extern "C"
