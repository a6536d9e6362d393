// Trains all parameters of a language model: the object behind yapo_lm_trainer.
#pragma once

#include "train/lm/worker.h"
#include "yapo_train.h"

#include <memory>
#include <mutex>

namespace yapo::train::lm {

class trainer {
public:
    trainer(const std::string & gguf_path, const yapo_lm_options & options);

    yapo_lm_step train_step(const int32_t * tokens, int32_t n_sequences, float learning_rate);
    yapo_lm_step evaluate(const int32_t * tokens, int32_t n_sequences);
    void save_model(const std::string & path) const;
    void save_state(const std::string & path) const;
    void load_state(const std::string & path);

private:
    // Checks tokens and returns the number of scored targets.
    int64_t check(const int32_t * tokens, int32_t n_sequences) const;
    // Summed loss over all micro-batches; gradients, when wanted, are added in micro-batch order, so that the number of
    // workers changes nothing.
    double run(std::vector<std::unique_ptr<worker>> & workers, const int32_t * tokens, int32_t n_sequences, float target_weight, float * gradients);

    std::string                          path_;
    yapo_lm_options                      options_;
    gguf_source                          source_;
    transformer::config                       config_;
    parameters                           parameters_;
    std::vector<std::unique_ptr<worker>> training_, evaluating_; // built when first needed
    std::vector<float>                   gradients_;
};

} // namespace yapo::train::lm
