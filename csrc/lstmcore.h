/* lstmcore: the forward pass of LSTM, GRU and RNN models, one sequence at a time, on one CPU core.
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
 * Lifetimes. Weights are copied: the caller's arrays may go once the call returns. A session or sliding keeps its model
 * alive, so they may be freed in any order. A model is only read once it has a session; many threads may share it. A
 * session belongs to one thread at a time.
 *
 * Alignment. Arrays that come in or go out need a float's alignment and nothing more. Exactly the elements named
 * are read or written, never a padded number of them.
 *
 * Precision. All arrays are float32. A model that begins by subtracting a large mean (lstmcore_model_add_affine) sees
 * inputs that are rounded already: next to 61,800 every 0.004. Where that is too coarse, subtract in double, and hand
 * over the difference.
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
    LSTMCORE_SEALED = 5,         /* a layer added to a model that has a session */
    LSTMCORE_BUSY = 6,           /* a sliding is in use, by another thread or an interrupted call; nothing was done */
    LSTMCORE_STOPPED = 7         /* the caller's own function has stopped it: see lstmcore_session_watch */
};

/* What a code means, as a sentence without a full stop. */
const char *lstmcore_error(int code);

typedef struct lstmcore_model lstmcore_model;
typedef struct lstmcore_session lstmcore_session;
typedef struct lstmcore_sliding lstmcore_sliding;

typedef enum {
    LSTMCORE_RELU,
    LSTMCORE_LEAKY_RELU, /* alpha: the slope below zero */
    LSTMCORE_ELU,        /* alpha: minus the limit at minus infinity */
    LSTMCORE_GELU,
    LSTMCORE_GELU_TANH,
    LSTMCORE_TANH,
    LSTMCORE_SIGMOID,
    LSTMCORE_LINEAR,           /* x */
    LSTMCORE_AFFINE,           /* alpha*x + beta, fused */
    LSTMCORE_THRESHOLDED_RELU, /* x above alpha, else 0 */
    LSTMCORE_SCALED_TANH,      /* alpha*tanh(beta*x) */
    LSTMCORE_HARD_SIGMOID,     /* alpha*x + beta, cut to [0, 1] */
    LSTMCORE_SOFTSIGN,         /* x / (1 + |x|) */
    LSTMCORE_SOFTPLUS,         /* log(1 + e^x) */
    LSTMCORE_SILU,             /* x*sigmoid(x) */
    LSTMCORE_SELU,
    LSTMCORE_RELU6, /* x cut to [0, 6] */
    LSTMCORE_EXPONENTIAL,
    LSTMCORE_HARD_TANH, /* x cut to [-1, 1] */
    LSTMCORE_MISH,      /* x*tanh(softplus(x)) */
    LSTMCORE_HARD_SILU  /* x*relu6(x + 3)/6 */
} lstmcore_activation;

/* A function with its numbers; alpha and beta count only where the list above says so. */
typedef struct {
    lstmcore_activation kind;
    float alpha, beta;
} lstmcore_function;

typedef enum { LSTMCORE_LSTM, LSTMCORE_GRU, LSTMCORE_RNN } lstmcore_cell;

/* A recurrent layer other than the usual ones. G is the number of gates: 4 of an LSTM (i, f, g, o), 3 of a GRU (r, z,
 * n), 1 of an RNN. R is the width of h: proj, or where that is 0 hidden. What is 0 or NULL is left out. */
typedef struct {
    lstmcore_cell cell;
    size_t hidden, proj;         /* proj, LSTM: h = weight_hr*(o*output(c)) */
    lstmcore_function gate;      /* LSTM: of i, f, o; GRU: of r, z */
    lstmcore_function candidate; /* LSTM: of g; GRU: of n; RNN: the only one */
    lstmcore_function output;    /* LSTM: of c */
    float clip;                  /* what goes into gate and candidate is cut to [-clip, clip] before */
    int coupled;                 /* LSTM: f = 1 - i */
    int reset_after;        /* GRU: n = candidate(Wx + b + r*(Rh + b_hn)), else candidate(Wx + b + R(r*h) + b_hn) */
    const float *weight_ih; /* (G*hidden, I) */
    const float *weight_hh; /* (G*hidden, R) */
    const float *bias_ih;   /* (G*hidden,) or NULL, as bias_hh */
    const float *bias_hh;
    const float *weight_hr; /* (proj, hidden), with proj */
    const float *peephole;  /* LSTM: (3*hidden,) of i, f, o. i and f see the old c, o the new one */
    /* LSTM: layer norms, the first three all there or NULL: gates = LN(Wx)*norm_ih + LN(Rh)*norm_hh + biases, each LN
     * over all 4*hidden values, and output(LN(c)*norm_c + norm_c_bias) in the place of output(c). */
    const float *norm_ih, *norm_hh, *norm_c, *norm_c_bias; /* (4*hidden,) twice, (hidden,) twice */
    float norm_eps;                                        /* LN(x) = (x - mean) / sqrt(variance + norm_eps) */
} lstmcore_variant;

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
const char *lstmcore_model_kernel(const lstmcore_model *model); /* NULL of NULL */

