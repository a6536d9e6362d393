// Quantization: the result is a model that says nearly the same, and nothing is left behind when it fails.
#include "llama_source.h"
#include "session.h"

#include "ggml.h"

#include <cmath>

using namespace yapo_test;
namespace fs = std::filesystem;

namespace {

random_model wide() { // rows of 256, so that K-quants apply
    random_model m;
    m.n_layer = 2;
    m.d_model = 256;
    m.n_head  = 4;
    m.head_dim = 64;
    m.n_head_kv = 4;
    m.n_ff    = 256;
    return m;
}

std::vector<float> logits_of(const std::string & path) {
    model          m(path);
    yapo_context * context = nullptr;
    const yapo_context_options options = options_of({});
    OK(yapo_context_create(m.handle, &options, &context, &err));
    const batch      b    = whole(random_tokens(12, 3));
    const yapo_batch view = b.view();
    OK(yapo_context_decode(context, &view, &err));
    std::vector<float> logits(384);
    OK(yapo_context_logits(context, 11, logits.data(), 384, &err));
    yapo_context_free(context);
    return logits;
}

double relative_error(const std::vector<float> & a, const std::vector<float> & b) {
    double gap = 0, norm = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        gap += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
        norm += double(b[i]) * b[i];
    }
    return std::sqrt(gap / norm);
}

// Files of the directory that are not in `known`.
size_t strangers(const fs::path & directory, const std::vector<std::string> & known) {
    size_t count = 0;
    for (const auto & entry : fs::directory_iterator(directory)) {
        count += std::find(known.begin(), known.end(), entry.path().filename().string()) == known.end();
    }
    return count;
}

} // namespace

YAPO_TEST(Quantize_EveryType_LoadsAndSaysNearlyTheSame) {
    const std::string source = write_random_model(wide(), scratch("source.gguf"));
    const std::vector<float> exact = logits_of(source);
    // Bounds: several times what was measured on this random model, far below 1, where the logits would be unrelated.
    const struct { const char * type; double bound; } cases[] = {
        {"f32", 0}, {"f16", 0.01}, {"bf16", 0.05}, {"q8_0", 0.05}, {"Q8_0", 0.05}, {"q6_k", 0.1}, {"q5_k_m", 0.2}, {"q4_k_m", 0.4}, {"q4_0", 0.4}, {"iq4_nl", 0.4}, {"q2_k", 0.9},
    };
    for (const auto & c : cases) {
        const std::string destination = scratch(std::string("out-") + c.type + ".gguf");
        OK(yapo_model_quantize(source.c_str(), destination.c_str(), c.type, 1, &err));
        const double error = relative_error(logits_of(destination), exact);
        note("%-7s %7ju bytes, relative error of the logits %.2e", c.type, uintmax_t(fs::file_size(destination)), error);
        CHECK_MSG(error <= c.bound, "%s: %.3g", c.type, error);
    }
}

YAPO_TEST(Quantize_Destination_IsReplacedWhole) {
    const std::string source = write_random_model(wide(), scratch("source.gguf")), destination = scratch("d\xc3\xa9stination.gguf");
    std::ofstream(destination) << "old";
    OK(yapo_model_quantize(source.c_str(), destination.c_str(), "q8_0", 1, &err));
    OK(yapo_gguf_validate(destination.c_str(), &err));
    const std::string once = read_text(destination);
    OK(yapo_model_quantize(source.c_str(), destination.c_str(), "q8_0", 2, &err));
    CHECK(once == read_text(destination)); // however many threads
    CHECK_EQ(strangers(fs::path(source).parent_path(), {"source.gguf", "d\xc3\xa9stination.gguf"}), 0u);
}

