#include "train/upper/host_worker.h"

#include "train/autograd/kernels.h"

#include <algorithm>
#include <cmath>

namespace yapo::train::upper {

// Of the log-probability; in F32 from end to end there is room.
constexpr float loss_scale = 65536.0f;

host_worker::host_worker(std::shared_ptr<const model> m)
    : worker(std::move(m), loss_scale), backend_(new_cpu_backend()), allocation_(ggml_gallocr_new(ggml_backend_cpu_buffer_type())) {}

// The codes of the lowest layer as places in v.
void host_worker::take_codes(const yapo_sequence & s) {
    const site & lowest = steering_->sites().front();
    codes_.assign(s.n_tokens, {});
    std::vector<int32_t> in_slice(lowest.size() / autograd::code_slice + 1, 0);
    each_code(s, lowest, [&](int32_t t, int32_t place, float value) {
        codes_[t].push_back({place, value});
        ++in_slice[place / autograd::code_slice];
    });
    grow(*std::max_element(in_slice.begin(), in_slice.end()));
}

void host_worker::grow(int64_t needed) {
    while (capacity_ < needed) {
        capacity_ *= 2;
    }
}

// Whether every list of codes the last graph computed had room; if not, the next one has.
bool host_worker::codes_fit() {
    const int32_t had = capacity_;
    for (size_t i = 0; i < graph_->codes.size(); ++i) {
        if (graph_->codes[i] && !(i == 0 && graph_->key.given)) {
            grow(autograd::codes_needed(graph_->codes[i]));
        }
    }
    return capacity_ == had;
}

ggml_tensor * host_worker::steer(graph & g, size_t i, ggml_tensor * h) {
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
    h = at.apply(ctx, h, codes, v, g.strength);
    g.first = i == 0 ? h : g.first;
    return h;
}

void host_worker::build(const shape & key) {
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
    transformer::inputs in = transformer::make_inputs(ctx, c, w, key.n_tokens, 1, transformer::lowering::fused);
    ggml_tensor * x = upper_blocks(ctx, w, in, g->residual, key.steered, [&](size_t i, ggml_tensor * h) { return steer(*g, i, h); });
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

void host_worker::upload(const request & r) {
    const graph & g = *graph_;
    const yapo_sequence & s = r.sequence;
    const int32_t T = g.key.n_tokens;
    const auto set = [](ggml_tensor * t, const void * data) {
        if (t->buffer) { // an input nothing reads is not placed
            ggml_backend_tensor_set(t, data, 0, ggml_nbytes(t));
        }
    };
    set(g.residual, padded_residual(r, T).data());
    if (g.key.steered) {
        const std::vector<float> all = coordinates(r);
        const float * part = all.data();
        for (ggml_tensor * t : g.v) {
            set(t, part);
            part += t->ne[1];
        }
        set(g.strength, padded_strengths(r, T).data());
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
        seeds[k]   = -r.seed; // the loss is -log p
    }
    set(g.rows, rows.data());
    set(g.targets, targets.data());
    if (g.seeds) {
        set(g.seeds, seeds.data());
    }
}

double host_worker::read_logprob() const {
    const float * l = static_cast<const float *>(graph_->loss->data);
    double sum = 0.0;
    for (int64_t i = 0; i < graph_->loss->ne[0]; ++i) {
        sum -= l[i];
    }
    return sum;
}

double host_worker::evaluate(const request & r) {
    const yapo_sequence & s = r.sequence;
    if (r.given) {
        take_codes(s);
    }
    do {
        build({rounded(s.n_tokens), rounded(s.n_tokens - s.completion_start), r.steered, r.gradient, r.given, r.steered ? capacity_ : 0});
        upload(r);
        compute(backend_.get(), graph_->nodes);
    } while (!codes_fit());
    return read_logprob();
}

void host_worker::read_gradients(std::vector<float> & dh, std::vector<float> & dv) {
    const auto values = [](const ggml_tensor * t) { return static_cast<const float *>(t->data); };
    dh.assign(values(graph_->dh), values(graph_->dh) + ggml_nelements(graph_->dh));
    dv.clear();
    for (const ggml_tensor * part : graph_->dv) {
        dv.insert(dv.end(), values(part), values(part) + part->ne[1]);
    }
}

} // namespace yapo::train::upper
