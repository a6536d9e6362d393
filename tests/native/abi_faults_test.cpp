// Refusals of what only a failing disk, engine or system brings about, and that what failed once works the next time. See faults.h.
#include "faults.h"

#if defined(YAPO_TEST_FAULTS)
#  include "llama_source.h"
#  include "session.h"
#  include "stock_session.h"
#  include "train_lm_session.h"
#  include "train_upper_problem.h"
#  include "yapo_attachment.h"

#  include "ggml-backend.h"
#  include "llama.h"

#  include <cmath>
#  include <filesystem>

using namespace yapo_test;

namespace {

// FAILS(fault, expected status, part of the message, call): the call is refused because of that fault and of nothing else.
#  define FAILS(injected, expected, part, call)                            \
      do {                                                                 \
          const fault f injected;                                          \
          REFUSED(expected, part, call);                                   \
          CHECK_MSG(f.happened(), "%s was refused without the fault", part); \
      } while (0)

struct plain_model {
    llama_model * handle;
    explicit plain_model(const std::string & path) {
        llama_model_params p = llama_model_default_params();
        p.n_gpu_layers       = 0;
        handle               = llama_model_load_from_file(path.c_str(), p);
        CHECK(handle);
    }
    ~plain_model() { llama_model_free(handle); }
    plain_model(const plain_model &) = delete;
};

} // namespace

YAPO_TEST(AbiFaults_Decode_RefusedAndNothingIsKept) {
    const model      m{random_model{}};
    context          c(m), untouched(m);
    const batch      first = whole(random_tokens(5, 3)), next = whole(random_tokens(4, 4), {}, 0, 5);
    const yapo_batch view = next.view();
    c.decode(first);
    FAILS(("llama_decode", 0, -2), YAPO_ERR_OUT_OF_MEMORY, "could not allocate what a batch of 4 tokens needs", yapo_context_decode(c.handle, &view, &err));
    std::vector<float> row(c.n_vocab);
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "the last decode failed", yapo_context_logits(c.handle, 0, row.data(), c.n_vocab, &err));
    FAILS(("llama_decode", 0, -3), YAPO_ERR_INTERNAL, "could not decode a batch of 4 tokens (code -3)", yapo_context_decode(c.handle, &view, &err));
    c.decode(next);
    untouched.decode(first);
    untouched.decode(next);
    check_same_bits("after two failures", c.logits(), untouched.logits());
}

YAPO_TEST(AbiFaults_Steering_RefusedAndLeftAsItWas) {
    const model            m{random_model{}};
    context                c(m);
    const dictionary       sae(c.d, 48, 5);
    const steer            mine = sae.vector(1, 12, 6), other = random_dense(2, c.d, 7);
    const yapo_vector_desc d = other.desc();
    const batch            b = whole(random_tokens(6, 3), {1.5f});
    c.attach({mine});
    c.decode(b);
    const auto steered = c.logits();
    FAILS(("ggml_backend_alloc_ctx_tensors_from_buft"), YAPO_ERR_OUT_OF_MEMORY, "no room for the steering vectors on", yapo_context_set_vectors(c.handle, &d, 1, &err));
    FAILS(("llama_set_layer_hook"), YAPO_ERR_OUT_OF_MEMORY, "could not allocate the compute buffers", yapo_context_set_vectors(c.handle, &d, 1, &err));
    FAILS(("llama_set_layer_hook", 0, 1), YAPO_ERR_INTERNAL, "a shape that does not fit", yapo_context_set_vectors(c.handle, &d, 1, &err));
    const std::vector<float> rows(size_t(c.d) * 3, 0.5f);
    FAILS(("llama_set_adapter_cvec"), YAPO_ERR_OUT_OF_MEMORY, "could not allocate the control vector",
          yapo_context_set_control_vector(c.handle, rows.data(), int64_t(rows.size()), &err));
    c.clear();
    c.decode(b);
    check_same_bits("the vector of before", c.logits(), steered);
}

YAPO_TEST(AbiFaults_Attachment_RefusedAndTheModelIsFree) {
    const plain_model      m(write_random_model({}, scratch("foreign.gguf")));
    const steer            v = random_dense(1, 64, 2);
    const yapo_vector_desc d = v.desc();
    yapo_attachment *      a = nullptr;
    FAILS(("llama_init_from_model"), YAPO_ERR_UNSUPPORTED, "could not create a context on the model", yapo_attachment_create(m.handle, nullptr, &d, 1, &a, &err));
    for (const char * asserts : {"llama_init_from_model", "llama_set_layer_hook"}) { // the process is the host's: it must not end
        FAILS((asserts, 0, 1), YAPO_ERR_INTERNAL, "a shape that does not fit", yapo_attachment_create(m.handle, nullptr, &d, 1, &a, &err));
    }
    CHECK(a == nullptr);
    OK(yapo_attachment_create(m.handle, nullptr, &d, 1, &a, &err));
    yapo_attachment_free(a);
}

