// Blocks on a device whose memory is not the host's, with everything that is attached to them: an RPC server in a second process.
// The server computes with the same CPU backend, so nothing but the transport and the split of the graph differs.
//
// Tolerance 1e-5 of the largest logit: in the F32 models used here both sides add the same products, but where a graph is cut decides
// which of ggml's fused forms of an operation is taken. A strength, row or block that went astray changes logits by 1e-2 and more (checked).
#include "full_sae_oracle.h"
#include "rpc_server.h"

#include "llama-ext.h"
#include "model/model.h"

#include <functional>

using namespace yapo_test;

namespace {

constexpr double tolerance = 1e-5;

const dictionary sae(64, 150, 3);

random_model spec(const char * arch = "llama") {
    random_model m;
    m.arch = arch;
    return m;
}

// One way to steer a model, with the handles it needs alive.
struct steered {
    const char * name;
    std::function<std::vector<steer>(const model &, std::vector<std::unique_ptr<full_sae>> &)> vectors;
};

steer with_rows(steer v, int32_t row_type) {
    v.row_type = row_type;
    return v;
}

const std::vector<steered> ways = {
    {"unsteered", [](const model &, auto &) { return std::vector<steer>(); }},
    {"dense", [](const model &, auto &) { return std::vector<steer>{random_dense(0, 64, 1, 0.5f), random_dense(3, 64, 2)}; }},
    {"sparse", [](const model &, auto &) { return std::vector<steer>{sae.vector(0, 40, 1), sae.vector(1, 33, 2), sae.vector(3, 40, 3)}; }},
    {"sparse, quantized rows", [](const model &, auto &) {
        return std::vector<steer>{with_rows(sae.vector(0, 40, 1), YAPO_ROW_F16), with_rows(sae.vector(1, 40, 2), YAPO_ROW_BF16), with_rows(sae.vector(2, 40, 3), YAPO_ROW_Q8_0)}; }},
    {"whole SAE", [](const model & m, auto & keep) {
        keep.push_back(std::make_unique<full_sae>(m, sae, 2));
        return std::vector<steer>{keep.back()->vector(2, 60, 1), keep.back()->vector(2, 60, 5)}; }},
    {"TopK", [](const model & m, auto & keep) {
        keep.push_back(std::make_unique<full_sae>(m, sae, 1, 20));
        return std::vector<steer>{keep.back()->vector(1, 60, 1, 2.0f)}; }},
    {"replacement", [](const model & m, auto & keep) {
        keep.push_back(std::make_unique<full_sae>(m, sae, 2, 0, YAPO_ROW_Q8_0));
        steer v = random_dense(2, 64, 8, 0.1f);
        v.kind = YAPO_VECTOR_REPLACE, v.sae = keep.back()->handle;
        return std::vector<steer>{v}; }},
};

// A prompt in ubatches, then token by token; strengths differ at every token and vector, and are 0 at some.
std::vector<float> run(const model & m, const steered & way, uint32_t n_ubatch, double * reused = nullptr, bool zero = false) {
    std::vector<std::unique_ptr<full_sae>> keep;
    const std::vector<steer> vectors = way.vectors(m, keep);
    sizes s;
    s.n_ubatch = n_ubatch;
    context c(m, s);
    c.attach(vectors);
    const auto tokens = random_tokens(30, 5);
    random_source rng(9);
    const auto strengths = [&](int32_t i) {
        std::vector<float> x;
        for (size_t v = 0; v < vectors.size(); ++v) x.push_back(zero || i % 5 == 4 ? 0.0f : rng.normal());
        return x;
    };
    batch prompt;
    for (int32_t i = 0; i < 16; ++i) prompt.add(tokens[i], i, 0, true, strengths(i));
    c.decode(prompt);
    std::vector<float> all = c.logits();
    for (int32_t i = 16; i < 30; ++i) {
        c.decode(batch().add(tokens[i], i, 0, true, strengths(i)));
        const auto x = c.logits();
        all.insert(all.end(), x.begin(), x.end());
    }
    if (reused) {
        *reused = double(c.stats().n_graphs_reused);
    }
    return all;
}

struct rows {
    std::vector<int32_t> latents, active;
    std::vector<float>   activations, before, after;
};

// Captures of every layer and the read-out of one SAE, of a steered prompt.
rows read(const model & m, int32_t topk) {
    const full_sae s(m, sae, 2, topk);
    context c(m);
    c.attach({s.vector(2, 70, 1, 3.0f), random_dense(0, 64, 1)});
    const std::vector<int32_t> layers = {0, 1, 2, 3}, before(4, YAPO_CAPTURE_BEFORE), after(4, YAPO_CAPTURE_AFTER);
    std::vector<int32_t> all = layers, sites = before;
    all.insert(all.end(), layers.begin(), layers.end()), sites.insert(sites.end(), after.begin(), after.end());
    c.capture(all, sites);
    yapo_readout_desc r = {};
    r.struct_size = sizeof r;
    r.sae = s.handle, r.top = 12, r.site = YAPO_CAPTURE_AFTER;
    OK(yapo_context_set_readout(c.handle, &r, 1, &err));
    c.decode(whole(random_tokens(24, 5), {1.0f, 0.5f}));
    rows out;
    out.latents.resize(24 * 12), out.activations.resize(24 * 12), out.active.resize(24);
    OK(yapo_context_readout(c.handle, 0, out.latents.data(), out.activations.data(), out.active.data(), 24, &err));
    for (int32_t i = 0; i < 4; ++i) {
        const auto b = c.captured(i), a = c.captured(4 + i);
        out.before.insert(out.before.end(), b.begin(), b.end());
        out.after.insert(out.after.end(), a.begin(), a.end());
    }
    return out;
}

bool is_host(const model & m, int32_t layer) { return ggml_backend_buft_is_host(llama_model_layer_buft(m.handle->handle.get(), layer)); }

} // namespace

