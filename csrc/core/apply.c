/* The layers that carry no state, applied to rows; and what leaves the core. */
#include <stdint.h>
#include <string.h>

#include "norm.h"
#include "session.h"

/* `in` in memory that a layer may work on in place, rows padded. */
static float *own_rows(lstmcore_session *s, stream *in) {
    if (!in->own) {
        float *to = other_rows(s, in);
        for (size_t m = 0; m < in->rows; m++) {
            memcpy(to + m * s->row, in->at + m * in->row, in->width * sizeof *to);
        }
        *in = (stream){to, s->row, in->rows, in->width, 1};
    }
    return (float *)(uintptr_t)in->at;
}

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

int lstmcore_apply(lstmcore_session *s, size_t n, stream *in, int last) {
    const op *o = &s->model->ops[n];
    const kernel *k = s->model->kernel;
    switch (o->kind) {
    case OP_RECURRENT:
        break; /* the callers' own */
    case OP_LINEAR: {
        float *out = other_rows(s, in);
        k->linear(&o->weights, in->at, in->row, in->rows, out, s->row);
        *in = (stream){out, s->row, in->rows, o->out, 1};
        return 1;
    }
    case OP_AFFINE: {
        float *x = own_rows(s, in);
        for (size_t m = 0; m < in->rows; m++) {
            k->affine(o->weights.weights, o->weights.bias, x + m * in->row, round_up(in->width, ROW));
        }
        return 1;
    }
    case OP_ACTIVATION: {
        float *x = own_rows(s, in);
        for (size_t m = 0; m < in->rows; m++) {
            const lstmcore_function f = o->activation;
            k->activate(f.kind, f.alpha, f.beta, x + m * in->row, round_up(in->width, ROW));
        }
        return 1;
    }
    case OP_SOFTMAX: {
        float *x = own_rows(s, in);
        for (size_t m = 0; m < in->rows; m++) {
            softmax(k, x + m * in->row, in->width);
        }
        return 1;
    }
    case OP_LAYER_NORM: {
        float *x = own_rows(s, in);
        for (size_t m = 0; m < in->rows; m++) {
            lstmcore_normalize(x + m * in->row, 1, in->width, in->width, o->weights.weights, o->weights.bias, o->eps);
        }
        return 1;
    }
    case OP_LAST:
        *in = (stream){in->at + (in->rows - 1) * in->row, in->row, 1, in->width, in->own};
        return last;
    case OP_FLATTEN:
        for (size_t m = 0; m < in->rows; m++, s->flat_used += o->in) {
            memcpy(s->flat + s->flat_used, in->at + m * in->row, o->in * sizeof *s->flat);
        }
        *in = (stream){s->flat, round_up(o->out, ROW), 1, o->out, 1};
        return last;
    }
    return 0;
}

/* The one NaN, since which of its payloads an operation gives differs between processors. */
void lstmcore_put(float *y, const stream *rows) {
    const uint32_t sign = 0x80000000u, infinite = 0x7f800000u, quiet = 0x7fc00000u;
    for (size_t m = 0; m < rows->rows; m++) {
        const float *at = rows->at + m * rows->row;
        for (size_t j = 0; j < rows->width; j++) {
            uint32_t bits;
            memcpy(&bits, &at[j], sizeof bits);
            bits = (bits & ~sign) > infinite ? quiet : bits;
            memcpy(&y[m * rows->width + j], &bits, sizeof bits);
        }
    }
}

void lstmcore_answer(lstmcore_session *s, size_t from, stream *in, float *y) {
    for (size_t n = from; n < s->model->n_ops; n++) {
        lstmcore_apply(s, n, in, 1);
    }
    lstmcore_put(y, in);
}
