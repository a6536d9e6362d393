// The model handle. Contexts, samplers and trainers hold `handle`, so a model may be freed while they live.
#pragma once

#include "abi/guard.h"
#include "llama.h"

#include <memory>
#include <string>

struct yapo_model : yapo::counted {
    std::shared_ptr<llama_model> handle;
    std::string                  path;
    bool                         vocab_only = false;
};
