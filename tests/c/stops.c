/* Stops calls at random moments and goes on: what answers then has the bits of one that was never stopped. Anything
 * else ends the program with status 1.
 *
 *     stops KERNEL            prints what kernel_bits prints
 *     stops KERNEL never      with nobody stopping, to see that missed
 *
 * The core asks after much work, of which random models have little; so here each answer says how much is left until
 * the next question.
 */
#include "trials.h"

static int open_session(lstmcore_model *model, int states, lstmcore_session **session) {
    return lstmcore_session_new(model, states, session);
}

static size_t said;                                  /* how often a call was told to end */
static size_t stopped_runs, stopped_pushes, resumed; /* the last: steps that were stopped within */
static size_t stopped_wholes;                        /* runs of models that keep whole windows */
static size_t stopped_together;                      /* runs of windows in lockstep */

static void soon(watch *w) {
    w->work = WATCH_WORK - 1 - random_bits() % 100000;
}

static int sometimes(void *context) {
    soon(context);
    const int stop = !planted("never") && random_bits() % 4 == 0;
    said += (size_t)stop;
    return stop;
}

static int stopped(int code, const char *what) {
    if (code == LSTMCORE_STOPPED) {
        return 1;
    }
    check(code, what);
    return 0;
}

/* Watched, until it has gone through; and afterwards as ever. */
static void stop_runs(const windows *w, const answers *expected, answers *y) {
    watch *const watched = &w->session->watched;
    check(lstmcore_session_watch(w->session, sometimes, watched), "session_watch");
    for (size_t trial = 0; trial < 4; trial++) {
        soon(watched);
        const size_t was_stopped = (size_t)stopped(run_many(w, y), "run_many");
        stopped_runs += was_stopped;
        stopped_wholes += w->session->plan->wholes != 0 ? was_stopped : 0;
        stopped_together += w->session->together != NULL ? was_stopped : 0;
    }
    check(lstmcore_session_watch(w->session, NULL, NULL), "session_watch");
    check(run_many(w, y), "run_many");
    if (!same_answers(&calls[0], w, y, expected)) {
        fail("lstmcore_run_many", "other bits after it was stopped");
    }
}

/* Rows of each input, or of each output, from `done` on. */
static void rows_on(float *const *arrays, const port *ports, size_t n, const lstmcore_model *model, size_t done,
                    float **on) {
    for (size_t k = 0; k < n; k++) {
        on[k] = arrays[k] + done * model->values[ports[k].value].width;
    }
}

static size_t all_ticks(const lstmcore_streams *s) {
    size_t ticks = 0;
    for (size_t m = 0; m < s->count; m++) {
        ticks += lstmcore_streams_ticks(s, m);
    }
    return ticks;
}

/* n ticks, in calls that may each be stopped. */
static void push_on(lstmcore_streams *s, size_t n, const size_t *which, float *const *x, float *const *y) {
    const lstmcore_model *model = s->model;
    for (size_t done = 0; done < n;) {
        float *some_x[MAX_PORTS], *some_y[MAX_PORTS];
        const size_t before = all_ticks(s);
        rows_on(x, model->inputs, model->n_inputs, model, done, some_x);
        rows_on(y, model->outputs, model->n_outputs, model, done, some_y);
        const int code = lstmcore_streams_push(s, n - done, which + done, (const void *const *)some_x, some_y);
        stopped_pushes += (size_t)stopped(code, "streams_push");
        for (size_t m = 0; m < s->count; m++) {
            resumed += s->rings[m].stepped != 0;
        }
        done += all_ticks(s) - before;
    }
}

/* Ticks of all streams, in calls that are stopped, beside other streams whose calls are not. */
static void stop_pushes(const windows *w, size_t window) {
    const size_t n = 3 * w->n;
    size_t which[3 * MAX_WINDOWS];
    lstmcore_streams *calm, *s;
    float *x[MAX_PORTS] = {NULL}, *y[MAX_PORTS] = {NULL}, *z[MAX_PORTS] = {NULL};
    check(lstmcore_streams_new(w->model, window, w->n, &calm), "streams_new");
    check(lstmcore_streams_new(w->model, window, w->n, &s), "streams_new");
    check(lstmcore_streams_watch(s, sometimes, &s->watched), "streams_watch");
    for (size_t m = 0; m < n; m++) {
        which[m] = m % w->n;
    }
    for (size_t k = 0; k < w->model->n_outputs; k++) {
        y[k] = random_floats(n * output_of(w->model, k)->width, 1.0f);
        z[k] = random_floats(n * output_of(w->model, k)->width, 1.0f);
    }
    for (size_t round = 0; round < window + 3; round++) {
        for (size_t k = 0; k < w->model->n_inputs; k++) {
            x[k] = random_floats(n * input_of(w->model, k)->width, 1.0f);
        }
        check(lstmcore_streams_push(calm, n, which, (const void *const *)x, z), "streams_push");
        soon(&s->watched);
        push_on(s, n, which, x, y);
        stopped_pushes += (size_t)stopped(lstmcore_streams_catch_up(s), "streams_catch_up");
        for (size_t k = 0; k < w->model->n_outputs; k++) {
            if (!same_floats(y[k], z[k], n * output_of(w->model, k)->width)) {
                fail("lstmcore_streams_push", "other bits after it was stopped");
            }
        }
        for (size_t k = 0; k < w->model->n_inputs; k++) {
            free(x[k]);
        }
    }
    for (size_t k = 0; k < w->model->n_outputs; k++) {
        free(y[k]);
        free(z[k]);
    }
    lstmcore_streams_free(calm);
    lstmcore_streams_free(s);
}

static void answer_again(const call *c, const windows *w, const answers *expected) {
    answers y = room_for(w);
    check(c->answer(w, &y), c->name);
    if (!same_answers(c, w, &y, expected)) {
        fail(c->name, "other bits after others were stopped");
    }
    free_answers(&y);
}

/* One model in five, and all that keep whole windows: what is stopped does not hang on every size. */
static void try_windows(const windows *w, const answers *y) {
    static size_t model;
    check(run_many(w, y), "run_many");
    if (model++ % 5 == 0 || w->session->plan->wholes != 0) {
        answers again = room_for(w);
        stop_runs(w, y, &again);
        if (w->sliding != NULL) {
            stop_pushes(w, w->steps);
        }
        if (w->carried != NULL) {
            stop_pushes(w, 0);
        }
        each_call(w, y, answer_again);
        free_answers(&again);
    }
}

int main(int argc, char **argv) {
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: stops KERNEL [never]\n");
        return 2;
    }
    fault = argc == 3 ? argv[2] : "";
    try_models(argv[1]);
    if (stopped_runs < 20 || stopped_pushes < 20 || resumed < 5 || stopped_wholes < 10 || stopped_together < 5) {
        fprintf(stderr, "%zu runs, %zu with whole windows, %zu in lockstep, %zu pushes, %zu steps\n", stopped_runs,
                stopped_wholes, stopped_together, stopped_pushes, resumed);
        fail("stops", "stopped hardly anything");
    }
    if (said != stopped_runs + stopped_pushes) {
        fprintf(stderr, "told to end %zu times, ended %zu times\n", said, stopped_runs + stopped_pushes);
        fail("stops", "what a call was told was lost");
    }
    return 0;
}
