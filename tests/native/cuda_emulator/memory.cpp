#include "memory.h"

#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <shared_mutex>

namespace cuda_emulator {
namespace {

// Never destroyed: programs free device memory from the destructors of their own static objects.
struct table {
    std::shared_mutex               lock;
    std::map<uintptr_t, uintptr_t>  ends; // by first address
    std::atomic<uint64_t>           generation{1}; // rises with every change, so that what threads remember ends
};

table & ranges() {
    static table * const t = new table;
    return *t;
}

// The ranges a thread found last: a kernel goes to and fro between a few buffers.
struct memo {
    std::array<range, 8> found      = {};
    size_t               oldest     = 0;
    uint64_t             generation = 0;
};

} // namespace

void allow(const void * first, size_t bytes) {
    table & t = ranges();
    const std::unique_lock lock(t.lock);
    t.ends[reinterpret_cast<uintptr_t>(first)] = reinterpret_cast<uintptr_t>(first) + bytes;
    ++t.generation;
}

void forbid(const void * first) {
    table & t = ranges();
    const std::unique_lock lock(t.lock);
    t.ends.erase(reinterpret_cast<uintptr_t>(first));
    ++t.generation;
}

range range_of(uintptr_t address) {
    table & t = ranges();
    thread_local memo known;
    if (const uint64_t now = t.generation.load(std::memory_order_acquire); known.generation != now) {
        known            = {};
        known.generation = now;
    }
    for (const range & r : known.found) {
        if (address - r.first < r.end - r.first) {
            return r;
        }
    }
    const std::shared_lock lock(t.lock);
    auto next = t.ends.upper_bound(address);
    if (next == t.ends.begin() || (--next)->second <= address) {
        return {};
    }
    const range r = {next->first, next->second};
    known.found[known.oldest] = r;
    known.oldest              = (known.oldest + 1) % known.found.size();
    return r;
}

} // namespace cuda_emulator
