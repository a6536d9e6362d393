// Tokens: against llama.cpp's own recorded results for real vocabularies, round trips, and every way to be refused.
#include "llama_source.h"
#include "session.h"

#include <climits>
#include <cstdlib>
#include <cstring>

using namespace yapo_test;

namespace {

std::string piece(const yapo_model * model, int32_t id, bool special) {
    char    bytes[64];
    int32_t n = 0;
    OK(yapo_token_piece(model, id, special, bytes, sizeof bytes, &n, &err));
    CHECK(n <= int32_t(sizeof bytes));
    return {bytes, size_t(n)};
}

std::string text_of(const yapo_model * model, const std::vector<int32_t> & ids) {
    std::string text;
    for (int32_t id : ids) {
        text += piece(model, id, true);
    }
    return text;
}

// models/ggml-vocab-X.gguf.inp holds texts, .out the ids that the original tokenizer gives, without special tokens.
int64_t check_recorded(const std::string & name) {
    vocabulary_only model(llama_source("models/ggml-vocab-" + name + ".gguf"));
    const std::string texts = read_text(llama_source("models/ggml-vocab-" + name + ".gguf.inp"));
    std::ifstream     results(llama_source("models/ggml-vocab-" + name + ".gguf.out"));
    const std::string separator = "\n__ggml_vocab_test__\n";
    int64_t count = 0;
    for (size_t begin = 0; begin <= texts.size(); ++count) {
        const size_t      end  = std::min(texts.find(separator, begin), texts.size());
        const std::string text = texts.substr(begin, end - begin);
        begin = end + separator.size();
        std::string line;
        if (!std::getline(results, line)) {
            break;
        }
        std::vector<int32_t> expected;
        for (char * p = &line[0]; *p;) {
            char *     next = p;
            const long id   = strtol(p, &next, 10);
            if (next == p) {
                break;
            }
            expected.push_back(int32_t(id));
            p = next;
        }
        CHECK_MSG(tokenize(model.handle, text, false, false) == expected, "%s, text %lld: '%s'", name.c_str(), (long long) count, text.c_str());
    }
    CHECK(count > 40);
    return count;
}

} // namespace

YAPO_TEST(Tokens_RealVocabularies_AgreeWithTheOriginals) {
    if (have_llama_source()) {
        for (const char * name : {"llama-spm", "llama-bpe", "gpt-2", "qwen2", "phi-3"}) {
            note("%s: %lld texts", name, (long long) check_recorded(name));
        }
    }
}

YAPO_TEST(Tokens_AddSpecial_AddsOneBos) {
    model m{random_model()};
    const std::vector<int32_t> plain = tokenize(m.handle, "the end", false, false), special = tokenize(m.handle, "the end", true, false);
    CHECK_EQ(special.size(), plain.size() + 1);
    CHECK_EQ(special[0], 2);
    CHECK(std::vector<int32_t>(special.begin() + 1, special.end()) == plain);
    CHECK(tokenize(m.handle, "", false, false).empty());
    CHECK_EQ(tokenize(m.handle, "", true, false).size(), 1u);
}

YAPO_TEST(Tokens_ParseSpecial_DecidesWhatMarkupIs) {
    model m{random_model()};
    CHECK(tokenize(m.handle, "<start_of_turn>", false, true) == std::vector<int32_t>{4});
    CHECK(tokenize(m.handle, "<start_of_turn>", false, false).size() > 1);
    CHECK(text_of(m.handle, tokenize(m.handle, "a<end_of_turn>b", false, true)) == "a<end_of_turn>b");
}

YAPO_TEST(Tokens_RoundTrip_KeepsEveryByte) {
    model m{random_model()};
    const std::string text = "the rain in \xd9\x85\xd8\xb5\xd8\xb1 \xf0\x9f\xa6\x99 \n\t end";
    CHECK(text_of(m.handle, tokenize(m.handle, text, false, false)) == text);
    const std::string zero("a\0b", 3);
    CHECK(text_of(m.handle, tokenize(m.handle, zero, false, false)) == zero);
}

