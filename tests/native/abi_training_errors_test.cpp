// Refusals of the training half of the C ABI: files it cannot train on, states that are not whole, numbers that lead nowhere.
#include "altered_gguf.h"
#include "random_model.h"
#include "train/autograd/autograd.h"
#include "train/autograd/kernels.h"
#include "train/compute.h"
#include "train/files/gguf_source.h"
#include "train/files/mapped_file.h"
#include "train_lm_session.h"
#include "train_upper_problem.h"

#include <cmath>
#include <filesystem>
#include <limits>

using namespace yapo_test;
namespace ag = yapo::autograd;

namespace {

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

// Fails unless `body` throws this failure.
template <typename F> void throws(yapo_status status, const char * part, F && body) {
    try {
        body();
    } catch (const yapo::failure & e) {
        CHECK_EQ(int(e.status), int(status));
        CHECK_MSG(std::string(e.what()).find(part) != std::string::npos, "\"%s\" does not say \"%s\"", e.what(), part);
        return;
    }
    FAIL("nothing was refused; expected \"%s\"", part);
}

} // namespace

YAPO_TEST(AbiErrors_UpperBlocks_FilesThatCannotBeTrainedThrough) {
    const std::string path    = write_random_model(random_model{}, scratch("upper.gguf"));
    const auto        refused = [](yapo_status status, const char * part, const std::string & file) {
        yapo_upper * none = nullptr;
        REFUSED(status, part, yapo_upper_load(file.c_str(), 0, &none, &err));
        CHECK(none == nullptr);
    };
    const auto keys    = [&](yapo_status status, const char * part, const std::function<void(gguf_context *)> & change) { refused(status, part, altered(path, change)); };
    const auto tensors = [&](yapo_status status, const char * part, const std::function<bool(ggml_tensor *)> & change) { refused(status, part, altered(path, nullptr, change)); };

    keys(YAPO_ERR_FORMAT, "general.architecture", [](auto * g) { gguf_remove_key(g, "general.architecture"); });
    keys(YAPO_ERR_FORMAT, "gemma2.block_count is missing", [](auto * g) { gguf_remove_key(g, "gemma2.block_count"); });
    keys(YAPO_ERR_FORMAT, "gemma2.block_count is not an integer", [](auto * g) { gguf_set_val_str(g, "gemma2.block_count", "four"); });
    keys(YAPO_ERR_FORMAT, "gemma2.block_count is 0", [](auto * g) { gguf_set_val_u32(g, "gemma2.block_count", 0); });
    keys(YAPO_ERR_UNSUPPORTED, "head_count differs between blocks", [](auto * g) {
        const int32_t heads[] = {4, 2, 4, 4};
        gguf_remove_key(g, "gemma2.attention.head_count");
        gguf_set_arr_data(g, "gemma2.attention.head_count", GGUF_TYPE_INT32, heads, 4);
    });
    keys(YAPO_ERR_FORMAT, "layer_norm_rms_epsilon is missing", [](auto * g) { gguf_remove_key(g, "gemma2.attention.layer_norm_rms_epsilon"); });
    keys(YAPO_ERR_FORMAT, "layer_norm_rms_epsilon is not a number", [](auto * g) { gguf_set_val_str(g, "gemma2.attention.layer_norm_rms_epsilon", "small"); });
    keys(YAPO_ERR_FORMAT, "rope.scaling.type is not a string", [](auto * g) { gguf_set_val_u32(g, "gemma2.rope.scaling.type", 1); });
    keys(YAPO_ERR_UNSUPPORTED, "RoPE scaling of type 'yarn' by 4", [](auto * g) {
        gguf_set_val_str(g, "gemma2.rope.scaling.type", "yarn");
        gguf_set_val_f32(g, "gemma2.rope.scaling.factor", 4);
    });
    keys(YAPO_ERR_UNSUPPORTED, "values of length 8", [](auto * g) { gguf_set_val_u32(g, "gemma2.attention.value_length", 8); });
    keys(YAPO_ERR_UNSUPPORTED, "part of a head", [](auto * g) { gguf_set_val_u32(g, "gemma2.rope.dimension_count", 8); });
    keys(YAPO_ERR_UNSUPPORTED, "mixture of experts", [](auto * g) { gguf_set_val_u32(g, "gemma2.expert_count", 4); });
    keys(YAPO_ERR_UNSUPPORTED, "final_logit_softcapping is 100", [](auto * g) { gguf_set_val_f32(g, "gemma2.final_logit_softcapping", 100); });
    keys(YAPO_ERR_FORMAT, "expected [64, 96]", [](auto * g) { gguf_set_val_u32(g, "gemma2.feed_forward_length", 96); });
    tensors(YAPO_ERR_FORMAT, "token_embd.weight is missing", [](ggml_tensor * t) { return !is(t, "token_embd.weight"); });
    tensors(YAPO_ERR_FORMAT, "blk.2.ffn_up.weight is missing", [](ggml_tensor * t) { return !is(t, "blk.2.ffn_up.weight"); });
    tensors(YAPO_ERR_UNSUPPORTED, "blk.2.attn_norm.weight of type f16 cannot be trained through", [](ggml_tensor * t) {
        if (is(t, "blk.2.attn_norm.weight")) call_it_f16(t);
        return true;
    });
    tensors(YAPO_ERR_FORMAT, "blk.3.ffn_up.weight has entries that are not finite", [](ggml_tensor * t) {
        if (is(t, "blk.3.ffn_up.weight")) static_cast<float *>(t->data)[5] = not_a_number;
        return true;
    });
}

