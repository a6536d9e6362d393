// Threads over independent items. Which thread takes which item, and how many threads the system gives, is left to chance: nothing may depend on it.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace yapo::train {

// body(worker, i) for i in [0, n); rethrows the first exception after all threads have ended.
template <typename F>
void parallel(int32_t n_workers, int64_t n, F && body) {
    std::atomic<int64_t> next{0};
    std::exception_ptr   failed;
    std::mutex           lock;
    auto work = [&](int32_t worker) {
        try {
            for (int64_t i = next++; i < n; i = next++) {
                body(worker, i);
            }
        } catch (...) {
            std::lock_guard<std::mutex> hold(lock);
            if (!failed) {
                failed = std::current_exception();
            }
            next = n;
        }
    };
    const int32_t extra = static_cast<int32_t>(n < n_workers ? n : n_workers) - 1;
    std::vector<std::thread> threads;
    threads.reserve(static_cast<size_t>(extra > 0 ? extra : 0));
    try {
        for (int32_t w = 0; w < extra; ++w) {
            threads.emplace_back(work, w + 1);
        }
    } catch (const std::system_error &) {
        // no more threads: those that there are do it all
    }
    work(0);
    for (auto & t : threads) {
        t.join();
    }
    if (failed) {
        std::rethrow_exception(failed);
    }
}

} // namespace yapo::train
