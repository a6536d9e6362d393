// Reading a GGUF for training: metadata with checked types, tensors by name with checked shapes. Nothing is kept in memory
// but the metadata.
#pragma once

#include "abi/guard.h"
#include "ggml.h"
#include "gguf.h"

#include <cstdio>
#include <memory>
#include <string>

namespace yapo::train {

class gguf_source {
public:
    explicit gguf_source(const std::string & path); // YAPO_ERR_IO, YAPO_ERR_FORMAT

    const std::string &  path() const { return path_; }
    const gguf_context * metadata() const { return gguf_.get(); }

    std::string architecture() const;
    bool     has(const std::string & key) const;
    int64_t  integer(const std::string & key) const;                  // required; any integer type, or an array of one repeated value
    int64_t  integer(const std::string & key, int64_t otherwise) const;
    float    number(const std::string & key, float otherwise) const;  // F32 or F64
    float    number(const std::string & key) const;
    std::string text(const std::string & key, const std::string & otherwise) const;

    // The description of a tensor, data not loaded. YAPO_ERR_FORMAT where it is missing or has another shape.
    const ggml_tensor * tensor(const std::string & name, int64_t ne0, int64_t ne1 = 1) const;
    const ggml_tensor * find(const std::string & name) const;         // NULL where there is none
    uint64_t offset(const ggml_tensor * tensor) const;                // of its data, from the start of the file
    // ggml_nbytes(tensor) bytes into `to`.
    void read(const ggml_tensor * tensor, void * to) const;

private:
    struct close_file { void operator()(FILE * f) const { fclose(f); } };
    struct free_gguf  { void operator()(gguf_context * c) const { gguf_free(c); } };
    struct free_ggml  { void operator()(ggml_context * c) const { ggml_free(c); } };

    std::string                               path_;
    std::unique_ptr<gguf_context, free_gguf>  gguf_;
    std::unique_ptr<ggml_context, free_ggml>  tensors_;
    std::unique_ptr<FILE, close_file>         file_;
};

} // namespace yapo::train
