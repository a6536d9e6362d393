// yapo_full_sae_create, _set_encoder, _set_decoder, _free.
#include "steering/full_sae.h"

#include "model/model.h"

#include "llama-ext.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace yapo {
namespace {

constexpr int64_t block   = 32;      // of Q8_0, the largest among the row types
constexpr int64_t f_most  = 1 << 24; // latent numbers stay exact in F32, in which read-outs return them

int64_t padded(int64_t f) { return (f + block - 1) / block * block; }

void check_finite(const char * what, const float * x, int64_t n) {
    for (int64_t j = 0; j < n; ++j) {
        if (!std::isfinite(x[j])) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "%s[%lld] of the SAE is not finite", what, (long long) j);
        }
    }
}

yapo_full_sae_desc checked(const llama_model & model, const yapo_full_sae_desc * given) {
    if (!given || given->struct_size < sizeof(yapo_full_sae_desc) || given->struct_size > 4096) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_full_sae_create: desc must be given with struct_size = sizeof(yapo_full_sae_desc), %zu", sizeof(yapo_full_sae_desc));
    }
    const yapo_full_sae_desc d = *given;
    const int32_t n_layer = llama_model_n_layer(&model);
    const int32_t n_embd  = llama_model_n_embd(&model);
    if (d.layer < 0 || d.layer >= n_layer) {
        fail(YAPO_ERR_MISMATCH, "the SAE is for layer %d, the model has blocks 0 to %d", d.layer, n_layer - 1);
    }
    if (d.d_model != n_embd) {
        fail(YAPO_ERR_MISMATCH, "the SAE has d_model %lld, the model %d; was it made for another model?", (long long) d.d_model, n_embd);
    }
    if (d.width < 1 || d.width > f_most) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "the SAE has %lld latents, expected 1 to %lld", (long long) d.width, (long long) f_most);
    }
    if (d.activation != YAPO_SAE_JUMPRELU && d.activation != YAPO_SAE_TOPK) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "activation is %d, expected 0 (JumpReLU) or 1 (TopK)", d.activation);
    }
    if (d.activation == YAPO_SAE_TOPK && (d.topk < 1 || d.topk > d.width)) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "topk is %d, expected 1 to %lld (the width)", d.topk, (long long) d.width);
    }
    if (d.dec_row_type < YAPO_ROW_F32 || d.dec_row_type > YAPO_ROW_Q8_0) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "dec_row_type is %d, expected 0 (F32), 1 (F16), 2 (BF16) or 3 (Q8_0)", d.dec_row_type);
    }
    if (!d.enc_bias) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "enc_bias is NULL");
    }
    check_finite("enc_bias", d.enc_bias, d.width);
    if (d.activation == YAPO_SAE_JUMPRELU && d.threshold) {
        check_finite("threshold", d.threshold, d.width);
    }
    return d;
}

void allocate(full_sae & sae, ggml_context * ctx, const char * what) {
    ggml_backend_buffer_ptr buffer(ggml_backend_alloc_ctx_tensors_from_buft(ctx, llama_model_layer_buft(sae.model.get(), sae.layer)));
    if (!buffer) {
        fail(YAPO_ERR_OUT_OF_MEMORY, "no room for the %s of an SAE of %lld latents on the device of layer %d", what, (long long) sae.width, sae.layer);
    }
    ggml_backend_buffer_set_usage(buffer.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    ggml_backend_buffer_clear(buffer.get(), 0); // what pads it
    sae.buffers.push_back(std::move(buffer));
}

ggml_context * new_context(full_sae & sae) {
    sae.contexts.emplace_back(ggml_init({ggml_tensor_overhead() * 4, nullptr, true}));
    if (!sae.contexts.back()) {
        throw std::bad_alloc();
    }
    return sae.contexts.back().get();
}

std::shared_ptr<full_sae> make(const std::shared_ptr<llama_model> & model, const yapo_full_sae_desc & d) {
    auto sae = std::make_shared<full_sae>();
    sae->model        = model;
    sae->layer        = d.layer;
    sae->d_model      = d.d_model;
    sae->width        = d.width;
    sae->padded       = padded(d.width);
    sae->topk         = d.activation == YAPO_SAE_TOPK ? d.topk : 0;
    sae->dec_row_type = d.dec_row_type;
    sae->enc_given.assign(d.width, 0);

    ggml_context * ctx = new_context(*sae);
    sae->enc      = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, d.d_model, sae->padded);
    sae->enc_bias = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, sae->padded);
    if (!sae->topk) {
        sae->threshold = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, sae->padded);
    }
    allocate(*sae, ctx, "encoder");

    const auto fill = [&](ggml_tensor * t, const float * x, float beyond) {
        std::vector<float> values(sae->padded, beyond);
        if (x) {
            std::copy(x, x + d.width, values.begin());
        } else {
            std::fill(values.begin(), values.begin() + d.width, 0.0f);
        }
        ggml_backend_tensor_set(t, values.data(), 0, values.size() * sizeof(float));
    };
    fill(sae->enc_bias, d.enc_bias, sae->topk ? -std::numeric_limits<float>::max() : 0.0f);
    if (!sae->topk) {
        fill(sae->threshold, d.threshold, std::numeric_limits<float>::infinity());
    }
    return sae;
}

