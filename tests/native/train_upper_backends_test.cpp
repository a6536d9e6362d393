// What common GPU backends would refuse of the graphs that train on a device, and how a device refuses. No GPU is needed: a device that is the CPU but
// answers supports_op as ggml-cuda, ggml-vulkan and ggml-metal do (their functions *_supports_op, llama.cpp v0.5.0, for the ops that our graphs hold; an op
// that is not written here is refused).
#include "train_upper_problem.h"

#include "ggml-backend-impl.h"
#include "train/upper/device_worker.h"

#include <cstring>
#include <functional>
#include <set>

using namespace yapo_test;
using namespace yapo_test::upper;
using namespace yapo::train::upper;

namespace {

bool adjacent(const ggml_tensor * t) { return t->nb[0] == ggml_type_size(t->type); }
bool f32(const ggml_tensor * t) { return t->type == GGML_TYPE_F32; }
bool rows_adjacent(const ggml_tensor * t) { return ggml_is_contiguous_rows(t); }
bool k_or_plain(ggml_type t) {
    static const std::set<ggml_type> all = {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0, GGML_TYPE_Q5_0, GGML_TYPE_Q4_K, GGML_TYPE_Q5_K, GGML_TYPE_Q6_K};
    return all.count(t) != 0;
}

bool layout_only(const ggml_tensor * op) {
    static const std::set<ggml_op> free = {GGML_OP_NONE, GGML_OP_RESHAPE, GGML_OP_VIEW, GGML_OP_PERMUTE, GGML_OP_TRANSPOSE};
    return free.count(op->op) != 0;
}
bool unary(const ggml_tensor * op) {
    static const std::set<ggml_unary_op> all = {GGML_UNARY_OP_SILU, GGML_UNARY_OP_TANH, GGML_UNARY_OP_RELU, GGML_UNARY_OP_STEP, GGML_UNARY_OP_EXP, GGML_UNARY_OP_NEG};
    return all.count(ggml_get_unary_op(op)) != 0;
}

bool cuda(const ggml_tensor * op) {
    const ggml_tensor * a = op->src[0], * b = op->src[1];
    switch (op->op) {
        case GGML_OP_UNARY:     return unary(op) && ggml_is_contiguous(a);
        case GGML_OP_MUL_MAT:   return adjacent(a) && adjacent(b) && b->type != GGML_TYPE_F16 && k_or_plain(a->type);
        case GGML_OP_GET_ROWS:  return k_or_plain(a->type);
        case GGML_OP_REPEAT:    return f32(a);
        case GGML_OP_CONCAT:    return a->type == b->type;
        case GGML_OP_SILU_BACK: return ggml_is_contiguous(a) && f32(a);
        case GGML_OP_RMS_NORM:  return rows_adjacent(a);
        case GGML_OP_SUM_ROWS:  return f32(a) && f32(op) && rows_adjacent(a);
        case GGML_OP_ROPE:
        case GGML_OP_ROPE_BACK: return adjacent(a) && ggml_is_contiguous_2(a);
        case GGML_OP_ADD: case GGML_OP_SUB: case GGML_OP_MUL: case GGML_OP_DIV: return f32(a) && f32(b) && f32(op);
        case GGML_OP_SCALE: case GGML_OP_SQR: case GGML_OP_SQRT: case GGML_OP_LOG: case GGML_OP_CONT: case GGML_OP_SOFT_MAX: case GGML_OP_ARGMAX: return true;
        default:                return layout_only(op);
    }
}

bool vulkan(const ggml_tensor * op) {
    const ggml_tensor * a = op->src[0], * b = op->src[1];
    switch (op->op) {
        case GGML_OP_UNARY:     return unary(op) && f32(a) && f32(op);
        case GGML_OP_MUL_MAT:   return k_or_plain(a->type) && a->ne[3] == b->ne[3] && (f32(a) || a->type == GGML_TYPE_F16 || a->type == GGML_TYPE_BF16 || ggml_is_contiguous(a)) && f32(b);
        case GGML_OP_GET_ROWS:  return k_or_plain(a->type);
        case GGML_OP_REPEAT:    return f32(op) && f32(a);
        case GGML_OP_CONCAT:    return f32(a) && f32(b);
        case GGML_OP_CONT:      return f32(a) && f32(op);
        case GGML_OP_ROPE:      return rows_adjacent(op) && rows_adjacent(a);
        case GGML_OP_ROPE_BACK:
        case GGML_OP_RMS_NORM:  return true;
        case GGML_OP_SILU_BACK:
        case GGML_OP_SCALE:     return ggml_is_contiguous(a) && f32(a);
        case GGML_OP_SOFT_MAX:  return ggml_is_contiguous(a) && f32(a) && (!b || f32(b));
        case GGML_OP_SUM_ROWS:  return f32(a) && rows_adjacent(a);
        case GGML_OP_ARGMAX:    return ggml_is_contiguous(a) && f32(a);
        case GGML_OP_SQR: case GGML_OP_SQRT: case GGML_OP_LOG: return f32(a) && f32(op);
        case GGML_OP_ADD: case GGML_OP_SUB: case GGML_OP_MUL: case GGML_OP_DIV: return f32(a) && f32(b) && f32(op);
        default:                return layout_only(op);
    }
}

// A chip with simdgroup reductions and bfloat.
bool metal(const ggml_tensor * op) {
    const ggml_tensor * a = op->src[0], * b = op->src[1];
    switch (op->op) {
        case GGML_OP_UNARY: return unary(op) && rows_adjacent(a) && f32(a);
        case GGML_OP_SCALE: case GGML_OP_SQR: case GGML_OP_SQRT: case GGML_OP_LOG: return rows_adjacent(a) && f32(a);
        case GGML_OP_SILU_BACK: return f32(a) && f32(b) && ggml_is_contiguous(a) && ggml_is_contiguous(b) && ggml_is_contiguous(op) && ggml_are_same_shape(a, b);
        case GGML_OP_ADD: case GGML_OP_SUB: case GGML_OP_MUL: case GGML_OP_DIV: return rows_adjacent(a) && rows_adjacent(b) && f32(a) && f32(b);
        case GGML_OP_SUM_ROWS: case GGML_OP_SOFT_MAX: case GGML_OP_RMS_NORM: return rows_adjacent(a);
        case GGML_OP_CONT:      return f32(a) && f32(op);
        case GGML_OP_CONCAT:    return f32(a) && f32(b);
        case GGML_OP_MUL_MAT:   return f32(b);
        case GGML_OP_REPEAT: case GGML_OP_ROPE: case GGML_OP_ROPE_BACK: case GGML_OP_ARGMAX: case GGML_OP_GET_ROWS: return true;
        default:                return layout_only(op);
    }
}

struct pretence {
    const char * name;
    bool (*supports)(const ggml_tensor *);
    size_t free_bytes; // 0: as the CPU
};
const pretence * current = nullptr;

// The CPU under another name, which computes only what `p` lets it. One at a time.
struct pretended_device {
    ggml_backend_device dev;
    explicit pretended_device(const pretence & p) : dev(*ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU)) {
        current = &p;
        dev.iface.get_name    = [](ggml_backend_dev_t) { return current->name; };
        dev.iface.supports_op = [](ggml_backend_dev_t, const ggml_tensor * op) { return current->supports(op); };
        if (p.free_bytes) {
            dev.iface.get_type   = [](ggml_backend_dev_t) { return GGML_BACKEND_DEVICE_TYPE_GPU; };
            dev.iface.get_memory = [](ggml_backend_dev_t, size_t * free, size_t * total) { *free = current->free_bytes, *total = 2 * current->free_bytes; };
        }
    }
    std::shared_ptr<const device> handle() { return std::make_shared<device>(&dev); }
};

