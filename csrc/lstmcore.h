/* lstmcore: the forward pass of LSTM, GRU and RNN models on one CPU core.
 *
 * A model is a program: values, each made by a layer of values before it. Build it once, give each thread a session of
 * its own, run windows through it:
 *
 *     lstmcore_model *model;
 *     lstmcore_value x, h, last, y;
 *     lstmcore_model_new(NULL, &model);
 *     lstmcore_model_add_input(model, "window", LSTMCORE_SEQUENCE, 10, LSTMCORE_FLOAT32, &x);
 *     lstmcore_model_add_lstm(model, x, 64, w_ih, w_hh, bias, &h);
 *     lstmcore_model_add_last(model, h, &last);
 *     lstmcore_model_add_linear(model, last, 1, w, b, &y);
 *     lstmcore_model_add_output(model, "answer", y);
 *     lstmcore_model_seal(model);
 *     lstmcore_session *session;
 *     lstmcore_session_new(model, 0, &session);
 *     const void *inputs[] = {window};
 *     float *outputs[] = {answer};
 *     lstmcore_run(session, inputs, 50, NULL, outputs, NULL);
 *
 * Values. A sequence has a row of numbers for each step of the window, a vector one row for the window. A step that
 * nobody reads is not computed.
 *
 * Lifetimes. Weights and names are copied: the caller's arrays may go once the call returns. A session or streams keep
 * their model alive, so they may be freed in any order. A sealed model is only read; many threads may share it. A
 * session belongs to one thread at a time.
 *
 * Alignment. Arrays that come in or go out need a float's alignment and nothing more. Exactly the elements named
 * are read or written, never a padded number of them.
 *
 * Precision. All arrays are float32. A model that begins by subtracting a large mean (lstmcore_model_add_affine) sees
 * inputs that are rounded already: next to 61,800 every 0.004. Where that is too coarse, subtract in double, and hand
 * over the difference.
 *
 * Errors. Every function that can fail returns one of the codes below and leaves its output arguments unset;
 * lstmcore_model_error says more. A run allocates where it is a session's first of several windows, or where a model
 * keeps whole windows and this one is longer than all before; lstmcore_session_reserve makes room ahead of it.
 *
 * Results. Every kernel gives the same bits. NaN comes out as the one quiet NaN 0x7fc00000. While a call runs,
 * subnormal numbers count as zero and rounding is to nearest, whatever the caller's settings, which come back
 * before the call returns; lstmcore_model_add_differs alone tells a subnormal number from zero.
 */
#ifndef LSTMCORE_H
#define LSTMCORE_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of this header; lstmcore_version tells the library's, as text. */
#define LSTMCORE_VERSION_MAJOR 0
#define LSTMCORE_VERSION_MINOR 1
#define LSTMCORE_VERSION_PATCH 0
const char *lstmcore_version(void);

enum {
    LSTMCORE_OK = 0,
    LSTMCORE_NO_MEMORY = 1,
    LSTMCORE_BAD_ARGUMENT = 2,   /* a size out of range, or a value that does not fit */
    LSTMCORE_NO_SUCH_KERNEL = 3, /* a kernel name that is not in kernels.def */
    LSTMCORE_CANNOT_RUN = 4,     /* a kernel that this processor, operating system or build cannot run */
    LSTMCORE_SEALED = 5,         /* a layer added to a model that is sealed, or a session of one that is not */
    LSTMCORE_BUSY = 6,           /* streams are in use, by another thread or an interrupted call; nothing was done */
    LSTMCORE_STOPPED = 7         /* the caller's own function has stopped it: see lstmcore_session_watch */
};

/* What a code means, as a sentence without a full stop. */
const char *lstmcore_error(int code);

typedef struct lstmcore_model lstmcore_model;
typedef struct lstmcore_session lstmcore_session;
typedef struct lstmcore_streams lstmcore_streams;

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

/* An empty model. `kernel` names one; NULL takes the environment variable LSTMCORE_KERNEL or, where that is unset or
 * empty, the best kernel that runs here. */
int lstmcore_model_new(const char *kernel, lstmcore_model **model);
void lstmcore_model_free(lstmcore_model *model);
const char *lstmcore_model_kernel(const lstmcore_model *model); /* NULL of NULL */
/* Of a model that is not sealed: what the last call that failed with it found wrong, and in which layer; "" where none
 * has. Such a model belongs to one thread. Of a sealed one: why streams of it cannot have a window or, where it neither
 * slides nor carries, cannot be at all; "" where they can. No call changes that, so that all threads may read it; calls
 * that fail with a sealed model tell by their code alone. */
const char *lstmcore_model_error(const lstmcore_model *model);

