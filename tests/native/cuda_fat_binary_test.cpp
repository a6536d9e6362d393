// The containers that device code comes in, as the emulated CUDA runtime reads them: built here, with machine code, several architectures and the
// compressions that NVIDIA's compilers choose from; then cut short and damaged, at the end of a page, behind which a read ends the process.
#include "cuda_runtime.h"
#include "random_model.h"

#include <algorithm>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

using namespace yapo_test;
using namespace yapo_test::cuda_runtime;

namespace {

constexpr size_t container_header = 16, entry_header = 64, size_at = 56; // bytes; of the uncompressed size in an entry
constexpr uint64_t lz4 = 0x2000, zstd = 0x8000;

template <class T> void put(std::string & to, size_t at, T value) { memcpy(&to[at], &value, sizeof value); }

// A block of LZ4 for text that begins with the same letter 40 times: that one, a copy of 39 that reads what it writes, and the rest as it is.
std::string lz4_of(const std::string & text) {
    const std::string rest = text.substr(40);
    std::string to = {char(1 << 4 | 15), text[0], 1, 0, char(39 - 4 - 15), char(15 << 4)};
    size_t length = rest.size() - 15;
    for (; length >= 255; length -= 255) to += char(255);
    return to + char(length) + rest;
}

// A frame of zstd that names its size, with one uncompressed block.
std::string zstd_of(const std::string & text) {
    std::string to(12, '\0');
    put<uint32_t>(to, 0, 0xFD2FB528);
    to[4] = char(0xA0);
    put<uint32_t>(to, 5, uint32_t(text.size()));
    put<uint16_t>(to, 9, uint16_t(1 | text.size() << 3));
    to[11] = char(text.size() >> 13);
    return to + text;
}

std::string entry(uint16_t kind, uint32_t arch, uint64_t flags, const std::string & payload, uint64_t size) {
    std::string to(entry_header, '\0');
    const size_t padded = (payload.size() + 7) / 8 * 8;
    put<uint16_t>(to, 0, kind);
    put<uint16_t>(to, 2, 0x0101);
    put<uint32_t>(to, 4, entry_header);
    put<uint64_t>(to, 8, padded);
    put<uint32_t>(to, 16, uint32_t(payload.size()));
    put<uint32_t>(to, 28, arch);
    put<uint64_t>(to, 40, flags | 0x11); // 64 bit, Linux
    put<uint64_t>(to, size_at, flags & (lz4 | zstd) ? size : 0);
    to += payload;
    to.resize(entry_header + padded);
    return to;
}

std::string ptx_entry(int arch, uint64_t flags) {
    const std::string text = std::string(40, '\n') + ptx(arch, arch);
    return entry(1, uint32_t(arch), flags, flags == lz4 ? lz4_of(text) : flags == zstd ? zstd_of(text) : text, text.size());
}

std::string container(const std::string & entries) {
    std::string to(container_header, '\0');
    put<uint32_t>(to, 0, 0xBA55ED50);
    put<uint16_t>(to, 4, 1);
    put<uint16_t>(to, 6, container_header);
    put<uint64_t>(to, 8, entries.size());
    return to + entries;
}

// Bytes whose last one is the last that may be read.
class guarded {
  public:
    guarded() {
        const size_t page = size_t(sysconf(_SC_PAGESIZE));
        auto * const first = static_cast<char *>(mmap(nullptr, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        CHECK(first != MAP_FAILED && mprotect(first + room, page, PROT_NONE) == 0);
        end_ = first + room;
    }
    const char * hold(const std::string & bytes) {
        CHECK(bytes.size() <= room);
        return static_cast<const char *>(memcpy(end_ - bytes.size(), bytes.data(), bytes.size()));
    }

  private:
    static constexpr size_t room = 1 << 16;
    char * end_;
};

struct reader {
    device  d;
    guarded at;

    // What a launch of its kernel says. It is queued on t, for which nobody waits: damaged code might do anything.
    int status(const std::string & image) {
        const device_code code(at.hold(image));
        uint64_t room[512] = {}; // for parameters that are not the kernel's
        void *   arguments[16];
        std::fill_n(arguments, 16, static_cast<void *>(room));
        return __cudaLaunchKernel(code.plus, {}, {}, arguments, 0, d.t);
    }
    // What its kernel makes of 1000, the architecture of the chosen code added; 0 where it cannot be launched.
    uint32_t chosen(const std::string & image) {
        const device_code code(at.hold(image));
        d.set(1000);
        if (code.launch(code.plus, d.memory, 0, d.s) != 0) return 0;
        d.wait(d.s);
        return d.now() - 1000;
    }
};

constexpr int no_image = 209, bad_ptx = 218;

} // namespace

YAPO_TEST(CudaRuntime_FatBinaries_AreRead_TheHighestArchitectureIsChosen) {
    reader r;
    const std::string machine = entry(2, 80, 0, std::string(100, '\x7f'), 100);
    for (const uint64_t flags : {uint64_t(0), lz4, zstd}) {
        const auto code = [&](int arch) { return ptx_entry(arch, flags); };
        CHECK_EQ(r.chosen(container(code(75) + code(80))), 80u);
        CHECK_EQ(r.chosen(container(code(80) + machine + code(75))), 80u);
        CHECK_EQ(r.chosen(container(machine + code(61) + code(90) + code(75))), 75u);
        CHECK_EQ(r.status(container(machine + code(90))), no_image); // for another device
    }
    CHECK_EQ(r.status(container(machine)), no_image);
    CHECK_EQ(r.status(container("")), no_image);
    CHECK_EQ(r.chosen(ptx(80, 80) + '\0'), 80u); // without a container, as clang may leave it
}

YAPO_TEST(CudaRuntime_FatBinaries_Truncated_AreRefused) {
    reader r;
    int refused = 0;
    for (const uint64_t flags : {uint64_t(0), lz4, zstd}) {
        const std::string first = entry(2, 80, 0, std::string(100, '\x7f'), 100) + ptx_entry(90, flags), whole = first + ptx_entry(75, flags);
        for (size_t length = 0; length < whole.size(); ++length) {
            const std::string cut = container(whole.substr(0, length)); // which claims no more than there is
            const bool between = length == 0 || length == first.size() || length == entry_header + 104;
            const int  want = between ? no_image : bad_ptx, status = r.status(cut);
            CHECK_MSG(status == want, "%zu of %zu bytes of entries, flags 0x%llx: %d, expected %d", length, whole.size(), (unsigned long long) flags, status, want);
            refused += !between;
        }
        CHECK_EQ(r.chosen(container(whole)), 75u);
    }
    note("%d refused", refused);
}

YAPO_TEST(CudaRuntime_FatBinaries_Damaged_NeverEndTheProcess) {
    reader r;
    random_source rng(11);
    std::vector<std::string> intact;
    for (const uint64_t flags : {uint64_t(0), lz4, zstd}) intact.push_back(container(ptx_entry(80, flags)));
    const auto byte = [&] { return char(rng.below(256)); };
    for (const uint64_t flags : {lz4, zstd, lz4 | zstd}) { // claims to be compressed, and is noise
        for (int n = 0; n < 200; ++n) {
            std::string noise(size_t(1 + rng.below(600)), '\0');
            std::generate(noise.begin(), noise.end(), byte);
            CHECK_EQ(r.status(container(entry(1, 80, flags, noise, uint64_t(1 + rng.below(4000))))), bad_ptx);
        }
    }
    CHECK_EQ(r.status(container(entry(1, 80, zstd, zstd_of(ptx()), uint64_t(1) << 40))), bad_ptx); // not an attempt to allocate it
    const std::string text = std::string(40, '\n') + ptx();
    const auto sized = [&](const std::string & block, size_t more) { return r.status(container(entry(1, 80, lz4, block, text.size() + more))); };
    CHECK_EQ(sized(lz4_of(text), 0), 0);
    for (const size_t more : {size_t(1), ~size_t(0)}) CHECK_EQ(sized(lz4_of(text), more), bad_ptx);
    for (const char back : {0, 2}) { // a copy from nowhere, and one from before the beginning
        std::string block = lz4_of(text);
        block[2] = back;
        CHECK_EQ(sized(block, 0), bad_ptx);
    }

    int launched = 0, refused = 0;
    for (int n = 0; n < 3000; ++n) {
        std::string image = intact[size_t(n) % intact.size()];
        for (int changes = 1 + rng.below(4); changes > 0; --changes) {
            size_t at = size_t(rng.below(int32_t(rng.below(2) ? image.size() : container_header + entry_header)));
            if (at >= 6 && at < container_header) at = 0; // its length, which nothing else tells
            image[at] = byte();
            if (at == container_header + size_at + 3) image[at] |= 0x40; // beyond 1 GiB, or it would be allocated
        }
        const int status = r.status(image);
        CHECK_MSG(status == 0 || status == no_image || status == bad_ptx || status == 98 || status == 801, "%d in case %d", status, n);
        (status == 0 ? launched : refused) += 1;
    }
    note("%d launched, %d refused", launched, refused);
    CHECK(launched > 100 && refused > 1000);
    for (const std::string & image : intact) CHECK_EQ(r.chosen(image), 80u);
}
