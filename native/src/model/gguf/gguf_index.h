// The structure of a GGUF file: what stands where, checked before anything relies on it.
//
//   magic "GGUF" | version u32 | tensor count u64 | key count u64
//   keys:    name (u64 length, bytes) | type u32 | value        arrays: element type u32 | count u64 | elements
//   tensors: name | dimension count u32 | dimensions u64 each | ggml type u32 | offset u64
//   padding to general.alignment | tensor data, each tensor padded to the alignment, in the order above
#pragma once

#include "gguf.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace yapo {

class file_reader;

struct gguf_value {
    gguf_type   type     = GGUF_TYPE_COUNT; // of the elements, for an array
    bool        is_array = false;
    uint64_t    count    = 1;
    uint64_t    at       = 0;  // byte position of the first element
    uint64_t    bits     = 0;  // a scalar number, as stored
    std::string text;          // a scalar string; long ones are cut (kept_text bytes)

    bool     is_integer() const;  // scalar
    bool     is_float() const;    // scalar
    int64_t  integer() const;     // is_integer(); unsigned 64-bit values above INT64_MAX come as INT64_MAX
    double   number() const;      // is_integer() or is_float()
};

struct gguf_tensor {
    std::string name;
    uint32_t    n_dims = 0;
    int64_t     ne[4]  = {1, 1, 1, 1};
    ggml_type   type   = GGML_TYPE_F32;
    uint64_t    offset = 0; // from the start of the data section
    uint64_t    bytes  = 0;

    std::string shape() const; // "[64, 128]"
};

struct gguf_index {
    uint32_t                          version   = 0;
    uint64_t                          alignment = 32;
    uint64_t                          data_at   = 0; // byte position of the data section
    std::map<std::string, gguf_value> values;
    std::vector<gguf_tensor>          tensors;
    std::map<std::string, size_t>     tensor_index;

    const gguf_value *  find(const std::string & key) const;
    const gguf_tensor * tensor(const std::string & name) const;
};

constexpr uint64_t gguf_max_keys    = 1 << 16; // llama.cpp compares every new name with all earlier ones
constexpr uint64_t gguf_max_tensors = 1 << 16;
constexpr uint64_t gguf_kept_text   = 1 << 20;

// Reads and checks the whole structure; fails with YAPO_ERR_FORMAT and the byte position.
gguf_index read_gguf_index(file_reader & file);

} // namespace yapo
