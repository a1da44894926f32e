/* The step of a recurrent layer that the kernels have no cell for: reference_variations.py and, in reference.py,
 * gru_step and rnn_step with functions in the place of sigmoid and tanh.
 *
 * It is made of the kernels' products and activations and of loops here, which are compiled once and without
 * contraction, so that its bits agree as theirs do. A gate's values stand side by side, `part` of them, those beyond
 * the last unit without meaning.
 */
#include <string.h>

#include "norm.h"
#include "recurrent.h"

void lstmcore_variant_gates(const op *o, size_t n, float *gates, size_t gates_row) {
    const variant *v = o->variant;
    for (size_t m = 0; v->norm_ih != NULL && m < n; m++) {
        lstmcore_normalize(gates + m * gates_row, v->gates, v->how.hidden, v->part, v->norm_ih, v->bias,
                           v->how.norm_eps);
    }
}

void lstmcore_variant_products(const kernel *k, const op *o, const float *h, size_t n, float *out, size_t out_row) {
    const variant *v = o->variant;
    k->project(&o->recurrent, h, h_row(o), n, out, out_row);
    for (size_t m = 0; v->norm_hh != NULL && m < n; m++) {
        lstmcore_normalize(out + m * out_row, v->gates, v->how.hidden, v->part, v->norm_hh, NULL, v->how.norm_eps);
    }
}

/* The function of `n` values, cut to [-clip, clip] before unless that is 0. NaN stays. */
static void apply(const kernel *k, lstmcore_function f, float clip, float *x, size_t n) {
    for (size_t j = 0; clip > 0.0f && j < n; j++) {
        const float above = x[j] < -clip ? -clip : x[j];
        x[j] = above > clip ? clip : above;
    }
    k->activate(f.kind, f.alpha, f.beta, x, n);
}

/* x += factor*y, where there is a factor */
static void add_times(float *x, const float *factor, const float *y, size_t n) {
    for (size_t j = 0; factor != NULL && j < n; j++) {
        x[j] += factor[j] * y[j];
    }
}

/* `a` are gates and products, added; `shown` is memory for a gate. */
static void lstm_step(const kernel *k, const variant *v, float *a, float *shown, float *h_new, float *c) {
    const lstmcore_variant *how = &v->how;
    const size_t part = v->part;
    float *const i = a, *const f = a + part, *const g = a + 2 * part, *const out = a + 3 * part;
    const float *const of_i = v->peephole, *const of_f = of_i == NULL ? NULL : of_i + part;
    const float *const of_o = of_i == NULL ? NULL : of_i + 2 * part;
    add_times(i, of_i, c, part);
    add_times(f, of_f, c, part);
    apply(k, how->gate, how->clip, i, 2 * part); /* f stands behind i */
    apply(k, how->candidate, how->clip, g, part);
    for (size_t j = 0; j < part; j++) {
        const float kept = how->coupled ? 1.0f - i[j] : f[j];
        c[j] = kept * c[j] + i[j] * g[j];
    }
    add_times(out, of_o, c, part);
    apply(k, how->gate, how->clip, out, part);
    memcpy(shown, c, part * sizeof *c);
    if (v->norm_c != NULL) {
        lstmcore_normalize(shown, 1, how->hidden, part, v->norm_c, v->norm_c_bias, how->norm_eps);
    }
    apply(k, how->output, 0.0f, shown, part); /* c is no sum of products: ONNX Runtime does not cut it either */
    for (size_t j = 0; j < part; j++) {
        shown[j] = out[j] * shown[j];
    }
    if (how->proj != 0) {
        k->project(&v->projection, shown, 0, 1, h_new, 0);
    } else {
        memcpy(h_new, shown, part * sizeof *c);
    }
}

static void gru_step(const kernel *k, const variant *v, float *a, float *seen, const float *products,
                     const float *h_old, float *h_new) {
    const size_t part = v->part;
    float *const r = a, *const z = a + part, *const n = a + 2 * part;
    apply(k, v->how.gate, v->how.clip, a, 2 * part);
    if (v->how.reset_after) {
        for (size_t j = 0; j < part; j++) {
            n[j] += r[j] * products[2 * part + j];
        }
    } else {
        for (size_t j = 0; j < part; j++) {
            h_new[j] = r[j] * h_old[j];
        }
        k->project(&v->late, h_new, 0, 1, seen, 0);
        for (size_t j = 0; j < part; j++) {
            n[j] += seen[j];
        }
    }
    apply(k, v->how.candidate, v->how.clip, n, part);
    for (size_t j = 0; j < part; j++) {
        h_new[j] = n[j] + z[j] * (h_old[j] - n[j]);
    }
}

void lstmcore_variant_finish(const scratch *s, const op *o, const float *gates, size_t gates_row, const float *products,
                             size_t products_row, size_t n, const float *h_old, float *h_new, float *c) {
    const variant *v = o->variant;
    const size_t row = h_row(o);
    const kernel *k = s->kernel;
    const lstmcore_cell cell = v->how.cell;
    const size_t all = v->gates * v->part, summed = cell == LSTMCORE_GRU ? 2 * v->part : all;
    float *const a = s->work, *const more = s->work + all;
    for (size_t m = 0; m < n; m++) {
        memcpy(a, gates + m * gates_row, all * sizeof *a);
        for (size_t j = 0; j < summed; j++) {
            a[j] += products[m * products_row + j];
        }
        if (cell == LSTMCORE_LSTM) {
            lstm_step(k, v, a, more, h_new + m * row, c + m * c_row(o));
        } else if (cell == LSTMCORE_GRU) {
            gru_step(k, v, a, more, products + m * products_row, h_old + m * row, h_new + m * row);
        } else {
            apply(k, v->how.candidate, v->how.clip, a, all);
            memcpy(h_new + m * row, a, all * sizeof *a);
        }
    }
}

void lstmcore_variant_step(const scratch *s, const op *o, const float *gates, size_t gates_row, size_t n,
                           const float *h_old, float *h_new, float *c) {
    lstmcore_variant_products(s->kernel, o, h_old, n, s->products, o->gates_row);
    lstmcore_variant_finish(s, o, gates, gates_row, s->products, o->gates_row, n, h_old, h_new, c);
}
