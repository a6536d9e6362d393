#include "train/files/gguf_source.h"

#include "train/files/atomic_file.h"

namespace yapo::train {

gguf_source::gguf_source(const std::string & path) : path_(path) {
    // structure, sizes, offsets, file length: ggml's own reader trusts more than a file deserves
    yapo_error * error = nullptr;
    const yapo_status status = yapo_gguf_validate(path.c_str(), &error);
    if (status != YAPO_OK) {
        const std::string message = yapo_error_message(error);
        yapo_error_free(error);
        throw failure(status, message);
    }
    file_.reset(ggml_fopen(path.c_str(), "rb"));
    if (!file_) {
        fail(YAPO_ERR_IO, "%s: cannot be opened for reading", path.c_str());
    }
    ggml_context * tensors = nullptr;
    gguf_.reset(gguf_init_from_file(path.c_str(), {/*no_alloc*/ true, &tensors}));
    tensors_.reset(tensors);
    if (!gguf_) {
        fail(YAPO_ERR_FORMAT, "%s: not a readable GGUF file", path.c_str());
    }
}

std::string gguf_source::architecture() const {
    const int64_t id = gguf_find_key(gguf_.get(), "general.architecture");
    if (id < 0 || gguf_get_kv_type(gguf_.get(), id) != GGUF_TYPE_STRING) {
        fail(YAPO_ERR_FORMAT, "%s: general.architecture is missing", path_.c_str());
    }
    return gguf_get_val_str(gguf_.get(), id);
}

bool gguf_source::has(const std::string & key) const { return gguf_find_key(gguf_.get(), key.c_str()) >= 0; }

int64_t gguf_source::integer(const std::string & key) const {
    const int64_t id = gguf_find_key(gguf_.get(), key.c_str());
    if (id < 0) {
        fail(YAPO_ERR_FORMAT, "%s: metadata key %s is missing", path_.c_str(), key.c_str());
    }
    switch (gguf_get_kv_type(gguf_.get(), id)) {
        case GGUF_TYPE_UINT32: return gguf_get_val_u32(gguf_.get(), id);
        case GGUF_TYPE_INT32:  return gguf_get_val_i32(gguf_.get(), id);
        case GGUF_TYPE_UINT64: return static_cast<int64_t>(gguf_get_val_u64(gguf_.get(), id));
        case GGUF_TYPE_INT64:  return gguf_get_val_i64(gguf_.get(), id);
        case GGUF_TYPE_UINT16: return gguf_get_val_u16(gguf_.get(), id);
        case GGUF_TYPE_UINT8:  return gguf_get_val_u8(gguf_.get(), id);
        case GGUF_TYPE_ARRAY: {
            const auto type = gguf_get_arr_type(gguf_.get(), id);
            const size_t n = gguf_get_arr_n(gguf_.get(), id);
            if (n > 0 && (type == GGUF_TYPE_UINT32 || type == GGUF_TYPE_INT32)) {
                const int32_t * values = static_cast<const int32_t *>(gguf_get_arr_data(gguf_.get(), id));
                for (size_t i = 1; i < n; ++i) {
                    if (values[i] != values[0]) {
                        fail(YAPO_ERR_UNSUPPORTED, "%s: %s differs between blocks; training expects equal blocks", path_.c_str(), key.c_str());
                    }
                }
                return values[0];
            }
            break;
        }
        default: break;
    }
    fail(YAPO_ERR_FORMAT, "%s: metadata key %s is not an integer", path_.c_str(), key.c_str());
}

int64_t gguf_source::integer(const std::string & key, int64_t otherwise) const { return has(key) ? integer(key) : otherwise; }

float gguf_source::number(const std::string & key) const {
    const int64_t id = gguf_find_key(gguf_.get(), key.c_str());
    if (id < 0) {
        fail(YAPO_ERR_FORMAT, "%s: metadata key %s is missing", path_.c_str(), key.c_str());
    }
    switch (gguf_get_kv_type(gguf_.get(), id)) {
        case GGUF_TYPE_FLOAT32: return gguf_get_val_f32(gguf_.get(), id);
        case GGUF_TYPE_FLOAT64: return static_cast<float>(gguf_get_val_f64(gguf_.get(), id));
        default: fail(YAPO_ERR_FORMAT, "%s: metadata key %s is not a number", path_.c_str(), key.c_str());
    }
}

float gguf_source::number(const std::string & key, float otherwise) const { return has(key) ? number(key) : otherwise; }

std::string gguf_source::text(const std::string & key, const std::string & otherwise) const {
    const int64_t id = gguf_find_key(gguf_.get(), key.c_str());
    if (id >= 0 && gguf_get_kv_type(gguf_.get(), id) != GGUF_TYPE_STRING) {
        fail(YAPO_ERR_FORMAT, "%s: metadata key %s is not a string", path_.c_str(), key.c_str());
    }
    return id < 0 ? otherwise : gguf_get_val_str(gguf_.get(), id);
}

const ggml_tensor * gguf_source::find(const std::string & name) const { return tensors_ ? ggml_get_tensor(tensors_.get(), name.c_str()) : nullptr; }

const ggml_tensor * gguf_source::tensor(const std::string & name, int64_t ne0, int64_t ne1) const {
    const ggml_tensor * t = find(name);
    if (!t) {
        fail(YAPO_ERR_FORMAT, "%s: tensor %s is missing", path_.c_str(), name.c_str());
    }
    if (t->ne[0] != ne0 || t->ne[1] != ne1 || t->ne[2] != 1 || t->ne[3] != 1) {
        fail(YAPO_ERR_FORMAT, "%s: tensor %s is [%lld, %lld, %lld, %lld], expected [%lld, %lld]", path_.c_str(), name.c_str(),
            (long long) t->ne[0], (long long) t->ne[1], (long long) t->ne[2], (long long) t->ne[3], (long long) ne0, (long long) ne1);
    }
    return t;
}

uint64_t gguf_source::offset(const ggml_tensor * tensor) const {
    return uint64_t(gguf_get_data_offset(gguf_.get())) + gguf_get_tensor_offset(gguf_.get(), gguf_find_tensor(gguf_.get(), tensor->name));
}

void gguf_source::read(const ggml_tensor * tensor, void * to) const {
    const size_t n = ggml_nbytes(tensor);
    if (!seek(file_.get(), offset(tensor)) || fread(to, 1, n, file_.get()) != n) {
        fail(YAPO_ERR_IO, "%s: tensor %s could not be read (%zu bytes at %llu)", path_.c_str(), tensor->name, n, (unsigned long long) offset(tensor));
    }
}

} // namespace yapo::train
