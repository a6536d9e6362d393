// Decoding a batch: every argument is checked here, before llama.cpp could assert on it.
#include "context/context.h"
#include "model/assert_scope.h"
#include "model/runtime.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <map>

namespace yapo {
namespace {

constexpr size_t batch_size_v1 = offsetof(yapo_batch, strengths) + sizeof(const float *);

// Where each sequence of a batch begins.
using first_positions = std::map<int32_t, int32_t>;

first_positions check_batch(const yapo_context & c, const yapo_batch * b) {
    if (c.no_alloc) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "model %s was loaded with no_alloc: its sizes are known, its weights are not there to decode with", c.path.c_str());
    }
    if (!b || b->struct_size < batch_size_v1 || b->struct_size > 4096) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_context_decode: batch must be given with struct_size = sizeof(yapo_batch), %zu", sizeof(yapo_batch));
    }
    const int32_t n_batch = int32_t(llama_n_batch(c.handle.get()));
    if (b->n_tokens < 1 || b->n_tokens > n_batch) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "the batch has %d tokens, expected 1 to %d (n_batch of the context); split longer prompts", b->n_tokens, n_batch);
    }
    if (!b->tokens || !b->positions) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_context_decode: batch.tokens and batch.positions must be given");
    }
    llama_memory_t memory = llama_get_memory(c.handle.get());
    first_positions first;
    std::map<int32_t, int32_t> next;
    for (int32_t i = 0; i < b->n_tokens; ++i) {
        if (b->tokens[i] < 0 || b->tokens[i] >= c.n_vocab) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "tokens[%d] is %d, expected 0 to %d (the vocabulary of %s)", i, b->tokens[i], c.n_vocab - 1, c.path.c_str());
        }
        const int32_t s = b->sequences ? b->sequences[i] : 0;
        if (s < 0 || s >= c.n_seq_max) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "sequences[%d] is %d, expected 0 to %d (n_seq_max of the context is %d)", i, s, c.n_seq_max - 1, c.n_seq_max);
        }
        auto entry = next.find(s);
        if (entry == next.end()) {
            entry    = next.emplace(s, llama_memory_seq_pos_max(memory, s) + 1).first;
            first[s] = entry->second;
        }
        if (b->positions[i] != entry->second || entry->second == INT32_MAX) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "positions[%d] is %d, expected %d: the positions of sequence %d must continue its cache without a gap", i, b->positions[i], entry->second, s);
        }
        ++entry->second;
    }
    return first;
}

void check_strengths(const yapo_context & c, const yapo_batch & b) {
    const int64_t n = c.steering.columns();
    if (n == 0) {
        return;
    }
    if (!b.strengths) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "batch.strengths is NULL, but %lld vectors are attached: give [n_tokens, %lld] strengths", (long long) n, (long long) n);
    }
    for (int64_t i = 0; i < b.n_tokens * n; ++i) {
        if (!std::isfinite(b.strengths[i])) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "strengths[%lld, %lld] is not finite", (long long) (i / n), (long long) (i % n));
        }
    }
}

// The batch is all in the cache or not at all. True where that took what was there before it too.
bool forget(yapo_context & c, const first_positions & first) {
    llama_memory_t memory = llama_get_memory(c.handle.get());
    bool lost = false;
    for (const auto & [sequence, position] : first) {
        if (llama_memory_seq_rm(memory, sequence, position, -1) && (position == 0 || window_is_whole(c, sequence, position))) {
            continue;
        }
        llama_memory_seq_rm(memory, sequence, -1, -1); // recurrent states cannot go back a part, nor a window that the batch has moved on
        c.sequences[sequence] = {0, position > 0};
        lost = lost || position > 0;
    }
    return lost;
}

