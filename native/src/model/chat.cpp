// yapo_chat_format: the model's own template, its special tokens, and one BOS.
#include "model/model.h"
#include "model/template/chat_template.h"
#include "model/tokens.h"

#include <cstring>
#include <string>
#include <vector>

namespace yapo {
namespace {

constexpr int64_t max_messages      = 1 << 20;
constexpr size_t  max_message_bytes = 64u << 20; // all messages together

std::vector<chat_turn> read_turns(const yapo_model * model, const yapo_chat_message * messages, int64_t n_messages) {
    if (n_messages <= 0 || n_messages > max_messages || !messages) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_chat_format: %lld messages, expected 1 to %lld", static_cast<long long>(n_messages),
             static_cast<long long>(max_messages));
    }
    std::vector<chat_turn> turns(static_cast<size_t>(n_messages));
    size_t                 bytes = 0;
    for (size_t i = 0; i < turns.size(); ++i) {
        if (!messages[i].role || !*messages[i].role || !messages[i].content) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_chat_format: message %zu has no role or no content", i);
        }
        bytes += std::strlen(messages[i].content);
    }
    if (bytes > max_message_bytes) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_chat_format: messages of %zu bytes, expected at most %zu", bytes, max_message_bytes);
    }
    for (size_t i = 0; i < turns.size(); ++i) {
        turns[i] = {spell_control_tokens(model, messages[i].role), spell_control_tokens(model, messages[i].content)};
    }
    return turns;
}

[[noreturn]] void fail_rendering(const std::string & whose, const chat_rendering & rendering) {
    switch (rendering.outcome) {
        case chat_outcome::refused:
            throw failure(YAPO_ERR_UNSUPPORTED, "the chat template of " + whose + " refuses these messages: " + rendering.text);
        case chat_outcome::limited:
            throw failure(YAPO_ERR_UNSUPPORTED, "the chat template of " + whose + " was stopped: " + rendering.text);
        default:
            throw failure(YAPO_ERR_FORMAT, "the chat template of " + whose + " cannot be rendered: " + rendering.text);
    }
}

} // namespace
} // namespace yapo

extern "C" yapo_status yapo_chat_format(const yapo_model * model, const char * template_override, const yapo_chat_message * messages, int64_t n_messages,
                                        int32_t add_generation_prompt, char ** out, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        const llama_vocab * vocab = vocab_of(model);
        if (!out) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_chat_format: out must be given");
        }
        const std::vector<chat_turn> turns = read_turns(model, messages, n_messages);

        const char * source = template_override ? template_override : llama_model_chat_template(model->handle.get(), nullptr);
        if (!source || !*source) {
            fail(YAPO_ERR_UNSUPPORTED, "model %s has no chat template (tokenizer.chat_template); give one, or use it as a base model without chat",
                 model->path.c_str());
        }
        const std::string text = source;
        chat_request      request;
        request.source                = &text;
        request.turns                 = &turns;
        request.add_generation_prompt = add_generation_prompt != 0;
        const llama_token bos = llama_vocab_bos(vocab);
        const llama_token eos = llama_vocab_eos(vocab);
        request.bos_token = bos < 0 ? "" : token_text(vocab, bos, true);
        request.eos_token = eos < 0 ? "" : token_text(vocab, eos, true);

        chat_rendering rendering = render_chat(request);
        if (rendering.outcome != chat_outcome::rendered) {
            fail_rendering(template_override ? "the caller (template_override)" : model->path, rendering);
        }
        // Exactly one BOS where the model wants one, whether its template writes it or leaves it to the tokenizer.
        const bool has_bos = !request.bos_token.empty() && rendering.text.compare(0, request.bos_token.size(), request.bos_token) == 0;
        if (llama_vocab_get_add_bos(vocab) && !has_bos) {
            rendering.text.insert(0, request.bos_token);
        }
        *out = copy_string(rendering.text);
    });
}
