/* How a model follows ticks: what all windows in flight share, what each has of its own, and what only whole windows
 * can tell. */
#ifndef LSTMCORE_TICK_PLAN_H
#define LSTMCORE_TICK_PLAN_H

#include "plan.h"

typedef enum {
    SHARED,      /* the newest tick alone decides it, the same for all windows */
    PER_WINDOW,  /* where the window began enters: it hangs on a state */
    WHOLE_WINDOW /* it depends on a step other than the newest in another way */
} scope;

/* Something shared that the windows in flight read when they take the tick's step, perhaps later. */
typedef struct {
    int of; /* a value, or the recurrent op whose gates it is */
    size_t row;
} kept;

typedef struct tick_plan {
    scope *scopes; /* of each value */
    int slides, carries;
    int stopper; /* the first op that neither slides nor carries, -1: none */
    /* Ops: those that a state hangs on, or that make one, first the shared ones; those that only an answer needs. Not
     * those that of a tick put out the row that they read. */
    size_t n_shared, n_updates, n_head;
    size_t *shared, *updates, *head;
    size_t n_each; /* the first ops of `head`: an answer is read at every step of a window, not only at the last */
    unsigned char *carried; /* of each op: it has a state in every window in flight */
    int all_carried;        /* every recurrent op is */
    size_t n_values, n_gates;
    kept *values, *gates;
    int *gates_of;   /* of each op: which of `gates` are its own, -1: none */
    int *sources;    /* of each value: the one whose row it is, another's where its op moves nothing */
    size_t *buffers; /* of each source: in which buffer of CHUNK rows it is */
    size_t chunks, row;
    size_t step_work, tick_work; /* multiply-adds of a row: in the updates; in all ops */
} tick_plan;

/* The plan of a model whose first plan is made. NULL: no memory. */
tick_plan *lstmcore_tick_plan_new(const lstmcore_model *model);
void lstmcore_tick_plan_free(tick_plan *p);

#endif
