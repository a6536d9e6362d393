#include "steering/fused.h"

#include "abi/guard.h"
#include "steering/vectors.h"

#include "cuda/twin.h"
#ifdef YAPO_CUDA
#include "cuda/launch.h"
#endif

#include <cstdlib>
#include <cstring>

namespace yapo {
namespace {

cuda::codes_args codes_of(const ggml_tensor * op) {
    const ggml_tensor *const * src = op->src;
    return {
        static_cast<const float *>(src[0]->data), static_cast<const float *>(src[1]->data), static_cast<const float *>(src[2]->data), static_cast<const float *>(src[3]->data),
        static_cast<const float *>(src[4]->data), static_cast<const float *>(src[5]->data), static_cast<float *>(op->data),
        src[0]->ne[0], op->ne[0], op->ne[1], src[5]->ne[0], int64_t(src[1]->nb[1] / sizeof(float)),
    };
}

cuda::apply_call apply_of(const ggml_tensor * op) {
    const ggml_tensor * dec  = op->src[2];
    const cuda::row_type type = dec->type == GGML_TYPE_F32 ? cuda::row_type::f32 : dec->type == GGML_TYPE_F16 ? cuda::row_type::f16 : dec->type == GGML_TYPE_BF16 ? cuda::row_type::bf16 : cuda::row_type::q8_0;
    return {static_cast<const float *>(op->src[0]->data), static_cast<const float *>(op->src[1]->data), dec->data, type, static_cast<float *>(op->data), op->ne[0], op->src[0]->ne[0], op->ne[1]};
}

// ggml's CPU backend calls these; on CUDA devices they only tell our two ops apart.
void codes_on_host(ggml_tensor * op, int part, int parts, void *) {
    cuda::dispatch_codes(codes_of(op), cuda::on_host{part, parts});
}

void apply_on_host(ggml_tensor * op, int part, int parts, void *) {
    cuda::dispatch_apply(apply_of(op), cuda::on_host{part, parts});
}

#ifdef YAPO_CUDA

ggml_custom_op_t function_of(const ggml_tensor * op) {
    ggml_custom_op_t function; // the first member of ggml's parameters of a custom op
    static_assert(sizeof function <= GGML_MAX_OP_PARAMS);
    memcpy(&function, op->op_params, sizeof function);
    return function;
}

bool supports(const ggml_tensor * op) {
    const ggml_custom_op_t function = function_of(op);
    return function == codes_on_host || function == apply_on_host;
}

void launch(ggml_tensor * op, void * stream) {
    if (function_of(op) == codes_on_host) {
        cuda::launch_codes(codes_of(op), stream);
    } else {
        cuda::launch_apply(apply_of(op), stream);
    }
}

// As native/patches/cuda declares it.
using set_custom_op = void (*)(bool (*supports)(const ggml_tensor *), void (*launch)(ggml_tensor *, void *));

bool on_cuda(ggml_backend_buffer_type_t buft) {
    ggml_backend_dev_t device = ggml_backend_buft_get_device(buft);
    if (!device) {
        return false;
    }
    ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(device);
    const auto set = reinterpret_cast<set_custom_op>(ggml_backend_reg_get_proc_address(reg, "ggml_backend_cuda_set_custom_op"));
    // A split buffer has parts of each row on several devices.
    if (!set || ggml_backend_dev_buffer_type(device) != buft) {
        return false;
    }
    static const bool once = (set(supports, launch), true);
    return once;
}

#else

bool on_cuda(ggml_backend_buffer_type_t) {
    return false;
}

#endif

} // namespace

bool fused_steering(ggml_backend_buffer_type_t buft) {
    const char * wanted = getenv("YAPO_STEERING_KERNEL");
    if (!wanted || !*wanted) {
        return on_cuda(buft);
    }
    if (strcmp(wanted, "ops") == 0) {
        return false;
    }
    if (strcmp(wanted, "fused") != 0) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "the environment variable YAPO_STEERING_KERNEL is '%s', expected 'ops' or 'fused', or unset: fused where the layer is on a CUDA device", wanted);
    }
    return ggml_backend_buft_is_host(buft) || on_cuda(buft);
}

ggml_tensor * build_fused(ggml_context * ctx, const sparse_group & g, ggml_tensor * h, ggml_tensor * base, ggml_tensor * strengths) {
    const int64_t d = h->ne[0], t = h->ne[1], k = g.dec->ne[0];
    ggml_tensor * weights[] = {h, strengths, g.enc, g.enc_bias, g.threshold, g.values};
    ggml_tensor * c         = ggml_custom_4d(ctx, GGML_TYPE_F32, k, t, 1, 1, weights, 6, codes_on_host, GGML_N_TASKS_MAX, nullptr);
    ggml_tensor * sources[] = {c, base, g.dec};
    return ggml_custom_4d(ctx, GGML_TYPE_F32, d, t, 1, 1, sources, 3, apply_on_host, GGML_N_TASKS_MAX, nullptr);
}

} // namespace yapo
