// A group of sparse vectors as two ops of our own: c = the changes of the codes, h' = base + dec^T c (native/cuda). Where the layer is
// on a CUDA device, its kernels run them (ggml-cuda patched by native/patches/cuda); elsewhere build_steering composes ggml's own
// ops, which say the same and remain the oracle.
#pragma once

#include "ggml-backend.h"
#include "ggml.h"

namespace yapo {

struct sparse_group;

// Whether groups whose weights are in buffers of this type run as ops of our own: on CUDA devices of a build with the preset "cuda".
// The environment variable YAPO_STEERING_KERNEL overrides: "ops" nowhere, "fused" in host memory too (the kernels' slow host twin:
// for tests). Fails on other values.
bool fused_steering(ggml_backend_buffer_type_t buft);

// strengths: F32 [V, T], of the group's vectors, rows contiguous. h, base: F32 [D, T], contiguous. The group has no SAE.
ggml_tensor * build_fused(ggml_context * ctx, const sparse_group & g, ggml_tensor * h, ggml_tensor * base, ggml_tensor * strengths);

} // namespace yapo
