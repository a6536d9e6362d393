// GGML_BACKEND_PATH: a backend that others built. What is computed on one: the cases Device_ with the variable set.
#include "harness.h"

#include <cstdlib>

using namespace yapo_test;

namespace {

// What `yapo-native-tests --devices` says with the variable set to `path`: a process of its own, because the variable is read once.
std::string devices_with(const std::string & path) {
    const std::string command = "GGML_BACKEND_PATH='" + path + "' \"" + executable() + "\" --devices 2>/dev/null";
    FILE * out = popen(command.c_str(), "r");
    CHECK(out);
    std::string said;
    for (int c; (c = fgetc(out)) != EOF;) said += char(c);
    pclose(out);
    return said;
}

} // namespace

YAPO_TEST(PlugIn_None_OnlyTheBuildsOwnDevices) {
    const std::string said = devices_with("");
    CHECK_MSG(said.find("\"name\": \"CPU\"") != std::string::npos, "%s", said.c_str());
}

YAPO_TEST(PlugIn_CannotBeLoaded_EveryCallSaysSo) {
    const std::string absent = devices_with("/nowhere/libggml-none.so");
    const size_t      first  = absent.find("GGML_BACKEND_PATH=/nowhere/libggml-none.so cannot be loaded");
    CHECK_MSG(first != std::string::npos, "%s", absent.c_str());
    CHECK_MSG(absent.find("cannot be loaded", first + 60) != std::string::npos, "the second call: %s", absent.c_str());
    CHECK_MSG(absent.find("unset the variable") != std::string::npos, "%s", absent.c_str());

    const std::string path = scratch("libggml-text.so");
    FILE * file = fopen(path.c_str(), "w");
    CHECK(file);
    fputs("no library", file);
    fclose(file);
    const std::string damaged = devices_with(path);
    CHECK_MSG(damaged.find(path + " cannot be loaded") != std::string::npos, "%s", damaged.c_str());
}
