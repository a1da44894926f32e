/* The ops that carry no state, applied to rows; and what leaves the core. */
#include "norm.h"
#include "recurrent.h"

static void softmax(const kernel *k, float *x, size_t n) {
    float largest = x[0];
    for (size_t j = 1; j < n; j++) {
        largest = x[j] > largest || x[j] != x[j] ? x[j] : largest;
    }
    k->exponential(largest, x, round_up(n, ROW));
    float sum = 0.0f;
    for (size_t j = 0; j < n; j++) {
        sum += x[j];
    }
    for (size_t j = 0; j < n; j++) {
        x[j] /= sum;
    }
}

/* Each of n rows becomes what the op makes of it. */
static void change(const kernel *k, const op *o, rows in, float *y, size_t y_row, size_t n) {
    const lstmcore_function *f = &o->activation;
    const size_t width = round_up(o->in, ROW);
    for (size_t m = 0; m < n; m++, in.at += in.row, y += y_row) {
        if (in.at != y) {
            memcpy(y, in.at, o->in * sizeof *y);
        }
        if (o->kind == OP_ACTIVATION) {
            k->activate(f->kind, f->alpha, f->beta, y, width);
        } else if (o->kind == OP_AFFINE) {
            k->affine(o->weights.weights, o->weights.bias, y, width);
        } else if (o->kind == OP_SOFTMAX) {
            softmax(k, y, o->in);
        } else {
            lstmcore_normalize(y, 1, o->in, o->in, o->weights.weights, o->weights.bias, o->eps);
        }
    }
}

static void take_first_steps(const scratch *s, const op *o, rows in, float *y, size_t y_row, size_t at, size_t n) {
    recurrent_state st = {{s->state, s->state + s->state_row}, s->state + 2 * s->state_row};
    for (size_t m = 0; m < n; m++) {
        lstmcore_states_begin(o, &st, 0, 0, 1);
        if (o->n_reads == 1 || *from_row(rows_of(s, o->reads[1]), at + m).at != 0.0f) {
            recurrent_gates_of_one(s->kernel, o, from_row(in, m).at, 0, s->gates);
            recurrent_steps(s, o, s->gates, 0, 1, o->start_h == NULL, &st, NULL, 0);
        }
        memcpy(y + m * y_row, st.h[0], h_row(o) * sizeof *y);
    }
}

/* One loop, and `if`s in the place of a switch, the likeliest first: in a short push an indirect jump costs more. */
void lstmcore_apply(const scratch *s, const size_t *ops, size_t n_ops, size_t at, size_t n) {
    for (const size_t *end = ops + n_ops; n != 0 && ops < end; ops++) {
        const way *w = &s->ways[*ops];
        const op *o = w->op;
        const rows in = from_row(*w->in, at), out = from_row(*w->out, at);
        float *const y = (float *)(uintptr_t)out.at;
        if (o->kind == OP_LINEAR) {
            s->kernel->linear(&o->weights, in.at, in.row, n, y, out.row);
        } else if (works_in_place(o->kind)) {
            change(s->kernel, o, in, y, out.row, n);
        } else if (o->kind != OP_RECURRENT) {
            lstmcore_join_rows(s, o, at, n);
        } else {
            take_first_steps(s, o, in, y, out.row, at, n);
        }
    }
}

/* The one NaN, since which of its payloads an operation gives differs between processors; and for a subnormal number
 * the zero that it counts as, since whether a minimum or a maximum makes that of it differs too. */
static inline uint32_t plain(uint32_t bits) {
    const uint32_t sign = 0x80000000u, infinite = 0x7f800000u, quiet = 0x7fc00000u, normal = 0x00800000u;
    return (bits & ~sign) > infinite ? quiet : (bits & ~sign) < normal ? bits & sign : bits;
}

static inline void put(float *restrict y, size_t n, const float *restrict from) {
    for (size_t j = 0; j < n; j++) {
        uint32_t bits;
        memcpy(&bits, &from[j], sizeof bits);
        bits = plain(bits);
        memcpy(&y[j], &bits, sizeof bits);
    }
}

void lstmcore_put(float *y, size_t n, size_t width, rows from) {
    if (n == 1 && width == 1) { /* the commonest answer, of which a vector is not worth its preparation */
        put(y, 1, from.at);
        return;
    }
    for (size_t m = 0; m < n; m++) {
        put(y + m * width, width, from.at + m * from.row);
    }
}
