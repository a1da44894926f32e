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

/* What recurrent ops form on their way. */
typedef struct {
    const kernel *kernel;
    size_t gates_row; /* floats in a row of `gates` */
    float *gates;     /* (CHUNK, gates_row) */
    float *products;  /* as gates, for variants */
    float *work;      /* the gates of a variant, and one more */
    float *state;     /* the h, old and new, and the c of a sequence of one step */
    size_t state_row;
} scratch;

/* 0 where there is no memory; `s` can then be freed as well. */
int lstmcore_scratch_new(const lstmcore_model *model, scratch *s);
void lstmcore_scratch_free(scratch *s);

/* `n` rows through an op that carries no state. `out` may be where the first of `in` is, for an op that works in
 * place, and is otherwise apart from all of them. Rows of `out` are as long as cache lines allow, and what is beyond
 * the op's width has no meaning. */
void lstmcore_apply(const kernel *k, const lstmcore_model *model, const op *o, size_t n, const rows *in, float *out,
                    size_t out_row);

/* n rows of `width` numbers as the caller's, without padding, with the one NaN and without subnormal numbers. */
void lstmcore_put(float *y, size_t n, size_t width, rows from);

#endif
