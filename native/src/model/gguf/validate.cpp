// Files before llama.cpp sees them: the path, the structure, the rules of a model, and the parts of a split model.
#include "model/gguf/file_reader.h"
#include "model/gguf/gguf_index.h"
#include "model/gguf/model_rules.h"
#include "model/load.h"

#include "abi/guard.h"
#include "llama.h"

#include <filesystem>
#include <string>

namespace yapo {
namespace {

constexpr int64_t max_parts = 9999;

// Everything about the path that the operating system can tell, before any parser runs.
void check_path(const char * path) {
    namespace fs = std::filesystem;
    std::error_code error;
    const fs::file_status status = fs::status(fs::u8path(path), error);
    if (status.type() == fs::file_type::not_found) {
        fail(YAPO_ERR_IO, "%s: there is no such file", path);
    }
    if (error) {
        fail(YAPO_ERR_IO, "%s: %s", path, error.message().c_str());
    }
    if (status.type() != fs::file_type::regular) {
        fail(YAPO_ERR_IO, "%s: this is %s, expected a GGUF file", path, status.type() == fs::file_type::directory ? "a directory" : "not a regular file");
    }
}

gguf_index read_index(const std::string & path) {
    check_path(path.c_str());
    file_reader file(path);
    return read_gguf_index(file);
}

// split.no of `index`, or 0.
int64_t part_number(const std::string & path, const gguf_index & index, const char * key) {
    const gguf_value * value = index.find(key);
    if (!value) {
        return 0;
    }
    if (value->is_array || value->type != GGUF_TYPE_UINT16) {
        fail(YAPO_ERR_FORMAT, "%s: key %s has type %s, expected u16", path.c_str(), key, value->is_array ? "array" : gguf_type_name(value->type));
    }
    return value->integer();
}

void check_parts(const std::string & path, const gguf_index & first, int64_t count) {
    if (part_number(path, first, "split.no") != 0) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "%s: this is part %lld of %lld of a model, give the first part", path.c_str(),
             static_cast<long long>(part_number(path, first, "split.no") + 1), static_cast<long long>(count));
    }
    std::string prefix(path.size() + 1, '\0');
    if (count > max_parts || llama_split_prefix(&prefix[0], prefix.size(), path.c_str(), 0, static_cast<int32_t>(count)) <= 0) {
        fail(YAPO_ERR_FORMAT, "%s: split.count says %lld parts, so the name must end in -00001-of-%05lld.gguf", path.c_str(), static_cast<long long>(count),
             static_cast<long long>(count));
    }
    for (int32_t i = 1; i < count; ++i) {
        std::string part(path.size() + 64, '\0');
        part.resize(static_cast<size_t>(llama_split_path(&part[0], part.size(), prefix.c_str(), i, static_cast<int32_t>(count))));
        const gguf_index index = read_index(part);
        if (!index.find("split.no") || part_number(part, index, "split.no") != i) {
            fail(YAPO_ERR_FORMAT, "%s: key split.no is not %d, as the file's name says", part.c_str(), i);
        }
    }
}

} // namespace

void check_model_file(const char * path) {
    check_path(path);
    file_reader      file(path);
    const gguf_index index = read_gguf_index(file);
    check_model_rules(file, index);
    const int64_t parts = part_number(path, index, "split.count");
    if (parts > 1) {
        check_parts(path, index, parts);
    }
}

} // namespace yapo

extern "C" yapo_status yapo_gguf_validate(const char * path, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        if (!path || !*path) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_gguf_validate: path must be given");
        }
        read_index(path);
    });
}
