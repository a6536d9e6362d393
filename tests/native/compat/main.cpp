// What LLamaSharp 0.28 does, with its structs: loads the compatibility library alone, finds every function through it (dlsym goes on into
// its dependencies), and lives by the old ABI.
//
//   yapo-native-tests-compat LIBRARY MODEL VECTORS STEPS OUT
//
// VECTORS: attached to the model before its context is made; "-": none. STEPS, OUT: as for yapo-native-tests-published. Ends with "samplers
// ok" and "quantized ok" where those work too.
#include "compat/llamasharp028.h"
#include "vector_file.h"
#include "yapo_attachment.h"

#include "llama.h"

#include <dlfcn.h>

#include <cstring>
#include <sstream>

using namespace yapo_test;

namespace {

[[noreturn]] void end(int code, const std::string & message) {
    printf("%s\n", message.c_str());
    exit(code);
}

void check(bool condition, const char * what) {
    if (!condition) {
        end(1, what);
    }
}

void * library = nullptr;

template <typename F>
F find(void * in, const char * name) {
    void * found = dlsym(in, name);
    if (!found) {
        end(1, std::string("no function ") + name);
    }
    return reinterpret_cast<F>(found);
}
#define SAME(name)        find<decltype(&::name)>(library, #name)          // of unchanged type
#define OLD(name, ...)    find<__VA_ARGS__>(library, #name)                // of LLamaSharp 0.28's type
#define YAPO(name)        find<decltype(&::name)>(yapo, #name)

// A custom sampler as LLamaSharp makes one: prefers the token it was made with.
struct favourite {
    llama_token token;
    int         applied, accepted;
};
int favourites = 0;

llama_sampler * make_favourite(llama_token token, const llamasharp_sampler_i * like = nullptr);
bool clone_shares_interface = false; // what llama.cpp knows the original by, instead of the caller's own

void apply_favourite(llama_sampler * smpl, llama_token_data_array * all) {
    auto * f = static_cast<favourite *>(smpl->ctx);
    ++f->applied;
    for (size_t i = 0; i < all->size; ++i) {
        if (all->data[i].id == f->token) all->data[i].logit += 1e6f;
    }
}

const llamasharp_sampler_i & favourite_interface() {
    static llamasharp_sampler_i i = {};
    i.Name   = reinterpret_cast<void *>(+[](const llama_sampler *) -> const char * { return "favourite"; });
    i.Accept = reinterpret_cast<void *>(+[](llama_sampler * smpl, llama_token) { ++static_cast<favourite *>(smpl->ctx)->accepted; });
    i.Apply  = reinterpret_cast<void *>(&apply_favourite);
    i.Clone  = reinterpret_cast<void *>(+[](const llama_sampler * smpl) { return make_favourite(static_cast<favourite *>(smpl->ctx)->token, clone_shares_interface ? reinterpret_cast<const llamasharp_sampler_i *>(smpl->iface) : nullptr); });
    i.Free   = reinterpret_cast<void *>(+[](llama_sampler * smpl) { delete static_cast<favourite *>(smpl->ctx), --favourites; });
    return i;
}

llama_sampler * make_favourite(llama_token token, const llamasharp_sampler_i * like) {
    ++favourites;
    return OLD(llama_sampler_init, llama_sampler * (*)(const llamasharp_sampler_i *, void *))(like ? like : &favourite_interface(), new favourite{token, 0, 0});
}

void try_samplers(llama_context * context, const llama_vocab * vocab) {
    auto * penalties = OLD(llama_sampler_init_penalties, llama_sampler * (*)(int32_t, float, float, float))(64, 1.3f, 0.1f, 0.1f);
    const char * breakers[] = {"\n", ":"};
    auto * dry = OLD(llama_sampler_init_dry, llama_sampler * (*)(const llama_vocab *, int32_t, float, float, int32_t, int32_t, const char **, size_t))(vocab, 256, 0.8f, 1.75f, 2, -1, breakers, 2);
    check(strstr(SAME(llama_sampler_name)(penalties), "penalties") && SAME(llama_sampler_name)(penalties)[0] != '?', "penalties are off");
    check(strstr(SAME(llama_sampler_name)(dry), "dry") && SAME(llama_sampler_name)(dry)[0] != '?', "DRY over the whole context is off");
    llama_sampler * chain = SAME(llama_sampler_chain_init)(SAME(llama_sampler_chain_default_params)());
    for (llama_sampler * s : {penalties, dry, make_favourite(77), SAME(llama_sampler_init_greedy)()}) {
        SAME(llama_sampler_chain_add)(chain, s);
    }
    check(SAME(llama_sampler_sample)(chain, context, -1) == 77, "the custom sampler was not asked");
    check(static_cast<favourite *>(SAME(llama_sampler_chain_get)(chain, 2)->ctx)->accepted == 1, "the custom sampler accepted nothing");
    llama_sampler * copy = SAME(llama_sampler_clone)(chain);
    check(favourites == 2 && SAME(llama_sampler_sample)(copy, context, -1) == 77, "the copy of the chain does not sample");
    clone_shares_interface = true;
    llama_sampler * third = SAME(llama_sampler_clone)(copy);
    SAME(llama_sampler_free)(chain);
    SAME(llama_sampler_free)(copy);
    check(favourites == 1 && SAME(llama_sampler_sample)(third, context, -1) == 77, "a copy that shares its original's interface does not sample");
    SAME(llama_sampler_free)(third);
    check(favourites == 0, "a custom sampler was not freed");
    printf("samplers ok\n");
}

void try_quantize(const char * model, const std::string & out) {
    llamasharp_quantize_params params = OLD(llama_model_quantize_default_params, llamasharp_quantize_params (*)())();
    params.nthread = 1;
    params.ftype   = LLAMA_FTYPE_MOSTLY_Q8_0;
    check(OLD(llama_model_quantize, uint32_t (*)(const char *, const char *, const llamasharp_quantize_params *))(model, out.c_str(), &params) == 0, "cannot quantize");
    llamasharp_model_params mp = OLD(llama_model_default_params, llamasharp_model_params (*)())();
    mp.use_mmap = 0;
    const char *  splits[] = {out.c_str()};
    llama_model * q        = OLD(llama_model_load_from_splits, llama_model * (*)(const char **, size_t, llamasharp_model_params))(splits, 1, mp);
    char text[128] = "";
    check(q && SAME(llama_model_meta_val_str)(q, "general.file_type", text, sizeof text) > 0 && !strcmp(text, "7"), "the quantized model is no Q8_0");
    SAME(llama_model_free)(q);
    printf("quantized ok\n");
}

} // namespace

