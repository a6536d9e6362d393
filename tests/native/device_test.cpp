// Blocks on devices whose memory is not the host's (other_device.h), with everything that is attached to them, compared with the same
// model on the CPU within the device's tolerance. A strength, row or block that went astray changes logits by 1e-2 and more (checked).
#include "full_sae_oracle.h"
#include "other_device.h"
#include "stock_session.h"

#include "llama-ext.h"
#include "model/model.h"

#include <functional>

using namespace yapo_test;

namespace {

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
    {"two vectors at a block, three in all", [](const model &, auto &) { return std::vector<steer>{sae.vector(0, 40, 1), sae.vector(0, 33, 2), random_dense(3, 64, 2)}; }},
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

// The same latents in the same order, but for those whose activations are closer to each other than `slack`.
bool same_latents(const rows & a, const rows & b, double slack) {
    constexpr size_t top = 12;
    for (size_t token = 0; token < b.latents.size(); token += top) {
        for (size_t i = token; i < token + top; ++i) {
            const auto   end   = b.latents.begin() + int64_t(token + top), found = std::find(b.latents.begin() + int64_t(token), end, a.latents[i]);
            const size_t there = found == end ? token + top - 1 : size_t(found - b.latents.begin()); // it may have come up from behind the last
            if (a.latents[i] != b.latents[i] && std::fabs(double(b.activations[i]) - b.activations[there]) > slack) {
                return false;
            }
        }
    }
    return true;
}

double largest(const std::vector<float> & x) {
    double top = 0;
    for (float v : x) top = std::max(top, double(std::fabs(v)));
    return top;
}

bool is_host(const model & m, int32_t layer) { return ggml_backend_buft_is_host(llama_model_layer_buft(m.handle->handle.get(), layer)); }

} // namespace

YAPO_TEST(Device_SteeredLogits_AgreeWithCpu) {
    struct placing { const char * arch; int32_t gpu_layers; uint32_t n_ubatch; };
    const std::vector<placing> few = {{"llama", -1, 0}, {"gemma2", 2, 7}}; // all blocks; the output and the last block, in ubatches
    std::vector<placing> all = few;
    all.insert(all.end(), {{"llama", 2, 0}, {"llama", -1, 7}, {"gemma2", -1, 0}, {"gemma2", -1, 7}});
    for (const other_device & device : other_devices()) {
        for (const placing & p : device.server ? all : few) { // a software driver compiles every shader on the way
            const std::string path = write_random_model(spec(p.arch), scratch(std::string(p.arch) + ".gguf"));
            const model on_cpu(path), there(path, device.options(p.gpu_layers));
            for (int32_t layer = 0; layer < 4; ++layer) CHECK_EQ(is_host(there, layer), p.gpu_layers == 2 && layer < 3);
            const std::vector<float> plain = run(on_cpu, ways[0], p.n_ubatch);
            for (const steered & way : ways) {
                const auto wanted = run(on_cpu, way, p.n_ubatch);
                const std::string what = format("%s, %s, %d layers on %s, ubatches of %u", p.arch, way.name, p.gpu_layers, device.name.c_str(), p.n_ubatch);
                check_close(what.c_str(), run(there, way, p.n_ubatch), wanted, device.tolerance);
                const double effect = compare(wanted.data(), plain.data(), int64_t(plain.size())).max_abs;
                CHECK_MSG(&way == &ways[0] || effect > 10 * device.tolerance * largest(wanted), "%s moves logits by %.3g only", what.c_str(), effect);
            }
        }
    }
}

YAPO_TEST(Device_FlashAttention_SoftCappedHeadsOfAnySize) {
    // llama.cpp asks each device whether it has flash attention for the model; what then runs must run.
    for (const int32_t head : {64, 128}) {
        random_model m = spec("gemma2");
        m.head_dim = head;
        const std::string path = write_random_model(m, scratch("heads.gguf"));
        for (const other_device & device : other_devices()) {
            std::vector<float> of[2];
            for (const bool there : {false, true}) {
                const model on(path, there ? device.options() : model::on_cpu());
                sizes automatic;
                automatic.type_kv = 0, automatic.flash_attention = -1;
                context c(on, automatic);
                c.decode(whole(random_tokens(40, 3), {}));
                of[there] = c.logits();
            }
            check_close(format("heads of %d on %s", head, device.name.c_str()).c_str(), of[1], of[0], 5e-3); // both round keys and values to F16
            if (head != 128 && device.name == "CUDA0") {
                const model on(path, device.options());
                yapo_context_options o;
                yapo_context_default_options(&o);
                o.flash_attention = 1;
                yapo_context * none = nullptr;
                REFUSED(YAPO_ERR_UNSUPPORTED, "has no kernel of it for soft-capped scores and heads of 64, expected 128 or 256", yapo_context_create(on.handle, &o, &none, &err));
            }
        }
    }
}

