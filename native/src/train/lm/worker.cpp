#include "train/lm/worker.h"

#include "train/autograd/autograd.h"
#include "train/autograd/kernels.h"

namespace yapo::train::lm {

worker::worker(const parameters & p, const transformer::config & c, int32_t n_ctx, int32_t micro_batch, bool with_gradient)
    : parameters_(p), n_ctx_(n_ctx), micro_batch_(micro_batch), backend_(new_cpu_backend()) {
    const size_t n_nodes = 512 + 400 * size_t(c.n_layer);
    ctx_ = new_context(n_nodes, n_nodes);
    ggml_context * ctx = ctx_.get();
    const int64_t n = int64_t(n_ctx) * micro_batch;

    transformer::inputs in = transformer::make_inputs(ctx, c, p.weights(), n_ctx, micro_batch, transformer::lowering::fused);
    tokens_  = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, n);
    targets_ = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, n);
    ggml_set_input(tokens_);
    ggml_set_input(targets_);

    ggml_tensor * x = transformer::embed(ctx, c, p.weights(), tokens_);
    for (int32_t il = 0; il < c.n_layer; ++il) {
        x = transformer::run_block(ctx, c, p.weights().blocks[il], il, x, in);
    }
    ggml_tensor * logits = transformer::raw_logits(ctx, p.weights(), transformer::final_norm(ctx, c, p.weights(), x), in.form);
    loss_ = autograd::cross_entropy(ctx, logits, targets_, c.final_softcap);
    ggml_set_output(loss_);

    graph_ = ggml_new_graph_custom(ctx, n_nodes, false);
    ggml_build_forward_expand(graph_, loss_);
    if (with_gradient) {
        seed_ = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, n);
        ggml_set_input(seed_);
        std::vector<ggml_tensor *> wanted;
        for (const parameter & q : p.list()) {
            wanted.push_back(q.weight);
        }
        autograd::options o;
        o.cpu_kernels = true;
        autograd::tape tape(ctx, o);
        tape.seed(loss_, seed_);
        tape.differentiate({loss_}, wanted);
        for (ggml_tensor * w : wanted) {
            ggml_tensor * g = tape.contiguous(tape.gradient(w));
            ggml_set_output(g);
            gradients_.push_back(g);
        }
        // last layers first, as the walk made them: activations die early
        for (auto it = gradients_.rbegin(); it != gradients_.rend(); ++it) {
            ggml_build_forward_expand(graph_, *it);
        }
    }
    allocation_ = allocate_graph(graph_);
    transformer::fill_inputs(c, p.weights(), in);
    inputs_host_.resize(n);
    targets_host_.resize(n);
    seed_host_.resize(n);
    loss_host_.resize(n);
}

double worker::run(const int32_t * tokens, float target_weight) {
    const size_t T = n_ctx_;
    for (int32_t b = 0; b < micro_batch_; ++b) {
        const int32_t * row = tokens + b * (T + 1);
        for (size_t t = 0; t < T; ++t) {
            inputs_host_[b * T + t]  = row[t] < 0 ? 0 : row[t]; // an unscored tail may be padded with -1
            targets_host_[b * T + t] = row[t + 1];
            seed_host_[b * T + t]    = row[t + 1] < 0 ? 0.0f : target_weight;
        }
    }
    ggml_backend_tensor_set(tokens_, inputs_host_.data(), 0, ggml_nbytes(tokens_));
    ggml_backend_tensor_set(targets_, targets_host_.data(), 0, ggml_nbytes(targets_));
    if (seed_) {
        ggml_backend_tensor_set(seed_, seed_host_.data(), 0, ggml_nbytes(seed_));
    }
    compute(backend_.get(), graph_);
    ggml_backend_tensor_get(loss_, loss_host_.data(), 0, ggml_nbytes(loss_));
    double sum = 0.0;
    for (float l : loss_host_) {
        sum += l;
    }
    return sum;
}

void worker::add_gradients(float * sum) const {
    for (size_t i = 0; i < gradients_.size(); ++i) {
        const float * g = static_cast<const float *>(gradients_[i]->data);
        float * to = sum + parameters_.list()[i].offset;
        for (int64_t k = 0; k < parameters_.list()[i].size; ++k) {
            to[k] += g[k];
        }
    }
}

} // namespace yapo::train::lm
