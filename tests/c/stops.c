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
#include "core/sliding.h"

static int open_session(lstmcore_model *model, lstmcore_session **session) {
    return lstmcore_session_new(model, session);
}

static size_t said;                                  /* how often a call was told to end */
static size_t stopped_runs, stopped_pushes, resumed; /* the last: steps that were stopped within */

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
static void stop_runs(const windows *w, const float *answers, float *y) {
    watch *const watched = &w->session->watched;
    check(lstmcore_session_watch(w->session, sometimes, watched), "session_watch");
    for (size_t trial = 0; trial < 4; trial++) {
        soon(watched);
        stopped_runs += (size_t)stopped(run_many(w, y), "run_many");
    }
    check(lstmcore_session_watch(w->session, NULL, NULL), "session_watch");
    check(run_many(w, y), "run_many");
    if (memcmp(y, answers, y_size(w) * sizeof *y) != 0) {
        fail("lstmcore_run_many", "other bits after it was stopped");
    }
}

/* Ticks of all streams, in calls that are stopped, beside another sliding whose calls are not. */
static void stop_pushes(const windows *w, size_t window) {
    const size_t features = w->model->input_size, width = w->model->width;
    size_t streams[3 * MAX_WINDOWS];
    lstmcore_sliding *calm, *s;
    check(lstmcore_sliding_new(w->model, window, w->n, &calm), "sliding_new");
    check(lstmcore_sliding_new(w->model, window, w->n, &s), "sliding_new");
    watch *const watched = &s->scratch->watched;
    check(lstmcore_sliding_watch(s, sometimes, watched), "sliding_watch");
    const size_t n = 3 * w->n;
    float *x = random_floats(n * features, 1.0f), *y = random_floats(n * width, 1.0f),
          *z = random_floats(n * width, 1.0f);
    for (size_t m = 0; m < n; m++) {
        streams[m] = m % w->n;
    }
    for (size_t round = 0; round < window + 3; round++) {
        for (size_t m = 0; m < n * features; m++) {
            x[m] = random_float(1.0f);
        }
        check(lstmcore_sliding_push(calm, n, streams, x, z), "sliding_push");
        soon(watched);
        for (size_t done = 0; done < n;) {
            size_t before = 0, after = 0;
            for (size_t m = 0; m < w->n; m++) {
                before += lstmcore_sliding_ticks(s, m);
            }
            const int code = lstmcore_sliding_push(s, n - done, streams + done, x + done * features, y + done * width);
            stopped_pushes += (size_t)stopped(code, "sliding_push");
            for (size_t m = 0; m < w->n; m++) {
                after += lstmcore_sliding_ticks(s, m);
                resumed += s->rings[m].stepped != 0;
            }
            done += after - before;
        }
        stopped_pushes += (size_t)stopped(lstmcore_sliding_catch_up(s), "sliding_catch_up");
        if (memcmp(y, z, n * width * sizeof *y) != 0) {
            fail("lstmcore_sliding_push", "other bits after it was stopped");
        }
    }
    free(x);
    free(y);
    free(z);
    lstmcore_sliding_free(calm);
    lstmcore_sliding_free(s);
}

static void answer_again(const call *c, const windows *w, const float *answers) {
    float *y = random_floats(y_size(w), 1.0f);
    check(c->answer(w, y), c->name);
    if (memcmp(y, answers, y_size(w) * sizeof *y) != 0) {
        fail(c->name, "other bits after others were stopped");
    }
    free(y);
}

/* One model in five: what is stopped does not hang on every size. */
static void try_windows(const windows *w, float *y) {
    static size_t model;
    check(run_many(w, y), "run_many");
    if (model++ % 5 == 0) {
        float *again = random_floats(y_size(w), 1.0f);
        const uint64_t state = random_state; /* the draws of kernel_bits go on as without us */
        stop_runs(w, y, again);
        if (w->sliding != NULL) {
            stop_pushes(w, w->steps);
        }
        if (w->carried != NULL) {
            stop_pushes(w, 0);
        }
        each_call(w, y, answer_again);
        random_state = state;
        free(again);
    }
}

int main(int argc, char **argv) {
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: stops KERNEL [never]\n");
        return 2;
    }
    fault = argc == 3 ? argv[2] : "";
    try_models(argv[1]);
    if (stopped_runs < 20 || stopped_pushes < 20 || resumed < 5) {
        fprintf(stderr, "%zu runs, %zu pushes, %zu steps\n", stopped_runs, stopped_pushes, resumed);
        fail("stops", "stopped hardly anything");
    }
    if (said != stopped_runs + stopped_pushes) {
        fprintf(stderr, "told to end %zu times, ended %zu times\n", said, stopped_runs + stopped_pushes);
        fail("stops", "what a call was told was lost");
    }
    return 0;
}
