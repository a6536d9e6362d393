// What a graph takes from the host besides the tokens: the strengths, and the rows of the batch that captures and read-outs write.
#pragma once

#include "steering/hook.h"

#include <map>
#include <set>
#include <vector>

namespace yapo {

// Belongs to one graph of llama.cpp, which calls set_input before each computation. Two kinds of rows: every token of the ubatch, or (in
// the last block) its outputs only.
struct graph_inputs : llama_layer_hook_graph {
    explicit graph_inputs(steering & state) : state(state) {}

    struct kind {
        ggml_tensor * strengths = nullptr; // F32 [columns, T]
        std::map<ggml_backend_buffer_type_t, ggml_tensor *> uploaded; // the strengths, on devices whose memory is not the host's
        ggml_tensor * batch_row = nullptr; // I64 [T]: where captures and read-outs go
        std::vector<std::vector<uint8_t> *> written; // of the captures and read-outs with these rows
    };
    steering & state;
    kind       all, outputs;
    std::set<int32_t> reached; // the layers that this graph offered

    // The strengths for what is attached to `layer`. They are the host's; where more than one part of them is needed on a device, it gets
    // them whole, once: the scheduler would bring it each part by itself, and wait each time.
    ggml_tensor * strengths_for(ggml_context * ctx, kind & k, int64_t t, const layer_vectors & layer);
    ggml_tensor * batch_row_for(ggml_context * ctx, kind & k, int64_t t);

    void set_input(const llama_ubatch & ubatch) override;

private:
    size_t parts_on(ggml_backend_buffer_type_t device) const;
    void   fill(kind & k, const llama_ubatch & ubatch, bool only_outputs);
};

} // namespace yapo
