#include "train_upper_problem.h"

namespace yapo_test::upper {

random_model upper_model(uint64_t seed) {
    random_model m;
    m.n_layer = 4;
    m.d_model = 64;
    m.n_head = 4;
    m.n_head_kv = 2;
    m.head_dim = 32;
    m.n_ff = 96;
    m.n_vocab = 352;
    m.sliding_window = 7;
    m.seed = seed;
    return m;
}

random_model wide_model(uint64_t seed) {
    random_model m = upper_model(seed);
    m.d_model = m.n_ff = 256;
    m.head_dim = 64;
    return m;
}

std::vector<variant> variants() {
    std::vector<variant> all;
    const auto add = [&](const char * what, const char * arch, double tolerance) -> random_model & {
        all.push_back({what, upper_model(), tolerance});
        all.back().model.arch = arch;
        return all.back().model;
    };
    add("gemma2", "gemma2", 2e-3);
    random_model & gemma3 = add("gemma3, both kinds of blocks, scaled RoPE", "gemma3", 2e-3);
    gemma3.n_layer      = 7; // block 5 sees everything, the others slide
    gemma3.rope_base    = 1e6f;
    gemma3.rope_scaling = 8.0f;
    random_model & llama = add("llama, RoPE factors, head of its own", "llama", 1e-5);
    llama.rope_base    = 5e5f;
    llama.rope_factors = true;
    llama.untied_head  = true;
    add("llama, linear RoPE scaling", "llama", 1e-5).rope_scaling = 4.0f;
    random_model & qwen2 = add("qwen2", "qwen2", 1e-5);
    qwen2.rope_base = 1e6f;
    qwen2.head_dim  = qwen2.d_model / qwen2.n_head; // llama.cpp's graph wants it so
    add("qwen3", "qwen3", 1e-5).rope_base = 1e6f;
    return all;
}

double relative_l2(const std::vector<float> & a, const std::vector<double> & b) {
    double error = 0, norm = 0;
    for (size_t i = 0; i < b.size(); ++i) {
        error += (a[i] - b[i]) * (a[i] - b[i]);
        norm += b[i] * b[i];
    }
    return std::sqrt(error / norm);
}

std::vector<double> finite_differences(const problem & p, std::vector<double> value, double multiplier, bool sparse) {
    std::vector<double> g;
    for (size_t j = 0; j < value.size(); ++j) {
        const double keep = value[j], h = 1e-5;
        value[j] = keep + h;
        const double up = p.logprob(value, multiplier, sparse);
        value[j] = keep - h;
        const double down = p.logprob(value, multiplier, sparse);
        value[j] = keep;
        g.push_back((up - down) / (2 * h));
    }
    return g;
}

void quantize(const std::string & from, const std::string & to, llama_ftype type) {
    llama_model_quantize_params q = llama_model_quantize_default_params();
    q.ftype = type;
    q.nthread = 1;
    q.allow_requantize = true; // to F32: what quantized weights stand for
    CHECK_EQ(llama_model_quantize(from.c_str(), to.c_str(), &q), 0u);
}

double cosine(const std::vector<float> & a, const std::vector<float> & b) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        ab += double(a[i]) * b[i];
        aa += double(a[i]) * a[i];
        bb += double(b[i]) * b[i];
    }
    return ab / std::sqrt(aa * bb);
}

} // namespace yapo_test::upper
