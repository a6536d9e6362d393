// yapo_context_set_vectors, _set_capture, _captured, _set_readout, _readout.
#include "context/context.h"
#include "model/assert_scope.h"
#include "model/runtime.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace yapo {
namespace {

// Puts vectors, captures and read-outs in place, or leaves everything as it was.
void replace(yapo_context & c, std::shared_ptr<const vector_set> vectors, std::shared_ptr<capture_set> captures, std::shared_ptr<readout_set> readouts) {
    std::swap(c.steering.vectors, vectors);
    std::swap(c.steering.captures, captures);
    std::swap(c.steering.readouts, readouts);
    c.steering.d_model = llama_model_n_embd(c.model.get());
    assert_scope asserts; // graphs are built here
    try {
        log_capture log;
        apply_hook(c.handle.get(), c.steering);
    } catch (...) {
        std::swap(c.steering.vectors, vectors);
        std::swap(c.steering.captures, captures);
        std::swap(c.steering.readouts, readouts);
        apply_hook(c.handle.get(), c.steering); // it fitted before
        throw;
    }
}

// One buffer per slot, in the memory of the layer's device.
std::shared_ptr<capture_set> make_captures(yapo_context & c, const int32_t * layers, const int32_t * sites, int32_t n) {
    const int32_t n_layer = llama_model_n_layer(c.model.get());
    if (n < 0 || n > 4 * n_layer || (n > 0 && (!layers || !sites))) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_context_set_capture: n is %d, expected 0 to %d with layers and sites given", n, 4 * n_layer);
    }
    if (n == 0) {
        return nullptr;
    }
    auto set = std::make_shared<capture_set>();
    for (int32_t i = 0; i < n; ++i) {
        if (layers[i] < 0 || layers[i] >= n_layer) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "layers[%d] is %d, the model has blocks 0 to %d", i, layers[i], n_layer - 1);
        }
        if (sites[i] != YAPO_CAPTURE_BEFORE && sites[i] != YAPO_CAPTURE_AFTER) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "sites[%d] is %d, expected 0 (before steering) or 1 (after)", i, sites[i]);
        }
        capture_slot slot;
        slot.layer = layers[i];
        slot.site  = sites[i];
        set->contexts.emplace_back(ggml_init({ggml_tensor_overhead() * 2, nullptr, true}));
        slot.rows = ggml_new_tensor_2d(set->contexts.back().get(), GGML_TYPE_F32, llama_model_n_embd(c.model.get()), llama_n_batch(c.handle.get()));
        set->buffers.emplace_back(ggml_backend_alloc_ctx_tensors_from_buft(set->contexts.back().get(), llama_model_layer_buft(c.model.get(), slot.layer)));
        if (!set->buffers.back()) {
            fail(YAPO_ERR_OUT_OF_MEMORY, "no room for %zu bytes of captured residuals of layer %d; a smaller n_batch needs less", ggml_nbytes(slot.rows), slot.layer);
        }
        set->slots.push_back(slot);
    }
    return set;
}

std::shared_ptr<readout_set> checked_readouts(yapo_context & c, const yapo_readout_desc * given, int32_t n) {
    const int32_t most = 4 * llama_model_n_layer(c.model.get());
    if (n < 0 || n > most || (n > 0 && !given)) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_context_set_readout: n is %d, expected 0 to %d with readouts given", n, most);
    }
    auto set = std::make_shared<readout_set>();
    for (int32_t i = 0; i < n; ++i) {
        const yapo_readout_desc & r = given[i];
        if (r.struct_size != sizeof r) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "readouts[%d].struct_size is %u, expected %zu", i, r.struct_size, sizeof r);
        }
        if (!r.sae) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "readouts[%d].sae is NULL", i);
        }
        if (r.site != YAPO_CAPTURE_BEFORE && r.site != YAPO_CAPTURE_AFTER) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "readouts[%d].site is %d, expected 0 (before steering) or 1 (after)", i, r.site);
        }
        if (r.sae->weights->model != c.model) {
            fail(YAPO_ERR_MISMATCH, "readouts[%d]: its SAE was created for another loaded model", i);
        }
        if (r.top < 1 || r.top > r.sae->weights->width) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "readouts[%d].top is %d, expected 1 to %lld, the latents of its SAE", i, r.top, (long long) r.sae->weights->width);
        }
        require_complete(*r.sae->weights, false);
        add_readout(*set, r.sae->weights, r.site, r.top, llama_n_batch(c.handle.get()));
    }
    return n > 0 ? set : nullptr;
}

} // namespace
} // namespace yapo

