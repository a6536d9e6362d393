#include "train/upper/worker.h"

#include "train/autograd/kernels.h"

#include <algorithm>
#include <cmath>

namespace yapo::train::upper {

namespace {

constexpr int32_t round_to = 16;
int32_t rounded(int32_t n) { return (n + round_to - 1) / round_to * round_to; }

// What every scored token's loss is multiplied by inside the graph, so that the gradient of a token predicted with p > 0.999999 does not sink
// into denormal numbers. A power of two changes no mantissa. Should it be wrong by orders of magnitude, the run is repeated once with another.
constexpr float loss_scale = 65536.0f;

} // namespace

worker::worker(std::shared_ptr<const model> m)
    : model_(std::move(m)), backend_(new_cpu_backend()), allocation_(ggml_gallocr_new(ggml_backend_cpu_buffer_type())) {}

void worker::check(const yapo_sequence & s) const {
    const int32_t V = model_->config().n_vocab;
    if (s.n_tokens < 2 || s.n_tokens > (1 << 20) || !s.tokens || !s.residual) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "a sequence needs at least two tokens and their residuals (n_tokens %d)", s.n_tokens);
    }
    if (s.completion_start < 1 || s.completion_start >= s.n_tokens) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "completion_start is %d, expected 1 to %d (the first token has nothing to be predicted from)", s.completion_start, s.n_tokens - 1);
    }
    for (int32_t t = 0; t < s.n_tokens; ++t) {
        if (s.tokens[t] < 0 || s.tokens[t] >= V) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "token %d at position %d is not in the vocabulary of %d", s.tokens[t], t, V);
        }
        if (s.position_weight && !std::isfinite(s.position_weight[t])) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "position_weight[%d] is %g", t, s.position_weight[t]);
        }
    }
    if (s.code_start) {
        if (s.code_start[0] != 0 || !s.code_latent || !s.code_value) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "codes begin with entry %d, expected 0 (latents %s, values %s)", s.code_start[0], s.code_latent ? "given" : "NULL", s.code_value ? "given" : "NULL");
        }
        for (int32_t t = 0; t < s.n_tokens; ++t) {
            if (s.code_start[t + 1] < s.code_start[t]) {
                fail(YAPO_ERR_INVALID_ARGUMENT, "the codes of position %d end before they begin", t);
            }
            for (int32_t i = s.code_start[t]; i < s.code_start[t + 1]; ++i) {
                if (s.code_latent[i] < 0 || (i > s.code_start[t] && s.code_latent[i] <= s.code_latent[i - 1]) || !(s.code_value[i] > 0) || !std::isfinite(s.code_value[i])) {
                    fail(YAPO_ERR_INVALID_ARGUMENT, "code %d of position %d is latent %d with %g; latents ascend and values are positive", i - s.code_start[t], t, s.code_latent[i], s.code_value[i]);
                }
            }
        }
    }
    const int64_t n = int64_t(s.n_tokens) * model_->config().d_model;
    for (int64_t i = 0; i < n; ++i) {
        if (!std::isfinite(s.residual[i])) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "the residual at position %lld, entry %lld is %g", (long long) (i / model_->config().d_model),
                (long long) (i % model_->config().d_model), s.residual[i]);
        }
    }
}

void worker::take_latents() {
    if (steering_ != model_->latents()) {
        steering_ = model_->latents();
        graph_.reset();
    }
}

// The codes of the lowest layer as places in v.
void worker::take_codes(const yapo_sequence & s) {
    const site & lowest = steering_->sites().front();
    codes_.assign(s.n_tokens, {});
    std::vector<int32_t> in_slice(lowest.size() / autograd::code_slice + 1, 0);
    for (int32_t t = 0; t < s.n_tokens; ++t) {
        for (int32_t i = s.code_start[t]; i < s.code_start[t + 1]; ++i) {
            const int32_t place = lowest.place(s.code_latent[i]);
            if (place >= 0) {
                codes_[t].push_back({place, s.code_value[i]});
                ++in_slice[place / autograd::code_slice];
            }
        }
    }
    grow(*std::max_element(in_slice.begin(), in_slice.end()));
}

void worker::grow(int64_t needed) {
    while (capacity_ < needed) {
        capacity_ *= 2;
    }
}

// Whether every list of codes the last graph computed had room; if not, the next one has.
bool worker::codes_fit() {
    const int32_t had = capacity_;
    for (size_t i = 0; i < graph_->codes.size(); ++i) {
        if (graph_->codes[i] && !(i == 0 && graph_->key.given)) {
            grow(autograd::codes_needed(graph_->codes[i]));
        }
    }
    return capacity_ == had;
}

