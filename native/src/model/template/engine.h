// llama.cpp's template runtime header with our limits hooked in. Everything that its macros must not touch comes first.
#pragma once

#include "model/template/limits.h"

#include <cassert>
#include <cmath>
#include <ctime>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "jinja/lexer.h"
#include "jinja/value.h"

// Strings grow by append() only, in the operators ~, + and * and where the output is gathered.
#define append(text) append(::yapo::template_text(text))

// Every look at a value is a step: the recursions over nested values go through here.
namespace jinja {
template <typename T, typename V> bool is_val_step(const V & value) {
    ::yapo::template_step();
    return is_val<T>(value);
}
} // namespace jinja
#define is_val is_val_step

#include "jinja/runtime.h"

// The trace points stand at every statement, call, operator and loop iteration: where a template can recurse or run on.
#undef JJ_DEBUG
#define JJ_DEBUG(...) ::yapo::template_step()
