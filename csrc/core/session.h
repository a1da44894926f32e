/* A session's memory, and how rows pass through the layers: what the entries of the core share. */
#ifndef LSTMCORE_SESSION_H
#define LSTMCORE_SESSION_H

#include "model.h"
#include "watch.h"

/* A window goes through all layers a few steps at a time, so that what lies between two layers stays in the nearest
 * caches and a session's memory does not grow with the window. No row buffer holds more rows. */
enum { CHUNK = 32 };

/* The state of a recurrent layer in some sequences, rows of h_row and of c_row; h has two places, for old and new. */
typedef struct {
    float *h[2];
    float *c;
} recurrent_state;

struct lstmcore_session {
    lstmcore_model *model; /* read only, but counts its users */
    size_t row;            /* floats in a row of `rows`: the widest layer's or state's, rounded up */
    size_t gates_row;      /* floats in a row of `gates` */
    float *rows[2];        /* (CHUNK, row): what goes into a layer and what comes out of it, in turn */
    float *gates;          /* (CHUNK, gates_row) */
    float *pages;          /* (CHUNK + 1, PAGE): gates of a layer with colored weights, and room to work; NULL: none */
    float *products;       /* as gates, for variants */
    float *work;           /* the gates of a variant, and one more */
    float *flat;           /* (steps*in,) of a Flatten */
    size_t flat_used;
    int from_zero;           /* no step has been taken since all states were set to zero */
    recurrent_state *states; /* of one sequence, one for each op; empty where it is not recurrent. h[0] is the newest */
    watch watched;           /* by whom the calls with this session may be stopped */
    const float *bound_x;    /* what lstmcore_bind was given */
    size_t bound_steps;
    float *bound_y;
};

/* Rows on their way through the layers. `own` says that `at` is the session's memory and may be overwritten. */
typedef struct {
    const float *at;
    size_t row, rows, width;
    int own;
} stream;

/* Make `rows` sequences from row `at` on begin anew, with h[now] current. */
void lstmcore_states_zero(const op *o, const recurrent_state *state, int now, size_t at, size_t rows);

/* Zero states of `rows` sequences for each op of the model; NULL where memory is short. */
recurrent_state *lstmcore_states_new(const lstmcore_model *model, size_t rows);
void lstmcore_states_free(const lstmcore_model *model, recurrent_state *states);

/* Where a layer may put its rows: the buffer that `in` does not stand in. */
static inline float *other_rows(lstmcore_session *s, const stream *in) {
    return s->rows[in->at == s->rows[0]];
}

/* Send rows through one layer that carries no state. Returns 0 where nothing goes on until the window's last rows have
 * come. */
int lstmcore_apply(lstmcore_session *s, size_t op, stream *in, int last);

/* Send each row of `in` through the ops from `from` on, which carry no state, and write the answers to y. */
void lstmcore_answer(lstmcore_session *s, size_t from, stream *in, float *y);

/* The rows as the caller's, without padding and with the one NaN. */
void lstmcore_put(float *y, const stream *rows);

#endif
