#include "steering/readout.h"

#include "llama-ext.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace yapo {

void add_readout(readout_set & set, std::shared_ptr<const full_sae> sae, int32_t site, int32_t top, int64_t n_batch) {
    readout_slot slot;
    slot.site = site;
    slot.top  = top;
    set.contexts.emplace_back(ggml_init({ggml_tensor_overhead() * 4, nullptr, true}));
    if (!set.contexts.back()) {
        throw std::bad_alloc();
    }
    ggml_context * ctx = set.contexts.back().get();
    slot.latents     = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, top, n_batch);
    slot.activations = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, top, n_batch);
    slot.active      = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, 1, n_batch);
    set.buffers.emplace_back(ggml_backend_alloc_ctx_tensors_from_buft(ctx, llama_model_layer_buft(sae->model.get(), sae->layer)));
    if (!set.buffers.back()) {
        fail(YAPO_ERR_OUT_OF_MEMORY, "no room to read %d latents of layer %d out for %lld tokens; a smaller n_batch needs less", top, sae->layer, (long long) n_batch);
    }
    slot.sae = std::move(sae);
    set.slots.push_back(std::move(slot));
}

void build_readout(ggml_context * ctx, ggml_cgraph * gf, const readout_slot & slot, ggml_tensor * z, ggml_tensor * batch_row) {
    const int64_t f = z->ne[0], t = z->ne[1];
    ggml_tensor * ids    = ggml_top_k(ctx, z, slot.top); // I32 [N, T]
    ggml_tensor * values = ggml_reshape_2d(ctx, ggml_get_rows(ctx, ggml_reshape_3d(ctx, z, 1, f, t), ids), slot.top, t);
    const auto keep = [&](ggml_tensor * rows, ggml_tensor * x) { ggml_build_forward_expand(gf, ggml_set_rows(ctx, rows, x, batch_row)); };
    keep(slot.latents, ggml_cast(ctx, ids, GGML_TYPE_F32));
    keep(slot.activations, values);
    keep(slot.active, ggml_sum_rows(ctx, ggml_step(ctx, z)));
}

void read_readout(const readout_slot & slot, int32_t * latents, float * activations, int32_t * active) {
    const int64_t t = int64_t(slot.written.size()), n = slot.top;
    std::vector<float> ids(t * n), values(t * n), counts(t);
    ggml_backend_tensor_get(slot.latents, ids.data(), 0, ids.size() * sizeof(float));
    ggml_backend_tensor_get(slot.activations, values.data(), 0, values.size() * sizeof(float));
    ggml_backend_tensor_get(slot.active, counts.data(), 0, counts.size() * sizeof(float));
    std::vector<int32_t> order(n);
    for (int64_t row = 0; row < t; ++row) {
        int32_t *     id = latents + row * n;
        float *       z  = activations + row * n;
        if (!slot.written[row]) {
            std::fill_n(id, n, -1);
            std::fill_n(z, n, std::numeric_limits<float>::quiet_NaN());
            active[row] = -1;
            continue;
        }
        const float * from_id = ids.data() + row * n;
        const float * from_z  = values.data() + row * n;
        std::iota(order.begin(), order.end(), 0);
        std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
            const bool open_a = from_z[a] > 0, open_b = from_z[b] > 0; // a NaN is not active
            if (open_a != open_b || !open_a) {
                return open_a && !open_b;
            }
            return from_z[a] != from_z[b] ? from_z[a] > from_z[b] : from_id[a] < from_id[b];
        });
        for (int64_t k = 0; k < n; ++k) {
            const float value = from_z[order[k]];
            id[k] = value > 0 ? int32_t(from_id[order[k]]) : -1;
            z[k]  = value > 0 ? value : 0.0f;
        }
        active[row] = int32_t(counts[row]);
    }
}

} // namespace yapo