YAPO_TEST(AbiFaults_Sampling_WithoutATokenToChoose) {
    const model    m{random_model{}};
    context        c(m);
    yapo_sampler * s = nullptr;
    FAILS(("llama_vocab_n_tokens"), YAPO_ERR_UNSUPPORTED, "has no vocabulary to sample from", yapo_sampler_create(m.handle, nullptr, &s, &err));
    OK(yapo_sampler_create(m.handle, nullptr, &s, &err));
    c.decode(whole(random_tokens(3, 3)));
    std::vector<float> row(c.n_vocab);
    FAILS(("llama_get_logits_ith"), YAPO_ERR_INTERNAL, "has no logits for row 2", yapo_context_logits(c.handle, 2, row.data(), c.n_vocab, &err));
    const std::vector<float> nothing(c.n_vocab, -INFINITY);
    int32_t                  token = -1;
    FAILS(("llama_get_logits_ith", 0, intptr_t(nothing.data())), YAPO_ERR_INTERNAL, "all logits of row 2 are -infinity", yapo_sampler_sample(s, c.handle, 2, &token, &err));
    FAILS(("llama_sampler_apply"), YAPO_ERR_INTERNAL, "chose no token", yapo_sampler_sample(s, c.handle, 2, &token, &err));
    CHECK_EQ(token, -1);
    OK(yapo_sampler_sample(s, c.handle, 2, &token, &err));
    yapo_sampler_free(s);
}

YAPO_TEST(AbiFaults_Tokenizer_ThatCannot) {
    const model m{random_model{}};
    int64_t     n = 0;
    const auto  tokenize = [&](const yapo_model * with, const std::string & text, int special, yapo_error ** err) {
        return yapo_tokenize(with, text.data(), int64_t(text.size()), special, 0, nullptr, 0, &n, err);
    };
    FAILS(("llama_vocab_bos"), YAPO_ERR_FORMAT, "asks for a BOS token in front of or behind every text", tokenize(m.handle, "cat", 1, &err));
    FAILS(("llama_tokenize", 0, 1), YAPO_ERR_FORMAT, "cannot express this text: an unknown merge", tokenize(m.handle, "cat", 0, &err));
    FAILS(("llama_tokenize"), YAPO_ERR_INVALID_ARGUMENT, "this text has more than 2147483647 tokens", tokenize(m.handle, "cat", 0, &err));
    OK(tokenize(m.handle, "cat", 1, &err));
    if (have_llama_source()) {
        const vocabulary_only bpe(llama_source("models/ggml-vocab-qwen2.gguf"));
        const std::string     word(4000, 'a'); // a thread of its own with a deep stack
        FAILS(("pthread_create"), YAPO_ERR_OUT_OF_MEMORY, "the system gives no thread with a stack of", tokenize(bpe.handle, word, 0, &err));
        OK(tokenize(bpe.handle, word, 0, &err));
    }
}

YAPO_TEST(AbiFaults_Models_OfKindsThatAreRefused) {
    const model                m{random_model{}};
    const yapo_context_options o    = options_of({});
    yapo_context *             none = nullptr;
    FAILS(("llama_model_has_encoder"), YAPO_ERR_UNSUPPORTED, "has an encoder; only decoder-only", yapo_context_create(m.handle, &o, &none, &err));
    yapo_model_options options = model::on_cpu();
    options.rpc                = "127.0.0.1:1";
    yapo_model * other         = nullptr;
    FAILS(("ggml_backend_reg_by_name"), YAPO_ERR_UNSUPPORTED, "this build has no RPC backend", yapo_model_load(scratch("gemma2.gguf").c_str(), &options, &other, &err));
    CHECK(none == nullptr && other == nullptr);
}

// No fault: a model with state-space blocks.
YAPO_TEST(AbiFaults_RecurrentStates_OnlyWhole) {
    random_model spec;
    spec.arch = "plamo2";
    const model m(spec);
    sizes       two;
    two.n_seq_max = 2;
    context c(m, two);
    c.decode(whole(random_tokens(6, 3)));
    REFUSED(YAPO_ERR_UNSUPPORTED, "(recurrent states) cannot forget only positions [3, -1) of sequence 0", yapo_context_remove(c.handle, 0, 3, -1, &err));
    REFUSED(YAPO_ERR_UNSUPPORTED, "(recurrent states) can only be copied whole, not [0, 3)", yapo_context_copy(c.handle, 0, 1, 0, 3, &err));
    OK(yapo_context_copy(c.handle, 0, 1, 0, -1, &err));
    c.clear();
}

