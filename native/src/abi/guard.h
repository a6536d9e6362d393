// What every exported function is wrapped in: C++ exceptions become yapo_status + yapo_error, nothing crosses the C ABI.
#pragma once

#include "yapo.h"

#include <atomic>
#include <new>
#include <stdexcept>
#include <string>

struct yapo_error {
    yapo_status status;
    std::string message;
};

namespace yapo {

// Thrown anywhere inside libyapo; becomes the status and message of the yapo_error.
struct failure : std::runtime_error {
    yapo_status status;
    failure(yapo_status status, const std::string & message) : std::runtime_error(message), status(status) {}
};

// printf-style failure.
[[noreturn]] void fail(yapo_status status, const char * format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;

yapo_status report(yapo_error ** err, yapo_status status, const std::string & message) noexcept;

// Counts live handles: derive the opaque structs from it.
struct counted {
    counted() noexcept { ++live; }
    counted(const counted &) = delete;
    counted & operator=(const counted &) = delete;
    ~counted() { --live; }
    static std::atomic<int64_t> live;
};

// A heap copy for an out string (yapo_string_free).
char * copy_string(const std::string & s);

template <typename F>
yapo_status guard(yapo_error ** err, F && body) noexcept {
    try {
        body();
        return YAPO_OK;
    } catch (const failure & e) {
        return report(err, e.status, e.what());
    } catch (const std::bad_alloc &) {
        return report(err, YAPO_ERR_OUT_OF_MEMORY, "out of memory");
    } catch (const std::exception & e) {
        return report(err, YAPO_ERR_INTERNAL, e.what());
    } catch (...) {
        return report(err, YAPO_ERR_INTERNAL, "unknown C++ exception");
    }
}

} // namespace yapo
