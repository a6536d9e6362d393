// From the text of a kernel to what machine.cpp runs: registers get their places, immediate numbers and special registers become registers
// too, labels become positions.
#include "machine.h"
#include "module.h"

#include <cctype>
#include <cstdlib>
#include <unordered_map>

namespace cuda_emulator {
namespace {

// 32 lanes, and each register where vector instructions like it.
size_t room_of(const operand & x) { return ((x.width ? size_t(x.width) * warp_size : sizeof(uint32_t)) + 63) & ~size_t(63); }

void traps(warp & w, const instruction & i, uint32_t lanes) { w.fault(i, uint32_t(__builtin_ctz(lanes)), "the code stops itself here"); }

void negate_predicate(warp & w, const instruction & i, uint32_t lanes) {
    uint32_t & d = w.predicate(w(i, 0));
    d            = (d & ~lanes) | (~w.predicate(w(i, 1)) & lanes);
}

struct decoder {
    explicit decoder(module::parts & of, const std::string & name) : of(of) { what.name = name; }

    module::parts & of;
    kernel          what;
    code            body;

    struct place { // of a name in the kernel
        enum { is_register, at_offset, behind_shared, in_call } kind;
        operand  reg;
        uint64_t offset = 0; // into its state space; the address, for a variable of the module
    };
    std::vector<std::unordered_map<std::string_view, place>> scopes{1};
    std::unordered_map<std::string_view, uint32_t>           labels;
    std::vector<std::pair<uint32_t, std::string_view>>       branches;
    std::map<std::pair<uint8_t, uint64_t>, operand>          constants;
    std::map<int, operand>                                   specials;
    std::vector<std::pair<operand, uint64_t>>                dynamic; // addresses behind the static shared memory
    size_t                                                   next_line = 1, counted_to = 0;
    size_t                                                   dynamic_align = 16;

    [[noreturn]] void refuse(std::string_view statement, const std::string & why) const {
        throw std::runtime_error("PTX of " + what.name + ", line " + std::to_string(next_line) + ": \"" + std::string(statement.substr(0, 160)) + "\": " + why);
    }

    operand new_register(uint8_t width) {
        operand x{uint32_t(body.register_bytes), width};
        body.register_bytes += room_of(x);
        return x;
    }

    operand constant(uint64_t value, uint8_t width) {
        if (width < 8) value &= (uint64_t(1) << 8 * width) - 1;
        const auto [at, fresh] = constants.try_emplace({width, value});
        if (fresh) {
            at->second = new_register(width);
            body.constants.push_back({at->second, value});
        }
        return at->second;
    }

    const place * find(std::string_view name) const {
        for (size_t n = scopes.size(); n-- > 0;) {
            if (const auto found = scopes[n].find(name); found != scopes[n].end()) return &found->second;
        }
        return nullptr;
    }