ggml_tensor * worker::steer(graph & g, size_t i, ggml_tensor * h) {
    const site & at = steering_->sites()[i];
    ggml_context * ctx = g.ctx.get();
    ggml_tensor * v = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, 1, at.size()), * codes = nullptr;
    ggml_set_input(v);
    if (at.sparse()) {
        const bool given = g.key.given && at.layer() == model_->layer();
        codes = given ? autograd::given_codes(ctx, h->ne[1], at.size(), g.key.capacity) : at.encode(ctx, h, g.key.capacity);
        given ? ggml_set_input(codes) : ggml_set_output(codes); // either way it outlives its last reader
    }
    g.v.push_back(v);
    g.codes.push_back(codes);
    return at.apply(ctx, h, codes, v, g.strength);
}

void worker::build(const shape & key) {
    if (graph_ && graph_->key == key) {
        return;
    }
    graph_.reset();
    auto g = std::make_unique<graph>();
    const transformer::config & c = model_->config();
    const transformer::weights & w = model_->weights();
    const size_t n_nodes = 256 + 192 * size_t(c.n_layer - model_->layer());
    g->key = key;
    g->ctx = new_context(n_nodes, n_nodes);
    ggml_context * ctx = g->ctx.get();
    const auto input = [&](ggml_type type, int64_t ne0, int64_t ne1) {
        ggml_tensor * t = ggml_new_tensor_2d(ctx, type, ne0, ne1);
        ggml_set_input(t);
        return t;
    };

    g->residual = input(GGML_TYPE_F32, c.d_model, key.n_tokens);
    if (key.steered) {
        g->strength = input(GGML_TYPE_F32, 1, key.n_tokens);
    }
    const auto steer_at = [&](int32_t il, ggml_tensor * x) {
        const size_t next = g->v.size();
        if (!key.steered || next == steering_->sites().size() || steering_->sites()[next].layer() != il) {
            return x;
        }
        x = steer(*g, next, x);
        g->first = g->first ? g->first : x;
        return x;
    };
    transformer::inputs in = transformer::make_inputs(ctx, c, w, key.n_tokens, 1, transformer::lowering::fused);
    ggml_tensor * x = steer_at(model_->layer(), g->residual);
    for (int32_t il = model_->layer() + 1; il < c.n_layer; ++il) {
        x = steer_at(il, transformer::run_block(ctx, c, w.blocks[il], il, x, in));
    }
    g->rows    = input(GGML_TYPE_I32, key.n_scored, 1);
    g->targets = input(GGML_TYPE_I32, key.n_scored, 1);
    ggml_tensor * scored = transformer::final_norm(ctx, c, w, ggml_get_rows(ctx, x, g->rows));
    g->loss = autograd::head_loss(ctx, w.head(), scored, g->targets, c.final_softcap, key.gradient);
    ggml_set_output(g->loss);

    g->nodes = ggml_new_graph_custom(ctx, n_nodes, false);
    if (key.gradient) {
        autograd::options o;
        o.cpu_kernels = true;
        autograd::tape tape(ctx, o);
        g->seeds = input(GGML_TYPE_F32, key.n_scored, 1);
        tape.seed(g->loss, ggml_reshape_1d(ctx, g->seeds, key.n_scored));
        tape.differentiate({g->loss}, g->v);
        g->dh = tape.gradient(g->first);
        ggml_set_output(g->dh);
        ggml_build_forward_expand(g->nodes, g->loss);
        ggml_build_forward_expand(g->nodes, g->dh);
        for (ggml_tensor * v : g->v) {
            g->dv.push_back(tape.contiguous(tape.gradient(v)));
            ggml_set_output(g->dv.back());
            ggml_build_forward_expand(g->nodes, g->dv.back());
        }
    } else {
        ggml_build_forward_expand(g->nodes, g->loss);
    }
    if (!allocation_ || !ggml_gallocr_alloc_graph(allocation_.get(), g->nodes)) {
        // It has noted the sizes, and would take the memory that it did not get for its own the next time.
        allocation_.reset(ggml_gallocr_new(ggml_backend_cpu_buffer_type()));
        fail(YAPO_ERR_OUT_OF_MEMORY, "no memory for the upper blocks at %d tokens; shorten the sequences", key.n_tokens);
    }
    transformer::fill_inputs(c, w, in);
    graph_ = std::move(g);
}

