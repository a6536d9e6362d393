// The context handle: a llama.cpp context, the batch it evaluated last, and what is attached to its residual stream.
#pragma once

#include "abi/guard.h"
#include "model/remote.h"
#include "steering/hook.h"

#include "llama.h"

#include <atomic>
#include <memory>
#include <string>
#include <vector>

namespace yapo {

// What the caller may count on finding in the cache of a sequence, which llama.cpp does not say.
struct cached_sequence {
    int32_t first = 0;     // positions before it were removed by the caller
    bool    lost  = false; // a failed decode took what was there before it
};

} // namespace yapo

struct yapo_context : yapo::counted {
    yapo::counts_frees           frees;
    std::shared_ptr<llama_model> model; // outlives `handle`, whatever the caller frees first
    std::string                  path;  // of the model, for messages
    std::atomic<bool>            cancelled{false};
    yapo::steering               steering; // llama.cpp holds its address: freed after `handle`
    std::unique_ptr<llama_context, void (*)(llama_context *)> handle{nullptr, llama_free};

    int32_t n_vocab   = 0;
    int32_t n_seq_max = 0;
    bool     remote     = false; // an RPC server holds blocks
    uint64_t freed_seen = 0;     // of buffers_freed, when the graph was last built anew for it
    bool    embeddings = false; // pooled ones, and no logits
    bool    no_alloc  = false; // of the model: there is nothing to compute with

    std::vector<yapo::cached_sequence> sequences; // [n_seq_max]
    std::vector<uint8_t> outputs; // of the last successful decode, one flag per batch row; empty after a failed one
    int64_t n_graphs_computed = 0;
};

namespace yapo {

// Fails unless context is given; the name of the calling function goes into the message.
inline yapo_context & require(yapo_context * context, const char * function) {
    if (!context) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "%s: context is NULL", function);
    }
    return *context;
}
inline const yapo_context & require(const yapo_context * context, const char * function) {
    return require(const_cast<yapo_context *>(context), function);
}

// Whether a sequence, cut off before `position`, still has all that tokens from there on attend to. A cache of sliding-window blocks may have lost
// it: with swa_full = 0 it holds little more than the window before the last position, and llama.cpp gives cells behind that window to other
// sequences even where the whole cache is kept.
bool window_is_whole(const yapo_context & context, int32_t sequence, int32_t position);

// The logits of a batch row of the last decode, [V]; fails where the row has none.
const float * output_row(const yapo_context & context, int32_t row);

} // namespace yapo
