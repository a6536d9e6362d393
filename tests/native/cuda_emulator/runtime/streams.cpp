#include "streams.h"

#include "api.h"
#include "runtime.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

namespace cuda_emulator {
namespace {

constexpr size_t longest_queue = 100000; // over all streams

struct state {
    std::vector<std::shared_ptr<stream>> streams;
    std::shared_ptr<stream>              legacy = std::make_shared<stream>(true);
    uint64_t                             ticket = 0;
    size_t                               queued = 0;

    state() { streams.push_back(legacy); }
};

state & streams() {
    static state * const s = new state; // never destroyed: threads and programs end late
    return *s;
}

// The default stream of a thread, which ends with it.
struct own_stream {
    std::shared_ptr<stream> value;
    ~own_stream() {
        if (value) {
            const std::lock_guard lock(device_lock());
            value->abandoned = true;
            value.reset(); // so that a call from a later destructor finds none
        }
    }
};

void forget_drained() {
    auto & all = streams().streams;
    all.erase(std::remove_if(all.begin(), all.end(), [](const auto & s) { return s->abandoned && s->queue.empty(); }), all.end());
}

// How far each stream has to run.
using goals = std::map<stream *, uint64_t>;

goals needed_for(std::vector<position> wanted) {
    goals all;
    while (!wanted.empty()) {
        const position p = std::move(wanted.back());
        wanted.pop_back();
        uint64_t & goal = all.try_emplace(p.where.get(), p.where->done).first->second;
        for (uint64_t i = goal; i < p.number; i++) {
            const auto & after = p.where->queue[i - p.where->done].after;
            std::copy_if(after.begin(), after.end(), std::back_inserter(wanted), [](const position & q) { return !q.reached(); });
        }
        goal = std::max(goal, p.number);
    }
    return all;
}

// The stream whose head is to run next; null where all goals are reached. There always is one before: what an item waits for entered earlier.
stream * choose(const goals & all) {
    stream * best = nullptr;
    for (const auto & [s, goal] : all) {
        if (s->done >= goal) {
            continue;
        }
        const auto & head  = s->queue.front();
        const bool   ready = std::all_of(head.after.begin(), head.after.end(), [](const position & p) { return p.reached(); });
        if (ready && (!best || (head.ticket > best->queue.front().ticket) == last_first())) {
            best = s;
        }
    }
    return best;
}

void run_head(stream & s) {
    const std::shared_ptr<stream> keep = s.shared_from_this();
    const stream::item item = std::move(s.queue.front());
    s.queue.pop_front();
    --streams().queued;
    ++s.done;
    if (item.what.run) {
        guard_work(item.what.run);
    }
}

void run_to(const goals & all) {
    while (stream * s = choose(all)) {
        run_head(*s);
    }
    forget_drained();
}

} // namespace

bool last_first() {
    static const bool value = [] {
        const char * order = std::getenv("YAPO_CUDA_EMULATOR_ORDER");
        return !order || std::strcmp(order, "host") != 0;
    }();
    return value;
}

bool position::reached() const {
    return !where || where->done >= number;
}

std::shared_ptr<stream> create_stream(bool blocking) {
    return streams().streams.emplace_back(std::make_shared<stream>(blocking));
}

std::shared_ptr<stream> stream_of(void * handle) {
    if (reinterpret_cast<uintptr_t>(handle) <= 1) {
        return streams().legacy;
    }
    if (reinterpret_cast<uintptr_t>(handle) == 2) {
        thread_local own_stream own;
        if (!own.value) {
            own.value = create_stream(true);
        }
        return own.value;
    }
    for (const auto & s : streams().streams) {
        if (s.get() == handle && !s->abandoned) {
            return s;
        }
    }
    throw failure{invalid_handle};
}

bool is_legacy(const stream & s) {
    return &s == streams().legacy.get();
}

const std::vector<std::shared_ptr<stream>> & all_streams() {
    return streams().streams;
}

void destroy_stream(void * handle) {
    if (reinterpret_cast<uintptr_t>(handle) <= 2) {
        throw failure{invalid_handle};
    }
    stream_of(handle)->abandoned = true;
    forget_drained();
}

position enqueue(stream & s, operation what, std::vector<position> after) {
    state & all = streams();
    if (is_legacy(s)) {
        for (const auto & other : all.streams) {
            if (other->blocking && other.get() != &s) {
                after.push_back({other, other->entered});
            }
        }
    } else if (s.blocking) {
        after.push_back({all.legacy, all.legacy->entered});
    }
    after.erase(std::remove_if(after.begin(), after.end(), [](const position & p) { return p.reached(); }), after.end());
    s.queue.push_back({++all.ticket, std::move(what), std::move(after)});
    const position p = {s.shared_from_this(), ++s.entered};
    if (++all.queued > longest_queue) {
        run_everything();
    }
    return p;
}

void run_until(const position & p) {
    if (!p.reached()) {
        run_to(needed_for({p}));
    }
}

void run_everything() {
    std::vector<position> all;
    for (const auto & s : streams().streams) {
        all.push_back({s, s->entered});
    }
    run_to(needed_for(std::move(all)));
}

bool run_one(const position & p) {
    if (p.reached()) {
        return false;
    }
    run_head(*choose(needed_for({p})));
    return true;
}

void drop_everything() {
    for (const auto & s : streams().streams) {
        s->queue.clear();
        s->done = s->entered;
    }
    streams().queued = 0;
}

} // namespace cuda_emulator
