/* Many random models to try the calls on: those of kernel_bits.c, whose own calls the preprocessor leads here, and
 * others whose layers come in any order. A program includes this, defines open_session and try_windows, and calls
 * try_models.
 */
#ifndef TRIALS_H
#define TRIALS_H

#include "lstmcore.h"

/* What kernel_bits calls in place of lstmcore_session_new and lstmcore_run_many. */
static int session_of(lstmcore_model *model, lstmcore_session **session);
static int windows_of(lstmcore_session *session, const float *x, size_t n, size_t steps, const float *h0,
                      const float *c0, float *y);

#define main                 kernel_bits
#define lstmcore_session_new session_of
#define lstmcore_run_many    windows_of
#include "kernel_bits.c"
#undef main
#undef lstmcore_session_new
#undef lstmcore_run_many

#include "any_layer.h"
#include "calls.h"

static const char *fault = ""; /* what the program was asked to plant */

static int planted(const char *name) {
    return strcmp(fault, name) == 0;
}

static _Noreturn void fail(const char *call_name, const char *what) {
    fprintf(stderr, "%s: %s\n", call_name, what);
    exit(1);
}

static lstmcore_sliding *sliding_of(const windows *w, size_t window) {
    lstmcore_sliding *sliding;
    const int code = lstmcore_sliding_new(w->model, window, w->n, &sliding);
    if (code == LSTMCORE_BAD_ARGUMENT) {
        return NULL; /* not for this model */
    }
    check(code, "sliding_new");
    return sliding;
}

static void open_slidings(windows *w) {
    /* A push takes a step of every window in flight: not tried with long windows of large models. */
    w->sliding = w->steps * w->steps * w->model->h_states <= 20000 ? sliding_of(w, w->steps) : NULL;
    w->carried = sliding_of(w, 0);
    w->tick = random_floats(w->n * w->model->input_size, 1.0f);
}

static void close_slidings(windows *w) {
    lstmcore_sliding_free(w->sliding);
    lstmcore_sliding_free(w->carried);
    free(w->tick);
}

/* What a program does: lstmcore_session_new, and try the calls on windows, leaving their answers in y. */
static int open_session(lstmcore_model *model, lstmcore_session **session);
static void try_windows(const windows *w, float *y);

static lstmcore_model *session_model; /* whose session was opened last */

static int session_of(lstmcore_model *model, lstmcore_session **session) {
    session_model = model;
    return open_session(model, session);
}

static int windows_of(lstmcore_session *session, const float *x, size_t n, size_t steps, const float *h0,
                      const float *c0, float *y) {
    windows w = {session_model, session, x, n, steps, h0, c0, NULL, NULL, NULL};
    open_slidings(&w);
    try_windows(&w, y);
    close_slidings(&w);
    return LSTMCORE_OK;
}

static void any_model(const char *kernel_name, size_t seed) {
    random_state = seed + 1000; /* not the draws of kernel_bits */
    const size_t input = random_between(1, 40), steps = random_between(1, 70), layers = random_between(1, 6), n = 2;
    lstmcore_model *model;
    check(lstmcore_model_new(kernel_name, input, &model), kernel_name);
    while (model->n_ops < layers) {
        add_any(model, steps);
    }
    lstmcore_session *session;
    check(session_of(model, &session), "session_new");
    windows w = {.model = model, .session = session, .n = n, .steps = steps};
    float *x = random_floats(x_size(&w), 2.0f), *y = random_floats(y_size(&w), 1.0f);
    float *h = random_floats(h_size(&w), 1.0f), *c = random_floats(c_size(&w), 2.0f);
    w.x = x;
    w.h0 = seed & 1 ? h : NULL;
    w.c0 = seed & 2 ? c : NULL;
    open_slidings(&w);
    try_windows(&w, y);
    close_slidings(&w);
    free(x);
    free(y);
    free(h);
    free(c);
    lstmcore_session_free(session);
    lstmcore_model_free(model);
}

enum { ANY_MODELS = 200 };

static void try_models(char *kernel_name) {
    char *arguments[] = {"kernel_bits", kernel_name, NULL};
    if (kernel_bits(2, arguments) != 0) {
        exit(1);
    }
    for (size_t seed = 0; seed < ANY_MODELS; seed++) {
        any_model(kernel_name, seed);
    }
    for (size_t n = 0; n < CALLS; n++) {
        if (tried[n] == 0) {
            fail(calls[n].name, "fits none of the models");
        }
    }
}

#endif
