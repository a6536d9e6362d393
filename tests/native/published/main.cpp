// Steers a llama.cpp that others built, with nothing but its public functions and libyapo-stock. Linked with no llama.cpp: the libllama
// is loaded from the path given, as a program does that gets it from a package.
//
//   yapo-native-tests-published LIBLLAMA MODEL VECTORS STEPS OUT [DEVICE]
//
// VECTORS: a file of write_vectors (program.h), or "-" for a context without callback. STEPS: one decode of sequence 0 per line,
// token ids separated by blanks. OUT: F32 logits, [total tokens, V]. DEVICE: of ggml's names, where all blocks go; else the CPU.
// Exit code 3, the message on stdout: libyapo-stock refused.
#include "vector_file.h"
#include "yapo_stock.h"

#include "ggml-backend.h"
#include "llama.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

using namespace yapo_test;

namespace {

[[noreturn]] void end(int code, const std::string & message) {
    printf("%s\n", message.c_str());
    exit(code);
}

template <typename F>
void require(F && call) {
    yapo_error * err = nullptr;
    if (call(&err) != YAPO_OK) {
        end(3, yapo_stock_error_message(err));
    }
}

void * library = nullptr;

template <typename F>
F * find(F *, const char * name) {
    void * found = dlsym(library, name);
    if (!found) {
        end(1, std::string("no function ") + name);
    }
    return reinterpret_cast<F *>(found);
}
#define PUBLISHED(name) find(&::name, #name)

yapo_stock * make_stock(const char * path, int32_t n_layer, int64_t d_model, const std::vector<vector_data> & vectors) {
    yapo_stock *       stock   = nullptr;
    yapo_stock_options options = {sizeof options, n_layer, 1, d_model, path};
    require([&](yapo_error ** err) { return yapo_stock_create(&options, &stock, err); });
    std::vector<yapo_vector_desc> descs;
    std::vector<float>            strengths;
    for (const vector_data & v : vectors) {
        descs.push_back(v.desc());
        strengths.push_back(v.strength);
    }
    require([&](yapo_error ** err) { return yapo_stock_set_vectors(stock, descs.data(), int32_t(descs.size()), err); });
    require([&](yapo_error ** err) { return yapo_stock_set_strengths(stock, strengths.data(), int32_t(strengths.size()), err); });
    return stock;
}

} // namespace

int main(int argc, char ** argv) {
    if (argc != 6 && argc != 7) {
        fprintf(stderr, "usage: yapo-native-tests-published LIBLLAMA MODEL VECTORS STEPS OUT [DEVICE]\n");
        return 2;
    }
    const std::string path = argv[1], vectors = argv[3];
    library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL); // as .NET loads libraries: its functions are visible to nobody
    if (!library) {
        end(1, dlerror());
    }
    PUBLISHED(llama_log_set)([](ggml_log_level level, const char * text, void *) { if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr); }, nullptr);
    if (PUBLISHED(ggml_backend_dev_count)() == 0) { // backends as plug-ins beside it
        PUBLISHED(ggml_backend_load_all_from_path)(path.substr(0, path.find_last_of('/')).c_str());
    }
    llama_model_params mp = PUBLISHED(llama_model_default_params)();
    ggml_backend_dev_t devices[] = {argc == 7 ? PUBLISHED(ggml_backend_dev_by_name)(argv[6]) : nullptr, nullptr};
    if (argc == 7 && !devices[0]) {
        end(1, std::string("no device ") + argv[6]);
    }
    mp.devices      = devices;
    mp.n_gpu_layers = devices[0] ? -1 : 0;
    llama_model * model = PUBLISHED(llama_model_load_from_file)(argv[2], mp);
    if (!model) {
        return 1;
    }
    llama_context_params cp = PUBLISHED(llama_context_default_params)();
    cp.n_ctx = 256, cp.n_batch = 64, cp.n_ubatch = 16, cp.n_seq_max = 1;
    cp.n_threads = cp.n_threads_batch = 1;
    cp.type_k = cp.type_v = GGML_TYPE_F32;
    cp.flash_attn_type    = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    cp.pooling_type       = LLAMA_POOLING_TYPE_NONE;
    cp.swa_full = cp.kv_unified = true;
    yapo_stock * stock = nullptr;
    if (vectors != "-") {
        stock = make_stock(path.c_str(), PUBLISHED(llama_model_n_layer)(model), PUBLISHED(llama_model_n_embd)(model), read_vectors(vectors));
        cp.cb_eval           = yapo_stock_callback();
        cp.cb_eval_user_data = stock;
    }
    llama_context * context = PUBLISHED(llama_init_from_model)(model, cp);
    if (!context) {
        return 1;
    }
    const int32_t n_vocab = PUBLISHED(llama_vocab_n_tokens)(PUBLISHED(llama_model_get_vocab)(model));
    std::ifstream steps(argv[4]);
    std::ofstream out(argv[5], std::ios::binary);
    int32_t       position = 0;
    for (std::string line; std::getline(steps, line);) {
        std::istringstream   in(line);
        std::vector<int32_t> tokens;
        for (int32_t t; in >> t;) {
            tokens.push_back(t);
        }
        llama_batch b = PUBLISHED(llama_batch_init)(int32_t(tokens.size()), 0, 1);
        b.n_tokens = int32_t(tokens.size());
        for (int32_t i = 0; i < b.n_tokens; ++i) {
            b.token[i] = tokens[size_t(i)], b.pos[i] = position++, b.n_seq_id[i] = 1, b.seq_id[i][0] = 0, b.logits[i] = 1;
        }
        if (PUBLISHED(llama_decode)(context, b) != 0) {
            return 1;
        }
        for (int32_t i = 0; i < b.n_tokens; ++i) {
            out.write(reinterpret_cast<const char *>(PUBLISHED(llama_get_logits_ith)(context, i)), std::streamsize(sizeof(float)) * n_vocab);
        }
        PUBLISHED(llama_batch_free)(b);
    }
    if (stock) {
        require([&](yapo_error ** err) { return yapo_stock_verify(stock, err); });
    }
    PUBLISHED(llama_free)(context);
    PUBLISHED(llama_model_free)(model);
    yapo_stock_free(stock);
    return out ? 0 : 1;
}
