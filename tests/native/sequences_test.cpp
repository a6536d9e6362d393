// What the cache of a sequence still holds after others came and went, and what a failed decode leaves of it.
#include "session.h"

#include "yapo_eval.h"

using namespace yapo_test;

namespace {

random_model windowed() {
    random_model spec; // gemma2: every other block sees 16 tokens back
    spec.sliding_window = 16;
    return spec;
}

std::vector<int32_t> part(const std::vector<int32_t> & tokens, int32_t first, int32_t last) { return {tokens.begin() + first, tokens.begin() + last}; }

// The logits after the last of the tokens, in a context of their own.
std::vector<float> alone(const model & m, const std::vector<int32_t> & tokens) {
    sizes s;
    s.n_ctx = 1024;
    context c(m, s);
    for (int32_t p = 0; p < int32_t(tokens.size()); p += 50) c.decode(whole(part(tokens, p, std::min<int32_t>(p + 50, int32_t(tokens.size()))), {}, 0, p));
    return c.logits(c.last - 1);
}

} // namespace

// llama.cpp gives cells behind the window to others even where the cache has room, and with the whole cache of such blocks asked for (swa_full).
YAPO_TEST(Sequences_WindowTakenByOthers_NotRewoundInto) {
    const model m(windowed());
    sizes       s;
    s.n_seq_max = 3;
    context    c(m, s);
    const auto tokens = random_tokens(100, 5), others = random_tokens(40, 6);
    c.decode(whole(part(others, 0, 10), {}, 1));
    c.decode(whole(part(tokens, 0, 50)));
    c.decode(whole(part(tokens, 50, 100), {}, 0, 50));
    OK(yapo_context_remove(c.handle, 1, 0, -1, &err));
    c.decode(whole(others, {}, 1)); // into the 10 cells that are free, and 30 of the other sequence's
    REFUSED(YAPO_ERR_UNSUPPORTED, "sliding window", yapo_context_remove(c.handle, 0, 40, -1, &err));
    REFUSED(YAPO_ERR_UNSUPPORTED, "sliding window", yapo_context_copy(c.handle, 0, 2, 0, 40, &err));
    // where the window before the position is still there
    OK(yapo_context_remove(c.handle, 0, 60, -1, &err));
    c.decode(whole(part(tokens, 60, 100), {}, 0, 60));
    check_close("rewound", c.logits(39), alone(m, tokens), 1e-4);
    OK(yapo_context_copy(c.handle, 0, 2, 0, -1, &err));
    c.decode(whole({7}, {}, 2, 100));
    auto longer = tokens;
    longer.push_back(7);
    check_close("copied", c.logits(0), alone(m, longer), 1e-4);
    // and from the beginning
    OK(yapo_context_remove(c.handle, 0, 0, -1, &err));
    c.decode(whole(part(tokens, 0, 40)));
    check_close("anew", c.logits(39), alone(m, part(tokens, 0, 40)), 1e-4);
}

