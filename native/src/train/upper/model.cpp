#include "train/upper/model.h"

#include <algorithm>
#include <cmath>

namespace yapo::train::upper {

ggml_type transposed_type(ggml_type type, int64_t n) {
    if (type == GGML_TYPE_F16 || type == GGML_TYPE_BF16) {
        return GGML_TYPE_BF16;
    }
    return n % ggml_blck_size(GGML_TYPE_Q8_0) == 0 ? GGML_TYPE_Q8_0 : GGML_TYPE_F32;
}

void fill_transposed(const ggml_tensor * from, ggml_tensor * to) {
    const int64_t K = from->ne[0], N = from->ne[1];
    const ggml_to_float_t dequantize = ggml_get_type_traits(from->type)->to_float;
    constexpr int64_t panel = 256; // rows of `from`: a multiple of every block size of `to`
    std::vector<float> rows(size_t(panel) * K), columns(size_t(panel) * K);
    for (int64_t n0 = 0; n0 < N; n0 += panel) {
        const int64_t n = std::min(panel, N - n0);
        for (int64_t j = 0; j < n; ++j) {
            const char * row = static_cast<const char *>(from->data) + (n0 + j) * from->nb[1];
            dequantize(row, rows.data() + j * K, K);
        }
        constexpr int64_t tile = 16;
        for (int64_t k0 = 0; k0 < K; k0 += tile) {
            for (int64_t j0 = 0; j0 < n; j0 += tile) {
                for (int64_t k = k0; k < std::min(k0 + tile, K); ++k) {
                    for (int64_t j = j0; j < std::min(j0 + tile, n); ++j) {
                        columns[k * n + j] = rows[j * K + k];
                    }
                }
            }
        }
        for (int64_t k = 0; k < K; ++k) {
            char * out = static_cast<char *>(to->data) + k * to->nb[1] + ggml_row_size(to->type, n0);
            ggml_quantize_chunk(to->type, columns.data() + k * n, out, 0, 1, n, nullptr);
        }
    }
}

model::model(const std::string & gguf_path, int32_t layer) : layer_(layer) {
    const gguf_source source(gguf_path);
    config_ = transformer::read_config(source);
    if (layer < 0 || layer >= config_.n_layer) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "%s has %d blocks (0 to %d): layer %d does not exist", gguf_path.c_str(), config_.n_layer, config_.n_layer - 1, layer);
    }
    const auto table = transformer::tensor_table(source, config_, weights_, layer + 1);
    ctx_ = new_context(2 * table.size());
    std::vector<std::pair<const ggml_tensor *, ggml_tensor *>> to_read;
    for (const auto & slot : table) {
        const ggml_tensor * in_file = source.tensor(slot.name, slot.ne0, slot.ne1);
        const ggml_type type = in_file->type;
        const bool readable = type == GGML_TYPE_F32 || (ggml_get_type_traits(type)->to_float && slot.ne1 > 1);
        if (!readable) {
            fail(YAPO_ERR_UNSUPPORTED, "%s: tensor %s of type %s cannot be trained through", gguf_path.c_str(), slot.name.c_str(), ggml_type_name(type));
        }
        ggml_tensor * w = ggml_new_tensor_2d(ctx_.get(), type, slot.ne0, slot.ne1);
        ggml_set_name(w, slot.name.c_str());
        *slot.slot = w;
        to_read.push_back({in_file, w});
        if (slot.ne1 > 1 && type != GGML_TYPE_F32) {
            transposed_[w] = ggml_new_tensor_2d(ctx_.get(), transposed_type(type, slot.ne1), slot.ne1, slot.ne0);
        }
    }
    buffer_ = allocate(ctx_.get());
    for (const auto & [in_file, w] : to_read) {
        source.read(in_file, w->data);
        if (!ggml_validate_row_data(w->type, w->data, ggml_nbytes(w))) {
            fail(YAPO_ERR_FORMAT, "%s: tensor %s has entries that are not finite", gguf_path.c_str(), w->name);
        }
        if (transposed_.count(w)) {
            fill_transposed(w, transposed_[w]);
        }
    }
}

} // namespace yapo::train::upper