YAPO_TEST(AbiErrors_UpperBlocks_LatentsAndSequences) {
    const upper::problem p;
    const auto           latents = [&](const char * part, auto change) {
        upper::session s(p.path);
        yapo_latents   l = p.sae.at(upper::layer);
        change(l);
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, part, yapo_upper_set_latents(s.upper, &l, 1, &err));
    };
    latents("dec is NULL", [](auto & l) { l.dec = nullptr; });
    latents("kind is 7", [](auto & l) { l.kind = 7; });
    latents("0 latents", [](auto & l) { l.f = 0; });

    upper::session s(p.path);
    double         value = 0;
    yapo_sequence  q     = p.sequence();
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "call yapo_upper_set_latents first", yapo_upper_logprob(s.worker, &q, p.v.data(), 1.0f, &value, &err));
    s.use(p.sae);
    std::vector<float> gradient(p.v.size(), 0.0f), weights(p.tokens.size(), 1.0f), v = p.v;
    q.struct_size = 0;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "yapo_sequence.struct_size is 0", yapo_upper_logprob(s.worker, &q, v.data(), 1.0f, &value, &err));
    q = p.sequence();
    weights[3] = not_a_number, q.position_weight = weights.data();
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "position_weight[3]", yapo_upper_logprob(s.worker, &q, v.data(), 1.0f, &value, &err));
    q = p.sequence();
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "scale nan", yapo_upper_logprob_gradient(s.worker, &q, v.data(), 1.0f, std::nan(""), gradient.data(), &value, &err));
    v.assign(v.size(), 3e38f);
    REFUSED(YAPO_ERR_INTERNAL, "is the steering vector or its strength out of range?", yapo_upper_logprob(s.worker, &q, v.data(), 3e38f, &value, &err));
    // so large that a norm of them is 0 and nothing reaches the logits: there is no gradient, whatever the loss scale
    std::vector<float> huge = p.residual;
    for (float & x : huge) x *= 1e30f;
    q.residual = huge.data();
    REFUSED(YAPO_ERR_INTERNAL, "the gradient of the completion's log-probability", yapo_upper_logprob_gradient(s.worker, &q, p.v.data(), 1.0f, 1.0, gradient.data(), &value, &err));
}

