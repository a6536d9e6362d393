#include "compat/translate.h"

#include "llama.h"

#include <dlfcn.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace yapo_compat {
namespace {

// llama.cpp's own function: the linker would bind the name to the export of this library. Its library is found by a name
// that this library does not export.
void * own(const char * name) {
    static void * const library = [] {
        Dl_info info;
        return dladdr(reinterpret_cast<void *>(&llama_decode), &info) ? dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD) : nullptr;
    }();
    void * found = library ? dlsym(library, name) : nullptr;
    if (!found) { // a broken installation: nothing that a caller could handle
        fprintf(stderr, "libyapo-llamasharp028: libllama has no %s\n", name);
        abort();
    }
    return found;
}
#define OWN(name) (reinterpret_cast<decltype(&::name)>(own(#name)))

std::atomic<const yapo_context_observer *> observer{nullptr};

llama_load_mode load_mode(const llamasharp_model_params & p) {
    if (p.use_direct_io) {
        return LLAMA_LOAD_MODE_DIRECT_IO;
    }
    if (p.use_mmap) {
        return p.use_mlock ? LLAMA_LOAD_MODE_MMAP_MLOCK : LLAMA_LOAD_MODE_MMAP;
    }
    return p.use_mlock ? LLAMA_LOAD_MODE_MLOCK : LLAMA_LOAD_MODE_NONE;
}

llama_model_params to_llama(const llamasharp_model_params & p) {
    llama_model_params out = OWN(llama_model_default_params)(); // lazy_mode, load_mtp: new since
    out.devices                     = static_cast<ggml_backend_dev_t *>(p.devices);
    out.tensor_buft_overrides       = static_cast<const llama_model_tensor_buft_override *>(p.tensor_buft_overrides);
    out.n_gpu_layers                = p.n_gpu_layers;
    out.split_mode                  = llama_split_mode(p.split_mode);
    out.load_mode                   = load_mode(p);
    out.main_gpu                    = p.main_gpu;
    out.tensor_split                = p.tensor_split;
    out.progress_callback           = reinterpret_cast<llama_progress_callback>(p.progress_callback);
    out.progress_callback_user_data = p.progress_callback_user_data;
    out.kv_overrides                = static_cast<const llama_model_kv_override *>(p.kv_overrides);
    out.vocab_only                  = p.vocab_only != 0;
    out.check_tensors               = p.check_tensors != 0;
    out.use_extra_bufts             = p.use_extra_bufts != 0;
    out.no_host                     = p.no_host != 0;
    out.no_alloc                    = p.no_alloc != 0;
    return out;
}

llama_context_params to_llama(const llamasharp_context_params & p) {
    llama_context_params out = OWN(llama_context_default_params)(); // n_outputs_max, n_outputs_max_per_seq, ctx_other: new since
    out.n_ctx               = p.n_ctx;
    out.n_batch             = p.n_batch;
    out.n_ubatch            = p.n_ubatch;
    out.n_seq_max           = p.n_seq_max;
    out.n_rs_seq            = p.n_rs_seq;
    out.n_threads           = p.n_threads;
    out.n_threads_batch     = p.n_threads_batch;
    out.ctx_type            = llama_context_type(p.context_type);
    out.rope_scaling_type   = llama_rope_scaling_type(p.rope_scaling_type);
    out.pooling_type        = static_cast<enum llama_pooling_type>(p.llama_pooling_type);
    out.attention_type      = llama_attention_type(p.attention_type);
    out.flash_attn_type     = llama_flash_attn_type(p.llama_flash_attn_type);
    out.rope_freq_base      = p.rope_freq_base;
    out.rope_freq_scale     = p.rope_freq_scale;
    out.yarn_ext_factor     = p.yarn_ext_factor;
    out.yarn_attn_factor    = p.yarn_attn_factor;
    out.yarn_beta_fast      = p.yarn_beta_fast;
    out.yarn_beta_slow      = p.yarn_beta_slow;
    out.yarn_orig_ctx       = p.yarn_orig_ctx;
    out.defrag_thold        = p.defrag_threshold;
    out.cb_eval             = reinterpret_cast<ggml_backend_sched_eval_callback>(p.cb_eval);
    out.cb_eval_user_data   = p.cb_eval_user_data;
    out.type_k              = ggml_type(p.type_k);
    out.type_v              = ggml_type(p.type_v);
    out.abort_callback      = reinterpret_cast<ggml_abort_callback>(p.abort_callback);
    out.abort_callback_data = p.abort_callback_user_data;
    out.embeddings          = p.embeddings != 0;
    out.offload_kqv         = p.offload_kqv != 0;
    out.no_perf             = p.no_perf != 0;
    out.op_offload          = p.op_offload != 0;
    out.swa_full            = p.swa_full != 0;
    out.kv_unified          = p.kv_unified != 0;
    return out;
}