extern "C" {

yapo_status yapo_context_set_vectors(yapo_context * context, const yapo_vector_desc * vectors, int32_t n, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        yapo_context & c = require(context, "yapo_context_set_vectors");
        auto set = upload_vectors(*c.model, vectors, n);
        replace(c, n > 0 ? set : nullptr, c.steering.captures, c.steering.readouts);
    });
}

yapo_status yapo_context_set_control_vector(yapo_context * context, const float * rows, int64_t n, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        yapo_context & c = require(context, "yapo_context_set_control_vector");
        const int64_t d = llama_model_n_embd(c.model.get()), n_layer = llama_model_n_layer(c.model.get());
        if ((rows == nullptr) != (n == 0) || (rows && n != (n_layer - 1) * d)) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_context_set_control_vector: %lld values, expected %lld (blocks 1 to %lld of %lld), or NULL and 0", (long long) n,
                 (long long) ((n_layer - 1) * d), (long long) (n_layer - 1), (long long) d);
        }
        if (!std::all_of(rows, rows + n, [](float x) { return std::isfinite(x); })) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_context_set_control_vector: an entry is not finite");
        }
        assert_scope asserts; // graphs are built below
        if (llama_set_adapter_cvec(c.handle.get(), rows, size_t(n), int32_t(d), 1, int32_t(n_layer)) != 0) {
            fail(YAPO_ERR_OUT_OF_MEMORY, "llama.cpp could not allocate the control vector");
        }
        apply_hook(c.handle.get(), c.steering); // graphs of before are not taken again
    });
}

yapo_status yapo_context_set_capture(yapo_context * context, const int32_t * layers, const int32_t * sites, int32_t n, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        yapo_context & c = require(context, "yapo_context_set_capture");
        replace(c, c.steering.vectors, make_captures(c, layers, sites, n), c.steering.readouts);
    });
}

yapo_status yapo_context_captured(const yapo_context * context, int32_t slot, float * out, int64_t capacity, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        const yapo_context & c = require(context, "yapo_context_captured");
        const int32_t n = c.steering.captures ? int32_t(c.steering.captures->slots.size()) : 0;
        if (slot < 0 || slot >= n) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "slot is %d, but %d captures are set (yapo_context_set_capture)", slot, n);
        }
        const capture_slot & s = c.steering.captures->slots[slot];
        if (s.written.empty()) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "nothing is captured: no decode has succeeded since yapo_context_set_capture");
        }
        const int64_t d = s.rows->ne[0];
        const int64_t t = int64_t(s.written.size());
        if (!out || capacity < t * d) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_context_captured: room for %lld floats, expected at least %lld (%lld tokens of %lld)",
                 (long long) capacity, (long long) (t * d), (long long) t, (long long) d);
        }
        ggml_backend_tensor_get(s.rows, out, 0, size_t(t * d) * sizeof(float));
        for (int64_t row = 0; row < t; ++row) {
            if (!s.written[row]) {
                std::fill(out + row * d, out + (row + 1) * d, std::numeric_limits<float>::quiet_NaN());
            }
        }
    });
}

yapo_status yapo_context_set_readout(yapo_context * context, const yapo_readout_desc * readouts, int32_t n, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        yapo_context & c = require(context, "yapo_context_set_readout");
        replace(c, c.steering.vectors, c.steering.captures, checked_readouts(c, readouts, n));
    });
}

yapo_status yapo_context_readout(const yapo_context * context, int32_t slot, int32_t * latents, float * activations, int32_t * active, int64_t capacity, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        const yapo_context & c = require(context, "yapo_context_readout");
        const int32_t n = c.steering.readouts ? int32_t(c.steering.readouts->slots.size()) : 0;
        if (slot < 0 || slot >= n) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "slot is %d, but %d read-outs are set (yapo_context_set_readout)", slot, n);
        }
        const readout_slot & s = c.steering.readouts->slots[slot];
        const int64_t t = int64_t(s.written.size());
        if (t == 0) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "nothing is read out: no decode has succeeded since yapo_context_set_readout");
        }
        if (!latents || !activations || !active || capacity < t) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_context_readout: latents, activations and active must be given, with room for %lld tokens, found %lld", (long long) t, (long long) capacity);
        }
        read_readout(s, latents, activations, active);
    });
}

} // extern "C"
