// Upper blocks: completion log-probability and its gradient in a steering vector, against a double-precision oracle.
#include "harness.h"
#include "random_model.h"
#include "train_gemma2_oracle.h"

#include "gguf.h"
#include "llama.h"
#include "train/upper/worker.h"
#include "yapo_train.h"

#include <algorithm>
#include <cmath>
#include <fstream>

using namespace yapo_test;

namespace {

constexpr int layer = 1;

random_model upper_model(uint64_t seed = 17) {
    random_model m;
    m.n_layer = 4;
    m.d_model = 64;
    m.n_head = 4;
    m.n_head_kv = 2;
    m.head_dim = 32;
    m.n_ff = 96;
    m.n_vocab = 352;
    m.sliding_window = 7;
    m.seed = seed;
    return m;
}

struct latents {
    int64_t f, d;
    std::vector<float> enc, enc_bias, threshold, dec;
    latents(int64_t f, int64_t d, uint64_t seed) : f(f), d(d), enc(f * d), enc_bias(f), threshold(f), dec(f * d) {
        random_source rng(seed);
        for (float & x : enc) x = rng.normal() / std::sqrt(float(d));
        for (float & x : dec) x = rng.normal() / std::sqrt(float(d));
        for (float & x : enc_bias) x = 0.1f * rng.normal();
        for (float & x : threshold) x = float(0.5 * rng.uniform());
    }
};

struct problem {
    random_model  model;
    std::string   path;
    gemma2_oracle oracle;
    std::vector<int32_t> tokens;
    std::vector<float>   residual; // [T, D] after `layer`
    int           start;
    latents       sae;
    std::vector<float> v;

    explicit problem(int n_tokens = 21, int completion_start = 13, uint64_t seed = 17)
        : model(upper_model(seed)), path(write_random_model(model, scratch("m.gguf"))), oracle(path), start(completion_start), sae(40, model.d_model, 3) {
        random_source rng(seed + 1);
        for (int t = 0; t < n_tokens; ++t) {
            tokens.push_back(rng.below(model.n_vocab));
        }
        for (const auto & row : oracle.blocks(oracle.embed(tokens), 0, layer + 1)) {
            residual.insert(residual.end(), row.begin(), row.end());
        }
        for (int64_t j = 0; j < sae.f; ++j) {
            v.push_back(0.7f * rng.normal()); // never 0, where the loss has a kink (AtZero tests that side)
        }
    }

    yapo_sequence sequence() const {
        return {sizeof(yapo_sequence), int32_t(tokens.size()), tokens.data(), residual.data(), start, nullptr};
    }

    // h' in double, exactly as yapo.h says it
    gemma2_oracle::matrix steered(const std::vector<double> & value, double multiplier, bool sparse) const {
        gemma2_oracle::matrix x;
        const int64_t D = model.d_model;
        for (size_t t = 0; t < tokens.size(); ++t) {
            std::vector<double> h(residual.begin() + t * D, residual.begin() + (t + 1) * D), out = h;
            const double s = t == 0 ? 0 : multiplier;
            if (!sparse) {
                for (int64_t d = 0; d < D; ++d) out[d] += s * value[d];
            } else {
                for (int64_t j = 0; j < sae.f; ++j) {
                    double pre = sae.enc_bias[j];
                    for (int64_t d = 0; d < D; ++d) pre += sae.enc[j * D + d] * h[d];
                    const double z = pre > sae.threshold[j] ? std::max(pre, 0.0) : 0.0;
                    const double c = std::max(s * value[j], -z);
                    for (int64_t d = 0; d < D; ++d) out[d] += c * sae.dec[j * D + d];
                }
            }
            x.push_back(out);
        }
        return x;
    }

