// One thread's evaluation of sequences through the upper blocks: completion log-probability and its gradient in v. What is common to all ways of computing
// it: checks of what the caller gave, and the loss scale. host_worker computes on the mapped weights with fused CPU kernels, device_worker in plain ops on
// any ggml backend.
#pragma once

#include "train/upper/model.h"
#include "train/upper/steering.h"
#include "yapo_train.h"

#include <functional>
#include <memory>
#include <vector>

namespace yapo::train::upper {

class worker {
public:
    virtual ~worker() = default;

    double logprob(const yapo_sequence & s, const float * v, float multiplier);
    // gradient += scale * d(logprob)/dv
    double logprob_gradient(const yapo_sequence & s, const float * v, float multiplier, double scale, float * gradient);

protected:
    // loss_scale: what every scored token's log-probability is multiplied by inside the graph, so that the gradient of a token predicted with
    // p > 0.999999 does not sink into denormal numbers. A power of two changes no mantissa. Should it be wrong by orders of magnitude, the run is repeated
    // once with another.
    worker(std::shared_ptr<const model> m, float loss_scale) : model_(std::move(m)), loss_scale_(loss_scale) {}

    // A checked sequence, and what is asked of it.
    struct request {
        const yapo_sequence & sequence;
        const float *         v;        // NULL: zeros
        float                 multiplier;
        bool                  steered, gradient;
        bool                  given;    // the codes of the lowest block come with the sequence
        float                 seed;     // factor of the log-probability whose gradient is asked for
    };
    // The log-probability of the completion.
    virtual double evaluate(const request & r) = 0;
    // After evaluate with a gradient: seed * d(logprob) by the lowest steered h' (any number of padded rows), and by v.
    virtual void read_gradients(std::vector<float> & dh, std::vector<float> & dv) = 0;
    // The latents have changed: what was built for the others goes.
    virtual void forget() = 0;

    // Lengths are rounded up, so that neighbours share one graph: attention is causal and unused completion rows count for nothing, so padding changes
    // nothing.
    static int32_t rounded(int32_t n) { return (n + 15) / 16 * 16; }
    // Inputs of n positions, zero beyond the sequence.
    std::vector<float> padded_residual(const request & r, int32_t n) const;  // [n, D]
    std::vector<float> padded_strengths(const request & r, int32_t n) const; // [n] multiplier times position weight
    std::vector<float> coordinates(const request & r) const;                 // v, or zeros

    // The residual stream behind the last block, from that behind the model's layer: the upper blocks of `w`, and site i's h' = steer(i, h) after its block.
    ggml_tensor * upper_blocks(ggml_context * ctx, const transformer::weights & w, const transformer::inputs & in, ggml_tensor * residual, bool steered,
                               const std::function<ggml_tensor *(size_t, ggml_tensor *)> & steer) const;

    std::shared_ptr<const model>    model_;
    std::shared_ptr<const steering> steering_; // the model's, as graphs were built with

private:
    void   check(const yapo_sequence & s) const;
    void   take_latents();
    double run(const yapo_sequence & s, const float * v, float multiplier, bool gradient, float seed);

    float loss_scale_;
};

} // namespace yapo::train::upper
