// Random inputs of the CUDA kernels, for their host twin and for a device.
#pragma once

#include "random_model.h"

#include "cuda/twin.h"

#include "ggml.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace yapo_test {

using namespace yapo::cuda;

constexpr float untouched = -12345.5f;

// K features over V vectors; every feature belongs to one group of vectors, as in a batch of sequences with vectors of their own.
struct problem {
    int64_t d, k, t, v, stride;
    std::vector<float> h, enc, bias, threshold, values, strengths;

    problem(int64_t d, int64_t k, int64_t t, int64_t v, uint64_t seed) : d(d), k(k), t(t), v(v), stride(v + 3) {
        random_source rng(seed);
        const float unit = 1.0f / std::sqrt(float(d));
        for (int64_t i = 0; i < t * d; ++i) h.push_back(rng.below(50) == 0 ? 30.0f * rng.normal() : rng.normal());
        for (int64_t i = 0; i < k * d; ++i) enc.push_back(unit * rng.normal());
        for (int64_t i = 0; i < k; ++i) {
            bias.push_back(0.1f * rng.normal());
            const int32_t kind = rng.below(8);
            threshold.push_back(kind == 0 ? std::numeric_limits<float>::infinity() : kind == 1 ? -1.0f : kind == 2 ? 0.0f : 0.5f * float(rng.uniform()));
            const int64_t owner = i * v / k;
            for (int64_t j = 0; j < v; ++j) values.push_back(j == owner || (j == owner - 1 && i % 3 == 0) ? rng.normal() : 0.0f);
        }
        for (int64_t i = 0; i < t; ++i) {
            const int64_t own = i % (v + 1); // of the last kind of token: none
            for (int64_t j = 0; j < stride; ++j) strengths.push_back(j >= v ? std::nanf("") : v <= 2 ? (i % 5 == 4 ? 0.0f : 2.0f * rng.normal()) : j == own ? 1.5f : 0.0f);
        }
    }

    codes_args args(float * c) const { return {h.data(), strengths.data(), enc.data(), bias.data(), threshold.data(), values.data(), c, d, k, t, v, stride}; }

    std::vector<float> codes(const on_host & how) const {
        std::vector<float> c(size_t(t * k), untouched);
        for (int64_t part = 0; part < how.parts; ++part) {
            dispatch_codes(args(c.data()), on_host{part, how.parts, how.reverse});
        }
        return c;
    }
};

constexpr struct {
    ggml_type type;
    row_type  as;
    int64_t   block;
} row_types[] = {{GGML_TYPE_F32, row_type::f32, 1}, {GGML_TYPE_F16, row_type::f16, 1}, {GGML_TYPE_BF16, row_type::bf16, 1}, {GGML_TYPE_Q8_0, row_type::q8_0, 32}};

// Rows of the given type, and what they are as F32.
struct typed_rows {
    std::vector<uint8_t> data;
    std::vector<float>   values;
    typed_rows(ggml_type type, int64_t rows, int64_t width, uint64_t seed) : values(size_t(rows * width)) {
        random_source rng(seed);
        for (float & x : values) x = rng.below(200) == 0 ? 1e-6f * rng.normal() : rng.normal(); // F16 subnormals among them
        data.resize(ggml_row_size(type, width) * size_t(rows));
        if (type == GGML_TYPE_F32) {
            std::copy_n(reinterpret_cast<const uint8_t *>(values.data()), data.size(), data.begin());
            return;
        }
        ggml_quantize_chunk(type, values.data(), data.data(), 0, rows, width, nullptr);
        ggml_get_type_traits(type)->to_float(data.data(), values.data(), rows * width);
    }
};

} // namespace yapo_test