    double logprob(const std::vector<double> & value, double multiplier, bool sparse) const {
        std::vector<int32_t> target(tokens.size(), -1);
        for (size_t t = start; t < tokens.size(); ++t) target[t - 1] = tokens[t];
        return -oracle.loss(oracle.blocks(steered(value, multiplier, sparse), layer + 1, oracle.n_layer), target);
    }
};

// An upper and one worker, freed together.
struct session {
    yapo_upper *        upper = nullptr;
    yapo_upper_worker * worker = nullptr;
    explicit session(const std::string & path, int at = layer) {
        OK(yapo_upper_load(path.c_str(), at, &upper, &err));
        OK(yapo_upper_worker_create(upper, &worker, &err));
    }
    ~session() {
        yapo_upper_free(upper); // the worker keeps what it needs
        yapo_upper_worker_free(worker);
    }
    void use(const latents & s) {
        OK(yapo_upper_worker_set_latents(worker, YAPO_VECTOR_SPARSE, s.f, s.d, s.enc.data(), s.enc_bias.data(), s.threshold.data(), s.dec.data(), &err));
    }
    double logprob(const yapo_sequence & s, const float * v, float multiplier) {
        double value = NAN;
        OK(yapo_upper_logprob(worker, &s, v, multiplier, &value, &err));
        return value;
    }
    std::vector<float> gradient(const yapo_sequence & s, const float * v, int64_t n, float multiplier, double * value = nullptr, double scale = 1.0) {
        std::vector<float> g(n, 0.0f);
        OK(yapo_upper_logprob_gradient(worker, &s, v, multiplier, scale, g.data(), value, &err));
        return g;
    }
};

double relative_l2(const std::vector<float> & a, const std::vector<double> & b) {
    double error = 0, norm = 0;
    for (size_t i = 0; i < b.size(); ++i) {
        error += (a[i] - b[i]) * (a[i] - b[i]);
        norm += b[i] * b[i];
    }
    return std::sqrt(error / norm);
}

std::vector<double> finite_differences(const problem & p, std::vector<double> value, double multiplier, bool sparse) {
    std::vector<double> g;
    for (size_t j = 0; j < value.size(); ++j) {
        const double keep = value[j], h = 1e-5;
        value[j] = keep + h;
        const double up = p.logprob(value, multiplier, sparse);
        value[j] = keep - h;
        const double down = p.logprob(value, multiplier, sparse);
        value[j] = keep;
        g.push_back((up - down) / (2 * h));
    }
    return g;
}

void quantize(const std::string & from, const std::string & to, llama_ftype type) {
    llama_model_quantize_params q = llama_model_quantize_default_params();
    q.ftype = type;
    q.nthread = 1;
    CHECK_EQ(llama_model_quantize(from.c_str(), to.c_str(), &q), 0u);
}

// Multiplies one row of an F32 tensor of a file, in place.
void scale_row(const std::string & path, const char * name, int64_t row, int64_t width, float factor) {
    gguf_context * g = gguf_init_from_file(path.c_str(), {true, nullptr});
    CHECK(g);
    const int64_t id = gguf_find_tensor(g, name);
    CHECK(id >= 0);
    std::vector<float> data(width);
    const auto offset = std::streamoff(gguf_get_data_offset(g) + gguf_get_tensor_offset(g, id) + row * width * sizeof(float));
    gguf_free(g);
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(offset).read(reinterpret_cast<char *>(data.data()), std::streamsize(data.size() * sizeof(float)));
    for (float & x : data) x *= factor;
    file.seekp(offset).write(reinterpret_cast<const char *>(data.data()), std::streamsize(data.size() * sizeof(float)));
    CHECK(file.good());
}

double cosine(const std::vector<float> & a, const std::vector<float> & b) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        ab += double(a[i]) * b[i];
        aa += double(a[i]) * a[i];
        bb += double(b[i]) * b[i];
    }
    return ab / std::sqrt(aa * bb);
}

} // namespace

