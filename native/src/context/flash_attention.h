// Which attention a context computes with: llama.cpp asks the devices what they have, and one of them is mistaken.
#pragma once

#include "llama.h"

#include <cstdint>
#include <string>

namespace yapo {

// asked: -1 automatic, 0 off, 1 on. Automatic is off, and on is refused (guard.h), where ggml-cuda holds blocks of a model whose attention
// scores are capped softly (Gemma 2) and whose heads are of other sizes than 128 and 256: it says that it has flash attention for them, but
// its kernels stop at once, and the process with them. The models that Google publishes are not concerned; small ones of that shape are.
llama_flash_attn_type flash_attention_of(const llama_model & model, int32_t asked, const std::string & path);

} // namespace yapo
