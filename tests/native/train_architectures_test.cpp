// Every architecture that training supports: log-probabilities against llama.cpp and a double-precision oracle, gradients against finite
// differences of that oracle, refusals by name.
#include "train_upper_problem.h"

#include "train/transformer/transformer.h"

using namespace yapo_test;
using namespace yapo_test::upper;

namespace {

double llama_logprob(const problem & p) {
    llama_model * model = llama_model_load_from_file(p.path.c_str(), llama_model_default_params());
    CHECK(model);
    llama_context_params cp = llama_context_default_params();
    cp.n_ctx           = 64;
    cp.n_threads       = cp.n_threads_batch = 1;
    cp.type_k          = cp.type_v = GGML_TYPE_F32;
    cp.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    llama_context * ctx = llama_init_from_model(model, cp);
    CHECK(ctx);
    const int   n     = int(p.tokens.size());
    llama_batch batch = llama_batch_init(n, 0, 1);
    batch.n_tokens    = n;
    for (int t = 0; t < n; ++t) {
        batch.token[t]     = p.tokens[t];
        batch.pos[t]       = t;
        batch.n_seq_id[t]  = 1;
        batch.seq_id[t][0] = 0;
        batch.logits[t]    = 1;
    }
    CHECK_EQ(llama_decode(ctx, batch), 0);
    double logprob = 0;
    for (int t = p.start; t < n; ++t) {
        const float * l   = llama_get_logits_ith(ctx, t - 1);
        double        sum = 0;
        for (int k = 0; k < p.model.n_vocab; ++k) sum += std::exp(double(l[k]));
        logprob += l[p.tokens[t]] - std::log(sum);
    }
    llama_batch_free(batch);
    llama_free(ctx);
    llama_model_free(model);
    return logprob;
}

} // namespace

YAPO_TEST(TrainArchitectures_Logprob_AgreesWithOracleAndLlamaCpp) {
    for (const variant & v : variants()) {
        const problem p(v.model);
        session       s(p.path);
        const double  n = double(p.tokens.size() - p.start), mine = s.logprob(p.sequence(), nullptr, 0.0f);
        const double  to_oracle = std::fabs(mine - p.logprob(std::vector<double>(p.sae.f, 0.0), 0.0, true)) / n, to_llama = std::fabs(mine - llama_logprob(p)) / n;
        note("%-45s per token: oracle %.1e, llama.cpp %.1e", v.what, to_oracle, to_llama);
        CHECK_MSG(to_oracle < 1e-5, "%s", v.what);
        CHECK_MSG(to_llama < v.llama_tolerance, "%s", v.what);
    }
}

YAPO_TEST(TrainArchitectures_Gradient_AgreesWithFiniteDifferences) {
    for (const variant & v : variants()) {
        const problem p(v.model);
        session       s(p.path);
        s.use(p.sae);
        const std::vector<double> value(p.v.begin(), p.v.end());
        const auto   gradient = s.gradient(p.sequence(), p.v.data(), p.sae.f, -1.0f);
        const double error    = relative_l2(gradient, finite_differences(p, value, -1.0, true));
        note("%-45s relative L2 error %.1e over %zu coordinates", v.what, error, value.size());
        CHECK_MSG(error < 1e-5, "%s", v.what);
    }
}

YAPO_TEST(TrainArchitectures_Unsupported_AreRefusedByName) {
    for (const char * arch : {"gemma3n", "plamo2", "bert"}) {
        random_model m = upper_model();
        m.arch = arch;
        const std::string path  = write_random_model(m, scratch("m.gguf"));
        yapo_upper *      upper = nullptr;
        REFUSED(YAPO_ERR_UNSUPPORTED, "training supports gemma2, gemma3, llama, qwen2, qwen3", yapo_upper_load(path.c_str(), layer, &upper, &err));
        REFUSED(YAPO_ERR_UNSUPPORTED, arch, yapo_upper_load(path.c_str(), layer, &upper, &err));
    }
    random_model biased = upper_model(); // llama.cpp would apply this bias, our graph would not
    biased.arch         = "llama";
    biased.output_bias  = true;
    const std::string path  = write_random_model(biased, scratch("m.gguf"));
    yapo_upper *      upper = nullptr;
    REFUSED(YAPO_ERR_UNSUPPORTED, "attn_output.bias", yapo_upper_load(path.c_str(), layer, &upper, &err));
}
