// llama.cpp's template values and built-in functions, unchanged, but for range(): it builds its whole list at once, so it
// gets a bound. The table of built-ins is compiled under another name and copied.
#include "json.h"
#include "unicode.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include "model/template/engine.h" // after every other header: it hooks append()

#undef append // here the text is that of filters on single values, and std::string's

namespace jinja {
const func_builtins & engine_builtins();
}

#define global_builtins engine_builtins
#include "jinja/value.cpp"
#undef global_builtins

namespace yapo {
namespace {

jinja::value bounded_range(const jinja::func_args & args) {
    double bound[3] = {0, 0, 1};
    for (size_t i = 0; i < args.count() && i < 3; ++i) {
        if (jinja::is_val<jinja::value_int>(args.get_pos(i))) {
            bound[i] = static_cast<double>(args.get_pos(i)->as_int());
        }
    }
    const double span = args.count() > 1 ? bound[1] - bound[0] : bound[0];
    if (bound[2] != 0 && span / bound[2] > static_cast<double>(template_max_range)) {
        throw template_limit{"range() of more than " + std::to_string(template_max_range) + " items"};
    }
    return jinja::engine_builtins().at("range")(args);
}

} // namespace
} // namespace yapo

namespace jinja {

const func_builtins & global_builtins() {
    static const func_builtins builtins = [] {
        func_builtins copy = engine_builtins();
        copy["range"] = yapo::bounded_range;
        return copy;
    }();
    return builtins;
}

} // namespace jinja
