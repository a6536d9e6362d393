// Sparse codes (autograd/sparse.h): their rules against finite differences in double precision, the lists against the dense form in
// plain ops, and what must not change a bit.
#include "harness.h"
#include "random_model.h"
#include "train/autograd/sparse.h"
#include "train/compute.h"
#include "train_op_case.h"
#include "train_sae_dense.h"

#include <algorithm>
#include <cmath>
#include <memory>

using namespace yapo_test;
namespace ag = yapo::autograd;

namespace {

constexpr int64_t D = 7, N = 5, F = 300; // two slices of latents, the second one short
constexpr double  bandwidth = 0.6;

// JumpReLU in double. Gates keep their first state, and the straight-through term is what the rules promise: the gate as a ramp of
// width w in the threshold alone, around the pre-activation and in front of the threshold of the first call.
struct jump_oracle {
    std::vector<bool> gate;
    reals             theta, at, ramp; // of the first call
    double            margin = 1e9; // smallest distance of a pre-activation from a gate or from the edge of a window

    static double slope(double u) { return std::clamp(u / bandwidth + 0.5, 0.0, 1.0); }

    // visit(row, latent, z, open): z and the gate of one latent
    template <typename V>
    void each(const leaves & v, V && visit) {
        const reals pre = product(v[1], v[0], D, F, N);
        const bool first = gate.empty();
        if (first) theta = v[3];
        for (int64_t n = 0; n < N; ++n)
            for (int64_t j = 0; j < F; ++j) {
                const double p = pre[n * F + j] + v[2][j], u = p - v[3][j];
                if (first) {
                    gate.push_back(u > 0);
                    at.push_back(p);
                    ramp.push_back(slope(u));
                    margin = std::min({margin, std::fabs(u), std::fabs(std::fabs(u) - bandwidth / 2)});
                }
                const double moved = slope(at[n * F + j] - v[3][j]) - ramp[n * F + j];
                visit(n, j, p * gate[n * F + j] + theta[j] * moved, gate[n * F + j] + moved);
            }
    }
};

const std::vector<leaf> arguments{{{D, N, 1, 1}, -1, 1}, {{D, F, 1, 1}, -1, 1}, {{F, 1, 1, 1}, -0.5, 0.5}, {{F, 1, 1, 1}, 0.2, 1.5}, {{D, F, 1, 1}, -1, 1}}; // x, enc, bias, theta, dec

ag::code_options options(int32_t n_workers = 1) {
    ag::code_options o;
    o.n_workers = n_workers;
    o.capacity  = N * ag::code_slice;
    o.bandwidth = float(bandwidth);
    return o;
}

} // namespace

YAPO_TEST(TrainCodes_JumpRelu_AgreesWithFiniteDifferences) {
    auto oracle = std::make_shared<jump_oracle>();
    run({"encode, decode", arguments, [](ggml_context * ctx, tensors & t) { return ag::decode(ctx, ag::encode(ctx, t[0], t[1], t[2], t[3], options()), t[4]); },
         [=](const leaves & v) {
             reals y(D * N, 0.0);
             oracle->each(v, [&](int64_t n, int64_t j, double z, double) { for (int64_t i = 0; i < D; ++i) y[n * D + i] += z * v[4][j * D + i]; });
             return y;
         }}, 402);
    note("nearest gate or window edge: %.1e", oracle->margin);
    CHECK(oracle->margin > 3e-5); // no difference step crosses one
}

YAPO_TEST(TrainCodes_Count_AgreesWithFiniteDifferences) {
    auto oracle = std::make_shared<jump_oracle>();
    std::vector<leaf> args{arguments.begin(), arguments.end() - 1};
    args[0].wanted = args[1].wanted = args[2].wanted = false; // L0 has a straight-through gradient in theta alone
    run({"count", args, [](ggml_context * ctx, tensors & t) { return ag::count(ctx, ag::encode(ctx, t[0], t[1], t[2], t[3], options()), t[3]); },
         [=](const leaves & v) {
             reals y(N, 0.0);
             oracle->each(v, [&](int64_t n, int64_t, double, double open) { y[n] += open; });
             return y;
         }}, 410);
    CHECK(oracle->margin > 3e-5);
}

