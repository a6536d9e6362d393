#include "steering_gemma2_oracle.h"

#include "ggml-cpp.h"
#include "ggml.h"
#include "gguf.h"

#include <cstring>

namespace yapo_test {

using vec = std::vector<double>;

namespace {

vec product(const std::vector<float> & w, const vec & x) { // w: rows of x.size()
    const size_t n = x.size();
    vec y(w.size() / n, 0.0);
    for (size_t r = 0; r < y.size(); ++r) {
        for (size_t i = 0; i < n; ++i) y[r] += double(w[r * n + i]) * x[i];
    }
    return y;
}

vec rms_norm(const vec & x, const std::vector<float> & w) {
    double sum = 0;
    for (double v : x) sum += v * v;
    const double scale = 1.0 / std::sqrt(sum / double(x.size()) + 1e-6);
    vec y(x.size());
    for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * scale * w[i];
    return y;
}

double gelu(double x, bool table) {
    const auto f = [](double v) { return 0.5 * v * (1.0 + std::tanh(0.79788456080286535587989211986876 * v * (1.0 + 0.044715 * v * v))); };
    if (!table) return f(x);
    if (x <= -10.0) return 0.0;
    if (x >= 10.0) return x;
    return double(ggml_fp16_to_fp32(ggml_fp32_to_fp16(float(f(double(ggml_fp16_to_fp32(ggml_fp32_to_fp16(float(x)))))))));
}

// Pairs (i, i + n/2), angle p * 10000^(-2i/n).
void rope(double * x, int32_t n, int32_t position) {
    for (int32_t i = 0; i < n / 2; ++i) {
        const double a = position * std::pow(10000.0, -2.0 * i / n), c = std::cos(a), s = std::sin(a);
        const double u = x[i], v = x[i + n / 2];
        x[i]         = u * c - v * s;
        x[i + n / 2] = u * s + v * c;
    }
}

} // namespace

steered_gemma2::steered_gemma2(const std::string & path) {
    ggml_context * data = nullptr;
    gguf_context_ptr file(gguf_init_from_file(path.c_str(), {false, &data}));
    ggml_context_ptr owner(data);
    CHECK(file != nullptr);
    const auto u32 = [&](const char * key) { return int32_t(gguf_get_val_u32(file.get(), gguf_find_key(file.get(), (std::string("gemma2.") + key).c_str()))); };
    layers = u32("block_count"), d = u32("embedding_length"), heads = u32("attention.head_count"), heads_kv = u32("attention.head_count_kv");
    head_dim = u32("attention.key_length"), ffn = u32("feed_forward_length"), window = u32("attention.sliding_window");
    for (ggml_tensor * t = ggml_get_first_tensor(data); t; t = ggml_get_next_tensor(data, t)) {
        if (t->type != GGML_TYPE_F32) continue; // the blob that holds the data
        std::vector<float> x(size_t(ggml_nelements(t)));
        memcpy(x.data(), t->data, x.size() * sizeof(float));
        tensors[t->name] = std::move(x);
    }
    vocab = int32_t(weight("token_embd").size() / size_t(d));
}

std::vector<double> steered_gemma2::forward(const std::vector<int32_t> & tokens, const std::vector<steer> & vectors, const std::vector<float> & strengths, bool gelu_table) const {
    const int32_t n = int32_t(tokens.size());
    std::vector<vec> x(n, vec(d));
    for (int32_t t = 0; t < n; ++t) {
        for (int32_t i = 0; i < d; ++i) x[t][i] = double(weight("token_embd")[size_t(tokens[t]) * d + i]) * std::sqrt(double(d));
    }
    for (int32_t l = 0; l < layers; ++l) {
        std::vector<vec> q(n), k(n), v(n);
        for (int32_t t = 0; t < n; ++t) {
            const vec h = rms_norm(x[t], weight(l, "attn_norm"));
            q[t] = product(weight(l, "attn_q"), h);
            k[t] = product(weight(l, "attn_k"), h);
            v[t] = product(weight(l, "attn_v"), h);
            for (int32_t a = 0; a < heads; ++a) rope(&q[t][a * head_dim], head_dim, t);
            for (int32_t a = 0; a < heads_kv; ++a) rope(&k[t][a * head_dim], head_dim, t);
        }
        for (int32_t t = 0; t < n; ++t) {
            vec mixed(size_t(heads) * head_dim, 0.0);
            for (int32_t a = 0; a < heads; ++a) {
                const int32_t b = a / (heads / heads_kv); // grouped queries
                const int32_t first = l % 2 == 0 ? std::max(0, t - window + 1) : 0; // even blocks: sliding window
                vec p(t + 1, 0.0);
                double top = -1e300, sum = 0;
                for (int32_t u = first; u <= t; ++u) {
                    double s = 0;
                    for (int32_t i = 0; i < head_dim; ++i) s += q[t][a * head_dim + i] * k[u][b * head_dim + i];
                    p[u] = 50.0 * std::tanh(s / std::sqrt(double(head_dim)) / 50.0);
                    top  = std::max(top, p[u]);
                }
                for (int32_t u = first; u <= t; ++u) sum += p[u] = std::exp(p[u] - top);
                for (int32_t u = first; u <= t; ++u) {
                    for (int32_t i = 0; i < head_dim; ++i) mixed[a * head_dim + i] += p[u] / sum * v[u][b * head_dim + i];
                }
            }
            const vec attention = rms_norm(product(weight(l, "attn_output"), mixed), weight(l, "post_attention_norm"));
            for (int32_t i = 0; i < d; ++i) x[t][i] += attention[i];
            const vec h = rms_norm(x[t], weight(l, "ffn_norm"));
            vec gate = product(weight(l, "ffn_gate"), h), up = product(weight(l, "ffn_up"), h);
            for (int32_t i = 0; i < ffn; ++i) up[i] *= gelu(gate[i], gelu_table);
            const vec down = rms_norm(product(weight(l, "ffn_down"), up), weight(l, "post_ffw_norm"));
            for (int32_t i = 0; i < d; ++i) x[t][i] += down[i];
        }
        bool steered = false;
        for (const steer & s : vectors) steered |= s.layer == l;
        for (int32_t t = 0; steered && t < n; ++t) x[t] = steer_oracle(vectors, l, x[t].data(), strengths.data() + size_t(t) * vectors.size()).h;
    }
    std::vector<double> logits;
    for (int32_t t = 0; t < n; ++t) {
        for (double y : product(weight("token_embd"), rms_norm(x[t], weight("output_norm")))) logits.push_back(30.0 * std::tanh(y / 30.0));
    }
    return logits;
}

} // namespace yapo_test
