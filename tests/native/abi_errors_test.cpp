// Refusals of the C ABI that no other test meets: wrong options, wrong numbers, files that are not what they should be.
#include "altered_gguf.h"
#include "full_sae_oracle.h"
#include "session.h"

#include "yapo_train.h"

#include <cstring>
#include <limits>

using namespace yapo_test;

namespace {

struct sae_trainer {
    yapo_sae_trainer * handle = nullptr;
    explicit sae_trainer(int64_t d = 8, int64_t f = 16) {
        yapo_sae_options o = options(d, f);
        const std::vector<float> mean(d, 0.0f);
        OK(yapo_sae_create(&o, mean.data(), 0.1f, &handle, &err));
    }
    ~sae_trainer() { yapo_sae_free(handle); }
    sae_trainer(const sae_trainer &) = delete;
    static yapo_sae_options options(int64_t d = 8, int64_t f = 16) {
        yapo_sae_options o;
        yapo_sae_default_options(&o);
        o.d_model = d, o.f = f;
        return o;
    }
};

void write_file(const std::string & path, const std::string & bytes) {
    FILE * f = fopen(path.c_str(), "wb");
    CHECK(f != nullptr);
    fwrite(bytes.data(), 1, bytes.size(), f);
    fclose(f);
}

std::string read_file(const std::string & path) {
    std::string bytes;
    FILE *      f = fopen(path.c_str(), "rb");
    CHECK(f != nullptr);
    char buffer[4096];
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, f)) > 0;) bytes.append(buffer, n);
    fclose(f);
    return bytes;
}

} // namespace

YAPO_TEST(AbiErrors_Context_WrongArguments) {
    const model m{random_model{}};
    context     c(m);
    c.decode(whole(random_tokens(4, 3)));
    yapo_context_stats stats = {};
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "struct_size", yapo_context_get_stats(c.handle, &stats, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "out must be given", yapo_context_get_stats(c.handle, nullptr, &err));
    double out = 0;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "ids and out must be given", yapo_context_logprobs(c.handle, 0, nullptr, 1, &out, &err));
    const int32_t id = 1;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "n must not be negative", yapo_context_logprobs(c.handle, 0, &id, -1, &out, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "must be given", yapo_full_sae_create(m.handle, nullptr, nullptr, &err));
}

YAPO_TEST(AbiErrors_VocabularyOnly_HasNoLayers) {
    const std::string  path = write_random_model(random_model{}, scratch("vocabulary.gguf"));
    yapo_model_options options;
    yapo_model_default_options(&options);
    options.vocab_only = 1;
    yapo_model * m     = nullptr;
    OK(yapo_model_load(path.c_str(), &options, &m, &err));
    yapo_full_sae_desc desc = {};
    desc.struct_size        = sizeof desc;
    yapo_full_sae * sae     = nullptr;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "vocab_only", yapo_full_sae_create(m, &desc, &sae, &err));
    yapo_model_free(m);
}

YAPO_TEST(AbiErrors_SaeTrainer_WrongOptions) {
    const std::vector<float> mean(8, 0.0f);
    yapo_sae_trainer *       none  = nullptr;
    const auto               refused = [&](const char * part, const yapo_sae_options & o, float threshold = 0.1f) {
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, part, yapo_sae_create(&o, mean.data(), threshold, &none, &err));
    };
    yapo_sae_options o = sae_trainer::options();
    o.struct_size = 4, refused("struct_size is 4", o), o = sae_trainer::options();
    o.f = 0, refused("cannot be made", o), o = sae_trainer::options();
    o.d_model = INT64_MAX, refused("cannot be made", o), o = sae_trainer::options();
    o.n_workers = 0, refused("n_workers is 0", o), o = sae_trainer::options();
    o.beta1 = 1, refused("beta1 1", o), o = sae_trainer::options();
    o.epsilon = std::numeric_limits<float>::quiet_NaN(), refused("epsilon", o), o = sae_trainer::options();
    o.k = 17, refused("k is 17", o), o = sae_trainer::options();
    refused("initial threshold 0", o, 0.0f);
    refused("initial threshold inf", o, std::numeric_limits<float>::infinity());
}

