// Running the programs that load a libllama at run time (published/, compat/): what goes in, what comes out.
#pragma once

#include "stock_session.h"

#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace yapo_test {

inline void write_vectors(const std::string & path, const std::vector<steer> & vectors, const std::vector<float> & strengths) {
    std::ofstream out(path, std::ios::binary);
    const auto raw  = [&](const void * from, size_t bytes) { out.write(static_cast<const char *>(from), std::streamsize(bytes)); };
    const auto list = [&](const auto & x) { raw(x.data(), x.size() * sizeof(x[0])); };
    const int32_t n = int32_t(vectors.size());
    raw(&n, 4);
    for (int32_t i = 0; i < n; ++i) {
        const steer & v = vectors[i];
        const int64_t id = int64_t(v.sae_id), k = v.k();
        raw(&v.kind, 4), raw(&v.layer, 4), raw(&id, 8), raw(&v.d, 8), raw(&k, 8), raw(&strengths[i], 4);
        list(v.index), list(v.value), list(v.enc), list(v.bias), list(v.threshold), list(v.dec);
    }
}

struct outcome {
    int                exit_code = 0;
    std::string        message;
    std::vector<float> logits;
};

// A prompt over several ubatches, then tokens one by one.
inline const std::vector<std::vector<int32_t>> & steps() {
    static const std::vector<std::vector<int32_t>> all = [] {
        std::vector<std::vector<int32_t>> s = {random_tokens(45, 3)};
        for (int32_t t : random_tokens(6, 4)) s.push_back({t});
        return s;
    }();
    return all;
}

// Runs `name`, beside libllama, on a library and model; no vectors: unsteered. `more`: further arguments.
inline outcome run_program(const char * name, const std::string & library, const std::string & model, const std::vector<steer> & vectors, const std::vector<float> & strengths, const std::string & more = "") {
    const std::string in = scratch("steps.txt"), out = scratch("logits.bin"), message = scratch("message.txt"), data = vectors.empty() ? "-" : scratch("vectors.bin");
    std::filesystem::remove(out);
    std::ofstream file(in);
    for (const auto & step : steps()) {
        for (int32_t t : step) file << t << ' ';
        file << '\n';
    }
    file.close();
    if (!vectors.empty()) write_vectors(data, vectors, strengths);
    std::ostringstream command;
    command << '"' << (std::filesystem::path(loaded_libllama()).parent_path() / name).string() << "\" \"" << library << "\" \"" << model << "\" \"" << data
            << "\" \"" << in << "\" \"" << out << "\" " << more << " > \"" << message << '"';
    outcome o;
    const int status = std::system(command.str().c_str());
    o.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    std::ifstream said(message);
    o.message.assign(std::istreambuf_iterator<char>(said), {});
    std::ifstream logits(out, std::ios::binary | std::ios::ate);
    if (logits) { // else it refused before
        o.logits.resize(size_t(logits.tellg()) / sizeof(float));
        logits.seekg(0);
        logits.read(reinterpret_cast<char *>(o.logits.data()), std::streamsize(o.logits.size() * sizeof(float)));
    }
    return o;
}

inline std::vector<float> succeed(const outcome & o) {
    CHECK_MSG(o.exit_code == 0, "the program ended with %d: %s", o.exit_code, o.message.c_str());
    return o.logits;
}

// What our own graph makes of the same steps, in this process.
inline std::vector<float> in_graph(const std::string & path, const std::vector<steer> & vectors, const std::vector<float> & strengths) {
    sizes size;
    size.n_ubatch = 16;
    model   m(path);
    context c(m, size);
    c.attach(vectors);
    std::vector<float> all;
    int32_t position = 0;
    for (const auto & step : steps()) {
        c.decode(whole(step, strengths, 0, position));
        position += int32_t(step.size());
        const auto x = c.logits();
        all.insert(all.end(), x.begin(), x.end());
    }
    return all;
}

} // namespace yapo_test
