// encode_top: the k best latents of each row, over all slices of latents.
#include "train/autograd/gemm.h"
#include "train/autograd/sparse_layout.h"
#include "train/parallel.h"

#include <algorithm>
#include <vector>

namespace yapo::autograd {

namespace {

const float * floats(const ggml_tensor * t) { return static_cast<const float *>(t->data); }

struct candidate { float value; int32_t latent; };

// The best first: larger, then the lower latent.
bool better(const candidate & a, const candidate & b) { return a.value > b.value || (a.value == b.value && a.latent < b.latent); }

// The k best of each row, ascending by latent: best[row * k ...], how_many[row].
void find_best(const ggml_tensor * y, std::vector<candidate> & best, std::vector<int32_t> & how_many) {
    const code_lists lists(y);
    const code_params & p = lists.params();
    const ggml_tensor * x = y->src[0], * enc = y->src[1];
    const float * bias = floats(y->src[2]);
    const int64_t D = x->ne[0], N = x->ne[1];
    best.resize(N * p.k);
    how_many.assign(N, 0);
    train::parallel(p.n_workers, (N + row_tile - 1) / row_tile, [&](int32_t, int64_t tile) {
        const int64_t first_row = tile * row_tile, rows = std::min(row_tile, N - first_row);
        std::vector<float> pre(row_tile * code_slice);
        for (int64_t s = 0; s < lists.n_slices(); ++s) {
            const int64_t first = lists.first_latent(s), n = lists.latents(s);
            const float * shift = bias + first;
            gemm(rows, n, D, {floats(x) + first_row * D, D, 1}, {floats(enc) + first * D, D, 1}, pre.data(), n);
            for (int64_t r = 0; r < rows; ++r) {
                const float * q = pre.data() + r * n;
                candidate *   heap = best.data() + (first_row + r) * p.k; // worst on top
                int32_t &     have = how_many[first_row + r];
                for (int64_t j0 = 0; j0 < n; j0 += scan) {
                    const int64_t j1 = std::min(j0 + scan, n);
                    float limit = have == p.k ? heap[0].value : 0.0f; // latents come in order: an equal one is never better
                    int any = 0;
                    for (int64_t j = j0; j < j1; ++j) {
                        any |= q[j] + shift[j] > limit;
                    }
                    for (int64_t j = any ? j0 : j1; j < j1; ++j) {
                        const candidate c{q[j] + shift[j], static_cast<int32_t>(first + j)};
                        if (!(c.value > limit)) {
                            continue;
                        }
                        if (have == p.k) {
                            std::pop_heap(heap, heap + have, better);
                            heap[have - 1] = c;
                        } else {
                            heap[have++] = c;
                        }
                        std::push_heap(heap, heap + have, better);
                        limit = have == p.k ? heap[0].value : 0.0f;
                    }
                }
            }
        }
        for (int64_t r = first_row; r < first_row + rows; ++r) {
            std::sort(best.data() + r * p.k, best.data() + r * p.k + how_many[r], [](const candidate & a, const candidate & b) { return a.latent < b.latent; });
        }
    });
}

} // namespace

void choose_top(ggml_tensor * y) {
    const code_lists lists(y);
    const code_params & p = lists.params();
    std::vector<candidate> best;
    std::vector<int32_t>   how_many;
    find_best(y, best, how_many);
    train::parallel(p.n_workers, lists.n_slices(), [&](int32_t, int64_t s) {
        const int64_t first = lists.first_latent(s), last = first + lists.latents(s);
        int32_t * start = lists.start(s);
        code *    entry = lists.entries(s);
        int32_t   found = 0;
        for (int64_t row = 0; row < lists.n_rows(); ++row) {
            start[row] = found;
            const candidate * end = best.data() + row * p.k + how_many[row];
            const candidate * c = std::lower_bound(end - how_many[row], end, first, [](const candidate & a, int64_t latent) { return a.latent < latent; });
            for (; c < end && c->latent < last; ++c, ++found) {
                if (found < p.capacity) {
                    entry[found] = {code::make(c->latent - first, true, false), c->value};
                }
            }
        }
        lists.close(s, found);
    });
}

} // namespace yapo::autograd