YAPO_TEST(Device_StrengthZero_ChangesNothing) {
    for (const other_device & device : other_devices()) {
        const model m(write_random_model(spec("gemma2"), scratch("gemma2.gguf")), device.options());
        const auto plain = run(m, ways[0], 7);
        for (const steered & way : ways) {
            const std::string what = device.name + ", " + way.name;
            const auto zero = run(m, way, 7, nullptr, true);
            device.fuses ? check_close(what.c_str(), zero, plain, 1e-5) : check_same_bits(what.c_str(), zero, plain);
        }
    }
}

YAPO_TEST(Device_StrengthsChangePerToken_GraphsAreReused) {
    for (const other_device & device : other_devices()) {
        const model m(write_random_model(spec(), scratch("llama.gguf")), device.options());
        for (const steered & way : ways) {
            double reused = 0;
            run(m, way, 0, &reused);
            CHECK_MSG(reused >= 12, "%s, %s: %.0f of 14 single tokens reused the graph", device.name.c_str(), way.name, reused);
        }
    }
}

YAPO_TEST(Device_CaptureAndReadout_AgreeWithCpu) {
    const std::string path = write_random_model(spec(), scratch("llama.gguf"));
    const model on_cpu(path);
    for (const other_device & device : other_devices()) {
        const model there(path, device.options());
        for (int32_t topk : {0, 20}) {
            const rows wanted = read(on_cpu, topk), got = read(there, topk);
            const auto close = [&](const char * what, const std::vector<float> & x, const std::vector<float> & y) { check_close((device.name + ", " + what).c_str(), x, y, device.tolerance); };
            close("captured before", got.before, wanted.before);
            close("captured after", got.after, wanted.after);
            close("activations", got.activations, wanted.activations);
            CHECK_MSG(same_latents(got, wanted, device.server ? 0.0 : 2 * device.tolerance * largest(wanted.activations)), "%s, k = %d", device.name.c_str(), topk);
            for (size_t i = 0; i < wanted.active.size(); ++i) { // one latent may lie at its threshold
                CHECK_MSG(std::abs(got.active[i] - wanted.active[i]) <= (device.server ? 0 : 1), "%s, k = %d, token %zu: %d active, %d on the CPU", device.name.c_str(), topk, i, got.active[i], wanted.active[i]);
            }
        }
    }
}

// Sequences of one batch with strengths of their own, and after one of them ended.
YAPO_TEST(Device_SequencesWithTheirOwnStrengths_AgreeWithCpu) {
    const std::string path = write_random_model(spec(), scratch("llama.gguf"));
    const auto all = [](const model & m) {
        sizes s;
        s.n_seq_max = 3;
        context c(m, s);
        c.attach({sae.vector(1, 40, 1), random_dense(2, 64, 3)});
        std::vector<float> logits;
        for (int32_t i = 0; i < 12; ++i) {
            batch b;
            for (int32_t q = 0; q < (i < 8 ? 3 : 2); ++q) b.add(random_tokens(12, 5 + uint64_t(q))[size_t(i)], i, q, true, {q == 0 ? 0.0f : 1.5f * float(q), q == 1 ? -1.0f : 0.5f});
            c.decode(b);
            const auto x = c.logits();
            logits.insert(logits.end(), x.begin(), x.end());
        }
        return logits;
    };
    const auto wanted = all(model(path));
    for (const other_device & device : other_devices()) check_close(device.name.c_str(), all(model(path, device.options())), wanted, device.tolerance);
}

// The eval callback of an unpatched llama.cpp: the residual stream is fetched, steered on the host and put back.
YAPO_TEST(Device_StockRoute_AgreesWithInGraphOnCpu) {
    const std::string path = write_random_model(spec(), scratch("llama.gguf"));
    const std::vector<steer> vectors  = {sae.vector(0, 40, 1), sae.vector(1, 33, 2), random_dense(3, 64, 3)};
    const std::vector<float> strengths = {1.0f, -0.7f, 0.5f};
    const auto tokens = random_tokens(24, 5);
    const model   on_cpu(path);
    context       c(on_cpu);
    c.attach(vectors);
    c.decode(whole(tokens, strengths));
    const auto wanted = c.logits();
    for (const other_device & device : other_devices()) {
        stock_session s(path, {}, true, device.handle());
        const auto plain = s.decode(tokens);
        llama_memory_clear(llama_get_memory(s.context), true);
        s.attach(vectors, strengths);
        check_close(device.name.c_str(), s.decode(tokens), wanted, device.tolerance);
        STOCK_OK(yapo_stock_verify(s.stock, &err));
        CHECK(compare(plain.data(), wanted.data(), int64_t(plain.size())).max_abs > 1e-2);
        llama_memory_clear(llama_get_memory(s.context), true);
        s.strengths({0, 0, 0});
        check_same_bits((device.name + ", strength 0").c_str(), s.decode(tokens), plain);
    }
}

// llama.cpp's server forgets its stored graph whenever a buffer is freed, and ends the connection (the client: the process) when it is
// then asked to compute it again.
YAPO_TEST(Device_BuffersFreedBetweenTokens_GoOn) {
    const std::string path = write_random_model(spec(), scratch("llama.gguf"));
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
    const auto wanted = steps(model(path));
    for (const other_device & device : other_devices()) check_close(device.name.c_str(), steps(model(path, device.options())), wanted, device.tolerance);
}
