/* What the header lets threads do at the same time, for ThreadSanitizer to look at: sessions and slidings of one model,
 * made, used and freed by several threads, slidings with helpers, and one sliding that several threads push into, which
 * is refused and must do no harm. Answers are compared with those of one thread; a difference ends with status 1.
 *
 *     threads KERNEL
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lstmcore.h"

enum { THREADS = 4, ROUNDS = 12, FEATURES = 3, HIDDEN = 9, TICKS = 40, WINDOW = 34 };

static float weights[4 * HIDDEN * (HIDDEN + FEATURES)], series[TICKS * FEATURES];
static float window_answer[HIDDEN], tick_answers[TICKS * HIDDEN];
static lstmcore_model *model;
static lstmcore_sliding *shared;
static _Atomic int refused;

static void check(int code, const char *what) {
    if (code != LSTMCORE_OK) {
        fprintf(stderr, "%s: %s\n", what, lstmcore_error(code));
        exit(1);
    }
}

static void compare(const float *got, const float *expected, size_t n, const char *what) {
    if (memcmp(got, expected, n * sizeof *got) != 0) {
        fprintf(stderr, "%s: other bits in a thread\n", what);
        exit(1);
    }
}

static int go_on(void *context) {
    atomic_fetch_add((_Atomic int *)context, 0);
    return 0;
}

static void run_window(float *y) {
    lstmcore_session *session;
    check(lstmcore_session_new(model, &session), "session_new");
    check(lstmcore_session_watch(session, go_on, &refused), "session_watch");
    check(lstmcore_run(session, series, TICKS, NULL, NULL, y), "run");
    lstmcore_session_free(session);
}

static void push_ticks(float *y, int helper) {
    lstmcore_sliding *sliding;
    const size_t only = 0;
    check(lstmcore_sliding_new(model, WINDOW, 1, &sliding), "sliding_new");
    if (helper >= 0) {
        check(lstmcore_sliding_start_helper(sliding, helper, -1), "start_helper");
    }
    for (size_t t = 0; t < TICKS; t++) {
        check(lstmcore_sliding_push(sliding, 1, &only, series + t * FEATURES, y + t * HIDDEN), "push");
        if (t % 3 == 0 && lstmcore_sliding_behind(sliding)) {
            check(lstmcore_sliding_catch_up(sliding), "catch_up");
        }
    }
    lstmcore_sliding_free(sliding);
}

static void *work(void *which) {
    const int thread = *(const int *)which;
    float y[TICKS * HIDDEN];
    for (int round = 0; round < ROUNDS; round++) {
        run_window(y);
        compare(y, window_answer, HIDDEN, "run");
        push_ticks(y, (thread + round) % 3 - 1);
        compare(y, tick_answers, TICKS * HIDDEN, "push");
        (void)lstmcore_model_kernel(model);
        (void)lstmcore_model_slides(model);
        for (size_t t = 0; t < TICKS; t++) { /* one at a time gets in */
            const size_t only = 0;
            (void)lstmcore_sliding_behind(shared);
            int code = lstmcore_sliding_push(shared, 1, &only, series + t * FEATURES, y);
            if (code == LSTMCORE_BUSY) {
                atomic_fetch_add(&refused, 1);
                code = LSTMCORE_OK;
            }
            check(code, "push into a shared sliding");
        }
    }
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: threads KERNEL\n");
        return 2;
    }
    unsigned state = 1;
    for (size_t n = 0; n < sizeof weights / sizeof *weights; n++) {
        state = state * 1664525u + 1013904223u;
        weights[n] = (float)(state >> 8) / (float)(1 << 24) - 0.5f;
        series[n % (TICKS * FEATURES)] = weights[n] * 3.0f;
    }
    check(lstmcore_model_new(argv[1], FEATURES, &model), "model_new");
    check(lstmcore_model_add_lstm(model, HIDDEN, weights, weights, weights, 0), "add_lstm");
    lstmcore_model *twin = model; /* one whose first sessions the threads make */
    run_window(window_answer);
    push_ticks(tick_answers, -1);
    check(lstmcore_model_new(argv[1], FEATURES, &model), "model_new");
    check(lstmcore_model_add_lstm(model, HIDDEN, weights, weights, weights, 0), "add_lstm");
    check(lstmcore_sliding_new(twin, WINDOW, 1, &shared), "sliding_new");
    lstmcore_model_free(twin);
    pthread_t threads[THREADS];
    int numbers[THREADS];
    for (int n = 0; n < THREADS; n++) {
        numbers[n] = n;
        check(pthread_create(&threads[n], NULL, work, &numbers[n]), "pthread_create");
    }
    for (int n = 0; n < THREADS; n++) {
        pthread_join(threads[n], NULL);
    }
    lstmcore_sliding_free(shared);
    lstmcore_model_free(model);
    return 0;
}
