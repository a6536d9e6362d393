/* yapo_eval.h - a context with an eval callback of llama.cpp (C11), over the conventions of yapo.h.
 *
 * To measure the route that unpatched libraries have (yapo_stock.h) beside this library's own, on one model in one process. Nothing else
 * needs it: a callback that asks for tensors makes every decode wait for them.
 */
#ifndef YAPO_EVAL_H
#define YAPO_EVAL_H

#include "yapo.h"

#ifdef __cplusplus
extern "C" {
#endif

/* As yapo_context_create. eval: llama.cpp's cb_eval (ggml_backend_sched_eval_callback), as yapo_stock_callback gives it; its user data
 * must outlive the context. */
YAPO_API yapo_status yapo_context_create_with_eval(yapo_model * model, const yapo_context_options * options, void * eval, void * eval_user, yapo_context ** out, yapo_error ** err);

#ifdef __cplusplus
}
#endif

#endif /* YAPO_EVAL_H */
