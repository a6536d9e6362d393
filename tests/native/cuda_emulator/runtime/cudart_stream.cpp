// Streams, events, capture and graphs.
#include "capture.h"
#include "runtime.h"

using namespace cuda_emulator;

namespace {

handles<event> & events() {
    static auto * const all = new handles<event>;
    return *all;
}

handles<graph> & graphs() {
    static auto * const all = new handles<graph>;
    return *all;
}

handles<executable> & executables() {
    static auto * const all = new handles<executable>;
    return *all;
}

constexpr unsigned non_blocking = 1, no_timing = 2;

void wait_for_end(const position & p) {
    ++counts().host_waits;
    run_until(p);
}

} // namespace

YAPO_CUDA_API cudaStreamCreateWithFlags(void ** out, unsigned flags) {
    return call([&] {
        must(out && flags <= non_blocking);
        *out = create_stream(!(flags & non_blocking)).get();
    });
}

YAPO_CUDA_API cudaStreamCreate(void ** out) {
    return cudaStreamCreateWithFlags(out, 0);
}

YAPO_CUDA_API cudaStreamCreateWithPriority(void ** out, unsigned flags, int) {
    return cudaStreamCreateWithFlags(out, flags);
}

YAPO_CUDA_API cudaStreamDestroy(void * handle) {
    return call([&] { // work that is left still runs, when something waits for it
        refuse_for_stream(*stream_of(handle));
        destroy_stream(handle);
    });
}

YAPO_CUDA_API cudaStreamSynchronize(void * handle) {
    return call([&] {
        const auto s = stream_of(handle);
        refuse_for_stream(*s);
        wait_for_end(is_legacy(*s) ? enqueue(*s, {}) : position{s, s->entered}); // the legacy stream's end is that of the blocking ones too
    });
}

YAPO_CUDA_API cudaStreamQuery(void * handle) {
    return call([&] {
        const auto s = stream_of(handle);
        refuse_for_stream(*s);
        must(!run_one({s, s->entered}), not_ready); // a program that polls gets on
    });
}

YAPO_CUDA_API cudaStreamWaitEvent(void * handle, void * event, unsigned) {
    return call([&] { wait_for(*stream_of(handle), events().at(event)); });
}

// The function runs under the device's lock: calling CUDA, which CUDA forbids it, would wait for ever.
YAPO_CUDA_API cudaLaunchHostFunc(void * handle, void (*function)(void *), void * data) {
    return call([&] { submit(*stream_of(handle), {operation::type::host, nullptr, [function, data] { function(data); }}); });
}

YAPO_CUDA_API cudaDeviceSynchronize() {
    return call([] {
        refuse_for_device();
        ++counts().host_waits;
        run_everything();
    });
}

YAPO_CUDA_API cudaEventCreateWithFlags(void ** out, unsigned flags) {
    return call([&] {
        auto e   = std::make_unique<event>();
        e->timed = !(flags & no_timing);
        *out     = events().add(std::move(e));
    });
}

YAPO_CUDA_API cudaEventCreate(void ** out) {
    return cudaEventCreateWithFlags(out, 0);
}

YAPO_CUDA_API cudaEventDestroy(void * handle) {
    return call([&] { events().erase(handle); });
}

YAPO_CUDA_API cudaEventRecord(void * handle, void * stream) {
    return call([&] { record(events().at(handle), *stream_of(stream)); });
}

YAPO_CUDA_API cudaEventSynchronize(void * handle) {
    return call([&] {
        const event & e = events().at(handle);
        refuse_for_event(e);
        wait_for_end(e.at);
    });
}

YAPO_CUDA_API cudaEventQuery(void * handle) {
    return call([&] {
        const event & e = events().at(handle);
        refuse_for_event(e);
        refuse_unsafe();
        must(!run_one(e.at), not_ready);
    });
}

YAPO_CUDA_API cudaEventElapsedTime(float * ms, void * start, void * stop) {
    return call([&] {
        const event & a = events().at(start);
        const event & b = events().at(stop);
        must(a.timed && b.timed && a.recorded && b.recorded, invalid_handle);
        refuse_for_event(a);
        refuse_for_event(b);
        must(a.at.reached() && b.at.reached(), not_ready);
        *ms = std::chrono::duration<float, std::milli>(*b.when - *a.when).count();
    });
}

YAPO_CUDA_API cudaStreamBeginCapture(void * handle, int mode) {
    return call([&] {
        must(mode >= 0 && mode <= 2);
        begin_capture(*stream_of(handle), static_cast<capture_mode>(mode));
    });
}

YAPO_CUDA_API cudaStreamEndCapture(void * handle, void ** out) {
    return call([&] {
        *out = nullptr;
        *out = graphs().add(end_capture(*stream_of(handle)));
    });
}

YAPO_CUDA_API cudaStreamIsCapturing(void * handle, int * out) {
    return call([&] {
        const auto s = stream_of(handle);
        for (const auto & t : all_streams()) { // only asked, so that the capture stays valid
            must(!is_legacy(*s) || !t->blocking || !t->capturing, capture_implicit);
        }
        *out = capture_status(*s);
    });
}

YAPO_CUDA_API cudaThreadExchangeStreamCaptureMode(int * mode) {
    return call([&] {
        must(*mode >= 0 && *mode <= 2);
        *mode = static_cast<int>(exchange_thread_mode(static_cast<capture_mode>(*mode)));
    });
}

YAPO_CUDA_API cudaGraphInstantiate(void ** out, void * handle, unsigned long long) {
    return call([&] {
        ++counts().graph_instantiations;
        *out = executables().add(std::make_unique<executable>(executable{std::make_shared<nodes>(graphs().at(handle).all), {}}));
    });
}

YAPO_CUDA_API cudaGraphExecUpdate(void * handle, void * from, graph_update_info * info) {
    return call([&] {
        executable &  e = executables().at(handle);
        const graph & g = graphs().at(from);
        const int     d = difference(*e.all, g.all);
        *info = {d, nullptr, nullptr};
        must(d == 0, graph_update_failure);
        ++counts().graph_updates;
        e.all = std::make_shared<nodes>(g.all); // launches that are queued keep what they were launched with
    });
}

YAPO_CUDA_API cudaGraphLaunch(void * handle, void * stream) {
    return call([&] {
        executable & e = executables().at(handle);
        const auto   s = stream_of(stream);
        ++counts().graph_launches;
        const position p = submit(*s, {operation::type::graph, nullptr, [all = e.all] { run_graph(*all); }}, {e.last});
        if (p.where) {
            e.last = p;
        }
    });
}

YAPO_CUDA_API cudaGraphDestroy(void * handle) {
    return call([&] { graphs().erase(handle); });
}

YAPO_CUDA_API cudaGraphExecDestroy(void * handle) {
    return call([&] { executables().erase(handle); });
}

// For tests: how many nodes a graph has; the nodes themselves are not handed out.
YAPO_CUDA_API cudaGraphGetNodes(void * handle, void ** out, size_t * count) {
    return call([&] {
        must(!out, not_supported);
        *count = graphs().at(handle).all.size();
    });
}
