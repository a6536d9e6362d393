// A thousand times: attach and detach, load and unload, create and free, cancel. Nothing may stay behind.
#include "session.h"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#if defined(__GLIBC__)
#  include <malloc.h>
#endif

using namespace yapo_test;

namespace {

constexpr int warm_up = 100, cycles = 1000;

// Bytes in use on the heap. Not resident memory, which also moves with fragmentation: a leak of 100 bytes a cycle must show.
int64_t bytes_in_use() {
#if defined(__GLIBC__)
    const struct mallinfo2 info = mallinfo2();
    return int64_t(info.uordblks) + int64_t(info.hblkhd);
#else
    return 0;
#endif
}

// What the heap does not show: files left open, and files or stacks left mapped.
int64_t open_files() {
#if defined(__linux__)
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
#else
    return 0;
#endif
}

int64_t mappings() {
    std::ifstream in("/proc/self/maps");
    int64_t       n = 0;
    for (std::string line; std::getline(in, line);) ++n;
    return n;
}

template <typename F>
void repeat(const char * what, F && body) {
    for (int i = 0; i < warm_up; ++i) body(i);
    const int64_t handles = yapo_live_handles(), before = bytes_in_use(), files = open_files(), maps = mappings();
    for (int i = 0; i < cycles; ++i) body(warm_up + i);
    const int64_t grown = bytes_in_use() - before;
    note("%s: %d cycles, %lld bytes more in use, %lld files, %lld mappings", what, cycles, (long long) grown, (long long) (open_files() - files), (long long) (mappings() - maps));
    CHECK_EQ(open_files(), files);
    CHECK_MSG(mappings() - maps < cycles / 20, "%s: %lld mappings more after %d cycles", what, (long long) (mappings() - maps), cycles); // the heap itself maps now and then
    CHECK_EQ(yapo_live_handles(), handles);
    CHECK_MSG(grown < 32 * 1024, "%s: %lld bytes more in use after %d cycles", what, (long long) grown, cycles);
}

} // namespace

YAPO_TEST(Lifecycle_AttachDetach_LeavesNothingBehind) {
    const model      m{random_model{}};
    context          c(m);
    const dictionary sae(c.d, 48, 5);
    const steer      sparse = sae.vector(1, 12, 6), dense = random_dense(0, c.d, 7);
    const auto       tokens = random_tokens(4, 8);
    repeat("attach, decode, detach", [&](int i) {
        c.attach(i % 2 ? std::vector<steer>{sparse, dense} : std::vector<steer>{dense});
        c.clear();
        c.decode(whole(tokens, std::vector<float>(i % 2 ? 2 : 1, 1.0f)));
        c.attach({});
    });
}

YAPO_TEST(Lifecycle_CaptureAndReadOut_LeaveNothingBehind) {
    const model m{random_model{}};
    context     c(m);
    const auto  tokens = random_tokens(4, 9);
    repeat("capture on and off", [&](int) {
        c.capture({0, 1}, {YAPO_CAPTURE_BEFORE, YAPO_CAPTURE_AFTER});
        c.clear();
        c.decode(whole(tokens));
        c.capture({}, {});
    });
}

YAPO_TEST(Lifecycle_LoadUnload_LeavesNothingBehind) {
    const std::string path = write_random_model(random_model{}, scratch("lifecycle.gguf"));
    repeat("load, context, sampler, free in turns", [&](int i) {
        yapo_model_options options;
        yapo_model_default_options(&options);
        options.gpu_layers = 0;
        yapo_model *   m = nullptr;
        yapo_context * c = nullptr;
        yapo_sampler * s = nullptr;
        OK(yapo_model_load(path.c_str(), &options, &m, &err));
        const yapo_context_options size = options_of({});
        OK(yapo_context_create(m, &size, &c, &err));
        yapo_sampler_options sampling;
        yapo_sampler_default_options(&sampling);
        OK(yapo_sampler_create(m, &sampling, &s, &err));
        if (i % 2) yapo_model_free(m); // a context keeps its model
        yapo_sampler_free(s);
        yapo_context_free(c);
        if (i % 2 == 0) yapo_model_free(m);
    });
}

YAPO_TEST(Lifecycle_Failures_LeaveNothingBehind) {
    const model       m{random_model{}};
    context           c(m);
    const std::string damaged = scratch("damaged.gguf");
    FILE * f = fopen(damaged.c_str(), "wb");
    fputs("GGUF\3", f);
    fclose(f);
    steer wrong = random_dense(0, c.d + 1, 1);
    repeat("refused loads, attachments and batches", [&](int) {
        yapo_model_options options;
        yapo_model_default_options(&options);
        yapo_model * none = nullptr;
        REFUSED(YAPO_ERR_FORMAT, "damaged.gguf", yapo_model_load(damaged.c_str(), &options, &none, &err));
        const yapo_vector_desc desc = wrong.desc();
        REFUSED(YAPO_ERR_MISMATCH, "", yapo_context_set_vectors(c.handle, &desc, 1, &err));
        batch b;
        b.add(-1, 0);
        const yapo_batch view = b.view();
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, "", yapo_context_decode(c.handle, &view, &err));
        CHECK(yapo_context_decode(c.handle, &view, nullptr) == YAPO_ERR_INVALID_ARGUMENT); // nobody wants the error object
    });
}

YAPO_TEST(Lifecycle_Cancel_LeavesNothingBehindAndTheContextUsable) {
    const model m{random_model{}};
    context     c(m);
    const auto  tokens = random_tokens(64, 10);
    const batch long_one = whole(tokens), short_one = whole(random_tokens(4, 11));
    int cancelled = 0;
    repeat("decode and cancel", [&](int i) {
        c.clear();
        std::thread canceller([&] {
            std::this_thread::sleep_for(std::chrono::microseconds(20 * (i % 60))); // now before the decode begins, now in it, now after it
            yapo_context_cancel(c.handle);
        });
        const yapo_batch  view   = long_one.view();
        yapo_error *      err    = nullptr;
        const yapo_status status = yapo_context_decode(c.handle, &view, &err);
        canceller.join();
        yapo_error_free(err);
        CHECK(status == YAPO_OK || status == YAPO_ERR_CANCELLED);
        cancelled += status == YAPO_ERR_CANCELLED;
    });
    note("%d of %d decodes were cancelled", cancelled, warm_up + cycles);
    c.clear();
    c.decode(short_one);
}
