// What has to be true of a well-formed GGUF file before llama.cpp may load it as a model.
#pragma once

#include "model/gguf/gguf_index.h"

namespace yapo {

class file_reader;

// Fails with YAPO_ERR_FORMAT (or YAPO_ERR_MISMATCH for one of our own files) where the hyper-parameters or the vocabulary
// are ones that llama.cpp would assert on, divide by or allocate for. Keys that are absent are llama.cpp's to miss.
void check_model_rules(file_reader & file, const gguf_index & index);

} // namespace yapo
