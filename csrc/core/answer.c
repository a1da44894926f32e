/* The answers to ticks: the step of each stream's oldest window, and what hangs on it. */
#include "streams.h"

/* What each of the n streams' tick contributes to the gates of layer n_op, kept where other windows take their step. */
static rows form_gates(lstmcore_streams *s, size_t n_op, size_t n, const size_t *which, purpose why) {
    const op *o = &s->model->ops[n_op];
    const scratch *w = &s->tick.scratch;
    const rows in = *w->ways[n_op].in;
    const int g = s->window == 0 ? -1 : s->tick.plan->gates_of[n_op];
    if (g < 0 && n == 1) { /* of more weights than the cache holds, it holds those that were used last */
        recurrent_gates_of_one(w->kernel, o, in.at, why == REHEARSE, w->gates);
        return (rows){w->gates, 0};
    }
    if (n == 1) {
        float *const own = s->kept.gates[g] + which[0] * o->gates_row;
        recurrent_gates(w->kernel, o, in, 1, own, 0);
        return (rows){own, 0};
    }
    recurrent_gates(w->kernel, o, in, n, w->gates, w->gates_row);
    for (size_t m = 0; g >= 0 && m < n; m++) {
        memcpy(s->kept.gates[g] + which[m] * o->gates_row, w->gates + m * w->gates_row,
               o->gates_row * sizeof *w->gates);
    }
    return (rows){w->gates, w->gates_row};
}

/* The products, h and c of n streams' oldest windows, as rows. c as it was is still wanted there: when the stream
 * catches up all of its windows take this step. */
static void gather(lstmcore_streams *s, size_t n_op, size_t n, const size_t *which, purpose why) {
    const op *o = &s->model->ops[n_op];
    const recurrent_state *st = &s->states[n_op];
    const size_t gates_row = s->tick.scratch.gates_row;
    for (size_t m = 0; m < n; m++) {
        const ring *r = &s->rings[which[m]];
        const size_t slot = which[m] * s->slots + r->head;
        memcpy(s->c + m * c_row(o), st->c + slot * c_row(o), c_row(o) * sizeof(float));
        if (n > 1) {
            memcpy(s->h + m * h_row(o), st->h[r->now] + slot * h_row(o), h_row(o) * sizeof(float));
        }
        if (n > 1 && why != FUSED) {
            memcpy(s->gathered + m * gates_row, s->products[n_op] + which[m] * o->gates_row,
                   o->gates_row * sizeof(float));
        }
    }
}

/* The new h and c of n streams without an end, from rows. */
static void scatter(lstmcore_streams *s, size_t n_op, size_t n, const size_t *which, const float *h) {
    const size_t of_h = h_row(&s->model->ops[n_op]), of_c = c_row(&s->model->ops[n_op]);
    for (size_t m = 0; m < n; m++) {
        const int next = !s->rings[which[m]].now;
        memcpy(s->states[n_op].h[next] + which[m] * of_h, h + m * of_h, of_h * sizeof(float));
        memcpy(s->states[n_op].c + which[m] * of_c, s->c + m * of_c, of_c * sizeof(float));
    }
}

/* The step of a layer with a state, for the oldest windows of several streams. Returns where the new h are. */
static const float *step_together(lstmcore_streams *s, size_t n_op, size_t n, const size_t *which, purpose why) {
    const op *o = &s->model->ops[n_op];
    const rows gates = form_gates(s, n_op, n, which, why);
    float *const h_new = (float *)(uintptr_t)lstmcore_tick_buffer(&s->tick, (size_t)o->writes).at;
    const rows products = {why == FUSED ? NULL : s->gathered, s->tick.scratch.gates_row};
    gather(s, n_op, n, which, why);
    lstmcore_tick_step(&s->tick, o, gates, products, n, s->h, h_new, s->c);
    if (s->window == 0) {
        scatter(s, n_op, n, which, h_new);
    }
    return h_new;
}

