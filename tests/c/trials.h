/* Many random models to try the calls on: those of kernel_bits.c, whose own calls the preprocessor leads here. A
 * program includes this, defines open_session and try_windows, and calls try_models.
 */
#ifndef TRIALS_H
#define TRIALS_H

#include "lstmcore.h"

/* What kernel_bits calls in place of lstmcore_session_new and lstmcore_run_many. */
static int session_of(lstmcore_model *model, int states, lstmcore_session **session);
static int windows_of(lstmcore_session *session, const void *const *inputs, size_t n, size_t steps,
                      const size_t *lengths, const float *state, float *const *outputs, float *end);

#define main                 kernel_bits
#define lstmcore_session_new session_of
#define lstmcore_run_many    windows_of
#include "kernel_bits.c"
#undef main
#undef lstmcore_session_new
#undef lstmcore_run_many

#include "calls.h"

static const char *fault = ""; /* what the program was asked to plant */

static int planted(const char *name) {
    return strcmp(fault, name) == 0;
}

static _Noreturn void fail(const char *call_name, const char *what) {
    fprintf(stderr, "%s: %s\n", call_name, what);
    exit(1);
}

static lstmcore_streams *streams_of(const windows *w, size_t window) {
    if (window == 0 ? !lstmcore_model_carries(w->model) : !lstmcore_model_slides(w->model)) {
        return NULL;
    }
    lstmcore_streams *streams;
    check(lstmcore_streams_new(w->model, window, w->n, &streams), "streams_new");
    return streams;
}

static void open_streams(windows *w) {
    /* A push takes a step of every window in flight: not tried with long windows of large models. */
    w->sliding = w->steps * w->steps * w->model->state_size <= 40000 ? streams_of(w, w->steps) : NULL;
    w->carried = streams_of(w, 0);
    for (size_t k = 0; k < w->model->n_inputs; k++) {
        w->tick[k] = random_floats(w->n * input_of(w->model, k)->width, 1.0f);
    }
    for (size_t k = 0; k < w->model->n_outputs; k++) {
        w->answer[k] = random_floats(w->n * output_of(w->model, k)->width, 1.0f);
    }
    w->kept = random_floats(w->model->state_size, 1.0f);
}

static void close_streams(windows *w) {
    lstmcore_streams_free(w->sliding);
    lstmcore_streams_free(w->carried);
    for (size_t k = 0; k < MAX_PORTS; k++) {
        free(w->tick[k]);
        free(w->answer[k]);
    }
    free(w->kept);
}

/* Room for the answers to windows, and for the states at their end where the session gives them. */
static inline answers room_for(const windows *w) {
    answers a = {.end = w->ends ? random_floats(states_size(w), 1.0f) : NULL};
    for (size_t k = 0; k < w->model->n_outputs; k++) {
        a.y[k] = random_floats(y_size(w, k), 1.0f);
    }
    return a;
}

static inline void free_answers(answers *a) {
    for (size_t k = 0; k < MAX_PORTS; k++) {
        free(a->y[k]);
    }
    free(a->end);
}

/* What a program does: lstmcore_session_new, and try the calls on windows, leaving their answers in y. */
static int open_session(lstmcore_model *model, int states, lstmcore_session **session);
static void try_windows(const windows *w, const answers *y);

static lstmcore_model *session_model; /* whose session was opened last */
static int session_ends;              /* and whether it gives the states at the end */

static int session_of(lstmcore_model *model, int states, lstmcore_session **session) {
    session_model = model;
    session_ends = states;
    return open_session(model, states, session);
}

static int windows_of(lstmcore_session *session, const void *const *inputs, size_t n, size_t steps,
                      const size_t *lengths, const float *state, float *const *outputs, float *end) {
    const uint64_t draws = random_state; /* those of kernel_bits go on as without us */
    windows w = {.model = session_model, .session = session, .n = n, .steps = steps};
    w.lengths = lengths;
    w.state = state;
    w.ends = session_ends;
    answers y = {.end = end};
    memcpy(w.x, inputs, w.model->n_inputs * sizeof *inputs);
    memcpy(y.y, outputs, w.model->n_outputs * sizeof *outputs);
    open_streams(&w);
    try_windows(&w, &y);
    close_streams(&w);
    random_state = draws;
    return LSTMCORE_OK;
}

static void try_models(char *kernel_name) {
    char *arguments[] = {"kernel_bits", kernel_name, NULL};
    if (kernel_bits(2, arguments) != 0) {
        exit(1);
    }
    for (size_t n = 0; n < CALLS; n++) {
        if (tried[n] == 0) {
            fail(calls[n].name, "fits none of the models");
        }
    }
}

#endif
