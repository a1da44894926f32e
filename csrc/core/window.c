/* One window, pass after pass. Nothing here allocates. */
#include "window.h"

#include "kernels/colored.h"

static size_t width_of(const lstmcore_session *s, int v) {
    return s->model->values[v].width;
}

/* The rows of a value from step t on; of a single row, that. */
static rows rows_from(const lstmcore_session *s, int v, size_t t) {
    const place *p = &s->plan->values[v];
    switch (p->place) {
    case AT_INPUT:
        return (rows){s->inputs[v] + (s->model->values[v].sequence ? t * p->row : 0), p->row};
    case AT_CHUNK:
        return (rows){s->chunks + p->at * CHUNK * p->row, p->row};
    case AT_WHOLE:
        return (rows){s->wholes[p->at] + t * p->row, p->row};
    default:
        return (rows){s->ones + p->at, p->row};
    }
}

/* The row of a value at the first or last step of the window. */
static rows row_at(const lstmcore_session *s, int v, steps_read which) {
    if (s->plan->values[v].place == AT_CHUNK) { /* of the pass that ends here: its last chunk is still there */
        const rows last = rows_from(s, v, 0);
        return (rows){last.at + (s->n - 1) * last.row, 0};
    }
    return (rows){rows_from(s, v, which == FIRST ? 0 : s->steps - 1).at, 0};
}

static void begin(lstmcore_session *s, const float *state) {
    for (size_t n = 0; n < s->model->n_ops; n++) {
        const op *o = &s->model->ops[n];
        if (o->kind != OP_RECURRENT) {
            continue;
        }
        s->at_zero[n] = state == NULL && o->start_h == NULL;
        lstmcore_states_begin(o, &s->states[n], 0, 0, 1);
        if (state != NULL) {
            lstmcore_states_set(o, &s->states[n], 0, 0, state);
        }
    }
}

/* The steps of a chunk from row `at` on, without those that do not count. Returns 0 where the caller stops it. */
static int take_steps(lstmcore_session *s, size_t n, size_t at, size_t count, float *every, size_t every_row) {
    const op *o = &s->model->ops[n];
    const scratch *w = &s->scratch;
    for (size_t end = at + count; at < end;) {
        const size_t some = end - at < o->at_once ? end - at : o->at_once;
        recurrent_steps(w, o, w->gates + at * w->gates_row, w->gates_row, some, s->at_zero[n], &s->states[n],
                        every == NULL ? NULL : every + at * every_row, every_row);
        s->at_zero[n] = 0;
        at += some;
        if (at < s->n && watch_after(&s->watched, some * o->work)) {
            return 0;
        }
    }
    return 1;
}

/* Where a step does not count the state stays, and h is put out once more. */
static int take_masked_steps(lstmcore_session *s, size_t n, rows mask, float *every, size_t every_row) {
    const op *o = &s->model->ops[n];
    for (size_t at = 0; at < s->n;) {
        const int counts = mask.at[at * mask.row] != 0.0f;
        size_t end = at + 1;
        while (end < s->n && (mask.at[end * mask.row] != 0.0f) == counts) {
            end++;
        }
        if (counts && !take_steps(s, n, at, end - at, every, every_row)) {
            return 0;
        }
        for (size_t m = at; !counts && every != NULL && m < end; m++) {
            memcpy(every + m * every_row, s->states[n].h[0], h_row(o) * sizeof *every);
        }
        at = end;
    }
    return 1;
}

/* A chunk through a recurrent layer. */
static int run_recurrent(lstmcore_session *s, size_t n) {
    const op *o = &s->model->ops[n];
    recurrent_state *st = &s->states[n];
    const rows in = rows_from(s, o->reads[0], s->t);
    const int each = s->plan->values[o->writes].read == ALL;
    const rows out = rows_from(s, o->writes, s->t);
    float *const every = each ? (float *)(uintptr_t)out.at : NULL;
    if (o->n_reads == 1 && o->recurrent.colored != NULL && s->pages != NULL && s->n >= COLORED_ROWS) {
        float *const gates = s->pages + colored_gates(o->recurrent.gates);
        recurrent_gates(s->scratch.kernel, o, in, s->n, gates, PAGE);
        s->scratch.kernel->colored_steps(&o->recurrent, gates, s->n, s->at_zero[n], st->h[0], st->c, every, out.row);
        s->at_zero[n] = 0;
    } else {
        recurrent_gates(s->scratch.kernel, o, in, s->n, s->scratch.gates, s->scratch.gates_row);
        if (o->n_reads == 1 ? !take_steps(s, n, 0, s->n, every, out.row)
                            : !take_masked_steps(s, n, rows_from(s, o->reads[1], s->t), every, out.row)) {
            return 0;
        }
    }
    if (!each && s->t + s->n == s->steps) {
        memcpy((float *)(uintptr_t)out.at, st->h[0], h_row(o) * sizeof *st->c);
    }
    return 1;
}

