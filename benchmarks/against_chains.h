/* The functions of lstmcore.h over those of a revision whose models were chains, for benchmarks/against.c. Only what
 * that calls: each layer must read the one before it. */
#include <stdlib.h>

typedef int lstmcore_value;
typedef enum { LSTMCORE_SEQUENCE, LSTMCORE_VECTOR } lstmcore_rank;
typedef enum { LSTMCORE_FLOAT32, LSTMCORE_INT32 } lstmcore_dtype;

typedef struct {
    char kernel[32];
    lstmcore_model *model;
} chain;

static int chain_new(const char *kernel, chain **out) {
    chain *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return LSTMCORE_NO_MEMORY;
    }
    strncpy(c->kernel, kernel == NULL ? "" : kernel, sizeof c->kernel - 1);
    *out = c;
    return LSTMCORE_OK;
}

static void chain_free(chain *c) {
    lstmcore_model_free(c->model);
    free(c);
}

static const char *chain_kernel(const chain *c) {
    return lstmcore_model_kernel(c->model);
}

static const char *chain_error(const chain *c) {
    (void)c;
    return "see the code";
}

static int chain_input(chain *c, const char *name, lstmcore_rank rank, size_t width, lstmcore_dtype dtype,
                       lstmcore_value *out) {
    (void)name, (void)rank, (void)dtype;
    *out = 0;
    return lstmcore_model_new(c->kernel[0] ? c->kernel : NULL, width, &c->model);
}

static int chain_output(chain *c, const char *name, lstmcore_value v) {
    (void)c, (void)name, (void)v;
    return LSTMCORE_OK;
}

static int chain_seal(chain *c) {
    (void)c;
    return LSTMCORE_OK;
}

static int chain_lstm(chain *c, lstmcore_value in, size_t hidden, const float *w, const float *r, const float *b,
                      lstmcore_value *out) {
    *out = in + 1;
    return lstmcore_model_add_lstm(c->model, hidden, w, r, b, 1);
}

static int chain_gru(chain *c, lstmcore_value in, size_t hidden, const float *w, const float *r, const float *b,
                     const float *d, lstmcore_value *out) {
    *out = in + 1;
    return lstmcore_model_add_gru(c->model, hidden, w, r, b, d, 1);
}

static int chain_linear(chain *c, lstmcore_value in, size_t outputs, const float *w, const float *b,
                        lstmcore_value *out) {
    *out = in + 1;
    return lstmcore_model_add_linear(c->model, outputs, w, b);
}

static int chain_affine(chain *c, lstmcore_value in, const float *scale, const float *shift, lstmcore_value *out) {
    *out = in + 1;
    return lstmcore_model_add_affine(c->model, scale, shift);
}

static int chain_activation(chain *c, lstmcore_value in, lstmcore_function f, lstmcore_value *out) {
    *out = in + 1;
    return lstmcore_model_add_activation(c->model, f.kind, f.alpha, f.beta);
}

static int chain_last(chain *c, lstmcore_value in, lstmcore_value *out) {
    *out = in + 1;
    return lstmcore_model_add_last(c->model);
}

static int chain_session(chain *c, int states, lstmcore_session **out) {
    (void)states;
    return lstmcore_session_new(c->model, out);
}

static int chain_streams(chain *c, size_t window, size_t count, lstmcore_sliding **out) {
    return lstmcore_sliding_new(c->model, window, count, out);
}

static int chain_bind(lstmcore_sliding *s, const void *const *inputs, float *const *outputs) {
    return lstmcore_sliding_bind(s, inputs[0], outputs[0]);
}

#define FUNCTIONS(F)                                   \
    F(lstmcore_error, lstmcore_error)                  \
    F(lstmcore_model_new, chain_new)                   \
    F(lstmcore_model_free, chain_free)                 \
    F(lstmcore_model_kernel, chain_kernel)             \
    F(lstmcore_model_error, chain_error)               \
    F(lstmcore_model_add_input, chain_input)           \
    F(lstmcore_model_add_lstm, chain_lstm)             \
    F(lstmcore_model_add_gru, chain_gru)               \
    F(lstmcore_model_add_linear, chain_linear)         \
    F(lstmcore_model_add_affine, chain_affine)         \
    F(lstmcore_model_add_activation, chain_activation) \
    F(lstmcore_model_add_last, chain_last)             \
    F(lstmcore_model_add_output, chain_output)         \
    F(lstmcore_model_seal, chain_seal)                 \
    F(lstmcore_session_new, chain_session)             \
    F(lstmcore_session_free, lstmcore_session_free)    \
    F(lstmcore_streams_new, chain_streams)             \
    F(lstmcore_streams_free, lstmcore_sliding_free)    \
    F(lstmcore_streams_bind, chain_bind)

#define RUN(handle, x, steps, y)                 lstmcore_run(handle, x, steps, NULL, NULL, y)
#define RUN_WINDOWS(handle, x, ticks, window, y) lstmcore_run_windows(handle, x, ticks, window, 1, y)
#define PUSH_TICK(handle, stream, x, y)          lstmcore_sliding_push(handle, 1, stream, x, y)
#define lstmcore_streams_push_bound              lstmcore_sliding_push_bound
#define lstmcore_streams_catch_up                lstmcore_sliding_catch_up
