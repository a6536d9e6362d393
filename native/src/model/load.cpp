// Loading a model: our own checks first, then llama.cpp, whose log becomes part of the error.
#include "model/assert_scope.h"
#include "model/devices.h"
#include "model/load.h"
#include "model/model.h"
#include "model/rpc.h"
#include "model/runtime.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

namespace yapo {
namespace {

struct load_progress {
    int32_t (*callback)(float, void *) = nullptr;
    void *  user      = nullptr;
    bool    cancelled = false;

    bool report(float fraction) {
        if (callback && !cancelled && !callback(fraction, user)) {
            cancelled = true;
        }
        return !cancelled;
    }
};

yapo_model_options read_options(const yapo_model_options * given) {
    yapo_model_options options;
    yapo_model_default_options(&options);
    if (!given) {
        return options;
    }
    if (given->struct_size < offsetof(yapo_model_options, progress_user) + sizeof(void *) || given->struct_size > 4096) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_model_options.struct_size is %u, expected %zu: start from yapo_model_default_options",
             given->struct_size, sizeof options);
    }
    memcpy(&options, given, std::min<size_t>(given->struct_size, sizeof options));
    if (options.gpu_layers < -1) {
        fail(YAPO_ERR_INVALID_ARGUMENT, "gpu_layers is %d, expected -1 (all), 0 (none) or a number of layers", options.gpu_layers);
    }
    return options;
}

// The NULL-terminated device list for llama.cpp: servers first, so that the fewest activations travel. Without a choice of the
// caller's it is what llama.cpp would take, spelled out: the CPU is always used, and never listed.
std::vector<ggml_backend_dev_t> choose_devices(const yapo_model_options & options) {
    const bool rpc  = options.rpc && *options.rpc;
    const bool some = options.device && *options.device;
    std::vector<ggml_backend_dev_t> devices = rpc ? rpc_devices(options.rpc) : std::vector<ggml_backend_dev_t>();
    if (some) {
        std::vector<ggml_backend_dev_t> known = all_devices();
        known.insert(known.end(), devices.begin(), devices.end());
        devices = {find_device(options.device, known)};
        if (ggml_backend_dev_type(devices[0]) == GGML_BACKEND_DEVICE_TYPE_CPU) {
            if (rpc) {
                fail(YAPO_ERR_INVALID_ARGUMENT, "device \"%s\" leaves nothing to the RPC servers \"%s\": give one of the two", options.device, options.rpc);
            }
            devices.clear();
        }
    } else {
        const std::vector<ggml_backend_dev_t> local = accelerators();
        devices.insert(devices.end(), local.begin(), local.end());
    }
    devices.push_back(nullptr);
    return devices;
}

[[noreturn]] void fail_load(const char * path, const log_capture & log) {
    yapo_status status = YAPO_ERR_FORMAT;
    if (log.contains("unknown model architecture") || log.contains("CLIP cannot be used")) {
        status = YAPO_ERR_UNSUPPORTED;
    } else if (log.contains("unable to allocate") || log.contains("failed to allocate") || log.contains("bad_alloc")) {
        status = YAPO_ERR_OUT_OF_MEMORY;
    }
    throw failure(status, std::string(path) + ": llama.cpp could not load it" + log.suffix());
}

} // namespace

} // namespace yapo

extern "C" {

void yapo_model_default_options(yapo_model_options * options) {
    if (options) {
        *options = {};
        options->struct_size = sizeof *options;
        options->gpu_layers  = -1;
        options->use_mmap    = 1;
    }
}

yapo_status yapo_model_load(const char * path, const yapo_model_options * given, yapo_model ** out, yapo_error ** err) {
    using namespace yapo;
    return guard(err, [&] {
        if (!path || !*path || !out) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "yapo_model_load: path and out must be given");
        }
        const yapo_model_options options = read_options(given);
        start_runtime();
        check_model_file(path);

        load_progress progress{options.progress, options.progress_user};
        std::vector<ggml_backend_dev_t> devices = choose_devices(options);

        llama_model_params params = llama_model_default_params();
        params.devices      = devices.data();
        params.n_gpu_layers = options.gpu_layers;
        params.vocab_only   = options.vocab_only != 0;
        params.no_alloc     = options.no_alloc != 0;
        params.use_extra_bufts = options.keep_layout == 0;
        params.load_mode    = options.use_mmap && !params.no_alloc ? LLAMA_LOAD_MODE_MMAP : LLAMA_LOAD_MODE_NONE;
        params.progress_callback_user_data = &progress;
        params.progress_callback = [](float fraction, void * user) { return static_cast<load_progress *>(user)->report(fraction); };

        // The first report comes before the slow part, and also for vocabulary-only loads, which llama.cpp does not report.
        log_capture   log;
        llama_model * loaded = nullptr;
        if (progress.report(0.0f)) {
            assert_scope asserts; // becomes an exception that llama.cpp's loader catches, logs and gives up on
            loaded = llama_model_load_from_file(path, params);
        }
        if (!loaded) {
            if (progress.cancelled) {
                fail(YAPO_ERR_CANCELLED, "%s: loading was cancelled", path);
            }
            fail_load(path, log);
        }
        std::shared_ptr<llama_model> handle(loaded, llama_model_free);
        if (params.vocab_only && !progress.report(1.0f)) {
            fail(YAPO_ERR_CANCELLED, "%s: loading was cancelled", path);
        }

        auto model = std::make_unique<yapo_model>();
        model->handle     = std::move(handle);
        model->path       = path;
        model->vocab_only = params.vocab_only;
        model->no_alloc   = params.no_alloc;
        *out = model.release();
    });
}

void yapo_model_free(yapo_model * model) {
    delete model;
}

} // extern "C"
