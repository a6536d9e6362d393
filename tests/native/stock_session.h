// A llama_context of the linked libllama, steered through libyapo-stock: what a program without our C ABI would write.
#pragma once

#include "kernel_oracle.h"
#include "yapo_stock.h"

#include "ggml-backend.h"
#include "llama.h"

#include <cstring>
#include <string>
#include <vector>

namespace yapo_test {

// The file that libllama was loaded from.
std::string loaded_libllama();

// Error objects of libyapo-stock belong to it: the OK and REFUSED of harness.h would free them in libyapo.
void stock_ok(yapo_status status, yapo_error * err);
void stock_refused(yapo_status status, yapo_error * err, yapo_status expected, const char * part);

#define STOCK_OK(call)                                  \
    do {                                                \
        yapo_error * err = nullptr;                     \
        const yapo_status yapo_s = (call);              \
        yapo_test::stock_ok(yapo_s, err);               \
    } while (0)
#define STOCK_REFUSED(expected, part, call)             \
    do {                                                \
        yapo_error * err = nullptr;                     \
        const yapo_status yapo_s = (call);              \
        yapo_test::stock_refused(yapo_s, err, expected, part); \
    } while (0)

struct stock_session {
    struct layer_record { std::vector<float> before, after; }; // [rows, D], of every decode since clear()

    std::string     path;
    llama_model *   model   = nullptr;
    llama_context * context = nullptr;
    yapo_stock *    stock   = nullptr;
    int32_t         n_vocab = 0;
    int64_t         d       = 0;
    bool            attached;                       // cb_eval set at all
    std::map<int32_t, layer_record> records;        // of the layers put in here
    bool            wanted = false;                 // what the stock callback answered last

    explicit stock_session(const random_model & spec, const sizes & s = {}, bool attached = true) : stock_session(write_random_model(spec, scratch(spec.arch + "-stock.gguf")), s, attached) {}
    // All blocks on `device`; none: on the CPU.
    explicit stock_session(const std::string & path, const sizes & s = {}, bool attached = true, ggml_backend_dev_t device = nullptr);
    ~stock_session();
    stock_session(const stock_session &) = delete;

    void attach(const std::vector<steer> & vectors, const std::vector<float> & strengths);
    void strengths(const std::vector<float> & strengths) { STOCK_OK(yapo_stock_set_strengths(stock, strengths.data(), int32_t(strengths.size()), &err)); }
    // Logits [T, V] of tokens at positions p0 ... of sequence 0.
    std::vector<float> decode(const std::vector<int32_t> & tokens, int32_t p0 = 0);
};

} // namespace yapo_test
