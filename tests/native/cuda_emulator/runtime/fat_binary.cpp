#include "fat_binary.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <stdexcept>

namespace cuda_emulator {
namespace {

constexpr uint32_t wrapper_magic = 0x466243b1, container_magic = 0xba55ed50;
constexpr uint16_t kind_ptx      = 1;
constexpr uint64_t flag_lz4 = 0x2000, flag_zstd = 0x8000;
constexpr uint64_t largest = uint64_t(1) << 30; // of a text; what claims more is damaged

[[noreturn]] void damaged(const char * what) {
    throw std::runtime_error(std::string("a damaged fat binary: ") + what);
}

// Bytes that may not be read beyond their end.
struct view {
    const char * data;
    size_t       size;

    template <class T> T at(size_t offset) const {
        if (offset > size || sizeof(T) > size - offset) {
            damaged("it ends early");
        }
        T value;
        std::memcpy(&value, data + offset, sizeof value);
        return value;
    }
    view part(size_t offset, size_t bytes) const {
        if (offset > size || bytes > size - offset) {
            damaged("a part of it lies beyond its end");
        }
        return {data + offset, bytes};
    }
};

size_t lz4_length(const view & from, size_t & at, size_t length) {
    if (length == 15) {
        uint8_t more;
        do {
            length += more = from.at<uint8_t>(at++);
        } while (more == 255);
    }
    return length;
}

// A block of LZ4: sequences of literals and a copy from what was written, the last one without the copy.
std::string lz4(const view & from, size_t size) {
    std::string to;
    to.reserve(size);
    for (size_t at = 0; at < from.size;) {
        const uint8_t token    = from.at<uint8_t>(at++);
        const size_t  literals = lz4_length(from, at, token >> 4);
        const view    text     = from.part(at, literals);
        to.append(text.data, text.size);
        at += literals;
        if (at == from.size) {
            break;
        }
        const uint16_t back = from.at<uint16_t>(at);
        at += 2;
        const size_t length = lz4_length(from, at, token & 15) + 4;
        if (back == 0 || back > to.size() || to.size() + length > size) {
            damaged("a copy in the compressed text is out of bounds");
        }
        for (size_t i = 0; i < length; i++) { // byte by byte: the copy may reach into what it writes
            to.push_back(to[to.size() - back]);
        }
    }
    if (to.size() != size) {
        damaged("the size of its text");
    }
    return to;
}

// Looked up at run time, so that building the emulator does not need the library's headers.
std::string zstd(const view & from, size_t size) {
    using decompress_fn = size_t (*)(void *, size_t, const void *, size_t);
    static const auto decompress = [] {
        void * library = dlopen("libzstd.so.1", RTLD_NOW | RTLD_LOCAL);
        return library ? reinterpret_cast<decompress_fn>(dlsym(library, "ZSTD_decompress")) : nullptr;
    }();
    if (!decompress) {
        throw std::runtime_error("the device code is compressed with zstd, and libzstd.so.1 is not installed");
    }
    std::string to(size, '\0');
    if (decompress(to.data(), to.size(), from.data, from.size) != size) {
        damaged("its text cannot be decompressed");
    }
    return to;
}

bool is_text(const char * data) {
    return std::strncmp(data, "//", 2) == 0 || std::strncmp(data, ".version", 8) == 0;
}

// The architecture of PTX that comes without a container: `.target sm_80`.
ptx_text plain(std::string text) {
    const size_t at = text.find(".target");
    const size_t sm = at == std::string::npos ? at : text.find("sm_", at);
    if (sm == std::string::npos) {
        damaged("its text names no target");
    }
    return {std::atoi(text.c_str() + sm + 3), std::move(text)};
}

std::vector<ptx_text> read_container(const view & whole) {
    const uint16_t header = whole.at<uint16_t>(6);
    const view     body   = whole.part(header, whole.at<uint64_t>(8));
    std::vector<ptx_text> found;
    for (size_t at = 0; at < body.size;) {
        const uint32_t entry_header = body.at<uint32_t>(at + 4);
        const uint64_t padded       = body.at<uint64_t>(at + 8);
        if (entry_header < 64) {
            damaged("the header of an entry is too short");
        }
        if (body.at<uint16_t>(at) == kind_ptx) {
            const uint64_t flags      = body.at<uint64_t>(at + 40);
            const bool     compressed = flags & (flag_lz4 | flag_zstd);
            const uint32_t used       = body.at<uint32_t>(at + 16);
            const uint64_t size       = body.at<uint64_t>(at + 56);
            const view     payload    = body.part(at + entry_header, compressed ? used : padded);
            if (size > largest) {
                damaged("the size of its text");
            }
            std::string text = flags & flag_zstd ? zstd(payload, size) : flags & flag_lz4 ? lz4(payload, size) : std::string(payload.data, payload.size);
            text.resize(std::strlen(text.c_str())); // NULs fill it up
            found.push_back({static_cast<int>(body.at<uint32_t>(at + 28)), std::move(text)});
        }
        body.part(at + entry_header, padded);
        at += entry_header + padded;
    }
    return found;
}

} // namespace

std::vector<ptx_text> read_fat_binary_data(const char * data, size_t bytes) {
    const view whole = {data, bytes};
    if (bytes >= 8 && is_text(data)) {
        return {plain(std::string(data, strnlen(data, bytes)))};
    }
    if (whole.at<uint32_t>(0) != container_magic) {
        damaged("it is neither a container nor PTX");
    }
    return read_container(whole);
}

std::vector<ptx_text> read_fat_binary(const void * wrapper) {
    struct {
        uint32_t     magic, version;
        const char * data;
    } w;
    std::memcpy(&w, wrapper, sizeof w);
    if (w.magic != wrapper_magic || !w.data) {
        damaged("its wrapper");
    }
    if (is_text(w.data)) {
        return {plain(w.data)};
    }
    const view start = {w.data, 16}; // which says how long the whole is
    if (start.at<uint32_t>(0) != container_magic) {
        damaged("it is neither a container nor PTX");
    }
    return read_fat_binary_data(w.data, start.at<uint16_t>(6) + start.at<uint64_t>(8));
}

} // namespace cuda_emulator
