// The exports of yapo_train.h for language-model training.
#include "train/lm/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

struct yapo_lm_trainer : yapo::counted {
    yapo_lm_trainer(const char * path, const yapo_lm_options & options) : impl(path, options) {}
    yapo::train::lm::trainer impl;
};

namespace {

using yapo::fail;

// The options the caller's struct has; what it does not know keeps its default.
yapo_lm_options checked(const yapo_lm_options * given) {
    yapo_lm_options o;
    yapo_lm_default_options(&o);
    if (given) {
        if (given->struct_size < sizeof(uint32_t) || given->struct_size > 4096) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_lm_options.struct_size is %u; fill the struct with yapo_lm_default_options first", given->struct_size);
        }
        memcpy(&o, given, std::min<size_t>(given->struct_size, sizeof o));
        o.struct_size = sizeof o;
    }
    const auto range = [](const char * name, double value, double least, double most) {
        if (!(value >= least && value <= most)) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "%s is %g, expected %g to %g", name, value, least, most);
        }
    };
    range("n_ctx", o.n_ctx, 1, 1 << 20);
    range("n_workers", o.n_workers, 1, 1024);
    range("micro_batch", o.micro_batch, 1, 1 << 16);
    range("n_ctx * micro_batch", double(o.n_ctx) * o.micro_batch, 1, 1 << 22); // tokens of one graph
    range("beta1", o.beta1, 0, 0.999999);
    range("beta2", o.beta2, 0, 0.9999999);
    range("epsilon", o.epsilon, 1e-20, 1);
    range("weight_decay", o.weight_decay, 0, 1e3);
    range("gradient_clip", o.gradient_clip, 0, 1e9);
    return o;
}

void need(const void * p, const char * name) {
    if (!p) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "%s is NULL", name);
    }
}

// Before anything is computed: a step that was made is not refused.
void check_out(const yapo_lm_step * out) {
    if (out && (out->struct_size < sizeof(uint32_t) || out->struct_size > 4096)) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_lm_step.struct_size is %u", out->struct_size);
    }
}

void copy_out(yapo_lm_step * out, const yapo_lm_step & step) {
    if (out) {
        const uint32_t size = out->struct_size;
        memcpy(out, &step, std::min<size_t>(size, sizeof step));
        out->struct_size = size;
    }
}

} // namespace

extern "C" {

void yapo_lm_default_options(yapo_lm_options * o) {
    if (o) {
        *o = {sizeof *o, /*n_ctx*/ 128, /*n_workers*/ 1, /*micro_batch*/ 4, /*beta1*/ 0.9f, /*beta2*/ 0.95f, /*epsilon*/ 1e-8f,
            /*weight_decay*/ 0.1f, /*gradient_clip*/ 1.0f};
    }
}

yapo_status yapo_lm_create(const char * gguf_path, const yapo_lm_options * options, yapo_lm_trainer ** out, yapo_error ** err) {
    return yapo::guard(err, [&] {
        need(gguf_path, "gguf_path");
        need(out, "out");
        *out = new yapo_lm_trainer(gguf_path, checked(options));
    });
}

void yapo_lm_free(yapo_lm_trainer * trainer) { delete trainer; }

yapo_status yapo_lm_train_step(yapo_lm_trainer * trainer, const int32_t * tokens, int32_t n_sequences, float learning_rate, yapo_lm_step * out, yapo_error ** err) {
    return yapo::guard(err, [&] {
        need(trainer, "trainer");
        need(tokens, "tokens");
        if (!(learning_rate >= 0.0f && std::isfinite(learning_rate))) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "learning_rate is %g, expected a finite number not below 0", learning_rate);
        }
        check_out(out);
        copy_out(out, trainer->impl.train_step(tokens, n_sequences, learning_rate));
    });
}

yapo_status yapo_lm_evaluate(yapo_lm_trainer * trainer, const int32_t * tokens, int32_t n_sequences, yapo_lm_step * out, yapo_error ** err) {
    return yapo::guard(err, [&] {
        need(trainer, "trainer");
        need(tokens, "tokens");
        check_out(out);
        copy_out(out, trainer->impl.evaluate(tokens, n_sequences));
    });
}

yapo_status yapo_lm_save_model(yapo_lm_trainer * trainer, const char * path, yapo_error ** err) {
    return yapo::guard(err, [&] { need(trainer, "trainer"); need(path, "path"); trainer->impl.save_model(path); });
}

yapo_status yapo_lm_save_state(yapo_lm_trainer * trainer, const char * path, yapo_error ** err) {
    return yapo::guard(err, [&] { need(trainer, "trainer"); need(path, "path"); trainer->impl.save_state(path); });
}

yapo_status yapo_lm_load_state(yapo_lm_trainer * trainer, const char * path, yapo_error ** err) {
    return yapo::guard(err, [&] { need(trainer, "trainer"); need(path, "path"); trainer->impl.load_state(path); });
}

} // extern "C"
