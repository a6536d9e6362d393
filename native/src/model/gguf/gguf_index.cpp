#include "model/gguf/gguf_index.h"

#include "abi/guard.h"
#include "ggml.h"
#include "model/gguf/file_reader.h"

#include <climits>
#include <cstring>

namespace yapo {

using ull = unsigned long long;

bool gguf_value::is_integer() const {
    return !is_array && type != GGUF_TYPE_FLOAT32 && type != GGUF_TYPE_FLOAT64 && type != GGUF_TYPE_STRING && type != GGUF_TYPE_COUNT;
}

bool gguf_value::is_float() const {
    return !is_array && (type == GGUF_TYPE_FLOAT32 || type == GGUF_TYPE_FLOAT64);
}

int64_t gguf_value::integer() const {
    switch (type) {
        case GGUF_TYPE_INT8:   return static_cast<int8_t>(bits);
        case GGUF_TYPE_INT16:  return static_cast<int16_t>(bits);
        case GGUF_TYPE_INT32:  return static_cast<int32_t>(bits);
        case GGUF_TYPE_INT64:  return static_cast<int64_t>(bits);
        default:               return bits > INT64_MAX ? INT64_MAX : static_cast<int64_t>(bits);
    }
}

double gguf_value::number() const {
    if (type == GGUF_TYPE_FLOAT32) {
        const uint32_t low = static_cast<uint32_t>(bits);
        float          value;
        memcpy(&value, &low, sizeof value);
        return value;
    }
    if (type == GGUF_TYPE_FLOAT64) {
        double value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    return static_cast<double>(integer());
}

std::string gguf_tensor::shape() const {
    std::string text = "[";
    for (uint32_t i = 0; i < n_dims; ++i) {
        text += (i ? ", " : "") + std::to_string(ne[i]);
    }
    return text + "]";
}

const gguf_value * gguf_index::find(const std::string & key) const {
    const auto found = values.find(key);
    return found == values.end() ? nullptr : &found->second;
}

const gguf_tensor * gguf_index::tensor(const std::string & name) const {
    const auto found = tensor_index.find(name);
    return found == tensor_index.end() ? nullptr : &tensors[found->second];
}

namespace {

uint64_t type_bytes(gguf_type type) {
    switch (type) {
        case GGUF_TYPE_UINT8: case GGUF_TYPE_INT8: case GGUF_TYPE_BOOL:         return 1;
        case GGUF_TYPE_UINT16: case GGUF_TYPE_INT16:                            return 2;
        case GGUF_TYPE_UINT32: case GGUF_TYPE_INT32: case GGUF_TYPE_FLOAT32:    return 4;
        case GGUF_TYPE_UINT64: case GGUF_TYPE_INT64: case GGUF_TYPE_FLOAT64:    return 8;
        default:                                                                return 0;
    }
}

// Names are compared as C strings further down the line, so they must be ones. Printable, so that messages are.
void check_name(const file_reader & file, const std::string & name, const char * what, size_t max_bytes) {
    bool clean = !name.empty() && name.size() <= max_bytes;
    for (char c : name) {
        clean = clean && static_cast<unsigned char>(c) >= 0x20 && c != 0x7f;
    }
    if (!clean) {
        fail(YAPO_ERR_FORMAT, "%s: %s before byte %llu has %zu bytes or control characters in it, expected 1 to %zu printable ones", file.path().c_str(), what,
             static_cast<ull>(file.position()), name.size(), max_bytes);
    }
}

gguf_type read_type(file_reader & file, const std::string & key) {
    const uint32_t type = file.u32("a value type");
    if (type >= GGUF_TYPE_COUNT) {
        fail(YAPO_ERR_FORMAT, "%s: key %s has value type %u, expected 0 to %d", file.path().c_str(), key.c_str(), type, GGUF_TYPE_COUNT - 1);
    }
    return static_cast<gguf_type>(type);
}

void read_array(file_reader & file, const std::string & key, gguf_value & value) {
    value.is_array = true;
    value.type     = read_type(file, key);
    value.count    = file.u64("an array length");
    value.at       = file.position();
    if (value.type == GGUF_TYPE_ARRAY) {
        fail(YAPO_ERR_FORMAT, "%s: key %s is an array of arrays, which no reader supports", file.path().c_str(), key.c_str());
    }
    const uint64_t element = value.type == GGUF_TYPE_STRING ? 8 : type_bytes(value.type); // at least, for strings
    if (value.count > INT_MAX || value.count > file.left() / element) {
        fail(YAPO_ERR_FORMAT, "%s: key %s is an array of %llu elements, but only %llu bytes follow at byte %llu", file.path().c_str(), key.c_str(),
             static_cast<ull>(value.count), static_cast<ull>(file.left()), static_cast<ull>(value.at));
    }
    if (value.type != GGUF_TYPE_STRING) {
        file.skip(value.count * element, key.c_str());
        return;
    }
    for (uint64_t i = 0; i < value.count; ++i) {
        const uint64_t bytes = file.u64(key.c_str());
        file.skip(bytes, key.c_str());
    }
}

void read_scalar(file_reader & file, const std::string & key, gguf_value & value) {
    value.at = file.position();
    if (value.type == GGUF_TYPE_STRING) {
        const uint64_t bytes = file.u64(key.c_str());
        if (bytes > file.left()) {
            file.skip(bytes, key.c_str()); // fails with the position
        }
        value.text.resize(static_cast<size_t>(bytes < gguf_kept_text ? bytes : gguf_kept_text));
        file.read(&value.text[0], value.text.size(), key.c_str());
        file.skip(bytes - value.text.size(), key.c_str());
        return;
    }
    unsigned char raw[8] = {0};
    file.read(raw, type_bytes(value.type), key.c_str());
    for (int i = 7; i >= 0; --i) {
        value.bits = value.bits << 8 | raw[i];
    }
    if (value.type == GGUF_TYPE_BOOL && value.bits > 1) {
        fail(YAPO_ERR_FORMAT, "%s: key %s is a boolean of value %llu, expected 0 or 1", file.path().c_str(), key.c_str(), static_cast<ull>(value.bits));
    }
}

void read_values(file_reader & file, uint64_t n, gguf_index & index) {
    for (uint64_t i = 0; i < n; ++i) {
        const std::string key = file.text(65535, "a key");
        check_name(file, key, "a key", 65535);
        gguf_value value;
        value.type = read_type(file, key);
        if (value.type == GGUF_TYPE_ARRAY) {
            read_array(file, key, value);
        } else {
            read_scalar(file, key, value);
        }
        if (!index.values.emplace(key, std::move(value)).second) {
            fail(YAPO_ERR_FORMAT, "%s: key %s occurs twice", file.path().c_str(), key.c_str());
        }
    }
}

void read_alignment(const file_reader & file, gguf_index & index) {
    const gguf_value * value = index.find("general.alignment");
    if (!value) {
        return;
    }
    const bool     number    = !value->is_array && value->type == GGUF_TYPE_UINT32;
    const uint64_t alignment = value->bits;
    if (!number || alignment < 8 || alignment > (1u << 24) || (alignment & (alignment - 1)) != 0) {
        fail(YAPO_ERR_FORMAT, "%s: general.alignment is %s %llu, expected a 32-bit power of two from 8 to %u", file.path().c_str(),
             value->is_array ? "array" : gguf_type_name(value->type), static_cast<ull>(alignment), 1u << 24);
    }
    index.alignment = alignment;
}

void read_tensor(file_reader & file, gguf_index & index, uint64_t expected_offset) {
    gguf_tensor t;
    t.name = file.text(GGML_MAX_NAME - 1, "a tensor name");
    check_name(file, t.name, "a tensor name", GGML_MAX_NAME - 1);
    t.n_dims = file.u32("a dimension count");
    if (t.n_dims > GGML_MAX_DIMS) {
        fail(YAPO_ERR_FORMAT, "%s: tensor %s has %u dimensions, expected at most %d", file.path().c_str(), t.name.c_str(), t.n_dims, GGML_MAX_DIMS);
    }
    // The product is bounded by the file's size with every step, so it cannot overflow. The smallest type has 1 bit per weight.
    const uint64_t max_elements = file.size() * 8;
    uint64_t       elements     = 1;
    for (uint32_t i = 0; i < t.n_dims; ++i) {
        const uint64_t n = file.u64("a dimension");
        if (n == 0 || n > max_elements / elements) {
            fail(YAPO_ERR_FORMAT, "%s: tensor %s has dimension %u of %llu, which cannot fit into a file of %llu bytes", file.path().c_str(), t.name.c_str(), i,
                 static_cast<ull>(n), static_cast<ull>(file.size()));
        }
        elements *= n;
        t.ne[i] = static_cast<int64_t>(n);
    }
    const uint32_t type = file.u32("a tensor type");
    if (type >= GGML_TYPE_COUNT || ggml_blck_size(static_cast<ggml_type>(type)) <= 0 || ggml_type_size(static_cast<ggml_type>(type)) == 0) {
        fail(YAPO_ERR_FORMAT, "%s: tensor %s has ggml type %u, which this build does not know", file.path().c_str(), t.name.c_str(), type);
    }
    t.type = static_cast<ggml_type>(type);
    if (t.ne[0] % ggml_blck_size(t.type) != 0) {
        fail(YAPO_ERR_FORMAT, "%s: tensor %s of type %s has rows of %lld, expected a multiple of %lld", file.path().c_str(), t.name.c_str(),
             ggml_type_name(t.type), static_cast<long long>(t.ne[0]), static_cast<long long>(ggml_blck_size(t.type)));
    }
    t.bytes  = elements / static_cast<uint64_t>(ggml_blck_size(t.type)) * ggml_type_size(t.type);
    t.offset = file.u64("a tensor offset");
    if (t.offset != expected_offset) {
        fail(YAPO_ERR_FORMAT, "%s: tensor %s starts at offset %llu of the data, expected %llu (tensors follow each other, padded to %llu)", file.path().c_str(),
             t.name.c_str(), static_cast<ull>(t.offset), static_cast<ull>(expected_offset), static_cast<ull>(index.alignment));
    }
    if (!index.tensor_index.emplace(t.name, index.tensors.size()).second) {
        fail(YAPO_ERR_FORMAT, "%s: tensor %s occurs twice", file.path().c_str(), t.name.c_str());
    }
    index.tensors.push_back(std::move(t));
}

// Counts are believed only as far as the file is long enough for that many.
void check_count(const file_reader & file, const char * what, uint64_t count, uint64_t limit, uint64_t bytes_each) {
    if (count > limit || count > file.left() / bytes_each) {
        fail(YAPO_ERR_FORMAT, "%s: the header promises %llu %s, more than %llu bytes can hold (and at most %llu are read)", file.path().c_str(),
             static_cast<ull>(count), what, static_cast<ull>(file.left()), static_cast<ull>(limit));
    }
}

} // namespace

gguf_index read_gguf_index(file_reader & file) {
    if (file.size() == 0) {
        fail(YAPO_ERR_FORMAT, "%s: the file is empty, expected a GGUF file", file.path().c_str());
    }
    char magic[4];
    file.read(magic, sizeof magic, "the magic");
    if (memcmp(magic, "GGUF", 4) != 0) {
        fail(YAPO_ERR_FORMAT, "%s: the file starts with %02x %02x %02x %02x, expected \"GGUF\" (47 47 55 46): this is not a GGUF file", file.path().c_str(),
             static_cast<unsigned char>(magic[0]), static_cast<unsigned char>(magic[1]), static_cast<unsigned char>(magic[2]), static_cast<unsigned char>(magic[3]));
    }
    gguf_index index;
    index.version = file.u32("the version");
    if (index.version != 2 && index.version != 3) {
        const bool swapped = (index.version & 0xffff) == 0 && index.version != 0;
        fail(YAPO_ERR_FORMAT, "%s: GGUF version %u, expected 2 or 3%s", file.path().c_str(), index.version, swapped ? " (a big-endian file?)" : "");
    }
    const uint64_t n_tensors = file.u64("the tensor count");
    const uint64_t n_keys    = file.u64("the key count");
    check_count(file, "keys", n_keys, gguf_max_keys, 8 + 1 + 4 + 1);
    check_count(file, "tensors", n_tensors, gguf_max_tensors, 8 + 1 + 4 + 4 + 8);
    read_values(file, n_keys, index);
    read_alignment(file, index);

    uint64_t data_bytes = 0;
    uint64_t end        = 0; // of the last tensor, without padding
    for (uint64_t i = 0; i < n_tensors; ++i) {
        read_tensor(file, index, data_bytes);
        end = data_bytes + index.tensors.back().bytes;
        if (end > file.size()) {
            fail(YAPO_ERR_FORMAT, "%s: tensor %s ends at byte %llu of the data, beyond the file of %llu bytes; is the download complete?", file.path().c_str(),
                 index.tensors.back().name.c_str(), static_cast<ull>(end), static_cast<ull>(file.size()));
        }
        data_bytes = (end + index.alignment - 1) / index.alignment * index.alignment;
    }
    index.data_at = (file.position() + index.alignment - 1) / index.alignment * index.alignment;
    if (n_tensors > 0 && (index.data_at > file.size() || end > file.size() - index.data_at)) {
        fail(YAPO_ERR_FORMAT, "%s: the tensors need %llu bytes from byte %llu on, but the file has %llu; is the download complete?", file.path().c_str(),
             static_cast<ull>(end), static_cast<ull>(index.data_at), static_cast<ull>(file.size()));
    }
    return index;
}

} // namespace yapo
