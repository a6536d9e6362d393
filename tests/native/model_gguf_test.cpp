// The GGUF validator on files made by hand, one defect each: the message names it, and llama.cpp never sees the file.
#include "harness.h"

#include "gguf.h"
#include "ggml.h"

#include <fstream>

using namespace yapo_test;

namespace {

// Writes GGUF byte by byte, right or wrong.
struct builder {
    std::string data;
    builder & raw(const void * p, size_t n) { data.append(static_cast<const char *>(p), n); return *this; }
    builder & u32(uint32_t v) { return raw(&v, 4); }
    builder & u64(uint64_t v) { return raw(&v, 8); }
    builder & text(const std::string & s) { u64(s.size()); data += s; return *this; }
    builder & header(uint64_t tensors, uint64_t keys, uint32_t version = 3) { data = "GGUF"; return u32(version).u64(tensors).u64(keys); }
    builder & key(const std::string & name, uint32_t type) { return text(name).u32(type); }
    builder & tensor(const std::string & name, const std::vector<uint64_t> & ne, uint32_t type, uint64_t offset) {
        text(name).u32(uint32_t(ne.size()));
        for (uint64_t n : ne) u64(n);
        return u32(type).u64(offset);
    }
    builder & pad(size_t alignment = 32) { data.resize((data.size() + alignment - 1) / alignment * alignment); return *this; }
    builder & zeros(size_t n) { data.append(n, '\0'); return *this; }

    std::string file() const {
        const std::string path = scratch("built.gguf");
        std::ofstream(path, std::ios::binary | std::ios::trunc).write(data.data(), std::streamsize(data.size()));
        return path;
    }
    void good() const { OK(yapo_gguf_validate(file().c_str(), &err)); }
    void bad(const char * part) const {
        REFUSED(YAPO_ERR_FORMAT, part, yapo_gguf_validate(file().c_str(), &err));
        yapo_model * model = nullptr;
        REFUSED(YAPO_ERR_FORMAT, part, yapo_model_load(file().c_str(), nullptr, &model, &err));
    }
};

constexpr uint32_t F32 = GGML_TYPE_F32, Q8_0 = GGML_TYPE_Q8_0;

} // namespace

YAPO_TEST(Gguf_GoodFiles_Pass) {
    builder().header(0, 0).good();
    builder().header(0, 0, 2).good();
    builder().header(2, 1).key("general.alignment", GGUF_TYPE_UINT32).u32(64)
        .tensor("a", {32}, F32, 0).tensor("b", {32, 2}, Q8_0, 128).pad(64).zeros(128 + 68).good();
    builder().header(0, 2).key("words", GGUF_TYPE_ARRAY).u32(GGUF_TYPE_STRING).u64(2).text("a").text("").key("flag", GGUF_TYPE_BOOL).raw("\1", 1).good();
}

YAPO_TEST(Gguf_Header_Defects) {
    builder b;
    b.data = "GGUX";
    b.bad("not a GGUF file");
    builder().header(0, 0, 1).bad("version 1");
    builder().header(0, 0, 4).bad("version 4");
    builder().header(0, 0, 0x03000000).bad("big-endian");
    builder().header(0, UINT64_MAX).bad("keys");
    builder().header(UINT64_MAX, 0).bad("tensors");
    builder().header(0, 100).zeros(200).bad("keys");
    builder().header(1ull << 40, 0).zeros(4096).bad("tensors");
}

YAPO_TEST(Gguf_Key_Defects) {
    builder().header(0, 1).key("", GGUF_TYPE_UINT8).zeros(8).bad("a key");
    builder().header(0, 1).key(std::string("a\0b", 3), GGUF_TYPE_UINT8).zeros(8).bad("control characters");
    builder().header(0, 1).u64(UINT64_MAX).zeros(64).bad("length");
    builder().header(0, 1).u64(4000).zeros(64).bad("ends");
    builder().header(0, 1).key("k", 13).zeros(8).bad("value type 13");
    builder().header(0, 1).key("k", UINT32_MAX).zeros(8).bad("value type");
    builder().header(0, 1).key("k", GGUF_TYPE_UINT64).u32(0).bad("ends");
    builder().header(0, 1).key("k", GGUF_TYPE_BOOL).raw("\2", 1).bad("boolean");
    builder().header(0, 1).key("k", GGUF_TYPE_STRING).u64(UINT64_MAX).bad("ends");
    builder().header(0, 2).key("k", GGUF_TYPE_UINT8).raw("\0", 1).key("k", GGUF_TYPE_UINT8).raw("\0", 1).bad("occurs twice");
}

