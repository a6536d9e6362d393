// Memory: allocation, copies, fills.
#include "allocations.h"
#include "capture.h"
#include "../ptx.h"
#include "runtime.h"

#include <cstring>

using namespace cuda_emulator;

namespace {

constexpr size_t most_staged = 256 << 20;
size_t           staged      = 0; // bytes

// What a copy from pageable memory reads at the call, as the real runtime moves it into a buffer of its own.
struct stage {
    std::vector<char> bytes;
    explicit stage(size_t size) : bytes(size) { staged += size; }
    ~stage() { staged -= bytes.size(); }
    stage(const stage &) = delete;
};

struct block { // rows of `width` bytes, `pitch` apart
    char * first;
    size_t pitch;
};

struct copy {
    block  to, from;
    size_t width, height;
    bool   to_device, from_device;

    size_t extent(const block & b) const { return b.pitch * (height - 1) + width; }
    bool   empty() const { return width == 0 || height == 0; }
};

bool on_device(const void * p) {
    const place where = place_of(p);
    return where == place::device || where == place::managed;
}

// The directions that are said have to be those of the pointers. Managed and pinned memory may be either side.
copy checked(block to, block from, size_t width, size_t height, int kind) {
    must(kind >= 0 && kind <= static_cast<int>(copy_kind::by_address), invalid_memcpy_direction);
    copy c = {to, from, width, height, on_device(to.first), on_device(from.first)};
    if (c.empty()) {
        return c;
    }
    if (kind != static_cast<int>(copy_kind::by_address)) {
        const auto said = [](bool device, const block & b, bool & is) {
            must(device ? place_of(b.first) != place::pageable : place_of(b.first) != place::device);
            is = device;
        };
        said(kind == static_cast<int>(copy_kind::host_to_device) || kind == static_cast<int>(copy_kind::device_to_device), to, c.to_device);
        said(kind == static_cast<int>(copy_kind::device_to_host) || kind == static_cast<int>(copy_kind::device_to_device), from, c.from_device);
    }
    must(!c.to_device || accessible(to.first, c.extent(to)));
    must(!c.from_device || accessible(from.first, c.extent(from)));
    must(height == 1 || (to.pitch >= width && from.pitch >= width), invalid_pitch);
    return c;
}

void move(const copy & c) {
    if (c.to_device) {
        require(c.to.first, c.extent(c.to), "a copy's destination"); // again: it may be freed by now
    }
    if (c.from_device) {
        require(c.from.first, c.extent(c.from), "a copy's source");
    }
    for (size_t row = 0; row < c.height; row++) {
        std::memmove(c.to.first + row * c.to.pitch, c.from.first + row * c.from.pitch, c.width);
    }
    counts().bytes_to_device += c.to_device && !c.from_device ? c.width * c.height : 0;
    counts().bytes_to_host += c.from_device && !c.to_device ? c.width * c.height : 0;
}

operation moving(copy c, std::shared_ptr<stage> source = nullptr) {
    static const char directions[4] = {}; // their addresses stand for them in the comparison of graphs
    const char * direction = directions + 2 * c.to_device + c.from_device;
    return {operation::type::copy, direction, [c, source = std::move(source)] { move(c); }};
}

// From pageable memory to the device: what is there now.
operation moving_staged(copy c) {
    auto source = std::make_shared<stage>(c.width * c.height);
    for (size_t row = 0; row < c.height; row++) {
        std::memcpy(source->bytes.data() + row * c.width, c.from.first + row * c.from.pitch, c.width);
    }
    c.from = {source->bytes.data(), c.width};
    return moving(c, std::move(source));
}

void wait_for_end(const position & p) {
    ++counts().host_waits;
    run_until(p);
}

bool from_pageable(const copy & c) {
    return !c.from_device && place_of(c.from.first) == place::pageable;
}

bool to_pageable(const copy & c) {
    return !c.to_device && place_of(c.to.first) == place::pageable;
}

void copy_later(const copy & c, void * stream) {
    const auto s = stream_of(stream);
    if (c.empty()) {
        return;
    }
    if (s->capturing) { // a node reads and writes when the graph runs
        submit(*s, moving(c));
        return;
    }
    const position end = submit(*s, c.to_device && from_pageable(c) ? moving_staged(c) : moving(c));
    if (to_pageable(c) || !(c.to_device || c.from_device)) { // within the host a copy is never asynchronous
        wait_for_end(end);
    } else if (staged > most_staged) {
        run_until(end);
    }
}

// On the legacy default stream. The call is back early for copies inside of the device, and for those from pageable memory, once it was read.
void copy_now(const copy & c) {
    const auto s = stream_of(nullptr);
    refuse_unsafe();
    refuse_for_legacy(*s);
    if (c.empty()) {
        return;
    }
    if (c.to_device && c.from_device) {
        enqueue(*s, moving(c));
    } else if (c.to_device && from_pageable(c)) {
        wait_for_end(enqueue(*s, {}));
        const position end = enqueue(*s, moving_staged(c));
        if (staged > most_staged) {
            run_until(end);
        }
    } else {
        wait_for_end(enqueue(*s, moving(c)));
    }
}

void fill(void * to, int value, size_t bytes, void * stream) {
    const auto s = stream_of(stream);
    if (bytes == 0) {
        return;
    }
    must(place_of(to) != place::pageable && accessible(to, bytes));
    submit(*s, {operation::type::fill, nullptr, [=] {
        require(to, bytes, "a fill");
        std::memset(to, value, bytes);
    }});
}

void allocate_into(void ** out, size_t bytes, place where) {
    must(out != nullptr);
    *out = nullptr;
    refuse_unsafe();
    if (bytes == 0) {
        return;
    }
    *out = allocate(bytes, where);
    must(*out != nullptr, out_of_memory);
    counts().allocations += where != place::pinned;
}

block flat(const void * p) {
    return {static_cast<char *>(const_cast<void *>(p)), 0};
}

} // namespace

