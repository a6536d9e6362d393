// What a loaded model says about itself.
#include "model/model.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

namespace yapo {
namespace {

const llama_model * model_of(const yapo_model * model) {
    if (!model) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "model is NULL");
    }
    return model->handle.get();
}

bool read_meta(const llama_model * model, const char * key, std::string & value) {
    char probe[1];
    const int32_t n = llama_model_meta_val_str(model, key, probe, sizeof probe);
    if (n < 0) {
        return false;
    }
    value.resize(static_cast<size_t>(n) + 1);
    llama_model_meta_val_str(model, key, &value[0], value.size());
    value.resize(static_cast<size_t>(n));
    return true;
}

// A scalar hyper-parameter of the architecture. llama.cpp reads none for a vocabulary-only model.
int32_t hyper_parameter(const llama_model * model, const char * name, int32_t otherwise = 0) {
    std::string architecture, value;
    if (!read_meta(model, "general.architecture", architecture) || !read_meta(model, (architecture + "." + name).c_str(), value)) {
        return otherwise;
    }
    return static_cast<int32_t>(strtol(value.c_str(), nullptr, 10));
}

} // namespace
} // namespace yapo

extern "C" {

yapo_status yapo_model_get_info(const yapo_model * model, yapo_model_info * out, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        const llama_model * m = model_of(model);
        if (!out || out->struct_size < sizeof(uint32_t) || out->struct_size > 4096) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_model_get_info: out must be given with struct_size = sizeof(yapo_model_info) = %zu", sizeof *out);
        }
        const llama_vocab * vocab = llama_model_get_vocab(m);

        yapo_model_info info = {};
        info.struct_size = out->struct_size;
        if (model->vocab_only) {
            info.n_layer     = hyper_parameter(m, "block_count");
            info.d_model     = hyper_parameter(m, "embedding_length");
            info.n_head      = hyper_parameter(m, "attention.head_count");
            info.n_head_kv   = hyper_parameter(m, "attention.head_count_kv", info.n_head);
            info.n_ctx_train = hyper_parameter(m, "context_length");
        } else {
            info.n_layer     = llama_model_n_layer(m);
            info.d_model     = llama_model_n_embd(m);
            info.n_head      = llama_model_n_head(m);
            info.n_head_kv   = llama_model_n_head_kv(m);
            info.n_ctx_train = llama_model_n_ctx_train(m);
        }
        info.n_vocab    = llama_vocab_n_tokens(vocab);
        info.token_bos  = llama_vocab_bos(vocab);
        info.token_eos  = llama_vocab_eos(vocab);
        info.token_eot  = llama_vocab_eot(vocab);
        info.add_bos    = llama_vocab_get_add_bos(vocab);
        info.vocab_only = model->vocab_only;
        info.n_params   = llama_model_n_params(m);
        info.size_bytes = llama_model_size(m);
        memcpy(out, &info, std::min<size_t>(out->struct_size, sizeof info));
    });
}

yapo_status yapo_model_meta(const yapo_model * model, const char * key, char ** out, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        const llama_model * m = model_of(model);
        if (!key || !out) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_model_meta: key and out must be given");
        }
        std::string value;
        *out = read_meta(m, key, value) ? copy_string(value) : nullptr;
    });
}

yapo_status yapo_model_description(const yapo_model * model, char ** out, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        const llama_model * m = model_of(model);
        if (!out) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_model_description: out must be given");
        }
        char text[256] = "";
        llama_model_desc(m, text, sizeof text);
        std::string description = text;
        if (description.empty()) { // llama.cpp composes none for a vocabulary-only model
            read_meta(m, "general.architecture", description);
            description += " (vocabulary only)";
        }
        *out = copy_string(description);
    });
}

} // extern "C"
