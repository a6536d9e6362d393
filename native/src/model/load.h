// What has to be true of a file before llama.cpp may see it.
#pragma once

namespace yapo {

// Fails with file, expected, found and next step unless `path` is a readable, well-formed GGUF model (all parts of it,
// where the model is split over several files).
void check_model_file(const char * path);

} // namespace yapo
