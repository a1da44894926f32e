/* A session: a window's way through the passes of its plan. */
#ifndef LSTMCORE_WINDOW_H
#define LSTMCORE_WINDOW_H

#include "recurrent.h"
#include "watch.h"

/* Beyond any memory, and small enough that no size overflows. */
#define MAX_STEPS (SIZE_MAX / sizeof(float) / MAX_SIZE / 2)

struct together;

struct lstmcore_session {
    lstmcore_model *model; /* read only, but counts its users */
    const plan *plan;
    scratch scratch;
    float *chunks;  /* [buffer](CHUNK, plan->row) */
    float *ones;    /* single rows */
    float **wholes; /* buffers of (room, row of their value) */
    size_t room;    /* steps of the longest window that they hold */
    float *pages;   /* (CHUNK + 1, PAGE): gates of a layer with colored weights, and room to work; NULL: none */
    recurrent_state *states;   /* of one sequence, for each op. h[0] is the newest */
    unsigned char *at_zero;    /* of each op: its state is all zeros, and no step has been taken */
    struct together *together; /* the memory for windows in lockstep; NULL: none have been asked for */
    watch watched;             /* by whom the calls with this session may be stopped */
    /* The window under way */
    const float **inputs;
    float **outputs;
    size_t steps, t, n; /* of the window; at which the chunk begins; rows of it */
    /* What lstmcore_bind was given */
    const void **bound_inputs;
    float **bound_outputs;
    size_t bound_steps;
};

/* Room for windows of `steps` steps where whole windows are kept. */
int lstmcore_reserve_wholes(lstmcore_session *s, size_t steps);

/* One window, in the core's floating-point mode. `state` and `end` as lstmcore_run has them. Returns 0 where the caller
 * stops it. */
int lstmcore_run_window(lstmcore_session *s, size_t steps, const float *state, float *end);

#endif
