// Runs a piece of work on a thread with a stack of a chosen size: for code of others that recurses with its input.
#pragma once

#include <cstddef>
#include <functional>

namespace yapo {

// Runs work() to its end on a new thread with at least `bytes` of stack; exceptions arrive here as if called directly.
// Fails with YAPO_ERR_OUT_OF_MEMORY where the system refuses such a stack.
void with_stack(size_t bytes, const std::function<void()> & work);

} // namespace yapo
