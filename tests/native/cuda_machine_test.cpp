// The emulated CUDA device itself: what PTX's instructions mean, written out a second time, and that it notices what a GPU may not.
#include "harness.h"
#include "random_model.h"

#include "cuda_emulator/memory.h"
#include "cuda_emulator/ptx.h"

#include "ggml.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>

using namespace yapo_test;
using namespace cuda_emulator;

namespace {

// A kernel whose threads read `in` and write `out` at %at, 16 bytes of each a thread.
std::string kernel_of(const std::string & body, const std::string & outside = "") {
    return ".version 7.0\n.target sm_80\n.address_size 64\n" + outside +
           ".visible .entry k(.param .u64 p_in, .param .u64 p_out) .maxntid 1024, 1, 1\n{\n"
           ".reg .pred %p<9>;\n.reg .b16 %h<9>;\n.reg .b32 %r<20>;\n.reg .b64 %rd<9>;\n.reg .f32 %f<9>;\n.reg .b64 %in, %out;\n.reg .b32 %tid;\n"
           "ld.param.u64 %in, [p_in];\nld.param.u64 %out, [p_out];\nmov.u32 %tid, %tid.x;\n"
           "mul.wide.u32 %rd0, %tid, 16;\nadd.s64 %in, %in, %rd0;\nadd.s64 %out, %out, %rd0;\n" +
           body + "\nret;\n}\n";
}

using words4 = std::array<uint32_t, 4>;

std::vector<words4> run_text(const std::string & text, const std::vector<words4> & in, launch_shape shape = {}) {
    module code(text);
    if (shape.block[0] == 1) shape.block[0] = uint32_t(in.size());
    std::vector<words4> out(in.size());
    allow(in.data(), in.size() * sizeof in[0]);
    allow(out.data(), out.size() * sizeof out[0]);
    const void * arguments[] = {in.data(), out.data()};
    try {
        run(*code.find("k"), shape, arguments);
    } catch (...) {
        forbid(in.data()), forbid(out.data());
        throw;
    }
    forbid(in.data()), forbid(out.data());
    return out;
}

std::string refusal(const std::string & text, uint32_t threads = 1) {
    try {
        run_text(text, std::vector<words4>(threads));
    } catch (const std::runtime_error & e) {
        return e.what();
    }
    return "nothing";
}

struct operation {
    const char * text; // of %r0, from %r1, %r2, %r3
    std::function<uint32_t(uint32_t, uint32_t, uint32_t)> meaning;
};

int32_t s(uint32_t x) { return int32_t(x); }

uint32_t bits(uint32_t x, std::function<bool(uint32_t, int)> f) {
    uint32_t r = 0;
    for (int n = 0; n < 32; ++n) r |= uint32_t(f(x, n)) << n;
    return r;
}

float as_float(uint32_t x) {
    float f;
    memcpy(&f, &x, 4);
    return f;
}
uint32_t of_float(float f) {
    uint32_t x;
    memcpy(&x, &f, 4);
    return x;
}

} // namespace