// The smaller cache of such blocks holds the window before the last position and little more.
YAPO_TEST(Sequences_WindowPruned_NeitherRewoundIntoNorTorn) {
    const model m(windowed());
    sizes       s;
    s.n_ctx = 1024, s.n_seq_max = 2;
    yapo_context_options o = options_of(s);
    o.swa_full = 0, o.n_ubatch = 16;
    context       c(m, s);
    yapo_context_free(c.handle);
    c.handle = nullptr;
    OK(yapo_context_create(m.handle, &o, &c.handle, &err));
    const auto tokens = random_tokens(600, 5); // more than the 256 cells that llama.cpp gives such a cache at least
    for (int32_t p = 0; p < 600; p += 50) c.decode(whole(part(tokens, p, p + 50), {}, 0, p));
    REFUSED(YAPO_ERR_UNSUPPORTED, "sliding window", yapo_context_remove(c.handle, 0, 100, -1, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "hole", yapo_context_remove(c.handle, 0, 100, 200, &err));
    REFUSED(YAPO_ERR_UNSUPPORTED, "sliding window", yapo_context_copy(c.handle, 0, 1, 0, 100, &err));
    OK(yapo_context_remove(c.handle, 0, 598, -1, &err)); // the window before it is there
    c.decode(whole(part(tokens, 598, 600), {}, 0, 598));
    check_close("rewound", c.logits(1), alone(m, tokens), 1e-4);
    OK(yapo_context_copy(c.handle, 0, 1, 0, -1, &err));
    OK(yapo_context_remove(c.handle, 0, 0, -1, &err)); // or its cells would be neither's to give up
    c.decode(whole({7, 8}, {}, 1, 600));
    c.decode(whole(part(tokens, 0, 10)));
}

// The caller's own cut at the front is no loss.
YAPO_TEST(Sequences_FrontRemoved_StillRewound) {
    const model m(windowed());
    context     c(m);
    const auto  tokens = random_tokens(40, 5);
    c.decode(whole(tokens));
    OK(yapo_context_remove(c.handle, 0, 0, 30, &err));
    OK(yapo_context_remove(c.handle, 0, 36, -1, &err));
    c.decode(whole(part(tokens, 36, 40), {}, 0, 36));
    OK(yapo_context_remove(c.handle, 0, 30, -1, &err)); // all that is left
    c.decode(whole(tokens));
    OK(yapo_context_remove(c.handle, 0, 20, -1, &err));
}

// A cancelled decode takes the states of a recurrent model with it. Whoever goes on from there hears of it, instead of cutting off nothing.
YAPO_TEST(Sequences_StatesLostByACancelledDecode_SayThatTheyAre) {
    random_model spec;
    spec.arch = "plamo2";
    const model m(spec);
    struct canceller {
        yapo_context * context = nullptr;
        bool           on      = false;
        static bool    call(void *, bool ask, void * user) {
            auto & self = *static_cast<canceller *>(user);
            if (ask && self.on) yapo_context_cancel(self.context);
            return false;
        }
    } cancel;
    sizes s;
    s.n_seq_max = 2;
    const yapo_context_options o = options_of(s);
    context c(m, s);
    yapo_context_free(c.handle);
    c.handle = nullptr;
    OK(yapo_context_create_with_eval(m.handle, &o, reinterpret_cast<void *>(&canceller::call), &cancel, &c.handle, &err));
    cancel.context = c.handle;
    const auto tokens = random_tokens(12, 3);
    c.decode(whole(part(tokens, 0, 6)));
    c.decode(whole(part(tokens, 0, 3), {}, 1));
    cancel.on = true;
    const batch      rest = whole(part(tokens, 6, 12), {}, 0, 6);
    const yapo_batch view = rest.view();
    REFUSED(YAPO_ERR_CANCELLED, "nor what was there of their sequences", yapo_context_decode(c.handle, &view, &err));
    cancel.on = false;
    REFUSED(YAPO_ERR_UNSUPPORTED, "sequence 0 is empty: a failed decode took all of it", yapo_context_remove(c.handle, 0, 6, -1, &err));
    REFUSED(YAPO_ERR_UNSUPPORTED, "sequence 0 is empty: a failed decode took all of it", yapo_context_copy(c.handle, 0, 1, 3, -1, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "positions[0] is 6, expected 0", yapo_context_decode(c.handle, &view, &err));
    c.decode(whole(part(tokens, 3, 6), {}, 1, 3)); // the other sequence is as it was
    OK(yapo_context_remove(c.handle, 0, 0, -1, &err));
    OK(yapo_context_remove(c.handle, 0, 6, -1, &err));
    c.decode(whole(part(tokens, 0, 6)));
    c.decode(rest);
    context clean(m, s);
    clean.decode(whole(part(tokens, 0, 6)));
    clean.decode(rest);
    check_close("evaluated again", c.logits(), clean.logits(), 1e-5);
}

// Copies of recurrent states are whole, and go their own ways.
YAPO_TEST(Sequences_StatesCopied_GoOnApart) {
    random_model spec;
    spec.arch = "mamba";
    const model m(spec);
    sizes       s;
    s.n_seq_max = 2;
    context    c(m, s);
    const auto tokens = random_tokens(12, 3), others = random_tokens(4, 4);
    c.decode(whole(part(tokens, 0, 8)));
    OK(yapo_context_copy(c.handle, 0, 1, 0, -1, &err));
    c.decode(whole(others, {}, 1, 8));
    auto apart = part(tokens, 0, 8);
    apart.insert(apart.end(), others.begin(), others.end());
    check_close("the copy", c.logits(3), alone(m, apart), 1e-5);
    c.decode(whole(part(tokens, 8, 12), {}, 0, 8));
    check_close("the original", c.logits(3), alone(m, tokens), 1e-5);
    REFUSED(YAPO_ERR_UNSUPPORTED, "recurrent states", yapo_context_remove(c.handle, 0, 10, -1, &err));
    OK(yapo_context_remove(c.handle, 0, 0, -1, &err));
    c.decode(whole({9}, {}, 1, 12)); // and stays when the original goes
}
