// The architectures that can be trained through: one row each.
#include "train/transformer/transformer.h"

namespace yapo::train::transformer {

namespace {

constexpr activation gelu_tanh   = activation::gelu_tanh;
constexpr activation silu        = activation::silu;
constexpr rotation   neox        = rotation::neox;
constexpr rotation   interleaved = rotation::interleaved;

// clang-format off
constexpr architecture table[] = {
    //  name      act        rope         sqrt(D) E  post-norms  head norms  softcaps  window  pattern  theta of sliding blocks
    { "gemma2",  gelu_tanh,  neox,        true,      true,       false,      50, 30,   4096,   2,       0     },
    { "gemma3",  gelu_tanh,  neox,        true,      true,       true,       0,  0,    0,      6,       10000 },
    { "llama",   silu,       interleaved, false,     false,      false,      0,  0,    -1,     0,       0     },
    { "qwen2",   silu,       neox,        false,     false,      false,      0,  0,    -1,     0,       0     },
    { "qwen3",   silu,       neox,        false,     false,      true,       0,  0,    -1,     0,       0     },
};
// clang-format on

} // namespace

const architecture * find_architecture(const std::string & name) {
    for (const architecture & a : table) {
        if (name == a.name) {
            return &a;
        }
    }
    return nullptr;
}

std::string supported_architectures() {
    std::string names;
    for (const architecture & a : table) {
        names += (names.empty() ? "" : ", ") + std::string(a.name);
    }
    return names;
}

} // namespace yapo::train::transformer
