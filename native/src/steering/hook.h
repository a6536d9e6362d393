// What a context attaches to the residual stream: steering vectors, captures and read-outs, through the per-layer hook of our patch
// (native/patches/0001-layer-callback.patch). The hook only adds nodes while llama.cpp builds a graph.
#pragma once

#include "model/remote.h"
#include "steering/readout.h"
#include "steering/vectors.h"

#include "llama-ext.h"

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace yapo {

// Residuals of one layer for every row of a batch, kept on the layer's device: the graph writes its rows there.
struct capture_slot {
    int32_t              layer = 0;
    int32_t              site  = YAPO_CAPTURE_BEFORE;
    ggml_tensor *        rows = nullptr; // F32 [D, n_batch]
    std::vector<uint8_t> written;        // rows of the last decode that were computed
};

struct capture_set {
    counts_frees                         frees;
    std::vector<capture_slot>            slots;
    std::vector<ggml_context_ptr>        contexts;
    std::vector<ggml_backend_buffer_ptr> buffers;
};

// Strengths of contexts whose batches are not ours: by sequence. Set and read from any thread.
class sequence_strengths {
public:
    explicit sequence_strengths(int32_t columns) : others(columns, 0.0f) {}

    void set(int32_t sequence, const float * strengths); // -1: of all without their own; null: none of its own
    void clear();                                        // 0 for all

    // One setting for all that is copied while the lock is held.
    std::unique_lock<std::mutex> hold() const { return std::unique_lock<std::mutex>(mutex); }
    void copy(int32_t sequence, float * out) const;

private:
    mutable std::mutex                              mutex;
    std::vector<float>                              others;
    std::unordered_map<int32_t, std::vector<float>> own;
};

struct steering {
    std::shared_ptr<const vector_set>         vectors;   // empty: none
    std::shared_ptr<capture_set>              captures;  // empty: none
    std::shared_ptr<readout_set>              readouts;  // empty: none
    std::shared_ptr<const sequence_strengths> sequences; // empty: strengths come with the batch
    int64_t                                   d_model = 0;

    int32_t columns() const { return vectors ? vectors->columns : 0; }

    // Around every llama_decode. The batch must live until end_batch.
    void begin_batch(const yapo_batch & batch, const std::vector<int32_t> & sequence);
    void end_batch(bool ok);

    // The row of the current batch that holds a position of a sequence; -1: none.
    int32_t row_of(int32_t sequence, int32_t position) const;
    // [columns] of a token in the given row of the current batch (-1: none).
    void copy_strengths(int32_t sequence, int32_t row, float * out) const;

    // After a llama_decode: what was wrong where not every token of the batch went through all that is attached. Empty: nothing.
    std::string missed(int32_t n_tokens) const;

    // Of what is attached (apply_hook).
    std::set<int32_t> layers;
    // Found out while llama.cpp builds graphs: the layers whose hook was called with a shape that can be steered, and what was
    // wrong at the others.
    std::set<int32_t>              reached;
    std::map<int32_t, std::string> problems;
    // Tokens of the current batch in graphs that offered every one of the layers.
    int64_t hooked = 0;

private:
    std::unordered_map<uint64_t, int32_t> rows;
    const float * strengths = nullptr;
};

// Makes llama.cpp build graphs for the vectors, captures and read-outs in `state` (none: graphs without the hook). Fails where a layer
// cannot be reached; the caller restores the old state and calls it again.
void apply_hook(llama_context * context, steering & state);

} // namespace yapo