YAPO_TEST(AbiFaults_Files_ThatFailWhileTheyAreRead) {
    random_model large;
    large.d_model = 32, large.n_layer = 1, large.n_vocab = 80000; // 320,000 bytes of scores: more than the reader holds at a time
    const std::string path     = write_random_model(large, scratch("large.gguf"));
    const char *      gguf     = path.c_str();
    FAILS(("stat", 1), YAPO_ERR_IO, "Input/output error", yapo_gguf_validate(gguf, &err));
    FAILS(("fread"), YAPO_ERR_IO, "reading failed at byte 0 of", yapo_gguf_validate(gguf, &err));
    FAILS(("fseeko"), YAPO_ERR_IO, "cannot go to byte", yapo_gguf_validate(gguf, &err));
    OK(yapo_gguf_validate(gguf, &err));

    const upper::problem p;
    yapo_upper *         none = nullptr;
    FAILS(("ggml_fopen", 1), YAPO_ERR_IO, "cannot be opened for reading", yapo_upper_load(p.path.c_str(), upper::layer, &none, &err));
    FAILS(("gguf_init_from_file"), YAPO_ERR_FORMAT, "not a readable GGUF file", yapo_upper_load(p.path.c_str(), upper::layer, &none, &err));
    CHECK(none == nullptr);
}

YAPO_TEST(AbiFaults_Quantize_TheResultCannotBeNamed) {
    const std::string from = write_random_model(random_model{}, scratch("from.gguf")), to = scratch("to.gguf");
    FAILS(("rename"), YAPO_ERR_IO, "cannot rename", yapo_model_quantize(from.c_str(), to.c_str(), "q8_0", 1, &err));
    int files = 0;
    for (const auto & entry : std::filesystem::directory_iterator(std::filesystem::path(to).parent_path())) {
        files += entry.is_regular_file();
    }
    CHECK_EQ(files, 1); // neither the result nor the file that it was written to
    OK(yapo_model_quantize(from.c_str(), to.c_str(), "q8_0", 1, &err));
}

YAPO_TEST(AbiFaults_SaeState_ThatCannotBeReadWhole) {
    yapo_sae_options o;
    yapo_sae_default_options(&o);
    o.d_model = 16, o.f = 512; // more than a stream reads at a time
    const std::vector<float> mean(16, 0.25f);
    const std::string        state   = scratch("sae.state"), after = scratch("after.state");
    yapo_sae_trainer *       trainer = nullptr;
    OK(yapo_sae_create(&o, mean.data(), 0.1f, &trainer, &err));
    OK(yapo_sae_save_state(trainer, state.c_str(), &err));
    FAILS(("read", 1), YAPO_ERR_IO, "cannot read all of", yapo_sae_load_state(trainer, state.c_str(), &err));
    OK(yapo_sae_save_state(trainer, after.c_str(), &err));
    CHECK(lm::bytes(after) == lm::bytes(state));
    OK(yapo_sae_load_state(trainer, state.c_str(), &err));
    yapo_sae_free(trainer);
}

// Lists of active latents are enlarged within a step; where there is no memory for that, the step after it starts anew.
YAPO_TEST(AbiFaults_SaeTraining_NoMemoryForLongerLists) {
    yapo_sae_options o;
    yapo_sae_default_options(&o);
    o.d_model = 8, o.f = 512;
    const std::vector<float> mean(8, 0.0f);
    std::vector<float>       rows(200 * 8);
    random_source            rng(5);
    for (float & x : rows) x = rng.normal();
    yapo_sae_trainer * trainer = nullptr, * untouched = nullptr;
    OK(yapo_sae_create(&o, mean.data(), 1e-3f, &trainer, &err)); // half of all latents are active
    OK(yapo_sae_create(&o, mean.data(), 1e-3f, &untouched, &err));
    yapo_sae_step step = {}, wanted = {};
    step.struct_size = wanted.struct_size = sizeof step;
    FAILS(("ggml_gallocr_alloc_graph", 1), YAPO_ERR_OUT_OF_MEMORY, "no memory for a training graph of", yapo_sae_train_step(trainer, rows.data(), 200, 1e-3f, 0.1f, &step, &err));
    OK(yapo_sae_train_step(trainer, rows.data(), 200, 1e-3f, 0.1f, &step, &err));
    OK(yapo_sae_train_step(untouched, rows.data(), 200, 1e-3f, 0.1f, &wanted, &err));
    CHECK(step.loss == wanted.loss && step.l0 == wanted.l0);
    yapo_sae_free(trainer);
    yapo_sae_free(untouched);
}

