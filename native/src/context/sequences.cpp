// Removing and sharing the cells of sequences.
#include "context/context.h"

namespace yapo {
namespace {

void check_sequence(const yapo_context & c, const char * what, int32_t s) {
    if (s < 0 || s >= c.n_seq_max) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "%s is %d, expected 0 to %d (n_seq_max of the context is %d)", what, s, c.n_seq_max - 1, c.n_seq_max);
    }
}

void check_range(int32_t p0, int32_t p1) {
    if (p0 < 0 || (p1 >= 0 && p1 < p0)) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "positions [%d, %d) are no range: expected 0 <= p0 <= p1, or p1 < 0 for the end", p0, p1);
    }
}

void remove(yapo_context & c, int32_t sequence, int32_t p0, int32_t p1) {
    llama_memory_t memory = llama_get_memory(c.handle.get());
    const int32_t  last   = llama_memory_seq_pos_max(memory, sequence);
    if (last < p0 || p0 == p1) {
        return; // nothing there
    }
    if (p1 >= 0 && p1 <= last && p0 > llama_memory_seq_pos_min(memory, sequence)) {
        // A hole would stay: attention would still be right, but no batch could ever fill it again.
        fail(YAPO_ERR_INVALID_ARGUMENT, "removing [%d, %d) of sequence %d would leave a hole before position %d; remove to the end and evaluate the rest again", p0, p1, sequence, last);
    }
    if (!llama_memory_seq_rm(memory, sequence, p0, p1)) {
        fail(YAPO_ERR_UNSUPPORTED, "this model's memory (recurrent states) cannot forget only positions [%d, %d) of sequence %d; remove the whole sequence", p0, p1, sequence);
    }
}

} // namespace
} // namespace yapo

extern "C" {

yapo_status yapo_context_remove(yapo_context * context, int32_t sequence, int32_t p0, int32_t p1, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        yapo_context & c = require(context, "yapo_context_remove");
        check_range(p0, p1);
        if (sequence >= 0) {
            check_sequence(c, "sequence", sequence);
            remove(c, sequence, p0, p1);
            return;
        }
        for (int32_t s = 0; s < c.n_seq_max; ++s) {
            remove(c, s, p0, p1);
        }
    });
}

yapo_status yapo_context_copy(yapo_context * context, int32_t src, int32_t dst, int32_t p0, int32_t p1, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        yapo_context & c = require(context, "yapo_context_copy");
        check_sequence(c, "src", src);
        check_sequence(c, "dst", dst);
        check_range(p0, p1);
        llama_memory_t memory = llama_get_memory(c.handle.get());
        const int32_t  last   = llama_memory_seq_pos_max(memory, src);
        if (src == dst || last < p0 || p0 == p1) {
            return;
        }
        const int32_t free_from = llama_memory_seq_pos_max(memory, dst) + 1;
        if (p0 != free_from) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "sequence %d holds positions up to %d, so cells from %d on cannot be shared with it; expected p0 = %d (remove what is there first)",
                 dst, free_from - 1, p0, free_from);
        }
        const bool whole = p0 == 0 && (p1 < 0 || p1 > last);
        if (!whole && (llama_model_is_recurrent(c.model.get()) || llama_model_is_hybrid(c.model.get()))) {
            fail(YAPO_ERR_UNSUPPORTED, "this model's memory (recurrent states) can only be copied whole, not [%d, %d)", p0, p1);
        }
        llama_memory_seq_cp(memory, src, dst, p0, p1);
    });
}

} // extern "C"
