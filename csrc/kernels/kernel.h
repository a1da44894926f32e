/* What a kernel offers to the core, and the data both read. */
#ifndef LSTMCORE_KERNEL_H
#define LSTMCORE_KERNEL_H

#include <stddef.h>

#include "lstmcore.h"

/* Every row of every buffer is a multiple of this many floats long: one cache line, the widest vector. */
#define ROW 16

/* What makes the new state of a unit from its gates. */
typedef enum { CELL_LSTM, CELL_GRU, CELL_RNN_TANH, CELL_RNN_RELU } cell_kind;

/* A weight matrix packed for one kernel: gates is 4 (i, f, g, o) for an LSTM's, 3 (r, z, n) for a GRU's, else 1.
 * Units are cut into blocks of one vector. Where an LSTM's last units would leave much of a block empty they are a
 * tail: their four gates stand one behind the other, without a gap, in fewer than four vectors. Lanes beyond hold
 * zeros. */
typedef struct {
    size_t inputs; /* k runs over these */
    size_t blocks; /* the tail is not one of them */
    size_t gates;
    cell_kind cell;    /* of a recurrent matrix */
    size_t tail_units; /* 0: there is no tail */
    size_t tail;       /* its vectors: 4*tail_units lanes, rounded up */
    float *weights;    /* [block][k][gate][lane], and behind them [k][tail's vector][lane] */
    float *bias;       /* [block][gate][lane], and behind them [tail's vector][lane]: what all rows of gates look like;
                        * of a recurrent matrix what its product begins with, never -0 */
    float *colored;    /* of a recurrent matrix: the weights once more, as colored.h has them, or NULL */
    int in_pairs;      /* a recurrent step takes two blocks at once, else one */
    int finite;        /* no weight is NaN or infinite, so that zeros times weights sum to zero */
} packed;

typedef struct {
    const char *name;
    size_t lanes;

    /* out[row] = bias + in[row]·W, rows laid out as the bias is; in may have any row length and alignment. */
    void (*project)(const packed *w, const float *in, size_t in_row, size_t rows, float *out, size_t out_row);

    /* The same of a linear layer, where nothing has to wait for anything and a sum is formed in several parts. */
    void (*linear)(const packed *w, const float *in, size_t in_row, size_t rows, float *out, size_t out_row);

    /* bias + R·h of one sequence, laid out as the bias is, through the blocks upwards or downwards. */
    void (*product)(const packed *r, const float *h, int down, float *out);

    /* `rows` steps. gates is what `project` made of the input. State h stands in h[0], (units,) and whatever fills up
     * the last vector, before and after; the two pointers of h may change places. c, the same, is updated; only an
     * LSTM's is touched. Each step's h goes to a row of `out` unless it is NULL. With from_zero the first h is known to
     * be all zeros, and its product is not computed where it must be zero too. */
    void (*steps)(const packed *r, const float *gates, size_t gates_row, size_t rows, int from_zero, float *h[2],
                  float *c, float *out, size_t out_row);

    /* The same with the colored weights (colored.h): the rows of gates are PAGE apart, and the row behind the last is
     * room to work in. NULL: not with these vectors. */
    void (*colored_steps)(const packed *r, float *gates, size_t rows, int from_zero, float *h, float *c, float *out,
                          size_t out_row);

    /* One step of one sequence from its input x, (inputs,), through the blocks upwards or downwards: what x
     * contributes, which is left in `gates`, and the recurrent product are formed block by block. State h_old -> h_new
     * and c. */
    void (*carry)(const packed *w, const float *x, const packed *r, int down, float *gates, const float *h_old,
                  float *h_new, float *c);

    /* One step of each of `rows` sequences: state h_old -> h_new and c, each (rows, row) with row a multiple of
     * the lanes; gates_row may be 0, where all of them see the same input. */
    void (*step)(const packed *r, const float *gates, size_t gates_row, size_t rows, const float *h_old, float *h_new,
                 float *c, size_t row);

    /* The same where the recurrent product has been formed before. */
    void (*finish)(const packed *r, const float *gates, size_t gates_row, const float *products, size_t products_row,
                   size_t rows, const float *h_old, float *h_new, float *c, size_t row);

    /* In place over x; n is a multiple of ROW. */
    void (*activate)(lstmcore_activation kind, float alpha, float beta, float *x, size_t n);
    void (*affine)(const float *scale, const float *shift, float *x, size_t n);
    void (*exponential)(float shift, float *x, size_t n); /* e^(x - shift) */
} kernel;

#endif
