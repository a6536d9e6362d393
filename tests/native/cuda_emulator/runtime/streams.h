// Streams and events. Work is lazy and its order adversarial: an operation only enters its stream's queue, and runs when something
// waits for it; of the operations that may run next, the one that entered last does. So a missing synchronization shows as wrong data.
// YAPO_CUDA_EMULATOR_ORDER=host in the environment runs what may run in the order of the calls.
// All of it is called under the device's lock (runtime.h); the device does one thing at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

namespace cuda_emulator {

struct capture;
struct stream;

// Thrown inside of the runtime: the status a call returns.
struct failure {
    int status;
};

struct operation {
    enum class type { nothing, kernel, copy, fill, host, graph };
    type                  what     = type::nothing;
    const void *          function = nullptr; // of a kernel; the direction of a copy
    std::function<void()> run;
};

// "Everything in the stream up to here."
struct position {
    std::shared_ptr<stream> where;
    uint64_t                number = 0;

    bool reached() const;
};

struct stream : std::enable_shared_from_this<stream> {
    struct item {
        uint64_t              ticket; // rises over all streams
        operation             what;
        std::vector<position> after; // beside what stands before it in the queue
    };
    explicit stream(bool blocking) : blocking(blocking) {}

    const bool       blocking;          // in order with the legacy default stream
    bool             abandoned = false; // destroyed by the program, perhaps with work left
    std::deque<item> queue;
    uint64_t         entered = 0, done = 0;

    std::shared_ptr<capture> capturing; // null where it does not
    std::vector<size_t>      frontier;  // the nodes that the next one of this stream comes after
};

struct event {
    bool                     timed    = true;
    bool                     recorded = false;
    position                 at;
    std::shared_ptr<const std::chrono::steady_clock::time_point> when; // the stream reached it
    std::shared_ptr<capture> captured; // last recorded in a capture
    std::vector<size_t>      frontier;
};

std::shared_ptr<stream> create_stream(bool blocking);
void                    destroy_stream(void * handle);
// The stream of a handle: a created one, 0 and 1 for the legacy default stream, 2 for the thread's. Throws invalid_handle.
std::shared_ptr<stream> stream_of(void * handle);
bool                    is_legacy(const stream & s);
// Streams that live, with those that were destroyed with work left.
const std::vector<std::shared_ptr<stream>> & all_streams();

// Past every rule about captures: into the queue, in order with the legacy default stream.
position enqueue(stream & s, operation what, std::vector<position> after = {});
// Throws failure where the work faults; the device stays at fault then.
void run_until(const position & p);
void run_everything();
// One operation, for a program that polls; false where nothing is left to do.
bool run_one(const position & p);
// What is queued is dropped.
void drop_everything();

// True for the last of those that may run, false for the first.
bool last_first();

} // namespace cuda_emulator
