// From the text of a kernel to what machine.cpp runs: registers get their places, immediate numbers and special registers become registers
// too, labels become positions.
#include "draft.h"

#include <cctype>
#include <cstdlib>

namespace cuda_emulator {
namespace {

void traps(warp & w, const instruction & i, uint32_t lanes) { w.fault(i, uint32_t(__builtin_ctz(lanes)), "the code stops itself here"); }

// Bytes of an immediate number as operand `n` of the statement.
uint8_t immediate_width(const std::vector<std::string> & parts, size_t n) {
    const std::string & op = parts[0];
    const size_t        of_type = size_of_type(parts.back());
    if ((op == "shl" || op == "shr") && n == 2) return 4;
    if ((op == "bfe" && n >= 2) || (op == "bfi" && n >= 3)) return 4;
    if (op == "mad" && parts.at(1) == "wide" && n == 3) return uint8_t(2 * of_type);
    if (op == "bar" || op == "barrier" || op == "vote" || op == "shfl" || op == "redux" || op == "match" || op == "cp" || op == "dp4a" || op == "bmsk" || op == "prmt" || op == "lop3" || op == "shf") return 4;
    return uint8_t(of_type ? of_type : 4);
}

struct decoder : draft {
    using draft::draft;

    std::unordered_map<std::string_view, uint32_t>     labels;
    std::vector<std::pair<uint32_t, std::string_view>> branches;
    size_t                                             counted_to = 0; // of the text, for next_line

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
    if (!d.run) d = bit_operation(parts);
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