YAPO_TEST(Rpc_SteeredLogits_AgreeWithCpu) {
    const rpc_server server;
    for (const char * arch : {"llama", "gemma2"}) {
        const std::string path = write_random_model(spec(arch), scratch(std::string(arch) + ".gguf"));
        const model on_cpu(path);
        for (int32_t gpu_layers : {-1, 2}) { // all blocks, or the upper half of them
            const model on_server(path, server.options(gpu_layers));
            for (int32_t layer = 0; layer < 4; ++layer) CHECK_EQ(is_host(on_server, layer), gpu_layers == 2 && layer < 3); // 2: the output and the last block
            const std::vector<float> plain = run(on_cpu, ways[0], 0);
            for (const steered & way : ways) {
                for (uint32_t n_ubatch : {0u, 7u}) {
                    const auto wanted = run(on_cpu, way, n_ubatch);
                    CHECK(&way == &ways[0] || compare(wanted.data(), plain.data(), int64_t(plain.size())).max_abs > 1e-2);
                    check_close(format("%s, %s, %d layers on the server, ubatches of %u", arch, way.name, gpu_layers, n_ubatch).c_str(), run(on_server, way, n_ubatch), wanted, tolerance);
                }
            }
        }
    }
}

YAPO_TEST(Rpc_StrengthZero_BitIdenticalToUnsteered) {
    const rpc_server server;
    const model m(write_random_model(spec("gemma2"), scratch("gemma2.gguf")), server.options());
    const auto plain = run(m, ways[0], 7);
    for (const steered & way : ways) check_same_bits(way.name, run(m, way, 7, nullptr, true), plain);
}

YAPO_TEST(Rpc_StrengthsChangePerToken_GraphsAreReused) {
    const rpc_server server;
    const model m(write_random_model(spec(), scratch("llama.gguf")), server.options());
    for (const steered & way : ways) {
        double reused = 0;
        run(m, way, 0, &reused);
        CHECK_MSG(reused >= 12, "%s: %.0f of 14 single tokens reused the graph", way.name, reused);
    }
}

YAPO_TEST(Rpc_CaptureAndReadout_AgreeWithCpu) {
    const rpc_server server;
    const std::string path = write_random_model(spec(), scratch("llama.gguf"));
    const model on_cpu(path), on_server(path, server.options());
    for (int32_t topk : {0, 20}) {
        const rows wanted = read(on_cpu, topk), got = read(on_server, topk);
        check_close("captured before", got.before, wanted.before, tolerance);
        check_close("captured after", got.after, wanted.after, tolerance);
        check_close("activations", got.activations, wanted.activations, tolerance);
        CHECK(got.latents == wanted.latents);
        CHECK(got.active == wanted.active);
    }
}

// llama.cpp's server forgets its stored graph whenever a buffer is freed, and ends the connection (the client: the process) when it is
// then asked to compute it again.
YAPO_TEST(Rpc_BuffersFreedBetweenTokens_GoOn) {
    const rpc_server server;
    const std::string path = write_random_model(spec(), scratch("llama.gguf"));
    const model on_cpu(path), on_server(path, server.options());
    const auto tokens = random_tokens(24, 5);
    const auto steps = [&](const model & m) {
        context c(m);
        c.attach({sae.vector(1, 40, 1)});
        std::vector<float> all;
        auto other = std::make_unique<context>(m);
        auto whole_sae = std::make_unique<full_sae>(m, sae, 2);
        for (int32_t i = 0; i < 24; ++i) {
            c.decode(batch().add(tokens[i], i, 0, true, {0.1f * float(i)}));
            const auto x = c.logits();
            all.insert(all.end(), x.begin(), x.end());
            if (i == 6) other->attach({random_dense(0, 64, 1)});
            if (i == 9) other->attach({});
            if (i == 12) other.reset();
            if (i == 15) whole_sae.reset();
        }
        return all;
    };
    check_close("logits", steps(on_server), steps(on_cpu), tolerance);
}

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
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "there is no device \"gpu7\"; this build and machine have: CPU", yapo_rpc_serve("127.0.0.1", 50052, "gpu7", 1, &err));

    const std::string path = write_random_model(spec(), scratch("llama.gguf"));
    const rpc_server server;
    yapo_model * loaded = nullptr;
    yapo_model_options o = server.options();
    o.device = "cpu";
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "leaves nothing to the RPC servers", yapo_model_load(path.c_str(), &o, &loaded, &err));
    o.device = "gpu7";
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "this build and machine have: CPU, RPC0", yapo_model_load(path.c_str(), &o, &loaded, &err));
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
