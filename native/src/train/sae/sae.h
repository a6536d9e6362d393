// JumpReLU SAE training (Rajamanoharan et al. 2024, arXiv 2407.14435): parameters, sparse codes, gradients.
//
// With x~ = x - mean (fixed at creation):
//   pre_j = enc_j . x~ + b_j        z_j = pre_j [pre_j > theta_j]     theta_j = exp(log_theta_j)
//   x^    = sum_j z_j dec_j + c     e = x^ - x~
//   L     = (1/N) sum_n ( |e_n|^2 / V + sparsity * L0_n )             V = mean_n |x~_n|^2, a constant of the batch
//
// Gradients; K(u) = [|u| < 1/2] is the rectangle kernel, w the bandwidth, s = 2 / (N V):
//   dz_j      = s e . dec_j
//   d pre_j   = dz_j [pre_j > theta_j]
//   d theta_j = -(theta_j / w) K((pre_j - theta_j) / w) dz_j  -  (sparsity / (N w)) K((pre_j - theta_j) / w)    straight-through
//   d dec_j   = s z_j e, with its component along dec_j removed (dec_j stays of unit length)
//   d c       = s e
//
// Everything but pre is zero for most latents of a row, so only the encoder product is dense (ggml); the rest walks lists of
// the latents that are active or inside the kernel's window. That is a fifth of the arithmetic of the dense graph.
//
// Determinism: a row's list is computed by one thread; a latent's gradient is summed over rows in row order by one thread;
// scalars are added in row or latent order. The number of threads never changes a bit.
#pragma once

#include "abi/guard.h"
#include "yapo_train.h"

#include <cstdint>
#include <string>
#include <vector>

namespace yapo::sae {

// One array per parameter group; used for values, gradients and moments alike.
struct parameters {
    std::vector<float> enc;       // [F, D]
    std::vector<float> enc_bias;  // [F]
    std::vector<float> log_theta; // [F]
    std::vector<float> dec;       // [F, D]
    std::vector<float> dec_bias;  // [D]

    void resize(int64_t f, int64_t d);
};

// A latent of a row that is active or inside the threshold's window.
struct code_entry {
    int32_t row;
    int32_t latent;
    float   pre;
    float   dot;    // e . dec_j
    bool    active;
    bool    window;
};

// The forward pass over a batch.
struct codes {
    std::vector<std::vector<code_entry>> blocks; // one list per micro-batch, ordered by row, then latent
    std::vector<float> centred;                  // [N, D] x~
    std::vector<float> error;                    // [N, D] e
    std::vector<float> row_error;                // [N] |e|^2
    double  variance  = 0;                       // V
    double  sum_error = 0;                       // sum_n |e_n|^2
    int64_t n_active  = 0;
};

struct trainer {
    int64_t d = 0, f = 0;
    int32_t n_workers = 1, micro_batch = 64;
    float   beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f, bandwidth = 0.1f, clip = 1.0f, threshold_rate = 1.0f;
    float   initial_theta = 0.1f;
    int64_t steps = 0;

    std::vector<float> mean; // [D]
    parameters value, gradient, moment1, moment2;

    // Encodes and reconstructs; gradients need `windows` (the entries near a threshold).
    void forward(const float * rows, int64_t n, bool windows, codes & out) const;
    // Fills `gradient` (with respect to log_theta, decoder rows projected).
    void backward(const codes & c, int64_t n, float sparsity);
    // Clips, one Adam step, decoder rows back to unit length.
    void update(float learning_rate);
    yapo_sae_step report(const codes & c, int64_t n, float sparsity) const;
};


void save_state(const trainer & t, const std::string & path);
void load_state(trainer & t, const std::string & path);

} // namespace yapo::sae

struct yapo_sae_trainer : yapo::counted {
    yapo::sae::trainer t;
};
