#include "functions.h"

#include "fat_binary.h"
#include "runtime.h"

#include <algorithm>
#include <map>

namespace cuda_emulator {
namespace {

struct registry { // never destroyed: libraries unregister while the program ends
    std::map<const void *, std::shared_ptr<binary>>   binaries;
    std::map<const void *, std::unique_ptr<function>> functions; // by the host's stub
};

registry & registered() {
    static registry * const r = new registry;
    return *r;
}

void read(binary & b) {
    constexpr int capability = limits::major * 10 + limits::minor;
    std::string text;
    int         best = 0;
    for (auto & ptx : read_fat_binary(b.wrapper)) {
        if (ptx.arch <= capability && ptx.arch > best) {
            best = ptx.arch;
            text = std::move(ptx.text);
        }
    }
    b.arch = best;
    if (best == 0) {
        b.status = no_kernel_image;
        return;
    }
    b.code = std::make_unique<module>(std::move(text));
}

} // namespace

function & function_of(const void * host) {
    auto & all = registered().functions;
    const auto found = all.find(host);
    if (found != all.end()) {
        return *found->second;
    }
    for (const auto & [stub, f] : all) {
        if (f.get() == host) {
            return *f;
        }
    }
    throw failure{invalid_device_function};
}

const kernel & kernel_of(function & f) {
    if (f.found) {
        return *f.found;
    }
    binary & b = *f.of;
    if (!b.read) {
        b.read = true;
        try {
            read(b);
        } catch (const std::exception & e) {
            complain(e.what());
            b.status = invalid_ptx;
        }
    }
    must(b.status == success, b.status);
    try {
        f.found = b.code->find(f.name);
    } catch (const std::exception & e) {
        complain((f.name + ": " + e.what()).c_str());
        throw failure{not_supported};
    }
    must(f.found != nullptr, invalid_device_function);
    return *f.found;
}

size_t dynamic_limit(const function & f, const kernel & k) {
    const size_t usual = limits::shared > k.static_shared ? limits::shared - k.static_shared : 0;
    return f.max_dynamic ? f.max_dynamic : usual;
}

int blocks_that_fit(const kernel & k, int threads, size_t dynamic_shared) {
    if (threads > k.max_threads || threads > limits::block_threads) {
        return 0;
    }
    const int    warps  = (threads + limits::warp - 1) / limits::warp;
    const size_t shared = k.static_shared + dynamic_shared + limits::shared_reserved;
    return std::min({limits::multiprocessor_blocks, limits::multiprocessor_threads / (warps * limits::warp),
                     static_cast<int>(limits::shared_multiprocessor / shared)});
}

} // namespace cuda_emulator

using namespace cuda_emulator;

YAPO_CUDA_EXPORT void ** __cudaRegisterFatBinary(void * wrapper) {
    const std::lock_guard lock(device_lock());
    auto b = std::make_shared<binary>();
    b->wrapper = wrapper;
    return reinterpret_cast<void **>((registered().binaries[b.get()] = b).get());
}

YAPO_CUDA_EXPORT void __cudaRegisterFatBinaryEnd(void **) {}

YAPO_CUDA_EXPORT void __cudaUnregisterFatBinary(void ** handle) {
    const std::lock_guard lock(device_lock());
    auto & all = registered().functions;
    for (auto f = all.begin(); f != all.end();) {
        f = static_cast<const void *>(f->second->of.get()) == handle ? all.erase(f) : std::next(f);
    }
    registered().binaries.erase(handle);
}

YAPO_CUDA_EXPORT void __cudaRegisterFunction(void ** handle, const char * host, char *, const char * name, int, void *, void *, dim3 *, dim3 *, int *) {
    const std::lock_guard lock(device_lock());
    const auto found = registered().binaries.find(handle);
    if (found != registered().binaries.end()) {
        auto f  = std::make_unique<function>();
        f->of   = found->second;
        f->name = name;
        registered().functions[host] = std::move(f);
    }
}

// Variables live in the module; none of the calls that name one from the host is emulated.
YAPO_CUDA_EXPORT void __cudaRegisterVar(void **, char *, char *, const char *, int, size_t, int, int) {}

YAPO_CUDA_EXPORT char __cudaInitModule(void **) { // for managed variables, of which there are none
    return 1;
}

YAPO_CUDA_API __cudaGetKernel(void ** out, const void * host) {
    return call([&] { *out = &function_of(host); });
}
