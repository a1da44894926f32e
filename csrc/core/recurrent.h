/* What the core asks of a recurrent layer, whether it is a cell of the kernel's or a variant. */
#ifndef LSTMCORE_RECURRENT_H
#define LSTMCORE_RECURRENT_H

#include "session.h"

/* Variants, variant.c: as the kernel's functions, but that h and c may be of different widths; rows of c are c_row
 * apart. `s` lends memory for what lies between. */
void lstmcore_variant_gates(const op *o, size_t rows, float *gates, size_t gates_row);
void lstmcore_variant_products(const kernel *k, const op *o, const float *h, size_t row, size_t rows, float *out,
                               size_t out_row);
void lstmcore_variant_finish(lstmcore_session *s, const op *o, const float *gates, size_t gates_row,
                             const float *products, size_t products_row, size_t rows, const float *h_old, float *h_new,
                             size_t row, float *c, size_t c_row);
void lstmcore_variant_steps(lstmcore_session *s, const op *o, const float *gates, size_t rows, float *h[2], float *c,
                            float *out);
void lstmcore_variant_step(lstmcore_session *s, const op *o, const float *gates, size_t gates_row, size_t rows,
                           const float *h_old, float *h_new, float *c);

/* What the rows of `in` contribute to the gates. */
static inline void recurrent_gates(const kernel *k, const op *o, const stream *in, size_t rows, float *gates,
                                   size_t gates_row) {
    k->project(&o->weights, in->at, in->row, rows, gates, gates_row);
    if (o->variant != NULL) {
        lstmcore_variant_gates(o, rows, gates, gates_row);
    }
}

/* The same of a single row, through the weights upwards or downwards. */
static inline void recurrent_gates_of_one(const kernel *k, const op *o, const stream *in, int down, float *gates) {
    k->product(&o->weights, in->at, down, gates);
    if (o->variant != NULL) {
        lstmcore_variant_gates(o, 1, gates, 0);
    }
}

/* The recurrent product of one sequence, a row as long as its gates. */
static inline void recurrent_product(const kernel *k, const op *o, const float *h, int down, float *out) {
    if (o->variant != NULL) {
        lstmcore_variant_products(k, o, h, 0, 1, out, 0);
    } else {
        k->product(&o->recurrent, h, down, out);
    }
}

/* `rows` steps of the session's own sequence, whose gates stand in the rows of s->gates from `at` on; `every`, the
 * chunk's rows of h, or NULL. */
static inline void recurrent_steps(lstmcore_session *s, const op *o, size_t at, size_t rows, recurrent_state *st,
                                   float *every) {
    const float *const gates = s->gates + at * s->gates_row;
    float *const out = every == NULL ? NULL : every + at * s->row;
    if (o->variant != NULL) {
        lstmcore_variant_steps(s, o, gates, rows, st->h, st->c, out);
    } else {
        s->model->kernel->steps(&o->recurrent, gates, s->gates_row, rows, s->from_zero && at == 0, st->h, st->c, out,
                                s->row);
    }
}

/* One step of each of `rows` sequences. */
static inline void recurrent_step(lstmcore_session *s, const op *o, const float *gates, size_t gates_row, size_t rows,
                                  const float *h_old, float *h_new, float *c) {
    if (o->variant != NULL) {
        lstmcore_variant_step(s, o, gates, gates_row, rows, h_old, h_new, c);
    } else {
        s->model->kernel->step(&o->recurrent, gates, gates_row, rows, h_old, h_new, c, h_row(o));
    }
}

/* The same where the products have been formed. Rows of gates and products are as far apart as those of s->gates, rows
 * of h and c as those of s->rows. */
static inline void recurrent_finish(lstmcore_session *s, const op *o, const float *gates, const float *products,
                                    size_t rows, const float *h_old, float *h_new, float *c) {
    const size_t apart = s->gates_row, row = s->row;
    if (o->variant != NULL) {
        lstmcore_variant_finish(s, o, gates, apart, products, apart, rows, h_old, h_new, row, c, row);
    } else {
        s->model->kernel->finish(&o->recurrent, gates, apart, products, apart, rows, h_old, h_new, c, row);
    }
}

#endif
