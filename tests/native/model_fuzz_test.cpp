// Mutated model files, thousands of them, each in a process of its own: whatever the bytes, loading ends in a model or in an
// error, and a model that loads tokenizes, renders a chat and decodes. Seeded: a failing case is named by its number.
// YAPO_FUZZ_CASES and YAPO_FUZZ_SEED run more or others than the default, YAPO_FUZZ_KEEP=<directory> keeps failing files, and
// YAPO_FUZZ_UNCHECKED=1 gives the files to llama.cpp alone, which shows what the checks are for.
#include "harness.h"
#include "random_model.h"

#if !defined(_WIN32)

#include "ggml.h"
#include "gguf.h"
#include "llama.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace yapo_test;

namespace {

using bytes = std::vector<unsigned char>;

bytes read_file(const std::string & path) {
    std::ifstream in(path, std::ios::binary);
    return bytes(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
}

void write_file(const std::string & path, const bytes & data) {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char *>(data.data()), std::streamsize(data.size()));
    CHECK(out.good());
}

// Gives the model at `path` a byte-level BPE vocabulary of n tokens (GPT-2's byte alphabet, then merges).
void make_bpe(const std::string & path, int32_t n) {
    std::vector<std::string> tokens, merges;
    std::vector<int32_t>     kinds;
    for (int32_t b = 0; b < 256; ++b) { // printable bytes stand for themselves, the others from U+0100 on
        const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        int32_t    rest      = 0;
        for (int32_t k = 0; k < b; ++k) {
            rest += !((k >= 33 && k <= 126) || (k >= 161 && k <= 172) || k >= 174);
        }
        const int32_t c = printable ? b : 256 + rest;
        tokens.push_back(c < 128 ? std::string(1, char(c)) : std::string{char(0xc0 | c >> 6), char(0x80 | (c & 63))});
        kinds.push_back(1);
    }
    for (const char * control : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) {
        tokens.push_back(control);
        kinds.push_back(3);
    }
    for (int32_t i = 0; int32_t(tokens.size()) < n; ++i) {
        const std::string left(1, char('a' + i / 26 % 26)), right(1, char('a' + i % 26));
        merges.push_back(left + " " + right);
        tokens.push_back(left + right);
        kinds.push_back(1);
    }
    ggml_context * data = nullptr;
    gguf_context * old  = gguf_init_from_file(path.c_str(), {false, &data});
    CHECK(old);
    gguf_context * file = gguf_init_empty();
    gguf_set_kv(file, old);
    for (int64_t i = 0; i < gguf_get_n_tensors(old); ++i) {
        gguf_add_tensor(file, ggml_get_tensor(data, gguf_get_tensor_name(old, i)));
    }
    gguf_free(old);
    const auto set = [&](const char * key, const std::vector<std::string> & texts) {
        std::vector<const char *> p;
        for (const std::string & t : texts) {
            p.push_back(t.c_str());
        }
        gguf_set_arr_str(file, key, p.data(), p.size());
    };
    gguf_remove_key(file, "tokenizer.ggml.scores");
    gguf_set_val_str(file, "tokenizer.ggml.model", "gpt2");
    gguf_set_val_str(file, "tokenizer.ggml.pre", "deepseek-coder"); // one of those that go through std::regex
    set("tokenizer.ggml.tokens", tokens);
    set("tokenizer.ggml.merges", merges);
    gguf_set_arr_data(file, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, kinds.data(), kinds.size());
    gguf_set_val_u32(file, "tokenizer.ggml.bos_token_id", 257);
    gguf_set_val_u32(file, "tokenizer.ggml.eos_token_id", 256);
    CHECK(gguf_write_to_file(file, path.c_str(), false));
    gguf_free(file);
    ggml_free(data);
}

// ---- mutation ----------------------------------------------------------------------------------------------------

// Where the numbers of a GGUF stand, so that mutations hit them more often than the long vocabulary.
struct fields {
    std::vector<size_t> scalars; // value bytes of scalar keys
    std::vector<size_t> types;   // value types, element types, array counts, tensor types
    std::vector<size_t> shapes;  // dimension counts, dimensions, offsets
    std::vector<size_t> names;   // first byte of key and tensor names
    size_t              data_at = 0;
};

struct cursor {
    const bytes & data;
    size_t        at = 0;
    uint64_t number(size_t n) {
        uint64_t v = 0;
        memcpy(&v, &data[at], n);
        at += n;
        return v;
    }
};

fields find_fields(const bytes & data) {
    static const size_t width[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    fields f;
    cursor c{data};
    c.at = 8;
    const uint64_t n_tensors = c.number(8), n_keys = c.number(8);
    const auto name = [&] {
        const uint64_t n = c.number(8);
        f.names.push_back(c.at);
        c.at += n;
    };
    for (uint64_t i = 0; i < n_keys; ++i) {
        name();
        f.types.push_back(c.at);
        uint64_t type = c.number(4), count = 1;
        if (type == GGUF_TYPE_ARRAY) {
            f.types.push_back(c.at);
            type = c.number(4);
            f.types.push_back(c.at);
            count = c.number(8);
        } else {
            f.scalars.push_back(c.at);
        }
        for (uint64_t k = 0; k < count; ++k) {
            c.at += type == GGUF_TYPE_STRING ? c.number(8) : width[type];
        }
    }
    for (uint64_t i = 0; i < n_tensors; ++i) {
        name();
        f.shapes.push_back(c.at);
        const uint64_t dims = c.number(4);
        for (uint64_t d = 0; d < dims; ++d) {
            f.shapes.push_back(c.at);
            c.at += 8;
        }
        f.types.push_back(c.at);
        c.at += 4;
        f.shapes.push_back(c.at);
        c.at += 8;
    }
    f.data_at = c.at;
    return f;
}

uint64_t interesting(random_source & rng) {
    static const uint64_t values[] = {0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 31, 32, 33, 63, 64, 65, 96, 127, 128, 255, 256, 257, 511, 512, 513, 1024, 4096, 65535, 65536,
                                      0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff, 0x100000000, 0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff,
                                      0x3f800000, 0x7f800000, 0xff800000, 0x7fc00000, 0x00000001, 0x80000001, 0x7149f2ca};
    return rng.below(4) == 0 ? rng.next() : values[rng.below(int32_t(sizeof values / sizeof *values))];
}

void overwrite(bytes & data, size_t at, uint64_t value, size_t n) {
    for (size_t i = 0; i < n && at + i < data.size(); ++i) {
        data[at + i] = static_cast<unsigned char>(value >> (8 * i));
    }
}

size_t pick(random_source & rng, const std::vector<size_t> & places) { return places[size_t(rng.next() % places.size())]; }

bytes mutate(const bytes & original, const fields & f, random_source & rng) {
    bytes data = original;
    static const size_t widths[] = {1, 2, 4, 8};
    for (int32_t rounds = rng.below(3) == 0 ? 3 : 1; rounds > 0; --rounds) {
        const size_t n = widths[rng.below(4)];
        switch (rng.below(17)) {
            case 0: case 1: case 2: case 12: overwrite(data, pick(rng, f.scalars), interesting(rng), n); break;
            case 13: case 14: case 15: { // near the old value: twice, half, one more, one less, another sign or exponent
                const size_t at = pick(rng, rng.below(4) == 0 ? f.shapes : f.scalars);
                if (at + 4 <= data.size()) {
                    uint32_t old;
                    memcpy(&old, &data[at], 4);
                    const uint32_t near[] = {old * 2, old / 2, old + 1, old - 1, old * 3, old ^ 0x80000000u, old + 0x01000000u, old - 0x01000000u};
                    overwrite(data, at, near[rng.below(8)], 4);
                }
                break;
            }
            case 16: { // a name becomes another of the same file: a missing key, a doubled one, one of another type
                const size_t a = pick(rng, f.names), b = pick(rng, f.names);
                const size_t count = size_t(1 + rng.below(20));
                if (std::max(a, b) + count <= data.size()) {
                    std::copy(original.begin() + long(b), original.begin() + long(b + count), data.begin() + long(a));
                }
                break;
            }
            case 3: overwrite(data, pick(rng, f.types), uint64_t(rng.below(40)), 4); break;
            case 4: overwrite(data, pick(rng, f.types), interesting(rng), n); break;
            case 5: overwrite(data, pick(rng, f.shapes), interesting(rng), n); break;
            case 6: overwrite(data, pick(rng, f.names) + size_t(rng.below(24)), uint64_t(rng.below(256)), 1); break;
            case 7: overwrite(data, pick(rng, f.names) - 8, interesting(rng), n); break;
            case 8: data[size_t(rng.next() % f.data_at)] ^= static_cast<unsigned char>(1 << rng.below(8)); break;
            case 9: overwrite(data, size_t(rng.next() % f.data_at), interesting(rng), n); break;
            case 10: {
                const size_t at = size_t(rng.next() % f.data_at), count = size_t(1 + rng.below(64));
                if (rng.below(2)) {
                    data.erase(data.begin() + long(std::min(at, data.size())), data.begin() + long(std::min(at + count, data.size())));
                } else {
                    data.insert(data.begin() + long(std::min(at, data.size())), count, static_cast<unsigned char>(rng.below(256)));
                }
                break;
            }
            default:
                if (rng.below(3) == 0) {
                    data.resize(size_t(rng.next() % (data.size() + 1)));
                } else {
                    overwrite(data, f.data_at + size_t(rng.next() % (data.size() > f.data_at ? data.size() - f.data_at : 1)), interesting(rng), n);
                }
        }
        if (data.size() <= f.data_at) {
            break;
        }
    }
    return data;
}

// ---- one case, in the child --------------------------------------------------------------------------------------

constexpr int exit_refused = 0, exit_loaded = 1, exit_asserted = 2, exit_undescribed = 3;

void use_model(yapo_model * model) {
    yapo_model_info info = {};
    info.struct_size = sizeof info;
    yapo_model_get_info(model, &info, nullptr);
    int32_t ids[64];
    int64_t n = 0;
    for (int special = 0; special < 2; ++special) {
        if (yapo_tokenize(model, "the cat is in the <start_of_turn>hat \xe2\x82\xac", 40, special, special, ids, 64, &n, nullptr) != YAPO_OK) {
            n = 0;
        }
    }
    char    piece[64];
    int32_t length = 0;
    for (int32_t id = -1; id <= info.n_vocab && id < 2000; ++id) {
        yapo_token_piece(model, id, 1, piece, sizeof piece, &length, nullptr);
    }
    const yapo_chat_message messages[] = {{"user", "hello"}};
    char * text = nullptr;
    yapo_chat_format(model, nullptr, messages, 1, 1, &text, nullptr);
    yapo_string_free(text);
}

void decode_some(yapo_model * model) {
    yapo_context_options options;
    yapo_context_default_options(&options);
    options.n_ctx     = 32;
    options.n_batch   = 8;
    options.n_threads = 1;
    yapo_context * context = nullptr;
    yapo_error *   err     = nullptr;
    if (yapo_context_create(model, &options, &context, &err) != YAPO_OK) {
        printf("%s\n", yapo_error_message(err));
        return;
    }
    const int32_t tokens[] = {2, 7, 300, 12}, positions[] = {0, 1, 2, 3};
    yapo_batch batch = {};
    batch.struct_size = sizeof batch;
    batch.n_tokens    = 4;
    batch.tokens      = tokens;
    batch.positions   = positions;
    if (yapo_context_decode(context, &batch, &err) == YAPO_OK) {
        yapo_sampler * sampler = nullptr;
        int32_t        token   = 0;
        if (yapo_sampler_create(model, nullptr, &sampler, nullptr) == YAPO_OK) {
            yapo_sampler_sample(sampler, context, 3, &token, nullptr);
            yapo_sampler_free(sampler);
        }
    } else {
        printf("%s\n", yapo_error_message(err));
    }
    yapo_context_free(context);
}

// The same without us: what a program over plain llama.cpp would live through.
int run_unchecked(const std::string & path) {
    ggml_set_abort_callback(nullptr);
    llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = 0;
    llama_model * model = llama_model_load_from_file(path.c_str(), params);
    if (!model) {
        return exit_refused;
    }
    llama_context_params c = llama_context_default_params();
    c.n_ctx = 32, c.n_batch = 8, c.n_ubatch = 8, c.n_threads = c.n_threads_batch = 1;
    if (llama_context * context = llama_init_from_model(model, c)) {
        llama_token tokens[] = {2, 7, 300, 12};
        llama_decode(context, llama_batch_get_one(tokens, 4));
        llama_free(context);
    }
    llama_model_free(model);
    return exit_loaded;
}

int run_case(const std::string & path) {
    if (getenv("YAPO_FUZZ_UNCHECKED")) {
        return run_unchecked(path);
    }
    yapo_model_options options;
    yapo_model_default_options(&options);
    options.gpu_layers = 0;
    yapo_model * model = nullptr;
    yapo_error * err   = nullptr;
    if (yapo_model_load(path.c_str(), &options, &model, &err) != YAPO_OK) {
        const char * message = yapo_error_message(err);
        if (!err || strlen(message) < 10) {
            return exit_undescribed;
        }
        printf("%s\n", message);
        return strstr(message, "GGML_ASSERT") || strstr(message, "fatal error") ? exit_asserted : exit_refused;
    }
    use_model(model);
    decode_some(model);
    yapo_model_free(model);
    return exit_loaded;
}

struct outcome {
    int         exit_code = -1; // -1: killed by a signal or by the time limit
    std::string how;
};

outcome run_in_child(const std::string & path, const std::string & log) {
    fflush(stdout);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        const int out = open(log.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
        dup2(out, 1);
        dup2(out, 2);
        rlimit memory = {8ull << 30, 8ull << 30}, core = {0, 0};
        setrlimit(RLIMIT_AS, &memory);
        setrlimit(RLIMIT_CORE, &core);
        alarm(60); // a hang ends in SIGALRM
        int code = 9;
        try {
            code = run_case(path);
        } catch (const std::exception & e) {
            printf("exception: %s\n", e.what());
        }
        fflush(stdout);
        _exit(code);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {
    }
    outcome result;
    if (WIFEXITED(status)) {
        result.exit_code = WEXITSTATUS(status);
        result.how       = format("exit code %d", result.exit_code);
    } else {
        result.how = format("signal %d (%s)", WTERMSIG(status), WTERMSIG(status) == SIGALRM ? "more than 60 seconds" : strsignal(WTERMSIG(status)));
    }
    return result;
}

// ---- the run -----------------------------------------------------------------------------------------------------

void fuzz(const char * arch, int64_t default_cases) {
    const char *   cases_set = getenv("YAPO_FUZZ_CASES");
    const char *   seed_set  = getenv("YAPO_FUZZ_SEED");
    const int64_t  cases     = cases_set ? atoll(cases_set) : default_cases;
    const uint64_t seed      = seed_set ? strtoull(seed_set, nullptr, 10) : 20;

    const bool   bpe = !strcmp(arch, "bpe"); // a qwen3 model with a byte-level BPE vocabulary
    random_model m;
    m.arch      = bpe ? "qwen3" : arch;
    m.n_layer   = 2;
    m.d_model   = 32;
    m.n_head    = 2;
    m.n_head_kv = 1;
    m.n_ff      = 32;
    m.n_vocab   = 340;
    write_random_model(m, scratch("original.gguf"));
    if (bpe) {
        make_bpe(scratch("original.gguf"), m.n_vocab);
    }
    const bytes  original = read_file(scratch("original.gguf"));
    const fields f        = find_fields(original);
    const std::string path = scratch("case.gguf"), log = scratch("case.log");

    yapo_build_info(); // starts the backends once, for all children
    CHECK_MSG(run_in_child(scratch("original.gguf"), log).exit_code == exit_loaded, "the unchanged file must load");

    std::map<int, int64_t>         count;
    std::map<std::string, int64_t> asserts;
    std::string                    failures;
    const auto begin   = std::chrono::steady_clock::now();
    const auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(); };
    int64_t    done    = 0; // a crowded machine gets to fewer: the processes wait for each other, not for the work
    for (int64_t i = 0; i < cases && (cases_set || elapsed() < 120); ++i, ++done) {
        random_source rng(seed * 1000003 + uint64_t(i));
        write_file(path, mutate(original, f, rng));
        const outcome result = run_in_child(path, log);
        ++count[result.exit_code];
        if (result.exit_code == exit_asserted) {
            const bytes said = read_file(log);
            const std::string text(said.begin(), said.end());
            const size_t at = text.find("GGML_ASSERT");
            ++asserts[text.substr(at == std::string::npos ? 0 : at, 120)];
        }
        if (result.exit_code != exit_refused && result.exit_code != exit_loaded && result.exit_code != exit_asserted) {
            const bytes said = read_file(log);
            failures += format("case %lld of %s, seed %llu: %s\n", (long long) i, arch, (unsigned long long) seed, result.how.c_str()) +
                        std::string(said.begin(), said.begin() + long(std::min<size_t>(said.size(), 600))) + "\n";
            if (const char * keep = getenv("YAPO_FUZZ_KEEP")) {
                write_file(format("%s/%s-%lld.gguf", keep, arch, (long long) i), read_file(path));
            }
        }
    }
    CHECK_MSG(done >= std::min<int64_t>(cases, 100), "only %lld cases in %.0f s", (long long) done, elapsed());
    note("%s: %lld mutated files in %.0f s: %lld refused, %lld still models, %lld of the refusals by llama.cpp's own asserts", arch, (long long) done, elapsed(),
         (long long) (count[exit_refused] + count[exit_asserted]), (long long) count[exit_loaded], (long long) count[exit_asserted]);
    for (const auto & a : asserts) {
        note("  %lld x %s", (long long) a.second, a.first.c_str());
    }
    if (!failures.empty()) {
        FAIL("%s", failures.c_str());
    }
}

} // namespace

YAPO_TEST(ModelFuzz_Gemma2_NeverAborts) { fuzz("gemma2", 1000); }
YAPO_TEST(ModelFuzz_Llama_NeverAborts)  { fuzz("llama", 400); }
YAPO_TEST(ModelFuzz_Gemma3_NeverAborts) { fuzz("gemma3", 400); }
YAPO_TEST(ModelFuzz_Qwen3_NeverAborts)  { fuzz("qwen3", 400); }
YAPO_TEST(ModelFuzz_Bpe_NeverAborts)    { fuzz("bpe", 400); }

#endif
