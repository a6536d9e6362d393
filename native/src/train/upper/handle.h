// What yapo_train.h's opaque yapo_upper is.
#pragma once

#include "train/upper/model.h"

#include <memory>

struct yapo_upper : yapo::counted {
    yapo_upper(const char * path, int32_t layer) : impl(std::make_shared<yapo::train::upper::model>(path, layer)) {}
    std::shared_ptr<yapo::train::upper::model> impl;
};
