// The driver interface: virtual memory. Addresses are reserved without access, and become memory where a handle is mapped with access.
#include "allocations.h"
#include "capture.h"
#include "runtime.h"

#include <cstring>
#include <map>
#include <sys/mman.h>

using namespace cuda_emulator;

namespace {

// What cuMemCreate gives: a size. It counts until it is released and nowhere mapped.
struct physical {
    size_t bytes;
    bool   released = false;
    int    mappings = 0;
};

struct mapping {
    size_t                    bytes;
    std::shared_ptr<physical> of;
    bool                      access = false;
};

struct state {
    std::map<uint64_t, std::shared_ptr<physical>> handles;
    std::map<uintptr_t, size_t>                   reserved;
    std::map<uintptr_t, mapping>                  mapped;
    uint64_t                                      next = 1;
};

state & all() {
    static state * const s = new state; // never destroyed: programs unmap late
    return *s;
}

constexpr int location_device = 1, read_and_write = 3, pinned = 1;

struct location {
    int type, id;
};

struct allocation_properties { // CUmemAllocationProp
    int      type, handle_types;
    location where;
    void *   windows;
    uint64_t flags;
};
static_assert(sizeof(allocation_properties) == 32);

struct access_rule { // CUmemAccessDesc
    location where;
    int      flags;
};

bool whole(size_t bytes) {
    return bytes > 0 && bytes % limits::granularity == 0;
}

void * address(uint64_t p) {
    return reinterpret_cast<void *>(p);
}

void drop(physical & p) {
    if (p.released && p.mappings == 0) {
        discharge(p.bytes);
    }
}

// Whether [p, p + bytes) lies in one reservation.
bool in_reservation(uint64_t p, size_t bytes) {
    auto next = all().reserved.upper_bound(p);
    if (next == all().reserved.begin()) {
        return false;
    }
    --next;
    return p + bytes <= next->first + next->second;
}

// Calls `f` for the mappings that make up [p, p + bytes), each whole.
template <class F> void for_mappings(uint64_t p, size_t bytes, F && f) {
    for (uint64_t at = p; at < p + bytes;) {
        const auto found = all().mapped.find(at);
        must(found != all().mapped.end() && found->second.bytes <= p + bytes - at);
        at += found->second.bytes;
    }
    for (auto m = all().mapped.find(p); m != all().mapped.end() && m->first < p + bytes;) {
        const auto next = std::next(m);
        f(m);
        m = next;
    }
}

void map_pages(void * first, size_t bytes, int protection, int flags) {
    must(mmap(first, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0) != MAP_FAILED, out_of_memory);
}

} // namespace

YAPO_CUDA_API cuInit(unsigned) {
    return success;
}

YAPO_CUDA_API cuDeviceGet(int * out, int ordinal) {
    return call([&] {
        must(ordinal == 0, invalid_device);
        *out = 0;
    });
}

YAPO_CUDA_API cudaDeviceGetAttribute(int * out, int which, int device);

YAPO_CUDA_API cuDeviceGetAttribute(int * out, int which, int device) { // the numbers are the runtime's
    return cudaDeviceGetAttribute(out, which, device);
}

YAPO_CUDA_API cuGetErrorString(int status, const char ** out) {
    *out = describe(status);
    return success;
}

YAPO_CUDA_API cuMemGetAllocationGranularity(size_t * out, const allocation_properties * p, int) {
    return call([&] {
        must(out && p && p->type == pinned && p->where.type == location_device, invalid_value);
        *out = limits::granularity;
    });
}

YAPO_CUDA_API cuMemAddressReserve(uint64_t * out, size_t bytes, size_t, uint64_t, unsigned long long) {
    return call([&] {
        must(whole(bytes));
        // Larger by a granule, so that a start that is a multiple of it can be cut out.
        const size_t more = bytes + limits::granularity;
        void * const got  = mmap(nullptr, more, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        must(got != MAP_FAILED, out_of_memory);
        const uintptr_t first = (reinterpret_cast<uintptr_t>(got) + limits::granularity - 1) / limits::granularity * limits::granularity;
        const size_t    front = first - reinterpret_cast<uintptr_t>(got);
        if (front > 0) {
            munmap(got, front);
        }
        if (const size_t back = limits::granularity - front; back > 0) {
            munmap(address(first + bytes), back);
        }
        all().reserved[first] = bytes;
        *out = first;
    });
}

YAPO_CUDA_API cuMemAddressFree(uint64_t p, size_t bytes) {
    return call([&] {
        const auto found = all().reserved.find(p);
        must(found != all().reserved.end() && found->second == bytes);
        const auto inside = all().mapped.lower_bound(p);
        must(inside == all().mapped.end() || inside->first >= p + bytes);
        all().reserved.erase(found);
        munmap(address(p), bytes);
    });
}

YAPO_CUDA_API cuMemCreate(uint64_t * out, size_t bytes, const allocation_properties * p, unsigned long long) {
    return call([&] {
        must(p && p->type == pinned && p->where.type == location_device && p->where.id == 0 && whole(bytes));
        refuse_unsafe();
        must(charge(bytes), out_of_memory);
        ++counts().allocations;
        all().handles[*out = all().next++] = std::make_shared<physical>(physical{bytes});
    });
}

YAPO_CUDA_API cuMemRelease(uint64_t handle) {
    return call([&] {
        const auto found = all().handles.find(handle);
        must(found != all().handles.end());
        found->second->released = true;
        drop(*found->second);
        all().handles.erase(found);
    });
}

// Of a handle only the whole can be mapped, and once: nothing here needs the same memory at two addresses.
YAPO_CUDA_API cuMemMap(uint64_t p, size_t bytes, size_t offset, uint64_t handle, unsigned long long) {
    return call([&] {
        const auto found = all().handles.find(handle);
        must(found != all().handles.end() && p % limits::granularity == 0 && in_reservation(p, bytes));
        must(offset == 0 && bytes == found->second->bytes && found->second->mappings == 0, not_supported);
        const auto next = all().mapped.lower_bound(p);
        must(next == all().mapped.end() || next->first >= p + bytes);
        must(next == all().mapped.begin() || std::prev(next)->first + std::prev(next)->second.bytes <= p);
        ++found->second->mappings;
        all().mapped[p] = {bytes, found->second};
    });
}

YAPO_CUDA_API cuMemSetAccess(uint64_t p, size_t bytes, const access_rule * what, size_t count) {
    return call([&] {
        must(count == 1 && what->where.type == location_device && what->where.id == 0 && what->flags == read_and_write, not_supported);
        for_mappings(p, bytes, [](auto m) {
            if (!m->second.access) {
                must(mprotect(address(m->first), m->second.bytes, PROT_READ | PROT_WRITE) == 0, out_of_memory);
                std::memset(address(m->first), 0xff, m->second.bytes);
                add_mapped(address(m->first), m->second.bytes);
                m->second.access = true;
            }
        });
    });
}

YAPO_CUDA_API cuMemUnmap(uint64_t p, size_t bytes) {
    return call([&] {
        run_everything(); // "exhibits synchronous behavior", says the documentation
        for_mappings(p, bytes, [](auto m) {
            if (m->second.access) {
                remove_mapped(address(m->first));
            }
            map_pages(address(m->first), m->second.bytes, PROT_NONE, MAP_FIXED); // the pages go back, the addresses stay
            --m->second.of->mappings;
            drop(*m->second.of);
            all().mapped.erase(m);
        });
    });
}
