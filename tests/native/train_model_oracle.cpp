#include "train_model_oracle.h"

#include "harness.h"

#include "ggml.h"
#include "gguf.h"

#include <algorithm>
#include <cmath>

namespace yapo_test {

namespace {

using matrix = model_oracle::matrix;

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

double capped(double x, double cap) { return cap > 0 ? cap * std::tanh(x / cap) : x; }

double silu(double x) { return x / (1 + std::exp(-x)); }

double gelu(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }

} // namespace

model_oracle::model_oracle(const std::string & path) {
    ggml_context * data = nullptr;
    gguf_context * g = gguf_init_from_file(path.c_str(), {false, &data});
    CHECK(g && data);
    arch = gguf_get_val_str(g, gguf_find_key(g, "general.architecture"));
    const auto u32 = [&](const char * key) {
        const int64_t id = gguf_find_key(g, (arch + "." + key).c_str());
        CHECK_MSG(id >= 0, "%s", key);
        return int(gguf_get_val_u32(g, id));
    };
    const auto f32 = [&](const char * key, double otherwise) {
        const int64_t id = gguf_find_key(g, (arch + "." + key).c_str());
        return id < 0 ? otherwise : double(gguf_get_val_f32(g, id));
    };
    d_model = u32("embedding_length"); n_layer = u32("block_count"); n_head = u32("attention.head_count");
    n_head_kv = u32("attention.head_count_kv"); head_dim = u32("attention.key_length"); n_ff = u32("feed_forward_length");
    theta = f32("rope.freq_base", 10000);
    theta_window = arch == "gemma3" ? 10000 : theta;
    position_scale = 1 / f32("rope.scaling.factor", 1);
    if (arch == "gemma2" || arch == "gemma3") {
        window = u32("attention.sliding_window");
        window_pattern = arch == "gemma2" ? 2 : 6;
    }
    if (arch == "gemma2") {
        attention_cap = 50;
        final_cap = 30;
    }
    for (ggml_tensor * t = ggml_get_first_tensor(data); t; t = ggml_get_next_tensor(data, t)) {
        if (std::string(t->name).find("weight") == std::string::npos && std::string(t->name).find("bias") == std::string::npos) {
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

matrix model_oracle::embed(const std::vector<int32_t> & tokens) const {
    const auto & e = weights.at("token_embd.weight");
    matrix x;
    for (int32_t t : tokens) {
        std::vector<double> row(e.begin() + int64_t(t) * d_model, e.begin() + int64_t(t + 1) * d_model);
        for (double & v : row) {
            v *= arch == "gemma2" || arch == "gemma3" ? std::sqrt(double(d_model)) : 1.0;
        }
        x.push_back(row);
    }
    return x;
}

double model_oracle::angle(int il, int position, int i) const {
    const auto factors = weights.find("rope_freqs.weight");
    const double at = position * (slides(il) && arch == "gemma3" ? 1.0 : position_scale) * std::pow(slides(il) ? theta_window : theta, -2.0 * i / head_dim);
    return factors == weights.end() ? at : at / factors->second[i];
}

void model_oracle::rotate(std::vector<double> & heads, int il, int position) const {
    const bool interleaved = arch == "llama";
    for (size_t h = 0; h < heads.size() / head_dim; ++h) {
        for (int i = 0; i < head_dim / 2; ++i) {
            const double turn = angle(il, position, i);
            double & a = heads[h * head_dim + (interleaved ? 2 * i : i)];
            double & c = heads[h * head_dim + (interleaved ? 2 * i + 1 : i + head_dim / 2)];
            const double a0 = a, c0 = c;
            a = a0 * std::cos(turn) - c0 * std::sin(turn);
            c = a0 * std::sin(turn) + c0 * std::cos(turn);
        }
    }
}

matrix model_oracle::blocks(matrix x, int first, int last) const {
    const int T = int(x.size()), group = n_head / n_head_kv;
    for (int il = first; il < last; ++il) {
        const std::string b = "blk." + std::to_string(il) + ".";
        const auto w = [&](const char * name) -> const std::vector<double> & { return weights.at(b + name + ".weight"); };
        const auto projected = [&](const std::string & name, const std::vector<double> & n, int heads) {
            auto y = times(w(name.c_str()), n, heads * head_dim);
            const auto bias = weights.find(b + name + ".bias");
            for (size_t i = 0; bias != weights.end() && i < y.size(); ++i) {
                y[i] += bias->second[i];
            }
            const auto scale = weights.find(b + name + "_norm.weight");
            for (int h = 0; scale != weights.end() && h < heads; ++h) {
                const auto head = norm({y.begin() + h * head_dim, y.begin() + (h + 1) * head_dim}, scale->second, eps);
                std::copy(head.begin(), head.end(), y.begin() + h * head_dim);
            }
            return y;
        };
        const auto after = [&](const std::vector<double> & y, const char * name) {
            const auto scale = weights.find(b + name + ".weight");
            return scale == weights.end() ? y : norm(y, scale->second, eps);
        };
        matrix q, k, v;
        for (int t = 0; t < T; ++t) {
            const auto n = norm(x[t], w("attn_norm"), eps);
            q.push_back(projected("attn_q", n, n_head));
            k.push_back(projected("attn_k", n, n_head_kv));
            v.push_back(projected("attn_v", n, n_head_kv));
            rotate(q[t], il, t);
            rotate(k[t], il, t);
        }
        for (int t = 0; t < T; ++t) {
            std::vector<double> o(n_head * head_dim, 0.0);
            for (int h = 0; h < n_head; ++h) {
                const int base = h / group * head_dim;
                std::vector<double> p(t + 1, 0.0);
                double sum = 0;
                for (int s = 0; s <= t; ++s) {
                    if (slides(il) && t - s >= window) {
                        continue;
                    }
                    double dot = 0;
                    for (int i = 0; i < head_dim; ++i) {
                        dot += q[t][h * head_dim + i] * k[s][base + i];
                    }
                    p[s] = std::exp(capped(dot / std::sqrt(double(head_dim)), attention_cap));
                    sum += p[s];
                }
                for (int s = 0; s <= t; ++s) {
                    for (int i = 0; i < head_dim; ++i) {
                        o[h * head_dim + i] += p[s] / sum * v[s][base + i];
                    }
                }
            }
            const auto attended = after(times(w("attn_output"), o, d_model), "post_attention_norm");
            for (int i = 0; i < d_model; ++i) {
                x[t][i] += attended[i];
            }
            const auto n = norm(x[t], w("ffn_norm"), eps);
            auto gate = times(w("ffn_gate"), n, n_ff);
            const auto up = times(w("ffn_up"), n, n_ff);
            for (int i = 0; i < n_ff; ++i) {
                gate[i] = (window > 0 ? gelu(gate[i]) : silu(gate[i])) * up[i]; // the Gemmas slide
            }
            const auto fed = after(times(w("ffn_down"), gate, d_model), "post_ffw_norm");
            for (int i = 0; i < d_model; ++i) {
                x[t][i] += fed[i];
            }
        }
    }
    return x;
}

matrix model_oracle::logits(const matrix & x) const {
    matrix out;
    const auto head = weights.find("output.weight");
    for (const auto & row : x) {
        auto l = times(head == weights.end() ? weights.at("token_embd.weight") : head->second, norm(row, weights.at("output_norm.weight"), eps), n_vocab);
        for (double & v : l) {
            v = capped(v, final_cap);
        }
        out.push_back(l);
    }
    return out;
}

double model_oracle::loss(const matrix & x, const std::vector<int32_t> & target) const {
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