// A system that gives no more threads makes work slower, not wrong.
YAPO_TEST(AbiFaults_Threads_FewerThanAskedFor) {
    const int64_t            d = 16, f = 40, n = 300;
    std::vector<float>       enc(f * d), rows(n * d), z(n * f), wanted(n * f);
    const std::vector<float> bias(f, 0.1f), threshold(f, 0.2f);
    random_source            rng(5);
    for (float & x : enc) x = rng.normal();
    for (float & x : rows) x = rng.normal();
    OK(yapo_sae_encode(d, f, enc.data(), bias.data(), threshold.data(), rows.data(), n, 1, wanted.data(), &err));
    for (int given : {0, 1, 2}) {
        const fault refused("pthread_create", given);
        OK(yapo_sae_encode(d, f, enc.data(), bias.data(), threshold.data(), rows.data(), n, 4, z.data(), &err));
        CHECK(refused.happened());
        CHECK(z == wanted);
    }
}

YAPO_TEST(AbiFaults_StockThreads_FewerThanAskedFor) {
    const dictionary  wide(64, 2048, 3);
    const auto        tokens = random_tokens(64, 5);
    stock_session     s(random_model{}); // two threads, of which this is just enough work for both
    s.attach({wide.vector(1, 2048, 4, 0.1f)}, {1.0f});
    const auto wanted = s.decode(tokens);
    llama_memory_clear(llama_get_memory(s.context), true);
    const fault refused("pthread_create");
    check_same_bits("on one thread", s.decode(tokens), wanted);
    CHECK(refused.happened());
}

YAPO_TEST(AbiFaults_Training_TheEngineFails) {
    const upper::problem p;
    upper::session       s(p.path);
    s.use(p.sae);
    const yapo_sequence q      = p.sequence();
    const double        before = s.logprob(q, p.v.data(), 1.0f);
    double              value  = 0;
    FAILS(("ggml_backend_graph_compute"), YAPO_ERR_INTERNAL, "computing a training graph failed", yapo_upper_logprob(s.worker, &q, p.v.data(), 1.0f, &value, &err));
    CHECK_EQ(s.logprob(q, p.v.data(), 1.0f), before);
    yapo_upper * none = nullptr;
    FAILS(("ggml_backend_tensor_alloc"), YAPO_ERR_INTERNAL, "could not be placed", yapo_upper_load(p.path.c_str(), upper::layer, &none, &err));
    yapo_upper_worker * no_worker = nullptr;
    FAILS(("ggml_backend_dev_init"), YAPO_ERR_INTERNAL, "the CPU backend of ggml is not available", yapo_upper_worker_create(s.upper, &no_worker, &err));
    FAILS(("ggml_backend_reg_get_proc_address"), YAPO_ERR_INTERNAL, "does not let its thread count be set", yapo_upper_worker_create(s.upper, &no_worker, &err));

    upper::session on_device(p.path, upper::layer, "cpu"); // in plain ops, as on any device
    on_device.use(p.sae);
    FAILS(("ggml_gallocr_alloc_graph"), YAPO_ERR_OUT_OF_MEMORY, "has no room for the activations", yapo_upper_logprob(on_device.worker, &q, p.v.data(), 1.0f, &value, &err));
    CHECK(std::isfinite(on_device.logprob(q, p.v.data(), 1.0f)));

    const std::string path = write_random_model(lm::small_model(), scratch("lm.gguf"));
    yapo_lm_options   o;
    yapo_lm_default_options(&o);
    o.n_ctx = lm::T, o.micro_batch = lm::B, o.n_workers = 1;
    yapo_lm_trainer * trainer = nullptr;
    OK(yapo_lm_create(path.c_str(), &o, &trainer, &err));
    const auto   tokens = lm::random_tokens(lm::B, lm::T, 340, 3);
    yapo_lm_step step   = {};
    step.struct_size    = sizeof step;
    FAILS(("ggml_gallocr_alloc_graph"), YAPO_ERR_OUT_OF_MEMORY, "no memory for a training graph of", yapo_lm_train_step(trainer, tokens.data(), lm::B, 1e-3f, &step, &err));
    OK(yapo_lm_train_step(trainer, tokens.data(), lm::B, 1e-3f, &step, &err));
    yapo_lm_free(trainer);
    CHECK(!none && !no_worker);
}
#endif
