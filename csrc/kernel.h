/* What a kernel offers to the core, and the data both read. */
#ifndef LSTMCORE_KERNEL_H
#define LSTMCORE_KERNEL_H

#include <stddef.h>

#include "lstmcore.h"

/* Every row of every buffer is a multiple of this many floats long: one cache line, the widest vector. */
#define ROW 16

/* A weight matrix packed for one kernel: gates is 4 (i, f, g, o) for an LSTM's, 1 for a Linear's.
 * Units are cut into blocks of one vector; lanes beyond the last unit hold zeros. */
typedef struct {
    size_t inputs; /* k runs over these */
    size_t blocks;
    size_t gates;
    float *weights; /* [block][k][gate][lane] */
    float *bias;    /* [block][gate][lane] */
    int in_pairs;   /* a recurrent step takes two blocks at once, else one */
    int finite;     /* no weight is NaN or infinite, so that zeros times weights sum to zero */
} packed;

typedef struct {
    const char *name;
    size_t lanes;

    /* out[row] = bias + in[row]·W, rows of [block][gate][lane]; in may have any row length and alignment. */
    void (*project)(const packed *w, const float *in, size_t in_row, size_t rows, float *out, size_t out_row);

    /* `rows` LSTM steps. gates (rows, [block][gate][lane]) is what `project` made of the input. State h stands in
     * h[0], (blocks*lanes,); after each step the two pointers of h change places, so that h[0] is the newest.
     * c (blocks*lanes,) is updated. Each step's h is copied to a row of `out` unless it is NULL. With from_zero the
     * first h is known to be all zeros, and its product is not computed where it must be zero too. */
    void (*lstm)(const packed *r, const float *gates, size_t gates_row, size_t rows, int from_zero, float *h[2],
                 float *c, float *out, size_t out_row);

    /* In place over x; n is a multiple of ROW. */
    void (*activate)(lstmcore_activation kind, float alpha, float *x, size_t n);
    void (*affine)(const float *scale, const float *shift, float *x, size_t n);
    void (*exponential)(float shift, float *x, size_t n); /* e^(x - shift) */
} kernel;

#endif