/* A value of a model: what an input or a layer is called by the layers that read it. */
typedef int lstmcore_value;

typedef enum { LSTMCORE_SEQUENCE, LSTMCORE_VECTOR } lstmcore_rank;
typedef enum { LSTMCORE_FLOAT32, LSTMCORE_INT32 } lstmcore_dtype;

/* Inputs, before all layers: (steps, width) of a sequence, (width,) of a vector; width 1 to 2^20. The sequences of a
 * window are equally long. No layer reads LSTMCORE_INT32 yet. */
int lstmcore_model_add_input(lstmcore_model *model, const char *name, lstmcore_rank rank, size_t width,
                             lstmcore_dtype dtype, lstmcore_value *out);

/* Layers. I is the width of `in`; `out`, where it is not NULL, is set to the value that the layer makes. Matrices are
 * row-major, as in torch. */

/* weight_ih (4*hidden, I), weight_hh (4*hidden, hidden), bias (4*hidden,), the sum of torch's two; gates stacked
 * in the order i, f, g, o. A sequence becomes that of each step's h. */
int lstmcore_model_add_lstm(lstmcore_model *model, lstmcore_value in, size_t hidden, const float *weight_ih,
                            const float *weight_hh, const float *bias, lstmcore_value *out);
/* weight_ih (3*hidden, I), weight_hh (3*hidden, hidden), biases (3*hidden,); gates stacked in the order r, z, n.
 * n = tanh(W_n*x + b_in + r*(R_n*h + b_hn)), h' = (1 - z)*n + z*h, formed as n + z*(h - n). */
int lstmcore_model_add_gru(lstmcore_model *model, lstmcore_value in, size_t hidden, const float *weight_ih,
                           const float *weight_hh, const float *bias_ih, const float *bias_hh, lstmcore_value *out);
/* weight_ih (hidden, I), weight_hh (hidden, hidden), bias (hidden,), the sum of torch's two; LSTMCORE_TANH or
 * LSTMCORE_RELU. */
int lstmcore_model_add_rnn(lstmcore_model *model, lstmcore_value in, size_t hidden, const float *weight_ih,
                           const float *weight_hh, const float *bias, lstmcore_activation activation,
                           lstmcore_value *out);
int lstmcore_model_add_variant(lstmcore_model *model, lstmcore_value in, const lstmcore_variant *how,
                               lstmcore_value *out);
/* Of a recurrent layer, called by its value. What its sequences begin with instead of zeros: h (R,), c (hidden,) of an
 * LSTM. And which steps count, a sequence of width 1: at a step where it is 0 the layer keeps its states, and h is put
 * out once more. */
int lstmcore_model_set_start(lstmcore_model *model, lstmcore_value layer, const float *h, const float *c);
int lstmcore_model_set_mask(lstmcore_model *model, lstmcore_value layer, lstmcore_value mask);

/* These work on each step for itself, or on a vector. weight (outputs, I), bias (outputs,) */
int lstmcore_model_add_linear(lstmcore_model *model, lstmcore_value in, size_t outputs, const float *weight,
                              const float *bias, lstmcore_value *out);
/* x*scale + shift, fused; scale and shift (I,) */
int lstmcore_model_add_affine(lstmcore_model *model, lstmcore_value in, const float *scale, const float *shift,
                              lstmcore_value *out);
int lstmcore_model_add_activation(lstmcore_model *model, lstmcore_value in, lstmcore_function function,
                                  lstmcore_value *out);
/* (x - mean) / sqrt(variance + eps) * weight + bias over the features of each step; weight and bias (I,), or NULL for
 * ones and zeros; eps at least 0. */
int lstmcore_model_add_layer_norm(lstmcore_model *model, lstmcore_value in, const float *weight, const float *bias,
                                  float eps, lstmcore_value *out);
int lstmcore_model_add_softmax(lstmcore_model *model, lstmcore_value in, lstmcore_value *out);

/* Joins of n values, at least two, all sequences or all vectors; but for LSTMCORE_CONCAT of the same width. */
typedef enum { LSTMCORE_CONCAT, LSTMCORE_SUM, LSTMCORE_MEAN, LSTMCORE_PRODUCT, LSTMCORE_MAXIMUM } lstmcore_join;
int lstmcore_model_add_join(lstmcore_model *model, lstmcore_join how, const lstmcore_value *in, size_t n,
                            lstmcore_value *out);

/* Masks: 1 for each step of which a feature is not `number`, which must not be NaN, else 0, (steps, I) -> (steps, 1);
 * and the steps of `in` where a mask is not 0, with zeros for the others. */