YAPO_TEST(CudaMachine_Integers_AreWhatPtxSays) {
    const operation operations[] = {
        {"add.s32 %r0, %r1, %r2", [](auto a, auto b, auto) { return a + b; }},
        {"sub.s32 %r0, %r1, %r2", [](auto a, auto b, auto) { return a - b; }},
        {"mul.lo.s32 %r0, %r1, %r2", [](auto a, auto b, auto) { return a * b; }},
        {"mul.hi.s32 %r0, %r1, %r2", [](auto a, auto b, auto) { return uint32_t(uint64_t(int64_t(s(a)) * s(b)) >> 32); }},
        {"mul.hi.u32 %r0, %r1, %r2", [](auto a, auto b, auto) { return uint32_t(uint64_t(a) * b >> 32); }},
        {"mad.lo.s32 %r0, %r1, %r2, %r3", [](auto a, auto b, auto c) { return a * b + c; }},
        {"div.u32 %r0, %r1, %r3", [](auto a, auto, auto c) { return a / c; }},
        {"rem.u32 %r0, %r1, %r3", [](auto a, auto, auto c) { return a % c; }},
        {"div.s32 %r0, %r1, %r3", [](auto a, auto, auto c) { return uint32_t(int64_t(s(a)) / s(c)); }},
        {"rem.s32 %r0, %r1, %r3", [](auto a, auto, auto c) { return uint32_t(int64_t(s(a)) % s(c)); }},
        {"min.s32 %r0, %r1, %r2", [](auto a, auto b, auto) { return s(a) < s(b) ? a : b; }},
        {"max.u32 %r0, %r1, %r2", [](auto a, auto b, auto) { return a > b ? a : b; }},
        {"abs.s32 %r0, %r1", [](auto a, auto, auto) { return s(a) < 0 ? 0 - a : a; }},
        {"not.b32 %r0, %r1", [](auto a, auto, auto) { return a ^ UINT32_MAX; }},
        {"shl.b32 %r0, %r1, %r2", [](auto a, auto b, auto) { return bits(a, [&](auto x, int n) { return b <= uint32_t(n) && (x >> (uint32_t(n) - b) & 1); }); }},
        {"shr.u32 %r0, %r1, %r2", [](auto a, auto b, auto) { return bits(a, [&](auto x, int n) { return uint64_t(n) + b < 32 && (x >> (uint32_t(n) + b) & 1); }); }},
        {"shr.s32 %r0, %r1, %r2", [](auto a, auto b, auto) { return bits(a, [&](auto x, int n) { return x >> std::min<uint64_t>(uint64_t(n) + b, 31) & 1; }); }},
        {"shf.l.wrap.b32 %r0, %r1, %r3, %r2", [](auto a, auto b, auto c) { return uint32_t((uint64_t(c) << 32 | a) << (b % 32) >> 32); }},
        {"bfe.u32 %r0, %r1, %r2, 7", [](auto a, auto b, auto) { return bits(a, [&](auto x, int n) { return n < 7 && uint32_t(n) + (b & 255) < 32 && (x >> (uint32_t(n) + (b & 255)) & 1); }); }},
        {"bfe.s32 %r0, %r1, 3, 9", [](auto a, auto, auto) { return bits(a, [&](auto x, int n) { return x >> (3 + std::min(n, 8)) & 1; }); }},
        {"bfi.b32 %r0, %r1, %r2, 5, 8", [](auto a, auto b, auto) { return bits(a, [&](auto x, int n) { return n >= 5 && n < 13 ? x >> (n - 5) & 1 : b >> n & 1; }); }},
        {"popc.b32 %r0, %r1", [](auto a, auto, auto) { uint32_t n = 0; for (; a; a >>= 1) n += a & 1; return n; }},
        {"clz.b32 %r0, %r1", [](auto a, auto, auto) { uint32_t n = 0; while (n < 32 && !(a >> (31 - n) & 1)) ++n; return n; }},
        {"brev.b32 %r0, %r1", [](auto a, auto, auto) { return bits(a, [](auto x, int n) { return x >> (31 - n) & 1; }); }},
        {"prmt.b32 %r0, %r1, %r3, 0xba98", [](auto a, auto, auto) { return bits(a, [](auto x, int n) { return x >> (n / 8 * 8 + 7) & 1; }); }}, // the signs of four bytes
        {"prmt.b32 %r0, %r1, %r2, 0x6143", [](auto a, auto b, auto) { return a >> 24 | (b & 255) << 8 | (a >> 8 & 255) << 16 | (b >> 16 & 255) << 24; }},
        {"lop3.b32 %r0, %r1, %r2, %r3, 0xca", [](auto a, auto b, auto c) { return (a & b) | (~a & c); }},
        {"dp4a.s32.s32 %r0, %r1, %r2, %r3", [](auto a, auto b, auto c) { for (int n = 0; n < 4; ++n) c += uint32_t(int32_t(int8_t(a >> 8 * n)) * int8_t(b >> 8 * n)); return c; }},
        {"{ .reg .pred %q; .reg .b64 %w; setp.lt.s32 %q, %r1, %r2; mul.wide.s32 %w, %r1, %r2; @%q mov.b64 {_, %r0}, %w; @!%q cvt.u32.u64 %r0, %w; }", [](auto a, auto b, auto) { const uint64_t w = uint64_t(int64_t(s(a)) * s(b)); return s(a) < s(b) ? uint32_t(w >> 32) : uint32_t(w); }},
        {"{ .reg .b16 %x, %y; mov.b32 {%x, %y}, %r1; mov.b32 %r0, {%y, %x}; }", [](auto a, auto, auto) { return a << 16 | a >> 16; }},
        {"{ .reg .pred %q, %z; setp.ge.u32 %q|%z, %r1, %r2; selp.b32 %r0, 7, 9, %z; }", [](auto a, auto b, auto) { return a >= b ? 9u : 7u; }},
        {"cvt.s32.s8 %r0, %r1", [](auto a, auto, auto) { return uint32_t(int32_t(int8_t(a))); }},
        {"cvt.sat.u8.s32 %r0, %r1", [](auto a, auto, auto) { return s(a) < 0 ? 0u : std::min(a, 255u); }},
    };
    const uint32_t edges[] = {0, 1, 2, 7, 31, 32, 33, 255, 256, 0x7f, 0x80, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff, 0x80808080, 0x7f80ff01};
    std::vector<words4> in;
    random_source rng(1);
    for (uint32_t a : edges) {
        for (uint32_t b : edges) in.push_back({a, b, b == 0 ? 3 : b, 0});
    }
    while (in.size() < 1000) in.push_back({uint32_t(rng.below(1 << 30)) * 5u, uint32_t(rng.below(64)), uint32_t(1 + rng.below(1 << 30)), 0});
    int64_t checked = 0;
    for (const operation & o : operations) {
        const std::string body = std::string(o.text);
        const auto out = run_text(kernel_of("ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%in];\n" + body + (body.back() == '}' ? "\n" : ";\n") + "st.global.u32 [%out+4], %r0;"), in);
        for (size_t n = 0; n < in.size(); ++n, ++checked) {
            const uint32_t want = o.meaning(in[n][0], in[n][1], in[n][2]);
            CHECK_MSG(out[n][1] == want, "%s of %08x, %08x, %08x: %08x, expected %08x", o.text, in[n][0], in[n][1], in[n][2], out[n][1], want);
        }
    }
    note("%lld results of %zu instructions", (long long) checked, std::size(operations));
}

