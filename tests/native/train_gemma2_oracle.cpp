#include "train_gemma2_oracle.h"

#include "harness.h"

#include "ggml.h"
#include "gguf.h"

#include <algorithm>
#include <cmath>

namespace yapo_test {

namespace {

using matrix = gemma2_oracle::matrix;

std::vector<double> times(const std::vector<double> & w, const std::vector<double> & x, int n_out) {
    std::vector<double> y(n_out);
    for (int o = 0; o < n_out; ++o) {
        double sum = 0;
        for (size_t i = 0; i < x.size(); ++i) {
            sum += w[o * x.size() + i] * x[i];
        }
        y[o] = sum;
    }
    return y;
}

std::vector<double> norm(const std::vector<double> & x, const std::vector<double> & w, double eps) {
    double sum = 0;
    for (double v : x) {
        sum += v * v;
    }
    const double scale = 1 / std::sqrt(sum / x.size() + eps);
    std::vector<double> y(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
        y[i] = x[i] * scale * w[i];
    }
    return y;
}

double gelu(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }

} // namespace

gemma2_oracle::gemma2_oracle(const std::string & path) {
    ggml_context * data = nullptr;
    gguf_context * g = gguf_init_from_file(path.c_str(), {false, &data});
    CHECK(g && data);
    const auto u32 = [&](const char * key) {
        const int64_t id = gguf_find_key(g, key);
        CHECK_MSG(id >= 0, "%s", key);
        return int(gguf_get_val_u32(g, id));
    };
    d_model = u32("gemma2.embedding_length"); n_layer = u32("gemma2.block_count"); n_head = u32("gemma2.attention.head_count");
    n_head_kv = u32("gemma2.attention.head_count_kv"); head_dim = u32("gemma2.attention.key_length"); n_ff = u32("gemma2.feed_forward_length");
    window = u32("gemma2.attention.sliding_window");
    for (ggml_tensor * t = ggml_get_first_tensor(data); t; t = ggml_get_next_tensor(data, t)) {
        if (std::string(t->name).find("weight") == std::string::npos) {
            continue; // the context's own blob
        }
        CHECK(t->type == GGML_TYPE_F32);
        const float * p = static_cast<const float *>(t->data);
        weights[t->name] = std::vector<double>(p, p + ggml_nelements(t));
    }
    n_vocab = int(weights.at("token_embd.weight").size()) / d_model;
    gguf_free(g);
    ggml_free(data);
}

matrix gemma2_oracle::embed(const std::vector<int32_t> & tokens) const {
    const auto & e = weights.at("token_embd.weight");
    matrix x;
    for (int32_t t : tokens) {
        std::vector<double> row(e.begin() + int64_t(t) * d_model, e.begin() + int64_t(t + 1) * d_model);
        for (double & v : row) {
            v *= std::sqrt(double(d_model));
        }
        x.push_back(row);
    }
    return x;
}

matrix gemma2_oracle::blocks(matrix x, int first, int last) const {
    const int T = int(x.size()), half = head_dim / 2, group = n_head / n_head_kv;
    for (int il = first; il < last; ++il) {
        const std::string b = "blk." + std::to_string(il) + ".";
        const auto w = [&](const char * name) -> const std::vector<double> & { return weights.at(b + name + ".weight"); };
        matrix q, k, v;
        for (int t = 0; t < T; ++t) {
            const auto n = norm(x[t], w("attn_norm"), eps);
            q.push_back(times(w("attn_q"), n, n_head * head_dim));
            k.push_back(times(w("attn_k"), n, n_head_kv * head_dim));
            v.push_back(times(w("attn_v"), n, n_head_kv * head_dim));
            for (auto * rows : {&q[t], &k[t]}) {
                for (size_t h = 0; h < rows->size() / head_dim; ++h) {
                    for (int i = 0; i < half; ++i) {
                        const double angle = t * std::pow(theta, -2.0 * i / head_dim);
                        double & a = (*rows)[h * head_dim + i];
                        double & c = (*rows)[h * head_dim + half + i];
                        const double a0 = a, c0 = c;
                        a = a0 * std::cos(angle) - c0 * std::sin(angle);
                        c = a0 * std::sin(angle) + c0 * std::cos(angle);
                    }
                }
            }
        }
        for (int t = 0; t < T; ++t) {
            std::vector<double> o(n_head * head_dim, 0.0);
            for (int h = 0; h < n_head; ++h) {
                const int base = h / group * head_dim;
                std::vector<double> p(t + 1, 0.0);
                double sum = 0;
                for (int s = 0; s <= t; ++s) {
                    if (il % 2 == 0 && t - s >= window) {
                        continue;
                    }
                    double dot = 0;
                    for (int i = 0; i < head_dim; ++i) {
                        dot += q[t][h * head_dim + i] * k[s][base + i];
                    }
                    p[s] = std::exp(attention_cap * std::tanh(dot / std::sqrt(double(head_dim)) / attention_cap));
                    sum += p[s];
                }
                for (int s = 0; s <= t; ++s) {
                    for (int i = 0; i < head_dim; ++i) {
                        o[h * head_dim + i] += p[s] / sum * v[s][base + i];
                    }
                }
            }
            const auto attended = norm(times(w("attn_output"), o, d_model), w("post_attention_norm"), eps);
            for (int i = 0; i < d_model; ++i) {
                x[t][i] += attended[i];
            }
            const auto n = norm(x[t], w("ffn_norm"), eps);
            auto gate = times(w("ffn_gate"), n, n_ff);
            const auto up = times(w("ffn_up"), n, n_ff);
            for (int i = 0; i < n_ff; ++i) {
                gate[i] = gelu(gate[i]) * up[i];
            }
            const auto fed = norm(times(w("ffn_down"), gate, d_model), w("post_ffw_norm"), eps);
            for (int i = 0; i < d_model; ++i) {
                x[t][i] += fed[i];
            }
        }
    }
    return x;
}

matrix gemma2_oracle::logits(const matrix & x) const {
    matrix out;
    for (const auto & row : x) {
        auto l = times(weights.at("token_embd.weight"), norm(row, weights.at("output_norm.weight"), eps), n_vocab);
        for (double & v : l) {
            v = final_cap * std::tanh(v / final_cap);
        }
        out.push_back(l);
    }
    return out;
}

double gemma2_oracle::loss(const matrix & x, const std::vector<int32_t> & target) const {
    double loss = 0;
    for (size_t t = 0; t < x.size(); ++t) {
        if (target[t] < 0) {
            continue;
        }
        const auto l = logits({x[t]})[0];
        double sum = 0;
        for (double v : l) {
            sum += std::exp(v);
        }
        loss += std::log(sum) - l[target[t]];
    }
    return loss;
}

} // namespace yapo_test
