/* A model as sessions read it. */
#ifndef LSTMCORE_MODEL_H
#define LSTMCORE_MODEL_H

#include "kernel.h"

typedef enum { OP_LSTM, OP_LINEAR, OP_AFFINE, OP_ACTIVATION, OP_SOFTMAX, OP_FLATTEN } op_kind;

typedef struct {
    op_kind kind;
    size_t in, out; /* widths */
    packed weights; /* LSTM: of the input. Linear: all. Affine: scale in weights, shift in bias */
    packed recurrent;
    int all_steps; /* LSTM */
    size_t state;  /* LSTM: where its state begins among all layers' */
    size_t steps;  /* Flatten */
    float alpha;   /* activation */
    lstmcore_activation activation;
} op;

struct lstmcore_model {
    const kernel *kernel;
    size_t input_size;
    size_t width;  /* what the last layer puts out */
    int sequence;  /* 1 while every step goes on */
    size_t states; /* of all layers */
    size_t steps;  /* the one window length a Flatten allows, 0: any */
    size_t n_ops;
    op *ops;
    int sealed;
    _Atomic size_t users; /* the caller, and every session */
};

static inline size_t round_up(size_t n, size_t to) {
    return (n + to - 1) / to * to;
}

/* Zeroed memory on a cache line's boundary, for n floats and at least one line; NULL where there is none. */
float *lstmcore_floats_new(size_t n);

#endif