YAPO_TEST(CudaMachine_Halves_AreGgmls) {
    std::vector<words4> in(1024), out;
    random_source rng(2);
    for (uint32_t first = 0; first < 65536; first += 1024) {
        for (uint32_t n = 0; n < 1024; ++n) {
            float x = rng.normal() * std::ldexp(1.0f, rng.below(44) - 28); // subnormal halves and infinities among them
            if (n % 16 == 0) { // between two halves, where the even one is the nearest
                const ggml_fp16_t h = ggml_fp16_t(rng.below(0x7bff));
                x = 0.5f * (ggml_fp16_to_fp32(h) + ggml_fp16_to_fp32(ggml_fp16_t(h + 1)));
            }
            in[n] = {first + n, of_float(x), 0, 0};
        }
        out = run_text(kernel_of("ld.global.u16 %h1, [%in]; cvt.f32.f16 %f1, %h1; st.global.f32 [%out], %f1;"
                                 "ld.global.f32 %f2, [%in+4]; cvt.rn.f16.f32 %h2, %f2; st.global.u16 [%out+4], %h2; cvt.rn.bf16.f32 %h3, %f2; st.global.u16 [%out+8], %h3;"), in);
        for (uint32_t n = 0; n < 1024; ++n) {
            const float want = ggml_fp16_to_fp32(ggml_fp16_t(in[n][0])), got = as_float(out[n][0]), x = as_float(in[n][1]);
            CHECK_MSG(got == want || (std::isnan(got) && std::isnan(want)), "%04x: %g, expected %g", in[n][0], got, want);
            CHECK_MSG(out[n][1] == ggml_fp32_to_fp16(x), "%g: %04x, expected %04x", x, out[n][1], ggml_fp32_to_fp16(x));
            CHECK_MSG(out[n][2] == ggml_fp32_to_bf16(x).bits, "%g: %04x, expected %04x", x, out[n][2], ggml_fp32_to_bf16(x).bits);
        }
    }
}

