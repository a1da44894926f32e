/* Rows of numbers on their way from op to op, and the memory that ops work in. */
#ifndef LSTMCORE_ROWS_H
#define LSTMCORE_ROWS_H

#include <stdint.h>

#include "plan.h"

/* Rows begin `row` floats apart; where `row` is 0 there is one, the same for all. */
typedef struct {
    const float *at;
    size_t row;
} rows;

/* From where to where an op goes, found once: between two ops of a tick a processor waits for each look-up. */
typedef struct {
    const op *op;
    const rows *in; /* of its first read */
    const rows *out;
} way;

/* Where the ops under way read and write, and what recurrent ones form on their way. */
typedef struct {
    const lstmcore_model *model;
    const kernel *kernel;
    const int *sources; /* of each value: the one whose rows it has, itself or another */
    rows *values;       /* of those */
    way *ways;          /* of each op */
    size_t gates_row;   /* floats in a row of `gates` */
    float *gates;       /* (CHUNK, gates_row) */
    float *products;    /* as gates, for variants */
    float *work;        /* the gates of a variant, and one more */
    float *state;       /* the h, old and new, and the c of a sequence of one step */
    size_t state_row;
} scratch;

static inline rows rows_of(const scratch *s, int v) {
    return s->values[s->sources[v]];
}

static inline rows from_row(rows r, size_t at) {
    return (rows){r.at + at * r.row, r.row};
}

/* 0 where there is no memory; `s` can then be freed as well. */
int lstmcore_scratch_new(const lstmcore_model *model, const int *sources, scratch *s);
void lstmcore_scratch_free(scratch *s);

/* `n` rows, from row `at` on, through ops that carry no state, one after the other. The rows that an op makes may be
 * where those of its first read are, for one that works in place, and are otherwise apart from all that it reads. They
 * have room up to the next multiple of ROW, and what is beyond the op's width has no meaning. A recurrent op takes the
 * first step of a sequence for each row. */
void lstmcore_apply(const scratch *s, const size_t *ops, size_t n_ops, size_t at, size_t n);

/* An op that chooses, joins or compares rows. */
void lstmcore_join_rows(const scratch *s, const op *o, size_t at, size_t n);

/* n rows of `width` numbers as the caller's, without padding, with the one NaN and without subnormal numbers. */
void lstmcore_put(float *y, size_t n, size_t width, rows from);

#endif