/* Layers, in order, LSTM, GRU, RNN and variant being the recurrent ones. I is the width that comes in, at first
 * input_size. Matrices are row-major, as in torch. */

/* weight_ih (4*hidden, I), weight_hh (4*hidden, hidden), bias (4*hidden,), the sum of torch's two; gates stacked
 * in the order i, f, g, o. With all_steps every step's h goes on, else the last step's. */
int lstmcore_model_add_lstm(lstmcore_model *model, size_t hidden, const float *weight_ih, const float *weight_hh,
                            const float *bias, int all_steps);
/* weight_ih (3*hidden, I), weight_hh (3*hidden, hidden), biases (3*hidden,); gates stacked in the order r, z, n.
 * n = tanh(W_n*x + b_in + r*(R_n*h + b_hn)), h' = (1 - z)*n + z*h, formed as n + z*(h - n). */
int lstmcore_model_add_gru(lstmcore_model *model, size_t hidden, const float *weight_ih, const float *weight_hh,
                           const float *bias_ih, const float *bias_hh, int all_steps);
/* weight_ih (hidden, I), weight_hh (hidden, hidden), bias (hidden,), the sum of torch's two; LSTMCORE_TANH or
 * LSTMCORE_RELU. */
int lstmcore_model_add_rnn(lstmcore_model *model, size_t hidden, const float *weight_ih, const float *weight_hh,
                           const float *bias, lstmcore_activation activation, int all_steps);
int lstmcore_model_add_variant(lstmcore_model *model, const lstmcore_variant *how, int all_steps);
/* weight (outputs, I), bias (outputs,) */
int lstmcore_model_add_linear(lstmcore_model *model, size_t outputs, const float *weight, const float *bias);
/* x*scale + shift, fused; scale and shift (I,) */
int lstmcore_model_add_affine(lstmcore_model *model, const float *scale, const float *shift);
int lstmcore_model_add_activation(lstmcore_model *model, lstmcore_activation kind, float alpha, float beta);
/* (x - mean) / sqrt(variance + eps) * weight + bias over the features of each step; weight and bias (I,), or NULL for
 * ones and zeros; eps at least 0. */
int lstmcore_model_add_layer_norm(lstmcore_model *model, const float *weight, const float *bias, float eps);
/* (steps, I) -> (I,): the last step alone. */
int lstmcore_model_add_last(lstmcore_model *model);
int lstmcore_model_add_softmax(lstmcore_model *model);
/* All steps as one vector, (steps, I) -> (steps*I,); the model then takes windows of `steps` steps only. */
int lstmcore_model_add_flatten(lstmcore_model *model, size_t steps);

/* A session: the memory that a run needs, allocated once. */
int lstmcore_session_new(lstmcore_model *model, lstmcore_session **session);
void lstmcore_session_free(lstmcore_session *session);

/* Answer one window.
 *   x: (steps, input_size), steps at least 1
 *   h0, c0: the initial states, each recurrent layer's values one behind the other, or NULL for zeros: in h0 `hidden`
 *           of each, or its variant's `proj`; in c0 `hidden` of each that is an LSTM
 *   y: (outputs,), or (steps, outputs) where every step goes on */
int lstmcore_run(lstmcore_session *session, const float *x, size_t steps, const float *h0, const float *c0, float *y);

/* Let calls that take long be stopped: in the course of a run, after every so much work (some 10 ms of it; with the
 * scalar kernel some 100), `stop(context)` is called, in the thread and in the floating-point mode of the caller.
 * Where it returns another value than 0 the run ends with LSTMCORE_STOPPED; y then holds some answers or none, and the
 * session may be used again. A short run may end before anybody is asked. `stop` may do anything but use the session.
 * NULL: nobody is asked. */
int lstmcore_session_watch(lstmcore_session *session, int (*stop)(void *context), void *context);

/* For callers to whom an argument costs time: fix x, steps and y, which must outlive their use, then run with the
 * session alone, from zero states. */
