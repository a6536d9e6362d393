#include "train/files/mapped_file.h"

#include "abi/guard.h"

#include <cerrno>
#include <system_error>

#if defined(_WIN32)
#include <filesystem>
#define NOMINMAX
#include <windows.h>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace yapo::train {

namespace {

[[noreturn]] void fail_to_map(const std::string & path, int code) {
    fail(YAPO_ERR_IO, "%s: cannot be mapped into memory: %s", path.c_str(), std::system_category().message(code).c_str());
}

} // namespace

#if defined(_WIN32)

mapped_file::mapped_file(const std::string & path) : path_(path) {
    const auto   wide = std::filesystem::u8path(path).wstring();
    const HANDLE file = CreateFileW(wide.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, 0, nullptr);
    if (file == INVALID_HANDLE_VALUE) {
        fail_to_map(path, static_cast<int>(GetLastError()));
    }
    LARGE_INTEGER length;
    const bool    sized   = GetFileSizeEx(file, &length);
    const HANDLE  mapping = sized ? CreateFileMappingW(file, nullptr, PAGE_READONLY, 0, 0, nullptr) : nullptr;
    data_                 = mapping ? MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0) : nullptr;
    const int code        = static_cast<int>(GetLastError());
    if (mapping) {
        CloseHandle(mapping);
    }
    CloseHandle(file);
    if (!data_) {
        fail_to_map(path, code);
    }
    size_ = static_cast<uint64_t>(length.QuadPart);
}

mapped_file::~mapped_file() { UnmapViewOfFile(data_); }

#else

mapped_file::mapped_file(const std::string & path) : path_(path) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        fail_to_map(path, errno);
    }
    struct stat info = {};
    data_ = fstat(file, &info) == 0 && info.st_size > 0 ? mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_SHARED, file, 0) : MAP_FAILED;
    const int code = errno;
    close(file); // the mapping keeps the file
    if (data_ == MAP_FAILED) {
        fail_to_map(path, code);
    }
    size_ = static_cast<uint64_t>(info.st_size);
}

mapped_file::~mapped_file() { munmap(data_, static_cast<size_t>(size_)); }

#endif

void * mapped_file::at(uint64_t offset, uint64_t bytes) const {
    if (offset > size_ || bytes > size_ - offset) {
        fail(YAPO_ERR_FORMAT, "%s: ends at byte %llu, %llu bytes from byte %llu on are needed; is the download complete?", path_.c_str(), static_cast<unsigned long long>(size_),
             static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(offset));
    }
    return static_cast<char *>(data_) + offset;
}

} // namespace yapo::train