YAPO_TEST(Gguf_Array_Defects) {
    builder().header(0, 1).key("k", GGUF_TYPE_ARRAY).u32(GGUF_TYPE_ARRAY).u64(1).zeros(64).bad("array of arrays");
    builder().header(0, 1).key("k", GGUF_TYPE_ARRAY).u32(99).u64(1).zeros(64).bad("value type 99");
    builder().header(0, 1).key("k", GGUF_TYPE_ARRAY).u32(GGUF_TYPE_UINT32).u64(UINT64_MAX / 4).zeros(64).bad("elements");
    builder().header(0, 1).key("k", GGUF_TYPE_ARRAY).u32(GGUF_TYPE_UINT32).u64(17).zeros(64).bad("elements");
    builder().header(0, 1).key("k", GGUF_TYPE_ARRAY).u32(GGUF_TYPE_STRING).u64(9).zeros(64).bad("elements");
    builder().header(0, 1).key("k", GGUF_TYPE_ARRAY).u32(GGUF_TYPE_STRING).u64(2).text("fits").u64(1000).zeros(8).bad("ends");
}

YAPO_TEST(Gguf_Alignment_Defects) {
    for (uint32_t alignment : {0u, 1u, 4u, 24u, 33u, 0x80000000u}) {
        builder().header(0, 1).key("general.alignment", GGUF_TYPE_UINT32).u32(alignment).bad("general.alignment");
    }
    builder().header(0, 1).key("general.alignment", GGUF_TYPE_UINT64).u64(32).bad("general.alignment");
    builder().header(0, 1).key("general.alignment", GGUF_TYPE_STRING).text("32").bad("general.alignment");
}

YAPO_TEST(Gguf_Tensor_Defects) {
    builder().header(1, 0).tensor("", {4}, F32, 0).pad().zeros(64).bad("a tensor name");
    builder().header(1, 0).tensor(std::string(64, 'x'), {4}, F32, 0).pad().zeros(64).bad("a tensor name");
    builder().header(1, 0).tensor("t", {1, 1, 1, 1, 1}, F32, 0).pad().zeros(64).bad("5 dimensions");
    builder().header(1, 0).tensor("t", {4, 0}, F32, 0).pad().zeros(64).bad("dimension 1 of 0");
    builder().header(1, 0).tensor("t", {1ull << 32, 1ull << 32}, F32, 0).pad().zeros(64).bad("cannot fit");
    builder().header(1, 0).tensor("t", {UINT64_MAX}, F32, 0).pad().zeros(64).bad("cannot fit");
    builder().header(1, 0).tensor("t", {4}, 4, 0).pad().zeros(64).bad("ggml type 4"); // a removed type
    builder().header(1, 0).tensor("t", {4}, 1000, 0).pad().zeros(64).bad("ggml type 1000");
    builder().header(1, 0).tensor("t", {33}, Q8_0, 0).pad().zeros(64).bad("multiple of 32");
    builder().header(1, 0).tensor("t", {4}, F32, 32).pad().zeros(64).bad("offset 32");
    builder().header(1, 0).tensor("t", {4}, F32, UINT64_MAX - 8).pad().zeros(64).bad("offset");
    builder().header(2, 0).tensor("a", {4}, F32, 0).tensor("b", {4}, F32, 16).pad().zeros(64).bad("offset 16");
    builder().header(2, 0).tensor("a", {4}, F32, 0).tensor("b", {4}, F32, 0).pad().zeros(64).bad("expected 32");
    builder().header(2, 0).tensor("a", {4}, F32, 0).tensor("a", {4}, F32, 32).pad().zeros(64).bad("occurs twice");
    builder().header(1, 0).tensor("t", {16}, F32, 0).pad().zeros(63).bad("download");
    builder().header(1, 0).tensor("t", {4}, F32, 0).bad("download");
}

