#include "train/upper/device_weights.h"

#include "train/parallel.h"

#include <algorithm>
#include <thread>

namespace yapo::train::upper {

namespace {

constexpr size_t  piece = size_t(64) << 20; // of an upload
constexpr int64_t tile  = 16;               // rows transposed at a time: one cache line of each row of the copy

void upload(ggml_tensor * t, const void * data) {
    const size_t n = ggml_nbytes(t);
    for (size_t at = 0; at < n; at += piece) {
        ggml_backend_tensor_set(t, static_cast<const char *>(data) + at, at, std::min(piece, n - at));
    }
}

// Columns first .. first + n - 1 of w as rows of floats: out [n, rows of w]. first and n are whole blocks of w's type.
void read_columns(const ggml_tensor * w, int64_t first, int64_t n, float * out) {
    const auto * traits = ggml_get_type_traits(w->type);
    const size_t offset = ggml_row_size(w->type, first);
    const int64_t rows = w->ne[1];
    parallel(int32_t(std::max(1u, std::thread::hardware_concurrency())), (rows + tile - 1) / tile, [&](int32_t, int64_t i) {
        const int64_t begin = i * tile, end = std::min(rows, begin + tile);
        std::vector<float> part(size_t(tile) * n);
        for (int64_t r = begin; r < end; ++r) {
            const char * row = static_cast<const char *>(w->data) + r * w->nb[1] + offset;
            float *      to  = part.data() + (r - begin) * n;
            if (w->type == GGML_TYPE_F32) {
                std::copy_n(reinterpret_cast<const float *>(row), n, to);
            } else {
                traits->to_float(row, to, n);
            }
        }
        for (int64_t k = 0; k < n; ++k) {
            for (int64_t r = begin; r < end; ++r) {
                out[k * rows + r] = part[(r - begin) * n + k];
            }
        }
    });
}

// copy = w with rows and columns swapped, in copy's type. A strip of columns at a time, so that no float copy of the whole ever exists.
void upload_transposed(ggml_tensor * copy, const ggml_tensor * w) {
    const int64_t rows = w->ne[1], columns = w->ne[0], block = std::max<int64_t>(32, ggml_blck_size(w->type));
    const int64_t strip = std::max(block, int64_t(piece / sizeof(float)) / rows / block * block);
    std::vector<float> floats;
    std::vector<char>  bytes;
    for (int64_t first = 0; first < columns; first += strip) {
        const int64_t n = std::min(strip, columns - first);
        floats.resize(size_t(n) * rows);
        read_columns(w, first, n, floats.data());
        const size_t offset = first * copy->nb[1];
        if (copy->type == GGML_TYPE_F32) {
            ggml_backend_tensor_set(copy, floats.data(), offset, floats.size() * sizeof(float));
            continue;
        }
        bytes.resize(n * copy->nb[1]);
        ggml_quantize_chunk(copy->type, floats.data(), bytes.data(), 0, n, rows, nullptr);
        ggml_backend_tensor_set(copy, bytes.data(), offset, bytes.size());
    }
}

} // namespace

ggml_type transposed_type(ggml_type type, int64_t n_rows, ggml_type quantized) {
    if (type == GGML_TYPE_F32 || type == GGML_TYPE_F16 || type == GGML_TYPE_BF16) {
        return type;
    }
    return n_rows % ggml_blck_size(quantized) == 0 ? quantized : GGML_TYPE_F16;
}

device_weights::device_weights(std::shared_ptr<const device> where, const gguf_source & source, const transformer::config & config, int32_t first_layer,
                               const std::vector<const ggml_tensor *> & host, ggml_type quantized_copies)
    : where_(std::move(where)) {
    const auto table = transformer::tensor_table(source, config, weights_, first_layer);
    ctx_ = new_context(2 * table.size());
    std::vector<ggml_tensor *> placed;
    for (size_t i = 0; i < table.size(); ++i) {
        const ggml_tensor * w = host[i];
        ggml_tensor * t = ggml_new_tensor_2d(ctx_.get(), w->type, w->ne[0], w->ne[1]);
        ggml_set_name(t, w->name);
        *table[i].slot = t;
        placed.push_back(t);
        if (w->ne[1] > 1) {
            ggml_tensor * copy = ggml_new_tensor_2d(ctx_.get(), transposed_type(w->type, w->ne[1], quantized_copies), w->ne[1], w->ne[0]);
            ggml_format_name(copy, "%s^T", w->name);
            copies_[t] = copy;
        }
    }
    buffer_ = where_->allocate(ctx_.get(), "the blocks above the steered one, the head and their transposed copies");
    ggml_backend_buffer_set_usage(buffer_.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    for (size_t i = 0; i < placed.size(); ++i) {
        upload(placed[i], host[i]->data);
        const auto copy = copies_.find(placed[i]);
        if (copy != copies_.end()) {
            upload_transposed(copy->second, host[i]);
        }
    }
}

void device_weights::give_transposed(autograd::tape & tape) const {
    for (const auto & [w, copy] : copies_) {
        tape.give_transposed(w, copy);
    }
}

} // namespace yapo::train::upper
