#include "stock_session.h"

#if !defined(_WIN32)
#    include <dlfcn.h>
#endif

namespace yapo_test {

std::string loaded_libllama() {
#if defined(_WIN32)
    return "llama.dll";
#else
    Dl_info info;
    CHECK(dladdr(reinterpret_cast<void *>(&llama_n_ctx), &info) != 0); // none of faults.cpp, which are the program's own
    return info.dli_fname;
#endif
}

void stock_ok(yapo_status status, yapo_error * err) {
    const std::string message = yapo_stock_error_message(err);
    yapo_stock_error_free(err);
    CHECK_MSG(status == YAPO_OK, "status %d: %s", int(status), message.c_str());
}

void stock_refused(yapo_status status, yapo_error * err, yapo_status expected, const char * part) {
    const std::string message = yapo_stock_error_message(err);
    yapo_stock_error_free(err);
    CHECK_MSG(status == expected && message.find(part) != std::string::npos, "expected status %d with '%s', found status %d: %s", int(expected), part, int(status), message.c_str());
}

// The stock callback, with what it does to the recorded layers written down.
static bool on_tensor(ggml_tensor * t, bool ask, void * user) {
    stock_session & s = *static_cast<stock_session *>(user);
    const auto      record = std::find_if(s.records.begin(), s.records.end(), [&](const auto & r) { return "l_out-" + std::to_string(r.first) == t->name; });
    if (ask) {
        s.wanted = yapo_stock_callback()(t, true, s.stock);
        return s.wanted || record != s.records.end();
    }
    const auto append = [&](std::vector<float> & out) {
        const size_t n = size_t(ggml_nelements(t));
        out.resize(out.size() + n);
        ggml_backend_tensor_get(t, out.data() + out.size() - n, 0, n * sizeof(float));
    };
    if (record != s.records.end()) append(record->second.before);
    const bool go_on = !s.wanted || yapo_stock_callback()(t, false, s.stock);
    if (record != s.records.end()) append(record->second.after);
    return go_on;
}

stock_session::stock_session(const std::string & path, const sizes & s, bool attached, ggml_backend_dev_t device) : path(path), attached(attached) {
    llama_model_params mp = llama_model_default_params();
    ggml_backend_dev_t devices[] = {device, nullptr};
    mp.devices      = devices;
    mp.n_gpu_layers = device ? -1 : 0;
    model = llama_model_load_from_file(path.c_str(), mp);
    CHECK(model);
    n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    d       = llama_model_n_embd(model);
    const std::string library = loaded_libllama();
    yapo_stock_options options = {sizeof options, llama_model_n_layer(model), 2, d, library.c_str()};
    STOCK_OK(yapo_stock_create(&options, &stock, &err));

    llama_context_params cp = llama_context_default_params();
    cp.n_ctx     = s.n_ctx, cp.n_batch = s.n_batch, cp.n_ubatch = s.n_ubatch ? s.n_ubatch : s.n_batch, cp.n_seq_max = s.n_seq_max;
    cp.n_threads = cp.n_threads_batch = 1;
    cp.type_k = cp.type_v = s.type_kv ? GGML_TYPE_F32 : GGML_TYPE_F16;
    cp.flash_attn_type = llama_flash_attn_type(s.flash_attention);
    cp.pooling_type    = LLAMA_POOLING_TYPE_NONE;
    cp.swa_full = cp.kv_unified = true;
    if (attached) {
        cp.cb_eval           = on_tensor;
        cp.cb_eval_user_data = this;
    }
    context = llama_init_from_model(model, cp);
    CHECK(context);
}

stock_session::~stock_session() {
    llama_free(context);
    llama_model_free(model);
    yapo_stock_free(stock);
}

void stock_session::attach(const std::vector<steer> & vectors, const std::vector<float> & strengths) {
    std::vector<yapo_vector_desc> descs;
    for (const steer & v : vectors) descs.push_back(v.desc());
    STOCK_OK(yapo_stock_set_vectors(stock, descs.data(), int32_t(descs.size()), &err));
    this->strengths(strengths);
}

std::vector<float> stock_session::decode(const std::vector<int32_t> & tokens, int32_t p0) {
    llama_batch b = llama_batch_init(int32_t(tokens.size()), 0, 1);
    b.n_tokens = int32_t(tokens.size());
    for (int32_t i = 0; i < b.n_tokens; ++i) {
        b.token[i] = tokens[i], b.pos[i] = p0 + i, b.n_seq_id[i] = 1, b.seq_id[i][0] = 0, b.logits[i] = 1;
    }
    const int32_t rc = llama_decode(context, b);
    llama_batch_free(b);
    CHECK_EQ(rc, 0);
    std::vector<float> out;
    for (size_t i = 0; i < tokens.size(); ++i) {
        const float * row = llama_get_logits_ith(context, int32_t(i));
        out.insert(out.end(), row, row + n_vocab);
    }
    return out;
}

} // namespace yapo_test
