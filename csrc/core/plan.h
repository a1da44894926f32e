/* How a window goes through a model: which steps of each value are read, in which pass over the window an op runs, and
 * where its rows are kept. */
#ifndef LSTMCORE_PLAN_H
#define LSTMCORE_PLAN_H

#include "program.h"

/* A window goes through the ops of a pass a few steps at a time, so that what lies between two ops stays in the nearest
 * caches and a session's memory does not grow with the window. No buffer of a chunk holds more rows. */
enum { CHUNK = 32 };

/* Which of its steps the readers of a sequence read. Of a vector, LAST: it is read. */
typedef enum { NOBODY, FIRST, LAST, ALL } steps_read;

typedef enum {
    AT_INPUT, /* the caller's array */
    AT_CHUNK, /* `at` says in which buffer of CHUNK rows */
    AT_WHOLE, /* all rows of a window, `at` says in which buffer */
    AT_ONE    /* one row, which begins `at` floats into those of a session */
} place_kind;

typedef struct {
    steps_read read;
    place_kind place;
    size_t at, row; /* row: floats from one row to the next */
    size_t pass;    /* in which it is made */
} place;

typedef enum { NEVER, BY_CHUNKS, ONCE } op_when;

typedef struct plan {
    place *values; /* of each value */
    op_when *when; /* of each op */
    int *sources;  /* of each value: itself, since each has rows of its own */
    size_t n_passes;
    size_t *order;       /* the ops of pass after pass: those that run by chunks, then those that run once */
    size_t *first;       /* (n_passes + 1,) where a pass begins in `order` */
    size_t *once;        /* (n_passes,) where its ops that run once do */
    size_t chunks, row;  /* buffers of chunks, and floats in each of their rows */
    size_t wholes, ones; /* buffers of whole windows; floats of single rows */
} plan;

/* The plan of a whole model; with `states` all recurrent layers take all steps. NULL: no memory. */
plan *lstmcore_plan_new(const lstmcore_model *model, int states);
void lstmcore_plan_free(plan *p);

/* Whether an op may write where its first read is. */
static inline int works_in_place(op_kind kind) {
    return kind == OP_AFFINE || kind == OP_ACTIVATION || kind == OP_SOFTMAX || kind == OP_LAYER_NORM;
}

/* Which steps are read by those of `a` and `b` together. */
static inline steps_read both(steps_read a, steps_read b) {
    return a == NOBODY || a == b ? b : b == NOBODY ? a : ALL;
}

/* Which steps of what it reads an op needs, where `read` are read of what it makes. */
steps_read lstmcore_steps_needed(const op *o, steps_read read);

#endif
