// Text to token ids and back. llama.cpp asserts where a vocabulary lacks what it promises, so that is checked first.
#include "model/deep_stack.h"
#include "model/model.h"
#include "model/tokens.h"

#include <algorithm>
#include <climits>
#include <cstdint>
#include <string>

namespace yapo {

const llama_vocab * vocab_of(const yapo_model * model) {
    if (!model) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "model is NULL");
    }
    const llama_vocab * vocab = llama_model_get_vocab(model->handle.get());
    if (llama_vocab_type(vocab) == LLAMA_VOCAB_TYPE_NONE) {
        fail(YAPO_ERR_UNSUPPORTED, "model %s has no vocabulary (tokenizer.ggml.model is \"none\")", model->path.c_str());
    }
    return vocab;
}

std::string token_text(const llama_vocab * vocab, int32_t id, bool special) {
    std::string text(32, '\0');
    int32_t n = llama_token_to_piece(vocab, id, &text[0], static_cast<int32_t>(text.size()), 0, special);
    if (n < 0) {
        text.resize(static_cast<size_t>(-static_cast<int64_t>(n)));
        n = llama_token_to_piece(vocab, id, &text[0], static_cast<int32_t>(text.size()), 0, special);
    }
    text.resize(n < 0 ? 0 : static_cast<size_t>(n));
    return text;
}

namespace {

const std::vector<std::string> & control_texts_of(const yapo_model * model) {
    std::call_once(model->control_texts_once, [model] {
        const llama_vocab * vocab = vocab_of(model);
        for (int32_t id = 0; id < llama_vocab_n_tokens(vocab); ++id) {
            if (llama_vocab_is_control(vocab, id)) {
                std::string text = token_text(vocab, id, true);
                if (text.size() >= 3) { // shorter ones cannot be told from ordinary text
                    model->control_texts.push_back(std::move(text));
                }
            }
        }
        std::sort(model->control_texts.begin(), model->control_texts.end(), [](const std::string & a, const std::string & b) { return a.size() > b.size(); });
    });
    return model->control_texts;
}

} // namespace

std::string spell_control_tokens(const yapo_model * model, std::string text) {
    for (const std::string & control : control_texts_of(model)) {
        size_t first = 1; // the whole first character, were it more than a byte
        while (first < control.size() && (static_cast<unsigned char>(control[first]) & 0xC0) == 0x80) {
            ++first;
        }
        for (size_t at = text.find(control); at != std::string::npos; at = text.find(control, at + first)) {
            text.insert(at + first, "\u2060");
        }
    }
    return text;
}

namespace {

// The special tokens that llama.cpp would insert must exist, or it asserts.
void check_special_tokens(const yapo_model * model, const llama_vocab * vocab) {
    const char * missing = nullptr;
    if (llama_vocab_type(vocab) == LLAMA_VOCAB_TYPE_WPM) {
        missing = llama_vocab_bos(vocab) < 0 ? "BOS (CLS)" : llama_vocab_sep(vocab) < 0 ? "SEP" : nullptr;
    } else if (llama_vocab_get_add_bos(vocab) && llama_vocab_bos(vocab) < 0) {
        missing = "BOS";
    } else if (llama_vocab_get_add_eos(vocab) && llama_vocab_eos(vocab) < 0) {
        missing = "EOS";
    } else if (llama_vocab_get_add_sep(vocab) && llama_vocab_sep(vocab) < 0) {
        missing = "SEP";
    }
    if (missing) {
        fail(YAPO_ERR_FORMAT, "model %s asks for a %s token in front of or behind every text, but its vocabulary has none; tokenize with add_special = 0",
             model->path.c_str(), missing);
    }
}

// Bytes of the longest stretch without a change between white space and other characters.
size_t longest_run(const char * text, size_t bytes) {
    size_t longest = 0, begin = 0;
    bool   was_space = false;
    for (size_t i = 0; i < bytes; ++i) {
        const bool is_space = text[i] == ' ' || (text[i] >= '\t' && text[i] <= '\r');
        if (is_space != was_space) {
            begin     = i;
            was_space = is_space;
        }
        longest = std::max(longest, i + 1 - begin);
    }
    return longest;
}

// llama.cpp splits text for BPE vocabularies with std::regex, which recurses once per character of a match (about 350
// bytes of stack each): a word of 30,000 letters overflowed an 8 MiB stack.
constexpr size_t run_on_any_stack = 2048;
constexpr size_t run_limit        = 2u << 20;
constexpr size_t stack_per_byte   = 1536;

int32_t tokenize(const yapo_model * model, const llama_vocab * vocab, const char * text, int32_t bytes, int32_t * ids, int32_t room, bool add_special,
                 bool parse_special) {
    int32_t    count = 0;
    const auto work  = [&] { count = llama_tokenize(vocab, text, bytes, ids, room, add_special, parse_special); };
    const size_t run = llama_vocab_type(vocab) == LLAMA_VOCAB_TYPE_BPE ? longest_run(text, static_cast<size_t>(bytes)) : 0;
    if (run > run_limit) {
        fail(YAPO_ERR_UNSUPPORTED, "this text has %zu bytes without a change between words and spaces; the tokenizer of %s is limited to %zu", run,
             model->path.c_str(), run_limit);
    }
    if (run > run_on_any_stack) {
        with_stack((8u << 20) + run * stack_per_byte, work);
    } else {
        work();
    }
    return count;
}

bool known(const yapo_model * model, int32_t id) {
    return model && id >= 0 && id < llama_vocab_n_tokens(llama_model_get_vocab(model->handle.get()));
}

} // namespace
} // namespace yapo