YAPO_TEST(AbiErrors_SaeTrainer_WrongRows) {
    const sae_trainer  t;
    std::vector<float> rows(4 * 8);
    random_source      rng(3);
    for (float & x : rows) x = rng.normal();
    yapo_sae_step step = {};
    step.struct_size   = sizeof step;
    const auto train   = [&](const char * part, int64_t n, float rate, float sparsity, yapo_sae_step * out) {
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, part, yapo_sae_train_step(t.handle, rows.data(), n, rate, sparsity, out, &err));
    };
    train("n_rows is 0", 0, 0.1f, 0, &step);
    train("rows in one step", (1 << 20) + 1, 0.1f, 0, &step);
    train("learning rate", 4, -1, 0, &step);
    train("sparsity", 4, 0.1f, std::numeric_limits<float>::quiet_NaN(), &step);
    yapo_sae_step small = {};
    small.struct_size   = 4;
    train("struct_size is 4", 4, 0.1f, 0, &small);
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "rows is NULL", yapo_sae_train_step(t.handle, nullptr, 4, 0.1f, 0, &step, &err));
    rows[9] = std::numeric_limits<float>::infinity();
    train("row 1 holds a value that is not finite", 4, 0.1f, 0, &step);
    std::fill(rows.begin(), rows.end(), 0.0f);
    train("rows equal the mean", 4, 0.1f, 0, &step);
    const int32_t beyond = 16;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "latent 16 is out of range", yapo_sae_resample(t.handle, &beyond, rows.data(), 1, &err));
}

YAPO_TEST(AbiErrors_SaeTrainer_StatesThatAreNotItsOwn) {
    const sae_trainer t, other(8, 24);
    const std::string path = scratch("sae.state"), wrong = scratch("wrong.state");
    OK(yapo_sae_save_state(t.handle, path.c_str(), &err));
    OK(yapo_sae_load_state(t.handle, path.c_str(), &err));
    const std::string bytes = read_file(path);
    REFUSED(YAPO_ERR_IO, "cannot read", yapo_sae_load_state(t.handle, scratch("absent.state").c_str(), &err));
    REFUSED(YAPO_ERR_MISMATCH, "24", yapo_sae_load_state(other.handle, path.c_str(), &err));
    write_file(wrong, std::string(bytes.size(), 'x'));
    REFUSED(YAPO_ERR_FORMAT, "is not the state of an SAE trainer", yapo_sae_load_state(t.handle, wrong.c_str(), &err));
    write_file(wrong, bytes.substr(0, bytes.size() - 4));
    REFUSED(YAPO_ERR_FORMAT, "were expected", yapo_sae_load_state(t.handle, wrong.c_str(), &err));
    REFUSED(YAPO_ERR_IO, "cannot be opened for writing", yapo_sae_save_state(t.handle, scratch("no/such/folder/x").c_str(), &err));
}

YAPO_TEST(AbiErrors_LanguageModelTrainer_WrongOptionsAndFiles) {
    const std::string path = write_random_model(random_model{}, scratch("lm.gguf"));
    yapo_lm_trainer * none = nullptr;
    yapo_lm_options   o;
    yapo_lm_default_options(&o);
    o.struct_size = 0;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "yapo_lm_default_options", yapo_lm_create(path.c_str(), &o, &none, &err));
    yapo_lm_default_options(&o);
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "NULL", yapo_lm_create(nullptr, &o, &none, &err));
    REFUSED(YAPO_ERR_IO, "absent.gguf", yapo_lm_create(scratch("absent.gguf").c_str(), &o, &none, &err));
    const std::string damaged = scratch("damaged.gguf");
    write_file(damaged, read_file(path).substr(0, 100));
    REFUSED(YAPO_ERR_FORMAT, "damaged.gguf", yapo_lm_create(damaged.c_str(), &o, &none, &err));
}

YAPO_TEST(AbiErrors_UpperBlocks_WrongFiles) {
    const std::string path = write_random_model(random_model{}, scratch("upper.gguf"));
    yapo_upper *      none = nullptr;
    REFUSED(YAPO_ERR_IO, "absent.gguf", yapo_upper_load(scratch("absent.gguf").c_str(), 0, &none, &err));
    const std::string bytes = read_file(path), cut = scratch("cut.gguf");
    write_file(cut, bytes.substr(0, bytes.size() / 2)); // the head is whole, the weights are not
    REFUSED(YAPO_ERR_FORMAT, "cut.gguf", yapo_upper_load(cut.c_str(), 0, &none, &err));
}