YAPO_TEST(TrainUpper_Gradient_Sparse_AgreesWithFiniteDifferences) {
    const problem p;
    session s(p.path);
    s.use(p.sae);
    for (float multiplier : {1.0f, -1.0f, 1.7f}) {
        const std::vector<double> value(p.v.begin(), p.v.end());
        double logprob = 0;
        const auto gradient = s.gradient(p.sequence(), p.v.data(), p.sae.f, multiplier, &logprob);
        const double expected = p.logprob(value, multiplier, true);
        const double error = relative_l2(gradient, finite_differences(p, value, multiplier, true));
        note("multiplier %4.1f: log-probability off by %.1e of %.3f, gradient relative L2 error %.2e over %zu coordinates",
            multiplier, logprob - expected, expected, error, gradient.size());
        CHECK_NEAR(logprob, expected, 0, 2e-6);
        CHECK(error <= 1e-5);
        CHECK_EQ(s.logprob(p.sequence(), p.v.data(), multiplier), logprob);
    }
}

YAPO_TEST(TrainUpper_Gradient_Dense_AgreesWithFiniteDifferences) {
    const problem p;
    session s(p.path);
    OK(yapo_upper_worker_set_latents(s.worker, YAPO_VECTOR_DENSE, 0, p.model.d_model, nullptr, nullptr, nullptr, nullptr, &err));
    random_source rng(8);
    std::vector<float> v(p.model.d_model);
    for (float & x : v) x = 0.3f * rng.normal();
    const auto gradient = s.gradient(p.sequence(), v.data(), p.model.d_model, -1.0f);
    const double error = relative_l2(gradient, finite_differences(p, {v.begin(), v.end()}, -1.0, false));
    note("gradient relative L2 error %.2e over %zu coordinates", error, gradient.size());
    CHECK(error <= 1e-5);
}

// At v = 0 the derivative from the side of growth: latents that fire somewhere in the steered positions get a gradient, others none;
// and the unsteered log-probability is the same to the bit, so that the training loss starts at exactly ln 2.
YAPO_TEST(TrainUpper_AtZero_OnlyFiringLatentsGetAGradient) {
    problem p;
    for (int64_t j = 0; j < p.sae.f; j += 4) {
        p.sae.threshold[j] = 1e3f; // never fires
    }
    session s(p.path);
    s.use(p.sae);
    const std::vector<float> zero(p.sae.f, 0.0f);
    double steered = 0;
    const auto gradient = s.gradient(p.sequence(), zero.data(), p.sae.f, 1.0f, &steered);
    CHECK(steered == s.logprob(p.sequence(), nullptr, 1.0f));
    CHECK(steered == s.logprob(p.sequence(), zero.data(), -1.0f));
    CHECK(steered == s.logprob(p.sequence(), p.v.data(), 0.0f));
    int64_t live = 0;
    for (int64_t j = 0; j < p.sae.f; ++j) {
        bool fires = false;
        for (size_t t = 1; t < p.tokens.size(); ++t) {
            double pre = p.sae.enc_bias[j];
            for (int64_t d = 0; d < p.sae.d; ++d) pre += p.sae.enc[j * p.sae.d + d] * p.residual[t * p.sae.d + d];
            fires = fires || (pre > p.sae.threshold[j] && pre > 0);
        }
        CHECK_MSG((gradient[j] != 0.0f) == fires, "latent %lld: gradient %g, fires %d", (long long) j, gradient[j], fires);
        live += fires;
    }
    CHECK(live >= 16 && live <= p.sae.f * 3 / 4);
    // NULL is v = 0
    CHECK(gradient == s.gradient(p.sequence(), nullptr, p.sae.f, 1.0f));
}

YAPO_TEST(TrainUpper_Gradient_ScalesAndAccumulates) {
    const problem p;
    session s(p.path);
    s.use(p.sae);
    const auto once = s.gradient(p.sequence(), p.v.data(), p.sae.f, 1.0f);
    std::vector<float> sum(p.sae.f, 1.0f);
    const yapo_sequence q = p.sequence();
    OK(yapo_upper_logprob_gradient(s.worker, &q, p.v.data(), 1.0f, -0.25, sum.data(), nullptr, &err));
    for (int64_t j = 0; j < p.sae.f; ++j) {
        CHECK_NEAR(sum[j], 1.0 - 0.25 * once[j], 2e-7, 2e-7);
    }
    // positions without weight give no gradient
    std::vector<float> weight(p.tokens.size(), 0.0f);
    yapo_sequence unsteered = q;
    unsteered.position_weight = weight.data();
    for (float g : s.gradient(unsteered, p.v.data(), p.sae.f, 1.0f)) {
        CHECK(g == 0.0f);
    }
}

