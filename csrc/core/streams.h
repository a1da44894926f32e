/* What the files of the streams share. */
#ifndef LSTMCORE_STREAMS_H
#define LSTMCORE_STREAMS_H

#include <stdatomic.h>

#include "lockstep.h"
#include "watch.h"

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

/* Read also by who is not alone with the stream: lstmcore_streams_behind. */
static inline int is_pending(const ring *r) {
    return atomic_load_explicit(&r->pending, memory_order_relaxed);
}
static inline void set_pending(ring *r, int is) {
    atomic_store_explicit(&r->pending, is, memory_order_relaxed);
}

/* A stream after so many ticks, with nothing to catch up with. Another thread may look at `pending`. */
static inline void ring_begin(ring *r, size_t ticks) {
    r->head = r->call = r->stepped = 0;
    r->now = 0;
    r->ticks = ticks;
    set_pending(r, 0);
}

struct lstmcore_streams {
    lstmcore_model *model; /* read only, but counts its users */
    tick tick;
    watch watched;
    size_t window; /* 0: without an end */
    size_t slots;  /* windows in flight in a stream */
    size_t count;
    size_t call; /* number of the call to push, or of the part of it that is under way */
    ring *rings;
    recurrent_state *states; /* for each op, of count*slots sequences */
    kept_ticks kept;         /* each stream's last tick */
    float **products;        /* for each op (count, gates_row): the recurrent product of each stream's oldest window */
    float *h, *c;            /* (CHUNK, plan's row) */
    float *gathered;         /* (CHUNK, gates_row): products of the streams that are answered together */
    const void **zeros;      /* an array of zeros for each input, all the same */
    float **nowhere;         /* room for an answer that nobody wants */
    _Atomic int busy;        /* a thread is in one of the calls */
    const void **bound_inputs;
    float **bound_outputs;
    lstmcore_helper *helper; /* NULL: none */
};

/* Catch up with the last tick of one stream, in the core's floating-point mode. Returns 0 where it was stopped: what is
 * left of the step is still to be taken, by the next call of this. */
int lstmcore_streams_take_step(lstmcore_streams *s, size_t which, watch *watched);

/* The same for every stream that has something to catch up with. */
int lstmcore_streams_take_steps(lstmcore_streams *s, watch *watched);

/* A stream with no ticks yet, in the core's floating-point mode. */
void lstmcore_streams_begin(lstmcore_streams *s, size_t which);

/* The recurrent products of a stream's oldest window, in the core's floating-point mode. */
void lstmcore_streams_form_products(lstmcore_streams *s, size_t which);

/* What an answer is for. PUSH: the tick of a sliding window. CARRY: the states of a stream without an end take the
 * step; FUSED: whose product has not been formed. REHEARSE: nobody wants it, but the next one shall find what it reads
 * in the nearest cache. */
typedef enum { PUSH, CARRY, FUSED, REHEARSE } purpose;

/* One tick of each of n streams, at most CHUNK, no two the same, the first of them row `at` of the arrays. */
void lstmcore_streams_answer(lstmcore_streams *s, size_t n, const size_t *which, const void *const *inputs,
                             float *const *outputs, size_t at, purpose why);

/* To do last what the next answer reads first. */
void lstmcore_streams_rehearse(lstmcore_streams *s);

/* Around every call that touches `s`. To enter is to be alone with it: wait until the helper has done what it began,
 * and take from it what it did not. LSTMCORE_BUSY where another thread is in such a call, LSTMCORE_STOPPED where the
 * caller will not wait; one that may not enter does not leave. */
int lstmcore_streams_enter(lstmcore_streams *s);
void lstmcore_streams_leave(lstmcore_streams *s);

/* What the helper's part of entering is. Returns 0 where the caller will not wait. */
int lstmcore_streams_settle(lstmcore_streams *s);

/* There is something to catch up with. */
void lstmcore_streams_wake(lstmcore_streams *s);

#endif