/* A chunk through an op. Returns 0 where the caller stops it. */
static int run_chunk(lstmcore_session *s, size_t n) {
    const op *o = &s->model->ops[n];
    if (o->kind == OP_RECURRENT) {
        return run_recurrent(s, n);
    }
    const rows to = rows_from(s, o->writes, s->t);
    float *const out = (float *)(uintptr_t)to.at;
    if (o->kind == OP_FLATTEN) {
        const rows from = rows_from(s, o->reads[0], s->t);
        for (size_t m = 0; m < s->n; m++) {
            memcpy(out + (s->t + m) * o->in, from.at + m * from.row, o->in * sizeof *out);
        }
    } else if (o->kind == OP_REVERSE) {
        for (size_t m = 0; m < s->n; m++) {
            const rows from = rows_from(s, o->reads[0], s->steps - 1 - s->t - m);
            memcpy(out + m * to.row, from.at, o->out * sizeof *out);
        }
    } else {
        s->scratch.values[o->writes] = to;
        for (size_t k = 0; k < o->n_reads; k++) {
            s->scratch.values[o->reads[k]] = rows_from(s, o->reads[k], s->t);
        }
        lstmcore_apply(&s->scratch, &n, 1, 0, s->n);
    }
    return 1;
}

/* An op of which one step is read, or whose values are vectors. */
static void run_once(lstmcore_session *s, size_t n) {
    const op *o = &s->model->ops[n];
    const steps_read which = lstmcore_steps_needed(o, s->plan->values[o->writes].read);
    const scratch *w = &s->scratch;
    w->values[o->writes] = rows_from(s, o->writes, 0);
    for (size_t k = 0; k < o->n_reads; k++) {
        w->values[o->reads[k]] = row_at(s, o->reads[k], which);
    }
    if (o->kind != OP_RECURRENT) {
        lstmcore_apply(w, &n, 1, 0, 1);
        return;
    }
    if (o->n_reads == 1 || *w->values[o->reads[1]].at != 0.0f) {
        recurrent_gates_of_one(w->kernel, o, w->values[o->reads[0]].at, 0, w->gates);
        recurrent_steps(w, o, w->gates, 0, 1, s->at_zero[n], &s->states[n], NULL, 0);
    }
    memcpy((float *)(uintptr_t)w->values[o->writes].at, s->states[n].h[0], h_row(o) * sizeof(float));
}

/* The outputs of which each step is read, so far as this pass has made them; or, at the end, the others. */
static void put_outputs(const lstmcore_session *s, size_t pass, int at_end) {
    for (size_t k = 0; k < s->model->n_outputs; k++) {
        const int v = s->model->outputs[k].value;
        const place *p = &s->plan->values[v];
        const int streamed = p->place != AT_ONE;
        if (streamed && !at_end && p->pass == pass) {
            lstmcore_put(s->outputs[k] + s->t * width_of(s, v), s->n, width_of(s, v), rows_from(s, v, s->t));
        } else if (!streamed && at_end) {
            lstmcore_put(s->outputs[k], 1, width_of(s, v), rows_from(s, v, 0));
        }
    }
}

static int run_pass(lstmcore_session *s, size_t pass) {
    const plan *p = s->plan;
    const size_t first = p->first[pass], once = p->once[pass];
    for (s->t = 0; first < once && s->t < s->steps; s->t += s->n) {
        s->n = s->steps - s->t < CHUNK ? s->steps - s->t : CHUNK;
        for (size_t at = first; at < once; at++) {
            const op *o = &s->model->ops[p->order[at]];
            if (!run_chunk(s, p->order[at]) || watch_after(&s->watched, s->n * o->work)) {
                return 0;
            }
        }
        put_outputs(s, pass, 0);
        if (s->t + s->n == s->steps) {
            break; /* t and n stay those of the last chunk */
        }
    }
    for (size_t at = once; at < p->first[pass + 1]; at++) {
        run_once(s, p->order[at]);
        if (watch_after(&s->watched, s->model->ops[p->order[at]].work)) {
            return 0;
        }
    }
    return 1;
}

int lstmcore_run_window(lstmcore_session *s, size_t steps, const float *state, float *end) {
    s->steps = steps;
    begin(s, state);
    for (size_t pass = 0; pass < s->plan->n_passes; pass++) {
        if (!run_pass(s, pass)) {
            return 0;
        }
    }
    put_outputs(s, 0, 1);
    for (size_t n = 0; end != NULL && n < s->model->n_ops; n++) {
        if (s->model->ops[n].kind == OP_RECURRENT) {
            lstmcore_states_put(&s->model->ops[n], &s->states[n], 0, 0, end);
        }
    }
    return 1;
}
