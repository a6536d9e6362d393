// The loss as a ggml graph, differentiated by the tape.
#include "train/autograd/autograd.h"
#include "train/autograd/sparse.h"
#include "sae.h"

#include <algorithm>
#include <cmath>

namespace yapo::sae {

namespace {

constexpr size_t n_nodes = 96;

ggml_tensor * leaf(ggml_context * ctx, int64_t ne0, int64_t ne1) { return ggml_new_tensor_2d(ctx, GGML_TYPE_F32, ne0, ne1); }

} // namespace

loss_graph::loss_graph(const trainer & t, int64_t n_rows, bool with_gradient)
    : with_gradient_(with_gradient),
      n_rows_(n_rows),
      capacity_(static_cast<int32_t>(std::max<int64_t>(1024, n_rows * autograd::code_slice / 8))), // an eighth of all latents active: run() enlarges it
      backend_(train::new_cpu_backend()) {
    build(t, n_rows);
}

void loss_graph::build(const trainer & t, int64_t n_rows) {
    allocation_.reset();
    gradients_.clear();
    ctx_ = train::new_context(n_nodes, n_nodes);
    ggml_context * ctx = ctx_.get();
    enc_       = leaf(ctx, t.d, t.f);
    enc_bias_  = leaf(ctx, t.f, 1);
    log_theta_ = leaf(ctx, t.f, 1);
    dec_       = leaf(ctx, t.d, t.f);
    dec_bias_  = leaf(ctx, t.d, 1);
    bind(t);

    x_ = leaf(ctx, t.d, n_rows);
    ggml_set_input(x_);
    autograd::code_options o;
    o.n_workers = t.n_workers;
    o.capacity  = capacity_;
    o.bandwidth = with_gradient_ ? t.bandwidth : 0.0f;
    const bool top = t.k > 0;
    ggml_tensor * theta = top ? nullptr : ggml_exp(ctx, log_theta_);
    codes_     = top ? autograd::encode_top(ctx, x_, enc_, enc_bias_, t.k, o) : autograd::encode(ctx, x_, enc_, enc_bias_, theta, o);
    error_     = ggml_sub(ctx, ggml_add(ctx, autograd::decode(ctx, codes_, dec_), dec_bias_), x_);
    row_error_ = ggml_sum_rows(ctx, ggml_sqr(ctx, error_));
    l0_        = autograd::count(ctx, codes_, theta);
    graph_     = ggml_new_graph_custom(ctx, n_nodes, false);
    ggml_set_output(x_); // read after the run
    for (ggml_tensor * out : {codes_, error_, row_error_, l0_}) {
        ggml_set_output(out);
        ggml_build_forward_expand(graph_, out);
    }
    if (with_gradient_) {
        seed_error_ = leaf(ctx, 1, n_rows);
        seed_l0_    = leaf(ctx, n_rows, 1);
        ggml_set_input(seed_error_);
        ggml_set_input(seed_l0_);
        autograd::tape tape(ctx, {});
        std::vector<ggml_tensor *> roots{row_error_};
        tape.seed(row_error_, seed_error_);
        if (!top) {
            roots.push_back(l0_);
            tape.seed(l0_, seed_l0_);
        }
        tape.differentiate(roots, {enc_, enc_bias_, log_theta_, dec_, dec_bias_});
        for (ggml_tensor * p : {enc_, enc_bias_, log_theta_, dec_, dec_bias_}) {
            gradients_.push_back(tape.gradient(p) ? tape.contiguous(tape.gradient(p)) : nullptr);
            if (gradients_.back()) {
                ggml_set_output(gradients_.back());
                ggml_build_forward_expand(graph_, gradients_.back());
            }
        }
    }
    allocation_ = train::allocate_graph(graph_);
}

// The trainer's arrays, where they are now: restoring a state replaces them.
void loss_graph::bind(const trainer & t) {
    const std::pair<ggml_tensor *, const std::vector<float> *> leaves[] = {
        {enc_, &t.value.enc}, {enc_bias_, &t.value.enc_bias}, {log_theta_, &t.value.log_theta}, {dec_, &t.value.dec}, {dec_bias_, &t.value.dec_bias}};
    for (const auto & [to, from] : leaves) {
        to->data = const_cast<float *>(from->data()); // no kernel writes to a source
    }
}

totals loss_graph::run(const trainer & t, const float * rows, float sparsity) {
    const int64_t N = n_rows();
    bind(t);
    totals sum;
    for (;;) {
        sum = {};
        sum.n = N;
        float * x = static_cast<float *>(x_->data);
        for (int64_t n = 0; n < N; ++n) {
            double norm = 0;
            for (int64_t i = 0; i < t.d; ++i) {
                const float centred = rows[n * t.d + i] - t.mean[i];
                x[n * t.d + i] = centred;
                norm += static_cast<double>(centred) * centred;
            }
            if (!std::isfinite(norm)) {
                fail(YAPO_ERR_INVALID_ARGUMENT, "row %lld holds a value that is not finite", static_cast<long long>(n));
            }
            sum.deviation += norm;
        }
        if (with_gradient_) {
            sum.report(sparsity); // V is divided by
            std::fill_n(static_cast<float *>(seed_error_->data), N, static_cast<float>(1.0 / sum.deviation)); // 1 / (N V)
            if (seed_l0_->data) { // nothing reads it with k > 0
                std::fill_n(static_cast<float *>(seed_l0_->data), N, static_cast<float>(sparsity / static_cast<double>(N)));
            }
        }
        train::compute(backend_.get(), graph_);
        const int64_t needed = autograd::codes_needed(codes_);
        if (needed <= capacity_) {
            break;
        }
        capacity_ = static_cast<int32_t>(std::max<int64_t>(needed, 2 * int64_t(capacity_)));
        build(t, N);
    }
    for (int64_t n = 0; n < N; ++n) {
        sum.error += row_error()[n];
        sum.active += static_cast<const float *>(l0_->data)[n];
    }
    return sum;
}

gradients loss_graph::gradient() const {
    const auto at = [&](int i) { return gradients_[i] ? static_cast<float *>(gradients_[i]->data) : nullptr; };
    return {at(0), at(1), at(2), at(3), at(4)};
}

loss_graph & trainer::graph(int64_t n, bool with_gradient) {
    std::unique_ptr<loss_graph> & slot = with_gradient ? training_ : evaluating_;
    if (!slot || !slot->ready() || slot->n_rows() != n) {
        slot.reset();
        slot = std::make_unique<loss_graph>(*this, n, with_gradient);
    }
    return *slot;
}

void trainer::count_quiet(const loss_graph & g) {
    for (int64_t & rows : quiet) {
        rows += g.n_rows();
    }
    autograd::each_active(g.codes(), [&](int64_t, int64_t latent, float) { quiet[latent] = 0; });
}

void totals::add(const totals & o) {
    n += o.n;
    deviation += o.deviation;
    error += o.error;
    active += o.active;
}

yapo_sae_step totals::report(float sparsity) const {
    if (!(deviation > 0)) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "all %lld rows equal the mean: there is nothing to reconstruct", static_cast<long long>(n));
    }
    yapo_sae_step step{};
    step.struct_size        = sizeof step;
    step.l0                 = active / static_cast<double>(n);
    step.explained_variance = 1.0 - error / deviation;
    step.loss               = error / deviation + sparsity * step.l0;
    return step;
}

} // namespace yapo::sae
