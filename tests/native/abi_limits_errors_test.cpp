// Refusals of what the system does not give: memory, room on the disk, another open file. The process's own limits are lowered for one call.
#include "harness.h"

#if !defined(_WIN32) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) // whose shadow memory is beyond every limit, and which open files of their own
#include "full_sae_oracle.h"
#include "train_upper_problem.h"

#include <csignal>
#include <cstdio>
#include <sys/resource.h>
#include <unistd.h>

using namespace yapo_test;

namespace {

// While it lives, the process gets at most `more` bytes of address space beyond what it has.
struct little_memory {
    rlimit before = {};
    explicit little_memory(size_t more) {
        long   pages = 0;
        FILE * f     = fopen("/proc/self/statm", "r");
        CHECK(f && fscanf(f, "%ld", &pages) == 1);
        fclose(f);
        CHECK_EQ(getrlimit(RLIMIT_AS, &before), 0);
        rlimit less   = before;
        less.rlim_cur = rlim_t(pages) * rlim_t(sysconf(_SC_PAGESIZE)) + more;
        CHECK_EQ(setrlimit(RLIMIT_AS, &less), 0);
    }
    ~little_memory() { setrlimit(RLIMIT_AS, &before); }
};

// Calls with little memory and says what came of it; the check itself wants memory again.
template <typename F> void refused(size_t more, const char * part, F && call) {
    yapo_error * err    = nullptr;
    yapo_status  status = YAPO_OK;
    {
        const little_memory limit(more);
        status = call(&err);
    }
    expect_error(__FILE__, __LINE__, part, status, err, YAPO_ERR_OUT_OF_MEMORY, part);
}

constexpr size_t mib = size_t(1) << 20;

} // namespace

#if defined(__linux__)
YAPO_TEST(AbiErrors_OutOfMemory_CapturesAndReadouts) {
    const model      m{random_model{}};
    sizes            large;
    large.n_ctx = large.n_batch = 1 << 16, large.n_ubatch = 64;
    context          c(m, large);
    const dictionary of(64, 150, 3);
    const full_sae   s(m, of, 1);
    const int32_t    layer = 1, site = YAPO_CAPTURE_AFTER;
    refused(8 * mib, "no room for 16777216 bytes of captured residuals of layer 1", [&](yapo_error ** err) { return yapo_context_set_capture(c.handle, &layer, &site, 1, err); });
    yapo_readout_desc r = {};
    r.struct_size       = sizeof r;
    r.sae = s.handle, r.top = 64;
    refused(8 * mib, "no room to read 64 latents of layer 1 out for 65536 tokens", [&](yapo_error ** err) { return yapo_context_set_readout(c.handle, &r, 1, err); });
    // and with memory, both
    c.capture({layer}, {site});
    OK(yapo_context_set_readout(c.handle, &r, 1, &err));
}

YAPO_TEST(AbiErrors_OutOfMemory_WholeSae) {
    const model              m{random_model{}};
    const std::vector<float> bias(1 << 20, 0.0f);
    yapo_full_sae_desc       d = {};
    d.struct_size              = sizeof d;
    d.layer = 1, d.d_model = 64, d.width = int64_t(bias.size()), d.activation = YAPO_SAE_JUMPRELU;
    d.enc_bias = d.threshold = bias.data();
    yapo_full_sae * none     = nullptr;
    refused(64 * mib, "of an SAE of 1048576 latents on the device of layer 1", [&](yapo_error ** err) { return yapo_full_sae_create(m.handle, &d, &none, err); });
    CHECK(none == nullptr);
}

YAPO_TEST(AbiErrors_OutOfMemory_Training) {
    const upper::problem     p;
    upper::session           s(p.path);
    const int32_t            n_tokens = 1025;
    std::vector<int32_t>     tokens(n_tokens, 7);
    std::vector<float>       residual(size_t(n_tokens) * p.model.d_model);
    random_source            rng(2);
    for (float & x : residual) x = rng.normal();
    s.use(p.sae);
    yapo_sequence q = p.sequence();
    q.n_tokens = n_tokens, q.tokens = tokens.data(), q.residual = residual.data(), q.completion_start = 1;
    double value = 0;
    refused(1 * mib, "no memory for the upper blocks at", [&](yapo_error ** err) { return yapo_upper_logprob(s.worker, &q, p.v.data(), 1.0f, &value, err); });
    CHECK(std::isfinite(s.logprob(q, p.v.data(), 1.0f)));

    random_model wide;
    wide.d_model = 256, wide.n_vocab = 16384;
    const std::string path = write_random_model(wide, scratch("wide.gguf"));
    yapo_lm_options   o;
    yapo_lm_default_options(&o);
    yapo_lm_trainer * none = nullptr;
    refused(6 * mib, "no memory for the training weights", [&](yapo_error ** err) { return yapo_lm_create(path.c_str(), &o, &none, err); });
    CHECK(none == nullptr);
}
#endif

// The disk is full after 4,096 bytes: nothing stays of the file, and what was there before does.
YAPO_TEST(AbiErrors_DiskFull_TrainingState) {
    const std::string path = write_random_model(upper::upper_model(), scratch("lm.gguf")), state = scratch("lm.state");
    yapo_lm_options   o;
    yapo_lm_default_options(&o);
    yapo_lm_trainer * trainer = nullptr;
    OK(yapo_lm_create(path.c_str(), &o, &trainer, &err));
    OK(yapo_lm_save_state(trainer, state.c_str(), &err));
    signal(SIGXFSZ, SIG_IGN);
    rlimit before;
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
    rlimit small   = before;
    small.rlim_cur = 4096;
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    yapo_error *      err    = nullptr;
    const yapo_status status = yapo_lm_save_state(trainer, state.c_str(), &err);
    setrlimit(RLIMIT_FSIZE, &before);
    expect_error(__FILE__, __LINE__, "yapo_lm_save_state", status, err, YAPO_ERR_IO, "writing failed (disk full?)");
    OK(yapo_lm_load_state(trainer, state.c_str(), &err));
    yapo_lm_free(trainer);
}

// No file can be opened: the process has all it may have.
YAPO_TEST(AbiErrors_Files_NoneLeftToOpen) {
    const std::string path = write_random_model(random_model{}, scratch("closed.gguf"));
    rlimit            before;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    rlimit none   = before;
    none.rlim_cur = 3;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    yapo_error *      err    = nullptr;
    const yapo_status status = yapo_gguf_validate(path.c_str(), &err);
    setrlimit(RLIMIT_NOFILE, &before);
    expect_error(__FILE__, __LINE__, "yapo_gguf_validate", status, err, YAPO_ERR_IO, "cannot be opened for reading");
}
#endif
