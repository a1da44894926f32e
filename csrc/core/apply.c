/* The ops that carry no state, applied to rows; and what leaves the core. */
#include <string.h>

#include "norm.h"
#include "rows.h"

static float *row_of(float *out, size_t out_row, size_t m) {
    return out + m * out_row;
}

static void copy(size_t n, size_t width, rows in, float *out, size_t out_row) {
    for (size_t m = 0; in.at != out && m < n; m++) {
        memcpy(out + m * out_row, in.at + m * in.row, width * sizeof *out);
    }
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

/* `in` is copied to `out`, and there each row becomes what the op makes of it. */
static void in_place(const kernel *k, const op *o, size_t n, rows in, float *out, size_t out_row) {
    const lstmcore_function f = o->activation;
    copy(n, o->in, in, out, out_row);
    for (size_t m = 0; m < n; m++) {
        float *const x = row_of(out, out_row, m);
        if (o->kind == OP_AFFINE) {
            k->affine(o->weights.weights, o->weights.bias, x, round_up(o->in, ROW));
        } else if (o->kind == OP_ACTIVATION) {
            k->activate(f.kind, f.alpha, f.beta, x, round_up(o->in, ROW));
        } else if (o->kind == OP_SOFTMAX) {
            softmax(k, x, o->in);
        } else {
            lstmcore_normalize(x, 1, o->in, o->in, o->weights.weights, o->weights.bias, o->eps);
        }
    }
}

/* The values of several rows, element by element, in their order. */
static void join(const op *o, size_t n, const rows *in, float *out, size_t out_row) {
    const size_t width = o->out;
    for (size_t m = 0; m < n; m++) {
        float *const y = row_of(out, out_row, m);
        memcpy(y, in[0].at + m * in[0].row, width * sizeof *y);
        for (size_t k = 1; k < o->n_reads; k++) {
            const float *const x = in[k].at + m * in[k].row;
            for (size_t j = 0; j < width; j++) {
                if (o->kind == OP_PRODUCT) {
                    y[j] *= x[j];
                } else if (o->kind == OP_MAXIMUM) {
                    y[j] = y[j] > x[j] || y[j] != y[j] ? y[j] : x[j];
                } else {
                    y[j] += x[j];
                }
            }
        }
        for (size_t j = 0; o->kind == OP_MEAN && j < width; j++) {
            y[j] /= (float)o->n_reads;
        }
    }
}

static void concat(const lstmcore_model *model, const op *o, size_t n, const rows *in, float *out, size_t out_row) {
    for (size_t k = 0; k < o->n_reads; k++) {
        const size_t width = model->values[o->reads[k]].width;
        copy(n, width, in[k], out, out_row);
        out += width;
    }
}

/* Whether two numbers are equal, also where one is subnormal, which while a call runs counts as zero. */
static int same(float a, float b) {
    uint32_t x, y;
    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    return x == y ? a == a : ((x | y) & 0x7fffffffu) == 0;
}

static float differs(const op *o, const float *x) {
    for (size_t j = 0; j < o->in; j++) {
        if (!same(x[j], o->activation.alpha)) {
            return 1.0f;
        }
    }
    return 0.0f;
}

void lstmcore_apply(const kernel *k, const lstmcore_model *model, const op *o, size_t n, const rows *in, float *out,
                    size_t out_row) {
    switch (o->kind) {
    case OP_RECURRENT: /* the callers' own, as what looks at several steps */
    case OP_FLATTEN:
        break;
    case OP_LINEAR:
        k->linear(&o->weights, in->at, in->row, n, out, out_row);
        break;
    case OP_AFFINE:
    case OP_ACTIVATION:
    case OP_SOFTMAX:
    case OP_LAYER_NORM:
        in_place(k, o, n, *in, out, out_row);
        break;
    case OP_CONCAT:
        concat(model, o, n, in, out, out_row);
        break;
    case OP_SUM:
    case OP_MEAN:
    case OP_PRODUCT:
    case OP_MAXIMUM:
        join(o, n, in, out, out_row);
        break;
    case OP_DIFFERS:
        for (size_t m = 0; m < n; m++) {
            *row_of(out, out_row, m) = differs(o, in->at + m * in->row);
        }
        break;
    case OP_WHERE:
        for (size_t m = 0; m < n; m++) {
            const float *const x = in->at + m * in->row;
            float *const y = row_of(out, out_row, m);
            if (in[1].at[m * in[1].row] != 0.0f) {
                memcpy(y, x, o->out * sizeof *y);
            } else {
                memset(y, 0, o->out * sizeof *y);
            }
        }
        break;
    case OP_LAST:
    case OP_REVERSE:
        copy(n, o->out, *in, out, out_row);
        break;
    }
}

/* The one NaN, since which of its payloads an operation gives differs between processors; and for a subnormal number
 * the zero that it counts as, since whether a minimum or a maximum makes that of it differs too. */
void lstmcore_put(float *y, size_t n, size_t width, rows from) {
    const uint32_t sign = 0x80000000u, infinite = 0x7f800000u, quiet = 0x7fc00000u, normal = 0x00800000u;
    const float *at = from.at;
    for (size_t m = 0; m < n; m++, at += from.row, y += width) {
        for (size_t j = 0; j < width; j++) {
            uint32_t bits;
            memcpy(&bits, &at[j], sizeof bits);
            bits = (bits & ~sign) > infinite ? quiet : (bits & ~sign) < normal ? bits & sign : bits;
            memcpy(&y[j], &bits, sizeof bits);
        }
    }
}
