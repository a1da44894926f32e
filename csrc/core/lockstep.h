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
    scratch scratch; /* `values` of each source; of inputs, states and what is kept they are set as they come */
    float *chunks;   /* [buffer](CHUNK, at most plan->row) */
    rows *gates;     /* of each of the plan's gates, likewise; `at` NULL: they are not kept */
} tick;

/* 0 where there is no memory; `t` can then be freed as well. */
int lstmcore_tick_new(const lstmcore_model *model, tick *t);
void lstmcore_tick_free(tick *t);

/* The rows of a value that an op makes; as far apart as those of a state, so that an op may work in place on one. */
static inline rows lstmcore_tick_buffer(const tick *t, size_t v) {
    return (rows){t->chunks + t->plan->buffers[v] * CHUNK * t->plan->row, round_up(t->model->values[v].width, ROW)};
}

/* Let each value that ops make be in its own buffer again. */
void lstmcore_tick_reset(tick *t);

/* What is kept of ticks for windows that take their step later: of each of the plan's (ticks, row). */
typedef struct {
    float **gates, **values;
} kept_ticks;

/* Of n ticks; 0 where there is no memory; `k` can then be freed as well. */
int lstmcore_kept_new(const lstmcore_model *model, size_t n, kept_ticks *k);
void lstmcore_kept_free(const lstmcore_model *model, kept_ticks *k);

/* Keep row m of the values of the tick under way as tick `at`. */
void lstmcore_keep_values(const tick *t, const kept_ticks *k, size_t m, size_t at);

/* Let what the first window reads in its step be what is kept of tick `at`, and each other's be `apart` ticks on. */
void lstmcore_look_at_kept(tick *t, const kept_ticks *k, size_t at, size_t apart);

/* The step of a layer with a state for n sequences, but for those for which it does not count. Where `products` has
 * rows they are the recurrent products. */
void lstmcore_tick_step(const tick *t, const op *o, rows gates, rows products, size_t n, const float *h_old,
                        float *h_new, float *c);

/* One step of `n` windows, at most CHUNK, whose states begin with row `at` of `states`: h[now] -> h[!now]. Gates that
 * are not in t->gates are formed from what the layer reads. With from_zero it is the windows' first, and nobody gave
 * them a state. */
void lstmcore_lockstep(tick *t, const recurrent_state *states, size_t at, size_t n, int now, int from_zero);

#endif