// The gradient of one sequence with sparse latents at two blocks and a dense vector at a third, on that device.
std::vector<float> differentiate(const problem & p, const std::string & file, const std::shared_ptr<const device> & where) {
    auto m = std::make_shared<yapo::train::upper::model>(file, layer);
    const latents second(24, p.model.d_model, 41);
    const int32_t last = m->config().n_layer - 1;
    const yapo_latents sites[] = {p.sae.at(layer), second.at(layer + 1), {sizeof(yapo_latents), YAPO_VECTOR_DENSE, last, 0, 0, p.model.d_model, nullptr, nullptr, nullptr, nullptr, nullptr}};
    m->set_latents(std::make_shared<const steering>(sites, 3, layer, last + 1, p.model.d_model));
    m->place(where);
    std::vector<float> v(p.sae.f + second.f + p.model.d_model, 0.1f), gradient(v.size(), 0.0f);
    device_worker(m).logprob_gradient(p.sequence(), v.data(), 1.0f, 1.0, gradient.data());
    return gradient;
}

std::string refusal(const std::function<void()> & body, yapo_status expected) {
    try {
        body();
    } catch (const yapo::failure & e) {
        CHECK_EQ(int(e.status), int(expected));
        return e.what();
    }
    FAIL("nothing was refused");
}

} // namespace

