// yapo_dequantize: rows of a GGUF as floats, whatever their type.
#include "abi/guard.h"

#include "ggml.h"

#include <cstring>

extern "C" yapo_status yapo_dequantize(int32_t type, const void * data, int64_t bytes, float * out, int64_t n, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        const bool      known  = type >= 0 && type < GGML_TYPE_COUNT && ggml_blck_size(ggml_type(type)) > 0;
        const ggml_type t      = known ? ggml_type(type) : GGML_TYPE_F32;
        const auto      decode = ggml_get_type_traits(t)->to_float;
        if (!known || (t != GGML_TYPE_F32 && !decode)) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "values of ggml type %d cannot be decoded to floats", type);
        }
        if (!data || !out) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_dequantize: data and out must be given");
        }
        if (n < 0 || n > INT64_MAX / 64 || n % ggml_blck_size(t) != 0 || int64_t(ggml_row_size(t, n)) != bytes) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "%lld values of type %s do not take %lld bytes", (long long) n, ggml_type_name(t), (long long) bytes);
        }
        if (t == GGML_TYPE_F32) {
            memcpy(out, data, size_t(bytes));
        } else {
            decode(data, out, n);
        }
    });
}
