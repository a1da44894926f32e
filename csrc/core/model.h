/* A model as sessions read it. */
#ifndef LSTMCORE_MODEL_H
#define LSTMCORE_MODEL_H

#include "kernels/kernel.h"
#include "kernels/memory.h"

typedef enum {
    OP_RECURRENT,
    OP_LINEAR,
    OP_AFFINE,
    OP_ACTIVATION,
    OP_SOFTMAX,
    OP_LAYER_NORM,
    OP_FLATTEN,
    OP_LAST
} op_kind;

/* What a variant has beyond `weights` and `recurrent`. There each gate counts as `part` outputs of a matrix of one
 * gate, the last of them zero, so that a gate's values stand side by side. */
typedef struct {
    lstmcore_variant how;        /* the numbers; the pointers are not used */
    size_t gates;                /* of the cell */
    size_t part;                 /* round_up(hidden, ROW) */
    packed late;                 /* GRU with its reset before the product: R_n */
    packed projection;           /* of h, inputs 0: none */
    float *peephole;             /* (3, part), or NULL */
    float *bias;                 /* (gates, part) where the products are normalised before it is added */
    float *norm_ih, *norm_hh;    /* (gates, part), or NULL */
    float *norm_c, *norm_c_bias; /* (part,), or NULL */
} variant;

typedef struct {
    op_kind kind;
    size_t in, out; /* widths */
    packed weights; /* recurrent: of the input. Linear: all. Affine, layer norm: scale in weights, shift in bias */
    /* Recurrent layers */
    packed recurrent;
    int all_steps;
    size_t c;          /* width of the state c, 0: there is none; that of h is `out` */
    size_t gates_row;  /* floats in a row of their gates, or of their recurrent product */
    size_t h_at, c_at; /* where their states begin among all layers' */
    variant *variant;  /* NULL: one of the kernel's cells */
    /* Others */
    size_t steps; /* Flatten */
    float eps;    /* layer norm */
    lstmcore_function activation;
    /* For the caller who may want to stop: watch.h */
    size_t work;    /* multiply-adds of a row */
    size_t at_once; /* steps of a recurrent layer between two looks */
} op;

struct lstmcore_model {
    const kernel *kernel;
    size_t input_size;
    size_t width;              /* what the last layer puts out */
    int sequence;              /* 1 while every step goes on */
    size_t h_states, c_states; /* widths of all layers' states, together */
    size_t steps;              /* the one window length a Flatten allows, 0: any */
    size_t n_ops;
    op *ops;
    _Atomic int sealed;   /* threads may make their sessions at the same time */
    _Atomic size_t users; /* the caller, and every session */
};

/* Floats in a row of a recurrent layer's states. */
static inline size_t h_row(const op *o) {
    return round_up(o->out, ROW);
}
static inline size_t c_row(const op *o) {
    return round_up(o->c, ROW);
}

/* Beyond any model this is for, and small enough that no product of three of them overflows. */
#define MAX_SIZE ((size_t)1 << 20)

/* Whether a layer of that width may be added. */
int lstmcore_may_add(const lstmcore_model *model, size_t out);

/* Takes over what the op holds; frees it on an error, `code` being one that came before. */
int lstmcore_append(lstmcore_model *model, op *o, int code);

/* The same for a recurrent op, whose widths stand in it. */
int lstmcore_append_recurrent(lstmcore_model *model, op *o, int code);

/* Multiply-adds of a row in the ops from `from` to `to`. */
size_t lstmcore_work(const lstmcore_model *model, size_t from, size_t to);

#endif
