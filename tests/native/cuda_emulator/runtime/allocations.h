// Memory as CUDA tells it apart. Not thread-safe by itself: what is here is called under the device's lock.
#pragma once

#include <cstddef>

namespace cuda_emulator {

enum class place { pageable, pinned, managed, device };

// Filled with 0xFF, so that reading what was never written shows: NaN as a float, -1 as an integer. Null where there is no room.
void * allocate(size_t bytes, place where);
// False where `first` is not what `allocate` gave for this place.
bool release(void * first, place where);

// Host memory that the program has itself.
bool pin(void * first, size_t bytes);
bool unpin(void * first);

// Virtual memory of the driver interface; `first` lies in an address range that driver.cpp reserved.
void add_mapped(void * first, size_t bytes);
void remove_mapped(void * first);

place place_of(const void * address);
// Whether the device may access all of it. Ranges that touch count as one, as in virtual memory that grew.
bool accessible(const void * first, size_t bytes);
// The same, as a device_fault that names the operation.
void require(const void * first, size_t bytes, const char * operation);

// The device's budget; false where `bytes` more do not fit.
bool   charge(size_t bytes);
void   discharge(size_t bytes);
size_t charged();

} // namespace cuda_emulator
