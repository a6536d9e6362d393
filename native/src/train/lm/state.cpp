// Files of the language-model trainer. The state file is a GGUF of architecture "yapo-lm-state": step count and, per
// parameter, its weight and both moments; F32 copies, so a resumed run continues to the same bytes.
#include "train/files/atomic_file.h"
#include "train/lm/trainer.h"

#include <cmath>

namespace yapo::train::lm {

namespace {

constexpr char     state_architecture[] = "yapo-lm-state";
constexpr uint32_t state_version        = 1;

struct free_gguf { void operator()(gguf_context * c) const { gguf_free(c); } };
using gguf_ptr = std::unique_ptr<gguf_context, free_gguf>;

std::string part_name(const parameter & p, int part) {
    static const char * const prefix[] = {"w.", "m.", "v."};
    return prefix[part] + p.name;
}

// Adds a tensor whose data stay where they are until the file is written.
void add(gguf_context * file, ggml_context * descriptions, const std::string & name, const ggml_tensor * shape, const float * data) {
    ggml_tensor * t = ggml_new_tensor(descriptions, GGML_TYPE_F32, ggml_n_dims(shape), shape->ne);
    ggml_set_name(t, name.c_str());
    t->data = const_cast<float *>(data);
    gguf_add_tensor(file, t);
}

void write(const gguf_context * file, const std::string & path) {
    write_atomically(path, [&](FILE * f) { return gguf_write_to_file_ptr(file, f, false); });
}

} // namespace

void trainer::save_model(const std::string & path) const {
    gguf_ptr file(gguf_init_empty());
    gguf_set_kv(file.get(), source_.metadata());
    context_ptr descriptions = new_context(parameters_.list().size());
    // in the order of the initial file
    for (int64_t i = 0; i < gguf_get_n_tensors(source_.metadata()); ++i) {
        const std::string name = gguf_get_tensor_name(source_.metadata(), i);
        for (const parameter & p : parameters_.list()) {
            if (p.name == name) {
                add(file.get(), descriptions.get(), name, p.weight, p.data());
            }
        }
    }
    write(file.get(), path);
}

void trainer::save_state(const std::string & path) const {
    gguf_ptr file(gguf_init_empty());
    gguf_set_val_str(file.get(), "general.architecture", state_architecture);
    gguf_set_val_u32(file.get(), "state.version", state_version);
    gguf_set_val_i64(file.get(), "state.step", parameters_.step);
    context_ptr descriptions = new_context(3 * parameters_.list().size());
    for (const parameter & p : parameters_.list()) {
        const float * parts[] = {p.data(), parameters_.first.data() + p.offset, parameters_.second.data() + p.offset};
        for (int part = 0; part < 3; ++part) {
            add(file.get(), descriptions.get(), part_name(p, part), p.weight, parts[part]);
        }
    }
    write(file.get(), path);
}

void trainer::load_state(const std::string & path) {
    const gguf_source state(path);
    if (state.architecture() != state_architecture) {
        fail(YAPO_ERR_FORMAT, "%s: not a training state (its architecture is '%s', expected '%s')", path.c_str(), state.architecture().c_str(), state_architecture);
    }
    if (state.integer("state.version") != state_version) {
        fail(YAPO_ERR_UNSUPPORTED, "%s: training state version %lld, this build reads %u", path.c_str(), (long long) state.integer("state.version"), state_version);
    }
    const int64_t step = state.integer("state.step");
    // all of it is read and checked before any of it is used
    std::vector<float> parts[3];
    for (int part = 0; part < 3; ++part) {
        parts[part].resize(parameters_.size());
        for (const parameter & p : parameters_.list()) {
            const ggml_tensor * t = state.tensor(part_name(p, part), p.weight->ne[0], p.weight->ne[1]);
            if (t->type != GGML_TYPE_F32) {
                fail(YAPO_ERR_FORMAT, "%s: tensor %s is %s, expected f32", path.c_str(), t->name, ggml_type_name(t->type));
            }
            state.read(t, parts[part].data() + p.offset);
        }
        for (float x : parts[part]) {
            if (!std::isfinite(x)) {
                fail(YAPO_ERR_FORMAT, "%s: the training state has entries that are not finite", path.c_str());
            }
        }
    }
    if (step < 0) {
        fail(YAPO_ERR_FORMAT, "%s: step count %lld", path.c_str(), (long long) step);
    }
    parameters_.step = step;
    parameters_.first.swap(parts[1]);
    parameters_.second.swap(parts[2]);
    for (size_t i = 0; i < parameters_.list().size(); ++i) {
        const parameter & p = parameters_.list()[i];
        std::copy_n(parts[0].data() + p.offset, p.size, p.data());
    }
}

} // namespace yapo::train::lm
