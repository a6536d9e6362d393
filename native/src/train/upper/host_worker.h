// A worker on the CPU: fused kernels (autograd/kernels.h, sparse.h, steer.h) on the weights where the file has them.
#pragma once

#include "train/autograd/autograd.h"
#include "train/autograd/sparse.h"
#include "train/upper/worker.h"

#include <memory>

namespace yapo::train::upper {

class host_worker final : public worker {
public:
    explicit host_worker(std::shared_ptr<const model> m);

protected:
    double evaluate(const request & r) override;
    void   read_gradients(std::vector<float> & dh, std::vector<float> & dv) override;
    void   forget() override { graph_.reset(); }

private:
    // What a graph depends on.
    struct shape {
        int32_t n_tokens, n_scored;
        bool    steered, gradient, given; // given: the codes of the lowest layer are an input
        int32_t capacity;                 // of codes
        bool operator==(const shape & o) const {
            return n_tokens == o.n_tokens && n_scored == o.n_scored && steered == o.steered && gradient == o.gradient && given == o.given && capacity == o.capacity;
        }
    };
    struct graph {
        shape                      key;
        context_ptr                ctx;
        ggml_cgraph *              nodes = nullptr;
        ggml_tensor *              residual = nullptr, * strength = nullptr, * first = nullptr, * dh = nullptr; // first: the lowest steered h'
        std::vector<ggml_tensor *> v, dv, codes; // of each steered layer; codes NULL where dense
        ggml_tensor *              rows = nullptr, * targets = nullptr, * seeds = nullptr, * loss = nullptr;
    };

    void   build(const shape & key);
    ggml_tensor * steer(graph & g, size_t i, ggml_tensor * h);
    void   take_codes(const yapo_sequence & s);
    void   grow(int64_t needed);
    void   upload(const request & r);
    bool   codes_fit();
    double read_logprob() const;

    backend_ptr                  backend_;
    gallocr_ptr                  allocation_; // one buffer, as large as the largest graph so far
    std::unique_ptr<graph>       graph_;      // the last one used
    std::vector<std::vector<autograd::latent_value>> codes_; // of the sequence, by position; latents are places in v
    int32_t                      capacity_ = 64; // of codes: grows as sequences need
};

} // namespace yapo::train::upper