// The sampler interface grew at its end, and llama.cpp keeps the pointer: a longer copy lives as long as the sampler.
struct longer_interface {
    llama_sampler_i functions;
    void (*free)(llama_sampler *);
};

void free_sampler(llama_sampler * sampler) {
    auto * longer = reinterpret_cast<const longer_interface *>(sampler->iface);
    if (longer->free) {
        longer->free(sampler);
    }
    // llama.cpp clones a sampler without context by sharing its interface, which then has to stay
    if (sampler->ctx) {
        delete longer;
    }
}

} // namespace

llamasharp_model_params model_defaults() {
    const llama_model_params p = OWN(llama_model_default_params)();
    llamasharp_model_params out = {};
    out.n_gpu_layers    = p.n_gpu_layers;
    out.split_mode      = p.split_mode;
    out.main_gpu        = p.main_gpu;
    out.use_mmap        = p.load_mode == LLAMA_LOAD_MODE_AUTO || p.load_mode == LLAMA_LOAD_MODE_MMAP;
    out.check_tensors   = p.check_tensors;
    out.use_extra_bufts = p.use_extra_bufts;
    out.no_host         = p.no_host;
    out.no_alloc        = p.no_alloc;
    return out;
}

llamasharp_context_params context_defaults() {
    const llama_context_params p = OWN(llama_context_default_params)();
    llamasharp_context_params out = {};
    out.n_ctx                 = p.n_ctx;
    out.n_batch               = p.n_batch;
    out.n_ubatch              = p.n_ubatch;
    out.n_seq_max             = p.n_seq_max;
    out.n_rs_seq              = p.n_rs_seq;
    out.n_threads             = p.n_threads;
    out.n_threads_batch       = p.n_threads_batch;
    out.context_type          = p.ctx_type;
    out.rope_scaling_type     = p.rope_scaling_type;
    out.llama_pooling_type    = p.pooling_type;
    out.attention_type        = p.attention_type;
    out.llama_flash_attn_type = p.flash_attn_type;
    out.rope_freq_base        = p.rope_freq_base;
    out.rope_freq_scale       = p.rope_freq_scale;
    out.yarn_ext_factor       = p.yarn_ext_factor;
    out.yarn_attn_factor      = p.yarn_attn_factor;
    out.yarn_beta_fast        = p.yarn_beta_fast;
    out.yarn_beta_slow        = p.yarn_beta_slow;
    out.yarn_orig_ctx         = p.yarn_orig_ctx;
    out.defrag_threshold      = p.defrag_thold;
    out.type_k                = p.type_k;
    out.type_v                = p.type_v;
    out.embeddings            = p.embeddings;
    out.offload_kqv           = p.offload_kqv;
    out.no_perf               = p.no_perf;
    out.op_offload            = p.op_offload;
    out.swa_full              = p.swa_full;
    out.kv_unified            = p.kv_unified;
    return out;
}

llamasharp_quantize_params quantize_defaults() {
    const llama_model_quantize_params p = OWN(llama_model_quantize_default_params)();
    llamasharp_quantize_params out = {};
    out.nthread                = p.nthread;
    out.ftype                  = p.ftype;
    out.output_tensor_type     = p.output_tensor_type;
    out.token_embedding_type   = p.token_embedding_type;
    out.allow_requantize       = p.allow_requantize;
    out.quantize_output_tensor = p.quantize_output_tensor;
    out.only_copy              = p.only_copy;
    out.pure                   = p.pure;
    out.keep_split             = p.keep_split;
    out.dry_run                = p.dry_run;
    return out;
}

