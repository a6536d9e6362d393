// Not a check: what encoding with a whole SAE costs against the plain model, paired in one process. YAPO_BENCHMARK=1 runs it;
// YAPO_MODEL names the model (default models/demo/demo-f16.gguf below the current folder), YAPO_LATENTS the width (default 4096).
#include "full_sae_oracle.h"

#include <chrono>
#include <cstdlib>

using namespace yapo_test;

YAPO_TEST(FullSae_Speed) {
    if (!getenv("YAPO_BENCHMARK")) {
        note("set YAPO_BENCHMARK=1 to measure");
        return;
    }
    const char * path = getenv("YAPO_MODEL");
    const int    f    = getenv("YAPO_LATENTS") ? atoi(getenv("YAPO_LATENTS")) : 4096;
    model m(std::string(path ? path : "models/demo/demo-f16.gguf"));
    yapo_model_info info = {};
    info.struct_size = sizeof info;
    OK(yapo_model_get_info(m.handle, &info, &err));
    const int32_t layer = info.n_layer / 2;
    dictionary    rows(info.d_model, f, 1);
    std::fill(rows.threshold.begin(), rows.threshold.end(), 7.0f); // some tens of active latents on the demo model
    const full_sae jump(m, rows, layer), top(m, rows, layer, 32);

    struct variant {
        const char *             name;
        std::unique_ptr<context> c;
        bool                     steered = false;
        std::vector<double>      ratio[2];
    };
    std::vector<variant> variants;
    sizes sz;
    sz.n_ctx = 512, sz.n_batch = 128, sz.type_kv = 0, sz.flash_attention = -1;
    const auto add = [&](const char * name, const std::vector<steer> & vectors, const std::vector<yapo_readout_desc> & readouts) {
        variants.push_back({name, std::make_unique<context>(m, sz), !vectors.empty(), {}});
        variants.back().c->attach(vectors);
        OK(yapo_context_set_readout(variants.back().c->handle, readouts.data(), int32_t(readouts.size()), &err));
    };
    yapo_readout_desc read_jump = {};
    read_jump.struct_size = sizeof read_jump, read_jump.sae = jump.handle, read_jump.top = 16;
    yapo_readout_desc read_top = read_jump;
    read_top.sae = top.handle;
    steer rebuild = random_dense(layer, info.d_model, 1, 0.01f);
    rebuild.kind = YAPO_VECTOR_REPLACE, rebuild.sae = jump.handle;
    add("plain", {}, {});
    add("plain again", {}, {});
    add("sparse form, K = 256", {rows.vector(layer, 256, 1)}, {});
    add("whole SAE, K = 256", {jump.vector(layer, 256, 1)}, {});
    add("whole SAE, top-32, K = 256", {top.vector(layer, 256, 1)}, {});
    add("read-out of 16", {}, {read_jump});
    add("read-out of 16, top-32", {}, {read_top});
    add("whole SAE top-32 with read-out", {top.vector(layer, 256, 1)}, {read_top});
    add("reconstruction", {rebuild}, {});

    const auto prompt = random_tokens(128, 3, info.n_vocab);
    const auto timed  = [&](variant & v, const std::vector<int32_t> & tokens, int32_t p0) {
        batch b = whole(tokens, v.steered ? std::vector<float>{0.5f} : std::vector<float>{}, 0, p0);
        std::fill(b.outputs.begin(), b.outputs.end() - 1, 0);
        const auto start = std::chrono::steady_clock::now();
        v.c->decode(b);
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    double base[2] = {};
    for (int round = 0; round < 60; ++round) {
        double first[2] = {};
        for (variant & v : variants) {
            v.c->clear();
            const double times[] = {timed(v, prompt, 0), timed(v, {prompt[5]}, 128)};
            for (int i = 0; i < 2; ++i) {
                if (&v == &variants[0]) first[i] = times[i], base[i] += times[i] / 60;
                v.ratio[i].push_back(times[i] / first[i]);
            }
        }
    }
    note("%d latents at layer %d; plain: %.2f ms for 128 tokens, %.3f ms for one; ratios are medians of 60 rounds", f, layer, 1e3 * base[0], 1e3 * base[1]);
    for (variant & v : variants) {
        for (auto & r : v.ratio) std::nth_element(r.begin(), r.begin() + r.size() / 2, r.end());
        note("%-34s prompt of 128 %.3f, one token %.3f", v.name, v.ratio[0][30], v.ratio[1][30]);
    }
}