int lstmcore_model_add_differs(lstmcore_model *model, lstmcore_value in, float number, lstmcore_value *out);
int lstmcore_model_add_where(lstmcore_model *model, lstmcore_value in, lstmcore_value mask, lstmcore_value *out);

/* (steps, I) -> (I,): the last step alone. (steps, I) -> (steps, I): from the last step to the first. (steps, I) ->
 * (steps*I,): all steps as one vector; the model then takes windows of `steps` steps only. */
int lstmcore_model_add_last(lstmcore_model *model, lstmcore_value in, lstmcore_value *out);
int lstmcore_model_add_reverse(lstmcore_model *model, lstmcore_value in, lstmcore_value *out);
int lstmcore_model_add_flatten(lstmcore_model *model, lstmcore_value in, size_t steps, lstmcore_value *out);

/* A value that the model answers with: (steps, width) of a sequence, (width,) of a vector. */
int lstmcore_model_add_output(lstmcore_model *model, const char *name, lstmcore_value value);

/* The model is whole: nothing can be added any more, and sessions and streams can be made. */
int lstmcore_model_seal(lstmcore_model *model);

/* How a layer of a sealed model runs, in a session without `states`; counted from 0 in the order in which they were
 * added. */
typedef enum { LSTMCORE_NO_STEP, LSTMCORE_FIRST_STEP, LSTMCORE_LAST_STEP, LSTMCORE_ALL_STEPS } lstmcore_steps;
typedef enum { LSTMCORE_SHARED, LSTMCORE_PER_WINDOW, LSTMCORE_WHOLE_WINDOW } lstmcore_scope;
typedef struct {
    const char *kind;     /* "lstm", "linear", "sum", ... */
    size_t width;         /* of what it makes */
    lstmcore_steps steps; /* which of its steps are read, and so computed; of a vector the last */
    lstmcore_scope scope; /* the same for all windows in flight; of each window; or told by whole windows alone */
    int carried;          /* it has a state that streams carry from tick to tick */
    size_t in_pass;       /* in which pass over a window it runs */
    int whole;            /* all its steps of a window are kept */
} lstmcore_layer;
int lstmcore_model_layer(const lstmcore_model *model, size_t layer, lstmcore_layer *out);

/* Floats of the states of one sequence: of each recurrent layer, in the order in which they were added, h, then of an
 * LSTM c. h is `hidden` wide, or its variant's `proj`. */
size_t lstmcore_model_state_size(const lstmcore_model *model);

/* A session: the memory that a run needs, allocated once. With `states` it can give the states at the end of a window;
 * all recurrent layers then take all steps, whoever reads them. */
int lstmcore_session_new(lstmcore_model *model, int states, lstmcore_session **session);
void lstmcore_session_free(lstmcore_session *session);

/* Make room for any number of windows of `steps` steps: runs of these with this session then never allocate. */
int lstmcore_session_reserve(lstmcore_session *session, size_t steps);

/* Answer one window of `steps` steps, at least 1.
 *   inputs: an array of floats for each input, in the order in which they were added
 *   state: (state_size,) that the recurrent layers begin with, or NULL for zeros or what lstmcore_model_set_start gave
 *   outputs: room for each output, in the order in which they were added
 *   end: room for the states at the end, (state_size,), or NULL; of a session with `states`. A window that begins with
 *        them goes on where the one before ended, but for layers that read their input backwards, which end with its
 *        first step. */
int lstmcore_run(lstmcore_session *session, const void *const *inputs, size_t steps, const float *state,
                 float *const *outputs, float *end);

/* Let calls that take long be stopped: in the course of a run, after every so much work (some 10 ms of it; with the
 * scalar kernel some 100), `stop(context)` is called, in the thread and in the floating-point mode of the caller.
 * Where it returns another value than 0 the run ends with LSTMCORE_STOPPED; outputs then hold some answers or none, and
 * the session may be used again. A short run may end before anybody is asked. `stop` may do anything but use the
 * session. NULL: nobody is asked. */
int lstmcore_session_watch(lstmcore_session *session, int (*stop)(void *context), void *context);

/* For callers to whom an argument costs time: fix the arrays, which must outlive their use, then run with the session
 * alone, without states. */
int lstmcore_bind(lstmcore_session *session, const void *const *inputs, size_t steps, float *const *outputs);
int lstmcore_run_bound(lstmcore_session *session);

/* lstmcore_run for n windows, one behind the other in each array. lengths (n,) says how many steps of each window
 * count, from its first on, 1 to `steps`; answers to the others are not written. NULL: all. Windows of a model that
 * carries (lstmcore_model_carries) take each step together, which takes less time and gives the same bits; but not
 * where `state` or `end` are given and a recurrent layer takes only the newest step. */
