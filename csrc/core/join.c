/* The ops that choose, join or compare rows. */
#include <string.h>

#include "rows.h"

static const float *row_of(const scratch *s, int v, size_t m) {
    return from_row(rows_of(s, v), m).at;
}

/* The values of several rows, element by element, in their order. */
static void join(const scratch *s, const op *o, size_t m, float *y) {
    const size_t width = o->out;
    memcpy(y, row_of(s, o->reads[0], m), width * sizeof *y);
    for (size_t k = 1; k < o->n_reads; k++) {
        const float *const x = row_of(s, o->reads[k], m);
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

static void concat(const scratch *s, const op *o, size_t m, float *y) {
    for (size_t k = 0; k < o->n_reads; k++) {
        const size_t width = s->model->values[o->reads[k]].width;
        memcpy(y, row_of(s, o->reads[k], m), width * sizeof *y);
        y += width;
    }
}

/* Whether two numbers are equal, by their bits: while a call runs, == would take a subnormal number for zero. */
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

void lstmcore_join_rows(const scratch *s, const op *o, size_t at, size_t n) {
    for (size_t m = at; m < at + n; m++) {
        const float *const x = row_of(s, o->reads[0], m);
        float *const y = (float *)(uintptr_t)row_of(s, o->writes, m);
        switch (o->kind) {
        case OP_CONCAT:
            concat(s, o, m, y);
            break;
        case OP_DIFFERS:
            *y = differs(o, x);
            break;
        case OP_WHERE:
            if (*row_of(s, o->reads[1], m) != 0.0f) {
                memcpy(y, x, o->out * sizeof *y);
            } else {
                memset(y, 0, o->out * sizeof *y);
            }
            break;
        case OP_LAST:
        case OP_REVERSE:
            if (x != y) {
                memcpy(y, x, o->out * sizeof *y);
            }
            break;
        default:
            join(s, o, m, y);
            break;
        }
    }
}
