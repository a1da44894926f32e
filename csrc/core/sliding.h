/* What sliding.c and the helper thread share. */
#ifndef LSTMCORE_SLIDING_H
#define LSTMCORE_SLIDING_H

#include "lockstep.h"

typedef struct lstmcore_helper lstmcore_helper;

/* One stream. Its windows stand in `slots` rows of every array of states, the oldest in row `head`. */
typedef struct {
    size_t head;
    size_t ticks;        /* that came since the stream began */
    size_t call;         /* the last one that it was part of */
    int now;             /* which of a state's h[] is current */
    _Atomic int pending; /* a tick was answered, and not all other windows have taken its step yet */
    size_t stepped;      /* how many of the slots have */
} ring;

struct lstmcore_sliding {
    const lstmcore_model *model;
    lstmcore_session *scratch; /* rows and gates, and the layers that carry no state */
    span ops;
    size_t window; /* 0: without an end */
    size_t slots;  /* windows in flight in a stream */
    size_t streams;
    size_t step_work; /* of one window in flight */
    size_t tick_work; /* of an answer */
    size_t call;      /* number of the call to push, or of the part of it that is under way */
    ring *rings;
    recurrent_state *states; /* for each op, of streams*slots sequences */
    float *gates;     /* (streams, gates_row): what each stream's last tick contributes to the first recurrent layer */
    float **products; /* for each op (streams, gates_row): the recurrent product of each stream's oldest window */
    float *h, *c;     /* (CHUNK, scratch->row) */
    float *gathered;  /* (CHUNK, scratch->gates_row): products of the streams that are answered together */
    float *rehearsal; /* a tick of zeros, and room for the answer to it */
    _Atomic int busy; /* a thread is in one of the calls */
    const float *bound_x;
    float *bound_y;
    lstmcore_helper *helper; /* NULL: none */
};

/* Catch up with the last tick of one stream, in the core's floating-point mode. Returns 0 where it was stopped: what is
 * left of the step is still to be taken, by the next call of this. */
int lstmcore_sliding_take_step(lstmcore_sliding *s, size_t which, watch *watched);

/* The same for every stream that has something to catch up with. */
int lstmcore_sliding_take_steps(lstmcore_sliding *s, watch *watched);

/* A stream with no ticks yet, in the core's floating-point mode. */
void lstmcore_sliding_begin(lstmcore_sliding *s, size_t which);

/* The recurrent products of a stream's oldest window, in the core's floating-point mode. */
void lstmcore_sliding_form_products(lstmcore_sliding *s, size_t which);

/* Around every call that touches `s`. To enter is to be alone with it: wait until the helper has done what it began,
 * and take from it what it did not. LSTMCORE_BUSY where another thread is in such a call, LSTMCORE_STOPPED where the
 * caller will not wait; one that may not enter does not leave. */
int lstmcore_sliding_enter(lstmcore_sliding *s);
void lstmcore_sliding_leave(lstmcore_sliding *s);

/* What the helper's part of entering is. Returns 0 where the caller will not wait. */
int lstmcore_sliding_settle(lstmcore_sliding *s);

/* There is something to catch up with. */
void lstmcore_sliding_wake(lstmcore_sliding *s);

#endif