// Hyper-parameters that are well-formed GGUF and would make llama.cpp assert, divide by zero or hang.
YAPO_TEST(Gguf_ModelRules_Defects) {
    const auto model = [](uint64_t keys) { return builder().header(0, keys + 1).key("general.architecture", GGUF_TYPE_STRING).text("llama"); };
    const auto refused = [&](const char * key, uint32_t value, const char * part) { model(1).key(key, GGUF_TYPE_UINT32).u32(value).file();
        yapo_model * out = nullptr;
        REFUSED(YAPO_ERR_FORMAT, part, yapo_model_load(scratch("built.gguf").c_str(), nullptr, &out, &err));
    };
    refused("llama.block_count", 0, "llama.block_count");
    refused("llama.block_count", 513, "512");
    refused("llama.embedding_length", 0, "llama.embedding_length");
    refused("llama.expert_count", 5000, "1024");
    refused("llama.expert_used_count", 2, "expert_count");
    refused("llama.attention.head_count", 1u << 31, "head_count");
    refused("llama.rope.freq_base", 0, "rope.freq_base");
    refused("tokenizer.ggml.tokens", 3, "array of strings");
    yapo_model * out = nullptr;
    model(1).key("llama.attention.layer_norm_rms_epsilon", GGUF_TYPE_FLOAT32).u32(0x7fc00000).file();
    REFUSED(YAPO_ERR_FORMAT, "nan", yapo_model_load(scratch("built.gguf").c_str(), nullptr, &out, &err));
    model(2).key("llama.attention.head_count", GGUF_TYPE_UINT32).u32(8).key("llama.attention.head_count_kv", GGUF_TYPE_UINT32).u32(3).file();
    REFUSED(YAPO_ERR_FORMAT, "divisor", yapo_model_load(scratch("built.gguf").c_str(), nullptr, &out, &err));
    model(1).key("tokenizer.ggml.tokens", GGUF_TYPE_ARRAY).u32(GGUF_TYPE_STRING).u64(2).text("same").text("same").file();
    REFUSED(YAPO_ERR_FORMAT, "occurs twice", yapo_model_load(scratch("built.gguf").c_str(), nullptr, &out, &err));
    builder().header(0, 0).file();
    REFUSED(YAPO_ERR_FORMAT, "general.architecture", yapo_model_load(scratch("built.gguf").c_str(), nullptr, &out, &err));
    builder().header(1, 1).key("general.architecture", GGUF_TYPE_STRING).text("llama").tensor("output_norm.weight", {4}, GGML_TYPE_F16, 0).pad().zeros(32).file();
    REFUSED(YAPO_ERR_FORMAT, "output_norm.weight", yapo_model_load(scratch("built.gguf").c_str(), nullptr, &out, &err));
}

YAPO_TEST(Gguf_SplitModel_EveryPartIsChecked) {
    const auto part = [](uint16_t number, uint16_t count, const char * name) {
        builder b;
        b.header(0, 3).key("general.architecture", GGUF_TYPE_STRING).text("llama").key("split.no", GGUF_TYPE_UINT16).raw(&number, 2)
            .key("split.count", GGUF_TYPE_UINT16).raw(&count, 2);
        std::ofstream(scratch(name), std::ios::binary | std::ios::trunc).write(b.data.data(), std::streamsize(b.data.size()));
        return scratch(name);
    };
    yapo_model * out = nullptr;
    const std::string first = part(0, 2, "m-00001-of-00002.gguf");
    REFUSED(YAPO_ERR_IO, "m-00002-of-00002.gguf", yapo_model_load(first.c_str(), nullptr, &out, &err));
    std::ofstream(scratch("m-00002-of-00002.gguf"), std::ios::binary) << "GGUF";
    REFUSED(YAPO_ERR_FORMAT, "m-00002-of-00002.gguf", yapo_model_load(first.c_str(), nullptr, &out, &err));
    part(0, 2, "m-00002-of-00002.gguf");
    REFUSED(YAPO_ERR_FORMAT, "split.no", yapo_model_load(first.c_str(), nullptr, &out, &err));
    const std::string second = part(1, 2, "m-00002-of-00002.gguf");
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "first part", yapo_model_load(second.c_str(), nullptr, &out, &err));
    const std::string renamed = part(0, 2, "renamed.gguf");
    REFUSED(YAPO_ERR_FORMAT, "-00001-of-00002.gguf", yapo_model_load(renamed.c_str(), nullptr, &out, &err));
}