YAPO_TEST(AbiErrors_Context_ControlVectorsAndMemory) {
    const model        m{random_model{}};
    context            c(m);
    std::vector<float> rows(3 * 64, 0.1f);
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "expected 192", yapo_context_set_control_vector(c.handle, rows.data(), 64, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "or NULL and 0", yapo_context_set_control_vector(c.handle, nullptr, 192, &err));
    rows[70] = std::numeric_limits<float>::infinity();
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "an entry is not finite", yapo_context_set_control_vector(c.handle, rows.data(), 192, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "json must be given", yapo_context_memory(c.handle, nullptr, &err));
}

YAPO_TEST(AbiErrors_NoAlloc_CannotDecode) {
    const std::string  path    = write_random_model(random_model{}, scratch("sizes.gguf"));
    yapo_model_options options = model::on_cpu();
    options.no_alloc           = 1;
    const model   m(path, options);
    const context c(m);
    const batch   one  = whole({2});
    const auto    view = one.view();
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "loaded with no_alloc", yapo_context_decode(c.handle, &view, &err));
}

YAPO_TEST(AbiErrors_Sampler_LogitsThatOverflowed) {
    const model    m{random_model{}};
    context        c(m);
    yapo_sampler * sampler = nullptr;
    OK(yapo_sampler_create(m.handle, nullptr, &sampler, &err));
    c.attach({random_dense(1, 64, 3, 1e38f)});
    c.decode(whole(random_tokens(4, 3), {1e38f}));
    int32_t token = -1;
    REFUSED(YAPO_ERR_INTERNAL, "the model overflowed", yapo_sampler_sample(sampler, c.handle, 3, &token, &err));
    CHECK_EQ(token, -1);
    yapo_sampler_free(sampler);
}

YAPO_TEST(AbiErrors_Chat_MoreThanAnyModelTakes) {
    const model             m{random_model{}};
    const std::string       much((64u << 20) + 1, 'x');
    const yapo_chat_message message = {"user", much.c_str()};
    char *                  text    = nullptr;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "expected at most", yapo_chat_format(m.handle, nullptr, &message, 1, 1, &text, &err));
}

YAPO_TEST(AbiErrors_Paths_ThatTheSystemRefuses) {
    REFUSED(YAPO_ERR_IO, "", yapo_gguf_validate(scratch(std::string(300, 'x')).c_str(), &err)); // longer than a name may be
}

YAPO_TEST(AbiErrors_Files_WithWhatTheyMustNotHave) {
    const std::string path = write_random_model(random_model{}, scratch("whole.gguf"));
    const std::string  part    = altered(path, [](auto * g) { gguf_set_val_u16(g, "split.count", 2), gguf_set_val_u32(g, "split.no", 0); });
    yapo_model_options options = model::on_cpu();
    yapo_model *       none    = nullptr;
    REFUSED(YAPO_ERR_FORMAT, "key split.no has type u32, expected u16", yapo_model_load(part.c_str(), &options, &none, &err));
    // no vocabulary: a model to compute with, not to tokenize or sample with
    const model wordless(altered(path, [](auto * g) { gguf_set_val_str(g, "tokenizer.ggml.model", "none"), gguf_set_val_u32(g, "gemma2.vocab_size", 384); }));
    int64_t     n = 0;
    REFUSED(YAPO_ERR_UNSUPPORTED, "has no vocabulary", yapo_tokenize(wordless.handle, "a", 1, 0, 0, nullptr, 0, &n, &err));
}

// A vector that brings its own rows beside one that reads the SAE of the same id: a feature that this SAE has not.
YAPO_TEST(AbiErrors_Vectors_FeatureBeyondTheSaeTheyShare) {
    const model      m{random_model{}};
    context          c(m);
    const dictionary small(64, 40, 3), large(64, 80, 3);
    const full_sae   s(m, small, 1);
    steer            a = s.vector(1, 5, 1), b = large.vector(1, {3, 70}, 2);
    a.sae_id = b.sae_id = 9;
    const yapo_vector_desc both[] = {a.desc(), b.desc()};
    REFUSED(YAPO_ERR_MISMATCH, "feature 70 is beyond the 40 latents", yapo_context_set_vectors(c.handle, both, 2, &err));
}