namespace {

// The same seeded problem of a real shape in either form: row errors, counts and five gradients, one after the other.
struct problem {
    static constexpr int64_t d = 40, n = 70, f = 600;
    yapo::train::context_ptr ctx{ggml_init({size_t(64) << 20, nullptr, false})};
    tensors                  leaf; // x, enc, bias, theta, dec
    ggml_tensor *            codes = nullptr;

    explicit problem(uint64_t seed) {
        random_source rng(seed);
        for (const auto & [ne0, ne1, scale, shift] : {std::tuple{d, n, 1.0, 0.0}, {d, f, 0.2, 0.0}, {f, int64_t(1), 0.1, 0.0}, {f, int64_t(1), 0.2, 1.5}, {d, f, 0.2, 0.0}}) {
            leaf.push_back(ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F32, ne0, ne1));
            for (int64_t i = 0; i < ne0 * ne1; ++i) {
                static_cast<float *>(leaf.back()->data)[i] = float(scale * rng.normal() + shift);
            }
        }
    }

    std::vector<float> solve(const ag::code_options * sparse) {
        ag::tape tape(ctx.get(), {});
        ggml_tensor * y, * l0;
        if (sparse) {
            codes = ag::encode(ctx.get(), leaf[0], leaf[1], leaf[2], leaf[3], *sparse);
            y  = ag::decode(ctx.get(), codes, leaf[4]);
            l0 = ag::count(ctx.get(), codes, leaf[3]);
        } else {
            const dense_sae dense(tape, leaf[0], leaf[1], leaf[2], leaf[3], leaf[4], float(bandwidth));
            y  = dense.y;
            l0 = dense.l0;
        }
        ggml_tensor * loss = ggml_sum_rows(ctx.get(), ggml_sqr(ctx.get(), ggml_sub(ctx.get(), y, leaf[0])));
        const auto ones = [&](const ggml_tensor * like, float value) {
            ggml_tensor * t = ggml_new_tensor(ctx.get(), GGML_TYPE_F32, 4, like->ne);
            std::fill_n(static_cast<float *>(t->data), ggml_nelements(t), value);
            return t;
        };
        tape.seed(loss, ones(loss, 0.01f));
        tape.seed(l0, ones(l0, 0.03f));
        tape.differentiate({loss, l0}, leaf);
        ggml_cgraph * graph = ggml_new_graph(ctx.get());
        std::vector<ggml_tensor *> out{loss, l0};
        for (ggml_tensor * l : leaf) {
            out.push_back(tape.contiguous(tape.gradient(l)));
        }
        for (ggml_tensor * t : out) {
            ggml_build_forward_expand(graph, t);
        }
        yapo::train::compute(yapo::train::new_cpu_backend().get(), graph);
        std::vector<float> all;
        for (ggml_tensor * t : out) {
            all.insert(all.end(), static_cast<float *>(t->data), static_cast<float *>(t->data) + ggml_nelements(t));
        }
        return all;
    }
};

} // namespace

YAPO_TEST(TrainCodes_ListsAndDenseForm_Agree) {
    problem p(3);
    ag::code_options o = options();
    o.capacity = problem::n * ag::code_slice;
    const std::vector<float> lists = p.solve(&o), dense = p.solve(nullptr);
    CHECK_EQ(lists.size(), dense.size());
    const int64_t d = problem::d, n = problem::n, f = problem::f, sizes[] = {n, n, d * n, d * f, f, f, d * f};
    const char * names[] = {"loss", "L0", "x", "enc", "bias", "theta", "dec"};
    int64_t at = 0;
    double active = 0;
    for (int part = 0; part < 7; ++part) {
        double error = 0, norm = 0;
        for (int64_t i = at; i < at + sizes[part]; ++i) {
            error += std::pow(double(lists[i]) - dense[i], 2);
            norm += std::pow(double(dense[i]), 2);
            active += part == 1 ? lists[i] / double(n) : 0.0;
        }
        at += sizes[part];
        note("%-6s relative L2 difference %.1e", names[part], std::sqrt(error / norm));
        CHECK_MSG(norm > 0 && std::sqrt(error / norm) < 2e-6, "%s", names[part]);
    }
    note("L0 %.1f of %lld latents", active, (long long) f);
    CHECK(active > 5 && active < 100);
}

