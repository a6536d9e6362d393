// Sampling through llama.cpp's sampler chain, in the order of its command line tools:
// penalties, top-k, top-p, min-p, temperature, draw. Temperature 0 takes the largest logit after the penalties.
#include "context/context.h"
#include "model/model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

namespace yapo {

struct sampler_free {
    void operator()(llama_sampler * sampler) const { llama_sampler_free(sampler); }
};

} // namespace yapo

struct yapo_sampler : yapo::counted {
    std::shared_ptr<llama_model>                         model; // kept alive with the sampler, as contexts do
    std::unique_ptr<llama_sampler, yapo::sampler_free>   chain;
    std::vector<float>                                   logits;     // [V]
    std::vector<llama_token_data>                        candidates; // [V]
};

namespace yapo {
namespace {

constexpr int32_t max_penalty_tokens = 1 << 20;

void check_range(const char * name, float value, float low, float high) {
    if (!(value >= low && value <= high)) { // NaN fails too
        fail(YAPO_ERR_INVALID_ARGUMENT, "sampler option %s is %g, expected %g to %g", name, value, low, high);
    }
}

yapo_sampler_options read_options(const yapo_sampler_options * given) {
    yapo_sampler_options options;
    yapo_sampler_default_options(&options);
    if (given) {
        if (given->struct_size < sizeof options || given->struct_size > 4096) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_sampler_options.struct_size is %u, expected %zu: start from yapo_sampler_default_options",
                 given->struct_size, sizeof options);
        }
        memcpy(&options, given, sizeof options);
    }
    check_range("temperature", options.temperature, 0.0f, 100.0f);
    check_range("top_p", options.top_p, 0.0f, 1.0f);
    check_range("min_p", options.min_p, 0.0f, 1.0f);
    check_range("repeat_penalty", options.repeat_penalty, 1e-3f, 100.0f);
    check_range("frequency_penalty", options.frequency_penalty, -100.0f, 100.0f);
    check_range("presence_penalty", options.presence_penalty, -100.0f, 100.0f);
    if (options.top_k < 0) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "sampler option top_k is %d, expected 0 (off) or more", options.top_k);
    }
    if (options.penalty_last_n < 0 || options.penalty_last_n > max_penalty_tokens) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "sampler option penalty_last_n is %d, expected 0 (off) to %d", options.penalty_last_n, max_penalty_tokens);
    }
    return options;
}

void build_chain(llama_sampler * chain, const yapo_sampler_options & options, int32_t n_vocab) {
    const bool penalties = options.penalty_last_n > 0 &&
        (options.repeat_penalty != 1.0f || options.frequency_penalty != 0.0f || options.presence_penalty != 0.0f);
    if (penalties) {
        llama_sampler_chain_add(chain, llama_sampler_init_penalties(n_vocab, options.penalty_last_n, options.repeat_penalty,
                                                                    options.frequency_penalty, options.presence_penalty));
    }
    if (options.temperature == 0.0f) {
        llama_sampler_chain_add(chain, llama_sampler_init_greedy());
        return;
    }
    if (options.top_k > 0) {
        llama_sampler_chain_add(chain, llama_sampler_init_top_k(options.top_k));
    }
    if (options.top_p < 1.0f) {
        llama_sampler_chain_add(chain, llama_sampler_init_top_p(options.top_p, 1));
    }
    if (options.min_p > 0.0f) {
        llama_sampler_chain_add(chain, llama_sampler_init_min_p(options.min_p, 1));
    }
    llama_sampler_chain_add(chain, llama_sampler_init_temp(options.temperature));
    // llama.cpp draws a random seed for this one value; ours is always the caller's.
    const uint32_t seed = options.seed == LLAMA_DEFAULT_SEED ? LLAMA_DEFAULT_SEED - 1 : options.seed;
    llama_sampler_chain_add(chain, llama_sampler_init_dist(seed));
}

