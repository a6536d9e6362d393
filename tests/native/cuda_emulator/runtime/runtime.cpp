#include "runtime.h"

#include "../ptx.h"

namespace cuda_emulator {
namespace {

int fault = success;
thread_local int last = success;

void die(int status, const char * text) {
    complain(text);
    fault = status;
    drop_everything();
    throw failure{status};
}

} // namespace

std::mutex & device_lock() {
    static std::mutex * const lock = new std::mutex; // never destroyed, like all that programs reach while they end
    return *lock;
}

yapo_cuda_emulator_counts & counts() {
    static yapo_cuda_emulator_counts all = {};
    return all;
}

int device_fault_status() {
    return fault;
}

void guard_work(const std::function<void()> & work) {
    try {
        work();
    } catch (const device_fault & e) {
        die(illegal_address, e.what());
    } catch (const std::exception & e) {
        die(unknown_error, e.what());
    }
}

int note(int status) {
    if (status != success) {
        last = status;
    }
    return status;
}

int last_error(bool reset) {
    const int status = last;
    if (reset) {
        last = device_fault_status();
    }
    return status;
}

void complain(const char * text) {
    fprintf(stderr, "CUDA emulator: %s\n", text);
}

} // namespace cuda_emulator

YAPO_CUDA_EXPORT void yapo_cuda_emulator_counters(yapo_cuda_emulator_counts * out) {
    const std::lock_guard lock(cuda_emulator::device_lock());
    *out = cuda_emulator::counts();
}
