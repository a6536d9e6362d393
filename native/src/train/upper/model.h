// The blocks above a steered layer, with the weights where the file has them: mapped, never copied; and on a device, once the model has been placed there.
// Shared by all workers; immutable but for its place and the steered latents, which change while no worker computes.
#pragma once

#include "train/compute.h"
#include "train/files/mapped_file.h"
#include "train/transformer/transformer.h"
#include "train/upper/device_steering.h"
#include "train/upper/device_weights.h"
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
    void                                    set_latents(std::shared_ptr<const steering> s);

    // Copies the weights, and the latents, to a device: device_worker computes there. Once, since workers hold on to what is there.
    void                                            place(std::shared_ptr<const device> where, ggml_type quantized_copies = GGML_TYPE_Q8_0);
    const std::shared_ptr<const device_weights> &   placed() const { return placed_; } // NULL: not on a device
    const std::shared_ptr<const device_steering> &  placed_latents() const { return placed_latents_; }

private:
    std::string          path_;
    transformer::config  config_;
    transformer::weights weights_;
    std::vector<const ggml_tensor *> tensors_;
    int32_t              layer_;
    mapped_file          file_;
    context_ptr          ctx_;
    buffer_ptr           buffer_; // over the mapping
    std::shared_ptr<const steering> latents_;
    std::shared_ptr<const device>          where_;
    std::shared_ptr<const device_weights>  placed_;
    std::shared_ptr<const device_steering> placed_latents_;
};

} // namespace yapo::train::upper
