#include "steering/graph_inputs.h"

#include "llama-batch.h"

namespace yapo {
namespace {

ggml_backend_buffer_type_t device_of(const layer_vectors & layer) {
    const ggml_tensor * weight = !layer.dense.empty() ? layer.dense[0].value : !layer.sparse.empty() ? layer.sparse[0].values : layer.replace[0].by.value;
    return ggml_backend_buffer_get_type(weight->buffer);
}

} // namespace

ggml_tensor * graph_inputs::strengths_for(ggml_context * ctx, kind & k, int64_t t, const layer_vectors & layer) {
    if (!k.strengths) {
        k.strengths = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, state.columns(), t);
        ggml_set_input(k.strengths);
        ggml_set_name(k.strengths, "yapo_strengths");
    }
    const ggml_backend_buffer_type_t device = device_of(layer);
    if (ggml_backend_buft_is_host(device) || parts_on(device) == 1) {
        return k.strengths;
    }
    ggml_tensor *& uploaded = k.uploaded[device];
    if (!uploaded) {
        uploaded = ggml_cont(ctx, k.strengths);
    }
    return uploaded;
}

size_t graph_inputs::parts_on(ggml_backend_buffer_type_t device) const {
    size_t n = 0;
    for (const auto & [il, layer] : state.vectors->layers) {
        if (device_of(layer) == device) {
            n += layer.dense.size() + layer.sparse.size() + layer.replace.size();
        }
    }
    return n;
}

ggml_tensor * graph_inputs::batch_row_for(ggml_context * ctx, kind & k, int64_t t) {
    if (!k.batch_row) {
        k.batch_row = ggml_new_tensor_1d(ctx, GGML_TYPE_I64, t);
        ggml_set_input(k.batch_row);
        ggml_set_name(k.batch_row, "yapo_batch_row");
    }
    return k.batch_row;
}

void graph_inputs::set_input(const llama_ubatch & ubatch) {
    const auto held = state.sequences ? state.sequences->hold() : std::unique_lock<std::mutex>();
    fill(all, ubatch, false);
    fill(outputs, ubatch, true);
    state.hooked += reached == state.layers ? ubatch.n_tokens : 0;
}

void graph_inputs::fill(kind & k, const llama_ubatch & ubatch, bool only_outputs) {
    if (!k.strengths && !k.batch_row) {
        return;
    }
    const int64_t columns = state.columns();
    const int64_t t       = k.strengths ? k.strengths->ne[1] : k.batch_row->ne[0];
    std::vector<float>   strengths(k.strengths ? t * columns : 0, 0.0f);
    std::vector<float>   of_token(columns);
    std::vector<int64_t> batch_row(t, 0);
    int64_t j = 0;
    for (uint32_t i = 0; i < ubatch.n_tokens && j < t; ++i) {
        if (only_outputs && !ubatch.output[i]) {
            continue;
        }
        const int32_t row = state.row_of(ubatch.seq_id[i][0], ubatch.pos[i]);
        if (k.strengths) {
            state.copy_strengths(ubatch.seq_id[i][0], row, of_token.data());
            for (int64_t c = 0; c < columns; ++c) {
                strengths[j * columns + c] = of_token[state.vectors->given[c]];
            }
        }
        if (row >= 0) {
            batch_row[j] = row;
            for (std::vector<uint8_t> * written : k.written) {
                (*written)[row] = 1;
            }
        }
        ++j;
    }
    if (k.strengths) {
        ggml_backend_tensor_set(k.strengths, strengths.data(), 0, strengths.size() * sizeof(float));
    }
    if (k.batch_row) {
        ggml_backend_tensor_set(k.batch_row, batch_row.data(), 0, batch_row.size() * sizeof(int64_t));
    }
}

} // namespace yapo
