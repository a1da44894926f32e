/* Several windows that take each step together: one product of many rows instead of many products of one. */
#ifndef LSTMCORE_LOCKSTEP_H
#define LSTMCORE_LOCKSTEP_H

#include "session.h"

/* The ops that carry state stand between `first` and `last`, both recurrent; what comes before depends on a tick alone,
 * what comes after on the last step alone. */
typedef struct {
    size_t first, last;
    int any; /* there are such */
} span;

/* 1, and *found, where the model has recurrent layers and answers from the last one's last step. */
int lstmcore_find_span(const lstmcore_model *model, span *found);

/* What `n` ticks (n, input_size), at most CHUNK of them, contribute to the gates of the first recurrent layer; rows of
 * `gates` are gates_row apart. */
void lstmcore_tick_gates(lstmcore_session *s, const span *ops, const float *x, size_t n, float *gates,
                         size_t gates_row);

/* One step of at most CHUNK sequences, whose states begin with row `at` of `states`: h[now] -> h[!now]. `gates` are the
 * first of these layers'; with a gates_row of 0 all sequences see the same tick. Returns the last one's h. */
stream lstmcore_lockstep(lstmcore_session *s, const span *ops, const recurrent_state *states, size_t at, size_t rows,
                         int now, const float *gates, size_t gates_row);

#endif
