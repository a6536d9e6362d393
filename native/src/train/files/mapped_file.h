// A file in the address space, read-only: pages come and go as they are touched, and are shared with whoever maps the same file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace yapo::train {

class mapped_file {
public:
    explicit mapped_file(const std::string & path); // YAPO_ERR_IO
    ~mapped_file();
    mapped_file(const mapped_file &)             = delete;
    mapped_file & operator=(const mapped_file &) = delete;

    void *   data() const { return data_; } // page-aligned
    uint64_t size() const { return size_; }
    // `bytes` from `offset`. YAPO_ERR_FORMAT where the file ends before.
    void * at(uint64_t offset, uint64_t bytes) const;

private:
    std::string path_;
    void *      data_ = nullptr;
    uint64_t    size_ = 0;
};

} // namespace yapo::train