YAPO_TEST(TrainUpper_Backends_CudaVulkanAndMetalHaveEveryOperation) {
    for (const variant & of : variants()) {
        random_model shape = of.model;
        shape.d_model = shape.n_ff = 256; // K-quants
        shape.head_dim = 64;
        const problem p(shape);
        for (const llama_ftype type : {LLAMA_FTYPE_ALL_F32, LLAMA_FTYPE_MOSTLY_F16, LLAMA_FTYPE_MOSTLY_BF16, LLAMA_FTYPE_MOSTLY_Q8_0, LLAMA_FTYPE_MOSTLY_Q4_K_M}) {
            const std::string file = scratch("q.gguf");
            quantize(p.path, file, type);
            for (const pretence & backend : {pretence{"CUDA", cuda, 0}, pretence{"Vulkan", vulkan, 0}, pretence{"Metal", metal, 0}}) {
                differentiate(p, file, pretended_device(backend).handle());
            }
        }
    }
}

YAPO_TEST(TrainUpper_Backends_MissingOperation_RefusedByName) {
    const problem p;
    const pretence none{"Toy0", [](const ggml_tensor * op) { return op->op != GGML_OP_SOFT_MAX; }, 0};
    pretended_device toy(none);
    const std::string said = refusal([&] { differentiate(p, p.path, toy.handle()); }, YAPO_ERR_UNSUPPORTED);
    note("%s", said.c_str());
    CHECK(said.find("device Toy0 has no SOFT_MAX of f32 [32, 64, 2] ") != std::string::npos && said.find("--device cpu") != std::string::npos);
}

YAPO_TEST(TrainUpper_Backends_NoRoom_RefusedWithTheSizes) {
    const problem p;
    const pretence small{"Tiny0", [](const ggml_tensor *) { return true; }, 100000};
    pretended_device tiny(small);
    const std::string said = refusal([&] { differentiate(p, p.path, tiny.handle()); }, YAPO_ERR_OUT_OF_MEMORY);
    note("%s", said.c_str());
    CHECK(said.find("device Tiny0 has no room for the blocks above the steered one") != std::string::npos && said.find("0.00 GB of 0.00 GB are free") != std::string::npos);
}

YAPO_TEST(TrainUpper_Device_TransposedCopies_HoldWhatTheMatricesHold) {
    const problem p(upper_model(3));
    struct kind { llama_ftype type; double error; };
    // Of a copy in Q8_0 by what its matrix stands for: half a step of a block's largest value, 1/127, and the step itself is rounded to F16.
    for (const kind & k : {kind{LLAMA_FTYPE_ALL_F32, 0}, kind{LLAMA_FTYPE_MOSTLY_F16, 0}, kind{LLAMA_FTYPE_MOSTLY_BF16, 0}, kind{LLAMA_FTYPE_MOSTLY_Q8_0, (0.5 + 127.0 / 2048) / 127}}) {
        const std::string file = scratch("q.gguf");
        quantize(p.path, file, k.type);
        yapo::train::upper::model m(file, layer);
        m.place(std::make_shared<device>(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU)));
        double worst = 0;
        for (const ggml_tensor * w : {m.placed()->weights().head(), m.placed()->weights().blocks[2].ffn_down, m.placed()->weights().blocks[3].attn_k}) {
            const ggml_tensor * copy = m.placed()->transposed(w);
            CHECK(copy->ne[0] == w->ne[1] && copy->ne[1] == w->ne[0] && copy->type == transposed_type(w->type, w->ne[1]));
            const auto floats = [](const ggml_tensor * t) {
                std::vector<float> out(ggml_nelements(t));
                if (t->type == GGML_TYPE_F32) memcpy(out.data(), t->data, ggml_nbytes(t));
                else ggml_get_type_traits(t->type)->to_float(t->data, out.data(), int64_t(out.size()));
                return out;
            };
            const auto a = floats(w), b = floats(copy);
            for (int64_t k0 = 0; k0 < w->ne[0]; ++k0) {
                for (int64_t first = 0; first < w->ne[1]; first += 32) {
                    double most = 0, off = 0;
                    for (int64_t r = first; r < std::min(w->ne[1], first + 32); ++r) {
                        most = std::max(most, std::fabs(double(a[r * w->ne[0] + k0])));
                        off  = std::max(off, std::fabs(double(a[r * w->ne[0] + k0]) - b[k0 * w->ne[1] + r]));
                    }
                    worst = std::max(worst, off / most);
                }
            }
        }
        note("type %d: off by at most %.2e of a block's largest value", int(k.type), worst);
        CHECK(worst <= k.error);
    }
    CHECK(transposed_type(GGML_TYPE_Q4_K, 33) == GGML_TYPE_F16 && transposed_type(GGML_TYPE_Q4_K, 64) == GGML_TYPE_Q8_0);
}

