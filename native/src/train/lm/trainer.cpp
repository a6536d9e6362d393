#include "train/lm/trainer.h"

#include "train/parallel.h"

#include <cmath>
#include <condition_variable>

namespace yapo::train::lm {

trainer::trainer(const std::string & gguf_path, const yapo_lm_options & options)
    : path_(gguf_path), options_(options), source_(gguf_path), config_(transformer::read_config(source_)), parameters_(source_, config_) {
    gradients_.resize(parameters_.size());
}

int64_t trainer::check(const int32_t * tokens, int32_t n_sequences) const {
    if (n_sequences <= 0 || n_sequences % options_.micro_batch != 0) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "a batch of %d sequences is not a positive multiple of the micro-batch (%d)", n_sequences, options_.micro_batch);
    }
    int64_t targets = 0;
    const int32_t row = options_.n_ctx + 1;
    for (int64_t i = 0; i < int64_t(n_sequences) * row; ++i) {
        if (tokens[i] < -1 || tokens[i] >= config_.n_vocab) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "token %d at position %lld of sequence %lld is not in the vocabulary of %d", tokens[i],
                (long long) (i % row), (long long) (i / row), config_.n_vocab);
        }
        targets += i % row != 0 && tokens[i] >= 0;
    }
    if (targets == 0) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "the batch has no target to score: every target is -1");
    }
    return targets;
}

double trainer::run(std::vector<std::unique_ptr<worker>> & workers, const int32_t * tokens, int32_t n_sequences, float target_weight, float * gradients) {
    while (workers.size() < size_t(options_.n_workers)) {
        workers.push_back(std::make_unique<worker>(parameters_, config_, options_.n_ctx, options_.micro_batch, gradients != nullptr));
    }
    std::mutex mutex;
    std::condition_variable turn_changed;
    int64_t turn = 0; // the micro-batch whose results are added next
    bool broken = false;
    double loss = 0.0;
    parallel(options_.n_workers, n_sequences / options_.micro_batch, [&](int32_t thread, int64_t i) {
        double mine;
        try {
            mine = workers[thread]->run(tokens + i * options_.micro_batch * (options_.n_ctx + 1), target_weight);
        } catch (...) {
            std::lock_guard<std::mutex> lock(mutex);
            broken = true; // nobody may wait for this turn
            turn_changed.notify_all();
            throw;
        }
        std::unique_lock<std::mutex> lock(mutex);
        turn_changed.wait(lock, [&] { return turn == i || broken; });
        if (broken) {
            return;
        }
        loss += mine;
        if (gradients) {
            workers[thread]->add_gradients(gradients);
        }
        ++turn;
        turn_changed.notify_all();
    });
    return loss;
}

yapo_lm_step trainer::train_step(const int32_t * tokens, int32_t n_sequences, float learning_rate) {
    const int64_t targets = check(tokens, n_sequences);
    std::fill(gradients_.begin(), gradients_.end(), 0.0f);
    const double loss = run(training_, tokens, n_sequences, static_cast<float>(1.0 / double(targets)), gradients_.data());

    // one partial sum per parameter, added in order: independent of who computed it
    const auto & list = parameters_.list();
    std::vector<double> squares(list.size());
    const int32_t n = static_cast<int32_t>(list.size());
    parallel(options_.n_workers, n, [&](int32_t, int64_t i) {
        const float * g = gradients_.data() + list[i].offset;
        double lanes[8] = {};
        for (int64_t k = 0; k < list[i].size; ++k) {
            lanes[k % 8] += double(g[k]) * g[k];
        }
        for (double l : lanes) {
            squares[i] += l;
        }
    });
    double norm = 0.0;
    for (double s : squares) {
        norm += s;
    }
    norm = std::sqrt(norm);
    if (!std::isfinite(norm) || !std::isfinite(loss)) {
        fail(YAPO_ERR_INTERNAL, "loss %g, gradient norm %g after %lld steps: training diverged; the weights are as before this step. Lower the learning rate.",
            loss / double(targets), norm, (long long) parameters_.step);
    }

    adamw o{options_.beta1, options_.beta2, options_.epsilon, options_.weight_decay, options_.gradient_clip};
    const float scale = o.gradient_clip > 0.0f && norm > o.gradient_clip ? static_cast<float>(o.gradient_clip / norm) : 1.0f;
    ++parameters_.step;
    parallel(options_.n_workers, n, [&](int32_t, int64_t i) {
        parameters_.update(i, gradients_.data() + list[i].offset, scale, learning_rate, o);
    });
    return {sizeof(yapo_lm_step), loss / double(targets), norm, double(targets)};
}

yapo_lm_step trainer::evaluate(const int32_t * tokens, int32_t n_sequences) {
    const int64_t targets = check(tokens, n_sequences);
    const double loss = run(evaluating_, tokens, n_sequences, 0.0f, nullptr);
    return {sizeof(yapo_lm_step), loss / double(targets), 0.0, double(targets)};
}

} // namespace yapo::train::lm
