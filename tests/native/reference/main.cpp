// What unpatched llama.cpp computes: linked with the pristine sources of libllama and the same libggml as everything else
// (CMake target yapo-reference, built on demand). Steps are decodes of one sequence; every token's logits are written.
//
//   yapo-reference MODEL N_CTX N_BATCH N_UBATCH KV(0 F16, 1 F32) FLASH(-1 auto, 0 off, 1 on) STEPS OUT
//
// STEPS: a text file, one decode per line, token ids separated by blanks. OUT: F32 logits, [total tokens, V].
#include "llama.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

int main(int argc, char ** argv) {
    if (argc != 9) {
        fprintf(stderr, "usage: yapo-reference MODEL N_CTX N_BATCH N_UBATCH KV FLASH STEPS OUT\n");
        return 2;
    }
    llama_log_set([](ggml_log_level level, const char * text, void *) { if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr); }, nullptr);
    llama_model_params mp = llama_model_default_params();
    mp.n_gpu_layers = 0;
    llama_model * model = llama_model_load_from_file(argv[1], mp);
    if (!model) {
        return 1;
    }
    llama_context_params cp = llama_context_default_params();
    cp.n_ctx           = uint32_t(atoi(argv[2]));
    cp.n_batch         = uint32_t(atoi(argv[3]));
    cp.n_ubatch        = uint32_t(atoi(argv[4]));
    cp.n_seq_max       = 1;
    cp.n_threads       = 1;
    cp.n_threads_batch = 1;
    cp.type_k = cp.type_v = atoi(argv[5]) ? GGML_TYPE_F32 : GGML_TYPE_F16;
    cp.flash_attn_type = llama_flash_attn_type(atoi(argv[6]));
    cp.pooling_type    = LLAMA_POOLING_TYPE_NONE;
    cp.swa_full        = true;
    cp.kv_unified      = true;
    llama_context * context = llama_init_from_model(model, cp);
    if (!context) {
        return 1;
    }
    const int32_t n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    std::ifstream steps(argv[7]);
    FILE *        out = fopen(argv[8], "wb");
    if (!steps || !out) {
        fprintf(stderr, "cannot open %s or %s\n", argv[7], argv[8]);
        return 1;
    }
    std::string line;
    int32_t     position = 0;
    while (std::getline(steps, line)) {
        std::istringstream   in(line);
        std::vector<int32_t> tokens;
        for (int32_t t; in >> t;) {
            tokens.push_back(t);
        }
        llama_batch b = llama_batch_init(int32_t(tokens.size()), 0, 1);
        b.n_tokens = int32_t(tokens.size());
        for (int32_t i = 0; i < b.n_tokens; ++i) {
            b.token[i]     = tokens[i];
            b.pos[i]       = position++;
            b.n_seq_id[i]  = 1;
            b.seq_id[i][0] = 0;
            b.logits[i]    = 1;
        }
        if (llama_decode(context, b) != 0) {
            return 1;
        }
        for (int32_t i = 0; i < b.n_tokens; ++i) {
            fwrite(llama_get_logits_ith(context, i), sizeof(float), size_t(n_vocab), out);
        }
        llama_batch_free(b);
    }
    fclose(out);
    llama_free(context);
    llama_model_free(model);
    return 0;
}