// Why Q8_0: the gradient's error against exactly what the weights stand for, by the type of the transposed copies. F32 copies leave the error of the forward
// products and of what flows into them, which every type has.
YAPO_TEST(TrainUpper_Device_TransposedTypes_Q8_0DoublesTheErrorOfTheForwardProducts) {
    for (const llama_ftype type : {LLAMA_FTYPE_MOSTLY_Q8_0, LLAMA_FTYPE_MOSTLY_Q4_K_M}) {
        std::vector<double> errors;
        for (const ggml_type copies : {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0}) {
            double sum = 0;
            for (uint64_t seed = 1; seed <= 3; ++seed) {
                const problem p(wide_model(seed));
                const std::string small = scratch("q.gguf"), same = scratch("f32.gguf");
                quantize(p.path, small, type);
                quantize(small, same, LLAMA_FTYPE_ALL_F32);
                session exact(same);
                exact.use(p.sae);
                const auto wanted = exact.gradient(p.sequence(), p.v.data(), p.sae.f, 1.0f);
                auto m = std::make_shared<yapo::train::upper::model>(small, layer);
                const yapo_latents latents = p.sae.at(layer);
                m->set_latents(std::make_shared<const steering>(&latents, 1, layer, m->config().n_layer, p.model.d_model));
                m->place(std::make_shared<device>(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU)), copies);
                std::vector<float> found(p.sae.f, 0.0f);
                device_worker(m).logprob_gradient(p.sequence(), p.v.data(), 1.0f, 1.0, found.data());
                sum += relative_l2(found, {wanted.begin(), wanted.end()});
            }
            errors.push_back(sum / 3);
            note("weights of type %d, copies in %s: gradient relative L2 error %.2e", int(type), ggml_type_name(copies), errors.back());
        }
        CHECK(errors[3] <= 2.5 * errors[0]); // measured: 1.5 and 1.9
        CHECK(errors[4] >= 5 * errors[3]);   // 7 and 8
    }
}

// What the managed side estimates before a run (Estimates/DeviceMemory.cs: Activations, and the codes and coefficients of Latents) against what is allocated.
YAPO_TEST(TrainUpper_Device_Activations_StayWithinTheEstimate) {
    struct shape { const char * arch; int n_layer, n_vocab, n_tokens; };
    for (const shape & of : {shape{"gemma2", 4, 352, 64}, shape{"gemma2", 7, 352, 512}, shape{"gemma2", 3, 16384, 512}, shape{"llama", 7, 352, 64}, shape{"llama", 3, 16384, 512}, shape{"qwen3", 7, 352, 256}}) {
        random_model r = upper_model();
        r.arch = of.arch;
        r.n_layer = of.n_layer;
        r.n_vocab = of.n_vocab;
        r.d_model = 256;
        r.n_ff = 1024;
        r.head_dim = 64;
        const problem p(r, of.n_tokens, of.n_tokens / 2);
        auto m = std::make_shared<yapo::train::upper::model>(p.path, layer);
        const yapo_latents latents = p.sae.at(layer);
        m->set_latents(std::make_shared<const steering>(&latents, 1, layer, r.n_layer, r.d_model));
        m->place(std::make_shared<device>(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU)));
        device_worker w(m);
        std::vector<float> gradient(p.sae.f, 0.0f);
        w.logprob_gradient(p.sequence(), p.v.data(), 1.0f, 1.0, gradient.data());
        const double T = of.n_tokens, B = r.n_layer - 1 - layer, D = r.d_model, Q = r.n_head * r.head_dim, KV = r.n_head_kv * r.head_dim, F = r.n_ff, H = r.n_head, V = r.n_vocab;
        const double blocks = 4 * T * (B + 1) * (6 * F + 6 * D + 2 * (Q + 2 * KV) + 2 * H * T), head = 12 * V * std::min<double>(T, double(head_chunk_rows(r.n_vocab))), codes = 24 * double(p.sae.f) * T;
        const double estimate = blocks + head + codes, got = double(w.activation_bytes());
        note("%s, %.0f blocks, vocabulary %.0f, %.0f tokens: %.2f MB allocated, %.2f MB estimated (%.2f)", of.arch, B, V, T, got / 1e6, estimate / 1e6, estimate / got);
        CHECK(estimate >= got && estimate <= 3 * got);
    }
}
