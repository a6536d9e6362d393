#include "train/upper/model.h"

#include "ggml-cpu.h"

namespace yapo::train::upper {

model::model(const std::string & gguf_path, int32_t layer) : path_(gguf_path), layer_(layer), file_(gguf_path) {
    const gguf_source source(gguf_path);
    config_ = transformer::read_config(source);
    if (layer < 0 || layer >= config_.n_layer) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "%s has %d blocks (0 to %d): layer %d does not exist", gguf_path.c_str(), config_.n_layer, config_.n_layer - 1, layer);
    }
    const auto table = transformer::tensor_table(source, config_, weights_, layer + 1);
    ctx_ = new_context(table.size());
    buffer_.reset(ggml_backend_cpu_buffer_from_ptr(file_.data(), static_cast<size_t>(file_.size())));
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
        tensors_.push_back(w);
        void * data = file_.at(source.offset(in_file), ggml_nbytes(w));
        if (ggml_backend_tensor_alloc(buffer_.get(), w, data) != GGML_STATUS_SUCCESS) {
            fail(YAPO_ERR_INTERNAL, "%s: tensor %s could not be placed", gguf_path.c_str(), w->name);
        }
        if (!ggml_validate_row_data(type, data, ggml_nbytes(w))) {
            fail(YAPO_ERR_FORMAT, "%s: tensor %s has entries that are not finite", gguf_path.c_str(), w->name);
        }
    }
}

void model::set_latents(std::shared_ptr<const steering> s) {
    auto placed = where_ ? std::make_shared<const device_steering>(where_, *s, layer_) : nullptr;
    latents_        = std::move(s);
    placed_latents_ = std::move(placed);
}

void model::place(std::shared_ptr<const device> where, ggml_type quantized_copies) {
    auto weights = std::make_shared<const device_weights>(where, gguf_source(path_), config_, layer_ + 1, tensors_, quantized_copies);
    auto latents = latents_ ? std::make_shared<const device_steering>(where, *latents_, layer_) : nullptr;
    where_          = std::move(where);
    placed_         = std::move(weights);
    placed_latents_ = std::move(latents);
}

} // namespace yapo::train::upper
