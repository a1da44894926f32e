/* Ticks through a model: the shared ops once, then those of several windows together, one product of many rows instead
 * of many products of one. */
#ifndef LSTMCORE_LOCKSTEP_H
#define LSTMCORE_LOCKSTEP_H

#include "recurrent.h"
#include "tick_plan.h"

/* The memory of a tick: where the rows of each value are, and room for those that ops make. */
typedef struct {
    const lstmcore_model *model;
    const tick_plan *plan;
    scratch scratch;
    float *chunks; /* [buffer](CHUNK, plan->row) */
    rows *values;  /* of each value; those of inputs, of states and of what is kept are set as they come */
    rows *gates;   /* of each of the plan's gates, likewise */
    rows *reads;   /* of the op that runs */
} tick;

/* 0 where there is no memory; `t` can then be freed as well. */
int lstmcore_tick_new(const lstmcore_model *model, tick *t);
void lstmcore_tick_free(tick *t);

/* Let each value that ops make be in its own buffer again. */
void lstmcore_tick_reset(tick *t);

/* One op without a state in windows in flight, over n rows. */
void lstmcore_tick_apply(tick *t, size_t op, size_t n);

/* The shared ops over `n` ticks, and what they contribute to the gates of a layer. */
void lstmcore_tick_shared(tick *t, size_t n);

/* The same for `n` windows after their step. */
void lstmcore_tick_head(tick *t, size_t n);

/* The gates of layer `op` for n rows: those that are kept, or what its input contributes, formed in the scratch. */
rows lstmcore_tick_gates(tick *t, size_t op, size_t n);

/* One step of `n` windows, at most CHUNK, whose states begin with row `at` of `states`: h[now] -> h[!now]. */
void lstmcore_lockstep(tick *t, const recurrent_state *states, size_t at, size_t n, int now);

/* Multiply-adds of a row in some of the plan's ops. */
size_t lstmcore_work(const lstmcore_model *model, const size_t *ops, size_t n);

/* Write n rows of every output; output k begins at outputs[k] + at*width. */
void lstmcore_tick_put(const tick *t, float *const *outputs, size_t at, size_t n);

#endif
