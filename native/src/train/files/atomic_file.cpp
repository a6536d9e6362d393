#include "train/files/atomic_file.h"

#include "abi/guard.h"
#include "ggml.h"

#include <cerrno>
#include <cstring>
#include <filesystem>

#if defined(_WIN32)
#  include <io.h>
#  include <process.h>
#else
#  include <unistd.h>
#endif

namespace yapo::train {

namespace {

bool flush_to_disk(FILE * file) {
    if (fflush(file) != 0) {
        return false;
    }
#if defined(_WIN32)
    return _commit(_fileno(file)) == 0;
#else
    return fsync(fileno(file)) == 0;
#endif
}

int process_id() {
#if defined(_WIN32)
    return _getpid();
#else
    return static_cast<int>(getpid());
#endif
}

} // namespace

bool seek(FILE * file, uint64_t offset) {
#if defined(_WIN32)
    return _fseeki64(file, static_cast<int64_t>(offset), SEEK_SET) == 0;
#else
    return fseeko(file, static_cast<off_t>(offset), SEEK_SET) == 0;
#endif
}

void write_atomically(const std::string & path, const std::function<bool(FILE *)> & write) {
    const std::string temporary = path + ".tmp" + std::to_string(process_id());
    const auto u8 = [](const std::string & s) { return std::filesystem::u8path(s); };
    FILE * file = ggml_fopen(temporary.c_str(), "wb");
    if (!file) {
        fail(YAPO_ERR_IO, "%s: cannot be opened for writing (%s); is the folder there and writable?", temporary.c_str(), strerror(errno));
    }
    std::error_code ignored;
    bool written = false;
    try {
        written = write(file) && flush_to_disk(file);
    } catch (...) {
        fclose(file);
        std::filesystem::remove(u8(temporary), ignored);
        throw;
    }
    written = fclose(file) == 0 && written;
    if (!written) {
        std::filesystem::remove(u8(temporary), ignored);
        fail(YAPO_ERR_IO, "%s: writing failed (disk full?)", path.c_str());
    }
    std::error_code error;
    std::filesystem::rename(u8(temporary), u8(path), error);
    if (error) {
        std::filesystem::remove(u8(temporary), ignored);
        fail(YAPO_ERR_IO, "%s: cannot be replaced (%s)", path.c_str(), error.message().c_str());
    }
}

} // namespace yapo::train
