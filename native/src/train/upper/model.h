// The blocks above a steered layer, with the weights where the file has them: mapped, never copied. Shared by all workers; immutable but for the
// steered latents, which change while no worker computes.
#pragma once

#include "train/compute.h"
#include "train/files/mapped_file.h"
#include "train/transformer/transformer.h"
#include "train/upper/steering.h"

namespace yapo::train::upper {

class model {
public:
    model(const std::string & gguf_path, int32_t layer);

    const transformer::config &  config() const { return config_; }
    const transformer::weights & weights() const { return weights_; }
    int32_t                      layer() const { return layer_; }
    // All of `weights`, in the order of the tensor table, under their names in the file.
    const std::vector<const ggml_tensor *> & tensors() const { return tensors_; }

    const std::shared_ptr<const steering> & latents() const { return latents_; }
    void                                    set_latents(std::shared_ptr<const steering> s) { latents_ = std::move(s); }

private:
    transformer::config  config_;
    transformer::weights weights_;
    std::vector<const ggml_tensor *> tensors_;
    int32_t              layer_;
    mapped_file          file_;
    context_ptr          ctx_;
    buffer_ptr           buffer_; // over the mapping
    std::shared_ptr<const steering> latents_;
};

} // namespace yapo::train::upper
