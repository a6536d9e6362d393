// The process-wide side of llama.cpp: starting its backends once, and its log.
#pragma once

#include <string>

namespace yapo {

// Starts ggml's backends on the first call; every function that touches llama.cpp calls it. Any thread.
void start_runtime();

// Collects what llama.cpp logs at warning level or above on this thread while alive, so that a failure can say why.
// Captures nest: the innermost one gets the line.
class log_capture {
public:
    log_capture();
    ~log_capture();
    log_capture(const log_capture &) = delete;
    log_capture & operator=(const log_capture &) = delete;

    void add(const char * line);
    // "" or ": first line; second line; ..." - made to be appended to an error message.
    std::string suffix() const;
    bool contains(const char * text) const { return lines.find(text) != std::string::npos; }

private:
    log_capture * outer;
    std::string   lines; // joined by "; "
};

} // namespace yapo
