// yapo_attachment: the same hook in contexts that others created. Their batches are not ours to see, so strengths go by sequence.
#include "yapo_attachment.h"

#include "abi/guard.h"
#include "model/assert_scope.h"
#include "steering/descriptors.h"
#include "steering/hook.h"

#include <cmath>
#include <map>
#include <mutex>

namespace yapo {
namespace {

// What the contexts of one attachment share. Contexts may outlive the attachment: then at strength 0.
struct shared_vectors {
    std::shared_ptr<const vector_set>   vectors;
    std::shared_ptr<sequence_strengths> strengths;
};

struct registry {
    std::mutex mutex;
    std::map<llama_model *, shared_vectors>              models;   // attached to: for their future contexts
    std::map<llama_context *, std::shared_ptr<steering>> contexts; // hooked; llama.cpp holds the address
};

registry & all() {
    static registry r;
    return r;
}

std::shared_ptr<steering> hook_into(llama_context * context, const shared_vectors & shared) {
    assert_scope asserts; // graphs are built here, in the host's process
    auto state       = std::make_shared<steering>();
    state->vectors   = shared.vectors;
    state->sequences = shared.strengths;
    state->d_model   = llama_model_n_embd(llama_get_model(context));
    try {
        apply_hook(context, *state);
    } catch (...) {
        llama_set_layer_hook(context, nullptr, nullptr, 0); // it fitted before
        throw;
    }
    return state;
}

// Whether the model can be steered is known only to a graph of it.
void try_model(llama_model * model, const shared_vectors & shared) {
    llama_context_params params = llama_context_default_params();
    params.n_ctx   = 64;
    params.n_batch = params.n_ubatch = 32;
    assert_scope asserts;
    const std::unique_ptr<llama_context, void (*)(llama_context *)> context(llama_init_from_model(model, params), llama_free);
    if (!context) {
        fail(YAPO_ERR_UNSUPPORTED, "llama.cpp could not create a context on the model to try the vectors in");
    }
    const std::shared_ptr<steering> state = hook_into(context.get(), shared);
    llama_set_layer_hook(context.get(), nullptr, nullptr, 0);
}

} // namespace
} // namespace yapo

struct yapo_attachment : yapo::counted {
    llama_model *   model   = nullptr; // attached to the model
    llama_context * context = nullptr; // or to one context,
    std::shared_ptr<const yapo::steering> state; // in which this is hooked. Kept, since another context may get the address of a freed one, and its
                                                 // state that of a freed state
    yapo::shared_vectors shared;
};

extern "C" {

yapo_status yapo_attachment_create(void * model_pointer, void * context_pointer, const yapo_vector_desc * vectors, int32_t n, yapo_attachment ** out, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        auto * model   = static_cast<llama_model *>(model_pointer);
        auto * context = static_cast<llama_context *>(context_pointer);
        if (!model || !out || n < 1) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_attachment_create: model and out must be given, and at least one vector, found %d", n);
        }
        if (context && llama_get_model(context) != model) {
            fail(YAPO_ERR_MISMATCH, "yapo_attachment_create: the context is of another model");
        }
        for (const yapo_vector_desc & v : read_descriptors(vectors, n, llama_model_n_layer(model), llama_model_n_embd(model))) {
            if (v.sae) {
                fail(YAPO_ERR_UNSUPPORTED, "vectors with a whole SAE (TopK) cannot be attached to contexts of others");
            }
        }
        install_assert_callback(); // and no more of start_runtime: the log is the host's
        auto attachment              = std::make_unique<yapo_attachment>();
        attachment->shared.vectors   = upload_vectors(*model, vectors, n);
        attachment->shared.strengths = std::make_shared<sequence_strengths>(n);

        registry & r = all();
        std::lock_guard lock(r.mutex);
        if (context ? r.contexts.count(context) : r.models.count(model)) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "the %s is steered already; release that attachment first, or give all vectors to one", context ? "context" : "model");
        }
        if (context) {
            attachment->context = context;
            attachment->state = r.contexts[context] = hook_into(context, attachment->shared);
        } else {
            try_model(model, attachment->shared);
            r.models.emplace(model, attachment->shared);
            attachment->model = model;
        }
        *out = attachment.release();
    });
}

yapo_status yapo_attachment_set_strengths(yapo_attachment * attachment, int32_t sequence, const float * strengths, int32_t n, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        if (!attachment) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_attachment_set_strengths: attachment is NULL");
        }
        if (sequence < -1 || (sequence == -1 && !strengths)) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_attachment_set_strengths: sequence is %d with%s strengths, expected one from 0, or -1 with strengths", sequence, strengths ? "" : "out");
        }
        if (strengths && n != attachment->shared.vectors->columns) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_attachment_set_strengths: n is %d, expected %d, one per vector", n, attachment->shared.vectors->columns);
        }
        for (int32_t i = 0; strengths && i < n; ++i) {
            if (!std::isfinite(strengths[i])) {
                fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_attachment_set_strengths: strength %d is not finite", i);
            }
        }
        attachment->shared.strengths->set(sequence, strengths);
    });
}

void yapo_attachment_free(yapo_attachment * attachment) {
    using namespace yapo;
    if (!attachment) {
        return;
    }
    registry & r = all();
    std::lock_guard lock(r.mutex);
    if (attachment->model) {
        r.models.erase(attachment->model);
        attachment->shared.strengths->clear(); // its contexts may be decoding: they keep the hook, without effect
    } else {
        const auto found = r.contexts.find(attachment->context);
        if (found != r.contexts.end() && found->second == attachment->state) { // else it was freed before
            llama_set_layer_hook(attachment->context, nullptr, nullptr, 0);
            r.contexts.erase(found);
        }
    }
    delete attachment;
}

int32_t yapo_attachment_created(void * model, void * context) {
    using namespace yapo;
    return guard(nullptr, [&] {
        registry & r = all();
        std::lock_guard lock(r.mutex);
        const auto found = r.models.find(static_cast<llama_model *>(model));
        if (found != r.models.end()) {
            auto * created = static_cast<llama_context *>(context);
            r.contexts[created] = hook_into(created, found->second); // also where a context of this address was freed without a word
        }
    }) == YAPO_OK;
}

void yapo_attachment_freeing(void * context) {
    yapo::registry & r = yapo::all();
    std::lock_guard lock(r.mutex);
    r.contexts.erase(static_cast<llama_context *>(context)); // nothing is computed in it any more: taking the hook out would only rebuild its graphs
}

} // extern "C"
