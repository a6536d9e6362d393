// Vocabulary access shared by the tokenizer, the chat templates and the trainers.
#pragma once

#include "model/model.h"

#include <string>

namespace yapo {

// The vocabulary, or a failure where the model is NULL or has none.
const llama_vocab * vocab_of(const yapo_model * model);

// The bytes of a token that is known to exist; special renders control tokens as text.
std::string token_text(const llama_vocab * vocab, int32_t id, bool special);

// Breaks every control token that is written out in `text` by a word joiner (U+2060) behind its first character, so that what somebody typed stays text.
std::string spell_control_tokens(const yapo_model * model, std::string text);

} // namespace yapo
