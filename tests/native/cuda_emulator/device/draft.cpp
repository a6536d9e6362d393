#include "draft.h"

#include <cctype>
#include <cstdlib>

namespace cuda_emulator {
namespace {

// 32 lanes, and each register where vector instructions like it.
size_t room_of(const operand & x) { return ((x.width ? size_t(x.width) * warp_size : sizeof(uint32_t)) + 63) & ~size_t(63); }

void negate_predicate(warp & w, const instruction & i, uint32_t lanes) {
    uint32_t & d = w.predicate(w(i, 0));
    d            = (d & ~lanes) | (~w.predicate(w(i, 1)) & lanes);
}

} // namespace

void draft::refuse(std::string_view statement, const std::string & why) const {
    throw std::runtime_error("PTX of " + what.name + ", line " + std::to_string(next_line) + ": \"" + std::string(statement.substr(0, 160)) + "\": " + why);
}

operand draft::new_register(uint8_t width) {
    operand x{uint32_t(body.register_bytes), width};
    body.register_bytes += room_of(x);
    return x;
}

operand draft::constant(uint64_t value, uint8_t width) {
    if (width < 8) value &= (uint64_t(1) << 8 * width) - 1;
    const auto [at, fresh] = constants.try_emplace({width, value});
    if (fresh) {
        at->second = new_register(width);
        body.constants.push_back({at->second, value});
    }
    return at->second;
}

const draft::place * draft::find(std::string_view name) const {
    for (size_t n = scopes.size(); n-- > 0;) {
        if (const auto found = scopes[n].find(name); found != scopes[n].end()) return &found->second;
    }
    return nullptr;
}

bool draft::address_of(std::string_view name, place & found) {
    if (const place * p = find(name)) {
        found = *p;
        return true;
    }
    if (const auto s = of.shared.find(name); s != of.shared.end()) {
        if (s->second.open) {
            found.kind    = place::behind_shared;
            dynamic_align = std::max(dynamic_align, s->second.align);
        } else {
            found.kind   = place::at_offset;
            found.offset = (what.static_shared + s->second.align - 1) / s->second.align * s->second.align;
            what.static_shared = found.offset + s->second.bytes;
        }
        scopes[0].emplace(name, found);
        return true;
    }
    if (const auto v = of.variables.find(std::string(name)); v != of.variables.end()) {
        found.kind   = place::at_offset;
        found.offset = uint64_t(v->second.memory.get());
        return true;
    }
    return false;
}

bool draft::number(std::string_view s, uint64_t & value, uint8_t width) {
    const std::string text(s);
    const char *      from = text.c_str();
    if (from[0] == '0' && (from[1] == 'f' || from[1] == 'F')) {
        const uint32_t bits = uint32_t(strtoul(from + 2, nullptr, 16));
        float          f;
        memcpy(&f, &bits, 4);
        const double d = f;
        if (width == 8) memcpy(&value, &d, 8);
        else value = bits;
        return true;
    }
    if (from[0] == '0' && (from[1] == 'd' || from[1] == 'D')) {
        value = strtoull(from + 2, nullptr, 16);
        if (width == 4) {
            double d;
            memcpy(&d, &value, 8);
            const float f = float(d);
            value         = 0;
            memcpy(&value, &f, 4);
        }
        return true;
    }
    if (!isdigit(uint8_t(from[0])) && from[0] != '-' && from[0] != '+') return false;
    char * end = nullptr;
    if (text.find('.') != std::string::npos) {
        const double d = strtod(from, &end);
        const float  f = float(d);
        value          = 0;
        memcpy(&value, width == 8 ? static_cast<const void *>(&d) : &f, width == 8 ? 8 : 4);
    } else {
        value = from[0] == '-' ? uint64_t(strtoll(from, &end, 0)) : strtoull(from, &end, 0);
        while (*end == 'U' || *end == 'L') ++end;
    }
    return *end == 0;
}

operand draft::special(std::string_view name) {
    using s = code::special;
    static const std::unordered_map<std::string_view, s::name> names = {
        {"%tid.x", s::tid_x}, {"%tid.y", s::tid_y}, {"%tid.z", s::tid_z}, {"%ntid.x", s::ntid_x}, {"%ntid.y", s::ntid_y}, {"%ntid.z", s::ntid_z}, {"%ctaid.x", s::ctaid_x}, {"%ctaid.y", s::ctaid_y}, {"%ctaid.z", s::ctaid_z},
        {"%nctaid.x", s::nctaid_x}, {"%nctaid.y", s::nctaid_y}, {"%nctaid.z", s::nctaid_z}, {"%laneid", s::laneid}, {"%warpid", s::warpid}, {"%lanemask_eq", s::lanemask_eq}, {"%lanemask_lt", s::lanemask_lt},
        {"%lanemask_le", s::lanemask_le}, {"%lanemask_gt", s::lanemask_gt}, {"%lanemask_ge", s::lanemask_ge}, {"%dynamic_smem_size", s::dynamic_shared_bytes}};
    const auto found = names.find(name);
    if (found == names.end()) return {};
    const auto [at, fresh] = specials.try_emplace(int(found->second));
    if (fresh) {
        at->second = new_register(4);
        body.specials.push_back({found->second, at->second});
    }
    return at->second;
}

operand draft::value(std::string_view s, uint8_t width, std::string_view statement) {
    if (s.empty()) refuse(statement, "an operand is missing");
    if (s == "_") return {};
    if (s == "WARP_SZ") return constant(warp_size, width);
    if (s[0] == '!') {
        const operand     p = new_register(0);
        const place *     from = find(trimmed(s.substr(1)));
        if (!from) refuse(statement, "no predicate " + std::string(s));
        instruction i;
        i.run   = negate_predicate;
        i.first = uint32_t(body.operands.size());
        body.operands.push_back(p);
        body.operands.push_back(from->reg);
        add(i, statement);
        return p;
    }
    if (const place * p = find(s); p && p->kind == place::is_register) return p->reg;
    uint64_t n;
    if (number(s, n, width)) return constant(n, width);
    if (const operand x = special(s); x.at != no_register) return x;
    const size_t plus = s.find('+');
    place        at;
    if (!address_of(trimmed(s.substr(0, plus)), at)) refuse(statement, "nothing is called " + std::string(s));
    uint64_t more = 0;
    if (plus != std::string_view::npos && !number(trimmed(s.substr(plus + 1)), more, 8)) refuse(statement, "no number behind the +");
    if (at.kind != place::behind_shared) return constant(at.offset + more, width);
    const operand x = new_register(width); // known when all static memory is
    dynamic.emplace_back(x, more);
    return x;
}

operand draft::address(std::string_view s, instruction & i, std::string_view statement) {
    s                 = trimmed(s.substr(1, s.size() - 2));
    const size_t plus = s.find('+', 1);
    if (plus != std::string_view::npos) {
        uint64_t more;
        if (!number(trimmed(s.substr(plus + 1)), more, 8)) refuse(statement, "no number behind the +");
        i.offset = int64_t(more);
    }
    const std::string_view base = trimmed(s.substr(0, plus));
    if (const place * p = find(base); p && p->kind == place::is_register) return p->reg;
    return value(base, 8, statement);
}

void draft::add(instruction & i, std::string_view statement) {
    i.line = uint32_t(next_line);
    body.instructions.push_back(i);
    body.statements.emplace_back(statement.substr(0, 200));
}

void draft::declare(std::string_view statement) {
    const std::vector<std::string_view> all = words(statement);
    if (all[0] == ".reg") {
        const uint8_t width = all.at(1) == ".pred" ? 0 : uint8_t(size_of_type(all[1]));
        if (width == 0 && all[1] != ".pred") refuse(statement, "unknown type");
        for (const std::string_view name : comma_separated(statement.substr(size_t(all[1].data() + all[1].size() - statement.data())))) {
            const size_t open = name.find('<');
            if (open == std::string_view::npos) {
                scopes.back()[name] = {place::is_register, new_register(width)};
                continue;
            }
            const size_t count = size_t(strtoull(std::string(name.substr(open + 1)).c_str(), nullptr, 10));
            for (size_t n = 0; n < count; ++n) {
                names.push_back(std::make_unique<std::string>(std::string(name.substr(0, open)) + std::to_string(n)));
                scopes.back()[*names.back()] = {place::is_register, new_register(width)};
            }
        }
        return;
    }
    const declaration d = declared(statement);
    if (all[0] == ".param") {
        scopes.back()[d.name] = {place::in_call, {}};
        return;
    }
    const bool shared = all[0] == ".shared";
    if (!shared && all[0] != ".local") refuse(statement, "this declaration is not emulated");
    size_t & at = shared ? what.static_shared : what.local;
    at          = (at + d.align - 1) / d.align * d.align;
    scopes.back()[d.name] = {place::at_offset, {}, at};
    at += d.bytes;
}

} // namespace cuda_emulator
