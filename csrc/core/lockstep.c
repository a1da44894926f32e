#include "lockstep.h"

#include <stdlib.h>

int lstmcore_tick_new(const lstmcore_model *model, tick *t) {
    const tick_plan *p = model->ticks;
    *t = (tick){.model = model, .plan = p};
    const int found = lstmcore_scratch_new(model, &t->scratch) &&
                      (t->chunks = lstmcore_floats_new(p->chunks * CHUNK * p->row)) != NULL &&
                      (t->values = calloc(model->n_values, sizeof *t->values)) != NULL &&
                      (t->gates = calloc(p->n_gates + 1, sizeof *t->gates)) != NULL &&
                      (t->reads = calloc(p->most_reads + 1, sizeof *t->reads)) != NULL;
    if (found) {
        lstmcore_tick_reset(t);
    }
    return found;
}

void lstmcore_tick_free(tick *t) {
    lstmcore_scratch_free(&t->scratch);
    free(t->chunks);
    free(t->values);
    free(t->gates);
    free(t->reads);
}

void lstmcore_tick_reset(tick *t) {
    const tick_plan *p = t->plan;
    for (size_t v = t->model->n_inputs; v < t->model->n_values; v++) {
        t->values[v] = (rows){t->chunks + p->buffers[v] * CHUNK * p->row, p->row};
    }
}

size_t lstmcore_work(const lstmcore_model *model, const size_t *ops, size_t n) {
    size_t work = 0;
    for (size_t k = 0; k < n; k++) {
        work += model->ops[ops[k]].work;
    }
    return work;
}

void lstmcore_tick_apply(tick *t, size_t n_op, size_t n) {
    const op *o = &t->model->ops[n_op];
    if (moves_nothing(o->kind)) {
        t->values[o->writes] = t->values[o->reads[0]];
        return;
    }
    const rows to = t->values[o->writes];
    float *const out = (float *)(uintptr_t)to.at;
    if (o->kind != OP_RECURRENT) {
        const rows *in = &t->values[o->reads[0]];
        for (size_t k = 0; o->n_reads > 1 && k < o->n_reads; k++) {
            t->reads[k] = t->values[o->reads[k]];
            in = t->reads;
        }
        lstmcore_apply(t->scratch.kernel, t->model, o, n, in, out, to.row);
        return;
    }
    const rows in = t->values[o->reads[0]];
    for (size_t m = 0; m < n; m++) {
        const rows mask = o->n_reads == 1 ? (rows){NULL, 0} : t->values[o->reads[1]];
        const int counts = mask.at == NULL || mask.at[m * mask.row] != 0.0f;
        recurrent_only_step(&t->scratch, o, in.at + m * in.row, counts, out + m * to.row);
    }
}

void lstmcore_tick_shared(tick *t, size_t n) {
    for (size_t k = 0; k < t->plan->n_shared; k++) {
        lstmcore_tick_apply(t, t->plan->shared[k], n);
    }
}

void lstmcore_tick_head(tick *t, size_t n) {
    for (size_t k = 0; k < t->plan->n_head; k++) {
        lstmcore_tick_apply(t, t->plan->head[k], n);
    }
}

rows lstmcore_tick_gates(tick *t, size_t n_op, size_t n) {
    const op *o = &t->model->ops[n_op];
    if (t->plan->gates_of[n_op] >= 0) {
        return t->gates[t->plan->gates_of[n_op]];
    }
    recurrent_gates(t->scratch.kernel, o, t->values[o->reads[0]], n, t->scratch.gates, t->scratch.gates_row);
    return (rows){t->scratch.gates, t->scratch.gates_row};
}

/* The step of those windows for which it counts; the others' h goes on as it is. */
static void step_masked(const scratch *s, const op *o, rows gates, rows mask, size_t n, const float *h_old,
                        float *h_new, float *c) {
    for (size_t m = 0; m < n;) {
        const int counts = mask.at[m * mask.row] != 0.0f;
        size_t end = m + 1;
        while (end < n && (mask.at[end * mask.row] != 0.0f) == counts) {
            end++;
        }
        const float *const old = h_old + m * h_row(o);
        float *const new = h_new + m * h_row(o);
        if (counts) {
            recurrent_step(s, o, gates.at + m * gates.row, gates.row, end - m, old, new, c + m * c_row(o));
        } else {
            memcpy(new, old, (end - m) * h_row(o) * sizeof *new);
        }
        m = end;
    }
}

void lstmcore_lockstep(tick *t, const recurrent_state *states, size_t at, size_t n, int now) {
    for (size_t k = 0; k < t->plan->n_updates; k++) {
        const size_t n_op = t->plan->updates[k];
        const op *o = &t->model->ops[n_op];
        if (!t->plan->carried[n_op]) {
            lstmcore_tick_apply(t, n_op, n);
            continue;
        }
        const rows gates = lstmcore_tick_gates(t, n_op, n);
        const float *const h_old = states[n_op].h[now] + at * h_row(o);
        float *const h_new = states[n_op].h[!now] + at * h_row(o), *const c = states[n_op].c + at * c_row(o);
        if (o->n_reads == 1) {
            recurrent_step(&t->scratch, o, gates.at, gates.row, n, h_old, h_new, c);
        } else {
            step_masked(&t->scratch, o, gates, t->values[o->reads[1]], n, h_old, h_new, c);
        }
        t->values[o->writes] = (rows){h_new, h_row(o)};
    }
}

void lstmcore_tick_put(const tick *t, float *const *outputs, size_t at, size_t n) {
    for (size_t k = 0; k < t->model->n_outputs; k++) {
        const int v = t->model->outputs[k].value;
        const size_t width = t->model->values[v].width;
        lstmcore_put(outputs[k] + at * width, n, width, t->values[v]);
    }
}
