// The backward walk; the rules themselves are in rules.cpp.
#include "train/autograd/autograd.h"

#include "train/autograd/kernels.h"
#include "train/autograd/sparse.h"

#include <algorithm>
#include <string>

namespace yapo::autograd {

namespace {

// Children before parents: every source of a node precedes it. Iterative, since graphs are thousands of nodes deep.
std::vector<ggml_tensor *> topological(const std::vector<ggml_tensor *> & roots) {
    std::vector<ggml_tensor *> order;
    std::unordered_set<const ggml_tensor *> done;
    struct frame { ggml_tensor * t; int next; };
    std::vector<frame> stack;
    for (ggml_tensor * root : roots) {
        if (done.insert(root).second) {
            stack.push_back({root, 0});
        }
        while (!stack.empty()) {
            frame & f = stack.back();
            if (f.next < GGML_MAX_SRC) {
                ggml_tensor * src = f.t->src[f.next++];
                if (src && done.insert(src).second) {
                    stack.push_back({src, 0});
                }
            } else {
                order.push_back(f.t);
                stack.pop_back();
            }
        }
    }
    return order;
}

// REPEAT_BACK in plain ops, for what is broadcast from one element of the first or the second dimension.
ggml_tensor * summed(ggml_context * ctx, ggml_tensor * g, const ggml_tensor * like) {
    for (int i = 0; i < GGML_MAX_DIMS; ++i) {
        if (g->ne[i] != like->ne[i] && (i > 1 || like->ne[i] != 1)) {
            fail(YAPO_ERR_UNSUPPORTED, "autograd: no portable gradient of '%s', repeated %lld times in dimension %d", like->name, (long long) (g->ne[i] / like->ne[i]), i);
        }
    }
    if (g->ne[1] != like->ne[1]) {
        ggml_tensor * sums = ggml_sum_rows(ctx, ggml_cont(ctx, ggml_transpose(ctx, g))); // [1, ne0]
        g = ggml_reshape_4d(ctx, sums, g->ne[0], 1, g->ne[2], g->ne[3]);
    }
    return g->ne[0] == like->ne[0] ? g : ggml_sum_rows(ctx, g->nb[0] == ggml_type_size(g->type) ? g : ggml_cont(ctx, g));
}

} // namespace

void tape::seed(ggml_tensor * y, ggml_tensor * dy) {
    if (!ggml_are_same_shape(y, dy)) {
        fail(YAPO_ERR_INTERNAL, "autograd: the seed of %s has another shape than the node", op_name(y).c_str());
    }
    ggml_tensor *& slot = gradients_[y];
    slot = slot ? ggml_add(ctx_, slot, dy) : dy;
}

void tape::set_rule(const ggml_tensor * y, rule r) {
    overrides_[y] = std::move(r);
}

void tape::differentiate(const std::vector<ggml_tensor *> & roots, const std::vector<ggml_tensor *> & wrt) {
    const std::vector<ggml_tensor *> order = topological(roots);

    wanted_.insert(wrt.begin(), wrt.end());
    for (ggml_tensor * t : order) {
        const bool depends = std::any_of(t->src, t->src + GGML_MAX_SRC, [&](ggml_tensor * s) { return wants(s); });
        if (depends) {
            wanted_.insert(t);
        }
    }

    const std::unordered_set<const ggml_tensor *> leaves(wrt.begin(), wrt.end());
    for (auto it = order.rbegin(); it != order.rend(); ++it) {
        ggml_tensor * y = *it;
        if (!wants(y) || leaves.count(y)) {
            continue;
        }
        ggml_tensor * dy = gradient(y);
        if (!dy) {
            continue; // y leads to no seed
        }
        const auto replaced = overrides_.find(y);
        const rule * r = replaced != overrides_.end() ? &replaced->second : find_rule(y);
        if (!r) {
            fail(YAPO_ERR_UNSUPPORTED, "autograd: no backward rule for %s (node '%s')", op_name(y).c_str(), y->name);
        }
        (*r)(*this, y, dy);
    }
}

ggml_tensor * tape::gradient(const ggml_tensor * x) const {
    const auto it = gradients_.find(x);
    return it == gradients_.end() ? nullptr : it->second;
}

void tape::accumulate(ggml_tensor * x, ggml_tensor * g) {
    if (!wants(x)) {
        return;
    }
    g = sum_to(g, x);
    ggml_tensor *& slot = gradients_[x];
    if (slot && is_codes(x)) {
        fail(YAPO_ERR_UNSUPPORTED, "autograd: codes '%s' are decoded twice; their gradients cannot be added", x->name);
    }
    slot = slot ? ggml_add(ctx_, slot, g) : g;
}

ggml_tensor * tape::sum_to(ggml_tensor * g, const ggml_tensor * like) {
    if (ggml_are_same_shape(g, like)) {
        return g;
    }
    if (options_.portable) {
        return summed(ctx_, g, like);
    }
    // REPEAT_BACK takes only the shape of its second argument
    return ggml_repeat_back(ctx_, contiguous(g), const_cast<ggml_tensor *>(like));
}

ggml_tensor * tape::contiguous(ggml_tensor * t) {
    return ggml_is_contiguous(t) ? t : ggml_cont(ctx_, t);
}

ggml_tensor * tape::transposed(ggml_tensor * t) {
    ggml_tensor *& slot = transposed_[t];
    if (!slot) {
        if (is_transpose(t)) {
            slot = contiguous(t->src[0]);
        } else if (is_codes(t)) {
            slot = codes_by_latent(ctx_, t);
        } else if (options_.cpu_kernels && t->type == GGML_TYPE_F32 && t->nb[0] == sizeof(float)) {
            slot = transpose(ctx_, t);
        } else {
            slot = ggml_cont(ctx_, ggml_transpose(ctx_, t));
        }
    }
    return slot;
}

} // namespace yapo::autograd