// A sequence's result does not depend on what the worker computed before, nor on which worker computes it.
YAPO_TEST(TrainUpper_Result_DependsOnTheSequenceOnly) {
    const problem p, longer(40, 20, 17);
    session a(p.path), b(p.path);
    a.use(p.sae);
    b.use(p.sae);
    double first = 0, again = 0, other = 0;
    const auto g1 = a.gradient(p.sequence(), p.v.data(), p.sae.f, 1.0f, &first);
    a.gradient(longer.sequence(), p.v.data(), p.sae.f, 1.0f);
    a.logprob(longer.sequence(), nullptr, 0.0f);
    const auto g2 = a.gradient(p.sequence(), p.v.data(), p.sae.f, 1.0f, &again);
    const auto g3 = b.gradient(p.sequence(), p.v.data(), p.sae.f, 1.0f, &other);
    CHECK(g1 == g2 && g1 == g3 && first == again && first == other);
}

// The whole model against llama.cpp (F32 weights and KV): residual of our own oracle in, its log-probabilities out. The tolerance is
// ggml's F16 GELU table and what it does over the blocks; measured 2e-3 per token on an earlier prototype.
YAPO_TEST(TrainUpper_Logprob_AgreesWithLlamaCpp) {
    const problem p;
    session s(p.path);
    llama_model_params mp = llama_model_default_params();
    llama_model * model = llama_model_load_from_file(p.path.c_str(), mp);
    CHECK(model);
    llama_context_params cp = llama_context_default_params();
    cp.n_ctx = 64;
    cp.n_threads = cp.n_threads_batch = 1;
    cp.type_k = cp.type_v = GGML_TYPE_F32;
    cp.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    llama_context * ctx = llama_init_from_model(model, cp);
    CHECK(ctx);
    const int n = int(p.tokens.size());
    llama_batch batch = llama_batch_init(n, 0, 1);
    batch.n_tokens = n;
    for (int t = 0; t < n; ++t) {
        batch.token[t] = p.tokens[t];
        batch.pos[t] = t;
        batch.n_seq_id[t] = 1;
        batch.seq_id[t][0] = 0;
        batch.logits[t] = 1;
    }
    CHECK_EQ(llama_decode(ctx, batch), 0);
    double expected = 0;
    for (int t = p.start; t < n; ++t) {
        const float * l = llama_get_logits_ith(ctx, t - 1);
        double sum = 0;
        for (int k = 0; k < p.model.n_vocab; ++k) sum += std::exp(double(l[k]));
        expected += l[p.tokens[t]] - std::log(sum);
    }
    const double mine = s.logprob(p.sequence(), nullptr, 0.0f);
    note("per token: %.2e", std::fabs(mine - expected) / (n - p.start));
    CHECK(std::fabs(mine - expected) / (n - p.start) < 2e-3);
    llama_batch_free(batch);
    llama_free(ctx);
    llama_model_free(model);
}

