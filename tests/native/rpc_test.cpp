// RPC servers that cannot be had, and which of them a load uses. What is computed on one: device_test.cpp.
#include "rpc_server.h"

#include "llama-ext.h"
#include "model/model.h"

using namespace yapo_test;

namespace {

bool is_host(const model & m, int32_t layer) { return ggml_backend_buft_is_host(llama_model_layer_buft(m.handle->handle.get(), layer)); }

} // namespace

YAPO_TEST(Rpc_ServersThatAreNotThere_Refused) {
    for (const char * endpoint : {"", ":", "localhost", "localhost:", ":1", "localhost:0", "localhost:65536", "localhost:99999999999", "localhost:12x", "localhost:-1", "localhost: 1", "a:b:c", "127.0.0.1:1,",
                                  ",127.0.0.1:1"}) {
        char * json = nullptr;
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, "expected \"host:port,host:port\"", yapo_rpc_devices(endpoint, &json, &err));
        CHECK(!json);
    }
    char * json = nullptr;
    REFUSED(YAPO_ERR_IO, "RPC server 127.0.0.1:1 does not answer", yapo_rpc_devices("127.0.0.1:1", &json, &err));
    REFUSED(YAPO_ERR_IO, "does not answer", yapo_rpc_devices("no-such-host.invalid:50052", &json, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "expected an IPv4 address", yapo_rpc_serve("localhost", 50052, nullptr, 1, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "must be given", yapo_rpc_devices(nullptr, &json, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "n_threads is 513", yapo_rpc_serve("127.0.0.1", 50052, nullptr, 513, &err));
    REFUSED(YAPO_ERR_IO, "cannot listen on 192.0.2.1:50052", yapo_rpc_serve("192.0.2.1", 50052, nullptr, 1, &err)); // an address that no machine has
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "there is no device \"gpu7\"; this build and machine have: ", yapo_rpc_serve("127.0.0.1", 50052, "gpu7", 1, &err));

    const std::string path = write_random_model({}, scratch("llama.gguf"));
    const rpc_server server;
    yapo_model * loaded = nullptr;
    yapo_model_options o = server.options();
    o.device = "cpu";
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "leaves nothing to the RPC servers", yapo_model_load(path.c_str(), &o, &loaded, &err));
    o.device = "gpu7";
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "CPU, RPC0", yapo_model_load(path.c_str(), &o, &loaded, &err));
    CHECK(!loaded);
    o.device = "rpc0";
    {
        const model by_name(path, o);
        CHECK(!is_host(by_name, 0));
    }
    // the next load names no server, so it uses none
    const model local(path);
    yapo_model_options all;
    yapo_model_default_options(&all);
    const model chosen(path, all);
    CHECK(is_host(chosen, 0) == is_host(local, 0));
}