void check_rows(const full_sae & sae, const char * what, int64_t first, int64_t n, const float * rows) {
    if (!rows || first < 0 || n < 1 || first > sae.width - n) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "%s: %lld rows from %lld on must be given and lie in 0 to %lld", what, (long long) n, (long long) first, (long long) (sae.width - 1));
    }
    check_finite(what, rows, n * sae.d_model);
}

// Rows become columns of [F, D]; quantized types in whole blocks along F.
void set_decoder(full_sae & sae, int64_t first, int64_t n, const float * rows) {
    if (first % block != 0 || (n % block != 0 && first + n != sae.width)) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "decoder rows %lld to %lld: a block starts at a multiple of %lld and holds one, unless it is the last", (long long) first,
             (long long) (first + n - 1), (long long) block);
    }
    const ggml_type type = to_ggml(sae.dec_row_type);
    if (type == GGML_TYPE_F16) {
        for (int64_t j = 0; j < n * sae.d_model; ++j) {
            if (std::fabs(rows[j]) > 65504.0f) {
                fail(YAPO_ERR_INVALID_ARGUMENT, "an entry of decoder row %lld is %g, too large for F16 rows; use F32 or BF16", (long long) (first + j / sae.d_model), double(rows[j]));
            }
        }
    }
    if (!sae.dec) {
        ggml_context * ctx = new_context(sae);
        ggml_tensor *  dec = ggml_new_tensor_2d(ctx, type, sae.padded, sae.d_model);
        allocate(sae, ctx, "decoder");
        sae.dec_given.assign(sae.width, 0);
        sae.dec = dec;
    }
    const int64_t np = padded(n);
    std::vector<float> columns(np * sae.d_model, 0.0f);
    for (int64_t r = 0; r < n; ++r) {
        for (int64_t j = 0; j < sae.d_model; ++j) {
            columns[j * np + r] = rows[r * sae.d_model + j];
        }
    }
    const size_t size = ggml_row_size(type, np), offset = ggml_row_size(type, first);
    std::vector<uint8_t> stored(size * sae.d_model);
    if (type == GGML_TYPE_F32) {
        memcpy(stored.data(), columns.data(), stored.size());
    } else {
        ggml_quantize_chunk(type, columns.data(), stored.data(), 0, sae.d_model, np, nullptr);
    }
    ggml_backend_tensor_set_2d(sae.dec, stored.data(), offset, size, size_t(sae.d_model), sae.dec->nb[1], size);
    std::fill_n(sae.dec_given.begin() + first, n, uint8_t(1));
}

full_sae & require(yapo_full_sae * sae, const char * function) {
    if (!sae) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "%s: sae is NULL", function);
    }
    return *sae->weights;
}

} // namespace

ggml_type to_ggml(int32_t row_type) {
    static const ggml_type types[] = {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0};
    return types[row_type];
}

int64_t full_sae::bytes() const {
    int64_t sum = 0;
    for (const ggml_backend_buffer_ptr & buffer : buffers) {
        sum += int64_t(ggml_backend_buffer_get_size(buffer.get()));
    }
    return sum;
}

void require_complete(const full_sae & sae, bool decoder) {
    const auto check = [&](const char * what, const std::vector<uint8_t> & given) {
        const auto missing = std::find(given.begin(), given.end(), 0);
        if (given.empty() || missing != given.end()) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "%s row %lld of the SAE of layer %d was never set", what, (long long) (missing - given.begin()), sae.layer);
        }
    };
    check("encoder", sae.enc_given);
    if (decoder) {
        check("decoder", sae.dec_given);
    }
}

} // namespace yapo

extern "C" {

yapo_status yapo_full_sae_create(const yapo_model * model, const yapo_full_sae_desc * desc, yapo_full_sae ** out, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        if (!model || !out) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_full_sae_create: model and out must be given");
        }
        if (model->vocab_only) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "model %s was loaded with vocab_only, so it has no layers", model->path.c_str());
        }
        auto sae = std::make_unique<yapo_full_sae>();
        sae->weights = make(model->handle, checked(*model->handle, desc));
        *out = sae.release();
    });
}

yapo_status yapo_full_sae_set_encoder(yapo_full_sae * sae, int64_t first, int64_t n, const float * rows, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        full_sae & s = require(sae, "yapo_full_sae_set_encoder");
        check_rows(s, "encoder", first, n, rows);
        ggml_backend_tensor_set(s.enc, rows, size_t(first) * s.enc->nb[1], size_t(n) * s.enc->nb[1]);
        std::fill_n(s.enc_given.begin() + first, n, uint8_t(1));
    });
}

yapo_status yapo_full_sae_set_decoder(yapo_full_sae * sae, int64_t first, int64_t n, const float * rows, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        full_sae & s = require(sae, "yapo_full_sae_set_decoder");
        check_rows(s, "decoder", first, n, rows);
        set_decoder(s, first, n, rows);
    });
}

void yapo_full_sae_free(yapo_full_sae * sae) { delete sae; }

} // extern "C"