YAPO_TEST(Quantize_Failures_LeaveNothingBehind) {
    const std::string source = write_random_model(wide(), scratch("source.gguf")), destination = scratch("out.gguf");
    const fs::path    directory = fs::path(source).parent_path();
    const auto refused = [&](const std::string & src, const std::string & dst, const char * type, yapo_status status, const char * part) {
        REFUSED(status, part, yapo_model_quantize(src.c_str(), dst.c_str(), type, 1, &err));
        CHECK_EQ(strangers(directory, {"source.gguf", "small.gguf", "broken.gguf", "q8.gguf", "directory", "link.gguf"}), 0u);
    };
    refused(source, destination, "q9_z", YAPO_ERR_INVALID_ARGUMENT, "q4_k_m");
    refused(source, destination, "", YAPO_ERR_INVALID_ARGUMENT, "expected one of");
    refused(scratch("missing.gguf"), destination, "q8_0", YAPO_ERR_IO, "no such file");
    refused(source, source, "q8_0", YAPO_ERR_INVALID_ARGUMENT, "itself");
    fs::create_directory(directory / "directory");
    refused(source, (directory / "directory").string(), "q8_0", YAPO_ERR_IO, "directory");
    refused(source, (directory / "no" / "such" / "out.gguf").string(), "q8_0", YAPO_ERR_IO, "cannot write");
    refused(source, (directory / "directory" / ".." / "source.gguf").string(), "q8_0", YAPO_ERR_INVALID_ARGUMENT, "itself");
    fs::copy_file(source, scratch("broken.gguf"));
    fs::resize_file(scratch("broken.gguf"), fs::file_size(source) - 1);
    refused(scratch("broken.gguf"), destination, "q8_0", YAPO_ERR_FORMAT, "download");
    OK(yapo_model_quantize(source.c_str(), scratch("q8.gguf").c_str(), "q8_0", 1, &err));
    refused(scratch("q8.gguf"), destination, "q4_0", YAPO_ERR_FORMAT, "F32, F16 or BF16");
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "src", yapo_model_quantize(nullptr, "x", "q8_0", 1, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "dst", yapo_model_quantize(source.c_str(), nullptr, "q8_0", 1, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "type", yapo_model_quantize(source.c_str(), destination.c_str(), nullptr, 1, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "n_threads", yapo_model_quantize(source.c_str(), destination.c_str(), "q8_0", -1, &err));
}

YAPO_TEST(Dequantize_EveryTypeOfAFile_RoundTrips) {
    random_source rng(5);
    std::vector<float> x(512), y(512), back(512);
    for (float & v : x) v = rng.normal();
    for (int type = 0; type < GGML_TYPE_COUNT; ++type) {
        const bool decodes = type == GGML_TYPE_F32 || (ggml_blck_size(ggml_type(type)) > 0 && ggml_get_type_traits(ggml_type(type))->to_float);
        const int64_t bytes = decodes ? ggml_row_size(ggml_type(type), 512) : 512;
        std::vector<uint8_t> data(bytes);
        if (!decodes) {
            REFUSED(YAPO_ERR_INVALID_ARGUMENT, "cannot be decoded", yapo_dequantize(type, data.data(), bytes, y.data(), 512, &err));
            continue;
        }
        const bool encodes = !ggml_quantize_requires_imatrix(ggml_type(type)) && type != GGML_TYPE_Q8_1 && type != GGML_TYPE_Q8_K && type != GGML_TYPE_F64;
        if (!encodes || (type != GGML_TYPE_F32 && !ggml_get_type_traits(ggml_type(type))->from_float_ref && type != GGML_TYPE_F16 && type != GGML_TYPE_BF16)) continue;
        ggml_quantize_chunk(ggml_type(type), x.data(), data.data(), 0, 1, 512, nullptr);
        OK(yapo_dequantize(type, data.data(), bytes, y.data(), 512, &err));
        double error = 0, size = 0;
        for (int i = 0; i < 512; ++i) error += (x[i] - y[i]) * (x[i] - y[i]), size += x[i] * x[i];
        note("%-8s relative error %.2g", ggml_type_name(ggml_type(type)), std::sqrt(error / size));
        CHECK(std::sqrt(error / size) < (ggml_row_size(ggml_type(type), 512) >= 512 * 3 / 8 ? 0.2 : 0.8));
    }
    uint8_t data[64] = {};
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "type -1", yapo_dequantize(-1, data, 64, y.data(), 16, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "type 9999", yapo_dequantize(9999, data, 64, y.data(), 16, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "64 bytes", yapo_dequantize(GGML_TYPE_F32, data, 64, y.data(), 17, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "64 bytes", yapo_dequantize(GGML_TYPE_F32, data, 64, y.data(), -1, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "64 bytes", yapo_dequantize(GGML_TYPE_Q8_0, data, 64, y.data(), 33, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "must be given", yapo_dequantize(GGML_TYPE_F32, nullptr, 64, y.data(), 16, &err));
}
