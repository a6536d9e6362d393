#include "steering/hook.h"

#include "abi/guard.h"
#include "steering/graph_inputs.h"
#include "steering/kernel.h"

#include <algorithm>

namespace yapo {

void steering::begin_batch(const yapo_batch & batch, const std::vector<int32_t> & sequence) {
    rows.clear();
    hooked    = 0;
    strengths = batch.strengths;
    if (layers.empty()) {
        return;
    }
    for (int32_t i = 0; i < batch.n_tokens; ++i) {
        rows[uint64_t(uint32_t(sequence[i])) << 32 | uint32_t(batch.positions[i])] = i;
    }
    if (captures) {
        for (capture_slot & slot : captures->slots) {
            slot.written.assign(batch.n_tokens, 0);
        }
    }
    if (readouts) {
        for (readout_slot & slot : readouts->slots) {
            slot.written.assign(batch.n_tokens, 0);
        }
    }
}

void steering::end_batch(bool ok) {
    rows.clear();
    strengths = nullptr;
    if (!ok && captures) {
        for (capture_slot & slot : captures->slots) {
            slot.written.clear();
        }
    }
    if (!ok && readouts) {
        for (readout_slot & slot : readouts->slots) {
            slot.written.clear();
        }
    }
}

std::string steering::missed(int32_t n_tokens) const {
    if (layers.empty() || hooked == n_tokens) {
        return {};
    }
    std::string what = std::to_string(n_tokens - hooked) + " of the batch's " + std::to_string(n_tokens) + " tokens went through a graph without what is attached";
    for (const auto & [layer, shape] : problems) {
        what += "; the residual stream of layer " + std::to_string(layer) + " was " + shape;
    }
    return what;
}

int32_t steering::row_of(int32_t sequence, int32_t position) const {
    const auto found = rows.find(uint64_t(uint32_t(sequence)) << 32 | uint32_t(position));
    return found == rows.end() ? -1 : found->second;
}

void steering::copy_strengths(int32_t sequence, int32_t row, float * out) const {
    if (sequences) {
        sequences->copy(sequence, out);
    } else if (row >= 0) {
        std::copy_n(strengths + int64_t(row) * columns(), columns(), out);
    } else {
        std::fill_n(out, columns(), 0.0f);
    }
}

void sequence_strengths::set(int32_t sequence, const float * strengths) {
    std::lock_guard lock(mutex);
    if (!strengths) {
        own.erase(sequence);
    } else if (sequence < 0) {
        others.assign(strengths, strengths + others.size());
    } else {
        own[sequence].assign(strengths, strengths + others.size());
    }
}

void sequence_strengths::clear() {
    std::lock_guard lock(mutex);
    own.clear();
    std::fill(others.begin(), others.end(), 0.0f);
}

void sequence_strengths::copy(int32_t sequence, float * out) const {
    const auto found = own.find(sequence);
    const std::vector<float> & from = found == own.end() ? others : found->second;
    std::copy(from.begin(), from.end(), out);
}

namespace {

// Copies h into the slots of this layer and site.
void build_captures(const llama_layer_hook_call & call, steering & state, graph_inputs & inputs, graph_inputs::kind & kind, ggml_tensor * h, int32_t site) {
    if (!state.captures) {
        return;
    }
    for (capture_slot & slot : state.captures->slots) {
        if (slot.layer == call.il && slot.site == site) {
            ggml_tensor * ids = inputs.batch_row_for(call.ctx, kind, h->ne[1]);
            ggml_build_forward_expand(call.gf, ggml_set_rows(call.ctx, slot.rows, h, ids));
            kind.written.push_back(&slot.written);
        }
    }
}

void build_readouts(const llama_layer_hook_call & call, steering & state, graph_inputs & inputs, graph_inputs::kind & kind, ggml_tensor * h, full_codes & codes, int32_t site) {
    if (!state.readouts) {
        return;
    }
    for (readout_slot & slot : state.readouts->slots) {
        if (slot.sae->layer == call.il && slot.site == site) {
            build_readout(call.ctx, call.gf, slot, codes.of(*slot.sae), inputs.batch_row_for(call.ctx, kind, h->ne[1]));
            kind.written.push_back(&slot.written);
        }
    }
}

// Runs inside llama.cpp while it builds a graph: no exception may leave it, problems are noted instead.
ggml_tensor * on_layer(const llama_layer_hook_call & call, ggml_tensor * h, void * user) {
    steering & state = *static_cast<steering *>(user);
    if (!state.layers.count(call.il)) {
        return h;
    }
    const bool per_token  = h->ne[1] == call.n_tokens;
    const bool per_output = h->ne[1] == call.n_outputs;
    if (h->type != GGML_TYPE_F32 || h->ne[0] != state.d_model || h->ne[2] != 1 || h->ne[3] != 1 || !(per_token || per_output) || !ggml_is_contiguous(h)) {
        char shape[160];
        snprintf(shape, sizeof shape, "%s [%lld, %lld, %lld, %lld] for %lld tokens, expected f32 [%lld, tokens]", ggml_type_name(h->type), (long long) h->ne[0],
                 (long long) h->ne[1], (long long) h->ne[2], (long long) h->ne[3], (long long) call.n_tokens, (long long) state.d_model);
        state.problems[call.il] = shape;
        return h;
    }
    if (!call.graph) {
        call.graph = std::make_unique<graph_inputs>(state);
    }
    graph_inputs & inputs = static_cast<graph_inputs &>(*call.graph);
    inputs.reached.insert(call.il);
    state.reached.insert(call.il);
    if (h->ne[1] == 0) { // an ubatch without outputs, in the last block
        return h;
    }
    graph_inputs::kind & kind   = per_token ? inputs.all : inputs.outputs;

    full_codes codes(call.ctx, h);
    build_captures(call, state, inputs, kind, h, YAPO_CAPTURE_BEFORE);
    build_readouts(call, state, inputs, kind, h, codes, YAPO_CAPTURE_BEFORE);
    if (state.vectors) {
        const auto layer = state.vectors->layers.find(call.il);
        if (layer != state.vectors->layers.end()) {
            h = build_steering(call.ctx, layer->second, h, inputs.strengths_for(call.ctx, kind, h->ne[1], layer->second), codes);
        }
    }
    full_codes steered(call.ctx, h);
    build_captures(call, state, inputs, kind, h, YAPO_CAPTURE_AFTER);
    build_readouts(call, state, inputs, kind, h, steered, YAPO_CAPTURE_AFTER);
    return h;
}

} // namespace

void apply_hook(llama_context * context, steering & state) {
    state.layers.clear();
    state.reached.clear();
    state.problems.clear();
    uint32_t n_nodes = 0;
    if (state.vectors) {
        for (const auto & [layer, vectors] : state.vectors->layers) {
            n_nodes += steering_nodes(vectors);
            state.layers.insert(layer);
        }
    }
    if (state.captures) {
        for (const capture_slot & slot : state.captures->slots) {
            n_nodes += 2;
            state.layers.insert(slot.layer);
        }
    }
    if (state.readouts) {
        for (const readout_slot & slot : state.readouts->slots) {
            n_nodes += readout_nodes + code_nodes;
            state.layers.insert(slot.sae->layer);
        }
    }
    const bool any = !state.layers.empty();
    n_nodes += any ? 64 : 0; // the inputs, and their copies to other devices
    buffers_freed.fetch_add(1, std::memory_order_relaxed); // llama.cpp allocates the compute buffers anew
    if (!llama_set_layer_hook(context, any ? on_layer : nullptr, any ? &state : nullptr, n_nodes)) {
        fail(YAPO_ERR_OUT_OF_MEMORY, "llama.cpp could not allocate the compute buffers for the attached vectors, captures and read-outs");
    }
    for (int32_t layer : state.layers) {
        const auto problem = state.problems.find(layer);
        if (problem != state.problems.end()) {
            fail(YAPO_ERR_UNSUPPORTED, "layer %d of this architecture cannot be steered or captured: its residual stream is %s", layer, problem->second.c_str());
        }
        if (!state.reached.count(layer)) {
            fail(YAPO_ERR_UNSUPPORTED, "layer %d of this architecture cannot be steered or captured: llama.cpp's graph for it never offers the residual stream after the block", layer);
        }
    }
}

} // namespace yapo
