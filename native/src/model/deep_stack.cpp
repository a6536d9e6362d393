#include "model/deep_stack.h"

#include "abi/guard.h"

#include <exception>

#if defined(_WIN32)
#  define WIN32_LEAN_AND_MEAN
#  include <windows.h>
#else
#  include <pthread.h>
#endif

namespace yapo {
namespace {

struct task {
    const std::function<void()> * work;
    std::exception_ptr            error;

    void run() noexcept {
        try {
            (*work)();
        } catch (...) {
            error = std::current_exception();
        }
    }
};

#if defined(_WIN32)

DWORD WINAPI entry(void * argument) {
    static_cast<task *>(argument)->run();
    return 0;
}

bool run_on_thread(size_t bytes, task & t) {
    HANDLE thread = CreateThread(nullptr, bytes, entry, &t, STACK_SIZE_PARAM_IS_A_RESERVATION, nullptr);
    if (!thread) {
        return false;
    }
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
    return true;
}

#else

void * entry(void * argument) {
    static_cast<task *>(argument)->run();
    return nullptr;
}

bool run_on_thread(size_t bytes, task & t) {
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) {
        return false;
    }
    pthread_t  thread;
    const bool started = pthread_attr_setstacksize(&attributes, bytes) == 0 && pthread_create(&thread, &attributes, entry, &t) == 0;
    pthread_attr_destroy(&attributes);
    return started && pthread_join(thread, nullptr) == 0;
}

#endif

} // namespace

void with_stack(size_t bytes, const std::function<void()> & work) {
#if defined(__SANITIZE_ADDRESS__)
    bytes *= 8; // instrumented frames are as much larger
#endif
    constexpr size_t page = 65536;
    task t{&work, nullptr};
    if (!run_on_thread((bytes + page - 1) / page * page, t)) {
        fail(YAPO_ERR_OUT_OF_MEMORY, "the system gives no thread with a stack of %zu MiB", bytes >> 20);
    }
    if (t.error) {
        std::rethrow_exception(t.error);
    }
}

} // namespace yapo