// Quantized weights: the gradient points where the F32 gradient points. (Finite differences on a quantized graph mean nothing: the
// activations are rounded.) Six seeds, because one model's cosine is luck.
YAPO_TEST(TrainUpper_Gradient_Quantized_PointsWhereTheF32GradientPoints) {
    struct kind { const char * name; llama_ftype type; double least; };
    for (const kind & k : {kind{"Q8_0", LLAMA_FTYPE_MOSTLY_Q8_0, 0.998}, kind{"F16", LLAMA_FTYPE_MOSTLY_F16, 0.9995}, kind{"BF16", LLAMA_FTYPE_MOSTLY_BF16, 0.998}}) {
        double worst = 1;
        for (uint64_t seed = 1; seed <= 6; ++seed) {
            const problem p(21, 13, seed);
            const std::string small = scratch("q.gguf");
            quantize(p.path, small, k.type);
            session exact(p.path), s(small);
            exact.use(p.sae);
            s.use(p.sae);
            double a = 0, b = 0;
            const auto g = exact.gradient(p.sequence(), p.v.data(), p.sae.f, 1.0f, &a);
            const auto q = s.gradient(p.sequence(), p.v.data(), p.sae.f, 1.0f, &b);
            worst = std::min(worst, cosine(g, q));
            CHECK_MSG(std::fabs(a - b) / 8 < 0.1, "%s: log-probability %g instead of %g", k.name, b, a);
        }
        note("%s: least cosine with the F32 gradient over 6 models: %.5f", k.name, worst);
        CHECK(worst >= k.least);
    }
}

// A completion the model is almost sure of: dL/dlogits is below 1e-6, below what Q8_0's F16 activation scales can hold without a
// loss scale (a gradient of that size came back entirely zero).
YAPO_TEST(TrainUpper_Gradient_Quantized_SurvivesConfidence) {
    problem p;
    // the likeliest next token, made almost certain: its logit becomes 24 before the cap
    p.tokens.resize(p.start);
    const auto l = p.oracle.logits(p.oracle.blocks(p.oracle.embed(p.tokens), 0, p.oracle.n_layer)).back();
    const auto best = int32_t(std::max_element(l.begin(), l.end()) - l.begin());
    CHECK(std::find(p.tokens.begin(), p.tokens.end(), best) == p.tokens.end()); // its embedding is not an input
    scale_row(p.path, "token_embd.weight", best, p.model.d_model, float(24 / (30 * std::atanh(l[best] / 30))));
    p.oracle = gemma2_oracle(p.path);
    p.tokens.push_back(best);
    p.residual.clear();
    for (const auto & row : p.oracle.blocks(p.oracle.embed(p.tokens), 0, layer + 1)) {
        p.residual.insert(p.residual.end(), row.begin(), row.end());
    }
    const std::string small = scratch("q.gguf");
    quantize(p.path, small, LLAMA_FTYPE_MOSTLY_Q8_0);
    session exact(p.path), s(small);
    exact.use(p.sae);
    s.use(p.sae);
    double logprob = 0;
    const auto g = exact.gradient(p.sequence(), p.v.data(), p.sae.f, 0.1f, &logprob);
    const double c = cosine(g, s.gradient(p.sequence(), p.v.data(), p.sae.f, 0.1f));
    note("log-probability %.2e, cosine %.5f", logprob, c);
    CHECK(logprob < -9e-8 && logprob > -1e-5);
    CHECK(c >= 0.99);
}

// A large vocabulary's head runs over chunks of the completion: same terms, same sums.
YAPO_TEST(TrainUpper_HeadInChunks_GivesTheSame) {
    const problem p(60, 12);
    const auto shared = std::make_shared<const yapo::train::upper::model>(p.path, layer);
    const auto latents = [&] {
        return std::make_unique<yapo::train::upper::steering>(YAPO_VECTOR_SPARSE, p.sae.f, p.sae.d, p.sae.enc.data(), p.sae.enc_bias.data(), p.sae.threshold.data(), p.sae.dec.data());
    };
    yapo::train::upper::worker whole(shared), chunked(shared, 16 * p.model.n_vocab); // 48 scored rows: 3 chunks of 16
    whole.set_latents(latents());
    chunked.set_latents(latents());
    std::vector<float> a(p.sae.f, 0.0f), b(p.sae.f, 0.0f);
    const double la = whole.logprob_gradient(p.sequence(), p.v.data(), 1.0f, 1.0, a.data());
    const double lb = chunked.logprob_gradient(p.sequence(), p.v.data(), 1.0f, 1.0, b.data());
    CHECK_EQ(la, lb);
    CHECK_NEAR(relative_l2(a, {b.begin(), b.end()}), 0, 1e-6, 0);
    CHECK_EQ(whole.logprob(p.sequence(), p.v.data(), 1.0f), chunked.logprob(p.sequence(), p.v.data(), 1.0f));
}

