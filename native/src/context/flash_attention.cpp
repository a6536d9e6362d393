#include "context/flash_attention.h"

#include "abi/guard.h"
#include "llama-ext.h"

#include <cstdlib>
#include <cstring>

namespace yapo {
namespace {

// The size of a head where scores are capped softly; 0 where they are not.
int32_t soft_capped_head(const llama_model & model) {
    char value[32];
    if (llama_model_meta_val_str(&model, "general.architecture", value, sizeof value) < 0 || strcmp(value, "gemma2") != 0) {
        return 0;
    }
    if (llama_model_meta_val_str(&model, "gemma2.attention.key_length", value, sizeof value) >= 0) {
        return int32_t(strtol(value, nullptr, 10));
    }
    return llama_model_n_head(&model) > 0 ? llama_model_n_embd(&model) / llama_model_n_head(&model) : 0;
}

// ggml-cuda, under each of its names. What is behind an RPC server is not to be seen from here.
const char * cuda_device(const llama_model & model) {
    for (int32_t i = 0; i < llama_model_n_devices(&model); ++i) {
        ggml_backend_dev_t device = llama_model_get_device(&model, i);
        for (const char * name : {"CUDA", "ROCm", "MUSA"}) {
            if (strcmp(ggml_backend_reg_name(ggml_backend_dev_backend_reg(device)), name) == 0) {
                return ggml_backend_dev_name(device);
            }
        }
    }
    return nullptr;
}

} // namespace

llama_flash_attn_type flash_attention_of(const llama_model & model, int32_t asked, const std::string & path) {
    if (asked == 0) {
        return LLAMA_FLASH_ATTN_TYPE_DISABLED;
    }
    const int32_t head   = soft_capped_head(model);
    const char *  device = head == 0 || head == 128 || head == 256 ? nullptr : cuda_device(model);
    if (device && asked == 1) {
        fail(YAPO_ERR_UNSUPPORTED, "model %s: flash attention is on, but ggml-cuda (%s) has no kernel of it for soft-capped scores and heads of %d, expected 128 or 256: leave it automatic (-1) or off (0)", path.c_str(), device, head);
    }
    return device ? LLAMA_FLASH_ATTN_TYPE_DISABLED : asked == 1 ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_AUTO;
}

} // namespace yapo
