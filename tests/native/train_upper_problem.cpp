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
