// What changed codes do to the residual stream:  out_t = base_t + dec^T c_t
//
// dec is stored transposed, [D, K]. Where c is 0 (features that are not active, vectors of other sequences in the batch) dec is not
// read.
#pragma once

#include "rows.h"
#include "tile.h"

namespace yapo::cuda {

template <class Rows> struct apply_args {
    const float * c;    // [T, K]
    const float * base; // [T, D]
    Rows          dec;  // [D, K]
    float *       out;  // [T, D], not base itself
    int64_t       d, k, t;
};

// Few tokens: Together threads for each row of dec and Tokens tokens.
template <class Rows, int Tokens, int Together> struct apply_rows {
    using args = apply_args<Rows>;
    static constexpr int threads = 128, rows = threads / Together, warps = Together / warp;
    static_assert(Together == warp || Together == threads);
    static grid blocks(const args & a) { return {blocks_of(a.d, rows), blocks_of(a.t, Tokens)}; }

    struct memory {
        float dot[rows][warps][Tokens];
    };

    template <class Team> static YAPO_KERNEL void run(const Team & team, const args & a, memory & m) {
        const int64_t j0 = team.block_x * rows, t0 = team.block_y * Tokens;

        typename Team::template own<few<float, Tokens>> dot;
        team.each([&](int thread) YAPO_INLINED {
            const int64_t j = j0 + thread / Together;
            few<const float *, Tokens> c; // tokens beyond the last compute with the last
            YAPO_UNROLL
            for (int token = 0; token < Tokens; ++token) {
                c[token] = a.c + (t0 + token < a.t ? t0 + token : a.t - 1) * a.k;
            }
            if (j < a.d) {
                for (int64_t i = thread % Together; i < a.k; i += Together) {
                    few<float, Tokens> x;
                    bool any = false;
                    YAPO_UNROLL
                    for (int token = 0; token < Tokens; ++token) {
                        x[token] = c[token][i];
                        any |= x[token] != 0.0f;
                    }
                    if (any) {
                        const float w = a.dec.at(j, i);
                        YAPO_UNROLL
                        for (int token = 0; token < Tokens; ++token) {
                            dot[thread][token] = multiply_add(w, x[token], dot[thread][token]);
                        }
                    }
                }
            }
        });
        team.warp_sum(dot);
        team.each([&](int thread) YAPO_INLINED {
            YAPO_UNROLL
            for (int token = 0; token < Tokens; ++token) {
                if (thread % warp == 0) {
                    m.dot[thread / Together][thread % Together / warp][token] = dot[thread][token];
                }
            }
        });
        team.each([&](int thread) YAPO_INLINED {
            const int row = thread / Tokens, token = thread % Tokens;
            if (row < rows && j0 + row < a.d && t0 + token < a.t) {
                float sum = m.dot[row][0][token];
                YAPO_UNROLL
                for (int w = 1; w < warps; ++w) {
                    sum += m.dot[row][w][token];
                }
                const int64_t at = (t0 + token) * a.d + j0 + row;
                a.out[at] = a.base[at] + sum;
            }
        });
    }
};

// Many tokens: a block for each tile of rows and tokens.
template <class Rows> struct apply_tile {
    using args = apply_args<Rows>;
    static constexpr int threads = tile::threads;
    static grid blocks(const args & a) { return {blocks_of(a.d, tile::side), blocks_of(a.t, tile::side)}; }

    struct memory {
        tile::memory side;
        int          any[2]; // of this step and of the next
    };

    template <class Team> static YAPO_KERNEL void run(const Team & team, const args & a, memory & m) {
        const int64_t j0 = team.block_x * tile::side, t0 = team.block_y * tile::side;

        typename Team::template own<tile::sums> dot;
        team.each([&](int thread) YAPO_INLINED {
            if (thread < 2) {
                m.any[thread] = 0;
            }
        });
        int step = 0;
        for (int64_t i0 = 0; i0 < a.k; i0 += tile::depth, step ^= 1) {
            team.each([&](int thread) YAPO_INLINED {
                bool any = false;
                tile::load(m.side.b, thread, [&](int token, int i) YAPO_INLINED {
                    const float x = t0 + token < a.t && i0 + i < a.k ? a.c[(t0 + token) * a.k + i0 + i] : 0.0f;
                    any |= x != 0.0f;
                    return x;
                });
                if (any) {
                    m.any[step] = 1; // whoever writes, writes the same
                }
            });
            const bool any = m.any[step] != 0;
            team.each([&](int thread) YAPO_INLINED {
                if (thread == 0) {
                    m.any[step ^ 1] = 0;
                }
                if (any) {
                    tile::load(m.side.a, thread, [&](int row, int i) YAPO_INLINED { return j0 + row < a.d && i0 + i < a.k ? a.dec.at(j0 + row, i0 + i) : 0.0f; });
                }
            });
            if (any) {
                team.each([&](int thread) YAPO_INLINED { tile::multiply(m.side, thread, dot[thread]); });
            }
        }
        team.each([&](int thread) YAPO_INLINED {
            YAPO_UNROLL
            for (int i = 0; i < tile::each; ++i) {
                YAPO_UNROLL
                for (int j = 0; j < tile::each; ++j) {
                    const int64_t row = j0 + tile::row(thread, i), t = t0 + tile::token(thread, j);
                    if (row < a.d && t < a.t) {
                        a.out[t * a.d + row] = a.base[t * a.d + row] + dot[thread][i * tile::each + j];
                    }
                }
            }
        });
    }
};

// apply_args before the type of dec's rows is looked at.
struct apply_call {
    const float * c;
    const float * base;
    const void *  dec;
    row_type      type;
    float *       out;
    int64_t       d, k, t;
};

// launch(kernel, args) with the kernel for this shape: for a short support a warp for each row of dec, else a block.
template <class Launch> void dispatch_apply(const apply_call & call, Launch && launch) {
    with_rows(call.type, call.dec, call.k, [&](auto dec) {
        using Rows = decltype(dec);
        const apply_args<Rows> a = {call.c, call.base, dec, call.out, call.d, call.k, call.t};
        const auto rows = [&](auto with_warp, auto with_block) {
            if (a.k > 1024) {
                launch(with_block, a);
            } else {
                launch(with_warp, a);
            }
        };
        if (a.t > 32) {
            launch(apply_tile<Rows>(), a);
        } else if (a.t > 4) {
            rows(apply_rows<Rows, 8, warp>(), apply_rows<Rows, 8, 128>());
        } else if (a.t > 1) {
            rows(apply_rows<Rows, 4, warp>(), apply_rows<Rows, 4, 128>());
        } else {
            rows(apply_rows<Rows, 1, warp>(), apply_rows<Rows, 1, 128>());
        }
    });
}

} // namespace yapo::cuda