extern "C" {

yapo_status yapo_tokenize(const yapo_model * model, const char * text, int64_t text_bytes, int32_t add_special, int32_t parse_special,
                          int32_t * ids, int64_t capacity, int64_t * n, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        const llama_vocab * vocab = vocab_of(model);
        if (!n || (!text && text_bytes != 0) || (!ids && capacity != 0)) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_tokenize: text, ids and n must be given (NULL only with a length of 0)");
        }
        if (text_bytes < 0 || text_bytes > INT32_MAX / 2 || capacity < 0) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_tokenize: text_bytes is %lld (expected 0 to %d), capacity %lld (expected >= 0)",
                 static_cast<long long>(text_bytes), INT32_MAX / 2, static_cast<long long>(capacity));
        }
        if (add_special) {
            check_special_tokens(model, vocab);
        }
        int32_t count = 0;
        try {
            const int32_t room = static_cast<int32_t>(capacity < INT32_MAX ? capacity : INT32_MAX);
            count = tokenize(model, vocab, text ? text : "", static_cast<int32_t>(text_bytes), ids, room, add_special != 0, parse_special != 0);
        } catch (const failure &) {
            throw;
        } catch (const std::bad_alloc &) {
            throw;
        } catch (const std::invalid_argument & e) { // from llama.cpp's UTF-8 decoding
            fail(YAPO_ERR_INVALID_ARGUMENT, "this text is not valid UTF-8 (%s)", e.what());
        } catch (const std::exception & e) {
            fail(YAPO_ERR_FORMAT, "the vocabulary of %s cannot express this text: %s", model->path.c_str(), e.what());
        }
        if (count == INT32_MIN) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "this text has more than %d tokens", INT32_MAX);
        }
        *n = count < 0 ? -static_cast<int64_t>(count) : count;
    });
}

yapo_status yapo_token_piece(const yapo_model * model, int32_t id, int32_t special, char * bytes, int32_t capacity, int32_t * n, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        const llama_vocab * vocab = vocab_of(model);
        if (!n || capacity < 0 || (!bytes && capacity != 0)) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_token_piece: n must be given, and bytes with a capacity >= 0 (found %d)", capacity);
        }
        if (!known(model, id)) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "token id %d is not in the vocabulary of %s, expected 0 to %d", id, model->path.c_str(),
                 llama_vocab_n_tokens(vocab) - 1);
        }
        char none = 0;
        const int32_t count = llama_token_to_piece(vocab, id, bytes ? bytes : &none, capacity, 0, special != 0);
        *n = count < 0 ? -count : count;
    });
}

int32_t yapo_token_is_eog(const yapo_model * model, int32_t id) {
    return yapo::known(model, id) && llama_vocab_is_eog(llama_model_get_vocab(model->handle.get()), id);
}

int32_t yapo_token_is_control(const yapo_model * model, int32_t id) {
    return yapo::known(model, id) && llama_vocab_is_control(llama_model_get_vocab(model->handle.get()), id);
}

} // extern "C"
