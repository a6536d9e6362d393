// The changes of the codes on the support, of every vector of a layer at once:
//
//   s_kt = sum_v strength_tv value_kv       pre_kt = enc_k . h_t + bias_k       z = pre > max(0, threshold_k) ? pre : 0
//   c_kt = max(s_kt, -z_kt)
//
// z is never negative, so c = s wherever s >= 0: an encoder row is read for those tokens only that push its feature down. A vector
// with strength 0 costs its values and nothing else.
#pragma once

#include "rows.h"
#include "tile.h"

namespace yapo::cuda {

struct codes_args {
    const float * h;         // [T, D]
    const float * strengths; // [T, V], rows `stride` apart
    const float * enc;       // [K, D]
    const float * bias;      // [K]
    const float * threshold; // [K]; +infinity: never active
    const float * values;    // [K, V]
    float *       c;         // [T, K]
    int64_t       d, k, t, v, stride;
};

YAPO_KERNEL float changed_code(float s, float pre, float threshold) {
    const float z = pre > threshold && pre > 0.0f ? pre : 0.0f;
    return s > -z ? s : -z;
}

// Few tokens: a block for each row and Tokens tokens.
template <int Tokens> struct codes_rows {
    using args = codes_args;
    static constexpr int threads = 128, warps = threads / warp;
    static grid blocks(const args & a) { return {a.k, blocks_of(a.t, Tokens)}; }

    struct memory {
        float s[Tokens];
        float dot[warps][Tokens];
    };

    template <class Team> static YAPO_KERNEL void run(const Team & team, const args & a, memory & m) {
        const int64_t k = team.block_x, t0 = team.block_y * Tokens;
        constexpr int rounds = (Tokens + warps - 1) / warps;

        typename Team::template own<few<float, rounds>> s; // a warp for each token
        team.each([&](int thread) YAPO_INLINED {
            YAPO_UNROLL
            for (int round = 0; round < rounds; ++round) {
                const int64_t t = t0 + round * warps + thread / warp;
                float sum = 0.0f;
                if (t < a.t) {
                    for (int64_t v = thread % warp; v < a.v; v += warp) {
                        sum = multiply_add(a.strengths[t * a.stride + v], a.values[k * a.v + v], sum);
                    }
                }
                s[thread][round] = sum;
            }
        });
        team.warp_sum(s);
        team.each([&](int thread) YAPO_INLINED {
            YAPO_UNROLL
            for (int round = 0; round < rounds; ++round) {
                const int token = round * warps + thread / warp;
                if (thread % warp == 0 && token < Tokens) {
                    m.s[token] = s[thread][round];
                }
            }
        });
        bool any = false;
        YAPO_UNROLL
        for (int token = 0; token < Tokens; ++token) {
            any |= m.s[token] < 0.0f;
        }

        if (any) {
            typename Team::template own<few<float, Tokens>> dot;
            team.each([&](int thread) YAPO_INLINED {
                const float * row = a.enc + k * a.d;
                few<const float *, Tokens> h; // tokens beyond the last compute with the last
                YAPO_UNROLL
                for (int token = 0; token < Tokens; ++token) {
                    h[token] = a.h + (t0 + token < a.t ? t0 + token : a.t - 1) * a.d;
                }
                for (int64_t i = thread; i < a.d; i += threads) {
                    const float w = row[i];
                    YAPO_UNROLL
                    for (int token = 0; token < Tokens; ++token) {
                        dot[thread][token] = multiply_add(w, h[token][i], dot[thread][token]);
                    }
                }
            });
            team.warp_sum(dot);
            team.each([&](int thread) YAPO_INLINED {
                YAPO_UNROLL
                for (int token = 0; token < Tokens; ++token) {
                    if (thread % warp == 0) {
                        m.dot[thread / warp][token] = dot[thread][token];
                    }
                }
            });
        }
        team.each([&](int thread) YAPO_INLINED {
            if (thread < Tokens && t0 + thread < a.t) {
                float c = m.s[thread];
                if (c < 0.0f) {
                    float pre = m.dot[0][thread];
                    YAPO_UNROLL
                    for (int w = 1; w < warps; ++w) {
                        pre += m.dot[w][thread];
                    }
                    c = changed_code(c, pre + a.bias[k], a.threshold[k]);
                }
                a.c[(t0 + thread) * a.k + k] = c;
            }
        });
    }
};

// Many tokens: a block for each tile of rows and tokens.
struct codes_tile {
    using args = codes_args;
    static constexpr int threads = tile::threads;
    static grid blocks(const args & a) { return {blocks_of(a.k, tile::side), blocks_of(a.t, tile::side)}; }

