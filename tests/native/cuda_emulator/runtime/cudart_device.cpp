// The device, its properties, errors.
#include "runtime.h"

#include <cstring>

using namespace cuda_emulator;

namespace {

constexpr char device_name[] = "Emulated CUDA device";
constexpr int  clock_khz     = 1410000;

constexpr int cuda_12 = 12, cuda_13 = 13;

// Writes a struct of C field by field, each at its alignment.
class fields {
  public:
    explicit fields(void * out) : out_(static_cast<char *>(out)) {}

    template <class T> fields & put(T value) {
        at_ = (at_ + sizeof value - 1) / sizeof value * sizeof value;
        return bytes(&value, sizeof value);
    }
    template <class... T> fields & ints(T... values) { return (put<int>(values), ...); }
    fields & zeros(int count) { // ints
        while (count-- > 0) {
            put(0);
        }
        return *this;
    }
    fields & bytes(const void * from, size_t size) {
        std::memcpy(out_ + at_, from, size);
        at_ += size;
        return *this;
    }

  private:
    char * out_;
    size_t at_ = 0;
};

// cudaDeviceProp. CUDA 13 took fields out of the middle; what is reserved at the end is left as it is.
void write_properties(void * out, int version) {
    char name[256] = {};
    std::strcpy(name, device_name);
    const char uuid_and_luid[24] = "yapo-emulated-0";
    const bool old = version < cuda_13;
    fields f(out);
    f.bytes(name, sizeof name).bytes(uuid_and_luid, sizeof uuid_and_luid).ints(0);
    f.put(limits::memory).put(limits::shared).ints(limits::registers, limits::warp).put(limits::pitch);
    f.ints(limits::block_threads, 1024, 1024, 64, 0x7fffffff, 65535, 65535); // threads of a block, a block, a grid
    if (old) {
        f.ints(clock_khz);
    }
    f.put(limits::constant).ints(limits::major, limits::minor).put(size_t(512)).put(size_t(32)); // alignment of textures
    if (old) {
        f.ints(1); // copies beside kernels
    }
    f.ints(limits::multiprocessors);
    if (old) {
        f.ints(0); // no limit to a kernel's time
    }
    f.ints(0, 1); // not integrated; host memory can be mapped
    if (old) {
        f.ints(0); // any process may use it
    }
    f.zeros(old ? 3 : 2).zeros(37);    // textures of one dimension; other textures and surfaces
    f.put(size_t(512)).ints(1, 0);     // alignment of surfaces; concurrent kernels, no error correction
    f.ints(0, 0, 0, 0, 1, 1);          // PCI bus, device and domain; not TCC; a copy engine; unified addresses
    if (old) {
        f.ints(clock_khz);             // of the memory
    }
    f.ints(128, 4 << 20, 0, limits::multiprocessor_threads, 0, 1, 1); // memory bus, L2, persisting L2, threads; no priorities; L1
    f.put(limits::shared_multiprocessor).ints(limits::registers, 1, 0, 0, 0); // managed memory; not one board of many; atomics
    if (old) {
        f.ints(2);                     // single to double precision
    }
    f.ints(0, 0, 0, 1, 0);             // pageable, concurrent managed, preemption; the host's pointer for registered memory; cooperative
    if (old) {
        f.ints(0);                     // cooperative over devices
    }
    f.put(limits::shared_opt_in).ints(0, 0, limits::multiprocessor_blocks, 0); // page tables, managed from the host, ..., window
    f.put(limits::shared_reserved).ints(1).zeros(old ? 13 : 19); // registering; what came last, the new fields of 13 among it
}

int attribute(int which) {
    switch (which) {
        case 1:   return limits::block_threads;
        case 2:
        case 3:   return 1024;
        case 4:   return 64;
        case 5:   return 0x7fffffff;
        case 6:
        case 7:   return 65535;
        case 8:   return limits::shared;
        case 9:   return limits::constant;
        case 10:  return limits::warp;
        case 11:  return limits::pitch;
        case 12:  return limits::registers;
        case 13:
        case 36:  return clock_khz;
        case 14:  return 512;
        case 16:  return limits::multiprocessors;
        case 19:  // host memory can be mapped
        case 31:  // concurrent kernels
        case 40:  // copy engines
        case 41:  // unified addresses
        case 83:  // managed memory
        case 91:  // the host's pointer for registered memory
        case 99:  // registering
        case 102: return 1; // virtual memory management
        case 37:  return 128;
        case 38:  return 4 << 20;
        case 39:  return limits::multiprocessor_threads;
        case 75:  return limits::major;
        case 76:  return limits::minor;
        case 81:  return limits::shared_multiprocessor;
        case 82:  return limits::registers;
        case 97:  return limits::shared_opt_in;
        case 106: return limits::multiprocessor_blocks;
        case 111: return limits::shared_reserved;
        default:  return 0; // 95 among them: blocks run one after another, so a launch cannot be cooperative
    }
}

void must_be_ours(int device) {
    must(device == 0, invalid_device);
}

int get_properties(void * out, int device, int version) {
    return call([&] {
        must_be_ours(device);
        write_properties(out, version);
    });
}

} // namespace

// The name without a version is that of CUDA 13; programs of CUDA 12 call the other.
YAPO_CUDA_API cudaGetDeviceProperties(void * out, int device) {
    return get_properties(out, device, cuda_13);
}

YAPO_CUDA_API cudaGetDeviceProperties_v2(void * out, int device) {
    return get_properties(out, device, cuda_12);
}

YAPO_CUDA_API cudaDeviceGetAttribute(int * out, int which, int device) {
    return call([&] {
        must_be_ours(device);
        *out = attribute(which);
    });
}

YAPO_CUDA_API cudaGetDeviceCount(int * out) {
    return call([&] { *out = 1; });
}

YAPO_CUDA_API cudaGetDevice(int * out) {
    return call([&] { *out = 0; });
}

YAPO_CUDA_API cudaSetDevice(int device) {
    return call([&] { must_be_ours(device); });
}

YAPO_CUDA_API cudaSetDeviceFlags(unsigned) {
    return call([] {});
}

YAPO_CUDA_API cudaDeviceGetPCIBusId(char * out, int size, int device) {
    return call([&] {
        must_be_ours(device);
        must(out && size > 0);
        snprintf(out, size, "0000:00:00.0");
    });
}

YAPO_CUDA_API cudaDeviceCanAccessPeer(int * out, int device, int peer) {
    return call([&] {
        must_be_ours(device);
        must_be_ours(peer);
        *out = 0;
    });
}

YAPO_CUDA_API cudaDeviceEnablePeerAccess(int, unsigned) {
    return call([] { throw failure{peer_access_unsupported}; });
}

YAPO_CUDA_API cudaGetLastError() {
    const std::lock_guard lock(device_lock());
    return last_error(true);
}

YAPO_CUDA_API cudaPeekAtLastError() {
    const std::lock_guard lock(device_lock());
    return last_error(false);
}

YAPO_CUDA_EXPORT const char * cudaGetErrorString(int status) {
    return describe(status);
}

YAPO_CUDA_EXPORT const char * cudaGetErrorName(int status) {
    return name_of(status);
}