void worker::upload(const yapo_sequence & s, const float * v, float multiplier, float seed) {
    const graph & g = *graph_;
    const int64_t D = model_->config().d_model, T = g.key.n_tokens;
    const auto set = [](ggml_tensor * t, const void * data) {
        if (t->buffer) { // an input nothing reads is not placed
            ggml_backend_tensor_set(t, data, 0, ggml_nbytes(t));
        }
    };
    std::vector<float> residual(size_t(D) * T, 0.0f);
    std::copy_n(s.residual, size_t(D) * s.n_tokens, residual.begin());
    set(g.residual, residual.data());
    if (g.key.steered) {
        std::vector<float> all(steering_->size(), 0.0f), strength(T, 0.0f);
        if (v) {
            std::copy_n(v, steering_->size(), all.begin());
        }
        for (int32_t t = 0; t < s.n_tokens; ++t) {
            strength[t] = multiplier * (s.position_weight ? s.position_weight[t] : t == 0 ? 0.0f : 1.0f);
        }
        const float * part = all.data();
        for (ggml_tensor * t : g.v) {
            set(t, part);
            part += t->ne[1];
        }
        set(g.strength, strength.data());
        if (g.key.given) {
            autograd::set_codes(g.codes.front(), codes_);
        }
    }
    const size_t n = g.key.n_scored;
    std::vector<int32_t> rows(n, 0), targets(n, -1);
    std::vector<float> seeds(n, 0.0f);
    for (int32_t t = s.completion_start; t < s.n_tokens; ++t) {
        const size_t k = t - s.completion_start;
        rows[k]    = t - 1;
        targets[k] = s.tokens[t];
        seeds[k]   = -seed; // the loss is -log p
    }
    set(g.rows, rows.data());
    set(g.targets, targets.data());
    if (g.seeds) {
        set(g.seeds, seeds.data());
    }
}

double worker::read_logprob() const {
    const float * l = static_cast<const float *>(graph_->loss->data);
    double sum = 0.0;
    for (int64_t i = 0; i < graph_->loss->ne[0]; ++i) {
        sum -= l[i];
    }
    return sum;
}

double worker::run(const yapo_sequence & s, const float * v, float multiplier, bool gradient, float seed) {
    const bool steered = gradient || (v && multiplier != 0.0f);
    if (steered && !steering_) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "no latents: call yapo_upper_set_latents first");
    }
    if (steered && v) {
        for (int64_t i = 0; i < steering_->size(); ++i) {
            if (!std::isfinite(v[i])) {
                fail(YAPO_ERR_INVALID_ARGUMENT, "v[%lld] is %g", (long long) i, v[i]);
            }
        }
    }
    const bool lowest = steered && steering_->sites().front().layer() == model_->layer() && steering_->sites().front().sparse(), given = lowest && s.code_start;
    if (given) {
        take_codes(s);
    } else if (lowest && !steering_->sites().front().encodes()) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "the latents came without an encoder and the sequence without codes; one of the two is needed");
    }
    do {
        build({rounded(s.n_tokens), rounded(s.n_tokens - s.completion_start), steered, gradient, given, steered ? capacity_ : 0});
        upload(s, v, multiplier, seed);
        compute(backend_.get(), graph_->nodes);
    } while (!codes_fit());
    const double logprob = read_logprob();
    if (!std::isfinite(logprob)) {
        fail(YAPO_ERR_INTERNAL, "the log-probability of the completion is %g; is the steering vector or its strength out of range?", logprob);
    }
    return logprob;
}

double worker::logprob(const yapo_sequence & s, const float * v, float multiplier) {
    take_latents();
    check(s);
    if (!std::isfinite(multiplier)) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "multiplier is %g", multiplier);
    }
    return run(s, v, multiplier, false, 0.0f);
}

double worker::logprob_gradient(const yapo_sequence & s, const float * v, float multiplier, double scale, float * gradient) {
    take_latents();
    check(s);
    if (!std::isfinite(multiplier) || !std::isfinite(scale)) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "multiplier is %g, scale %g", multiplier, scale);
    }
    if (!steering_) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "no latents: call yapo_upper_set_latents first");
    }
    float seed = loss_scale;
    for (int attempt = 0;; ++attempt) {
        const double logprob = run(s, v, multiplier, true, seed);
        const float * dh = static_cast<const float *>(graph_->dh->data);
        const int64_t n = ggml_nelements(graph_->dh);
        const bool finite = std::all_of(dh, dh + n, [](float x) { return std::isfinite(x); });
        const bool zero   = std::all_of(dh, dh + n, [](float x) { return x == 0.0f; });
        const bool certain = attempt == 1 && logprob > -1e-6; // then a gradient of zero is the truth
        if (finite && (!zero || certain)) {
            const double factor = scale / seed;
            for (const ggml_tensor * part : graph_->dv) {
                const float * dv = static_cast<const float *>(part->data);
                for (int64_t i = 0; i < part->ne[1]; ++i) {
                    *gradient++ += static_cast<float>(factor * dv[i]);
                }
            }
            return logprob;
        }
        if (attempt == 1) {
            fail(YAPO_ERR_INTERNAL, "the gradient of the completion's log-probability %s at loss scale %g (log-probability %g)",
                zero ? "vanished entirely" : "is not finite", seed, logprob);
        }
        seed *= zero ? 4096.0f : 1.0f / 4096.0f;
    }
}

} // namespace yapo::train::upper
