// Backend start-up and the log. llama.cpp has one log callback for the process; ours is installed before anything else
// runs, cuts the stream into whole lines and hands each line to the capture of its thread and to the user's callback.
#include "model/runtime.h"

#include "abi/guard.h"
#include "ggml-backend.h"
#include "llama.h"
#include "model/assert_scope.h"

#include <cstdlib>
#include <mutex>

namespace yapo {
namespace {

constexpr size_t max_captured_bytes = 4096; // enough for the chain of "error loading model: ..." lines
constexpr size_t max_line_bytes     = 4096;

// Recursive, because a callback may call back into the library (yapo_log_set included).
std::recursive_mutex sink_mutex;
yapo_log_callback    sink      = nullptr;
void *               sink_user = nullptr;

thread_local log_capture * innermost = nullptr;

struct pending_line {
    std::string    text;
    ggml_log_level level = GGML_LOG_LEVEL_INFO;
};
thread_local pending_line pending;

int32_t yapo_level(ggml_log_level level) {
    switch (level) {
        case GGML_LOG_LEVEL_DEBUG: return 0;
        case GGML_LOG_LEVEL_WARN:  return 2;
        case GGML_LOG_LEVEL_ERROR: return 3;
        default:                   return 1;
    }
}

void deliver(pending_line & line) {
    if (line.text.empty()) {
        return;
    }
    std::string text;
    text.swap(line.text);
    if (innermost && line.level >= GGML_LOG_LEVEL_WARN) {
        innermost->add(text.c_str());
    }
    std::lock_guard<std::recursive_mutex> lock(sink_mutex);
    if (sink) {
        sink(yapo_level(line.level), text.c_str(), sink_user);
    }
}

void on_log(ggml_log_level level, const char * text, void *) {
    try {
        if (level != GGML_LOG_LEVEL_CONT) {
            deliver(pending); // a line that was never ended
            pending.level = level;
        }
        for (const char * p = text; *p; ++p) {
            if (*p == '\n') {
                deliver(pending);
            } else if (pending.text.size() < max_line_bytes) {
                pending.text += *p;
            }
        }
    } catch (...) {
        // out of memory while logging: losing the line is all that can be done
    }
}

// A backend that others built as a plug-in of ggml, named by ggml's own variable. Said and not ignored where it cannot be had.
void load_plug_in() {
    const char * path = std::getenv("GGML_BACKEND_PATH");
    if (!path || !*path) {
        return;
    }
    log_capture log;
    if (!ggml_backend_load(path)) {
        fail(YAPO_ERR_UNSUPPORTED, "GGML_BACKEND_PATH=%s cannot be loaded%s. Expected a backend of llama.cpp " YAPO_LLAMA_CPP_VERSION " built as a plug-in, such as libggml-vulkan.so; unset the variable to do without",
             path, log.suffix().c_str());
    }
}

} // namespace

void start_runtime() {
    static std::once_flag once;
    std::call_once(once, [] {
        llama_log_set(on_log, nullptr);
        install_assert_callback();
        llama_backend_init();
        load_plug_in();
    });
}

log_capture::log_capture() : outer(innermost) {
    innermost = this;
}

log_capture::~log_capture() {
    innermost = outer;
}

void log_capture::add(const char * line) {
    if (lines.size() < max_captured_bytes) {
        lines += lines.empty() ? "" : "; ";
        lines += line;
    }
}

std::string log_capture::suffix() const {
    return lines.empty() ? "" : ": " + lines;
}

} // namespace yapo

extern "C" void yapo_log_set(yapo_log_callback callback, void * user) {
    std::lock_guard<std::recursive_mutex> lock(yapo::sink_mutex);
    yapo::sink      = callback;
    yapo::sink_user = user;
}