YAPO_TEST(AbiErrors_UpperBlocks_Descriptions) {
    const upper::problem p;
    const upper::session s(p.path);
    yapo_upper_shape     shape = {};
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "upper is NULL", yapo_upper_describe(nullptr, &shape, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "yapo_upper_shape is NULL", yapo_upper_describe(s.upper, nullptr, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "yapo_upper_shape.struct_size is 0, expected", yapo_upper_describe(s.upper, &shape, &err));
    shape.struct_size = sizeof shape;
    OK(yapo_upper_describe(s.upper, &shape, &err));
    CHECK_EQ(shape.layer, upper::layer);

    yapo_upper_block block = {};
    block.struct_size      = sizeof block;
    for (const int32_t il : {shape.layer, shape.n_layer, -1}) {
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, format("block %d is none of the upper blocks %d to %d", il, shape.layer + 1, shape.n_layer - 1), yapo_upper_describe_block(s.upper, il, &block, &err));
    }
    OK(yapo_upper_describe_block(s.upper, shape.n_layer - 1, &block, &err));

    yapo_upper_tensor t = {};
    t.struct_size       = sizeof t;
    for (const int32_t i : {-1, shape.n_tensors}) {
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, format("tensor %d does not exist; there are %d", i, shape.n_tensors), yapo_upper_describe_tensor(s.upper, i, &t, &err));
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, "does not exist", yapo_upper_read_tensor(s.upper, i, 0, 1, nullptr, &err));
    }
    OK(yapo_upper_describe_tensor(s.upper, 0, &t, &err));
    std::vector<float> row(size_t(t.row) * 2);
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "out is NULL", yapo_upper_read_tensor(s.upper, 0, 0, 1, nullptr, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "rows -1 and 1 more of", yapo_upper_read_tensor(s.upper, 0, -1, 1, row.data(), &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "which has", yapo_upper_read_tensor(s.upper, 0, t.n_rows - 1, 2, row.data(), &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "which has", yapo_upper_read_tensor(s.upper, 0, 1, INT64_MAX, row.data(), &err));
    OK(yapo_upper_read_tensor(s.upper, 0, t.n_rows - 1, 1, row.data(), &err));
}

YAPO_TEST(AbiErrors_LanguageModelTrainer_ModelsAndStates) {
    const std::string path = write_random_model(lm::small_model(), scratch("lm.gguf"));
    yapo_lm_options   o;
    yapo_lm_default_options(&o);
    o.n_ctx = 12;
    const auto refused = [&](yapo_status status, const char * part, const std::string & file) {
        yapo_lm_trainer * none = nullptr;
        REFUSED(status, part, yapo_lm_create(file.c_str(), &o, &none, &err));
    };
    random_model factors;
    factors.arch = "llama", factors.rope_factors = true;
    refused(YAPO_ERR_UNSUPPORTED, "a model with rope_freqs.weight is not supported", write_random_model(factors, scratch("factors.gguf")));
    refused(YAPO_ERR_UNSUPPORTED, "needs an F32 model", altered(path, nullptr, [](ggml_tensor * t) {
        if (is(t, "blk.1.ffn_up.weight")) call_it_f16(t);
        return true;
    }));
    refused(YAPO_ERR_FORMAT, "blk.1.ffn_up.weight has entries that are not finite", altered(path, nullptr, [](ggml_tensor * t) {
        if (is(t, "blk.1.ffn_up.weight")) static_cast<float *>(t->data)[5] = not_a_number;
        return true;
    }));

    yapo_lm_trainer * trainer = lm::create(path, 12, 2, 1);
    const auto        tokens  = lm::random_tokens(2, 12, 340, 5);
    const std::string state   = scratch("lm.state");
    lm::train(trainer, tokens, 2, 1e-3f);
    OK(yapo_lm_save_state(trainer, state.c_str(), &err));
    const auto not_loaded = [&](yapo_status status, const char * part, const std::string & file) { REFUSED(status, part, yapo_lm_load_state(trainer, file.c_str(), &err)); };
    not_loaded(YAPO_ERR_FORMAT, "not a training state", path);
    not_loaded(YAPO_ERR_UNSUPPORTED, "training state version 2", altered(state, [](auto * g) { gguf_set_val_u32(g, "state.version", 2); }));
    not_loaded(YAPO_ERR_FORMAT, "step count -1", altered(state, [](auto * g) { gguf_set_val_i64(g, "state.step", -1); }));
    not_loaded(YAPO_ERR_FORMAT, "m.blk.0.ffn_up.weight is f16, expected f32", altered(state, nullptr, [](ggml_tensor * t) {
        if (is(t, "m.blk.0.ffn_up.weight")) call_it_f16(t);
        return true;
    }));
    not_loaded(YAPO_ERR_FORMAT, "entries that are not finite", altered(state, nullptr, [](ggml_tensor * t) {
        if (is(t, "v.blk.0.ffn_up.weight")) static_cast<float *>(t->data)[1] = not_a_number;
        return true;
    }));

    yapo_lm_step step = {};
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "yapo_lm_step.struct_size is 0", yapo_lm_evaluate(trainer, tokens.data(), 2, &step, &err));
    const std::string before = scratch("before.state"), after = scratch("after.state");
    OK(yapo_lm_save_state(trainer, before.c_str(), &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "yapo_lm_step.struct_size is 0", yapo_lm_train_step(trainer, tokens.data(), 2, 1e-3f, &step, &err));
    OK(yapo_lm_save_state(trainer, after.c_str(), &err));
    CHECK(lm::bytes(before) == lm::bytes(after)); // no step was made
    step.struct_size = sizeof step;
    OK(yapo_lm_train_step(trainer, tokens.data(), 2, 1e38f, &step, &err)); // every weight is beyond reason now
    REFUSED(YAPO_ERR_INTERNAL, "training diverged", yapo_lm_train_step(trainer, tokens.data(), 2, 1e-3f, &step, &err));
    yapo_lm_free(trainer);
}

YAPO_TEST(AbiErrors_Sae_RowsAndWeightsThatCannotBe) {
    const std::vector<float> enc(16 * 8, 0.1f), bias(16, 0.0f), rows(4 * 8, 1.0f), dec_bias(8, 0.0f), mean(8, 0.0f);
    std::vector<float>       z(4 * 16), dec(16 * 8, 0.1f);
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "must not be NULL", yapo_sae_encode(8, 16, enc.data(), bias.data(), bias.data(), nullptr, 4, 1, z.data(), &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "by 0 workers", yapo_sae_encode(8, 16, enc.data(), bias.data(), bias.data(), rows.data(), 4, 0, z.data(), &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "under 0 latents", yapo_sae_encode(8, 0, enc.data(), bias.data(), bias.data(), rows.data(), 4, 1, z.data(), &err));

    yapo_sae_options o;
    yapo_sae_default_options(&o);
    o.d_model = 8, o.f = 16;
    yapo_sae_trainer * t = nullptr;
    OK(yapo_sae_create(&o, mean.data(), 0.1f, &t, &err));
    std::fill(dec.begin() + 3 * 8, dec.begin() + 4 * 8, 0.0f);
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "latent 3: a decoder row of length 0", yapo_sae_set_weights(t, enc.data(), bias.data(), bias.data(), dec.data(), dec_bias.data(), &err));
    std::fill(dec.begin(), dec.end(), 0.1f);
    const std::vector<float> steep(16 * 8, 1e30f);
    OK(yapo_sae_set_weights(t, steep.data(), bias.data(), bias.data(), dec.data(), dec_bias.data(), &err));
    std::vector<float> varied(rows.size());
    random_source      rng(4);
    for (float & x : varied) x = rng.normal();
    yapo_sae_step step = {};
    step.struct_size   = sizeof step;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "the gradient is not finite", yapo_sae_train_step(t, varied.data(), 4, 0.1f, 0.0f, &step, &err));
    yapo_sae_free(t);
}

