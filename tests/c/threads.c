/* What the header lets threads do at the same time, for ThreadSanitizer to look at: sessions and streams of one model,
 * made, used and freed by several threads, streams with helpers, and some that several threads push into, which is
 * refused and must do no harm. The model is a graph with a join, so that something is kept of each tick. Answers are
 * compared with those of one thread; a difference ends with status 1.
 *
 *     threads KERNEL
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lstmcore.h"

enum { THREADS = 4, ROUNDS = 12, FEATURES = 3, HIDDEN = 9, ANSWER = HIDDEN + FEATURES, TICKS = 40, WINDOW = 34 };

static float weights[4 * HIDDEN * (HIDDEN + FEATURES)], series[TICKS * FEATURES];
static float window_answer[ANSWER], tick_answers[TICKS * ANSWER];
static lstmcore_model *model;
static lstmcore_streams *shared;
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

/* Tick by tick an LSTM beside its input, then an RNN that reads both; and of the last step, beside it, the newest step
 * of a layer backwards in time. */
static lstmcore_model *new_model(const char *kernel_name) {
    lstmcore_model *m;
    lstmcore_value x, h, joined, y, last, back, newest, answer;
    check(lstmcore_model_new(kernel_name, &m), "model_new");
    check(lstmcore_model_add_input(m, "ticks", LSTMCORE_SEQUENCE, FEATURES, LSTMCORE_FLOAT32, &x), "add_input");
    check(lstmcore_model_add_lstm(m, x, HIDDEN, weights, weights, weights, &h), "add_lstm");
    check(lstmcore_model_add_join(m, LSTMCORE_CONCAT, (lstmcore_value[]){x, h}, 2, &joined), "add_join");
    check(lstmcore_model_add_rnn(m, joined, HIDDEN, weights, weights, weights, LSTMCORE_TANH, &y), "add_rnn");
    check(lstmcore_model_add_last(m, y, &last), "add_last");
    check(lstmcore_model_add_reverse(m, x, &back), "add_reverse");
    check(lstmcore_model_add_rnn(m, back, FEATURES, weights, weights, weights, LSTMCORE_TANH, &back), "add_rnn");
    check(lstmcore_model_add_reverse(m, back, &back), "add_reverse");
    check(lstmcore_model_add_last(m, back, &newest), "add_last");
    check(lstmcore_model_add_join(m, LSTMCORE_CONCAT, (lstmcore_value[]){last, newest}, 2, &answer), "add_join");
    check(lstmcore_model_add_output(m, "answer", answer), "add_output");
    check(lstmcore_model_seal(m), "seal");
    return m;
}

static void run_window(float *y) {
    lstmcore_session *session;
    check(lstmcore_session_new(model, 0, &session), "session_new");
    check(lstmcore_session_watch(session, go_on, &refused), "session_watch");
    check(lstmcore_run(session, (const void *[]){series}, TICKS, NULL, (float *[]){y}, NULL), "run");
    lstmcore_session_free(session);
}

static int push_tick(lstmcore_streams *streams, size_t t, float *y) {
    const size_t only = 0;
    return lstmcore_streams_push(streams, 1, &only, (const void *[]){series + t * FEATURES}, (float *[]){y});
}

static void push_ticks(float *y, int helper) {
    lstmcore_streams *streams;
    check(lstmcore_streams_new(model, WINDOW, 1, &streams), "streams_new");
    if (helper >= 0) {
        check(lstmcore_streams_start_helper(streams, helper, -1), "start_helper");
    }
    for (size_t t = 0; t < TICKS; t++) {
        check(push_tick(streams, t, y + t * ANSWER), "push");
        if (t % 3 == 0 && lstmcore_streams_behind(streams)) {
            check(lstmcore_streams_catch_up(streams), "catch_up");
        }
    }
    lstmcore_streams_free(streams);
}

static void *work(void *which) {
    const int thread = *(const int *)which;
    float y[TICKS * ANSWER];
    for (int round = 0; round < ROUNDS; round++) {
        run_window(y);
        compare(y, window_answer, ANSWER, "run");
        push_ticks(y, (thread + round) % 3 - 1);
        compare(y, tick_answers, TICKS * ANSWER, "push");
        (void)lstmcore_model_kernel(model);
        (void)lstmcore_model_slides(model);
        if (lstmcore_model_add_last(model, 0, NULL) != LSTMCORE_SEALED || *lstmcore_model_error(model) != 0) {
            fprintf(stderr, "add_last: a sealed model was changed\n");
            exit(1);
        }
        for (size_t t = 0; t < TICKS; t++) { /* one at a time gets in */
            (void)lstmcore_streams_behind(shared);
            int code = push_tick(shared, t, y);
            if (code == LSTMCORE_BUSY) {
                atomic_fetch_add(&refused, 1);
                code = LSTMCORE_OK;
            }
            check(code, "push into shared streams");
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
    lstmcore_model *const twin = model = new_model(argv[1]);
    run_window(window_answer);
    push_ticks(tick_answers, -1);
    model = new_model(argv[1]); /* whose first sessions the threads make */
    check(lstmcore_streams_new(twin, WINDOW, 1, &shared), "streams_new");
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
    lstmcore_streams_free(shared);
    lstmcore_model_free(model);
    return 0;
}