// One NaN would win or lose every comparison of the chain depending on its place: refuse it where it can be explained.
void check_logits(const std::vector<float> & logits, int32_t row) {
    float largest = -INFINITY;
    for (float logit : logits) {
        if (std::isnan(logit) || logit == INFINITY) {
            fail(YAPO_ERR_INTERNAL, "logits of row %d are not finite: the model overflowed; use a smaller steering strength or a model without F16 overflow", row);
        }
        largest = std::max(largest, logit);
    }
    if (largest == -INFINITY) {
        fail(YAPO_ERR_INTERNAL, "all logits of row %d are -infinity: there is no token to choose", row);
    }
}

} // namespace
} // namespace yapo

extern "C" {

void yapo_sampler_default_options(yapo_sampler_options * options) {
    if (options) {
        *options = {};
        options->struct_size    = sizeof *options;
        options->temperature    = 0.8f;
        options->top_k          = 40;
        options->top_p          = 0.95f;
        options->min_p          = 0.05f;
        options->repeat_penalty = 1.0f;
        options->penalty_last_n = 64;
    }
}

yapo_status yapo_sampler_create(const yapo_model * model, const yapo_sampler_options * given, yapo_sampler ** out, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        if (!model || !out) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_sampler_create: model and out must be given");
        }
        const yapo_sampler_options options = read_options(given);
        const int32_t n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model->handle.get()));
        if (n_vocab <= 0) {
            fail(YAPO_ERR_UNSUPPORTED, "model %s has no vocabulary to sample from", model->path.c_str());
        }
        auto sampler = std::make_unique<yapo_sampler>();
        sampler->model = model->handle;
        sampler->chain.reset(llama_sampler_chain_init(llama_sampler_chain_default_params()));
        sampler->logits.resize(static_cast<size_t>(n_vocab));
        sampler->candidates.resize(static_cast<size_t>(n_vocab));
        build_chain(sampler->chain.get(), options, n_vocab);
        *out = sampler.release();
    });
}

void yapo_sampler_free(yapo_sampler * sampler) {
    delete sampler;
}

yapo_status yapo_sampler_sample(yapo_sampler * sampler, yapo_context * context, int32_t row, int32_t * token, yapo_error ** err) {
    using namespace yapo;
    if (!sampler || !context || !token) {
        return report(err, YAPO_ERR_INVALID_ARGUMENT, "yapo_sampler_sample: sampler, context and token must be given");
    }
    if (sampler->logits.size() != static_cast<size_t>(context->n_vocab)) { // the tail would be of an earlier sample
        return report(err, YAPO_ERR_MISMATCH, "yapo_sampler_sample: the sampler was created for a model of " + std::to_string(sampler->logits.size()) +
                      " tokens, the context's has " + std::to_string(context->n_vocab));
    }
    const yapo_status status = yapo_context_logits(context, row, sampler->logits.data(), static_cast<int64_t>(sampler->logits.size()), err);
    if (status != YAPO_OK) {
        return status;
    }
    return guard(err, [&] {
        check_logits(sampler->logits, row);
        for (size_t i = 0; i < sampler->logits.size(); ++i) {
            sampler->candidates[i] = {static_cast<llama_token>(i), sampler->logits[i], 0.0f};
        }
        llama_token_data_array candidates = {sampler->candidates.data(), sampler->candidates.size(), -1, false};
        llama_sampler_apply(sampler->chain.get(), &candidates);
        if (candidates.selected < 0 || static_cast<size_t>(candidates.selected) >= candidates.size) {
            fail(YAPO_ERR_INTERNAL, "the sampler chain chose no token");
        }
        const llama_token chosen = candidates.data[candidates.selected].id;
        llama_sampler_accept(sampler->chain.get(), chosen);
        *token = chosen;
    });
}

yapo_status yapo_sampler_reset(yapo_sampler * sampler, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        if (!sampler) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "sampler is NULL");
        }
        llama_sampler_reset(sampler->chain.get());
    });
}

} // extern "C"
