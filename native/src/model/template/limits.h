// Bounds on rendering a chat template. Templates come out of model files, and llama.cpp's engine has no limits of its
// own: a macro that calls itself overflows the stack, a nested loop never ends.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace jinja {
struct string;
struct token;
}

namespace yapo {

constexpr size_t  template_max_bytes      = 1u << 20;  // of the template source
constexpr size_t  template_max_output     = 64u << 20; // of the rendered text
constexpr size_t  template_max_text       = 512u << 20; // put together on the way, all strings added up
constexpr int     template_max_depth      = 64;        // nested brackets, nested blocks
constexpr int     template_max_branches   = 256;       // elif of one if
constexpr int     template_max_expression = 1024;      // tokens between two delimiters
constexpr int64_t template_max_range      = 100000;    // items of range()
constexpr size_t  template_max_stack      = 512 << 10; // bytes of stack while rendering
constexpr std::chrono::seconds template_max_time{5};

// Thrown through the engine, which catches and rewords everything derived from std::exception.
struct template_limit {
    std::string message;
};

// Installs the time and stack bounds for this thread while alive.
class template_limits {
public:
    template_limits();
    ~template_limits();
    template_limits(const template_limits &) = delete;
    template_limits & operator=(const template_limits &) = delete;

    // Throws template_limit when a bound is passed. The engine calls it at every statement and loop iteration.
    void check() const;
    void add_text(size_t bytes);

private:
    template_limits *                     outer;
    size_t                                text_bytes = 0;
    const char *                          stack_base;
    std::chrono::steady_clock::time_point deadline;
};

// The hooks that the engine is compiled with (engine.h): they check the limits of this thread, if any.
void template_step();
const jinja::string & template_text(const jinja::string & text); // about to be appended to another
const std::string &   template_text(const std::string & text);

// The parser recurses with the nesting of its input: throws template_limit before it would recurse too deep.
void check_template_tokens(const std::vector<jinja::token> & tokens);

} // namespace yapo
