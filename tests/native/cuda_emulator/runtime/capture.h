// Stream capture and the graphs it makes. Under the device's lock, like streams.h.
#pragma once

#include "streams.h"

#include <memory>
#include <thread>
#include <vector>

namespace cuda_emulator {

struct node {
    operation           what;
    std::vector<size_t> after; // indices, all smaller than its own
};

using nodes = std::vector<node>;

struct graph {
    nodes all;
};

struct executable {
    std::shared_ptr<const nodes> all;
    position                     last; // launches of one graph run one after another
};

enum class capture_mode : int { global, own_thread, relaxed };

struct capture {
    capture_mode                         mode;
    std::thread::id                      thread;
    stream *                             origin;
    std::vector<std::shared_ptr<stream>> members; // the origin, and what joined through events
    nodes                                recorded;
    bool                                 invalid = false;
};

// The next operation of a stream: into its queue, or as a node of the graph it captures (the position is empty then).
position submit(stream & s, operation what, std::vector<position> after = {});

void                   begin_capture(stream & s, capture_mode mode);
std::unique_ptr<graph> end_capture(stream & s);
// 0 none, 1 active, 2 invalidated.
int          capture_status(const stream & s);
capture_mode exchange_thread_mode(capture_mode mode);

void record(event & e, stream & s);
void wait_for(stream & s, const event & e);

// What a capture forbids. Each throws failure, and the captures concerned are invalid then: waiting for a stream that captures or
// asking how far it is; the same for an event that a capture recorded; for the whole device; calls like cudaMalloc that may wait,
// by the modes of the captures and the thread; and the legacy default stream while a stream captures that is in order with it.
void refuse_for_stream(const stream & s);
void refuse_for_event(const event & e);
void refuse_for_device();
void refuse_unsafe();
void refuse_for_legacy(const stream & s);

void run_graph(const nodes & all);
// 0, or the cudaGraphExecUpdateResult that says why `to` cannot take over the arguments of `from`.
int difference(const nodes & to, const nodes & from);

} // namespace cuda_emulator
