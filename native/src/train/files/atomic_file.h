// Files that appear whole or not at all, and 64-bit file positions.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>

namespace yapo::train {

bool seek(FILE * file, uint64_t offset);

// Writes `path` through a file beside it that is flushed to the disk and renamed over it; on failure the old file stays and the
// new one is removed. `write` returns false where a write failed. YAPO_ERR_IO.
void write_atomically(const std::string & path, const std::function<bool(FILE *)> & write);

} // namespace yapo::train