int lstmcore_bind(lstmcore_session *session, const float *x, size_t steps, float *y);
int lstmcore_run_bound(lstmcore_session *session);

/* lstmcore_run for n windows, x (n, steps, input_size), h0 and c0 n times what lstmcore_run takes, y n answers, one
 * behind the other. */
int lstmcore_run_many(lstmcore_session *session, const float *x, size_t n, size_t steps, const float *h0,
                      const float *c0, float *y);

/* The answers to every window of a series: x (ticks, input_size), the windows `window` ticks long, the first at tick 0,
 * each `stride` ticks after the one before, (ticks - window) / stride + 1 of them; y (windows, outputs). For models
 * that slide. Allocates, and so may run out of memory. */
int lstmcore_run_windows(lstmcore_session *session, const float *x, size_t ticks, size_t window, size_t stride,
                         float *y);

/* Ticks as they come. A sliding serves `streams` sequences of ticks, each with a state of its own; it belongs to one
 * thread at a time.
 *
 * With a `window` it answers, at every tick, the last `window` ticks from zero states, with the bits of lstmcore_run
 * over them, after one step. For models that slide (1): those that answer from the last step of a recurrent layer.
 *
 * With a `window` of 0 the states are carried without an end, and the answer after n ticks has the bits of lstmcore_run
 * over all n. For models with a recurrent layer and without a Flatten. */
int lstmcore_model_slides(const lstmcore_model *model);
int lstmcore_sliding_new(lstmcore_model *model, size_t window, size_t streams, lstmcore_sliding **sliding);
void lstmcore_sliding_free(lstmcore_sliding *sliding);

/* A tick of each of n streams, in this order where one occurs twice: x (n, input_size), y (n, outputs), NaN before the
 * stream's `window`th tick. A step of each layer uses a product that was formed when the stream caught up. */
int lstmcore_sliding_push(lstmcore_sliding *sliding, size_t n, const size_t *streams, const float *x, float *y);

/* As lstmcore_session_watch, for every call that pushes, catches up or reads a state. One that is stopped leaves whole
 * states: a push has taken some of its ticks, from the first on, or none; lstmcore_sliding_ticks tells how many, and
 * the rest can be pushed again. What was to be caught up with still is. */
int lstmcore_sliding_watch(lstmcore_sliding *sliding, int (*stop)(void *context), void *context);

/* Fix x and y, which must outlive their use; then push ticks of stream 0. */
int lstmcore_sliding_bind(lstmcore_sliding *sliding, const float *x, float *y);
int lstmcore_sliding_push_bound(lstmcore_sliding *sliding);

/* Let the windows still in flight take the last tick's step, and form the products that the next one will use. The next
 * push does so first where nobody else has. */
int lstmcore_sliding_catch_up(lstmcore_sliding *sliding);

/* For callers who let others run while a push catches up. 1 where a push into stream 0 would first let its windows in
 * flight take a step, or wait for the helper that does, else 0; and the same as catching up, but in haste: what the
 * next push reads is not brought to the nearest cache. */
int lstmcore_sliding_behind(const lstmcore_sliding *sliding);
int lstmcore_sliding_hurry(lstmcore_sliding *sliding);

/* A thread that catches up after every push, until it is stopped or the sliding is freed. With `spins` it waits busily,
 * else it sleeps, and to wake it is a system call in every push. `cpu` is where it must run, -1 anywhere. The child of
 * a fork has no helper: its calls go on as if none had been started. LSTMCORE_CANNOT_RUN where a thread cannot be tied
 * to a processor, LSTMCORE_BAD_ARGUMENT where there is none such. */
int lstmcore_sliding_start_helper(lstmcore_sliding *sliding, int spins, int cpu);
void lstmcore_sliding_stop_helper(lstmcore_sliding *sliding);

/* Begin a stream again. */
int lstmcore_sliding_reset(lstmcore_sliding *sliding, size_t stream);

/* How many ticks of a stream have come. */
size_t lstmcore_sliding_ticks(const lstmcore_sliding *sliding, size_t stream);

/* A stream's state: how many ticks have come, and lstmcore_sliding_state_size() floats,
 * [layer][h, then c where there is one][window in flight, the oldest first][unit]; there is one state where the window
 * is 0. */
size_t lstmcore_sliding_state_size(const lstmcore_sliding *sliding);
int lstmcore_sliding_get_state(lstmcore_sliding *sliding, size_t stream, float *state, size_t *ticks);
int lstmcore_sliding_set_state(lstmcore_sliding *sliding, size_t stream, const float *state, size_t ticks);

#ifdef __cplusplus
}
#endif

#endif