YAPO_TEST(Tokens_Capacity_IsRespectedAndReported) {
    model m{random_model()};
    const std::string text = "the rain in the end";
    int64_t n = -1;
    int32_t ids[64] = {-7, -7, -7};
    OK(yapo_tokenize(m.handle, text.data(), int64_t(text.size()), 1, 0, nullptr, 0, &n, &err));
    CHECK(n > 3);
    int64_t needed = 0;
    OK(yapo_tokenize(m.handle, text.data(), int64_t(text.size()), 1, 0, ids, 2, &needed, &err));
    CHECK_EQ(needed, n);
    CHECK_EQ(ids[2], -7);
    char    bytes[4] = {'#', '#', '#', '#'};
    int32_t length   = 0;
    OK(yapo_token_piece(m.handle, 4, 1, bytes, 3, &length, &err));
    CHECK_EQ(length, int32_t(strlen("<start_of_turn>")));
    CHECK_EQ(bytes[3], '#');
    OK(yapo_token_piece(m.handle, 4, 1, nullptr, 0, &length, &err));
    CHECK_EQ(length, int32_t(strlen("<start_of_turn>")));
    OK(yapo_token_piece(m.handle, 4, 0, bytes, 4, &length, &err));
    CHECK_EQ(length, 0);
}

YAPO_TEST(Tokens_Kinds_AreKnown) {
    model m{random_model()};
    CHECK_EQ(yapo_token_is_eog(m.handle, 1), 1);
    CHECK_EQ(yapo_token_is_eog(m.handle, 5), 1); // <end_of_turn>
    CHECK_EQ(yapo_token_is_eog(m.handle, 300), 0);
    CHECK_EQ(yapo_token_is_control(m.handle, 4), 1);
    CHECK_EQ(yapo_token_is_control(m.handle, 300), 0);
    for (int32_t bad : {-1, INT32_MIN, 384, INT32_MAX}) {
        CHECK_EQ(yapo_token_is_eog(m.handle, bad), 0);
        CHECK_EQ(yapo_token_is_control(m.handle, bad), 0);
    }
    CHECK_EQ(yapo_token_is_eog(nullptr, 1), 0);
    CHECK_EQ(yapo_token_is_control(nullptr, 1), 0);
}

YAPO_TEST(Tokens_BadArguments_AreRefused) {
    model m{random_model()};
    int64_t n = 0;
    int32_t ids[4], length = 0;
    char    bytes[4];
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "NULL", yapo_tokenize(nullptr, "a", 1, 0, 0, ids, 4, &n, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "text", yapo_tokenize(m.handle, nullptr, 1, 0, 0, ids, 4, &n, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "n must", yapo_tokenize(m.handle, "a", 1, 0, 0, ids, 4, nullptr, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "ids", yapo_tokenize(m.handle, "a", 1, 0, 0, nullptr, 4, &n, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "text_bytes", yapo_tokenize(m.handle, "a", -1, 0, 0, ids, 4, &n, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "text_bytes", yapo_tokenize(m.handle, "a", INT64_MAX, 0, 0, ids, 4, &n, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "capacity", yapo_tokenize(m.handle, "a", 1, 0, 0, ids, -4, &n, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "NULL", yapo_token_piece(nullptr, 1, 0, bytes, 4, &length, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "capacity", yapo_token_piece(m.handle, 1, 0, bytes, -1, &length, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "n must", yapo_token_piece(m.handle, 1, 0, bytes, 4, nullptr, &err));
    for (int32_t bad : {-1, INT32_MIN, 384, INT32_MAX}) {
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, "expected 0 to 383", yapo_token_piece(m.handle, bad, 0, bytes, 4, &length, &err));
    }
}

// llama.cpp's std::regex recursed once per letter: a word of 30,000 overflowed the stack.
YAPO_TEST(Tokens_EndlessWords_DoNotOverflowTheStack) {
    if (have_llama_source()) {
        vocabulary_only m(llama_source("models/ggml-vocab-deepseek-coder.gguf"));
        for (const char * word : {"a", "!", " ", "7", "\xe6\x97\xa5"}) {
            std::string text;
            while (text.size() < 200000) {
                text += word;
            }
            CHECK(text_of(m.handle, tokenize(m.handle, text, false, false)) == text);
        }
        const std::string endless(size_t(3) << 20, 'a');
        int64_t n = 0;
        REFUSED(YAPO_ERR_UNSUPPORTED, "limited to", yapo_tokenize(m.handle, endless.data(), int64_t(endless.size()), 0, 0, nullptr, 0, &n, &err));
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, "UTF-8", yapo_tokenize(m.handle, "\xf7\xbf\xbf\xbf", 4, 0, 0, nullptr, 0, &n, &err));
    }
}