YAPO_TEST(CudaMachine_LanesPart_AndMeetAgain) {
    // Each lane sums 0 .. its number by itself, one of the lanes leaves, and those left add up their sums.
    const std::string text = kernel_of(
        "mov.u32 %r0, 0; mov.u32 %r1, 0;\n"
        "LOOP: add.u32 %r0, %r0, %r1; add.u32 %r1, %r1, 1; setp.le.u32 %p1, %r1, %tid; @%p1 bra LOOP;\n"
        "setp.eq.u32 %p2, %tid, 5; @%p2 ret;\n"
        "shfl.sync.idx.b32 %r2, %r0, 7, 31, 0xffffffdf;\n"
        "vote.ballot.sync.b32 %r3, %p1, 0xffffffdf; redux.sync.add.u32 %r4, %r0, 0xffffffdf;\n"
        "st.global.v4.u32 [%out], {%r0, %r2, %r3, %r4};");
    const auto out = run_text(text, std::vector<words4>(32));
    uint32_t   all = 0;
    for (uint32_t n = 0; n < 32; ++n) all += n == 5 ? 0 : n * (n + 1) / 2;
    for (uint32_t n = 0; n < 32; ++n) {
        const words4 want = n == 5 ? words4{} : words4{n * (n + 1) / 2, 28, 0, all};
        CHECK_MSG(out[n] == want, "lane %u: %u %u %u %u", n, out[n][0], out[n][1], out[n][2], out[n][3]);
    }
}

YAPO_TEST(CudaMachine_Barriers_HoldTheBlock) {
    // Thread t writes, then reads what thread (t + 40) % 100 wrote, in another warp; 100 threads are no whole number of warps.
    const std::string text = kernel_of(
        "mul.lo.u32 %r0, %tid, %tid; mul.wide.u32 %rd1, %tid, 4; mov.u64 %rd2, cell; add.s64 %rd2, %rd2, %rd1; st.shared.u32 [%rd2], %r0;\n"
        "bar.sync 0;\n"
        "add.u32 %r1, %tid, 40; rem.u32 %r1, %r1, 100; mul.wide.u32 %rd1, %r1, 4; mov.u64 %rd2, cell; add.s64 %rd2, %rd2, %rd1; ld.shared.u32 %r2, [%rd2];\n"
        "setp.gt.u32 %p1, %tid, 90; bar.red.or.pred %p2, 0, %p1; bar.red.and.pred %p3, 0, %p1; selp.u32 %r3, 1, 0, %p2; selp.u32 %r4, 2, 0, %p3; or.b32 %r3, %r3, %r4; bar.red.popc.u32 %r5, 0, %p1;\n"
        "st.global.v4.u32 [%out], {%r0, %r2, %r3, %r5};", ".shared .align 4 .b8 cell[400];\n");
    const auto out = run_text(text, std::vector<words4>(100));
    for (uint32_t n = 0; n < 100; ++n) {
        const uint32_t other = (n + 40) % 100;
        CHECK(out[n] == (words4{n * n, other * other, 1, 9}));
    }
    // A barrier of 64 threads, named 3, for two of the warps only.
    const auto named = run_text(kernel_of("setp.ge.u32 %p1, %tid, 64; @%p1 bra END; bar.sync 3, 64; st.global.u32 [%out], 4; END: bar.sync 0; st.global.u32 [%out+4], 5;"), std::vector<words4>(96));
    CHECK(named[63] == (words4{4, 5}) && named[64] == (words4{0, 5}));
}

