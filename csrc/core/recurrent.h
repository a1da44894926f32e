/* What the core asks of a recurrent layer, whether it is a cell of the kernel's or a variant. */
#ifndef LSTMCORE_RECURRENT_H
#define LSTMCORE_RECURRENT_H

#include <string.h>

#include "rows.h"

/* The state of a recurrent layer in some sequences, rows of h_row and of c_row; h has two places, for old and new. */
typedef struct {
    float *h[2];
    float *c;
} recurrent_state;

/* Make `n` sequences from row `at` on begin anew, with h[now] current. */
void lstmcore_states_begin(const op *o, const recurrent_state *state, int now, size_t at, size_t n);

/* Sequence `at`, with h[now] current, from or to the layer's place among a caller's states of one sequence. */
void lstmcore_states_set(const op *o, const recurrent_state *state, int now, size_t at, const float *from);
void lstmcore_states_put(const op *o, const recurrent_state *state, int now, size_t at, float *to);

/* States of `n` sequences for each recurrent op of the model, or those of `which`; NULL where memory is short. */
recurrent_state *lstmcore_states_new(const lstmcore_model *model, const unsigned char *which, size_t n);
void lstmcore_states_free(const lstmcore_model *model, recurrent_state *states);

/* Variants, variant.c: as the kernel's functions, but that h and c may be of different widths; rows of c are c_row
 * apart. */
void lstmcore_variant_gates(const op *o, size_t n, float *gates, size_t gates_row);
void lstmcore_variant_products(const kernel *k, const op *o, const float *h, size_t n, float *out, size_t out_row);
void lstmcore_variant_finish(const scratch *s, const op *o, const float *gates, size_t gates_row, const float *products,
                             size_t products_row, size_t n, const float *h_old, float *h_new, float *c);
void lstmcore_variant_step(const scratch *s, const op *o, const float *gates, size_t gates_row, size_t n,
                           const float *h_old, float *h_new, float *c);

/* What the rows of `in` contribute to the gates. */
static inline void recurrent_gates(const kernel *k, const op *o, rows in, size_t n, float *gates, size_t gates_row) {
    k->project(&o->weights, in.at, in.row, n, gates, gates_row);
    if (o->variant != NULL) {
        lstmcore_variant_gates(o, n, gates, gates_row);
    }
}

/* The same of a single row, through the weights upwards or downwards. */
static inline void recurrent_gates_of_one(const kernel *k, const op *o, const float *in, int down, float *gates) {
    k->product(&o->weights, in, down, gates);
    if (o->variant != NULL) {
        lstmcore_variant_gates(o, 1, gates, 0);
    }
}

/* The recurrent product of one sequence, a row as long as its gates. */
static inline void recurrent_product(const kernel *k, const op *o, const float *h, int down, float *out) {
    if (o->variant != NULL) {
        lstmcore_variant_products(k, o, h, 1, out, 0);
    } else {
        k->product(&o->recurrent, h, down, out);
    }
}

/* `n` steps of one sequence, whose gates are the rows of `gates`. The two places of h may change; each step's h goes to
 * a row of `every` unless it is NULL. */
static inline void recurrent_steps(const scratch *s, const op *o, const float *gates, size_t gates_row, size_t n,
                                   int from_zero, recurrent_state *st, float *every, size_t every_row) {
    if (o->variant == NULL) {
        s->kernel->steps(&o->recurrent, gates, gates_row, n, from_zero, st->h, st->c, every, every_row);
        return;
    }
    for (size_t t = 0; t < n; t++) {
        lstmcore_variant_step(s, o, gates + t * gates_row, 0, 1, st->h[0], st->h[1], st->c);
        float *const newest = st->h[1];
        st->h[1] = st->h[0];
        st->h[0] = newest;
        if (every != NULL) {
            memcpy(every + t * every_row, newest, h_row(o) * sizeof *every);
        }
    }
}

/* One step of one sequence from its input. */
static inline void recurrent_carry(const scratch *s, const op *o, const float *in, int down, const float *h_old,
                                   float *h_new, float *c) {
    if (o->variant != NULL) {
        recurrent_gates_of_one(s->kernel, o, in, down, s->gates);
        lstmcore_variant_step(s, o, s->gates, 0, 1, h_old, h_new, c);
    } else {
        s->kernel->carry(&o->weights, in, &o->recurrent, down, s->gates, h_old, h_new, c);
    }
}

/* One step of each of `n` sequences; where `products` has rows the recurrent products are these. */
static inline void recurrent_step(const scratch *s, const op *o, rows gates, rows products, size_t n,
                                  const float *h_old, float *h_new, float *c) {
    if (o->variant != NULL && products.at == NULL) {
        lstmcore_variant_step(s, o, gates.at, gates.row, n, h_old, h_new, c);
    } else if (o->variant != NULL) {
        lstmcore_variant_finish(s, o, gates.at, gates.row, products.at, products.row, n, h_old, h_new, c);
    } else if (products.at == NULL) {
        s->kernel->step(&o->recurrent, gates.at, gates.row, n, h_old, h_new, c, h_row(o));
    } else {
        s->kernel->finish(&o->recurrent, gates.at, gates.row, products.at, products.row, n, h_old, h_new, c, h_row(o));
    }
}

/* The recurrent products of zeros, where they need not be formed. */
static inline rows recurrent_products_of_zeros(const op *o) {
    const int known = o->variant == NULL && o->start_h == NULL && o->recurrent.finite;
    return (rows){known ? o->recurrent.bias : NULL, 0};
}

#endif