int lstmcore_run_many(lstmcore_session *session, const void *const *inputs, size_t n, size_t steps,
                      const size_t *lengths, const float *state, float *const *outputs, float *end);

/* The answers to every window of a series: sequences (ticks, width), vectors (windows, width), the windows `window`
 * ticks long, the first at tick 0, each `stride` ticks after the one before, (ticks - window) / stride + 1 of them;
 * outputs n times what lstmcore_run gives. */
int lstmcore_run_windows(lstmcore_session *session, const void *const *inputs, size_t ticks, size_t window,
                         size_t stride, float *const *outputs);

/* Ticks as they come. Streams are `count` sequences of ticks, each with a state of its own; they belong to one thread
 * at a time.
 *
 * With a `window` they answer, at every tick, the last `window` ticks, with the bits of lstmcore_run over them, after
 * one step. For models that slide (1): whose outputs are vectors, and in which nothing looks ahead but what the newest
 * tick alone decides, as the newest step of a backward layer. lstmcore_model_error says why another model does not.
 *
 * With a `window` of 0 the states are carried without an end, and the answer after n ticks has the bits of lstmcore_run
 * over all n; of an output that is a sequence, the last row. For models that carry (1): the same, but that sequences
 * may come out. */
int lstmcore_model_slides(const lstmcore_model *model);
int lstmcore_model_carries(const lstmcore_model *model);
int lstmcore_streams_new(lstmcore_model *model, size_t window, size_t count, lstmcore_streams **streams);
void lstmcore_streams_free(lstmcore_streams *streams);

/* A tick of each of the n streams `which`, in this order where one occurs twice: inputs (n, width) each, outputs (n,
 * width), NaN before the stream's `window`th tick. A step of each layer uses a product that was formed when the stream
 * caught up; one without an end that has not caught up forms it within the step. A vector counts for this tick's answer
 * alone. */
int lstmcore_streams_push(lstmcore_streams *streams, size_t n, const size_t *which, const void *const *inputs,
                          float *const *outputs);

/* As lstmcore_session_watch, for every call that pushes, catches up or reads a state. One that is stopped leaves whole
 * states: a push has taken some of its ticks, from the first on, or none; lstmcore_streams_ticks tells how many, and
 * the rest can be pushed again. What was to be caught up with still is. */
int lstmcore_streams_watch(lstmcore_streams *streams, int (*stop)(void *context), void *context);

/* Fix the arrays, which must outlive their use; then push ticks of stream 0. */
int lstmcore_streams_bind(lstmcore_streams *streams, const void *const *inputs, float *const *outputs);
int lstmcore_streams_push_bound(lstmcore_streams *streams);

/* Let the windows still in flight take the last tick's step, and form the products that the next one will use. The next
 * push into a sliding window does so first where nobody else has. */
int lstmcore_streams_catch_up(lstmcore_streams *streams);

/* For callers who let others run while a push catches up. 1 where a push into stream 0 would first let its windows in
 * flight take a step, or wait for the helper that does, else 0; and the same as catching up, but in haste: what the
 * next push reads is not brought to the nearest cache. */
int lstmcore_streams_behind(const lstmcore_streams *streams);
int lstmcore_streams_hurry(lstmcore_streams *streams);

/* A thread that catches up after every push, until it is stopped or the streams are freed. With `spins` it waits
 * busily, else it sleeps, and to wake it is a system call in every push. `cpu` is where it must run, -1 anywhere. The
 * child of a fork has no helper: its calls go on as if none had been started. LSTMCORE_CANNOT_RUN where a thread cannot
 * be tied to a processor, LSTMCORE_BAD_ARGUMENT where there is none such. */
int lstmcore_streams_start_helper(lstmcore_streams *streams, int spins, int cpu);
void lstmcore_streams_stop_helper(lstmcore_streams *streams);

/* Begin a stream again. */
int lstmcore_streams_reset(lstmcore_streams *streams, size_t which);

/* How many ticks of a stream have come. */
size_t lstmcore_streams_ticks(const lstmcore_streams *streams, size_t which);

/* A stream's state: how many ticks have come, and lstmcore_streams_state_size() floats,
 * [layer][h, then c where there is one][window in flight, the oldest first][unit]; there is one state where the window
 * is 0. Layers whose only step is the newest tick's keep none. */
size_t lstmcore_streams_state_size(const lstmcore_streams *streams);
int lstmcore_streams_get_state(lstmcore_streams *streams, size_t which, float *state, size_t *ticks);
int lstmcore_streams_set_state(lstmcore_streams *streams, size_t which, const float *state, size_t ticks);

#ifdef __cplusplus
}
#endif

#endif
