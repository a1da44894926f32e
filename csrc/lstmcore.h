/* lstmcore: the forward pass of LSTM models, one sequence at a time, on one CPU core.
 *
 * Build a model once, give each thread a session of its own, run windows through it:
 *
 *     lstmcore_model *model;
 *     lstmcore_model_new(NULL, 10, &model);
 *     lstmcore_model_add_lstm(model, 64, w_ih, w_hh, bias, 0);
 *     lstmcore_model_add_linear(model, 1, w, b);
 *     lstmcore_session *session;
 *     lstmcore_session_new(model, &session);
 *     lstmcore_run(session, x, 50, NULL, NULL, y);
 *
 * Lifetimes. Weights are copied: the caller's arrays may go once the call returns. A session reads its model, so
 * the model must outlive it. A model is only read once it has a session; many threads may share it. A session
 * belongs to one thread at a time.
 *
 * Alignment. Arrays that come in or go out need a float's alignment and nothing more. Exactly the elements named
 * are read or written, never a padded number of them.
 *
 * Errors. Every function that can fail returns one of the codes below and leaves its output arguments unset.
 * lstmcore_run cannot allocate and so cannot run out of memory.
 *
 * Results. Every kernel gives the same bits. NaN comes out as the one quiet NaN 0x7fc00000. While a call runs,
 * subnormal numbers count as zero and rounding is to nearest, whatever the caller's settings, which come back
 * before the call returns.
 */
#ifndef LSTMCORE_H
#define LSTMCORE_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    LSTMCORE_OK = 0,
    LSTMCORE_NO_MEMORY = 1,
    LSTMCORE_BAD_ARGUMENT = 2,   /* a size out of range, or a layer that does not fit behind the last one */
    LSTMCORE_NO_SUCH_KERNEL = 3, /* a kernel name that is not in kernels.def */
    LSTMCORE_CANNOT_RUN = 4,     /* a kernel that this processor, operating system or build cannot run */
    LSTMCORE_SEALED = 5          /* a layer added to a model that has a session */
};

/* What a code means, as a sentence without a full stop. */
const char *lstmcore_error(int code);

typedef struct lstmcore_model lstmcore_model;
typedef struct lstmcore_session lstmcore_session;

typedef enum {
    LSTMCORE_RELU,
    LSTMCORE_LEAKY_RELU, /* alpha: the slope below zero */
    LSTMCORE_ELU,        /* alpha: minus the limit at minus infinity */
    LSTMCORE_GELU,
    LSTMCORE_GELU_TANH,
    LSTMCORE_TANH,
    LSTMCORE_SIGMOID
} lstmcore_activation;

/* The kernels there are, 0 to lstmcore_kernel_count() - 1, best first, whether or not they can run here. */
int lstmcore_kernel_count(void);
const char *lstmcore_kernel_name(int kernel);
/* 1 where the kernel was built and the processor and operating system can run it, else 0. */
int lstmcore_kernel_built(int kernel);
int lstmcore_kernel_runs(int kernel);

/* A model for ticks of `input_size` features, 1 to 2^20. `kernel` names one; NULL takes the environment variable
 * LSTMCORE_KERNEL or, where that is unset or empty, the best kernel that runs here. */
int lstmcore_model_new(const char *kernel, size_t input_size, lstmcore_model **model);
void lstmcore_model_free(lstmcore_model *model);
const char *lstmcore_model_kernel(const lstmcore_model *model);

/* Layers, in order. I is the width that comes in, at first input_size. Matrices are row-major, as in torch. */

/* weight_ih (4*hidden, I), weight_hh (4*hidden, hidden), bias (4*hidden,), the sum of torch's two; gates stacked
 * in the order i, f, g, o. With all_steps every step's h goes on, else the last step's. */
int lstmcore_model_add_lstm(lstmcore_model *model, size_t hidden, const float *weight_ih, const float *weight_hh,
                            const float *bias, int all_steps);
/* weight (outputs, I), bias (outputs,) */
int lstmcore_model_add_linear(lstmcore_model *model, size_t outputs, const float *weight, const float *bias);
/* x*scale + shift, fused; scale and shift (I,) */
int lstmcore_model_add_affine(lstmcore_model *model, const float *scale, const float *shift);
int lstmcore_model_add_activation(lstmcore_model *model, lstmcore_activation kind, float alpha);
int lstmcore_model_add_softmax(lstmcore_model *model);
/* All steps as one vector, (steps, I) -> (steps*I,); the model then takes windows of `steps` steps only. */
int lstmcore_model_add_flatten(lstmcore_model *model, size_t steps);

/* A session: the memory that a run needs, allocated once. */
int lstmcore_session_new(lstmcore_model *model, lstmcore_session **session);
void lstmcore_session_free(lstmcore_session *session);

/* Answer one window.
 *   x: (steps, input_size), steps at least 1
 *   h0, c0: the initial states, each layer's `hidden` values one behind the other, or NULL for zeros
 *   y: (outputs,), or (steps, outputs) where every step goes on */
int lstmcore_run(lstmcore_session *session, const float *x, size_t steps, const float *h0, const float *c0, float *y);

/* For callers to whom an argument costs time: fix x, steps and y, which must outlive their use, then run with the
 * session alone, from zero states. */
int lstmcore_bind(lstmcore_session *session, const float *x, size_t steps, float *y);
int lstmcore_run_bound(lstmcore_session *session);

/* lstmcore_run for n windows, x (n, steps, input_size), h0 and c0 (n, states), y n answers one behind the other. */
int lstmcore_run_many(lstmcore_session *session, const float *x, size_t n, size_t steps, const float *h0,
                      const float *c0, float *y);

#ifdef __cplusplus
}
#endif

#endif
