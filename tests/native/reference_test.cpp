// Promise: without a vector, the logits are those of unpatched llama.cpp, bit for bit. And with vectors of strength 0 too.
// Needs the yapo-reference executable (CMake target of that name), found through the environment variable YAPO_REFERENCE;
// the xunit runner builds it and sets the variable.
#include "session.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

using namespace yapo_test;

namespace {

std::vector<float> unpatched(const std::string & model, const sizes & s, const std::vector<std::vector<int32_t>> & steps) {
    const char * program = getenv("YAPO_REFERENCE");
    if (!program) {
        FAIL("YAPO_REFERENCE is not set: build the CMake target yapo-reference and give its path");
    }
    const std::string in = scratch("steps.txt"), out = scratch("logits.bin");
    std::ofstream file(in);
    for (const auto & step : steps) {
        for (int32_t t : step) file << t << ' ';
        file << '\n';
    }
    file.close();
    std::ostringstream command;
    command << '"' << program << "\" \"" << model << "\" " << s.n_ctx << ' ' << s.n_batch << ' ' << (s.n_ubatch ? s.n_ubatch : s.n_batch) << ' ' << s.type_kv << ' '
            << s.flash_attention << " \"" << in << "\" \"" << out << '"';
    const int rc = std::system(command.str().c_str());
    CHECK_MSG(rc == 0, "%s ended with %d", command.str().c_str(), rc);
    std::ifstream data(out, std::ios::binary | std::ios::ate);
    std::vector<float> logits(size_t(data.tellg()) / sizeof(float));
    data.seekg(0);
    data.read(reinterpret_cast<char *>(logits.data()), std::streamsize(logits.size() * sizeof(float)));
    return logits;
}

void compare_with_unpatched(const std::string & path, int32_t n_layer, int64_t d) {
    // a prompt over several ubatches, then tokens one by one
    std::vector<std::vector<int32_t>> steps = {random_tokens(45, 3)};
    for (int32_t t : random_tokens(20, 4)) steps.push_back({t});

    for (const auto & [type_kv, flash] : {std::pair<int32_t, int32_t>{1, 0}, {0, -1}}) { // plain F32, and the defaults
        sizes s;
        s.n_ubatch = 16, s.type_kv = type_kv, s.flash_attention = flash;
        const std::vector<float> wanted = unpatched(path, s, steps);
        model m(path);
        for (bool attached : {false, true}) {
            context c(m, s);
            std::vector<float> zero;
            if (attached) {
                const dictionary sae(d, 96, 3);
                std::vector<steer> all;
                for (int32_t layer = 0; layer < n_layer; ++layer) all.push_back(sae.vector(layer, 40, layer)), all.push_back(random_dense(layer, d, layer));
                c.attach(all);
                c.capture({0, n_layer - 1}, {1, 1});
                zero.assign(all.size(), 0.0f);
            }
            std::vector<float> got;
            int32_t position = 0;
            for (const auto & step : steps) {
                c.decode(whole(step, zero, 0, position));
                position += int32_t(step.size());
                const auto x = c.logits();
                got.insert(got.end(), x.begin(), x.end());
            }
            check_same_bits(attached ? "strength 0 against unpatched llama.cpp" : "no vector against unpatched llama.cpp", got, wanted);
        }
        note("%zu logits identical", wanted.size());
    }
}

void compare_arch(const char * arch) {
    random_model spec;
    spec.arch = arch;
    compare_with_unpatched(write_random_model(spec, scratch("reference.gguf")), spec.n_layer, spec.d_model);
}

} // namespace

YAPO_TEST(Reference_Gemma2_SameBits) { compare_arch("gemma2"); }
YAPO_TEST(Reference_Gemma3_SameBits) { compare_arch("gemma3"); }
YAPO_TEST(Reference_Llama_SameBits)  { compare_arch("llama"); }
YAPO_TEST(Reference_Qwen3_SameBits)  { compare_arch("qwen3"); }

YAPO_TEST(Reference_MassiveResiduals_SameBits) {
    random_model spec;
    spec.embedding_gain = 1e6f;
    compare_with_unpatched(write_random_model(spec, scratch("reference.gguf")), spec.n_layer, spec.d_model);
}

YAPO_TEST(Reference_QuantizedGemma2_SameBits) {
    random_model spec;
    spec.d_model = 256, spec.n_ff = 512, spec.n_head = 8, spec.n_head_kv = 4, spec.head_dim = 32, spec.n_layer = 3;
    const std::string f32 = write_random_model(spec, scratch("f32.gguf"));
    for (const char * type : {"q8_0", "q4_k_m"}) {
        const std::string path = scratch(std::string(type) + ".gguf");
        OK(yapo_model_quantize(f32.c_str(), path.c_str(), type, 1, &err));
        compare_with_unpatched(path, spec.n_layer, spec.d_model);
    }
}
