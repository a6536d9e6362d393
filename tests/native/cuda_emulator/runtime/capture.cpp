#include "capture.h"

#include "api.h"
#include "runtime.h"

#include <algorithm>
#include <numeric>
#include <queue>

namespace cuda_emulator {
namespace {

thread_local capture_mode thread_mode = capture_mode::global;

// Invalidates every capture that `concerned` holds for, and throws where there is one.
template <class Concerned> void refuse(int status, Concerned && concerned) {
    bool any = false;
    for (const auto & s : all_streams()) {
        if (s->capturing && concerned(*s, *s->capturing)) {
            s->capturing->invalid = any = true;
        }
    }
    must(!any, status);
}

capture & valid(const std::shared_ptr<capture> & c) {
    must(!c->invalid, capture_invalidated);
    return *c;
}

void join(std::vector<size_t> & frontier, const std::vector<size_t> & more) {
    frontier.insert(frontier.end(), more.begin(), more.end());
    std::sort(frontier.begin(), frontier.end());
    frontier.erase(std::unique(frontier.begin(), frontier.end()), frontier.end());
}

// Whether every node comes before the origin's end.
bool joined(const nodes & all, const std::vector<size_t> & end) {
    std::vector<bool> before(all.size());
    for (const size_t i : end) {
        before[i] = true;
    }
    for (size_t i = all.size(); i-- > 0;) {
        if (!before[i]) {
            return false;
        }
        for (const size_t j : all[i].after) {
            before[j] = true;
        }
    }
    return true;
}

} // namespace

position submit(stream & s, operation what, std::vector<position> after) {
    if (!s.capturing) {
        refuse_for_legacy(s);
        return enqueue(s, std::move(what), std::move(after));
    }
    nodes & all = valid(s.capturing).recorded;
    all.push_back({std::move(what), s.frontier});
    s.frontier = {all.size() - 1};
    return {};
}

void begin_capture(stream & s, capture_mode mode) {
    must(!is_legacy(s), capture_unsupported);
    must(!s.capturing, illegal_state);
    s.capturing = std::make_shared<capture>(capture{mode, std::this_thread::get_id(), &s, {s.shared_from_this()}, {}});
    s.frontier.clear();
}

std::unique_ptr<graph> end_capture(stream & s) {
    must(s.capturing != nullptr, illegal_state);
    const std::shared_ptr<capture> c = s.capturing;
    if (c->origin != &s) {
        c->invalid = true;
        throw failure{capture_unmatched};
    }
    must(c->mode == capture_mode::relaxed || c->thread == std::this_thread::get_id(), capture_wrong_thread);
    const bool whole = joined(c->recorded, s.frontier);
    for (const auto & member : c->members) {
        member->capturing = nullptr;
        member->frontier.clear();
    }
    c->members.clear(); // which ends the circle, and tells that the capture has ended
    must(!c->invalid, capture_invalidated);
    must(whole, capture_unjoined);
    ++counts().captures;
    return std::make_unique<graph>(graph{std::move(c->recorded)});
}

int capture_status(const stream & s) {
    return !s.capturing ? 0 : s.capturing->invalid ? 2 : 1;
}

capture_mode exchange_thread_mode(capture_mode mode) {
    return std::exchange(thread_mode, mode);
}

void record(event & e, stream & s) {
    if (s.capturing) {
        valid(s.capturing);
        e.captured = s.capturing;
        e.frontier = s.frontier;
        e.recorded = true;
        return;
    }
    refuse_for_legacy(s);
    e.captured = nullptr;
    e.recorded = true;
    auto when  = std::make_shared<std::chrono::steady_clock::time_point>(); // not of the event, which may end before the stream gets here
    e.when     = when;
    e.at       = enqueue(s, {operation::type::nothing, nullptr, [when] { *when = std::chrono::steady_clock::now(); }});
}

void wait_for(stream & s, const event & e) {
    if (!e.recorded) {
        return;
    }
    if (e.captured) {
        must(!e.captured->members.empty(), captured_event);
        valid(e.captured);
        if (is_legacy(s)) {
            e.captured->invalid = true;
            throw failure{capture_implicit};
        }
        if (!s.capturing) {
            s.capturing = e.captured;
            s.capturing->members.push_back(s.shared_from_this());
            s.frontier = e.frontier;
        } else if (s.capturing != e.captured) {
            s.capturing->invalid = e.captured->invalid = true;
            throw failure{capture_merge};
        } else {
            join(s.frontier, e.frontier);
        }
        return;
    }
    if (s.capturing) {
        s.capturing->invalid = true;
        throw failure{capture_isolation};
    }
    submit(s, {}, {e.at});
}

void refuse_for_stream(const stream & s) {
    refuse(capture_unsupported, [&](const stream & t, const capture &) { return &t == &s; });
    refuse_for_legacy(s);
}

void refuse_for_event(const event & e) {
    if (e.captured) {
        e.captured->invalid = true;
        throw failure{captured_event};
    }
}

void refuse_for_device() {
    refuse(capture_unsupported, [](const stream &, const capture &) { return true; });
}

void refuse_unsafe() {
    if (thread_mode == capture_mode::relaxed) {
        return;
    }
    refuse(capture_unsupported, [](const stream &, const capture & c) {
        return c.thread == std::this_thread::get_id() ? c.mode != capture_mode::relaxed :
               c.mode == capture_mode::global && thread_mode == capture_mode::global;
    });
}

void refuse_for_legacy(const stream & s) {
    if (is_legacy(s)) {
        refuse(capture_implicit, [](const stream & t, const capture &) { return t.blocking; });
    }
}

void run_graph(const nodes & all) {
    std::vector<size_t>              waits(all.size());
    std::vector<std::vector<size_t>> next(all.size());
    const auto later = [](size_t a, size_t b) { return last_first() ? a < b : a > b; };
    std::priority_queue<size_t, std::vector<size_t>, decltype(later)> ready(later);
    for (size_t i = 0; i < all.size(); i++) {
        waits[i] = all[i].after.size();
        for (const size_t j : all[i].after) {
            next[j].push_back(i);
        }
        if (waits[i] == 0) {
            ready.push(i);
        }
    }
    while (!ready.empty()) {
        const size_t i = ready.top();
        ready.pop();
        if (all[i].what.run) {
            all[i].what.run();
        }
        for (const size_t j : next[i]) {
            if (--waits[j] == 0) {
                ready.push(j);
            }
        }
    }
}

int difference(const nodes & to, const nodes & from) {
    enum { topology = 2, type = 3, function = 4, parameters = 5 };
    if (to.size() != from.size()) {
        return topology;
    }
    for (size_t i = 0; i < to.size(); i++) {
        const operation & a = to[i].what;
        const operation & b = from[i].what;
        if (a.what != b.what) {
            return type;
        }
        if (to[i].after != from[i].after) {
            return topology;
        }
        if (a.function != b.function) {
            return a.what == operation::type::kernel ? function : parameters;
        }
    }
    return 0;
}

} // namespace cuda_emulator
