// Errors, strings, versions: the part of yapo.h that belongs to no object.
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

extern "C" {

yapo_status  yapo_error_status (const yapo_error * err) { return err ? err->status : YAPO_OK; }
const char * yapo_error_message(const yapo_error * err) { return err ? err->message.c_str() : ""; }
void         yapo_error_free   (yapo_error * err)       { delete err; }
void         yapo_string_free  (char * s)               { free(s); }
uint32_t     yapo_abi_version(void)                     { return YAPO_ABI_VERSION; }
int64_t      yapo_live_handles(void)                    { return yapo::counted::live.load(); }

} // extern "C"
