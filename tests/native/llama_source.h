// The pinned llama.cpp source tree, whose real vocabularies and chat templates some tests read. It is there after a build
// from source; a test that needs it says so and passes where the executable was moved to another machine.
#pragma once

#include "harness.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace yapo_test {

inline bool have_llama_source() {
    if (std::filesystem::is_directory(YAPO_TEST_LLAMA_CPP_DIR "/models/templates")) {
        return true;
    }
    note("not run: the llama.cpp source tree of the build is not on this machine");
    return false;
}

inline std::string llama_source(const std::string & path) { return std::string(YAPO_TEST_LLAMA_CPP_DIR "/") + path; }

inline std::string read_text(const std::string & path) {
    std::ifstream in(path, std::ios::binary);
    CHECK_MSG(in.good(), "%s", path.c_str());
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

struct vocabulary_only {
    yapo_model * handle = nullptr;
    explicit vocabulary_only(const std::string & path) {
        yapo_model_options options;
        yapo_model_default_options(&options);
        options.vocab_only = 1;
        OK(yapo_model_load(path.c_str(), &options, &handle, &err));
    }
    ~vocabulary_only() { yapo_model_free(handle); }
    vocabulary_only(const vocabulary_only &) = delete;
};

inline std::vector<int32_t> tokenize(const yapo_model * model, const std::string & text, bool add_special, bool parse_special) {
    int64_t n = 0;
    OK(yapo_tokenize(model, text.data(), int64_t(text.size()), add_special, parse_special, nullptr, 0, &n, &err));
    std::vector<int32_t> ids(size_t(n), -1);
    OK(yapo_tokenize(model, text.data(), int64_t(text.size()), add_special, parse_special, ids.data(), n, &n, &err));
    CHECK_EQ(size_t(n), ids.size());
    return ids;
}

} // namespace yapo_test