void decode(yapo_context & c, const yapo_batch & b, const first_positions & first) {
    const int32_t n = b.n_tokens;
    std::vector<int32_t>        n_seq_id(n, 1);
    std::vector<llama_seq_id>   sequence(n, 0);
    std::vector<llama_seq_id *> seq_id(n);
    std::vector<uint8_t>        outputs(n, 0);
    for (int32_t i = 0; i < n; ++i) {
        sequence[i] = b.sequences ? b.sequences[i] : 0;
        seq_id[i]   = &sequence[i];
        outputs[i]  = c.embeddings || (b.outputs ? b.outputs[i] != 0 : i == n - 1); // pooling is over outputs
    }
    llama_batch batch = {};
    batch.n_tokens = n;
    batch.token    = const_cast<llama_token *>(b.tokens);
    batch.pos      = const_cast<llama_pos *>(b.positions);
    batch.n_seq_id = n_seq_id.data();
    batch.seq_id   = seq_id.data();
    batch.logits   = reinterpret_cast<int8_t *>(outputs.data());

    log_capture  log;
    assert_scope asserts;
    if (c.remote && c.freed_seen != buffers_freed) {
        const uint64_t seen = buffers_freed;
        apply_hook(c.handle.get(), c.steering);
        c.freed_seen = seen + 1; // its own; a buffer that another thread freed meanwhile counts the next time
    }
    c.outputs.clear();
    c.cancelled.store(false, std::memory_order_relaxed);
    c.steering.begin_batch(b, sequence);
    int32_t rc = 0;
    try {
        rc = llama_decode(c.handle.get(), batch);
    } catch (...) { // a failed assert while building the graph
        c.steering.end_batch(false);
        forget(c, first);
        throw;
    }
    llama_synchronize(c.handle.get());
    const std::string missed = rc == 0 ? c.steering.missed(n) : std::string();
    c.steering.end_batch(rc == 0 && missed.empty());
    if (!missed.empty()) { // never a decode that only seems to be steered
        const bool lost = forget(c, first);
        fail(YAPO_ERR_INTERNAL, "%s; none of them is in the cache%s", missed.c_str(), lost ? ", nor what was there of their sequences" : "");
    }
    if (rc != 0) {
        const bool   lost  = rc != 1 && forget(c, first); // 1: no slot was found, nothing was written
        const char * whole = lost ? ", nor what was there of their sequences: evaluate them again" : "";
        switch (rc) {
            case 1:
                fail(YAPO_ERR_CONTEXT_FULL, "no room for %d more tokens in the context of %u; remove tokens or create a larger one", n, llama_n_ctx(c.handle.get()));
            case 2:
                fail(YAPO_ERR_CANCELLED, "the decode was cancelled; none of its %d tokens is in the cache%s", n, whole);
            case -2:
                fail(YAPO_ERR_OUT_OF_MEMORY, "llama.cpp could not allocate what a batch of %d tokens needs%s", n, log.suffix().c_str());
            default:
                fail(YAPO_ERR_INTERNAL, "llama.cpp could not decode a batch of %d tokens (code %d)%s", n, rc, log.suffix().c_str());
        }
    }
    for (const auto & [s, position] : first) {
        c.sequences[s].lost = false;
    }
    c.outputs = std::move(outputs);
    const int64_t n_ubatch = llama_n_ubatch(c.handle.get());
    c.n_graphs_computed += (n + n_ubatch - 1) / n_ubatch; // a unified cache splits batches in order; recurrent states may take more
}

} // namespace

const float * output_row(const yapo_context & c, int32_t row) {
    if (c.embeddings) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "this context gives embeddings and no logits");
    }
    if (c.outputs.empty()) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "there are no logits: the last decode failed or none was made");
    }
    if (row < 0 || size_t(row) >= c.outputs.size()) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "row is %d, expected 0 to %zu (the last batch)", row, c.outputs.size() - 1);
    }
    if (!c.outputs[row]) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "row %d of the last batch has no logits: set batch.outputs[%d]", row, row);
    }
    const float * logits = llama_get_logits_ith(c.handle.get(), row);
    if (!logits) {
        fail(YAPO_ERR_INTERNAL, "llama.cpp has no logits for row %d", row);
    }
    return logits;
}

} // namespace yapo

extern "C" {

yapo_status yapo_context_decode(yapo_context * context, const yapo_batch * batch, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        yapo_context & c = require(context, "yapo_context_decode");
        const first_positions first = check_batch(c, batch);
        check_strengths(c, *batch);
        decode(c, *batch, first);
    });
}

yapo_status yapo_context_logits(const yapo_context * context, int32_t row, float * logits, int64_t capacity, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        const yapo_context & c = require(context, "yapo_context_logits");
        if (!logits || capacity < c.n_vocab) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_context_logits: room for %lld floats, expected at least %d (the vocabulary)", (long long) capacity, c.n_vocab);
        }
        memcpy(logits, output_row(c, row), size_t(c.n_vocab) * sizeof(float));
    });
}

yapo_status yapo_context_logprobs(const yapo_context * context, int32_t row, const int32_t * ids, int64_t n, double * out, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        const yapo_context & c = require(context, "yapo_context_logprobs");
        if (n < 0 || (n > 0 && (!ids || !out))) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_context_logprobs: ids and out must be given, n must not be negative");
        }
        for (int64_t i = 0; i < n; ++i) {
            if (ids[i] < 0 || ids[i] >= c.n_vocab) {
                fail(YAPO_ERR_INVALID_ARGUMENT, "ids[%lld] is %d, expected 0 to %d (the vocabulary)", (long long) i, ids[i], c.n_vocab - 1);
            }
        }
        const float * logits = output_row(c, row);
        const double  top    = *std::max_element(logits, logits + c.n_vocab);
        double sum = 0;
        for (int32_t i = 0; i < c.n_vocab; ++i) {
            sum += std::exp(double(logits[i]) - top);
        }
        const double norm = top + std::log(sum);
        for (int64_t i = 0; i < n; ++i) {
            out[i] = double(logits[ids[i]]) - norm;
        }
    });
}

} // extern "C"
