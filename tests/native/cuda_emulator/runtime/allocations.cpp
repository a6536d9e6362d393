#include "allocations.h"

#include "api.h"
#include "../memory.h"
#include "../ptx.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

namespace cuda_emulator {
namespace {

struct allocation {
    size_t bytes;
    place  where;
    bool   ours; // not memory of the program that was registered, or virtual memory
};

std::map<uintptr_t, allocation> & allocations() {
    static auto * const all = new std::map<uintptr_t, allocation>; // never destroyed: programs free late
    return *all;
}

size_t used = 0;

constexpr size_t alignment = 512; // as cudaMalloc's in practice; the documentation promises 256

uintptr_t number(const void * p) {
    return reinterpret_cast<uintptr_t>(p);
}

void add(void * first, size_t bytes, place where, bool ours) {
    allocations()[number(first)] = {bytes, where, ours};
    allow(first, bytes);
}

void remove(void * first) {
    allocations().erase(number(first));
    forbid(first);
}

bool on_device(place where) {
    return where == place::device || where == place::managed;
}

} // namespace

bool charge(size_t bytes) {
    if (bytes > limits::memory - used) {
        return false;
    }
    used += bytes;
    return true;
}

void discharge(size_t bytes) {
    used -= bytes;
}

size_t charged() {
    return used;
}

void * allocate(size_t bytes, place where) {
    if (bytes > limits::memory || (on_device(where) && !charge(bytes))) {
        return nullptr;
    }
    void * const first = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    if (!first) {
        if (on_device(where)) {
            discharge(bytes);
        }
        return nullptr;
    }
    std::memset(first, 0xff, bytes);
    add(first, bytes, where, true);
    return first;
}

bool release(void * first, place where) {
    const auto found = allocations().find(number(first));
    if (found == allocations().end() || !found->second.ours || found->second.where != where) {
        return false;
    }
    if (on_device(where)) {
        discharge(found->second.bytes);
    }
    remove(first);
    std::free(first);
    return true;
}

bool pin(void * first, size_t bytes) {
    if (place_of(first) != place::pageable || place_of(static_cast<char *>(first) + bytes - 1) != place::pageable) {
        return false;
    }
    add(first, bytes, place::pinned, false);
    return true;
}

bool unpin(void * first) {
    const auto found = allocations().find(number(first));
    if (found == allocations().end() || found->second.ours || found->second.where != place::pinned) {
        return false;
    }
    remove(first);
    return true;
}

void add_mapped(void * first, size_t bytes) {
    add(first, bytes, place::device, false);
}

void remove_mapped(void * first) {
    remove(first);
}

place place_of(const void * address) {
    auto next = allocations().upper_bound(number(address));
    if (next == allocations().begin()) {
        return place::pageable;
    }
    --next;
    return number(address) - next->first < next->second.bytes ? next->second.where : place::pageable;
}

bool accessible(const void * first, size_t bytes) {
    uintptr_t at = number(first);
    for (const uintptr_t end = at + bytes; at < end;) {
        const range r = range_of(at);
        if (r.end == 0) {
            return false;
        }
        at = r.end;
    }
    return true;
}

void require(const void * first, size_t bytes, const char * operation) {
    if (!accessible(first, bytes)) {
        char text[160];
        snprintf(text, sizeof text, "%s: %zu bytes at %p are not all memory of the device", operation, bytes, first);
        throw device_fault(text);
    }
}

} // namespace cuda_emulator
