// ggml objects with owners, and the one-thread CPU backend every worker computes on.
#pragma once

#include "abi/guard.h"
#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml.h"

#include <memory>

namespace yapo::train {

struct free_context { void operator()(ggml_context * c) const { ggml_free(c); } };
struct free_backend { void operator()(ggml_backend * b) const { ggml_backend_free(b); } };
struct free_buffer  { void operator()(ggml_backend_buffer * b) const { ggml_backend_buffer_free(b); } };
struct free_gallocr { void operator()(ggml_gallocr * a) const { ggml_gallocr_free(a); } };

using context_ptr = std::unique_ptr<ggml_context, free_context>;
using backend_ptr = std::unique_ptr<ggml_backend, free_backend>;
using buffer_ptr  = std::unique_ptr<ggml_backend_buffer, free_buffer>;
using gallocr_ptr = std::unique_ptr<ggml_gallocr, free_gallocr>;

context_ptr new_context(size_t n_tensors, size_t n_graph_nodes = 0); // descriptions only (no_alloc)
backend_ptr new_cpu_backend();                                       // one thread: no spinning, no barriers
buffer_ptr  allocate(ggml_context * ctx);                            // all tensors of ctx, in CPU memory
// Places the graph's tensors and returns their owner. YAPO_ERR_OUT_OF_MEMORY.
gallocr_ptr allocate_graph(ggml_cgraph * graph);
void        compute(ggml_backend_t backend, ggml_cgraph * graph);

} // namespace yapo::train
