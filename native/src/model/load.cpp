// Loading a model: our own checks first, then llama.cpp, whose log becomes part of the error.
#include "model/assert_scope.h"
#include "model/load.h"
#include "model/model.h"
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

// Registers the RPC servers of "host:port,host:port" as devices.
std::vector<ggml_backend_dev_t> rpc_devices(const char * servers) {
    ggml_backend_reg_t reg = ggml_backend_reg_by_name("RPC");
    using add_server_fn = ggml_backend_reg_t (*)(const char *);
    auto add_server = reg ? reinterpret_cast<add_server_fn>(ggml_backend_reg_get_proc_address(reg, "ggml_backend_rpc_add_server")) : nullptr;
    if (!add_server) {
        fail(YAPO_ERR_UNSUPPORTED, "this build has no RPC backend, so rpc=\"%s\" cannot be used; build with -DGGML_RPC=ON", servers);
    }
    std::vector<ggml_backend_dev_t> devices;
    std::string list = servers;
    for (size_t begin = 0; begin <= list.size();) {
        const size_t      end  = std::min(list.find(',', begin), list.size());
        const std::string name = list.substr(begin, end - begin);
        begin = end + 1;
        if (name.empty()) {
            fail(YAPO_ERR_INVALID_ARGUMENT, "rpc is \"%s\", expected \"host:port,host:port\"", servers);
        }
        ggml_backend_reg_t server = add_server(name.c_str());
        if (!server) {
            fail(YAPO_ERR_IO, "RPC server %s does not answer: is rpc-server of llama.cpp " YAPO_LLAMA_CPP_VERSION " running there?", name.c_str());
        }
        ggml_backend_register(server);
        for (size_t i = 0; i < ggml_backend_reg_dev_count(server); ++i) {
            devices.push_back(ggml_backend_reg_dev_get(server, i));
        }
    }
    return devices;
}

// The NULL-terminated device list for llama.cpp; empty means llama.cpp's own choice.
std::vector<ggml_backend_dev_t> choose_devices(const yapo_model_options & options) {
    std::vector<ggml_backend_dev_t> devices;
    if (options.rpc && *options.rpc) {
        devices = rpc_devices(options.rpc);
    }
    if (options.device && *options.device) {
        if (strcmp(options.device, "cpu") != 0) {
            ggml_backend_dev_t device = ggml_backend_dev_by_name(options.device);
            if (!device) {
                std::string known = "cpu";
                for (size_t i = 0; i < ggml_backend_dev_count(); ++i) {
                    known += std::string(", ") + ggml_backend_dev_name(ggml_backend_dev_get(i));
                }
                fail(YAPO_ERR_INVALID_ARGUMENT, "there is no device \"%s\"; this build and machine have: %s", options.device, known.c_str());
            }
            if (ggml_backend_dev_type(device) != GGML_BACKEND_DEVICE_TYPE_CPU) { // the CPU is always used, and never listed
                devices.push_back(device);
            }
        }
        devices.push_back(nullptr);
    } else if (!devices.empty()) {
        devices.push_back(nullptr);
    }
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
        params.devices      = devices.empty() ? nullptr : devices.data();
        params.n_gpu_layers = options.device && strcmp(options.device, "cpu") == 0 ? 0 : options.gpu_layers;
        params.vocab_only   = options.vocab_only != 0;
        params.load_mode    = options.use_mmap ? LLAMA_LOAD_MODE_MMAP : LLAMA_LOAD_MODE_NONE;
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
        *out = model.release();
    });
}

void yapo_model_free(yapo_model * model) {
    delete model;
}

} // extern "C"
