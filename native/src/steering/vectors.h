// The steering vectors of a context: checked, grouped by layer, and resident on the device of each layer.
#pragma once

#include "steering/full_sae.h"
#include "yapo.h"

#include "ggml-backend.h"
#include "ggml-cpp.h"
#include "ggml.h"
#include "llama.h"

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace yapo {

// One vector's strength (a column of the graph's strengths) and the entries it scales.
struct weighted_value {
    int32_t       column;
    ggml_tensor * value; // F32 [D]
};

// Sparse vectors of one layer, as if their features were those of one vector: one product encodes them all, and one decodes them.
// Vectors that act jointly share the rows of their union; others have rows of their own, even of the same feature. Each such set is
// padded to a multiple of 32 with features that never fire (zero rows, threshold +inf): ggml sizes quantized rows by whole blocks,
// and the blocks of one set then never depend on what is attached beside it.
struct sparse_group {
    int32_t column = 0;                 // of the first vector; the others follow
    ggml_tensor * values    = nullptr;  // F32 [V, K]: 0 where a vector lacks the feature
    ggml_tensor * enc       = nullptr;  // F32 [D, K]: with fewer bits, one massive residual entry flips gates (see kernel.h)
    ggml_tensor * enc_bias  = nullptr;  // F32 [K]
    ggml_tensor * threshold = nullptr;  // F32 [K]
    ggml_tensor * dec       = nullptr;  // [K, D], any row type: transposed, so that the product with c is along K
    bool          fused     = false;    // run by our own kernels (fused.h)

    // Instead of enc, enc_bias and threshold: the codes of a whole SAE, of which `support` picks these K.
    const full_sae * sae     = nullptr;
    ggml_tensor *    support = nullptr; // I32 [K]; padding points at latent 0, whose value there is 0
};

// h += strength (value + dec^T z - h)
struct replacement {
    weighted_value   by;
    const full_sae * sae = nullptr; // null: value alone
};

struct layer_vectors {
    std::vector<weighted_value> dense;
    std::vector<sparse_group>   sparse;
    std::vector<replacement>    replace;
};

struct vector_set {
    counts_frees                     frees;
    int32_t                          columns = 0; // vectors
    std::vector<int32_t>             given;       // [columns]: which vector, in the order of yapo_batch.strengths, a column of the graph is
    std::map<int32_t, layer_vectors> layers;
    int64_t                          bytes = 0;

    std::vector<ggml_context_ptr>        contexts;
    std::vector<ggml_backend_buffer_ptr> buffers;
    std::vector<std::shared_ptr<const full_sae>> saes; // each once
};

// Checks n descriptors against the model and uploads them. Fails (guard.h) without side effects.
std::shared_ptr<const vector_set> upload_vectors(const llama_model & model, const yapo_vector_desc * descs, int32_t n);

} // namespace yapo
