// How sparse codes lie in a tensor. Internal to autograd/.
//
// A codes tensor is F32 [words, slices]; a slice holds, for its code_slice latents:
//   int32 start[N + 1]      entries of row n are start[n] .. start[n + 1] - 1, ascending by latent
//   int32 needed            entries that there are; above the capacity, start[] is all zero
//   code  entry[capacity]
// The gradient of a codes tensor is another of the same lists whose values are dL/dz.
// Its order by latent is I32 [words, slices]: start[code_slice + 1], then (entry, row) pairs.
#pragma once

#include "train/autograd/kernel_table.h"
#include "train/autograd/sparse.h"

#include <algorithm>

namespace yapo::autograd {

struct code {
    uint32_t tag; // latent within the slice, active, inside the threshold's window
    float    value;

    int64_t latent() const { return tag >> 2; }
    bool    active() const { return tag & 2; }
    bool    window() const { return tag & 1; }
    static uint32_t make(int64_t latent, bool active, bool window) { return static_cast<uint32_t>(latent << 2 | int(active) << 1 | int(window)); }
};

struct code_params { // of every kernel whose result is codes
    int32_t n_rows, n_latents, n_workers, capacity;
    float   bandwidth;
    int32_t k;
};

class code_lists {
public:
    explicit code_lists(const ggml_tensor * t) : t_(t), p_(kernel_params<code_params>(t)) {}

    static int64_t words(int64_t n_rows, int64_t capacity) { return n_rows + 2 + 2 * capacity; }

    const code_params & params() const { return p_; }
    int64_t n_rows() const { return p_.n_rows; }
    int64_t n_slices() const { return t_->ne[1]; }
    int64_t first_latent(int64_t s) const { return s * code_slice; }
    int64_t latents(int64_t s) const { return p_.n_latents - s * code_slice < code_slice ? p_.n_latents - s * code_slice : code_slice; }

    int32_t * start(int64_t s) const { return reinterpret_cast<int32_t *>(static_cast<char *>(t_->data) + s * t_->nb[1]); }
    int32_t & needed(int64_t s) const { return start(s)[p_.n_rows + 1]; }
    code *    entries(int64_t s) const { return reinterpret_cast<code *>(start(s) + p_.n_rows + 2); }
    code *    begin(int64_t s, int64_t row) const { return entries(s) + start(s)[row]; }
    code *    end(int64_t s, int64_t row) const { return entries(s) + start(s)[row + 1]; }

    // The last row of a slice is done; `found` entries in all.
    void close(int64_t s, int64_t found) const {
        start(s)[p_.n_rows] = needed(s) = static_cast<int32_t>(found);
        if (found > p_.capacity) {
            std::fill_n(start(s), p_.n_rows + 1, 0);
        }
    }

private:
    const ggml_tensor * t_;
    const code_params & p_;
};

// What encode computes, with thresholds and without.
void choose_above(ggml_tensor * codes);
void choose_top(ggml_tensor * codes);

constexpr int64_t row_tile = 256; // a tile of the product, [row_tile, code_slice], stays in the second-level cache
constexpr int64_t scan     = 32;  // latents looked at together: most groups hold no candidate

struct code_place { int32_t entry, row; };

class code_order {
public:
    explicit code_order(const ggml_tensor * t) : t_(t) {}
    static int64_t words(int64_t capacity) { return code_slice + 1 + 2 * capacity; }
    int32_t *    start(int64_t s) const { return reinterpret_cast<int32_t *>(static_cast<char *>(t_->data) + s * t_->nb[1]); }
    code_place * places(int64_t s) const { return reinterpret_cast<code_place *>(start(s) + code_slice + 1); }

private:
    const ggml_tensor * t_;
};

template <typename F>
void each_active(const ggml_tensor * codes, F && visit) {
    const code_lists lists(codes);
    for (int64_t row = 0; row < lists.n_rows(); ++row) {
        for (int64_t s = 0; s < lists.n_slices(); ++s) {
            for (const code * c = lists.begin(s, row); c < lists.end(s, row); ++c) {
                if (c->active()) {
                    visit(row, s * code_slice + c->latent(), c->value);
                }
            }
        }
    }
}

} // namespace yapo::autograd
