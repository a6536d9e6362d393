// The exports of yapo_train.h for the upper blocks.
#include "model/assert_scope.h"
#include "model/devices.h"
#include "model/rpc.h"
#include "model/runtime.h"
#include "train/upper/device_worker.h"
#include "train/upper/handle.h"
#include "train/upper/host_worker.h"

#include <algorithm>
#include <cstring>

struct yapo_upper_worker : yapo::counted {
    explicit yapo_upper_worker(const yapo_upper & upper) {
        if (upper.impl->placed()) {
            impl = std::make_unique<yapo::train::upper::device_worker>(upper.impl);
        } else {
            impl = std::make_unique<yapo::train::upper::host_worker>(upper.impl);
        }
    }
    std::unique_ptr<yapo::train::upper::worker> impl;
};

namespace {

using yapo::fail;

void need(const void * p, const char * name) {
    if (!p) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "%s is NULL", name);
    }
}

yapo_sequence copy_in(const yapo_sequence * given) {
    need(given, "sequence");
    if (given->struct_size < sizeof(uint32_t) || given->struct_size > 4096) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_sequence.struct_size is %u", given->struct_size);
    }
    yapo_sequence s = {};
    memcpy(&s, given, std::min<size_t>(given->struct_size, sizeof s));
    return s;
}

// ggml asserts what a device answers: where it does so on this thread, that is an error of the call. (An RPC server that goes away ends the process, on a
// thread of ggml's own.)
template <typename F>
auto on_device(F && body) {
    yapo::assert_scope asserts;
    return body();
}

} // namespace

extern "C" {

yapo_status yapo_upper_load(const char * gguf_path, int32_t layer, yapo_upper ** out, yapo_error ** err) {
    return yapo::guard(err, [&] {
        need(gguf_path, "gguf_path");
        need(out, "out");
        *out = new yapo_upper(gguf_path, layer);
    });
}

yapo_status yapo_upper_place(yapo_upper * upper, const char * device, const char * rpc, yapo_error ** err) {
    return yapo::guard(err, [&] {
        need(upper, "upper");
        need(device, "device");
        if (upper->impl->placed()) { // its workers compute with what is there
            fail(YAPO_ERR_INVALID_ARGUMENT, "the weights are on device %s already; load the file again for another", upper->impl->placed()->where().name().c_str());
        }
        yapo::start_runtime();
        std::vector<ggml_backend_dev_t> known = yapo::all_devices();
        if (rpc && *rpc) {
            const auto remote = yapo::rpc_devices(rpc);
            known.insert(known.end(), remote.begin(), remote.end());
        }
        const ggml_backend_dev_t found = yapo::find_device(device, known);
        on_device([&] { upper->impl->place(std::make_shared<const yapo::train::upper::device>(found)); });
    });
}

void yapo_upper_free(yapo_upper * upper) { delete upper; }

yapo_status yapo_upper_worker_create(yapo_upper * upper, yapo_upper_worker ** out, yapo_error ** err) {
    return yapo::guard(err, [&] {
        need(upper, "upper");
        need(out, "out");
        *out = on_device([&] { return new yapo_upper_worker(*upper); });
    });
}

void yapo_upper_worker_free(yapo_upper_worker * worker) { delete worker; }

yapo_status yapo_upper_set_latents(yapo_upper * upper, const yapo_latents * latents, int32_t n, yapo_error ** err) {
    return yapo::guard(err, [&] {
        need(upper, "upper");
        need(latents, "latents");
        if (n < 1) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "latents of %d blocks; expected at least 1", n);
        }
        std::vector<yapo_latents> sites;
        for (int32_t i = 0; i < n; ++i) {
            if (latents[i].struct_size != sizeof(yapo_latents)) {
                fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_latents.struct_size is %u, expected %zu", latents[i].struct_size, sizeof(yapo_latents));
            }
            sites.push_back(latents[i]);
        }
        const auto & impl = *upper->impl;
        auto steering = std::make_shared<const yapo::train::upper::steering>(sites.data(), n, impl.layer(), impl.config().n_layer, impl.config().d_model);
        on_device([&] { upper->impl->set_latents(std::move(steering)); });
    });
}

yapo_status yapo_upper_logprob(yapo_upper_worker * worker, const yapo_sequence * sequence, const float * v, float multiplier, double * logprob, yapo_error ** err) {
    return yapo::guard(err, [&] {
        need(worker, "worker");
        need(logprob, "logprob");
        *logprob = on_device([&] { return worker->impl->logprob(copy_in(sequence), v, multiplier); });
    });
}

yapo_status yapo_upper_logprob_gradient(yapo_upper_worker * worker, const yapo_sequence * sequence, const float * v, float multiplier,
                                        double scale, float * gradient, double * logprob, yapo_error ** err) {
    return yapo::guard(err, [&] {
        need(worker, "worker");
        need(gradient, "gradient");
        const double value = on_device([&] { return worker->impl->logprob_gradient(copy_in(sequence), v, multiplier, scale, gradient); });
        if (logprob) {
            *logprob = value;
        }
    });
}

} // extern "C"
