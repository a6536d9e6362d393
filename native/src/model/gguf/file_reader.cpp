#include "model/gguf/file_reader.h"

#include "abi/guard.h"
#include "ggml.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace yapo {
namespace {

constexpr size_t buffer_bytes = 1 << 18;

int seek_to(FILE * file, uint64_t position) {
#if defined(_WIN32)
    return _fseeki64(file, static_cast<int64_t>(position), SEEK_SET);
#else
    return fseeko(file, static_cast<off_t>(position), SEEK_SET);
#endif
}

} // namespace

file_reader::file_reader(const std::string & path) : name(path), buffer(buffer_bytes) {
    std::error_code error;
    length = std::filesystem::file_size(std::filesystem::u8path(path), error);
    if (error) {
        fail(YAPO_ERR_IO, "%s: %s", path.c_str(), error.message().c_str());
    }
    file.reset(ggml_fopen(path.c_str(), "rb")); // takes UTF-8 on Windows too
    if (!file) {
        fail(YAPO_ERR_IO, "%s: cannot be opened for reading: %s", path.c_str(), std::generic_category().message(errno).c_str());
    }
}

void file_reader::need(uint64_t bytes, const char * what) const {
    if (bytes > left()) {
        fail(YAPO_ERR_FORMAT, "%s: the file ends at byte %llu inside %s, which needs %llu bytes from byte %llu on; is the download complete?", name.c_str(),
             static_cast<unsigned long long>(length), what, static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(at));
    }
}

void file_reader::fill() {
    buffered = fread(buffer.data(), 1, buffer.size(), file.get());
    used     = 0;
    if (buffered == 0) {
        fail(YAPO_ERR_IO, "%s: reading failed at byte %llu of %llu", name.c_str(), static_cast<unsigned long long>(at), static_cast<unsigned long long>(length));
    }
}

void file_reader::read(void * out, size_t bytes, const char * what) {
    need(bytes, what);
    unsigned char * target = static_cast<unsigned char *>(out);
    while (bytes > 0) {
        if (used == buffered) {
            fill();
        }
        const size_t n = std::min(bytes, buffered - used);
        memcpy(target, buffer.data() + used, n);
        target += n;
        used += n;
        at += n;
        bytes -= n;
    }
}

void file_reader::skip(uint64_t bytes, const char * what) {
    need(bytes, what);
    if (bytes <= buffered - used) {
        used += static_cast<size_t>(bytes);
        at += bytes;
    } else {
        seek(at + bytes);
    }
}

void file_reader::seek(uint64_t position) {
    if (position > length || seek_to(file.get(), position) != 0) {
        fail(YAPO_ERR_IO, "%s: cannot go to byte %llu", name.c_str(), static_cast<unsigned long long>(position));
    }
    at       = position;
    buffered = used = 0;
}

uint32_t file_reader::u32(const char * what) {
    unsigned char b[4];
    read(b, sizeof b, what);
    return static_cast<uint32_t>(b[0]) | static_cast<uint32_t>(b[1]) << 8 | static_cast<uint32_t>(b[2]) << 16 | static_cast<uint32_t>(b[3]) << 24;
}

uint64_t file_reader::u64(const char * what) {
    const uint64_t low = u32(what);
    return low | static_cast<uint64_t>(u32(what)) << 32;
}

std::string file_reader::text(uint64_t limit, const char * what) {
    const uint64_t bytes = u64(what);
    if (bytes > limit) {
        fail(YAPO_ERR_FORMAT, "%s: %s at byte %llu has a length of %llu bytes, expected at most %llu", name.c_str(), what,
             static_cast<unsigned long long>(at - 8), static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(limit));
    }
    need(bytes, what);
    std::string out(static_cast<size_t>(bytes), '\0');
    read(&out[0], out.size(), what);
    return out;
}

} // namespace yapo
