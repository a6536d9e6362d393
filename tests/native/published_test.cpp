// Promise: libyapo-stock steers a llama.cpp as others published it, unpatched, to the same result as our graph. The libllama is that of
// the npm package of the same release (CMake target yapo-published fetches it; the xunit runner builds that first). The cases
// PublishedVulkan_ need a Vulkan driver, of a GPU or Mesa's for the processor, and the target yapo-published-vulkan; PublishedCuda_ the
// target yapo-published-cuda and CUDA's libraries, NVIDIA's or those of cuda_emulator.
#include "program.h"

#include <cstdlib>
#include <filesystem>

using namespace yapo_test;
namespace fs = std::filesystem;

namespace {

// kind: "", "-vulkan" or "-cuda", as the target that fetches it is called
std::string published_libllama(const std::string & kind) {
    const std::string directory = YAPO_PUBLISHED_DIR + kind;
    std::error_code ignored;
    for (const fs::directory_entry & file : fs::directory_iterator(directory, ignored)) {
        const std::string name = file.path().filename().string();
        if (name.rfind("libllama.", 0) == 0) {
            return file.path().string();
        }
    }
    FAIL("%s holds no libllama: build the CMake target yapo-published%s", directory.c_str(), kind.c_str());
}

outcome run(const std::string & model, const std::vector<steer> & vectors, const std::vector<float> & strengths) {
    return run_program("yapo-native-tests-published", published_libllama(""), model, vectors, strengths);
}

// All blocks on the first device of the package for it.
struct published_device {
    const char * kind;
    const char * name;
    double       tolerance; // of logits, of the largest

    outcome run(const std::string & model, const std::vector<steer> & vectors, const std::vector<float> & strengths) const {
        setenv("GGML_VK_VISIBLE_DEVICES", "0", 0); // ggml-vulkan hides drivers for the processor
        return run_program("yapo-native-tests-published", published_libllama(kind), model, vectors, strengths, name);
    }
};
// F16 in the products of both. Measured: 1.2e-3 with Mesa 22.3's software driver, 1.5e-3 on the emulated CUDA device.
const published_device vulkan = {"-vulkan", "Vulkan0", 5e-3}, cuda = {"-cuda", "CUDA0", 5e-3};

std::vector<steer> vectors() {
    static const dictionary sae(64, 96, 3);
    steer a = sae.vector(0, 40, 1), b = sae.vector(0, 33, 2), c = sae.vector(2, 64, 3);
    a.sae_id = b.sae_id = 11;
    return {a, b, c, random_dense(3, 64, 7)};
}

void check_against_our_cpu(const published_device & device) {
    const std::vector<float> strengths = {1.0f, -0.7f, 1.5f, 0.3f};
    for (const char * arch : {"gemma2", "llama"}) {
        random_model spec;
        spec.arch = arch;
        const std::string path    = write_random_model(spec, scratch("published.gguf"));
        const auto        plain   = succeed(device.run(path, {}, {}));
        const auto        steered = succeed(device.run(path, vectors(), strengths));
        CHECK(compare(plain.data(), steered.data(), int64_t(plain.size())).max_abs > 1e-2);
        check_close("unsteered, published on the device against ours on the CPU", plain, in_graph(path, {}, {}), device.tolerance);
        check_close("steered, published on the device against our graph on the CPU", steered, in_graph(path, vectors(), strengths), device.tolerance);
    }
}

void check_strength_zero(const published_device & device) {
    const std::string path = write_random_model({}, scratch("published.gguf"));
    check_same_bits("strength 0 against no callback", succeed(device.run(path, vectors(), {0, 0, 0, 0})), succeed(device.run(path, {}, {})));
}

} // namespace

YAPO_TEST(Published_AgreesWithInGraph) {
    const std::vector<float> strengths = {1.0f, -0.7f, 1.5f, 0.3f};
    for (const char * arch : {"gemma2", "llama", "qwen3"}) {
        random_model spec;
        spec.arch = arch;
        const std::string path  = write_random_model(spec, scratch("published.gguf"));
        const auto        plain = succeed(run(path, {}, {}));
        const auto        steered = succeed(run(path, vectors(), strengths));
        CHECK(compare(plain.data(), steered.data(), int64_t(plain.size())).max_abs > 1e-2);
        // other compilers and instruction sets: not the same bits even without steering
        check_close("unsteered, published against ours", plain, in_graph(path, {}, {}), 1e-3);
        check_close("steered, published through the callback against our graph", steered, in_graph(path, vectors(), strengths), 1e-3);
    }
}

YAPO_TEST(Published_StrengthZero_SameBitsAsWithoutCallback) {
    const std::string path = write_random_model({}, scratch("published.gguf"));
    check_same_bits("strength 0 against no callback", succeed(run(path, vectors(), {0, 0, 0, 0})), succeed(run(path, {}, {})));
}

YAPO_TEST(Published_ArchitectureWithoutTheTensor_IsRefused) {
    random_model spec;
    spec.arch = "gemma3n";
    const outcome o = run(write_random_model(spec, scratch("published.gguf")), {random_dense(1, 64, 1)}, {1.0f});
    CHECK_EQ(o.exit_code, 3);
    CHECK_MSG(o.message.find("layer 1 cannot be steered") != std::string::npos, "%s", o.message.c_str());
}

YAPO_TEST(PublishedVulkan_AgreesWithInGraphOnCpu) { check_against_our_cpu(vulkan); }
YAPO_TEST(PublishedVulkan_StrengthZero_SameBitsAsWithoutCallback) { check_strength_zero(vulkan); }
YAPO_TEST(PublishedCuda_AgreesWithInGraphOnCpu) { check_against_our_cpu(cuda); }
YAPO_TEST(PublishedCuda_StrengthZero_SameBitsAsWithoutCallback) { check_strength_zero(cuda); }
