// Steering contexts that others created: llama.cpp's own calls on one side, the same through our contexts on the other.
#include "session.h"
#include "yapo_attachment.h"

#include "llama.h"

#include <atomic>
#include <limits>
#include <map>
#include <thread>

using namespace yapo_test;

namespace {

const dictionary sae(64, 96, 3);

struct foreign {
    llama_model * model = nullptr;
    explicit foreign(const std::string & path) {
        llama_model_params p = llama_model_default_params();
        static ggml_backend_dev_t none[] = {nullptr}; // no GPU: with no layers on it one would still take the products of long prompts
        p.devices = none;
        model = llama_model_load_from_file(path.c_str(), p);
        CHECK(model);
    }
    ~foreign() { llama_model_free(model); }

    llama_context * create(uint32_t n_seq_max = 1) const {
        llama_context_params p = llama_context_default_params();
        p.n_ctx = 256, p.n_batch = p.n_ubatch = 64, p.n_seq_max = n_seq_max;
        p.n_threads = p.n_threads_batch = 1;
        p.type_k = p.type_v = GGML_TYPE_F32;
        p.flash_attn_type   = LLAMA_FLASH_ATTN_TYPE_DISABLED;
        p.pooling_type      = LLAMA_POOLING_TYPE_NONE;
        p.swa_full = p.kv_unified = true;
        llama_context * c = llama_init_from_model(model, p);
        CHECK(c);
        return c;
    }
};

std::vector<float> decode(llama_context * c, const batch & given) {
    llama_batch b = llama_batch_init(int32_t(given.tokens.size()), 0, 1);
    b.n_tokens = int32_t(given.tokens.size());
    for (int32_t i = 0; i < b.n_tokens; ++i) {
        b.token[i] = given.tokens[i], b.pos[i] = given.positions[i], b.n_seq_id[i] = 1, b.seq_id[i][0] = given.sequences[i], b.logits[i] = 1;
    }
    const int32_t rc = llama_decode(c, b);
    CHECK_EQ(rc, 0);
    const int32_t      n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(llama_get_model(c)));
    std::vector<float> out;
    for (int32_t i = 0; i < b.n_tokens; ++i) {
        const float * row = llama_get_logits_ith(c, i);
        out.insert(out.end(), row, row + n_vocab);
    }
    llama_batch_free(b);
    return out;
}

std::vector<float> decode(llama_context * c, const std::vector<int32_t> & tokens) {
    llama_memory_clear(llama_get_memory(c), true);
    return decode(c, whole(tokens));
}

std::vector<steer> vectors() { return {sae.vector(0, 40, 1), sae.vector(2, 64, 3), random_dense(3, 64, 7)}; }

const std::vector<float> strengths = {1.0f, -1.5f, 0.3f};

yapo_attachment * attach(llama_model * model, llama_context * context, const std::vector<steer> & all) {
    std::vector<yapo_vector_desc> descs;
    for (const steer & v : all) descs.push_back(v.desc());
    yapo_attachment * a = nullptr;
    OK(yapo_attachment_create(model, context, descs.data(), int32_t(descs.size()), &a, &err));
    return a;
}

void set(yapo_attachment * a, const std::vector<float> & s, int32_t sequence = -1) { OK(yapo_attachment_set_strengths(a, sequence, s.data(), int32_t(s.size()), &err)); }

std::vector<float> ours(const std::string & path, const batch & b, const std::vector<steer> & all, uint32_t n_seq_max = 1) {
    model   m(path);
    sizes   s;
    s.n_seq_max = n_seq_max;
    context c(m, s);
    c.attach(all);
    c.decode(b);
    return c.logits();
}

} // namespace

