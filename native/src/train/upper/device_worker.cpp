#include "train/upper/device_worker.h"

#include "train/autograd/autograd.h"

#include <algorithm>

namespace yapo::train::upper {

namespace {

// Of the log-probability. Several backends round the inputs of a product to F16 (6e-8 to 65504): 2^10 leaves a factor of 64 above the largest gradient of a
// logit, and 1e-10 of it below.
constexpr float loss_scale = 1024.0f;

ggml_tensor * new_input(ggml_context * ctx, ggml_type type, int64_t ne0, int64_t ne1, const char * name) {
    ggml_tensor * t = ggml_new_tensor_2d(ctx, type, ne0, ne1);
    ggml_set_input(t);
    ggml_set_name(t, name);
    return t;
}

void set(ggml_tensor * t, const void * data) {
    if (t && t->buffer) { // an input nothing reads is not placed
        ggml_backend_tensor_set(t, data, 0, ggml_nbytes(t));
    }
}

void append(std::vector<float> & to, const ggml_tensor * t) {
    const size_t n = to.size();
    to.resize(n + ggml_nelements(t));
    ggml_backend_tensor_get(t, to.data() + n, 0, ggml_nbytes(t));
}

} // namespace

device_worker::device_worker(std::shared_ptr<const model> m)
    : worker(std::move(m), loss_scale), weights_(model_->placed()), backend_(weights_->where().new_backend()), allocation_(ggml_gallocr_new(weights_->where().memory())) {}

ggml_tensor * device_worker::steer(graph & g, size_t i, ggml_tensor * h) {
    const site & at = steering_->sites()[i];
    ggml_context * ctx = g.ctx.get();
    const device_steering & rows = *model_->placed_latents();
    g.v.push_back(new_input(ctx, GGML_TYPE_F32, at.size(), 1, "v"));
    ggml_tensor * z = nullptr;
    if (at.sparse() && g.key.given && at.layer() == model_->layer()) {
        z = g.codes = new_input(ctx, GGML_TYPE_F32, at.size(), h->ne[1], "codes");
    } else if (at.sparse()) {
        z = rows.encode(ctx, i, h);
    }
    h = rows.apply(ctx, i, h, z, g.v.back(), g.strength);
    g.first = i == 0 ? h : g.first;
    return h;
}

// From the head's gradient down to the lowest v.
void device_worker::differentiate(graph & g, ggml_tensor * normed, ggml_tensor * picked) {
    ggml_context * ctx = g.ctx.get();
    ggml_tensor * dnormed = g.chunks.front().dx;
    for (size_t i = 1; i < g.chunks.size(); ++i) {
        dnormed = ggml_concat(ctx, dnormed, g.chunks[i].dx, 1);
    }
    autograd::options o;
    o.portable = true;
    autograd::tape tape(ctx, o);
    weights_->give_transposed(tape);
    model_->placed_latents()->give_transposed(tape);
    g.spread = new_input(ctx, GGML_TYPE_I32, g.key.n_tokens, 1, "spread");
    tape.set_rule(picked, [&g](autograd::tape & t, ggml_tensor * y, ggml_tensor * dy) { t.accumulate(y->src[0], ggml_get_rows(t.ctx(), t.contiguous(dy), g.spread)); });
    tape.seed(normed, dnormed);
    tape.differentiate({normed}, g.v);
    g.dh = tape.contiguous(tape.gradient(g.first));
    ggml_set_output(g.dh);
    ggml_build_forward_expand(g.nodes, g.dh);
    for (ggml_tensor * v : g.v) {
        g.dv.push_back(tape.contiguous(tape.gradient(v)));
        ggml_set_output(g.dv.back());
        ggml_build_forward_expand(g.nodes, g.dv.back());
    }
}

void device_worker::build(const shape & key) {
    if (graph_ && graph_->key == key) {
        return;
    }
    graph_.reset();
    auto g = std::make_unique<graph>();
    const transformer::config &  c = model_->config();
    const transformer::weights & w = weights_->weights();
    const size_t n_nodes = 1024 + 384 * size_t(c.n_layer - model_->layer()) + 64 * size_t(key.n_scored / head_chunk_rows(c.n_vocab) + 1);
    g->key = key;
    g->ctx = new_context(n_nodes, n_nodes);
    ggml_context * ctx = g->ctx.get();

    g->residual = new_input(ctx, GGML_TYPE_F32, c.d_model, key.n_tokens, "residual");
    if (key.steered) {
        g->strength = new_input(ctx, GGML_TYPE_F32, 1, key.n_tokens, "strength");
    }
    transformer::inputs in = transformer::make_inputs(ctx, c, w, key.n_tokens, 1, transformer::lowering::plain);
    ggml_tensor * x = upper_blocks(ctx, w, in, g->residual, key.steered, [&](size_t i, ggml_tensor * h) { return steer(*g, i, h); });
    g->rows    = new_input(ctx, GGML_TYPE_I32, key.n_scored, 1, "rows");
    g->targets = new_input(ctx, GGML_TYPE_I32, key.n_scored, 1, "targets");
    g->seeds   = key.gradient ? new_input(ctx, GGML_TYPE_F32, 1, key.n_scored, "seeds") : nullptr;
    ggml_tensor * picked = ggml_get_rows(ctx, x, g->rows);
    ggml_tensor * normed = transformer::final_norm(ctx, c, w, picked);
    g->chunks = device_head(ctx, w.head(), weights_->transposed(w.head()), normed, g->targets, g->seeds, c.final_softcap);

    g->nodes = ggml_new_graph_custom(ctx, n_nodes, false);
    for (const head_chunk & chunk : g->chunks) { // one after the other, so that their logits share memory
        ggml_set_output(chunk.loss);
        ggml_build_forward_expand(g->nodes, chunk.loss);
        if (chunk.dx) {
            ggml_build_forward_expand(g->nodes, chunk.dx);
        }
    }
    if (key.gradient) {
        differentiate(*g, normed, picked);
    }
    weights_->where().require(g->nodes);
    if (!allocation_ || !ggml_gallocr_alloc_graph(allocation_.get(), g->nodes)) {
        // It has noted the sizes, and would take the memory that it did not get for its own the next time.
        allocation_.reset(ggml_gallocr_new(weights_->where().memory()));
        fail(YAPO_ERR_OUT_OF_MEMORY, "device %s has no room for the activations of %d tokens%s; shorten the sequences", weights_->where().name().c_str(), key.n_tokens,
             weights_->where().free_memory().c_str());
    }
    transformer::fill_inputs(c, w, in);
    graph_ = std::move(g);
}

void device_worker::upload(const request & r) {
    const graph & g = *graph_;
    const yapo_sequence & s = r.sequence;
    const int32_t T = g.key.n_tokens, n = g.key.n_scored;
    set(g.residual, padded_residual(r, T).data());
    if (g.key.steered) {
        const std::vector<float> all = coordinates(r);
        const float * part = all.data();
        for (ggml_tensor * v : g.v) {
            set(v, part);
            part += v->ne[0];
        }
        set(g.strength, padded_strengths(r, T).data());
    }
    if (g.codes) {
        const size_t F = g.codes->ne[0];
        std::vector<float> z(F * T, 0.0f);
        each_code(s, steering_->sites().front(), [&](int32_t t, int32_t place, float value) { z[t * F + place] = value; });
        set(g.codes, z.data());
    }
    std::vector<int32_t> rows(n, 0), targets(n, 0), spread(T, n - 1);
    std::vector<float> seeds(n, 0.0f);
    for (int32_t t = s.completion_start; t < s.n_tokens; ++t) {
        const int32_t k = t - s.completion_start;
        rows[k]       = t - 1;
        targets[k]    = s.tokens[t];
        spread[t - 1] = k;
        seeds[k]      = -r.seed; // the loss is -log p
    }
    set(g.rows, rows.data());
    set(g.targets, targets.data());
    set(g.seeds, seeds.data());
    set(g.spread, spread.data());
}

double device_worker::read_logprob(int32_t n) const {
    std::vector<float> loss;
    for (const head_chunk & chunk : graph_->chunks) {
        append(loss, chunk.loss);
    }
    double sum = 0.0;
    for (int32_t i = 0; i < n; ++i) {
        sum -= loss[i];
    }
    return sum;
}

double device_worker::evaluate(const request & r) {
    const int32_t n = r.sequence.n_tokens - r.sequence.completion_start;
    build({rounded(r.sequence.n_tokens), rounded(n + 1), r.steered, r.gradient, r.given});
    upload(r);
    compute(backend_.get(), graph_->nodes);
    return read_logprob(n);
}

void device_worker::read_gradients(std::vector<float> & dh, std::vector<float> & dv) {
    dh.clear();
    append(dh, graph_->dh);
    dv.clear();
    for (const ggml_tensor * part : graph_->dv) {
        append(dv, part);
    }
}

} // namespace yapo::train::upper
