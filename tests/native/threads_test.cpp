// What several threads may do at once: contexts of one model, SAEs and attachments that contexts share, workers of one training model. Every result
// is compared bit for bit with the same alone; run under ThreadSanitizer (tools/sanitize.sh) for the races that change no result.
#include "full_sae_oracle.h"
#include "llama_source.h"
#include "session.h"
#include "train_upper_problem.h"

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

using namespace yapo_test;

namespace {

constexpr int n_threads = 4;

// Runs body(thread) on every thread; the first failure of any of them is the test's.
void on_threads(int n, const std::function<void(int)> & body) {
    std::mutex               mutex;
    std::string              failure;
    std::vector<std::thread> threads;
    for (int t = 0; t < n; ++t) {
        threads.emplace_back([&, t] {
            try {
                body(t);
            } catch (const std::exception & e) {
                const std::lock_guard<std::mutex> lock(mutex);
                if (failure.empty()) failure = format("thread %d: %s", t, e.what());
            }
        });
    }
    for (std::thread & t : threads) t.join();
    CHECK_MSG(failure.empty(), "%s", failure.c_str());
}

void same(const std::vector<float> & got, const std::vector<float> & wanted, const char * what) {
    CHECK_MSG(got.size() == wanted.size() && compare(got.data(), wanted.data(), int64_t(got.size())).bits == 0, "%s: other bits than alone", what);
}

} // namespace

// Contexts are made, steered, decoded, sampled from and freed while others do the same, one thread tokenizes and one loads the file again and again.
YAPO_TEST(Threads_ContextsOfOneModel_GiveWhatEachGivesAlone) {
    const std::string path = write_random_model(random_model{}, scratch("shared.gguf"));
    const model       m(path);
    const dictionary  sae(64, 96, 3);
    const full_sae    whole_sae(m, sae, 2);
    const auto        tokens = random_tokens(24, 5);
    // of thread t: another vector each, the last one with the whole SAE that all contexts could share
    const auto vector_of = [&](int t) { return t == 3 ? whole_sae.vector(2, 12, 4) : t % 2 ? random_dense(t, 64, uint64_t(t)) : sae.vector(t, 20, uint64_t(t)); };
    const auto decode = [&](context & c, int t, bool steered) {
        c.clear();
        c.attach(steered ? std::vector<steer>{vector_of(t)} : std::vector<steer>{});
        c.decode(steered ? whole(tokens, {1.5f}) : whole(tokens));
        return c.logits();
    };
    std::vector<std::vector<float>> alone;
    std::vector<float>              plain;
    {
        context c(m);
        for (int t = 0; t < n_threads; ++t) alone.push_back(decode(c, t, true));
        plain = decode(c, 0, false);
    }
    std::atomic<int>  running{n_threads};
    std::vector<char> last(n_threads);
    on_threads(n_threads + 2, [&](int t) {
        if (t == n_threads) {
            const auto once = tokenize(m.handle, "the cat is in the hat", true, false);
            while (running > 0) CHECK(tokenize(m.handle, "the cat is in the hat", true, false) == once);
            return;
        }
        if (t == n_threads + 1) {
            while (running > 0) vocabulary_only{path};
            return;
        }
        struct leaving { // whatever happens, or the other two would wait for ever
            std::atomic<int> & n;
            ~leaving() { --n; }
        } const at_the_end{running};
        for (int round = 0; round < 6; ++round) {
            context c(m);
            same(decode(c, t, true), alone[t], "steered");
            yapo_sampler * s     = nullptr;
            int32_t        token = -1;
            OK(yapo_sampler_create(m.handle, nullptr, &s, &err));
            OK(yapo_sampler_sample(s, c.handle, 3, &token, &err));
            yapo_sampler_free(s);
            same(decode(c, t, false), plain, "not steered");
        }
    });
}

