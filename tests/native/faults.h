// Failures that a healthy machine never shows: the engine, the disk or the system refuses one call on demand.
//
// The test program defines some functions of llama.cpp, ggml and libc itself (faults.cpp lists them). ELF looks a symbol up in the program first, so
// libyapo calls these; they hand every call on to the library that really has them, but for the one that a test has asked to fail.
// With glibc only: elsewhere a library is bound to the library that it was linked with, and the program is not asked.
#pragma once

#if defined(__linux__)
#  include <features.h>
#endif
#if defined(__GLIBC__)
#  define YAPO_TEST_FAULTS 1

#  include <cstdint>

namespace yapo_test {

// While it lives: the call of `function` that follows `skipped` successful ones fails, once, and returns `answer`
// (system calls: -1, or what says failure, with errno EIO). One at a time. `function`: a name in faults.cpp, else the test fails.
struct fault {
    explicit fault(const char * function, int skipped = 0, intptr_t answer = 0);
    ~fault();
    fault(const fault &) = delete;

    bool happened() const;
};

} // namespace yapo_test
#endif
