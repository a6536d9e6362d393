// A PTX module: its variables and the texts of its kernels.
#include "module.h"

#include "../memory.h"

#include <cctype>
#include <cstdlib>

namespace cuda_emulator {

std::string_view trimmed(std::string_view s) {
    while (!s.empty() && isspace(uint8_t(s.front()))) s.remove_prefix(1);
    while (!s.empty() && isspace(uint8_t(s.back()))) s.remove_suffix(1);
    return s;
}

std::vector<std::string_view> words(std::string_view s) {
    std::vector<std::string_view> found;
    for (size_t at = 0; at < s.size();) {
        if (isspace(uint8_t(s[at]))) {
            ++at;
            continue;
        }
        size_t end = at;
        while (end < s.size() && !isspace(uint8_t(s[end]))) ++end;
        found.push_back(s.substr(at, end - at));
        at = end;
    }
    return found;
}

std::vector<std::string_view> comma_separated(std::string_view s) {
    std::vector<std::string_view> found;
    size_t first = 0, depth = 0;
    for (size_t at = 0; at <= s.size(); ++at) {
        const char c = at < s.size() ? s[at] : ',';
        if (c == '{' || c == '[' || c == '(') ++depth;
        else if (c == '}' || c == ']' || c == ')') --depth;
        else if (c == ',' && (depth == 0 || at == s.size())) {
            if (const std::string_view part = trimmed(s.substr(first, at - first)); !part.empty()) found.push_back(part);
            first = at + 1;
        }
    }
    return found;
}

size_t size_of_type(std::string_view type) {
    static const std::pair<std::string_view, size_t> sizes[] = {{"b8", 1}, {"u8", 1}, {"s8", 1}, {"b16", 2}, {"u16", 2}, {"s16", 2}, {"f16", 2}, {"bf16", 2}, {"b32", 4}, {"u32", 4}, {"s32", 4}, {"f32", 4}, {"f16x2", 4}, {"bf16x2", 4}, {"b64", 8}, {"u64", 8}, {"s64", 8}, {"f64", 8}};
    if (!type.empty() && type[0] == '.') type.remove_prefix(1);
    for (const auto & [name, size] : sizes) {
        if (name == type) return size;
    }
    return 0;
}

declaration declared(std::string_view s) {
    declaration d;
    if (const size_t equals = s.find('='); equals != std::string_view::npos) {
        d.initial = trimmed(s.substr(equals + 1));
        s         = s.substr(0, equals);
    }
    size_t count = 1;
    for (size_t open = s.find('['); open != std::string_view::npos; open = s.find('[', open + 1)) {
        const std::string inside(trimmed(s.substr(open + 1, s.find(']', open) - open - 1)));
        if (inside.empty()) d.open = true;
        else count *= size_t(strtoull(inside.c_str(), nullptr, 0));
    }
    s = s.substr(0, s.find('['));
    for (const std::vector<std::string_view> all = words(s); const std::string_view word : all) {
        if (const size_t size = size_of_type(word)) d.element = size;
        else if (d.align == 0) d.align = size_t(strtoull(std::string(word).c_str(), nullptr, 10)); // behind .align
        if (word[0] != '.' && !isdigit(uint8_t(word[0]))) d.name = word;
    }
    d.align = std::max({d.align, d.element, size_t(1)});
    d.bytes = d.open ? 0 : d.element * count;
    return d;
}

namespace {

// Comments become blanks, so that lines stay where they are.
std::string without_comments(std::string text) {
    for (size_t at = 0; at + 1 < text.size(); ++at) {
        if (text[at] == '/' && text[at + 1] == '/') {
            while (at < text.size() && text[at] != '\n') text[at++] = ' ';
        } else if (text[at] == '/' && text[at + 1] == '*') {
            const size_t end = std::min(text.find("*/", at + 2), text.size() - 2) + 2;
            for (; at < end; ++at) text[at] = text[at] == '\n' ? '\n' : ' ';
        }
    }
    return text;
}

size_t closing(const std::string & text, size_t open) {
    size_t depth = 0;
    for (size_t at = open; at < text.size(); ++at) {
        if (text[at] == '{') ++depth;
        if (text[at] == '}' && --depth == 0) return at;
    }
    throw std::runtime_error("PTX: no end of the block that begins at byte " + std::to_string(open));
}

void initialize(variable & v, const declaration & d) {
    v.bytes = d.bytes;
    v.memory.reset(new (std::align_val_t(256)) uint8_t[std::max<size_t>(d.bytes, 1)]());
    allow(v.memory.get(), std::max<size_t>(d.bytes, 1));
    std::string_view from = d.initial;
    if (from.empty()) return;
    if (from[0] == '{') from = from.substr(1, from.rfind('}') - 1);
    size_t at = 0;
    for (const std::string_view item : comma_separated(from)) {
        const std::string text(item);
        if (!isdigit(uint8_t(text[0])) && text[0] != '-') throw std::runtime_error("PTX: the initial value \"" + text + "\" of " + std::string(d.name) + " is not emulated");
        uint64_t x = text.size() > 1 && (text[1] == 'f' || text[1] == 'F' || text[1] == 'd' || text[1] == 'D') ? strtoull(text.c_str() + 2, nullptr, 16) : strtoull(text.c_str(), nullptr, 0);
        if (at + d.element > d.bytes) throw std::runtime_error("PTX: too many initial values for " + std::string(d.name));
        memcpy(v.memory.get() + at, &x, d.element);
        at += d.element;
    }
}

} // namespace

module::module(std::string text) : parts_(new parts) {
    parts_->text             = without_comments(std::move(text));
    const std::string & all  = parts_->text;
    const auto          line = [&](size_t at) { return std::to_string(1 + std::count(all.begin(), all.begin() + ptrdiff_t(at), '\n')); };
    for (size_t at = 0; at < all.size();) {
        if (isspace(uint8_t(all[at]))) {
            ++at;
            continue;
        }
        const size_t stop = all.find_first_of(";{\n=", at);
        if (stop == std::string::npos) break;
        const std::string_view head(all.data() + at, stop - at);
        if (head.rfind(".version", 0) == 0 || head.rfind(".target", 0) == 0 || head.rfind(".address_size", 0) == 0 || head.rfind(".file", 0) == 0) {
            at = all.find('\n', at);
            if (at == std::string::npos) break;
        } else if (head.find(".entry") != std::string_view::npos) {
            const size_t name = head.find(".entry") + at + 6, body = all.find('{', at);
            if (body == std::string::npos) throw std::runtime_error("PTX line " + line(at) + ": a kernel without a body");
            const size_t parameters = all.find('(', name);
            kernel_text k;
            const bool  none = parameters == std::string::npos || parameters > body;
            k.name           = std::string(trimmed(std::string_view(all).substr(name, (none ? body : parameters) - name)));
            size_t end       = name;
            if (!none) {
                end          = all.find(')', parameters);
                if (end > body) throw std::runtime_error("PTX line " + line(at) + ": parameters without an end");
                k.parameters = std::string_view(all).substr(parameters + 1, end - parameters - 1);
            } else {
                k.name = k.name.substr(0, k.name.find_first_of(" \t\r\n"));
            }
            k.directives = std::string_view(all).substr(end, body - end);
            k.first      = body + 1;
            k.end        = closing(all, body);
            at           = k.end + 1;
            parts_->kernels.emplace(k.name, k);
        } else if (head.find(".func") != std::string_view::npos) {
            const size_t end = all.find_first_of(";{", at);
            at               = end == std::string::npos ? all.size() : all[end] == '{' ? closing(all, end) + 1 : end + 1;
        } else if (head.find(".global") != std::string_view::npos || head.find(".const") != std::string_view::npos || head.find(".shared") != std::string_view::npos) {
            const size_t end = all.find(';', at);
            if (end == std::string::npos) throw std::runtime_error("PTX line " + line(at) + ": a variable without an end");
            const declaration d = declared(std::string_view(all).substr(at, end - at));
            if (head.find(".shared") != std::string_view::npos) parts_->shared.emplace(d.name, d);
            else initialize(parts_->variables[std::string(d.name)], d);
            at = end + 1;
        } else if (head.rfind(".section", 0) == 0) {
            at = closing(all, all.find('{', at)) + 1;
        } else {
            throw std::runtime_error("PTX line " + line(at) + ": \"" + std::string(head.substr(0, 80)) + "\" is not emulated");
        }
    }
}

module::~module() {
    for (const auto & [name, v] : parts_->variables) forbid(v.memory.get());
}

void * module::variable(const std::string & mangled_name, size_t * bytes) {
    const auto found = parts_->variables.find(mangled_name);
    if (found == parts_->variables.end()) return nullptr;
    if (bytes) *bytes = found->second.bytes;
    return found->second.memory.get();
}

std::shared_ptr<const kernel> module::find(const std::string & mangled_name) {
    const std::lock_guard lock(parts_->one_at_a_time);
    std::shared_ptr<const kernel> & known = parts_->decoded[mangled_name];
    if (!known) {
        const auto found = parts_->kernels.find(mangled_name);
        if (found == parts_->kernels.end()) return nullptr;
        known = decode(*parts_, found->second);
    }
    return known;
}

} // namespace cuda_emulator
