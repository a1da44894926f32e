/* A model as sessions and streams read it: values, and the ops that make them, in order. */
#ifndef LSTMCORE_PROGRAM_H
#define LSTMCORE_PROGRAM_H

#include "kernels/kernel.h"
#include "kernels/memory.h"

typedef enum {
    OP_RECURRENT, /* reads a sequence and, where it has two reads, which of its steps count */
    OP_LINEAR,
    OP_AFFINE,
    OP_ACTIVATION,
    OP_SOFTMAX,
    OP_LAYER_NORM,
    OP_CONCAT,
    OP_SUM,
    OP_MEAN,
    OP_PRODUCT,
    OP_MAXIMUM,
    OP_DIFFERS, /* 1 where a step has a value other than alpha, else 0 */
    OP_WHERE,   /* the steps of the first read where the second is not 0, else zeros */
    OP_LAST,
    OP_REVERSE,
    OP_FLATTEN
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
    size_t n_reads;
    int *reads;     /* the values that it reads */
    int writes;     /* the one that it makes */
    size_t in, out; /* widths: of the first read, and of what it makes */
    packed weights; /* recurrent: of the input. Linear: all. Affine, layer norm: scale in weights, shift in bias */
    /* Recurrent layers */
    packed recurrent;
    size_t c;                 /* width of the state c, 0: there is none; that of h is `out` */
    size_t gates_row;         /* floats in a row of their gates, or of their recurrent product */
    size_t state_at;          /* where its h, and then its c, begin among all states */
    float *start_h, *start_c; /* (h_row,), (c_row,): what a sequence begins with, NULL: zeros */
    variant *variant;         /* NULL: one of the kernel's cells */
    /* Others */
    size_t steps; /* Flatten */
    float eps;    /* layer norm */
    lstmcore_function activation;
    /* For the caller who may want to stop: watch.h */
    size_t work;    /* multiply-adds of a row */
    size_t at_once; /* steps of a recurrent layer between two looks */
} op;

typedef struct {
    size_t width;
    int sequence; /* else a vector of the window */
    int maker;    /* the op that makes it; of an input -1 */
} value;

/* An input or output of the model. */
typedef struct {
    char *name;
    int value;
} port;

struct plan;
struct tick_plan;

struct lstmcore_model {
    const kernel *kernel;
    size_t n_values, n_ops, n_inputs, n_outputs;
    value *values;
    op *ops;
    port *inputs, *outputs; /* input n is value n */
    size_t state_size;      /* floats of all states of a sequence */
    size_t steps;           /* the one window length a Flatten allows, 0: any */
    struct plan *plan[2];   /* for the answers alone, and with all states at the end */
    struct tick_plan *ticks;
    char error[256];      /* see lstmcore_model_error */
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
#define MAX_OPS  ((size_t)1 << 16)

/* Keeps a text for lstmcore_model_error unless the model is sealed, and returns `code`. */
int lstmcore_fail(lstmcore_model *model, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Takes over what the op holds, appends it and the value that it makes; frees it on an error, `code` being one that
 * came before. The caller has checked `reads`, with lstmcore_may_add. */
int lstmcore_append(lstmcore_model *model, op *o, const lstmcore_value *reads, size_t n, int code, lstmcore_value *out);

/* Whether an op that makes `width` numbers of the value `in`, which with `sequence` must be one, may be added. */
int lstmcore_may_add(lstmcore_model *model, const char *kind, lstmcore_value in, int sequence, size_t width);

void lstmcore_op_free(op *o);

/* Whether an array is missing among a caller's n. */
static inline int lacks(const void *const *arrays, size_t n) {
    int lack = arrays == NULL;
    for (size_t k = 0; !lack && k < n; k++) {
        lack = arrays[k] == NULL;
    }
    return lack;
}

/* The same of all inputs and outputs. */
static inline int lacks_arrays(const lstmcore_model *model, const void *const *inputs, float *const *outputs) {
    return lacks(inputs, model->n_inputs) || lacks((const void *const *)outputs, model->n_outputs);
}

#endif
