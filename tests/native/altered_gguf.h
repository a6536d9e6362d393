// A copy of a GGUF with some of its metadata or tensors changed: what refusals of damaged and unusual files are tested with.
#pragma once

#include "harness.h"

#include "ggml.h"
#include "gguf.h"

#include <cstring>
#include <functional>
#include <string>

namespace yapo_test {

// `keys` changes the metadata. `tensors`, called with each tensor (its data are there to be changed), says whether the copy has it. Returns the copy's path.
inline std::string altered(const std::string & path, const std::function<void(gguf_context *)> & keys, const std::function<bool(ggml_tensor *)> & tensors = nullptr) {
    static int         copies = 0;
    const std::string  copy   = scratch("altered-" + std::to_string(++copies) + ".gguf");
    ggml_context *     data   = nullptr;
    gguf_context *     from   = gguf_init_from_file(path.c_str(), {/*no_alloc*/ false, &data});
    gguf_context *     to     = gguf_init_empty();
    CHECK(from && to);
    gguf_set_kv(to, from);
    if (keys) keys(to);
    for (int64_t i = 0; i < gguf_get_n_tensors(from); ++i) {
        ggml_tensor * t = ggml_get_tensor(data, gguf_get_tensor_name(from, i));
        if (!tensors || tensors(t)) gguf_add_tensor(to, t);
    }
    CHECK(gguf_write_to_file(to, copy.c_str(), false));
    gguf_free(to);
    gguf_free(from);
    ggml_free(data);
    return copy;
}

inline bool is(const ggml_tensor * t, const char * name) { return std::string(t->name) == name; }

// The same tensor, said to hold F16; what its values are then does not matter.
inline void call_it_f16(ggml_tensor * t) {
    t->type = GGML_TYPE_F16;
    t->nb[0] = 2;
    for (int i = 1; i < GGML_MAX_DIMS; ++i) t->nb[i] = t->nb[i - 1] * size_t(t->ne[i - 1]);
    memset(t->data, 0, ggml_nbytes(t));
}

} // namespace yapo_test