YAPO_TEST(TrainCodes_WorkersAndCapacity_ChangeNoBit) {
    problem p(4);
    ag::code_options o = options();
    o.capacity = problem::n * ag::code_slice;
    const std::vector<float> one = p.solve(&o);
    const int64_t needed = ag::codes_needed(p.codes);
    CHECK(needed > 0 && needed < o.capacity);
    o.capacity = int32_t(needed);
    for (const int32_t workers : {1, 2, 3, 5}) {
        o.n_workers = workers;
        const std::vector<float> other = p.solve(&o);
        CHECK_EQ(compare(one.data(), other.data(), int64_t(one.size())).bits, 0);
    }
    // Too small a capacity is reported, and nothing is written beyond it.
    o.capacity = int32_t(needed) - 1;
    p.solve(&o);
    CHECK_EQ(ag::codes_needed(p.codes), needed);
}

YAPO_TEST(TrainCodes_DecodedTwice_IsRefused) {
    problem p(5);
    ag::tape tape(p.ctx.get(), {});
    ggml_tensor * codes = ag::encode(p.ctx.get(), p.leaf[0], p.leaf[1], p.leaf[2], p.leaf[3], options());
    ggml_tensor * y = ggml_add(p.ctx.get(), ag::decode(p.ctx.get(), codes, p.leaf[4]), ag::decode(p.ctx.get(), codes, p.leaf[1]));
    tape.seed(y, p.leaf[0]);
    try {
        tape.differentiate({y}, {p.leaf[1]});
    } catch (const yapo::failure & e) {
        CHECK(e.status == YAPO_ERR_UNSUPPORTED);
        return;
    }
    FAIL("gradients of two lists were added");
}

// A pre-activation above its threshold by less than theta - bias can be told is active, whoever stands beside it: the search for candidates may not
// pass it over.
YAPO_TEST(TrainCodes_JustAboveTheThreshold_IsActive) {
    random_source rng(7);
    constexpr int64_t f = 64; // latents in groups of 32 that are looked at together
    int64_t close = 0;
    for (int round = 0; round < 200; ++round) {
        yapo::train::context_ptr ctx(ggml_init({size_t(1) << 20, nullptr, false}));
        const auto vector = [&](int64_t ne0, int64_t ne1) { return ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F32, ne0, ne1); };
        ggml_tensor * x = vector(1, 1), * enc = vector(1, f), * bias = vector(f, 1), * theta = vector(f, 1);
        const auto at = [](ggml_tensor * t, int64_t i) -> float & { return static_cast<float *>(t->data)[i]; };
        at(x, 0) = 1.0f; // the product is enc
        int64_t wanted = 0;
        for (int64_t j = 0; j < f; ++j) {
            at(bias, j)  = rng.normal();
            at(theta, j) = 0.5f + float(rng.uniform());
            at(enc, j)   = at(theta, j) - at(bias, j);
            const float value = at(enc, j) + at(bias, j);
            if (round % 32 != j % 32) at(enc, j) -= 1.0f; // one of a group is close, the others are far
            wanted += round % 32 == j % 32 && value > at(theta, j);
        }
        ag::code_options o;
        o.capacity = f;
        ggml_tensor * l0    = ag::count(ctx.get(), ag::encode(ctx.get(), x, enc, bias, theta, o), theta);
        ggml_cgraph * graph = ggml_new_graph(ctx.get());
        ggml_build_forward_expand(graph, l0);
        yapo::train::compute(yapo::train::new_cpu_backend().get(), graph);
        CHECK_EQ(int64_t(at(l0, 0)), wanted);
        close += wanted;
    }
    note("%lld just above", (long long) close);
    CHECK(close > 20);
}