    // The names of variables begin the address; a number may follow. Shared memory of all kernels gets its place where it is first named.
    bool address_of(std::string_view name, place & found) {
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

    static bool number(std::string_view s, uint64_t & value, uint8_t width) {
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

    operand special(std::string_view name) {
        using s = code::special;
        static const std::unordered_map<std::string_view, s::name> names = {
            {"%tid.x", s::tid_x}, {"%tid.y", s::tid_y}, {"%tid.z", s::tid_z}, {"%ntid.x", s::ntid_x}, {"%ntid.y", s::ntid_y}, {"%ntid.z", s::ntid_z}, {"%ctaid.x", s::ctaid_x}, {"%ctaid.y", s::ctaid_y}, {"%ctaid.z", s::ctaid_z},
            {"%nctaid.x", s::nctaid_x}, {"%nctaid.y", s::nctaid_y}, {"%nctaid.z", s::nctaid_z}, {"%laneid", s::laneid}, {"%warpid", s::warpid}, {"%lanemask_eq", s::lanemask_eq}, {"%lanemask_lt", s::lanemask_lt},
            {"%lanemask_le", s::lanemask_le}, {"%lanemask_gt", s::lanemask_gt}, {"%lanemask_ge", s::lanemask_ge}, {"%dynamic_smem_size", s::dynamic_shared_bytes}, {"%clock", s::clock}};
        const auto found = names.find(name);
        if (found == names.end()) return {};
        const auto [at, fresh] = specials.try_emplace(int(found->second));
        if (fresh) {
            at->second = new_register(4);
            body.specials.push_back({found->second, at->second});
        }
        return at->second;
    }

    // A register, a number, a special register or an address, of `width` bytes where it is not a register.
    operand value(std::string_view s, uint8_t width, std::string_view statement) {
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

    // [base + offset]
    operand address(std::string_view s, instruction & i, std::string_view statement) {
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

    void add(instruction & i, std::string_view statement) {
        i.line = uint32_t(next_line);
        body.instructions.push_back(i);
        body.statements.emplace_back(statement.substr(0, 200));
    }

    void declare(std::string_view statement) {
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
                    names_.push_back(std::make_unique<std::string>(std::string(name.substr(0, open)) + std::to_string(n)));
                    scopes.back()[*names_.back()] = {place::is_register, new_register(width)};
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
    std::vector<std::unique_ptr<std::string>> names_;

    // Bytes of an immediate number as operand `n` of the statement.
    static uint8_t immediate_width(const std::vector<std::string> & parts, size_t n) {
        const std::string & op = parts[0];
        const size_t        of_type = size_of_type(parts.back());
        if ((op == "shl" || op == "shr") && n == 2) return 4;
        if ((op == "bfe" && n >= 2) || (op == "bfi" && n >= 3)) return 4;
        if (op == "mad" && parts.at(1) == "wide" && n == 3) return uint8_t(2 * of_type);
        if (op == "bar" || op == "barrier" || op == "vote" || op == "shfl" || op == "redux" || op == "match" || op == "cp" || op == "dp4a" || op == "bmsk" || op == "prmt" || op == "lop3" || op == "shf") return 4;
        return uint8_t(of_type ? of_type : 4);
    }

    void statement(std::string_view s);
    void control(const std::vector<std::string> & parts, const std::vector<std::string_view> & args, instruction & i, std::string_view whole);
    void read();
};

// Barriers: {result, barrier, threads, predicate}, each `no_register` where there is none.
void decoder::control(const std::vector<std::string> & parts, const std::vector<std::string_view> & args, instruction & i, std::string_view whole) {
    const std::string & op = parts[0];
    if (op == "bra") {
        i.kind = flow::branch;
        branches.emplace_back(uint32_t(body.instructions.size()), args.at(0));
    } else if (op == "ret" || op == "exit") {
        i.kind = flow::leave;
    } else if (op == "trap" || op == "call") {
        i.run = traps;
    } else {
        i.kind         = flow::barrier;
        const bool red = parts.at(1) == "red";
        if (parts[1] != "sync" && !red) refuse(whole, "this barrier is not emulated");
        i.count        = !red ? 0 : parts.at(2) == "and" ? 1 : parts[2] == "or" ? 2 : 3;
        operand result, barrier, threads, predicate;
        size_t  n = 0;
        if (red) result = value(args.at(n++), 0, whole);
        barrier = value(args.at(n++), 4, whole);
        if (args.size() > n + (red ? 1 : 0)) threads = value(args[n++], 4, whole);
        if (red) predicate = value(args.at(n), 0, whole);
        i.first = uint32_t(body.operands.size());
        for (const operand & x : {result, barrier, threads, predicate}) body.operands.push_back(x);
    }
}

void decoder::statement(std::string_view s) {
    if (s[0] == '.') {
        if (s.rfind(".pragma", 0) == 0 || s.rfind(".loc ", 0) == 0) return;
        return declare(s);
    }
    instruction i;
    std::string_view rest = s;
    if (rest[0] == '@') {
        const size_t end = rest.find_first_of(" \t\n");
        std::string_view guard = rest.substr(1, end - 1);
        i.guard_negated = guard.at(0) == '!';
        const place * p = find(i.guard_negated ? guard.substr(1) : guard);
        if (!p || p->reg.width != 0) refuse(s, "no predicate " + std::string(guard));
        i.guard = p->reg.at;
        rest    = trimmed(rest.substr(end));
    }
    const size_t                 end = std::min(rest.find_first_of(" \t\n"), rest.size());
    std::vector<std::string>     parts;
    const std::string_view       mnemonic = rest.substr(0, end);
    for (size_t at = 0; at <= mnemonic.size();) {
        const size_t dot = std::min(mnemonic.find('.', at), mnemonic.size());
        parts.emplace_back(mnemonic.substr(at, dot - at));
        at = dot + 1;
        if (parts.back().empty()) refuse(s, "this instruction is not emulated");
    }
    const std::string & op = parts[0];
    std::vector<std::string_view> args = comma_separated(rest.substr(end));
    if ((op == "bar" && parts.at(1) != "warp") || op == "barrier" || op == "bra" || op == "ret" || op == "exit" || op == "trap" || op == "call") {
        control(parts, args, i, s);
        return add(i, s);
    }
    if (op == "st" && parts.at(1) == "param") return; // what a call would get; calls stop the kernel
    if (op == "ld" && parts.at(1) == "param") {
        const size_t  open = args.at(1).find_first_of("]+");
        const place * from = find(trimmed(args[1].substr(1, open - 1)));
        if (from && from->kind == place::in_call) return;
    }

    std::vector<operand> operands;
    size_t               results = 0;
    for (size_t n = 0; n < args.size(); ++n) {
        std::string_view a = args[n];
        if (a[0] == '[') {
            operands.push_back(address(a, i, s));
        } else if (a[0] == '{') {
            const std::vector<std::string_view> each = comma_separated(a.substr(1, a.size() - 2));
            const size_t whole = immediate_width(parts, n);
            for (const std::string_view x : each) operands.push_back(value(x, uint8_t(op == "mov" ? whole / each.size() : whole), s));
        } else if (const size_t bar = a.find('|'); bar != std::string_view::npos) {
            operands.push_back(value(trimmed(a.substr(0, bar)), 0, s));
            operands.push_back(value(trimmed(a.substr(bar + 1)), 0, s));
        } else if (op == "mov" && n == 1 && parts.back() == "pred") {
            uint64_t x;
            operands.push_back(number(a, x, 4) ? constant(x ? ~uint64_t(0) : 0, 4) : value(a, 0, s)); // its first lane's bits serve as the mask
        } else {
            operands.push_back(value(a, immediate_width(parts, n), s));
        }
        if (n == 0) results = operands.size();
    }

    decoded d = memory_access(parts, i, operands.size());
    if (!d.run) d = conversion(parts, i, results, operands.size() - results);
    if (!d.run) d = warp_operation(parts, i, results, operands.size());
    if (!d.run) d = arithmetic(parts);
    if (!d.run) refuse(s, "this instruction is not emulated");
    i.run   = d.run;
    i.kind  = d.kind;
    i.first = uint32_t(body.operands.size());
    if (d.kind == flow::meet && mnemonic.find(".aligned") == std::string_view::npos) i.member = operands.at(operands.size() - 1).at;
    body.operands.insert(body.operands.end(), operands.begin(), operands.end());
    add(i, s);
}

void decoder::read() {
    const std::string & all = of.text;
    const kernel_text & k   = of.kernels.at(what.name);
    for (const std::string_view p : comma_separated(k.parameters)) {
        const declaration d = declared(p);
        if (d.bytes == 0) refuse(p, "a parameter without a size");
        what.parameter_bytes = (what.parameter_bytes + d.align - 1) / d.align * d.align;
        what.parameters.push_back({d.bytes, what.parameter_bytes});
        scopes[0][d.name] = {place::at_offset, {}, what.parameter_bytes};
        what.parameter_bytes += d.bytes;
    }
    const std::vector<std::string_view> directives = words(k.directives);
    for (size_t n = 0; n < directives.size(); ++n) {
        if (directives[n] != ".maxntid" && directives[n] != ".reqntid") continue;
        what.max_threads = 1;
        for (const size_t from = size_t(directives[n].data() - all.data()) + directives[n].size(); const std::string_view x : comma_separated(std::string_view(all).substr(from, std::min(all.find_first_of(".{", from), k.end) - from))) what.max_threads *= std::max(1, atoi(std::string(x).c_str()));
    }
    for (size_t at = k.first; at < k.end;) {
        if (isspace(uint8_t(all[at])) || all[at] == ';') {
            ++at;
            continue;
        }
        next_line += size_t(std::count(all.begin() + ptrdiff_t(counted_to), all.begin() + ptrdiff_t(at), '\n'));
        counted_to = at;
        if (all[at] == '{') {
            scopes.emplace_back();
            ++at;
            continue;
        }
        if (all[at] == '}') {
            if (scopes.size() == 1) refuse(std::string_view(all).substr(at, 1), "the end of a block that did not begin");
            scopes.pop_back();
            ++at;
            continue;
        }
        size_t end = at;
        while (end < k.end && all[end] != ';' && all[end] != ':' && all[end] != '"') ++end;
        if (all[end] == '"') end = std::min(all.find(';', end), k.end); // .pragma "...";
        // "name:" is a label; "shared::cta" is none
        if (all[end] == ':' && all[end + 1] != ':' && std::string_view(all).substr(at, end - at).find_first_of(" \t") == std::string_view::npos) {
            labels[std::string_view(all).substr(at, end - at)] = uint32_t(body.instructions.size());
            at = end + 1;
            continue;
        }
        end = all.find(';', end);
        if (end == std::string::npos || end > k.end) refuse(std::string_view(all).substr(at, 60), "a statement without an end");
        const std::string_view whole = trimmed(std::string_view(all).substr(at, end - at));
        try {
            statement(whole);
        } catch (const std::out_of_range &) {
            refuse(whole, "a part of it is missing");
        }
        at = end + 1;
    }
    instruction last;
    last.kind = flow::leave;
    add(last, "the end of the kernel");
    for (const auto & [at, label] : branches) {
        const auto to = labels.find(label);
        if (to == labels.end()) refuse(label, "no such label");
        body.instructions[at].target = to->second;
    }
    const uint64_t start = (what.static_shared + dynamic_align - 1) / dynamic_align * dynamic_align;
    if (!dynamic.empty()) what.static_shared = start;
    for (const auto & [reg, more] : dynamic) body.constants.push_back({reg, start + more});
}

} // namespace

std::shared_ptr<const kernel> decode(module::parts & of, const kernel_text & text) {
    decoder d(of, text.name);
    d.read();
    d.what.registers = int(d.body.register_bytes / 128);
    d.what.body      = std::make_shared<const code>(std::move(d.body));
    return std::make_shared<const kernel>(std::move(d.what));
}

} // namespace cuda_emulator
