// A dense vector of ours at layer L is, bit for bit, direction.L of a control-vector file as llama.cpp applies it.
//
// llama.cpp (common_control_vector_load_one) puts direction.L, times the strength, at n_embd * (L - 1) of one buffer, L >= 1, and
// llama_set_adapter_cvec adds block il of it after block il's residual sum: the buffer starts at layer 1, layer 0 has no place in it.
// Same sums in the same order: h + (s * v) in F32, so no tolerance is needed on the CPU backend.
#include "session.h"

#include "context/context.h"

#include "llama.h"

using namespace yapo_test;

namespace {

const std::vector<int32_t> tokens = random_tokens(40, 2);

// The layout of common_control_vector_load_one.
std::vector<float> llama_layout(const std::vector<steer> & vectors, const std::vector<float> & strengths, int32_t n_layer, int64_t d) {
    std::vector<float> data(size_t(n_layer - 1) * d, 0.0f);
    for (size_t i = 0; i < vectors.size(); ++i) {
        float * dst = data.data() + d * (vectors[i].layer - 1);
        for (int64_t j = 0; j < d; ++j) dst[j] += vectors[i].value[j] * strengths[i];
    }
    return data;
}

std::vector<float> run(context & c, const std::vector<float> & strengths, bool last_only) {
    batch b = whole(tokens, strengths); // BOS too: a control vector knows no positions
    if (last_only) {
        std::fill(b.outputs.begin(), b.outputs.end() - 1, 0);
    }
    c.decode(b);
    return last_only ? c.logits(int32_t(tokens.size()) - 1) : c.logits();
}

// Compares on fresh contexts; returns how far both are from the unsteered logits.
double check_same(const model & m, const random_model & spec, const std::vector<steer> & vectors, const std::vector<float> & strengths,
                  const std::vector<float> & plain, uint32_t n_ubatch, bool last_only) {
    sizes s;
    s.n_ubatch = n_ubatch;
    context ours(m, s), theirs(m, s);
    ours.attach(vectors);
    const std::vector<float> data = llama_layout(vectors, strengths, spec.n_layer, spec.d_model);
    CHECK(llama_set_adapter_cvec(theirs.handle->handle.get(), data.data(), data.size(), spec.d_model, 1, spec.n_layer) == 0);
    const std::vector<float> a = run(ours, strengths, last_only), b = run(theirs, {}, last_only);
    check_same_bits(format("%s, %zu vectors from layer %d, strength %g, ubatch %u", spec.arch.c_str(), vectors.size(), vectors[0].layer, strengths[0], n_ubatch).c_str(), a, b);
    return compare(a.data(), plain.data(), int64_t(a.size())).max_abs;
}

void check_architecture(const char * arch) {
    random_model spec;
    spec.arch = arch;
    model m(spec);
    std::vector<steer> all;
    for (int32_t layer = 1; layer < spec.n_layer; ++layer) {
        all.push_back(random_dense(layer, spec.d_model, 20 + layer));
    }
    for (const bool last_only : {false, true}) { // the last block computes rows with outputs only
        context            c(m);
        std::vector<float> plain = run(c, {}, last_only);
        for (const uint32_t n_ubatch : {0u, 16u}) {
            for (const float strength : {1.0f, -0.7f, 3.3f, 1e-3f}) {
                for (const steer & v : all) { // layer 1, those inside, the last
                    CHECK(check_same(m, spec, {v}, {strength}, plain, n_ubatch, last_only) > 1e-6);
                }
                CHECK(check_same(m, spec, all, {strength, -strength, 0.5f * strength}, plain, n_ubatch, last_only) > 1e-6);
            }
        }
    }
    note("%s: layers 1 to %d alone and together, 4 strengths, 2 ubatch sizes: same bits", arch, spec.n_layer - 1);
}

} // namespace

YAPO_TEST(ControlVector_Gemma2_SameBitsAsLlamaCpp) { check_architecture("gemma2"); }
YAPO_TEST(ControlVector_Gemma3_SameBitsAsLlamaCpp) { check_architecture("gemma3"); }
YAPO_TEST(ControlVector_Llama_SameBitsAsLlamaCpp) { check_architecture("llama"); }
YAPO_TEST(ControlVector_Qwen3_SameBitsAsLlamaCpp) { check_architecture("qwen3"); }

YAPO_TEST(ControlVector_OneLayerOff_Differs) {
    // The check above can tell neighbouring layers apart.
    random_model spec;
    model        m(spec);
    context      right(m), wrong(m);
    steer        v = random_dense(1, spec.d_model, 5);
    right.attach({v});
    v.layer = 2;
    wrong.attach({v});
    const std::vector<float> a = run(right, {1.0f}, false), b = run(wrong, {1.0f}, false);
    CHECK(compare(a.data(), b.data(), int64_t(a.size())).max_abs > 1e-3);
}

YAPO_TEST(ControlVector_TwoAtOneLayer_SameBitsAsLlamaCpp) {
    // Several files: llama.cpp adds them up in its buffer in the order given, the kernel in the order attached.
    random_model spec;
    model        m(spec);
    context      c(m);
    const std::vector<float> plain = run(c, {}, false);
    for (int32_t layer : {1, 3}) {
        CHECK(check_same(m, spec, {random_dense(layer, spec.d_model, 5), random_dense(layer, spec.d_model, 6)}, {1.5f, -0.25f}, plain, 0, false) > 1e-3);
    }
}
