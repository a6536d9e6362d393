// Pooled embeddings of the sequences of the last decode.
#include "context/context.h"

#include <cstring>

namespace {

const yapo_context & require_embeddings(const yapo_context * context, const char * function) {
    const yapo_context & c = yapo::require(context, function);
    if (!c.embeddings) {
        yapo::fail(YAPO_ERR_INVALID_ARGUMENT, "%s: this context gives logits and no embeddings: set embeddings in its options", function);
    }
    return c;
}

int64_t size_of(const yapo_context & c) { return llama_model_n_embd_out(c.model.get()); }

} // namespace

extern "C" {

yapo_status yapo_context_embedding_size(const yapo_context * context, int64_t * n, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        const yapo_context & c = require_embeddings(context, "yapo_context_embedding_size");
        if (!n) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_context_embedding_size: n must be given");
        }
        *n = size_of(c);
    });
}

yapo_status yapo_context_embedding(const yapo_context * context, int32_t sequence, float * out, int64_t n, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        const yapo_context & c = require_embeddings(context, "yapo_context_embedding");
        if (!out || n != size_of(c)) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_context_embedding: room for %lld floats, expected %lld", (long long) n, (long long) size_of(c));
        }
        if (sequence < 0 || sequence >= c.n_seq_max) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "sequence is %d, expected 0 to %d (n_seq_max of the context is %d)", sequence, c.n_seq_max - 1, c.n_seq_max);
        }
        const float * pooled = c.outputs.empty() ? nullptr : llama_get_embeddings_seq(c.handle.get(), sequence);
        if (!pooled) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "sequence %d was not in the last decode, or it failed", sequence);
        }
        memcpy(out, pooled, size_t(n) * sizeof(float));
    });
}

} // extern "C"
