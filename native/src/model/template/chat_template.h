// Rendering of a Jinja chat template with llama.cpp's engine. Knows nothing of models.
#pragma once

#include <string>
#include <vector>

namespace yapo {

struct chat_turn {
    std::string role;
    std::string content;
};

struct chat_request {
    const std::string *            source; // the template
    const std::vector<chat_turn> * turns;
    std::string                    bos_token; // "" where the vocabulary has none
    std::string                    eos_token;
    bool                           add_generation_prompt = false;
};

enum class chat_outcome {
    rendered,
    refused,   // the template called raise_exception
    limited,   // a bound of limits.h was passed
    malformed, // the template cannot be parsed or executed
};

struct chat_rendering {
    chat_outcome outcome;
    std::string  text; // the rendered text, or the message
};

chat_rendering render_chat(const chat_request & request);

} // namespace yapo
