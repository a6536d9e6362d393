// Damaged states of the trainers: loaded or refused in words, never a crash; a refused one changes nothing. Under AddressSanitizer this is what it is for.
#include "train_lm_session.h"

#include <algorithm>
#include <cstring>
#include <fstream>

using namespace yapo_test;

namespace {

void write(const std::string & path, const std::string & data) {
    std::ofstream out(path, std::ios::binary);
    out.write(data.data(), std::streamsize(data.size()));
}

// Cuts the file, or overwrites up to three numbers, mostly in front, where the structure is.
std::string damaged(const std::string & whole, random_source & rng) {
    static const uint64_t interesting[] = {0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x7fffffffffffffff, 0x8000000000000000, ~uint64_t(0), uint64_t(1) << 40};
    std::string data = whole;
    if (rng.below(5) == 0) return data.substr(0, size_t(rng.below(int32_t(data.size()))));
    for (int n = 1 + rng.below(3); n > 0; --n) {
        const size_t   at    = size_t(rng.below(int32_t(rng.below(4) ? std::min<size_t>(data.size(), 2048) : data.size())));
        const uint64_t value = rng.below(2) ? rng.next() : interesting[rng.below(13)];
        const size_t   width = std::min<size_t>(size_t(1) << rng.below(4), data.size() - at);
        memcpy(&data[at], &value, width);
    }
    return data;
}

// load and save_state are the trainer's.
template <typename L, typename S> void fuzz(const char * what, const std::string & state, uint64_t seed, L && load, S && save) {
    const std::string whole = lm::bytes(state), path = scratch("damaged.state"), before = scratch("before.state"), after = scratch("after.state");
    random_source     rng(seed);
    int               loaded = 0, refused = 0;
    for (int i = 0; i < 400; ++i) {
        write(path, damaged(whole, rng));
        save(before);
        yapo_error *      err    = nullptr;
        const yapo_status status = load(path.c_str(), &err);
        if (status == YAPO_OK) {
            ++loaded;
        } else {
            const std::string message = yapo_error_message(err);
            CHECK_MSG(message.find("damaged.state") != std::string::npos, "%s, case %d: %s", what, i, message.c_str());
            CHECK_MSG(status != YAPO_ERR_INTERNAL, "%s, case %d: %s", what, i, message.c_str());
            save(after);
            CHECK_MSG(lm::bytes(after) == lm::bytes(before), "%s, case %d: refused, and yet the trainer changed", what, i);
            ++refused;
        }
        yapo_error_free(err);
    }
    note("%s: %d refused, %d loaded", what, refused, loaded);
    CHECK(refused > 100);
    OK(load(state.c_str(), &err));
}

} // namespace

YAPO_TEST(TrainStateFuzz_LanguageModel_RefusedOrLoaded) {
    const std::string path = write_random_model(lm::small_model(), scratch("lm.gguf")), state = scratch("lm.state");
    yapo_lm_trainer * trainer = lm::create(path, lm::T, lm::B, 1);
    OK(yapo_lm_save_state(trainer, state.c_str(), &err));
    fuzz(
        "language model", state, 5, [&](const char * p, yapo_error ** err) { return yapo_lm_load_state(trainer, p, err); },
        [&](const std::string & p) { OK(yapo_lm_save_state(trainer, p.c_str(), &err)); });
    yapo_lm_free(trainer);
}

YAPO_TEST(TrainStateFuzz_Sae_RefusedOrLoaded) {
    yapo_sae_options o;
    yapo_sae_default_options(&o);
    o.d_model = 8, o.f = 32;
    const std::vector<float> mean(8, 0.25f);
    const std::string        state   = scratch("sae.state");
    yapo_sae_trainer *       trainer = nullptr;
    OK(yapo_sae_create(&o, mean.data(), 0.1f, &trainer, &err));
    OK(yapo_sae_save_state(trainer, state.c_str(), &err));
    fuzz(
        "SAE", state, 6, [&](const char * p, yapo_error ** err) { return yapo_sae_load_state(trainer, p, err); },
        [&](const std::string & p) { OK(yapo_sae_save_state(trainer, p.c_str(), &err)); });
    yapo_sae_free(trainer);
}
