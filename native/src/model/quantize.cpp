// Quantization through llama.cpp's quantizer, into a temporary file beside the destination that is renamed at the end.
#include "model/assert_scope.h"
#include "model/load.h"
#include "model/model.h"
#include "model/runtime.h"

#include <algorithm>
#include <atomic>
#include <cctype>
#include <filesystem>
#include <string>
#include <thread>

#if defined(_WIN32)
#  include <process.h>
#  define yapo_getpid _getpid
#else
#  include <unistd.h>
#  define yapo_getpid getpid
#endif

namespace yapo {
namespace {

namespace fs = std::filesystem;

struct named_type {
    const char * name;
    llama_ftype  type;
};

// Those that need no importance matrix.
constexpr named_type types[] = {
    {"f32", LLAMA_FTYPE_ALL_F32},          {"f16", LLAMA_FTYPE_MOSTLY_F16},       {"bf16", LLAMA_FTYPE_MOSTLY_BF16},
    {"q8_0", LLAMA_FTYPE_MOSTLY_Q8_0},     {"q6_k", LLAMA_FTYPE_MOSTLY_Q6_K},     {"q5_k_m", LLAMA_FTYPE_MOSTLY_Q5_K_M},
    {"q5_k_s", LLAMA_FTYPE_MOSTLY_Q5_K_S}, {"q5_1", LLAMA_FTYPE_MOSTLY_Q5_1},     {"q5_0", LLAMA_FTYPE_MOSTLY_Q5_0},
    {"q4_k_m", LLAMA_FTYPE_MOSTLY_Q4_K_M}, {"q4_k_s", LLAMA_FTYPE_MOSTLY_Q4_K_S}, {"q4_1", LLAMA_FTYPE_MOSTLY_Q4_1},
    {"q4_0", LLAMA_FTYPE_MOSTLY_Q4_0},     {"iq4_nl", LLAMA_FTYPE_MOSTLY_IQ4_NL}, {"iq4_xs", LLAMA_FTYPE_MOSTLY_IQ4_XS},
    {"q3_k_l", LLAMA_FTYPE_MOSTLY_Q3_K_L}, {"q3_k_m", LLAMA_FTYPE_MOSTLY_Q3_K_M}, {"q3_k_s", LLAMA_FTYPE_MOSTLY_Q3_K_S},
    {"q2_k", LLAMA_FTYPE_MOSTLY_Q2_K},
};

llama_ftype type_by_name(const char * name) {
    std::string lower = name;
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    std::string known;
    for (const named_type & type : types) {
        if (lower == type.name) {
            return type.type;
        }
        known += (known.empty() ? "" : ", ") + std::string(type.name);
    }
    fail(YAPO_ERR_INVALID_ARGUMENT, "there is no quantization type \"%s\"; expected one of %s", name, known.c_str());
}

// Removes the file at the end unless it was renamed away.
struct temporary_file {
    fs::path path;
    ~temporary_file() {
        std::error_code ignored;
        if (!path.empty()) {
            fs::remove(path, ignored);
        }
    }
};

fs::path temporary_beside(const fs::path & destination) {
    static std::atomic<unsigned> counter{0};
    fs::path name = destination;
    name += ".tmp-" + std::to_string(yapo_getpid()) + "-" + std::to_string(counter++);
    return name;
}

void check_writable(const fs::path & file, const char * dst) {
    FILE * probe = ggml_fopen(file.u8string().c_str(), "wb");
    if (!probe) {
        const std::string reason = std::generic_category().message(errno);
        fail(YAPO_ERR_IO, "cannot write %s: %s (%s)", dst, reason.c_str(), file.u8string().c_str());
    }
    fclose(probe);
}

} // namespace
} // namespace yapo

extern "C" yapo_status yapo_model_quantize(const char * src, const char * dst, const char * type, int32_t n_threads, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        if (!src || !*src || !dst || !*dst || !type) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_model_quantize: src, dst and type must be given");
        }
        if (n_threads < 0 || n_threads > 512) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_model_quantize: n_threads is %d, expected 0 (all) to 512", n_threads);
        }
        const llama_ftype ftype = type_by_name(type);
        start_runtime();
        check_model_file(src);

        const fs::path  destination = fs::u8path(dst);
        std::error_code ignored;
        if (fs::equivalent(fs::u8path(src), destination, ignored)) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "cannot quantize %s onto itself: give another destination", src);
        }
        if (fs::is_directory(destination, ignored)) {
            fail(YAPO_ERR_IO, "cannot write %s: this is a directory, expected the name of a GGUF file", dst);
        }
        temporary_file temporary{temporary_beside(destination)};
        check_writable(temporary.path, dst);

        llama_model_quantize_params params = llama_model_quantize_default_params();
        params.ftype   = ftype;
        params.nthread = n_threads > 0 ? n_threads : static_cast<int32_t>(std::max(1u, std::thread::hardware_concurrency()));
        log_capture log;
        assert_scope asserts;
        if (llama_model_quantize(src, temporary.path.u8string().c_str(), &params) != 0) {
            const char * hint = log.contains("requantizing") ? " (quantize from an F32, F16 or BF16 model instead)" : "";
            throw failure(log.contains("iostream") || log.contains("write") ? YAPO_ERR_IO : YAPO_ERR_FORMAT,
                          std::string("cannot quantize ") + src + " to " + type + log.suffix() + hint);
        }
        std::error_code error;
        fs::rename(temporary.path, destination, error);
        if (error) {
            fail(YAPO_ERR_IO, "cannot rename %s to %s: %s", temporary.path.u8string().c_str(), dst, error.message().c_str());
        }
        temporary.path.clear();
    });
}