YAPO_TEST(Attachment_Context_SameBitsAsOurs) {
    const std::string path = write_random_model({}, scratch("foreign.gguf"));
    const auto tokens  = random_tokens(24, 5);
    const auto plain   = ours(path, whole(tokens), {});
    const auto steered = ours(path, whole(tokens, strengths), vectors());
    foreign m(path);
    llama_context * c = m.create();
    check_same_bits("before", decode(c, tokens), plain);
    yapo_attachment * a = attach(m.model, c, vectors());
    check_same_bits("attached at strength 0", decode(c, tokens), plain);
    set(a, strengths);
    check_same_bits("steered", decode(c, tokens), steered);
    set(a, {0, 0, 0});
    check_same_bits("back at strength 0", decode(c, tokens), plain);
    set(a, strengths);
    yapo_attachment_free(a);
    check_same_bits("detached", decode(c, tokens), plain);
    llama_free(c);
}

YAPO_TEST(Attachment_Sequences_HaveStrengthsOfTheirOwn) {
    const std::string path = write_random_model({}, scratch("foreign.gguf"));
    const std::map<int32_t, std::vector<float>> by_sequence = {{0, {1, -1.5f, 0.3f}}, {1, {0, 0, 0}}, {2, {-1, 0.5f, 0}}, {3, {0.25f, 0.25f, 0.25f}}};
    batch mixed, plain;
    for (int32_t i = 0; i < 10; ++i) {
        for (int32_t s = 0; s < 4; ++s) {
            mixed.add(random_tokens(10, 5)[i], i, s, true, by_sequence.at(s));
        }
    }
    const auto wanted = ours(path, mixed, vectors(), 4);
    foreign m(path);
    llama_context * c = m.create(4);
    yapo_attachment * a = attach(m.model, c, vectors());
    set(a, by_sequence.at(3)); // of those without their own
    for (int32_t s : {0, 1, 2}) set(a, by_sequence.at(s), s);
    check_same_bits("four sequences in a batch", decode(c, mixed), wanted);
    // given up again
    for (int32_t s : {0, 1, 2}) OK(yapo_attachment_set_strengths(a, s, nullptr, 0, &err));
    llama_memory_clear(llama_get_memory(c), true);
    batch same;
    for (size_t i = 0; i < mixed.tokens.size(); ++i) same.add(mixed.tokens[i], mixed.positions[i], mixed.sequences[i], true, by_sequence.at(3));
    check_same_bits("all alike", decode(c, mixed), ours(path, same, vectors(), 4));
    yapo_attachment_free(a);
    llama_free(c);
}

YAPO_TEST(Attachment_Model_ReachesContextsCreatedLater) {
    const std::string path = write_random_model({}, scratch("foreign.gguf"));
    const auto tokens  = random_tokens(24, 5);
    const auto plain   = ours(path, whole(tokens), {});
    const auto steered = ours(path, whole(tokens, strengths), vectors());
    foreign m(path);
    llama_context * before = m.create();
    CHECK_EQ(yapo_attachment_created(m.model, before), 1);
    yapo_attachment * a = attach(m.model, nullptr, vectors());
    set(a, strengths);
    llama_context * first = m.create(), * second = m.create();
    CHECK_EQ(yapo_attachment_created(m.model, first), 1);
    CHECK_EQ(yapo_attachment_created(m.model, second), 1);
    check_same_bits("created before", decode(before, tokens), plain);
    check_same_bits("first", decode(first, tokens), steered);
    check_same_bits("second", decode(second, tokens), steered);
    yapo_attachment_freeing(first);
    llama_free(first);
    // the attachment ends while a context lives on, unsteered
    yapo_attachment_free(a);
    check_same_bits("after the attachment", decode(second, tokens), plain);
    // a new one does not reach it, and a context of the same model is free for its own
    a = attach(m.model, nullptr, {random_dense(1, 64, 3)});
    set(a, {5.0f});
    check_same_bits("after a new attachment", decode(second, tokens), plain);
    yapo_attachment_freeing(second);
    llama_free(second);
    yapo_attachment_free(a);
    llama_free(before);
}

