// SAE training: parameters, loss, optimizer. JumpReLU as in Rajamanoharan et al. 2024 (arXiv 2407.14435), top-k as in Gao et al. 2024
// (arXiv 2406.04093).
//
// With x~ = x - mean (fixed at creation):
//   pre_j = enc_j . x~ + b_j        z_j = pre_j [pre_j > theta_j]     theta_j = exp(log_theta_j)
//                                   z_j = relu(pre_j) for the k largest pre-activations of the row, with k > 0
//   x^    = sum_j z_j dec_j + c     e = x^ - x~
//   L     = (1/N) sum_n ( |e_n|^2 / V + sparsity * L0_n )             V = mean_n |x~_n|^2, a constant of the batch; no sparsity with k > 0
//
// The loss is a ggml graph (graph.cpp) over the sparse kernels of autograd/sparse.h, and its gradient is the tape's. One step at the
// demo's size (D 256, F 4096, N 1024, L0 about 30; milliseconds of CPU, AVX-512, busy machine, tests/native/train_sae_speed.cpp):
//   dense graph in plain ops, without Adam    275    five products of N D F and passes over [F, N]
//   an earlier hand-written sparse backward    73    of which 55 ggml's product, row block by row block
//   this                                       40    of which 25 the product (gemm.h, latent slice by latent slice)
// Its losses agree with the hand-written form's to 1e-4 after 40 steps and to 1e-3 after 400, where gates near a threshold have flipped.
// Decoder rows stay of unit length: their gradient loses its component along the row, and they are normalized after each step.
//
// Determinism: kernels split work by latent or by row and sum in a fixed order; scalars are added in row or latent order. The number of
// threads never changes a bit.
#pragma once

#include "train/compute.h"
#include "yapo_train.h"

#include <cstdint>
#include <string>
#include <vector>

namespace yapo::sae {

// One array per parameter group; used for values and moments alike.
struct parameters {
    std::vector<float> enc;       // [F, D]
    std::vector<float> enc_bias;  // [F]
    std::vector<float> log_theta; // [F]
    std::vector<float> dec;       // [F, D]
    std::vector<float> dec_bias;  // [D]

    void resize(int64_t f, int64_t d);
};

// Where a computed graph left its gradients, in the shapes of `parameters`.
struct gradients {
    float * enc, * enc_bias, * log_theta, * dec, * dec_bias;
};

// Sums over rows that have been computed.
struct totals {
    int64_t n         = 0;
    double  deviation = 0; // sum |x~|^2
    double  error     = 0; // sum |e|^2
    double  active    = 0; // sum L0

    void add(const totals & o);
    yapo_sae_step report(float sparsity) const; // refuses rows that all equal the mean
};

struct trainer;

// Loss (and gradient) of a fixed number of rows. Built and placed once, computed many times.
class loss_graph {
public:
    loss_graph(const trainer & t, int64_t n_rows, bool with_gradient);

    int64_t n_rows() const { return n_rows_; }
    bool    ready() const { return allocation_ != nullptr; } // not where there was no memory to enlarge it
    // rows [N, D]; sparsity weighs the gradient only.
    totals run(const trainer & t, const float * rows, float sparsity);

    // Of the last run.
    const float *       centred() const { return static_cast<const float *>(x_->data); }         // [N, D] x~
    const float *       error() const { return static_cast<const float *>(error_->data); }       // [N, D] e
    const float *       row_error() const { return static_cast<const float *>(row_error_->data); } // [N] |e|^2
    const ggml_tensor * codes() const { return codes_; }
    gradients           gradient() const;                                                       // log_theta NULL with k > 0

private:
    void build(const trainer & t, int64_t n_rows);
    void bind(const trainer & t);

    bool                     with_gradient_;
    int64_t                  n_rows_;
    int32_t                  capacity_;
    train::backend_ptr       backend_;
    train::context_ptr       ctx_;
    train::gallocr_ptr       allocation_;
    ggml_cgraph *            graph_ = nullptr;
    ggml_tensor *            enc_ = nullptr, * enc_bias_ = nullptr, * log_theta_ = nullptr, * dec_ = nullptr, * dec_bias_ = nullptr; // the trainer's memory
    ggml_tensor *            x_ = nullptr, * codes_ = nullptr, * error_ = nullptr, * row_error_ = nullptr, * l0_ = nullptr;
    ggml_tensor *            seed_error_ = nullptr, * seed_l0_ = nullptr;
    std::vector<ggml_tensor *> gradients_; // in the order of `gradients`
};

struct trainer {
    int64_t d = 0, f = 0;
    int32_t n_workers = 1;
    float   beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f, bandwidth = 0.1f, clip = 1.0f, threshold_rate = 1.0f;
    float   initial_theta = 0.1f;
    int32_t k = 0;
    int64_t steps = 0;

    std::vector<float>   mean;  // [D]
    std::vector<int64_t> quiet; // [F] rows trained on since the latent was last active
    parameters value, moment1, moment2;

    // The graph for n rows: the last one used, or a new one.
    loss_graph & graph(int64_t n, bool with_gradient);
    // Counts on quiet latents from the last run of a training graph.
    void         count_quiet(const loss_graph & g);
    // Forward over any number of rows, a part at a time: visit(first row of the part, the graph that holds it).
    template <typename F>
    totals forward(const float * rows, int64_t n, F && visit) {
        totals sum;
        for (int64_t first = 0; first < n; first += rows_at_once) {
            loss_graph & g = graph(n - first < rows_at_once ? n - first : rows_at_once, false);
            sum.add(g.run(*this, rows + first * d, 0.0f));
            visit(first, g);
        }
        return sum;
    }
    // Takes the component along the decoder row out of its gradient.
    void project(const gradients & g) const;
    // Projects, clips, one Adam step, decoder rows back to unit length.
    void update(const gradients & g, float learning_rate);

    static constexpr int64_t rows_at_once = 2048;

private:
    std::unique_ptr<loss_graph> training_, evaluating_;
};

void save_state(const trainer & t, const std::string & path);
void load_state(trainer & t, const std::string & path);

} // namespace yapo::sae

struct yapo_sae_trainer : yapo::counted {
    yapo::sae::trainer t;
};
