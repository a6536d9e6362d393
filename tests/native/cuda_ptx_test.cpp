// The CUDA kernels as a compiler for NVIDIA GPUs leaves them, PTX, run by the emulated device: the code that a GPU's driver would get, with
// its barriers, shuffles and shared memory, every address checked. YAPO_CUDA_PTX names the file, compiled from native/cuda/launch.cu
// (tests/YaPO.Llama.Tests/Native/CudaTests.cs does it).
#include "cuda_problem.h"
#include "harness.h"

#include "cuda_emulator/memory.h"
#include "cuda_emulator/ptx.h"

#include <cxxabi.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <typeinfo>
#include <utility>

using namespace yapo_test;
using namespace yapo::cuda;

namespace {

std::string demangled(const char * name) {
    int    status = 0;
    char * text   = abi::__cxa_demangle(name, nullptr, nullptr, &status);
    const std::string said = text ? text : name;
    free(text);
    return said;
}

std::string text_of(const char * path) {
    std::ifstream file(path, std::ios::binary);
    CHECK_MSG(file.good(), "cannot read %s", path);
    return {std::istreambuf_iterator<char>(file), {}};
}

// launch.cu's kernels: entry<Kernel> for each Kernel.
struct compiled_kernels {
    mutable cuda_emulator::module code; // decodes a kernel when it is first asked for
    std::map<std::string, std::string> names; // the demangled Kernel to the entry
    mutable std::set<std::string>      used;

    explicit compiled_kernels(const std::string & text) : code(text) {
        const std::string entry = ".entry ";
        for (size_t at = 0; (at = text.find(entry, at)) != std::string::npos; ++at) {
            const size_t first = at + entry.size();
            const std::string mangled = text.substr(first, text.find_first_of("( \n", first) - first), whole = demangled(mangled.c_str());
            const size_t open = whole.find("entry<") + 6;
            names[whole.substr(open, whole.find(">(", open) - open)] = mangled;
        }
    }

    template <class Kernel, class Args> void operator()(Kernel, const Args & args) const {
        std::string kind = demangled(typeid(Kernel).name());
        if (kind.back() == '>') kind += ' '; // as the demangler writes "> >"
        auto found = names.find(kind);
        if (found == names.end()) found = names.find(kind.substr(0, kind.size() - 1));
        CHECK_MSG(found != names.end(), "the PTX has no kernel for %s", kind.c_str());
        used.insert(found->second);
        const auto kernel = code.find(found->second);
        CHECK_EQ(kernel->parameter_bytes, sizeof args);
        const grid g = Kernel::blocks(args);
        cuda_emulator::run(*kernel, {{uint32_t(g.x), uint32_t(g.y), 1}, {uint32_t(Kernel::threads), 1, 1}, 0}, &args);
    }
};

// What the device may read and write, and nothing around it.
struct visible {
    std::vector<const void *> ranges;
    template <class T> const T * operator()(const std::vector<T> & x) {
        cuda_emulator::allow(x.data(), x.size() * sizeof(T));
        ranges.push_back(x.data());
        return x.data();
    }
    template <class T> T * operator()(std::vector<T> & x) { return const_cast<T *>((*this)(std::as_const(x))); }
    ~visible() {
        for (const void * range : ranges) cuda_emulator::forbid(range);
    }
};

struct comparison {
    int64_t bits = 0, all = 0;
    void operator()(const std::vector<float> & got, const std::vector<float> & want) {
        bits += compare(got.data(), want.data(), int64_t(want.size())).bits;
        all += int64_t(want.size());
    }
};

} // namespace

YAPO_TEST(CudaPtx_Kernels_AreTheTwinsBitForBit) {
    const char * path = getenv("YAPO_CUDA_PTX");
    CHECK_MSG(path, "YAPO_CUDA_PTX names no file");
    const compiled_kernels on_device(text_of(path));
    comparison compared;
    for (const auto & [d, k, t, v] : {std::array<int64_t, 4>{64, 1, 1, 1}, {300, 64, 1, 1}, {65, 31, 2, 2}, {127, 33, 3, 1}, {100, 100, 8, 8}, {66, 1100, 8, 8}, {33, 96, 9, 40}, {16, 1199, 4, 33}, {40, 1100, 1, 1}, {64, 64, 32, 1}, {65, 65, 33, 2}, {96, 200, 70, 7}, {1, 1, 100, 1}}) {
        const problem      p(d, k, t, v, uint64_t(d + 1000 * k + t));
        std::vector<float> c(size_t(t * k), untouched);
        {
            visible see;
            const auto args = p.args(see(c));
            for (const auto * x : {&p.h, &p.strengths, &p.enc, &p.bias, &p.threshold, &p.values}) see(*x);
            dispatch_codes(args, on_device);
        }
        compared(c, p.codes({}));

        for (const auto & [type, as, block] : row_types) {
            const int64_t    kp = blocks_of(k, block) * block;
            const typed_rows rows(type, d, kp, 17);
            random_source    rng(3);
            std::vector<float> codes, base, out(size_t(t * d), untouched), want = out;
            for (int64_t i = 0; i < t * kp; ++i) codes.push_back(i / kp % 5 == 4 || i % 3 == 0 ? 0.0f : rng.normal());
            for (int64_t i = 0; i < t * d; ++i) base.push_back(rng.normal());
            dispatch_apply({codes.data(), base.data(), rows.data.data(), as, want.data(), d, kp, t}, on_host{});
            visible see;
            dispatch_apply({see(codes), see(base), see(rows.data), as, see(out), d, kp, t}, on_device);
            compared(out, want);
        }
    }
    note("%lld values, %lld differ in any bit; %zu of %zu kernels ran", (long long) compared.all, (long long) compared.bits, on_device.used.size(), on_device.names.size());
    CHECK_EQ(compared.bits, int64_t(0));
    CHECK_EQ(on_device.used.size(), on_device.names.size());
}