// A call that is refused has done nothing: no step, nothing written.
YAPO_TEST(AbiErrors_Sae_RefusedCallsLeaveEverythingAsItWas) {
    const int64_t    d = 8, f = 16, n = 5000; // rows of more than one part
    yapo_sae_options o;
    yapo_sae_default_options(&o);
    o.d_model = d, o.f = f;
    const std::vector<float> mean(d, 0.0f);
    std::vector<float>       rows(n * d), errors(n, 7.0f), largest(f, 7.0f), enc(f * d, 7.0f), bias(f, 7.0f), threshold(f, 7.0f), dec(f * d, 7.0f), dec_bias(d, 7.0f);
    std::vector<int64_t>     fired(f, 7);
    random_source            rng(4);
    for (float & x : rows) x = rng.normal();
    yapo_sae_trainer * t = nullptr;
    OK(yapo_sae_create(&o, mean.data(), 0.1f, &t, &err));
    const std::string before = scratch("before.state"), after = scratch("after.state");
    OK(yapo_sae_save_state(t, before.c_str(), &err));

    yapo_sae_step step = {};
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "out is NULL", yapo_sae_train_step(t, rows.data(), 4, 0.1f, 0.0f, nullptr, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "yapo_sae_step.struct_size is 0", yapo_sae_train_step(t, rows.data(), 4, 0.1f, 0.0f, &step, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "yapo_sae_step.struct_size is 0", yapo_sae_gradient(t, rows.data(), 4, 0.0f, &step, nullptr, nullptr, nullptr, nullptr, nullptr, &err));
    rows[4999 * d] = not_a_number;
    step.struct_size = sizeof step;
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "not finite", yapo_sae_evaluate(t, rows.data(), n, &step, fired.data(), largest.data(), &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "not finite", yapo_sae_row_errors(t, rows.data(), n, errors.data(), &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "dec_bias is NULL", yapo_sae_weights(t, enc.data(), bias.data(), threshold.data(), dec.data(), nullptr, &err));
    for (const auto * x : {&errors, &largest, &enc, &bias, &threshold, &dec}) CHECK(std::all_of(x->begin(), x->end(), [](float y) { return y == 7.0f; }));
    CHECK(std::all_of(fired.begin(), fired.end(), [](int64_t y) { return y == 7; }));

    OK(yapo_sae_weights(t, enc.data(), bias.data(), threshold.data(), dec.data(), dec_bias.data(), &err));
    for (std::vector<float> * part : {&enc, &bias, &dec_bias}) {
        std::swap((*part)[3], rows[4999 * d]);
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, "entries that are not finite", yapo_sae_set_weights(t, enc.data(), bias.data(), threshold.data(), dec.data(), dec_bias.data(), &err));
        std::swap((*part)[3], rows[4999 * d]);
    }
    OK(yapo_sae_save_state(t, after.c_str(), &err));
    CHECK(lm::bytes(before) == lm::bytes(after));
    yapo_sae_free(t);
}

// The file shrinks behind a reader that has checked it: an error, not a crash.
YAPO_TEST(AbiErrors_TrainingFiles_ThatShrinkWhileRead) {
    const std::string              path = write_random_model(random_model{}, scratch("shrinks.gguf"));
    const yapo::train::gguf_source source(path);
    const ggml_tensor *            t = source.find("blk.3.ffn_down.weight");
    std::vector<char>              data(ggml_nbytes(t));
    source.read(t, data.data());
    std::filesystem::resize_file(path, source.offset(t));
    throws(YAPO_ERR_IO, "could not be read", [&] { source.read(t, data.data()); });
    const yapo::train::mapped_file mapped(path);
    throws(YAPO_ERR_FORMAT, "is the download complete?", [&] { mapped.at(source.offset(t), ggml_nbytes(t)); });
}

YAPO_TEST(AbiErrors_Autograd_WhatHasNoGradient) {
    yapo::train::context_ptr ctx(ggml_init({size_t(4) << 20, nullptr, false}));
    const auto               make = [&](int64_t a, int64_t b = 1, int64_t c = 1) { return ggml_new_tensor_3d(ctx.get(), GGML_TYPE_F32, a, b, c); };
    ag::tape                 seeded(ctx.get(), {});
    throws(YAPO_ERR_INTERNAL, "has another shape than the node", [&] { seeded.seed(ggml_sqr(ctx.get(), make(4)), make(3)); });
    ggml_tensor * w = make(4, 3, 1), * x = make(4, 5, 2), * y = ggml_mul_mat(ctx.get(), w, x);
    ag::tape      tape(ctx.get(), {});
    tape.seed(y, make(3, 5, 2));
    throws(YAPO_ERR_UNSUPPORTED, "MUL_MAT with a broadcast left side", [&] { tape.differentiate({y}, {x}); });
}
