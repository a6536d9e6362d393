// The PTX in what nvcc and clang embed in a program, the argument of __cudaRegisterFatBinary.
#pragma once

#include <string>
#include <vector>

namespace cuda_emulator {

struct ptx_text {
    int         arch; // 80 for sm_80
    std::string text;
};

// Machine code in it is passed over. Throws std::runtime_error for what is not in the format or cannot be decompressed.
std::vector<ptx_text> read_fat_binary(const void * wrapper);

// As it stands in a file, without the wrapper: a container of `bytes`, or PTX.
std::vector<ptx_text> read_fat_binary_data(const char * data, size_t bytes);

} // namespace cuda_emulator
