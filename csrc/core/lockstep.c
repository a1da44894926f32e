#include "lockstep.h"

#include <stdlib.h>

int lstmcore_tick_new(const lstmcore_model *model, tick *t) {
    const tick_plan *p = model->ticks;
    *t = (tick){.model = model, .plan = p};
    const int found = lstmcore_scratch_new(model, p->sources, &t->scratch) &&
                      (t->chunks = lstmcore_floats_new(p->chunks * CHUNK * p->row)) != NULL &&
                      (t->gates = calloc(p->n_gates + 1, sizeof *t->gates)) != NULL;
    if (found) {
        lstmcore_tick_reset(t);
    }
    return found;
}

void lstmcore_tick_free(tick *t) {
    lstmcore_scratch_free(&t->scratch);
    free(t->chunks);
    free(t->gates);
}

void lstmcore_tick_reset(tick *t) {
    for (size_t v = t->model->n_inputs; v < t->model->n_values; v++) {
        t->scratch.values[v] = lstmcore_tick_buffer(t, v);
    }
}

static void free_all(float **arrays, size_t n) {
    for (size_t k = 0; arrays != NULL && k < n; k++) {
        free(arrays[k]);
    }
    free(arrays);
}

void lstmcore_kept_free(const lstmcore_model *model, kept_ticks *k) {
    free_all(k->gates, model->ticks->n_gates);
    free_all(k->values, model->ticks->n_values);
}

/* `n` rows of each of these; NULL where there is no memory for the list. */
static float **allocate_rows(const kept *which, size_t count, size_t n, int *found) {
    float **arrays = calloc(count + 1, sizeof *arrays);
    *found = *found && arrays != NULL;
    for (size_t k = 0; *found && k < count; k++) {
        *found = (arrays[k] = lstmcore_floats_new(n * which[k].row)) != NULL;
    }
    return arrays;
}

int lstmcore_kept_new(const lstmcore_model *model, size_t n, kept_ticks *k) {
    const tick_plan *p = model->ticks;
    int found = 1;
    k->gates = allocate_rows(p->gates, p->n_gates, n, &found);
    k->values = allocate_rows(p->values, p->n_values, n, &found);
    return found;
}

void lstmcore_keep_values(const tick *t, const kept_ticks *k, size_t m, size_t at) {
    const tick_plan *p = t->plan;
    for (size_t v = 0; v < p->n_values; v++) {
        const rows from = t->scratch.values[p->values[v].of];
        memcpy(k->values[v] + at * p->values[v].row, from.at + m * from.row,
               t->model->values[p->values[v].of].width * sizeof *from.at);
    }
}

void lstmcore_look_at_kept(tick *t, const kept_ticks *k, size_t at, size_t apart) {
    const tick_plan *p = t->plan;
    for (size_t g = 0; g < p->n_gates; g++) {
        t->gates[g] = (rows){k->gates[g] + at * p->gates[g].row, apart * p->gates[g].row};
    }
    for (size_t v = 0; v < p->n_values; v++) {
        t->scratch.values[p->values[v].of] = (rows){k->values[v] + at * p->values[v].row, apart * p->values[v].row};
    }
}

void lstmcore_tick_step(const tick *t, const op *o, rows gates, rows products, size_t n, const float *h_old,
                        float *h_new, float *c) {
    if (o->n_reads == 1) {
        recurrent_step(&t->scratch, o, gates, products, n, h_old, h_new, c);
        return;
    }
    const rows mask = rows_of(&t->scratch, o->reads[1]);
    for (size_t m = 0, end; m < n; m = end) {
        const int counts = mask.at[m * mask.row] != 0.0f;
        for (end = m + 1; end < n && (mask.at[end * mask.row] != 0.0f) == counts; end++) {
        }
        const float *const old = h_old + m * h_row(o);
        float *const new = h_new + m * h_row(o);
        if (counts) {
            const rows known = products.at == NULL ? products : from_row(products, m);
            recurrent_step(&t->scratch, o, from_row(gates, m), known, end - m, old, new, c + m * c_row(o));
        } else {
            memcpy(new, old, (end - m) * h_row(o) * sizeof *new);
        }
    }
}

static rows gates_of(tick *t, size_t n_op, size_t n) {
    const op *o = &t->model->ops[n_op];
    const int g = t->plan->gates_of[n_op];
    if (g >= 0 && t->gates[g].at != NULL) {
        return t->gates[g];
    }
    recurrent_gates(t->scratch.kernel, o, rows_of(&t->scratch, o->reads[0]), n, t->scratch.gates, t->scratch.gates_row);
    return (rows){t->scratch.gates, t->scratch.gates_row};
}

void lstmcore_lockstep(tick *t, const recurrent_state *states, size_t at, size_t n, int now, int from_zero) {
    for (size_t k = 0; k < t->plan->n_updates; k++) {
        const size_t n_op = t->plan->updates[k];
        const op *o = &t->model->ops[n_op];
        if (!t->plan->carried[n_op]) {
            lstmcore_apply(&t->scratch, &n_op, 1, 0, n);
            continue;
        }
        const recurrent_state *st = &states[n_op];
        float *const h_new = st->h[!now] + at * h_row(o);
        const rows products = from_zero ? recurrent_products_of_zeros(o) : (rows){NULL, 0};
        lstmcore_tick_step(t, o, gates_of(t, n_op, n), products, n, st->h[now] + at * h_row(o), h_new,
                           st->c + at * c_row(o));
        t->scratch.values[o->writes] = (rows){h_new, h_row(o)};
    }
}
