// Removing and sharing the cells of sequences.
#include "context/context.h"

#include <algorithm>

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

void check_not_lost(const yapo_context & c, int32_t sequence) {
    if (c.sequences[sequence].lost) {
        fail(YAPO_ERR_UNSUPPORTED, "sequence %d is empty: a failed decode took all of it, since this model's memory cannot go back a part; remove all of it and evaluate it again", sequence);
    }
}

// Whether the cache of every block has the positions of a sequence from `position` on, but for those that the caller removed.
bool holds_from(const yapo_context & c, int32_t sequence, int32_t position) {
    const llama_model * model = c.model.get();
    if (llama_model_n_swa(model) == 0 || llama_model_is_recurrent(model) || llama_model_is_hybrid(model)) {
        return true; // states forget all or nothing, which llama.cpp sees to itself
    }
    return llama_memory_seq_pos_min(llama_get_memory(c.handle.get()), sequence) <= std::max(c.sequences[sequence].first, position);
}

[[noreturn]] void fail_for_window(int32_t sequence, int32_t position) {
    fail(YAPO_ERR_UNSUPPORTED, "the cache no longer holds the sliding window before position %d of sequence %d; remove the whole sequence and evaluate it again", position, sequence);
}

void remove(yapo_context & c, int32_t sequence, int32_t p0, int32_t p1) {
    llama_memory_t    memory = llama_get_memory(c.handle.get());
    const int32_t     last   = llama_memory_seq_pos_max(memory, sequence);
    cached_sequence & held   = c.sequences[sequence];
    if (p0 == 0 && p1 < 0) {
        held.lost = false;
    }
    if (p0 == p1) {
        return;
    }
    check_not_lost(c, sequence);
    if (last < p0) {
        return; // nothing there
    }
    const bool to_end = p1 < 0 || p1 > last;
    if (!to_end && p0 > held.first) {
        // A hole would stay: attention would still be right, but no batch could ever fill it again.
        fail(YAPO_ERR_INVALID_ARGUMENT, "removing [%d, %d) of sequence %d would leave a hole before position %d; remove to the end and evaluate the rest again", p0, p1, sequence, last);
    }
    if (to_end && p0 > held.first && !window_is_whole(c, sequence, p0)) {
        fail_for_window(sequence, p0);
    }
    if (!llama_memory_seq_rm(memory, sequence, p0, p1)) {
        fail(YAPO_ERR_UNSUPPORTED, "this model's memory (recurrent states) cannot forget only positions [%d, %d) of sequence %d; remove the whole sequence", p0, p1, sequence);
    }
    if (p0 <= held.first) {
        held.first = to_end ? 0 : std::max(held.first, p1);
    }
}

} // namespace

bool window_is_whole(const yapo_context & c, int32_t sequence, int32_t position) { return holds_from(c, sequence, position - llama_model_n_swa(c.model.get()) + 1); }

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
        check_not_lost(c, src);
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
        // Behind the positions of dst, all of the range has to be there; alone, what its last position attends to.
        const int32_t end = p1 < 0 || p1 > last ? last + 1 : p1;
        if (!(p0 > 0 ? holds_from(c, src, p0) : window_is_whole(c, src, end))) {
            fail_for_window(src, end);
        }
        llama_memory_seq_cp(memory, src, dst, p0, p1);
        const bool copied = llama_memory_seq_pos_max(memory, dst) >= 0;
        if (p0 == 0) {
            c.sequences[dst] = {copied ? c.sequences[src].first : 0, c.sequences[dst].lost && !copied};
        }
    });
}

} // extern "C"