/* The same of a single stream. The only step that a stream without an end has goes where it belongs. */
static const float *step_alone(lstmcore_streams *s, size_t n_op, size_t which, purpose why) {
    const op *o = &s->model->ops[n_op];
    const recurrent_state *st = &s->states[n_op];
    const ring *r = &s->rings[which];
    const int stays = why == CARRY;
    const float *const h_old = st->h[r->now] + (which * s->slots + r->head) * h_row(o);
    float *const h_new = stays ? st->h[!r->now] + which * h_row(o)
                               : (float *)(uintptr_t)lstmcore_tick_buffer(&s->tick, (size_t)o->writes).at;
    float *const c = stays ? st->c + which * c_row(o) : s->c;
    const rows gates = form_gates(s, n_op, 1, &which, why);
    if (!stays) {
        gather(s, n_op, 1, &which, why);
    }
    lstmcore_tick_step(&s->tick, o, gates, (rows){s->products[n_op] + which * o->gates_row, 0}, 1, h_old, h_new, c);
    return h_new;
}

/* The same of one that has not formed its product. */
static const float *step_at_once(lstmcore_streams *s, size_t n_op, size_t which) {
    const op *o = &s->model->ops[n_op];
    const recurrent_state *st = &s->states[n_op];
    const int now = s->rings[which].now;
    const float *const h_old = st->h[now] + which * h_row(o);
    float *const h_new = st->h[!now] + which * h_row(o);
    if (o->n_reads == 1 || *rows_of(&s->tick.scratch, o->reads[1]).at != 0.0f) {
        recurrent_carry(&s->tick.scratch, o, s->tick.scratch.ways[n_op].in->at, now, h_old, h_new,
                        st->c + which * c_row(o));
    } else {
        memcpy(h_new, h_old, h_row(o) * sizeof *h_new);
    }
    return h_new;
}

static void look_at_inputs(lstmcore_streams *s, const void *const *inputs, size_t at) {
    for (size_t k = 0; k < s->model->n_inputs; k++) {
        const size_t width = s->model->values[k].width;
        s->tick.scratch.values[k] = (rows){(const float *)inputs[k] + at * width, width};
    }
}

void lstmcore_streams_answer(lstmcore_streams *s, size_t n, const size_t *which, const void *const *inputs,
                             float *const *outputs, size_t at, purpose why) {
    tick *t = &s->tick;
    const tick_plan *p = t->plan;
    look_at_inputs(s, inputs, at);
    for (size_t k = 0; k < p->n_values; k++) { /* a catch-up has looked elsewhere for them */
        const int v = p->values[k].of;
        if ((size_t)v >= s->model->n_inputs) {
            t->scratch.values[v] = lstmcore_tick_buffer(t, (size_t)v);
        }
    }
    if (p->n_shared != 0) { /* not a call, in the shortest of pushes */
        lstmcore_apply(&t->scratch, p->shared, p->n_shared, 0, n);
    }
    for (size_t m = 0; s->window != 0 && p->n_values != 0 && m < n; m++) {
        lstmcore_keep_values(t, &s->kept, m, which[m]);
    }
    for (size_t k = 0; k < p->n_updates; k++) {
        const size_t n_op = p->updates[k];
        const op *o = &s->model->ops[n_op];
        if (p->carried[n_op]) {
            const float *const h = n > 1          ? step_together(s, n_op, n, which, why)
                                   : why == FUSED ? step_at_once(s, n_op, *which)
                                                  : step_alone(s, n_op, *which, why);
            t->scratch.values[o->writes] = (rows){h, h_row(o)};
        } else {
            lstmcore_apply(&t->scratch, &n_op, 1, 0, n);
        }
    }
    lstmcore_apply(&t->scratch, p->head, p->n_head, 0, n);
    for (size_t k = 0; k < s->model->n_outputs; k++) {
        const int v = s->model->outputs[k].value;
        const size_t width = s->model->values[v].width;
        lstmcore_put(outputs[k] + at * width, n, width, rows_of(&t->scratch, v));
    }
}

void lstmcore_streams_rehearse(lstmcore_streams *s) {
    const size_t any = 0;
    lstmcore_streams_answer(s, 1, &any, s->zeros, s->nowhere, 0, REHEARSE);
    look_at_inputs(s, s->zeros, 0);
    lstmcore_apply(&s->tick.scratch, s->tick.plan->shared, s->tick.plan->n_shared, 0, 1);
    for (size_t k = 0; k < s->tick.plan->n_gates; k++) {
        form_gates(s, (size_t)s->tick.plan->gates[k].of, 1, &any, REHEARSE);
    }
}