YAPO_CUDA_API cudaMalloc(void ** out, size_t bytes) {
    return call([&] { allocate_into(out, bytes, place::device); });
}

YAPO_CUDA_API cudaMallocManaged(void ** out, size_t bytes, unsigned) {
    return call([&] {
        must(bytes > 0);
        allocate_into(out, bytes, place::managed);
    });
}

YAPO_CUDA_API cudaHostAlloc(void ** out, size_t bytes, unsigned) {
    return call([&] { allocate_into(out, bytes, place::pinned); });
}

YAPO_CUDA_API cudaMallocHost(void ** out, size_t bytes) {
    return cudaHostAlloc(out, bytes, 0);
}

// Freeing waits for the device, as it does there.
YAPO_CUDA_API cudaFree(void * p) {
    return call([&] {
        if (p) {
            refuse_unsafe();
            run_everything();
            must(release(p, place::device) || release(p, place::managed));
        }
    });
}

YAPO_CUDA_API cudaFreeHost(void * p) {
    return call([&] {
        if (p) {
            refuse_unsafe();
            run_everything();
            must(release(p, place::pinned));
        }
    });
}

YAPO_CUDA_API cudaHostRegister(void * p, size_t bytes, unsigned) {
    return call([&] {
        must(p && bytes > 0);
        refuse_unsafe();
        must(pin(p, bytes), host_memory_registered);
    });
}

YAPO_CUDA_API cudaHostUnregister(void * p) {
    return call([&] {
        refuse_unsafe();
        run_everything();
        must(unpin(p), host_memory_not_registered);
    });
}

YAPO_CUDA_API cudaHostGetDevicePointer(void ** out, void * p, unsigned flags) {
    return call([&] {
        must(flags == 0 && place_of(p) == place::pinned);
        *out = p;
    });
}

YAPO_CUDA_API cudaMemGetInfo(size_t * free, size_t * total) {
    return call([&] {
        *free  = limits::memory - charged();
        *total = limits::memory;
    });
}

YAPO_CUDA_API cudaMemcpy(void * to, const void * from, size_t bytes, int kind) {
    return call([&] { copy_now(checked(flat(to), flat(from), bytes, 1, kind)); });
}

YAPO_CUDA_API cudaMemcpyAsync(void * to, const void * from, size_t bytes, int kind, void * stream) {
    return call([&] { copy_later(checked(flat(to), flat(from), bytes, 1, kind), stream); });
}

YAPO_CUDA_API cudaMemcpyPeerAsync(void * to, int to_device, const void * from, int from_device, size_t bytes, void * stream) {
    return call([&] {
        must(to_device == 0 && from_device == 0, invalid_device);
        copy_later(checked(flat(to), flat(from), bytes, 1, static_cast<int>(copy_kind::device_to_device)), stream);
    });
}

YAPO_CUDA_API cudaMemcpy2DAsync(void * to, size_t to_pitch, const void * from, size_t from_pitch, size_t width, size_t height, int kind, void * stream) {
    return call([&] {
        must(to_pitch <= limits::pitch && from_pitch <= limits::pitch && to_pitch >= width && from_pitch >= width, invalid_pitch);
        copy_later(checked({flat(to).first, to_pitch}, {flat(from).first, from_pitch}, width, height, kind), stream);
    });
}

YAPO_CUDA_API cudaMemcpy2D(void * to, size_t to_pitch, const void * from, size_t from_pitch, size_t width, size_t height, int kind) {
    return call([&] {
        must(to_pitch <= limits::pitch && from_pitch <= limits::pitch && to_pitch >= width && from_pitch >= width, invalid_pitch);
        copy_now(checked({flat(to).first, to_pitch}, {flat(from).first, from_pitch}, width, height, kind));
    });
}

// Not a wait: the fill itself runs later, on the legacy default stream.
YAPO_CUDA_API cudaMemset(void * to, int value, size_t bytes) {
    return call([&] {
        refuse_unsafe();
        fill(to, value, bytes, nullptr);
    });
}

YAPO_CUDA_API cudaMemsetAsync(void * to, int value, size_t bytes, void * stream) {
    return call([&] { fill(to, value, bytes, stream); });
}