namespace {

// Which latents of row n are the k best of `pre` [F, N], by sorting.
std::vector<bool> best_by_sorting(const reals & pre, int64_t f, int64_t n_rows, int64_t k) {
    std::vector<bool> chosen(f * n_rows, false);
    for (int64_t n = 0; n < n_rows; ++n) {
        std::vector<int64_t> order;
        for (int64_t j = 0; j < f; ++j) {
            if (pre[n * f + j] > 0) order.push_back(j);
        }
        std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return pre[n * f + a] > pre[n * f + b]; });
        for (size_t i = 0; i < order.size() && i < size_t(k); ++i) chosen[n * f + order[i]] = true;
    }
    return chosen;
}

ag::code_options top_options(int64_t n_rows, int32_t k, int32_t n_workers = 1) {
    ag::code_options o;
    o.n_workers = n_workers;
    o.capacity  = int32_t(n_rows * k);
    return o;
}

} // namespace

YAPO_TEST(TrainCodes_TopK_AgreesWithFiniteDifferences) {
    constexpr int32_t k = 9;
    auto chosen = std::make_shared<std::vector<bool>>(); // at the first call; no difference step changes it
    const std::vector<leaf> args{arguments[0], arguments[1], arguments[2], arguments[4]};
    run({"encode_top, decode", args, [](ggml_context * ctx, tensors & t) { return ag::decode(ctx, ag::encode_top(ctx, t[0], t[1], t[2], k, top_options(N, k)), t[3]); },
         [=](const leaves & v) {
             reals pre = product(v[1], v[0], D, F, N), y(D * N, 0.0);
             for (size_t i = 0; i < pre.size(); ++i) pre[i] += v[2][i % F];
             if (chosen->empty()) *chosen = best_by_sorting(pre, F, N, k);
             for (int64_t n = 0; n < N; ++n)
                 for (int64_t j = 0; j < F; ++j)
                     for (int64_t i = 0; i < D && (*chosen)[n * F + j]; ++i) y[n * D + i] += pre[n * F + j] * v[3][j * D + i];
             return y;
         }}, 420);
    CHECK_EQ(std::count(chosen->begin(), chosen->end(), true), k * N);
}

// Small whole numbers, so that products are exact and many of them equal: the lower latent wins, whoever computes it.
YAPO_TEST(TrainCodes_TopK_ChoosesAsSortingDoes) {
    constexpr int64_t d = 6, f = 700, n = 300;
    random_source rng(21);
    yapo::train::context_ptr ctx(ggml_init({size_t(64) << 20, nullptr, false}));
    const auto whole = [&](int64_t ne0, int64_t ne1, int32_t low, int32_t high) {
        ggml_tensor * t = ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F32, ne0, ne1);
        for (int64_t i = 0; i < ne0 * ne1; ++i) static_cast<float *>(t->data)[i] = float(low + rng.below(high - low + 1));
        return t;
    };
    ggml_tensor * x = whole(d, n, -2, 2), * enc = whole(d, f, -2, 2), * bias = whole(f, 1, -2, 1);
    const auto real = [](const ggml_tensor * t) { const float * p = static_cast<const float *>(t->data); return reals(p, p + ggml_nelements(t)); };
    reals pre = product(real(enc), real(x), d, f, n);
    const reals shift = real(bias);
    for (size_t i = 0; i < pre.size(); ++i) pre[i] += shift[i % f];
    for (const int32_t k : {1, 5, 40, 699}) {
        const std::vector<bool> expected = best_by_sorting(pre, f, n, k);
        for (const int32_t workers : {1, 3}) {
            ggml_tensor * codes = ag::encode_top(ctx.get(), x, enc, bias, k, top_options(n, std::min<int32_t>(k, ag::code_slice), workers));
            ggml_cgraph * graph = ggml_new_graph(ctx.get());
            ggml_build_forward_expand(graph, codes);
            yapo::train::compute(yapo::train::new_cpu_backend().get(), graph);
            std::vector<bool> mine(f * n, false);
            ag::each_active(codes, [&](int64_t row, int64_t latent, float value) {
                mine[row * f + latent] = true;
                CHECK_EQ(value, float(pre[row * f + latent]));
            });
            CHECK_MSG(mine == expected, "k %d, %d workers", k, workers);
        }
    }
}