YAPO_TEST(CudaMachine_Matrices_AreMultiplied) {
    // One 16 x 8 product: A and B come by ldmatrix from shared memory, B as its columns, and the result is stored as PTX says it lies.
    struct kind {
        const char * name;
        int          depth, bytes; // K, and of a number
        std::function<double(const uint8_t *)> value;
    };
    const auto half = [](const uint8_t * x) { ggml_fp16_t h; memcpy(&h, x, 2); return double(ggml_fp16_to_fp32(h)); };
    const auto brain = [](const uint8_t * x) { ggml_bf16_t h; memcpy(&h, x, 2); return double(ggml_bf16_to_fp32(h)); };
    const auto single = [](const uint8_t * x) { float f; memcpy(&f, x, 4); return double(f); };
    const auto byte = [](const uint8_t * x) { return double(int8_t(*x)); };
    const kind kinds[] = {{"m16n8k16.row.col.f32.f16.f16.f32", 16, 2, half}, {"m16n8k16.row.col.f32.bf16.bf16.f32", 16, 2, brain}, {"m16n8k8.row.col.f32.tf32.tf32.f32", 8, 4, single}, {"m16n8k32.row.col.s32.s8.s8.s32", 32, 1, byte}};
    random_source rng(7);
    for (const kind & k : kinds) {
        std::vector<words4> in(64); // 32 rows of 32 bytes: 16 of A, 8 of B's columns
        auto * data = reinterpret_cast<uint8_t *>(in.data());
        for (int n = 0; n < 24 * k.depth; ++n) {
            const float x = float(rng.below(31) - 15);
            if (k.bytes == 1) data[n] = uint8_t(int8_t(x));
            else if (k.bytes == 4) memcpy(data + 4 * n, &x, 4);
            else if (k.value(reinterpret_cast<const uint8_t *>("\x80\x3f")) == 1.0) { const auto h = ggml_fp32_to_bf16(x); memcpy(data + 2 * n, &h, 2); }
            else { const auto h = ggml_fp32_to_fp16(x); memcpy(data + 2 * n, &h, 2); }
        }
        const bool integers = k.bytes == 1;
        const std::string text = kernel_of(
            "mul.wide.u32 %rd1, %tid, 32; mov.u64 %rd2, tile; add.s64 %rd3, %rd2, %rd1; mul.wide.u32 %rd4, %tid, 16; sub.s64 %rd5, %in, %rd4; add.s64 %rd5, %rd5, %rd1;\n"
            "ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%rd5]; st.shared.v4.u32 [%rd3], {%r0, %r1, %r2, %r3}; ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%rd5+16]; st.shared.v4.u32 [%rd3+16], {%r0, %r1, %r2, %r3};\n"
            "bar.sync 0;\n"
            // matrix n of A: rows 8 (n % 2) on, bytes 16 (n / 2) on; of B: its columns are rows 16 on
            "and.b32 %r4, %tid, 15; shr.u32 %r5, %tid, 4; shl.b32 %r4, %r4, 5; shl.b32 %r5, %r5, 4; add.u32 %r4, %r4, %r5; cvt.u64.u32 %rd6, %r4; add.s64 %rd6, %rd2, %rd6;\n"
            "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r0, %r1, %r2, %r3}, [%rd6];\n"
            "and.b32 %r4, %tid, 7; shr.u32 %r5, %tid, 3; and.b32 %r5, %r5, 1; shl.b32 %r4, %r4, 5; shl.b32 %r5, %r5, 4; add.u32 %r4, %r4, %r5; cvt.u64.u32 %rd6, %r4; add.s64 %rd6, %rd2, %rd6;\n"
            "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r6, %r7}, [%rd6+512];\n"
            "mov.b32 %r8, " + std::string(integers ? "1000" : "0f447a0000") + "; mov.b32 %r9, %r8; mov.b32 %r10, %r8; mov.b32 %r11, %r8;\n"
            "mma.sync.aligned." + k.name + " {%r8, %r9, %r10, %r11}, {%r0, %r1, %r2, %r3}, {%r6, %r7}, {%r8, %r9, %r10, %r11};\n"
            "st.global.v4.u32 [%out], {%r8, %r9, %r10, %r11};", ".shared .align 16 .b8 tile[1024];\n");
        launch_shape one;
        one.block[0]   = 32;
        const auto out = run_text(text, in, one);
        for (int row = 0; row < 16; ++row) {
            for (int column = 0; column < 8; ++column) {
                double want = 1000;
                for (int n = 0; n < k.depth; ++n) want += k.value(data + 32 * row + n * k.bytes) * k.value(data + 32 * (16 + column) + n * k.bytes);
                const uint32_t got = out[size_t(row % 8 * 4 + column / 2)][size_t(row / 8 * 2 + column % 2)];
                CHECK_MSG((integers ? double(s(got)) : double(as_float(got))) == want, "%s, row %d, column %d: %g, expected %g", k.name, row, column, integers ? double(s(got)) : double(as_float(got)), want);
            }
        }
    }
}

