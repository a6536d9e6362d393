// What every call of the interfaces shares: the device's lock, its error that stays, the last error of the thread, handles.
#pragma once

#include "api.h"
#include "../counters.h"
#include "streams.h"

#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <utility>

namespace cuda_emulator {

std::mutex & device_lock();

yapo_cuda_emulator_counts & counts();

// The error that every call returns after device code went wrong; 0 before.
int device_fault_status();
// Runs what was queued. Where it throws, the device is at fault from then on, what is still queued is dropped, and failure is thrown.
void guard_work(const std::function<void()> & work);

// The thread's last error: kept until it is asked for.
int  note(int status);
int  last_error(bool reset);
void complain(const char * text);

// A call of the host: one at a time, an error of the device first, exceptions as status.
template <class Body> int call(Body && body) {
    const std::lock_guard lock(device_lock());
    int status = device_fault_status();
    if (status == success) {
        try {
            body();
        } catch (const failure & f) {
            status = f.status;
        } catch (const std::bad_alloc &) {
            status = out_of_memory;
        } catch (const std::exception & e) {
            complain(e.what());
            status = unknown_error;
        }
    }
    return note(status);
}

inline void must(bool right, int otherwise = invalid_value) {
    if (!right) {
        throw failure{otherwise};
    }
}

// Objects that the program holds as opaque pointers.
template <class T> class handles {
  public:
    T * add(std::unique_ptr<T> value) {
        T * const key = value.get();
        all_[key] = std::move(value);
        return key;
    }
    T & at(const void * handle) {
        const auto found = all_.find(handle);
        must(found != all_.end(), invalid_handle);
        return *found->second;
    }
    void erase(const void * handle) { must(all_.erase(handle) == 1, invalid_handle); }

  private:
    std::map<const void *, std::unique_ptr<T>> all_;
};

} // namespace cuda_emulator