llama_model * load(const char * path, const llamasharp_model_params & params) { return OWN(llama_model_load_from_file)(path, to_llama(params)); }

llama_model * load_splits(const char ** paths, size_t n_paths, const llamasharp_model_params & params) { return OWN(llama_model_load_from_splits)(paths, n_paths, to_llama(params)); }

llama_context * create(llama_model * model, const llamasharp_context_params & params) {
    if (params.samplers || params.n_samplers) {
        // samplers on the backend: their interface is not the one that llama.cpp would call, and penalties lack a vocabulary size
        fprintf(stderr, "libyapo-llamasharp028: samplers in the context parameters are not supported\n");
        return nullptr;
    }
    llama_context * context = OWN(llama_init_from_model)(model, to_llama(params));
    const yapo_context_observer * o = observer.load();
    if (context && o && !o->created(model, context)) {
        fprintf(stderr, "libyapo-llamasharp028: the steering vectors attached to the model do not fit this context (memory?)\n");
        OWN(llama_free)(context);
        return nullptr;
    }
    return context;
}

void release(llama_context * context) {
    if (const yapo_context_observer * o = context ? observer.load() : nullptr) {
        o->freeing(context);
    }
    OWN(llama_free)(context);
}

uint32_t quantize(const char * input, const char * output, const llamasharp_quantize_params * params) {
    llama_model_quantize_params p = OWN(llama_model_quantize_default_params)(); // max_buf_size: new since
    p.nthread                = params->nthread;
    p.ftype                  = llama_ftype(params->ftype);
    p.output_tensor_type     = ggml_type(params->output_tensor_type);
    p.token_embedding_type   = ggml_type(params->token_embedding_type);
    p.allow_requantize       = params->allow_requantize != 0;
    p.quantize_output_tensor = params->quantize_output_tensor != 0;
    p.only_copy              = params->only_copy != 0;
    p.pure                   = params->pure != 0;
    p.keep_split             = params->keep_split != 0;
    p.dry_run                = params->dry_run != 0;
    p.imatrix                = static_cast<const llama_model_imatrix_data *>(params->imatrix);
    p.kv_overrides           = static_cast<const llama_model_kv_override *>(params->kv_overrides);
    p.tt_overrides           = static_cast<const llama_model_tensor_override *>(params->tensor_types);
    p.prune_layers           = static_cast<const int32_t *>(params->prune_layers);
    return OWN(llama_model_quantize)(input, output, &p);
}

llama_sampler * sampler(const llamasharp_sampler_i * functions, void * context) {
    auto * longer = new longer_interface{};
    longer->functions.name   = reinterpret_cast<decltype(longer->functions.name)>(functions->Name);
    longer->functions.accept = reinterpret_cast<decltype(longer->functions.accept)>(functions->Accept);
    longer->functions.apply  = reinterpret_cast<decltype(longer->functions.apply)>(functions->Apply);
    longer->functions.reset  = reinterpret_cast<decltype(longer->functions.reset)>(functions->Reset);
    longer->functions.clone  = reinterpret_cast<decltype(longer->functions.clone)>(functions->Clone);
    longer->functions.free   = free_sampler;
    longer->free             = reinterpret_cast<void (*)(llama_sampler *)>(functions->Free);
    if (longer->free == free_sampler) { // a clone that was made of its original's interface, which is such a copy
        longer->free = reinterpret_cast<const longer_interface *>(functions)->free;
    }
    return OWN(llama_sampler_init)(&longer->functions, context);
}

// The size of the vocabulary is for samplers on the backend only, which create() refuses.
llama_sampler * penalties(int32_t last_n, float repeat, float frequency, float presence) { return OWN(llama_sampler_init_penalties)(0, last_n, repeat, frequency, presence); }

// -1 meant the whole context.
llama_sampler * dry(const llama_vocab * vocab, int32_t n_ctx_train, float multiplier, float base, int32_t allowed_length, int32_t last_n, const char ** breakers, size_t n_breakers) {
    return OWN(llama_sampler_init_dry)(vocab, multiplier, base, allowed_length, last_n == -1 ? n_ctx_train : last_n, breakers, n_breakers);
}

void observe(const yapo_context_observer * given) { observer.store(given); }

} // namespace yapo_compat
