// The random models are what they claim: llama.cpp loads every architecture, and a seed gives the same bytes.
#include "harness.h"
#include "random_model.h"

#include "llama.h"

#include <fstream>
#include <iterator>

using namespace yapo_test;

namespace {

std::string bytes_of(const std::string & path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void loads(const char * arch) {
    random_model m;
    m.arch = arch;
    const std::string path = write_random_model(m, scratch(std::string(arch) + ".gguf"));
    llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = 0;
    llama_model * model = llama_model_load_from_file(path.c_str(), params);
    CHECK_MSG(model, "llama.cpp refused the random %s model", arch);
    CHECK_EQ(llama_model_n_embd(model), m.d_model);
    CHECK_EQ(llama_model_n_layer(model), m.n_layer);
    llama_model_free(model);
}

} // namespace

YAPO_TEST(RandomModel_Gemma2_Loads) { loads("gemma2"); }
YAPO_TEST(RandomModel_Gemma3_Loads) { loads("gemma3"); }
YAPO_TEST(RandomModel_Llama_Loads)  { loads("llama"); }
YAPO_TEST(RandomModel_Qwen3_Loads)  { loads("qwen3"); }
YAPO_TEST(RandomModel_Gemma3n_Loads) { loads("gemma3n"); }
YAPO_TEST(RandomModel_Plamo2_Loads) { loads("plamo2"); }
YAPO_TEST(RandomModel_Bert_Loads)   { loads("bert"); }

YAPO_TEST(RandomModel_SameSeed_SameBytes) {
    random_model m;
    const std::string a = bytes_of(write_random_model(m, scratch("a.gguf")));
    const std::string b = bytes_of(write_random_model(m, scratch("b.gguf")));
    m.seed = 2;
    const std::string c = bytes_of(write_random_model(m, scratch("c.gguf")));
    CHECK(a == b);
    CHECK(a != c);
}