YAPO_TEST(CudaMachine_Faults_AreNamed) {
    const struct {
        const char * body;
        uint32_t     threads;
        const char * said;
    } faults[] = {
        {"ld.global.u32 %r1, [%in+16];", 1, "4 bytes, in no allocation"},
        {"ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%in+4];", 2, "misaligned address"},
        {"st.global.u32 [%out+-4], 1;", 1, "in no allocation"},
        {"mov.u64 %rd1, 0; ld.u32 %r1, [%rd1];", 1, "0x0, 4 bytes"},
        {"st.shared.u32 [cell+4], 1;", 1, "shared address 4 of 4 bytes"},
        {".local .b8 own[8]; mov.u64 %rd1, own; st.local.u32 [%rd1+8], 1;", 1, "local address 8 of 8 bytes"},
        {"setp.eq.u32 %p1, %tid, 33; @%p1 trap;", 64, "thread (33, 0, 0)"},
        {"setp.eq.u32 %p1, %tid, 3; @%p1 bar.sync 1, 64;", 32, "a barrier that not all threads of the block reach"},
        {"bar.sync 16;", 1, "barrier 16 of 16"},
        {"setp.eq.u32 %p1, %tid, 3; @%p1 shfl.sync.idx.b32 %r1, %r2, 4, 31, 8;", 32, "reads lane 4, which takes no part"},
        {"setp.ge.u32 %p1, %tid, 8; @%p1 bra ON; shfl.sync.idx.b32 %r1, %r2, 0, 31, 0xffff; ret; ON: bar.sync 0;", 32, "waits for lanes of its warp that never come"},
        {"sust.b.1d.b32 [%rd1], %r1;", 1, "this instruction is not emulated"},
        {"bra NOWHERE;", 1, "no such label"},
        {"add.s32 %r1, %r2, unknown;", 1, "nothing is called unknown"},
        {"add..s32 %r1, %r2, %r3;", 1, "this instruction is not emulated"},
        {"ld.global.u32 %r1, [];", 1, "an operand is missing"},
        {"ld.param.u64 %rd1;", 1, "a part of it is missing"},
        {"bra;", 1, "a part of it is missing"},
        {"bar;", 1, "a part of it is missing"},
        {"ret {; }", 1, "the end of a block that did not begin"},
    };
    for (const auto & f : faults) {
        const std::string said = refusal(kernel_of(f.body, ".shared .align 4 .b8 cell[4];\n"), f.threads);
        CHECK_MSG(said.find(f.said) != std::string::npos, "%s: \"%s\", expected \"%s\"", f.body, said.c_str(), f.said);
        CHECK_MSG(said.find("line 1") != std::string::npos || said.find("line 2") != std::string::npos, "no line: %s", said.c_str());
    }
}