int main(int argc, char ** argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: yapo-native-tests-compat LIBRARY MODEL VECTORS STEPS OUT\n");
        return 2;
    }
    const std::string path = argv[1], vectors = argv[3];
    library = dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL); // as .NET does
    check(library, "the compatibility library does not load");
    SAME(llama_log_set)([](ggml_log_level level, const char * text, void *) { if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr); }, nullptr);
    SAME(llama_backend_init)();

    llamasharp_model_params mp = OLD(llama_model_default_params, llamasharp_model_params (*)())();
    check(mp.use_mmap == 1 && mp.vocab_only == 0 && mp.split_mode == LLAMA_SPLIT_MODE_LAYER, "default model parameters");
    mp.n_gpu_layers = 0;
    static int progress = 0;
    mp.progress_callback = reinterpret_cast<void *>(+[](float, void *) { return ++progress > 0; });
    llama_model * model = OLD(llama_model_load_from_file, llama_model * (*)(const char *, llamasharp_model_params))(argv[2], mp);
    check(model && progress > 0, "the model does not load, or without progress");

    // libyapo finds the libllama that is loaded already, and is told of contexts through the library
    void * yapo = nullptr;
    yapo_attachment * attachment = nullptr;
    if (vectors != "-") {
        yapo = dlopen((path.substr(0, path.find_last_of('/')) + "/libyapo.so").c_str(), RTLD_LAZY | RTLD_LOCAL);
        check(yapo, "libyapo does not load");
        static const yapo_context_observer observer = {YAPO(yapo_attachment_created), YAPO(yapo_attachment_freeing)};
        OLD(yapo_llamasharp028_observe, void (*)(const yapo_context_observer *))(&observer);
        std::vector<vector_data>      data = read_vectors(vectors);
        std::vector<yapo_vector_desc> descs;
        std::vector<float>            strengths;
        for (const vector_data & v : data) {
            descs.push_back(v.desc());
            strengths.push_back(v.strength);
        }
        yapo_error * err = nullptr;
        if (YAPO(yapo_attachment_create)(model, nullptr, descs.data(), int32_t(descs.size()), &attachment, &err) != YAPO_OK) {
            end(3, YAPO(yapo_error_message)(err));
        }
        check(YAPO(yapo_attachment_set_strengths)(attachment, -1, strengths.data(), int32_t(strengths.size()), nullptr) == YAPO_OK, "strengths");
    }

    llamasharp_context_params cp = OLD(llama_context_default_params, llamasharp_context_params (*)())();
    check(cp.llama_flash_attn_type == LLAMA_FLASH_ATTN_TYPE_AUTO && cp.offload_kqv == 1 && cp.type_k == GGML_TYPE_F16 && cp.yarn_ext_factor == -1.0f, "default context parameters");
    cp.n_ctx = 256, cp.n_batch = 64, cp.n_ubatch = 16, cp.n_seq_max = 1;
    cp.n_threads = cp.n_threads_batch = 1;
    cp.type_k = cp.type_v    = GGML_TYPE_F32;
    cp.llama_flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    cp.llama_pooling_type    = LLAMA_POOLING_TYPE_NONE;
    cp.swa_full = cp.kv_unified = 1;
    const auto create = OLD(llama_init_from_model, llama_context * (*)(llama_model *, llamasharp_context_params));
    llama_context * context = create(model, cp);
    check(context && SAME(llama_n_ubatch)(context) == 16 && SAME(llama_n_ctx)(context) == 256, "the context is not as asked for");
    cp.n_samplers = 1;
    check(!create(model, cp), "samplers in the context parameters were taken");

    const llama_vocab * vocab   = SAME(llama_model_get_vocab)(model);
    const int32_t       n_vocab = SAME(llama_vocab_n_tokens)(vocab);
    std::ifstream steps(argv[4]);
    std::ofstream out(argv[5], std::ios::binary);
    int32_t       position = 0;
    for (std::string line; std::getline(steps, line);) {
        std::istringstream   in(line);
        std::vector<int32_t> tokens;
        for (int32_t t; in >> t;) {
            tokens.push_back(t);
        }
        llama_batch b = SAME(llama_batch_init)(int32_t(tokens.size()), 0, 1);
        b.n_tokens = int32_t(tokens.size());
        for (int32_t i = 0; i < b.n_tokens; ++i) {
            b.token[i] = tokens[size_t(i)], b.pos[i] = position++, b.n_seq_id[i] = 1, b.seq_id[i][0] = 0, b.logits[i] = 1;
        }
        check(SAME(llama_decode)(context, b) == 0, "cannot decode");
        for (int32_t i = 0; i < b.n_tokens; ++i) {
            out.write(reinterpret_cast<const char *>(SAME(llama_get_logits_ith)(context, i)), std::streamsize(sizeof(float)) * n_vocab);
        }
        SAME(llama_batch_free)(b);
    }
    try_samplers(context, vocab);
    if (attachment) {
        YAPO(yapo_attachment_free)(attachment);
    }
    OLD(llama_free, void (*)(llama_context *))(context);
    SAME(llama_model_free)(model);
    try_quantize(argv[2], std::string(argv[5]) + ".gguf");
    return out ? 0 : 1;
}
