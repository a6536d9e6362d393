// A kernel while it is decoded: what its names stand for, and the registers that immediate numbers and special registers become.
#pragma once

#include "machine.h"
#include "module.h"

#include <unordered_map>

namespace cuda_emulator {

struct draft {
    draft(module::parts & of, const std::string & name) : of(of) { what.name = name; }

    module::parts & of;
    kernel          what;
    code            body;
    size_t          next_line = 1; // of the statement at hand

    struct place { // of a name in the kernel
        enum { is_register, at_offset, behind_shared, in_call } kind;
        operand  reg;
        uint64_t offset = 0; // into its state space; the address, for a variable of the module
    };
    std::vector<std::unordered_map<std::string_view, place>> scopes{1}; // the outermost first
    std::vector<std::pair<operand, uint64_t>> dynamic; // registers of addresses behind the static shared memory, and how far behind
    size_t                                    dynamic_align = 16;

    [[noreturn]] void refuse(std::string_view statement, const std::string & why) const;
    operand new_register(uint8_t width);
    operand constant(uint64_t value, uint8_t width);
    const place * find(std::string_view name) const;
    // The names of variables begin the address; a number may follow. Shared memory of all kernels gets its place where it is first named.
    bool address_of(std::string_view name, place & found);
    static bool number(std::string_view s, uint64_t & value, uint8_t width);
    operand special(std::string_view name);
    // A register, a number, a special register or an address, of `width` bytes where it is not a register.
    operand value(std::string_view s, uint8_t width, std::string_view statement);
    // [base + offset]
    operand address(std::string_view s, instruction & i, std::string_view statement);
    void add(instruction & i, std::string_view statement);
    void declare(std::string_view statement);

  private:
    std::map<std::pair<uint8_t, uint64_t>, operand> constants;
    std::map<int, operand>                          specials;
    std::vector<std::unique_ptr<std::string>>       names; // of registers declared by their number
};

} // namespace cuda_emulator
