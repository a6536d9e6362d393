// The text of a PTX module, taken apart as far as its kernels.
#pragma once

#include "../ptx.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <string_view>

namespace cuda_emulator {

// `.align 4 .b8 name[128] = {...}`
struct declaration {
    std::string_view name, initial;
    size_t element = 0, align = 0, bytes = 0;
    bool   open    = false; // name[]: as long as the launch says
};
declaration declared(std::string_view text);

struct kernel_text {
    std::string      name;
    std::string_view parameters, directives;
    size_t           first = 0, end = 0; // of the body
};

struct aligned_delete {
    void operator()(uint8_t * p) const { ::operator delete[](p, std::align_val_t(256)); }
};

struct variable {
    size_t bytes = 0;
    std::unique_ptr<uint8_t[], aligned_delete> memory;
};

struct module::parts {
    std::string                        text;
    std::map<std::string, kernel_text> kernels;
    std::map<std::string, cuda_emulator::variable> variables;
    std::map<std::string_view, declaration, std::less<>> shared; // of all kernels
    std::map<std::string, std::shared_ptr<const kernel>> decoded;
    std::mutex                         one_at_a_time;
};

// Throws std::runtime_error with the line for what is not emulated.
std::shared_ptr<const kernel> decode(module::parts & of, const kernel_text & text);

std::string_view              trimmed(std::string_view s);
std::vector<std::string_view> words(std::string_view s);
std::vector<std::string_view> comma_separated(std::string_view s); // outside braces, brackets and parentheses
size_t                        size_of_type(std::string_view type); // bytes of ".f32" or "f32"; 0: no type

} // namespace cuda_emulator
