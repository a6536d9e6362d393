// Parameters, weights in and out, and the trainer's state on disk.
#include "sae.h"
#include "train/files/atomic_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace yapo::sae {

void parameters::resize(int64_t f, int64_t d) {
    enc.assign(f * d, 0.0f);
    enc_bias.assign(f, 0.0f);
    log_theta.assign(f, 0.0f);
    dec.assign(f * d, 0.0f);
    dec_bias.assign(d, 0.0f);
}

namespace {

// Little-endian: the header, quiet (int64), then F32: mean, and value, moment1, moment2 group by group.
constexpr char     magic[8] = {'y', 'a', 'p', 'o', 's', 'a', 'e', '\0'};
constexpr uint32_t version  = 2;

struct header {
    char     magic[8];
    uint32_t version;
    float    initial_theta;
    int64_t  d, f, steps;
};

template <typename P, typename F>
void each_array(P & p, F && visit) {
    visit(p.enc);
    visit(p.enc_bias);
    visit(p.log_theta);
    visit(p.dec);
    visit(p.dec_bias);
}

} // namespace

void save_state(const trainer & t, const std::string & path) {
    header h{};
    memcpy(h.magic, magic, sizeof magic);
    h.version = version;
    h.initial_theta = t.initial_theta;
    h.d = t.d;
    h.f = t.f;
    h.steps = t.steps;
    train::write_atomically(path, [&](FILE * file) {
        bool ok = fwrite(&h, sizeof h, 1, file) == 1 && fwrite(t.quiet.data(), sizeof(int64_t), t.quiet.size(), file) == t.quiet.size();
        const auto write = [&](const std::vector<float> & a) { ok = ok && fwrite(a.data(), sizeof(float), a.size(), file) == a.size(); };
        write(t.mean);
        for (const auto * p : {&t.value, &t.moment1, &t.moment2}) {
            each_array(*p, write);
        }
        return ok;
    });
}

void load_state(trainer & t, const std::string & path) {
    std::ifstream in(std::filesystem::u8path(path), std::ios::binary | std::ios::ate);
    if (!in) {
        fail(YAPO_ERR_IO, "cannot read %s", path.c_str());
    }
    const int64_t size = in.tellg();
    in.seekg(0);
    header h{};
    in.read(reinterpret_cast<char *>(&h), sizeof h);
    if (!in || memcmp(h.magic, magic, sizeof magic) != 0 || h.version != version) {
        fail(YAPO_ERR_FORMAT, "%s is not the state of an SAE trainer (version %u)", path.c_str(), version);
    }
    if (h.d != t.d || h.f != t.f) {
        fail(YAPO_ERR_MISMATCH, "%s is the state of an SAE with %lld latents of width %lld; this one has %lld of %lld", path.c_str(), static_cast<long long>(h.f),
             static_cast<long long>(h.d), static_cast<long long>(t.f), static_cast<long long>(t.d));
    }
    const int64_t floats = t.d + 3 * (2 * t.f * t.d + 2 * t.f + t.d);
    const int64_t expected = static_cast<int64_t>(sizeof h) + t.f * static_cast<int64_t>(sizeof(int64_t)) + floats * static_cast<int64_t>(sizeof(float));
    if (size != expected) {
        fail(YAPO_ERR_FORMAT, "%s holds %lld bytes; %lld were expected", path.c_str(), static_cast<long long>(size), static_cast<long long>(expected));
    }
    std::vector<int64_t> quiet(t.f); // t is untouched when reading fails
    std::vector<float> mean(t.d);
    parameters loaded[3];
    const auto read = [&](std::vector<float> & a) { in.read(reinterpret_cast<char *>(a.data()), static_cast<std::streamsize>(a.size() * sizeof(float))); };
    in.read(reinterpret_cast<char *>(quiet.data()), static_cast<std::streamsize>(quiet.size() * sizeof(int64_t)));
    read(mean);
    for (parameters & p : loaded) {
        p.resize(t.f, t.d);
        each_array(p, read);
    }
    if (!in) {
        fail(YAPO_ERR_IO, "cannot read all of %s", path.c_str());
    }
    const auto finite = [](const std::vector<float> & a) { return std::all_of(a.begin(), a.end(), [](float x) { return std::isfinite(x); }); };
    bool sound = h.steps >= 0 && std::isfinite(h.initial_theta) && finite(mean) && std::all_of(quiet.begin(), quiet.end(), [](int64_t n) { return n >= 0; });
    for (parameters & p : loaded) {
        each_array(p, [&](const std::vector<float> & a) { sound = sound && finite(a); });
    }
    if (!sound) {
        fail(YAPO_ERR_FORMAT, "%s is damaged: entries that are not finite, or negative counts", path.c_str());
    }
    t.steps = h.steps;
    t.initial_theta = h.initial_theta;
    t.mean = std::move(mean);
    t.quiet = std::move(quiet);
    t.value = std::move(loaded[0]);
    t.moment1 = std::move(loaded[1]);
    t.moment2 = std::move(loaded[2]);
}

} // namespace yapo::sae
