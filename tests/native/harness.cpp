#include "harness.h"

#include "llama.h"
#include "rpc_server.h"

#include <cstdarg>
#include <cstring>
#include <exception>
#include <filesystem>
#include <limits>
#include <random>
#include <system_error>

namespace fs = std::filesystem;

namespace yapo_test {

namespace {

struct entry {
    const char * name;
    void (*body)();
};

std::vector<entry> & entries() {
    static std::vector<entry> all;
    return all;
}

// Removed when the process ends in an orderly way.
struct scratch_directory {
    fs::path path;
    scratch_directory() {
        std::random_device seed;
        path = fs::temp_directory_path() / ("yapo-native-tests-" + std::to_string((uint64_t(seed()) << 32) | seed()));
        fs::create_directories(path);
    }
    ~scratch_directory() {
        std::error_code ignored;
        fs::remove_all(path, ignored);
    }
};

std::string vformat(const char * fmt, va_list args) {
    char buffer[4096];
    vsnprintf(buffer, sizeof buffer, fmt, args);
    return buffer;
}

// Errors and warnings only: a failing test should not drown in load messages.
void log_line(ggml_log_level level, const char * text, void *) {
    static bool printing = false; // a continuation line belongs to the one before it
    if (level != GGML_LOG_LEVEL_CONT) {
        printing = level == GGML_LOG_LEVEL_ERROR || level == GGML_LOG_LEVEL_WARN;
    }
    if (printing) {
        fputs(text, stdout);
    }
}

// Twice: a start that failed must go on failing.
int show_devices() {
    int failures = 0;
    for (int i = 0; i < 2; ++i) {
        char *       json = nullptr;
        yapo_error * err  = nullptr;
        failures += yapo_devices(&json, &err) != YAPO_OK;
        printf("%s\n", json ? json : yapo_error_message(err));
        yapo_string_free(json);
        yapo_error_free(err);
    }
    return failures != 0;
}

int run(const entry & test) {
    const int64_t before = yapo_live_handles();
    try {
        test.body();
    } catch (const std::exception & e) {
        printf("FAILED %s\n%s\n", test.name, e.what());
        return 1;
    }
    const int64_t leaked = yapo_live_handles() - before;
    if (leaked != 0) {
        printf("FAILED %s\n%lld native handles are still alive at the end of the test\n", test.name, (long long) leaked);
        return 1;
    }
    printf("passed %s\n", test.name);
    return 0;
}

} // namespace

registration::registration(const char * name, void (*body)()) { entries().push_back({name, body}); }

void fail(const char * file, int line, const std::string & what) {
    const char * base = strrchr(file, '/');
    throw failed(std::string(base ? base + 1 : file) + ":" + std::to_string(line) + ": " + what);
}

std::string format(const char * fmt, ...) {
    va_list args;
    va_start(args, fmt);
    std::string s = vformat(fmt, args);
    va_end(args);
    return s;
}

void note(const char * fmt, ...) {
    va_list args;
    va_start(args, fmt);
    printf("  %s\n", vformat(fmt, args).c_str());
    va_end(args);
}

std::string scratch(const std::string & file_name) {
    static scratch_directory directory;
    return (directory.path / file_name).string();
}

static std::string program;

const std::string & executable() { return program; }

void expect_ok(const char * file, int line, const char * what, yapo_status status, yapo_error * err) {
    if (status == YAPO_OK) {
        return;
    }
    const std::string message = format("%s: status %d: %s", what, int(status), yapo_error_message(err));
    yapo_error_free(err);
    fail(file, line, message);
}

std::string expect_error(const char * file, int line, const char * what, yapo_status status, yapo_error * err, yapo_status expected, const std::string & part) {
    const std::string message = yapo_error_message(err);
    const bool        present = err != nullptr;
    yapo_error_free(err);
    if (status != expected || !present || message.find(part) == std::string::npos) {
        fail(file, line, format("%s: expected status %d with '%s' in its message, found status %d: %s", what, int(expected), part.c_str(), int(status), message.c_str()));
    }
    return message;
}

difference compare(const float * a, const float * b, int64_t n) {
    difference d;
    for (int64_t i = 0; i < n; ++i) {
        if (memcmp(a + i, b + i, sizeof(float)) == 0) {
            continue;
        }
        ++d.bits;
        double gap = std::fabs(double(a[i]) - double(b[i]));
        if (std::isnan(gap)) {
            gap = std::numeric_limits<double>::infinity();
        }
        if (d.index < 0 || gap > d.max_abs) {
            d.max_abs = gap;
            d.index   = i;
        }
    }
    return d;
}

} // namespace yapo_test

int main(int argc, char ** argv) {
    using namespace yapo_test;
    program = fs::absolute(argv[0]).string();
    llama_log_set(log_line, nullptr);
    setvbuf(stdout, nullptr, _IOLBF, 1 << 16);
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (const entry & test : entries()) {
            printf("%s\n", test.name);
        }
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--devices") == 0) {
        return show_devices();
    }
    if (argc == 2 && strcmp(argv[1], "--build-directory") == 0) { // of CMake: where on-demand targets are built
        printf("%s\n", YAPO_NATIVE_BUILD_DIR);
        return 0;
    }
#if defined(YAPO_PUBLISHED_DIR)
    if (argc == 2 && strcmp(argv[1], "--published-directory") == 0) { // where the target yapo-published puts its libraries; yapo-published-vulkan: with "-vulkan" behind it
        printf("%s\n", YAPO_PUBLISHED_DIR);
        return 0;
    }
#endif
#if !defined(_WIN32)
    if (argc == 3 && strcmp(argv[1], "--rpc-server") == 0) {
        return serve_rpc(argv[2]);
    }
#endif
    if (argc == 3 && strcmp(argv[1], "--run") == 0) {
        for (const entry & test : entries()) {
            if (strcmp(test.name, argv[2]) == 0) {
                return run(test);
            }
        }
        fprintf(stderr, "no test is called '%s'; --list names them all\n", argv[2]);
        return 2;
    }
    if (argc == 1) { // all of them in one process: quick, but a crash ends it
        int bad = 0;
        for (const entry & test : entries()) {
            bad += run(test);
        }
        printf("%zu run, %d failed\n", entries().size(), bad);
        return bad != 0;
    }
    fprintf(stderr, "usage: yapo-native-tests [--list | --run NAME | --devices | --build-directory | --published-directory]\n");
    return 2;
}
