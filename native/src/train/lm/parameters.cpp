#include "train/lm/parameters.h"

#include <algorithm>
#include <cmath>

namespace yapo::train::lm {

parameters::parameters(const gguf_source & source, const transformer::config & config) {
    const auto table = transformer::tensor_table(source, config, weights_, 0);
    ctx_ = new_context(table.size());
    for (const auto & slot : table) {
        if (!slot.parameter) {
            fail(YAPO_ERR_UNSUPPORTED, "%s: training all parameters of a model with %s is not supported", source.path().c_str(), slot.name.c_str());
        }
        const ggml_tensor * in_file = source.tensor(slot.name, slot.ne0, slot.ne1);
        if (in_file->type != GGML_TYPE_F32) {
            fail(YAPO_ERR_UNSUPPORTED, "%s: tensor %s is %s; training all parameters needs an F32 model", source.path().c_str(),
                slot.name.c_str(), ggml_type_name(in_file->type));
        }
        parameter p;
        p.name   = slot.name;
        p.weight = ggml_new_tensor_2d(ctx_.get(), GGML_TYPE_F32, slot.ne0, slot.ne1);
        p.decays = slot.ne1 > 1;
        p.offset = size_;
        p.size   = slot.ne0 * slot.ne1;
        size_ += p.size;
        *slot.slot = p.weight;
        list_.push_back(p);
    }
    buffer_ = allocate(ctx_.get());
    for (size_t i = 0; i < list_.size(); ++i) {
        source.read(source.find(list_[i].name), list_[i].data());
        if (!std::all_of(list_[i].data(), list_[i].data() + list_[i].size, [](float x) { return std::isfinite(x); })) {
            fail(YAPO_ERR_FORMAT, "%s: tensor %s has entries that are not finite", source.path().c_str(), list_[i].name.c_str());
        }
    }
    first.assign(size_, 0.0f);
    second.assign(size_, 0.0f);
}

void parameters::update(size_t i, const float * gradient, float scale, float learning_rate, const adamw & o) {
    const parameter & p = list_[i];
    float * w = p.data();
    float * m = first.data() + p.offset;
    float * v = second.data() + p.offset;
    // step counts from 1 here; corrections in double, then constants
    const float c1 = static_cast<float>(1.0 / (1.0 - std::pow(double(o.beta1), double(step))));
    const float c2 = static_cast<float>(1.0 / (1.0 - std::pow(double(o.beta2), double(step))));
    const float keep = p.decays ? 1.0f - learning_rate * o.weight_decay : 1.0f;
    for (int64_t k = 0; k < p.size; ++k) {
        const float g = gradient[k] * scale;
        m[k] = o.beta1 * m[k] + (1.0f - o.beta1) * g;
        v[k] = o.beta2 * v[k] + (1.0f - o.beta2) * g * g;
        w[k] = w[k] * keep - learning_rate * (m[k] * c1) / (std::sqrt(v[k] * c2) + o.epsilon);
    }
}

} // namespace yapo::train::lm