    struct memory {
        tile::memory side;
        int          any;
    };

    template <class Team> static YAPO_KERNEL void run(const Team & team, const args & a, memory & m) {
        const int64_t k0 = team.block_x * tile::side, t0 = team.block_y * tile::side;

        typename Team::template own<tile::sums> s, dot;
        team.each([&](int thread) YAPO_INLINED {
            if (thread == 0) {
                m.any = 0;
            }
        });
        team.each([&](int thread) YAPO_INLINED {
            bool negative = false;
            YAPO_UNROLL
            for (int i = 0; i < tile::each; ++i) {
                YAPO_UNROLL
                for (int j = 0; j < tile::each; ++j) {
                    const int64_t k = k0 + tile::row(thread, i), t = t0 + tile::token(thread, j);
                    float sum = 0.0f;
                    if (k < a.k && t < a.t) {
                        for (int64_t v = 0; v < a.v; ++v) {
                            sum = multiply_add(a.strengths[t * a.stride + v], a.values[k * a.v + v], sum);
                        }
                    }
                    s[thread][i * tile::each + j] = sum;
                    negative |= sum < 0.0f;
                }
            }
            if (negative) {
                m.any = 1; // whoever writes, writes the same
            }
        });
        if (m.any) {
            for (int64_t i0 = 0; i0 < a.d; i0 += tile::depth) {
                team.each([&](int thread) YAPO_INLINED {
                    tile::load(m.side.a, thread, [&](int row, int i) YAPO_INLINED { return k0 + row < a.k && i0 + i < a.d ? a.enc[(k0 + row) * a.d + i0 + i] : 0.0f; });
                    tile::load(m.side.b, thread, [&](int token, int i) YAPO_INLINED { return t0 + token < a.t && i0 + i < a.d ? a.h[(t0 + token) * a.d + i0 + i] : 0.0f; });
                });
                team.each([&](int thread) YAPO_INLINED { tile::multiply(m.side, thread, dot[thread]); });
            }
        }
        team.each([&](int thread) YAPO_INLINED {
            YAPO_UNROLL
            for (int i = 0; i < tile::each; ++i) {
                YAPO_UNROLL
                for (int j = 0; j < tile::each; ++j) {
                    const int64_t k = k0 + tile::row(thread, i), t = t0 + tile::token(thread, j);
                    if (k < a.k && t < a.t) {
                        float c = s[thread][i * tile::each + j];
                        if (c < 0.0f) {
                            c = changed_code(c, dot[thread][i * tile::each + j] + a.bias[k], a.threshold[k]);
                        }
                        a.c[t * a.k + k] = c;
                    }
                }
            }
        });
    }
};

// launch(kernel, args) with the kernel for this shape.
template <class Launch> void dispatch_codes(const codes_args & a, Launch && launch) {
    if (a.t > 32) {
        launch(codes_tile(), a);
    } else if (a.t > 4) {
        launch(codes_rows<8>(), a);
    } else if (a.t > 1) {
        launch(codes_rows<4>(), a);
    } else {
        launch(codes_rows<1>(), a);
    }
}

} // namespace yapo::cuda
