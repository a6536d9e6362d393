// One op on random leaves, against itself in double precision: its value, and its gradient against central differences.
#pragma once

#include "train/autograd/autograd.h"

#include <functional>
#include <vector>

namespace yapo_test {

using reals   = std::vector<double>;
using tensors = std::vector<ggml_tensor *>;
using leaves  = std::vector<reals>;

struct leaf {
    int64_t ne[4];
    double  low, high;         // entries are uniform in [low, high)
    bool    wanted = true;     // differentiate with respect to it
    int64_t size() const { return ne[0] * ne[1] * ne[2] * ne[3]; }
};

struct op_case {
    const char *        name;
    std::vector<leaf>   args;
    std::function<ggml_tensor *(ggml_context *, tensors &)> build; // the op on the leaves
    std::function<reals(const leaves &)> value;  // the same in double
};

// Both tolerances are relative: 2e-6 for the value, 5e-6 (L2) for every wanted leaf's gradient.
void run(const op_case & c, uint64_t seed);

inline leaf full(double low = -2, double high = 2) { return {{5, 4, 3, 2}, low, high}; }
inline leaf row(double low = -2, double high = 2) { return {{5, 1, 1, 1}, low, high}; } // broadcast over the rest

reals each(const reals & a, double (*f)(double));
// y[m, t] = sum_k w[k, m] x[k, t]
reals product(const reals & w, const reals & x, int64_t K, int64_t M, int64_t T);
ggml_tensor * ints(ggml_context * ctx, const std::vector<int32_t> & v);

} // namespace yapo_test
