// Sequential reading of a little-endian file that never goes past its end and never allocates by a size it was told.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace yapo {

class file_reader {
public:
    // Fails (YAPO_ERR_IO) where the file cannot be opened.
    explicit file_reader(const std::string & path);

    const std::string & path() const { return name; }
    uint64_t            size() const { return length; }
    uint64_t            position() const { return at; }
    uint64_t            left() const { return length - at; }

    // Each fails (YAPO_ERR_FORMAT) at the end of the file, naming `what` was being read.
    void     read(void * out, size_t bytes, const char * what);
    void     skip(uint64_t bytes, const char * what);
    uint32_t u32(const char * what);
    uint64_t u64(const char * what);
    void     seek(uint64_t position); // <= size()

    // A uint64 length and as many bytes, at most `limit`.
    std::string text(uint64_t limit, const char * what);

private:
    struct closer {
        void operator()(FILE * file) const { fclose(file); }
    };
    void fill();
    void need(uint64_t bytes, const char * what) const;

    std::string                   name;
    std::unique_ptr<FILE, closer> file;
    std::vector<unsigned char>    buffer;
    size_t                        buffered = 0; // bytes of buffer that hold the file
    size_t                        used     = 0; // of those, already consumed
    uint64_t                      at       = 0;
    uint64_t                      length   = 0;
};

} // namespace yapo
