#include "model/assert_scope.h"

#include "ggml.h"

#include <cstdio>
#include <cstring>
#include <exception>
#include <mutex>
#include <stdexcept>

namespace yapo {
namespace {

thread_local int depth = 0;
ggml_abort_callback_t others = nullptr; // the host's own, set before ours

// The file name without its directory: the path is that of the build machine.
const char * without_directory(const char * message) {
    const char * name = message;
    for (const char * p = message; *p && *p != ':'; ++p) {
        if (*p == '/' || *p == '\\') {
            name = p + 1;
        }
    }
    return name;
}

void on_abort(const char * message) {
    // Not out of a computation: the other threads of its pool would wait for this one for ever. And not while another
    // exception unwinds: that would terminate anyway, with less to say.
    const bool computing = strstr(message, "ggml-cpu") != nullptr;
    if (depth > 0 && !computing && std::uncaught_exceptions() == 0) {
        throw std::runtime_error(without_directory(message));
    }
    if (others) {
        others(message);
        return;
    }
    fprintf(stderr, "yapo-llama: an internal check of ggml failed and cannot be recovered from: %s\n", message);
}

} // namespace

assert_scope::assert_scope() { ++depth; }
assert_scope::~assert_scope() { --depth; }

void install_assert_callback() {
    static std::once_flag once;
    std::call_once(once, [] { others = ggml_set_abort_callback(on_abort); });
}

} // namespace yapo
