// What guard.h declares. Apart from the exports, so that tests of internals can link it.
#include "abi/guard.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace yapo {

std::atomic<int64_t> counted::live{0};

void fail(yapo_status status, const char * format, ...) {
    char buffer[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(buffer, sizeof buffer, format, args);
    va_end(args);
    throw failure(status, buffer);
}

yapo_status report(yapo_error ** err, yapo_status status, const std::string & message) noexcept {
    if (err) {
        try {
            *err = new yapo_error{status, message};
        } catch (...) {
            *err = nullptr;
        }
    }
    return status;
}

char * copy_string(const std::string & s) {
    char * out = static_cast<char *>(malloc(s.size() + 1));
    if (!out) {
        throw std::bad_alloc();
    }
    memcpy(out, s.c_str(), s.size() + 1);
    return out;
}

} // namespace yapo