YAPO_TEST(Attachment_ContextFreedFirst_IsHarmless) {
    const std::string path = write_random_model({}, scratch("foreign.gguf"));
    foreign m(path);
    llama_context * c = m.create();
    yapo_attachment * a = attach(m.model, c, vectors());
    yapo_attachment_freeing(c);
    llama_free(c);
    set(a, strengths);
    yapo_attachment_free(a);
    yapo_attachment_free(nullptr);
}

// Addresses come again: of contexts, and of what is hooked into them.
YAPO_TEST(Attachment_FreedAfterItsContext_LeavesTheNextOneAlone) {
    const std::string path = write_random_model({}, scratch("foreign.gguf"));
    const auto tokens  = random_tokens(24, 5);
    const auto steered = ours(path, whole(tokens, strengths), vectors());
    foreign m(path);
    int32_t again = 0;
    for (int round = 0; round < 8; ++round) {
        llama_context *   c   = m.create();
        yapo_attachment * old = attach(m.model, c, vectors());
        yapo_attachment_freeing(c);
        llama_free(c);
        llama_context *   next = m.create();
        yapo_attachment * its  = attach(m.model, next, vectors());
        set(its, strengths);
        again += next == c;
        yapo_attachment_free(old);
        check_same_bits("the next context", decode(next, tokens), steered);
        yapo_attachment_free(its);
        llama_free(next);
    }
    note("%d of 8 contexts had the address of the one before", again);
}

// A context that was freed without a word: the next one of its address is hooked anew.
YAPO_TEST(Attachment_ContextGoneWithoutAWord_NextOneIsSteered) {
    const std::string path = write_random_model({}, scratch("foreign.gguf"));
    const auto tokens  = random_tokens(24, 5);
    const auto steered = ours(path, whole(tokens, strengths), vectors());
    foreign m(path);
    yapo_attachment * a = attach(m.model, nullptr, vectors());
    set(a, strengths);
    for (int round = 0; round < 4; ++round) {
        llama_context * c = m.create();
        CHECK_EQ(yapo_attachment_created(m.model, c), 1);
        std::vector<std::string> written_over; // what was freed, were it still in use
        for (size_t size = 24; size < 1024; size += 16) written_over.insert(written_over.end(), 8, std::string(size, '\xff'));
        check_same_bits("every one of them", decode(c, tokens), steered);
        llama_free(c);
    }
    yapo_attachment_free(a);
}

YAPO_TEST(Attachment_StrengthsSetWhileDecoding_AreTakenWhole) {
    // two settings from another thread: every decode gives one of the two results, never a mixture
    const std::string path = write_random_model({}, scratch("foreign.gguf"));
    const auto tokens = random_tokens(24, 5);
    const std::vector<float> up = strengths, down = {-1.0f, 1.5f, -0.3f};
    foreign m(path);
    llama_context * c = m.create();
    yapo_attachment * a = attach(m.model, c, vectors());
    set(a, up);
    const auto with_up = decode(c, tokens);
    set(a, down);
    const auto with_down = decode(c, tokens);
    std::atomic<bool> stop{false};
    std::thread other([&] {
        for (int i = 0; !stop; ++i) set(a, i % 2 ? up : down);
    });
    int32_t mixed = 0;
    for (int i = 0; i < 20; ++i) {
        const auto got = decode(c, tokens);
        const auto is = [&](const std::vector<float> & x) { return compare(got.data(), x.data(), int64_t(x.size())).bits == 0; };
        mixed += !is(with_up) && !is(with_down);
    }
    stop = true;
    other.join();
    yapo_attachment_free(a);
    llama_free(c);
    CHECK_EQ(mixed, 0);
}

