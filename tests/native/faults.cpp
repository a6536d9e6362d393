// The functions that can be asked to fail. Each hands its calls on, unless a fault is due.
#include "faults.h"

#if defined(YAPO_TEST_FAULTS)
#  include "harness.h"

#  include "ggml-alloc.h"
#  include "ggml-backend.h"
#  include "gguf.h"
#  include "llama.h"
#  include "llama-ext.h"

#  include <atomic>
#  include <cerrno>
#  include <cstdio>
#  include <cstring>
#  include <dlfcn.h>
#  include <limits>
#  include <pthread.h>
#  include <stdexcept>
#  include <sys/stat.h>
#  include <unistd.h>

namespace {

// Plain data, set before the threads of a call start: these functions also run before main and after it.
std::atomic<const char *> wanted{nullptr};
std::atomic<int>          skip{0};
std::atomic<bool>         done{false};
std::atomic<intptr_t>     answer{0};

bool due(const char * function) {
    const char * name = wanted.load(std::memory_order_acquire);
    if (!name || strcmp(name, function) != 0 || done) {
        return false;
    }
    return skip.fetch_sub(1) <= 0 && !done.exchange(true);
}

template <typename F> F * next(const char * function) { return reinterpret_cast<F *>(dlsym(RTLD_NEXT, function)); }

int system_error() {
    errno = EIO;
    return -1;
}

// What a graph that cannot be built does, where the test's answer is not 0.
void assert_fails() {
    if (answer != 0) {
        GGML_ABORT("a shape that does not fit");
    }
}

// clang-format off
const char * const known[] = {
    "fread", "fseeko", "read", "rename", "stat", "pthread_create",
    "ggml_backend_alloc_ctx_tensors_from_buft", "ggml_backend_dev_init", "ggml_backend_graph_compute", "ggml_backend_reg_by_name",
    "ggml_backend_reg_get_proc_address", "ggml_backend_tensor_alloc", "ggml_fopen", "ggml_gallocr_alloc_graph", "gguf_init_from_file",
    "llama_decode", "llama_get_logits_ith", "llama_init_from_model", "llama_memory_seq_rm", "llama_model_has_encoder", "llama_model_is_recurrent",
    "llama_sampler_apply", "llama_set_adapter_cvec", "llama_set_layer_hook", "llama_tokenize", "llama_vocab_bos", "llama_vocab_n_tokens",
};
// clang-format on

} // namespace

namespace yapo_test {

fault::fault(const char * function, int skipped, intptr_t with) {
    bool found = false;
    for (const char * name : known) {
        found = found || strcmp(name, function) == 0;
    }
    CHECK_MSG(found, "faults.cpp does not define %s", function);
    skip   = skipped;
    done   = false;
    answer = with;
    wanted.store(function, std::memory_order_release);
}

fault::~fault() { wanted = nullptr; }

bool fault::happened() const { return done; }

} // namespace yapo_test

// FAULT(result, name, (parameters), (arguments), exceptions, what a failing call does)
#  define FAULT(result, name, parameters, arguments, exceptions, ...)                   \
      extern "C" __attribute__((visibility("default"))) result name parameters exceptions { \
          if (due(#name)) {                                                              \
              __VA_ARGS__;                                                               \
          }                                                                              \
          static const auto real = next<result parameters>(#name);                       \
          return real arguments;                                                         \
      }
#  define ANSWER(type) return (type) answer.load() // what the test gave

// the system: the disk and threads
FAULT(size_t, fread, (void * to, size_t size, size_t n, FILE * file), (to, size, n, file), , system_error(); return 0)
FAULT(int, fseeko, (FILE * file, off_t to, int from), (file, to, from), , return system_error())
FAULT(ssize_t, read, (int file, void * to, size_t n), (file, to, n), , return system_error())
FAULT(int, rename, (const char * from, const char * to), (from, to), noexcept, return system_error())
FAULT(int, stat, (const char * path, struct stat * to), (path, to), noexcept, return system_error())
FAULT(int, pthread_create, (pthread_t * thread, const pthread_attr_t * how, void * (*start)(void *), void * with), (thread, how, start, with), noexcept, return EAGAIN)

// ggml
FAULT(ggml_backend_buffer_t, ggml_backend_alloc_ctx_tensors_from_buft, (ggml_context * c, ggml_backend_buffer_type_t b), (c, b), , return nullptr)
FAULT(ggml_backend_t, ggml_backend_dev_init, (ggml_backend_dev_t d, const char * p), (d, p), , return nullptr)
FAULT(ggml_status, ggml_backend_graph_compute, (ggml_backend_t b, ggml_cgraph * g), (b, g), , return GGML_STATUS_FAILED)
FAULT(ggml_backend_reg_t, ggml_backend_reg_by_name, (const char * name), (name), , return nullptr)
FAULT(void *, ggml_backend_reg_get_proc_address, (ggml_backend_reg_t r, const char * name), (r, name), , return nullptr)
FAULT(ggml_status, ggml_backend_tensor_alloc, (ggml_backend_buffer_t b, ggml_tensor * t, void * a), (b, t, a), , return GGML_STATUS_FAILED)
FAULT(FILE *, ggml_fopen, (const char * path, const char * mode), (path, mode), , return nullptr)
FAULT(bool, ggml_gallocr_alloc_graph, (ggml_gallocr_t a, ggml_cgraph * g), (a, g), , return false)
FAULT(gguf_context *, gguf_init_from_file, (const char * path, gguf_init_params p), (path, p), , return nullptr)

// llama.cpp
FAULT(int32_t, llama_decode, (llama_context * c, llama_batch b), (c, b), , ANSWER(int32_t))
FAULT(float *, llama_get_logits_ith, (llama_context * c, int32_t i), (c, i), , ANSWER(float *))
FAULT(llama_context *, llama_init_from_model, (llama_model * m, llama_context_params p), (m, p), , assert_fails(); return nullptr)
FAULT(bool, llama_memory_seq_rm, (llama_memory_t m, llama_seq_id s, llama_pos p0, llama_pos p1), (m, s, p0, p1), , return false)
FAULT(bool, llama_model_has_encoder, (const llama_model * m), (m), , return true)
FAULT(bool, llama_model_is_recurrent, (const llama_model * m), (m), , return true)
FAULT(void, llama_sampler_apply, (llama_sampler * s, llama_token_data_array * c), (s, c), , return)
FAULT(int32_t, llama_set_adapter_cvec, (llama_context * c, const float * x, size_t n, int32_t d, int32_t from, int32_t to), (c, x, n, d, from, to), , return -1)
FAULT(int32_t, llama_tokenize, (const llama_vocab * v, const char * t, int32_t l, llama_token * o, int32_t n, bool a, bool p), (v, t, l, o, n, a, p), ,
      if (answer != 0) throw std::runtime_error("an unknown merge"); return std::numeric_limits<int32_t>::min())
FAULT(llama_token, llama_vocab_bos, (const llama_vocab * v), (v), , return LLAMA_TOKEN_NULL)
FAULT(int32_t, llama_vocab_n_tokens, (const llama_vocab * v), (v), , return 0)

// of our patch, with the linkage of C++
__attribute__((visibility("default"))) bool llama_set_layer_hook(llama_context * c, llama_layer_hook h, void * user, uint32_t n) {
    static const auto real = next<bool(llama_context *, llama_layer_hook, void *, uint32_t)>("_Z20llama_set_layer_hookP13llama_contextPFP11ggml_tensorRK21llama_layer_hook_callS2_PvES6_j");
    if (due("llama_set_layer_hook")) {
        assert_fails();
        return false;
    }
    return real(c, h, user, n);
}
#endif
