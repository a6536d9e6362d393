// A small random model, its residuals after one layer, latents to steer with, and what a double-precision oracle says about them.
#pragma once

#include "harness.h"
#include "random_model.h"
#include "train_model_oracle.h"

#include "llama.h"
#include "yapo_train.h"

#include <algorithm>
#include <cmath>

namespace yapo_test::upper {

constexpr int layer = 1;

random_model upper_model(uint64_t seed = 17);
random_model wide_model(uint64_t seed); // sizes that K-quants divide

// Every architecture that training supports, with its peculiarities.
struct variant {
    const char * what;
    random_model model;
    double       llama_tolerance; // per token, in nats: ggml's F16 GELU table in the Gemmas, rounding elsewhere
};
std::vector<variant> variants();

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
    yapo_latents at(int32_t l) const { return {sizeof(yapo_latents), YAPO_VECTOR_SPARSE, l, 0, f, d, nullptr, enc.data(), enc_bias.data(), threshold.data(), dec.data()}; }
    // z of one row in double
    double z(int64_t j, const double * h) const {
        double pre = enc_bias[j];
        for (int64_t i = 0; i < d; ++i) pre += enc[j * d + i] * h[i];
        return pre > threshold[j] ? std::max(pre, 0.0) : 0.0;
    }
    // h += sum_j max(s v_j, -z_j) dec_j
    void steer(std::vector<double> & h, const double * v, double s) const {
        const std::vector<double> before = h;
        for (int64_t j = 0; j < f; ++j) {
            const double c = std::max(s * v[j], -z(j, before.data()));
            for (int64_t i = 0; i < d; ++i) h[i] += c * dec[j * d + i];
        }
    }
};

struct problem {
    random_model  model;
    std::string   path;
    model_oracle oracle;
    std::vector<int32_t> tokens;
    std::vector<float>   residual; // [T, D] after `layer`
    int           start;
    latents       sae;
    std::vector<float> v;

    explicit problem(int n_tokens = 21, int completion_start = 13, uint64_t seed = 17) : problem(upper_model(seed), n_tokens, completion_start) {}

    explicit problem(const random_model & of, int n_tokens = 21, int completion_start = 13)
        : model(of), path(write_random_model(model, scratch("m.gguf"))), oracle(path), start(completion_start), sae(40, model.d_model, 3) {
        random_source rng(model.seed + 1);
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
        return {sizeof(yapo_sequence), int32_t(tokens.size()), tokens.data(), residual.data(), start, nullptr, nullptr, nullptr, nullptr};
    }

    // h' in double, exactly as yapo.h says it
    model_oracle::matrix steered(const std::vector<double> & value, double multiplier, bool sparse) const {
        model_oracle::matrix x;
        const int64_t D = model.d_model;
        for (size_t t = 0; t < tokens.size(); ++t) {
            std::vector<double> h(residual.begin() + t * D, residual.begin() + (t + 1) * D);
            const double s = t == 0 ? 0 : multiplier;
            if (!sparse) {
                for (int64_t d = 0; d < D; ++d) h[d] += s * value[d];
            } else {
                sae.steer(h, value.data(), s);
            }
            x.push_back(h);
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
    int32_t             layer_;
    // device, rpc: as yapo_upper_place; NULL: on the mapped weights.
    explicit session(const std::string & path, int at = layer, const char * device = nullptr, const char * rpc = nullptr) : layer_(at) {
        OK(yapo_upper_load(path.c_str(), at, &upper, &err));
        if (device) OK(yapo_upper_place(upper, device, rpc, &err));
        OK(yapo_upper_worker_create(upper, &worker, &err));
    }
    ~session() {
        yapo_upper_free(upper); // the worker keeps what it needs
        yapo_upper_worker_free(worker);
    }
    void use(const latents & s) {
        const yapo_latents l = s.at(layer_);
        OK(yapo_upper_set_latents(upper, &l, 1, &err));
    }
    void use_dense(int64_t d_model) {
        const yapo_latents l{sizeof l, YAPO_VECTOR_DENSE, layer_, 0, 0, d_model, nullptr, nullptr, nullptr, nullptr, nullptr};
        OK(yapo_upper_set_latents(upper, &l, 1, &err));
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

double relative_l2(const std::vector<float> & a, const std::vector<double> & b);
double cosine(const std::vector<float> & a, const std::vector<float> & b);
// d(log-probability)/dv by central differences of the oracle
std::vector<double> finite_differences(const problem & p, std::vector<double> value, double multiplier, bool sparse);
void quantize(const std::string & from, const std::string & to, llama_ftype type);

} // namespace yapo_test::upper
