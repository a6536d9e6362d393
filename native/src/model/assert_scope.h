// The net under the checks: inside a scope, a failed ggml assert on the same thread becomes a C++ exception instead of the
// end of the process. llama.cpp asserts on some files that are well-formed but absurd, in more places than can be listed.
#pragma once

namespace yapo {

// While alive on a thread, ggml asserts there throw std::runtime_error with the assert's text. ggml's own state may stay
// behind (memory, not locks), so this is for paths that give up: loading, creating a context, building a graph. Asserts on
// other threads and inside a computation still end the process, with a message.
class assert_scope {
public:
    assert_scope();
    ~assert_scope();
    assert_scope(const assert_scope &) = delete;
    assert_scope & operator=(const assert_scope &) = delete;
};

// Installs the callback, once per process. What a host process set before is still called where nothing is caught.
void install_assert_callback();

} // namespace yapo