YAPO_TEST(Attachment_SeveralThreads_EachItsOwnContexts) {
    // contexts of one model are made, steered, decoded and freed on four threads at once, some by the model's attachment, some by their own
    const std::string path    = write_random_model({}, scratch("foreign.gguf"));
    const auto        tokens  = random_tokens(24, 5);
    const auto        steered = ours(path, whole(tokens, strengths), vectors());
    foreign           m(path);
    yapo_attachment * of_model = attach(m.model, nullptr, vectors());
    set(of_model, strengths);
    std::atomic<int32_t>     wrong{0}, decoded{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            try {
                for (int round = 0; round < 5; ++round) {
                    llama_context *   c   = m.create();
                    yapo_attachment * own = nullptr;
                    if ((round + t) % 2) {
                        CHECK_EQ(yapo_attachment_created(m.model, c), 1);
                    } else {
                        own = attach(m.model, c, vectors());
                        set(own, strengths);
                    }
                    const auto got = decode(c, tokens);
                    wrong += compare(got.data(), steered.data(), int64_t(steered.size())).bits != 0;
                    ++decoded;
                    if (round % 2) yapo_attachment_free(own);
                    yapo_attachment_freeing(c);
                    llama_free(c);
                    if (round % 2 == 0) yapo_attachment_free(own);
                }
            } catch (const std::exception & e) {
                note("%s", e.what());
                ++wrong;
            }
        });
    }
    for (std::thread & t : threads) t.join();
    yapo_attachment_free(of_model);
    CHECK_EQ(decoded.load(), 20);
    CHECK_EQ(wrong.load(), 0);
}

YAPO_TEST(Attachment_BadCalls_AreRefused) {
    const std::string path = write_random_model({}, scratch("foreign.gguf"));
    foreign m(path), other(path);
    llama_context * c = m.create();
    steer v = sae.vector(1, 5, 1);
    yapo_vector_desc d = v.desc();
    yapo_attachment * a = nullptr;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "model and out must be given", yapo_attachment_create(nullptr, c, &d, 1, &a, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "at least one vector, found 0", yapo_attachment_create(m.model, c, &d, 0, &a, &err));
    REFUSED(YAPO_ERR_MISMATCH, "another model", yapo_attachment_create(other.model, c, &d, 1, &a, &err));
    d.layer = 9;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "layer 9 is out of range", yapo_attachment_create(m.model, c, &d, 1, &a, &err));
    d.layer = 1, d.sae = reinterpret_cast<const yapo_full_sae *>(8); // never dereferenced
    REFUSED(YAPO_ERR_UNSUPPORTED, "TopK", yapo_attachment_create(m.model, c, &d, 1, &a, &err));
    d.sae = nullptr;
    OK(yapo_attachment_create(m.model, c, &d, 1, &a, &err));
    yapo_attachment * second = nullptr;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "the context is steered already", yapo_attachment_create(m.model, c, &d, 1, &second, &err));
    OK(yapo_attachment_create(m.model, nullptr, &d, 1, &second, &err));
    yapo_attachment * third = nullptr;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "the model is steered already", yapo_attachment_create(m.model, nullptr, &d, 1, &third, &err));
    const float bad = std::numeric_limits<float>::quiet_NaN();
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "attachment is NULL", yapo_attachment_set_strengths(nullptr, -1, &bad, 1, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "strength 0 is not finite", yapo_attachment_set_strengths(a, -1, &bad, 1, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "n is 2, expected 1", yapo_attachment_set_strengths(a, 0, &bad, 2, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "sequence is -1 without strengths", yapo_attachment_set_strengths(a, -1, nullptr, 0, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "sequence is -2", yapo_attachment_set_strengths(a, -2, &bad, 1, &err));
    yapo_attachment_free(second);
    yapo_attachment_free(a);
    llama_free(c);

    random_model spec;
    spec.arch = "plamo2"; // never calls the hook
    foreign recurrent(write_random_model(spec, scratch("plamo2.gguf")));
    const steer dense = random_dense(1, llama_model_n_embd(recurrent.model), 2);
    d = dense.desc();
    REFUSED(YAPO_ERR_UNSUPPORTED, "never offers the residual stream", yapo_attachment_create(recurrent.model, nullptr, &d, 1, &a, &err));
}