YAPO_TEST(Threads_ModelFreedFirst_ContextsGoOn) {
    const auto                            tokens = random_tokens(16, 5);
    std::vector<std::unique_ptr<context>> contexts;
    std::vector<float>                    alone;
    {
        const model m{random_model{}};
        for (int t = 0; t < n_threads; ++t) contexts.push_back(std::make_unique<context>(m));
        contexts[0]->decode(whole(tokens));
        alone = contexts[0]->logits();
    }
    on_threads(n_threads, [&](int t) {
        for (int round = 0; round < 5; ++round) {
            contexts[t]->clear();
            contexts[t]->decode(whole(tokens));
            same(contexts[t]->logits(), alone, "after its model");
        }
        contexts[t].reset(); // the last one takes the model with it
    });
}

// Cancelling ends what runs in one context, never in another.
YAPO_TEST(Threads_Cancel_ReachesItsOwnContextOnly) {
    const model       m{random_model{}};
    context           cancelled(m), untouched(m);
    const auto        tokens = random_tokens(64, 10);
    std::atomic<bool> stop{false};
    std::thread       canceller([&] {
        while (!stop) yapo_context_cancel(cancelled.handle);
    });
    std::atomic<int> taken{0};
    try {
        on_threads(2, [&](int t) {
            context & c = t ? untouched : cancelled;
            for (int round = 0; round < 20; ++round) {
                c.clear();
                const batch       b      = whole(tokens);
                const yapo_batch  view   = b.view();
                yapo_error *      err    = nullptr;
                const yapo_status status = yapo_context_decode(c.handle, &view, &err);
                yapo_error_free(err);
                CHECK(status == YAPO_OK || (!t && status == YAPO_ERR_CANCELLED));
                if (status != YAPO_OK) ++taken;
            }
        });
    } catch (...) {
        stop = true;
        canceller.join();
        throw;
    }
    stop = true;
    canceller.join();
    note("%d of 20 decodes were cancelled", taken.load());
    CHECK(taken > 0);
}

YAPO_TEST(Threads_LogTaken_WhileOthersFail) {
    const std::string missing = scratch("missing.gguf");
    std::atomic<int>  lines{0};
    on_threads(n_threads, [&](int t) {
        for (int round = 0; round < 50; ++round) {
            if (t == 0) {
                yapo_log_set([](int32_t, const char *, void * user) { ++*static_cast<std::atomic<int> *>(user); }, &lines);
                yapo_log_set(nullptr, nullptr);
            } else {
                yapo_model * none = nullptr;
                REFUSED(YAPO_ERR_IO, "missing.gguf", yapo_model_load(missing.c_str(), nullptr, &none, &err));
                const model m(write_random_model(random_model{}, scratch(format("log-%d.gguf", t))));
            }
        }
    });
}

// The trainer's workers: one set of weights and latents, a thread and a graph each.
YAPO_TEST(Threads_UpperWorkers_GiveWhatEachGivesAlone) {
    const upper::problem p;
    upper::session       s(p.path);
    s.use(p.sae);
    const yapo_sequence q = p.sequence();
    const auto          gradient = [&](yapo_upper_worker * w, float multiplier) {
        std::vector<float> g(p.v.size(), 0.0f);
        double             value = 0;
        OK(yapo_upper_logprob_gradient(w, &q, p.v.data(), multiplier, 1.0, g.data(), &value, &err));
        g.push_back(float(value));
        return g;
    };
    std::vector<std::vector<float>> alone;
    for (int t = 0; t < n_threads; ++t) alone.push_back(gradient(s.worker, 0.5f + float(t)));
    on_threads(n_threads, [&](int t) {
        for (int round = 0; round < 3; ++round) { // created and freed beside the others
            yapo_upper_worker * w = nullptr;
            OK(yapo_upper_worker_create(s.upper, &w, &err));
            const auto got = gradient(w, 0.5f + float(t));
            yapo_upper_worker_free(w);
            same(got, alone[t], "a worker");
        }
    });
}