// The last layer has no block above it: only the head.
YAPO_TEST(TrainUpper_LastLayer_IsTheHeadAlone) {
    problem p;
    const int last = p.oracle.n_layer - 1;
    session s(p.path, last);
    s.use(p.sae);
    const auto gradient = s.gradient(p.sequence(), p.v.data(), p.sae.f, 1.0f);
    std::vector<double> value(p.v.begin(), p.v.end()), expected;
    std::vector<int32_t> target(p.tokens.size(), -1);
    for (size_t t = p.start; t < p.tokens.size(); ++t) target[t - 1] = p.tokens[t];
    for (size_t j = 0; j < value.size(); ++j) {
        const double keep = value[j], h = 1e-5;
        value[j] = keep + h;
        const double up = -p.oracle.loss(p.steered(value, 1, true), target);
        value[j] = keep - h;
        const double down = -p.oracle.loss(p.steered(value, 1, true), target);
        value[j] = keep;
        expected.push_back((up - down) / (2 * h));
    }
    const double error = relative_l2(gradient, expected);
    note("relative L2 error %.2e", error);
    CHECK(error <= 1e-5);
}

YAPO_TEST(TrainUpper_BadInput_IsRefused) {
    problem p;
    yapo_upper * upper = nullptr;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "layer 4 does not exist", yapo_upper_load(p.path.c_str(), 4, &upper, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "layer -1", yapo_upper_load(p.path.c_str(), -1, &upper, &err));
    REFUSED(YAPO_ERR_IO, "absent.gguf", yapo_upper_load(scratch("absent.gguf").c_str(), 1, &upper, &err));
    CHECK(upper == nullptr);
    {
        session s(p.path);
        yapo_sequence q = p.sequence();
        double value = 0;
        std::vector<float> g(p.sae.f);
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, "no latents", yapo_upper_logprob_gradient(s.worker, &q, p.v.data(), 1, 1, g.data(), &value, &err));
        REFUSED(YAPO_ERR_MISMATCH, "d_model 32", yapo_upper_worker_set_latents(s.worker, YAPO_VECTOR_DENSE, 0, 32, nullptr, nullptr, nullptr, nullptr, &err));
        latents bad = p.sae;
        bad.dec[5] = NAN;
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, "dec: entry 5", yapo_upper_worker_set_latents(s.worker, YAPO_VECTOR_SPARSE, bad.f, bad.d, bad.enc.data(), bad.enc_bias.data(), bad.threshold.data(), bad.dec.data(), &err));
        s.use(p.sae);
        q.completion_start = 0;
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, "completion_start", yapo_upper_logprob(s.worker, &q, nullptr, 0, &value, &err));
        q.completion_start = q.n_tokens;
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, "completion_start", yapo_upper_logprob(s.worker, &q, nullptr, 0, &value, &err));
        q = p.sequence();
        q.residual = nullptr;
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, "residuals", yapo_upper_logprob(s.worker, &q, nullptr, 0, &value, &err));
        p.tokens[2] = 352;
        q = p.sequence();
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, "token 352", yapo_upper_logprob(s.worker, &q, nullptr, 0, &value, &err));
        p.tokens[2] = 1;
        p.residual[70] = INFINITY;
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, "residual at position 1", yapo_upper_logprob(s.worker, &q, nullptr, 0, &value, &err));
        p.residual[70] = 0;
        p.v[3] = NAN;
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, "v[3]", yapo_upper_logprob(s.worker, &q, p.v.data(), 1, &value, &err));
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, "multiplier", yapo_upper_logprob(s.worker, &q, nullptr, NAN, &value, &err));
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, "sequence is NULL", yapo_upper_logprob(s.worker, nullptr, nullptr, 0, &value, &err));
    }
    yapo_upper_free(nullptr);
    yapo_upper_worker_free(nullptr);
    CHECK_EQ(yapo_live_handles(), int64_t(0));
}
