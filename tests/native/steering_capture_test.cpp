// Captured residuals: batch order, every ubatch, before and after steering, and no influence on the result.
#include "session.h"

using namespace yapo_test;

namespace {

const dictionary sae(64, 96, 3);
const std::vector<int32_t> layers = {0, 0, 2, 3, 3};
const std::vector<int32_t> sites  = {YAPO_CAPTURE_BEFORE, YAPO_CAPTURE_AFTER, YAPO_CAPTURE_AFTER, YAPO_CAPTURE_BEFORE, YAPO_CAPTURE_AFTER};

} // namespace

YAPO_TEST(Capture_DoesNotChangeLogits) {
    model   m((random_model()));
    context c(m);
    const auto tokens = random_tokens(30, 1);
    c.decode(whole(tokens));
    const auto plain = c.logits();
    c.capture(layers, sites);
    c.clear();
    c.decode(whole(tokens));
    check_same_bits("with captures", c.logits(), plain);
    check_same_bits("without steering before is after", c.captured(0), c.captured(1));
    c.capture({}, {});
    c.clear();
    c.decode(whole(tokens));
    check_same_bits("captures stopped", c.logits(), plain);
}

YAPO_TEST(Capture_SplitOverUbatches_SameRows) {
    // llama: no F16 table in the way, see steering_batch_test.cpp
    random_model spec;
    spec.arch = "llama";
    model m(spec);
    const auto tokens = random_tokens(40, 1);
    std::vector<std::vector<float>> wanted;
    for (uint32_t n_ubatch : {0u, 16u, 7u, 1u}) {
        sizes s;
        s.n_ubatch = n_ubatch, s.n_seq_max = 2;
        context c(m, s);
        c.attach({sae.vector(0, 40, 1), random_dense(3, 64, 2)});
        c.capture(layers, sites);
        batch b;
        for (int32_t i = 0; i < 20; ++i) { // two sequences, interleaved
            b.add(tokens[i], i, 0, true, {1.0f, 0.1f * i});
            b.add(tokens[20 + i], i, 1, true, {-0.1f * i, 1.0f});
        }
        c.decode(b);
        for (int32_t slot = 0; slot < 5; ++slot) {
            const auto got = c.captured(slot);
            if (n_ubatch == 0) {
                wanted.push_back(got);
            } else {
                check_close(format("ubatches of %u, slot %d", n_ubatch, slot).c_str(), got, wanted[slot], 2e-5);
            }
        }
    }
}

YAPO_TEST(Capture_LastBlockWithoutOutput_IsNaN) {
    model m((random_model()));
    const auto tokens = random_tokens(20, 1);
    for (uint32_t n_ubatch : {0u, 4u}) {
        sizes s;
        s.n_ubatch = n_ubatch;
        context full(m, s), c(m, s);
        full.capture(layers, sites);
        full.decode(whole(tokens));
        c.capture(layers, sites);
        batch b = whole(tokens);
        for (int32_t i = 0; i < 20; ++i) b.outputs[i] = i == 2 || i == 13 || i == 19;
        c.decode(b);
        for (int32_t slot : {3, 4}) {
            const auto got = c.captured(slot), want = full.captured(slot);
            for (int32_t i = 0; i < 20; ++i) {
                for (int32_t j = 0; j < c.d; ++j) {
                    const float x = got[i * c.d + j];
                    CHECK_MSG(b.outputs[i] ? std::fabs(x - want[i * c.d + j]) < 1e-3f : std::isnan(x), "row %d: %g", i, double(x));
                }
            }
        }
        for (float x : c.captured(2)) CHECK(std::isfinite(x)); // inner blocks hold every row
    }
}

YAPO_TEST(Capture_BadArguments_Refused) {
    model   m((random_model()));
    context c(m);
    std::vector<float> x(64 * 64);
    const auto set = [&](int32_t layer, int32_t site, const char * part) {
        REFUSED(YAPO_ERR_INVALID_ARGUMENT, part, yapo_context_set_capture(c.handle, &layer, &site, 1, &err));
    };
    set(4, 0, "blocks 0 to 3");
    set(-1, 0, "blocks 0 to 3");
    set(0, 2, "sites[0] is 2");
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "n is 1000", yapo_context_set_capture(c.handle, nullptr, nullptr, 1000, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "0 captures are set", yapo_context_captured(c.handle, 0, x.data(), 64 * 64, &err));
    c.capture({1}, {0});
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "nothing is captured", yapo_context_captured(c.handle, 0, x.data(), 64 * 64, &err));
    c.decode(whole(random_tokens(5, 1)));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "slot is 1", yapo_context_captured(c.handle, 1, x.data(), 64 * 64, &err));
    REFUSED(YAPO_ERR_INVALID_ARGUMENT, "expected at least 320", yapo_context_captured(c.handle, 0, x.data(), 319, &err));
    OK(yapo_context_captured(c.handle, 0, x.data(), 320, &err));
}
