/* Windows in lockstep: a step of some dozens is one product of many rows. Only the reserve below allocates. */
#include "together.h"

#include <stdlib.h>

#include "lockstep.h"

/* Rows of what ticks contribute to the windows that share them: few enough for the second-level cache. */
enum { KEPT = 16 * CHUNK };

/* Row m of every array is that of the window with the m-th longest sequence. */
struct together {
    tick tick;
    recurrent_state *states; /* of CHUNK windows */
    float *inputs;           /* of one input after the other (CHUNK, width): what windows read in their step */
    kept_ticks kept;         /* KEPT ticks that several windows share */
    /* The windows under way */
    const many_windows *all;
    size_t first, n, order[CHUNK]; /* row m is that of window first + order[m] */
    size_t from, until;            /* the steps whose shared ticks are kept */
};
typedef struct together together;

void lstmcore_together_free(together *g) {
    if (g == NULL) {
        return;
    }
    lstmcore_kept_free(g->tick.model, &g->kept);
    free(g->inputs);
    lstmcore_states_free(g->tick.model, g->states);
    lstmcore_tick_free(&g->tick);
    free(g);
}

/* 0 where there is no memory. */
static int allocate(together *g, const lstmcore_model *model) {
    size_t width = 0;
    for (size_t k = 0; k < model->n_inputs; k++) {
        width += model->values[k].width;
    }
    return lstmcore_tick_new(model, &g->tick) && lstmcore_kept_new(model, KEPT, &g->kept) &&
           (g->states = lstmcore_states_new(model, model->ticks->carried, CHUNK)) != NULL &&
           (g->inputs = lstmcore_floats_new(CHUNK * width)) != NULL;
}

int lstmcore_together_reserve(lstmcore_session *s) {
    if (s->together != NULL) {
        return LSTMCORE_OK;
    }
    together *g = calloc(1, sizeof *g);
    if (g == NULL || !allocate(g, s->model)) {
        lstmcore_together_free(g);
        return LSTMCORE_NO_MEMORY;
    }
    s->together = g;
    return LSTMCORE_OK;
}

size_t lstmcore_at_once(const lstmcore_model *model, const many_windows *all, int *shares) {
    const tick_plan *p = model->ticks;
    const size_t most = WATCH_WORK / (p->tick_work + 1); /* or a stop would wait */
    const size_t n = most < CHUNK ? most : CHUNK;
    /* A layer that takes only its newest step has another state at the end of a window than this step's. */
    if (!p->carries || (!p->all_carried && (all->state != NULL || all->end != NULL))) {
        return 0;
    }
    *shares = 0;
    for (size_t fewer = n; all->lengths == NULL && all->stride < all->steps && fewer >= LEAST; fewer /= 2) {
        if (all->stride <= KEPT / 2 / fewer) {
            *shares = 1;
            return fewer;
        }
    }
    return n;
}

static size_t length_of(const together *g, size_t m) {
    return g->all->lengths == NULL ? g->all->steps : g->all->lengths[g->first + g->order[m]];
}

/* The longest first: the windows whose steps are not over are then the first rows. */
static void sort(together *g) {
    for (size_t m = 0; m < g->n; m++) {
        size_t at = m;
        g->order[m] = m;
        for (const size_t length = length_of(g, m); at > 0 && length_of(g, at - 1) < length; at--) {
            g->order[at] = g->order[at - 1];
        }
        g->order[at] = m;
    }
}

static void begin(together *g) {
    const lstmcore_model *model = g->tick.model;
    sort(g);
    for (size_t n = 0; n < model->n_ops; n++) {
        const op *o = &model->ops[n];
        const recurrent_state *st = &g->states[n];
        if (!g->tick.plan->carried[n]) {
            continue;
        }
        lstmcore_states_begin(o, st, 0, 0, g->n);
        for (size_t m = 0; g->all->state != NULL && m < g->n; m++) {
            lstmcore_states_set(o, st, 0, m, g->all->state + (g->first + g->order[m]) * model->state_size);
        }
    }
    lstmcore_tick_reset(&g->tick);
    for (size_t k = 0; k < g->tick.plan->n_gates; k++) {
        g->tick.gates[k].at = NULL;
    }
    g->until = 0;
}

/* Each window's newest h is in the one of the two places that the number of its steps says. */
static void put_ends(const together *g) {
    const lstmcore_model *model = g->tick.model;
    for (size_t n = 0; n < model->n_ops; n++) {
        const op *o = &model->ops[n];
        for (size_t m = 0; o->kind == OP_RECURRENT && m < g->n; m++) {
            lstmcore_states_put(o, &g->states[n], length_of(g, m) & 1, m,
                                g->all->end + (g->first + g->order[m]) * model->state_size);
        }
    }
}

/* Copies, in the rows' order, what n windows read of the inputs in this step. */
static void look_at_inputs(together *g, size_t step, size_t n) {
    float *to = g->inputs;
    for (size_t k = 0; k < g->tick.model->n_inputs; k++) {
        const value *v = &g->tick.model->values[k];
        const float *const x = g->all->inputs[k];
        for (size_t m = 0; m < n && (v->sequence || step == 0); m++) {
            const size_t row = (g->first + g->order[m]) * (v->sequence ? g->all->stride : 1) + step;
            memcpy(to + m * v->width, x + row * v->width, v->width * sizeof *x);
        }
        g->tick.scratch.values[k] = (rows){to, v->width};
        to += CHUNK * v->width;
    }
}

/* What `n` shared ticks contribute, the first of them tick `at` of the series and row `to` of what is kept. */
static void keep_ticks(together *g, size_t at, size_t to, size_t n) {
    tick *t = &g->tick;
    const tick_plan *p = t->plan;
    for (size_t k = 0; k < t->model->n_inputs; k++) {
        const value *v = &t->model->values[k];
        t->scratch.values[k] = (rows){(const float *)g->all->inputs[k] + (v->sequence ? at * v->width : 0), v->width};
    }
    lstmcore_apply(&t->scratch, p->shared, p->n_shared, 0, n);
    for (size_t k = 0; k < p->n_gates; k++) {
        const op *o = &t->model->ops[p->gates[k].of];
        const size_t row = p->gates[k].row;
        recurrent_gates(t->scratch.kernel, o, rows_of(&t->scratch, o->reads[0]), n, g->kept.gates[k] + to * row, row);
    }
    for (size_t m = 0; m < n; m++) {
        lstmcore_keep_values(t, &g->kept, m, to + m);
    }
}

/* The ticks of as many steps from `step` on as there is room for. Returns 0 where the caller stops it. */
static int keep_steps(together *g, size_t step, watch *watched) {
    const size_t apart = (g->n - 1) * g->all->stride, left = g->all->steps - step;
    const size_t steps = left < KEPT - apart ? left : KEPT - apart, ticks = apart + steps;
    lstmcore_tick_reset(&g->tick);
    for (size_t at = 0; at < ticks; at += CHUNK) {
        const size_t n = ticks - at < CHUNK ? ticks - at : CHUNK;
        keep_ticks(g, g->first * g->all->stride + step + at, at, n);
        if (watch_after(watched, n * g->tick.plan->tick_work)) {
            return 0;
        }
    }
    g->from = step;
    g->until = step + steps;
    return 1;
}

/* This step's row of every output that is a sequence, for n windows; those that are vectors, for the windows from row
 * `ended` on, which end here. */
static void put(const together *g, size_t step, size_t ended, size_t n) {
    for (size_t k = 0; k < g->tick.model->n_outputs; k++) {
        const int v = g->tick.model->outputs[k].value;
        const rows from = rows_of(&g->tick.scratch, v);
        const size_t width = g->tick.model->values[v].width;
        const int sequence = g->tick.model->values[v].sequence;
        for (size_t m = sequence ? 0 : ended; m < n; m++) {
            const size_t window = g->first + g->order[m], row = sequence ? window * g->all->steps + step : window;
            lstmcore_put(g->all->outputs[k] + row * width, 1, width, (rows){from.at + m * from.row, 0});
        }
    }
}

int lstmcore_run_together(lstmcore_session *s, const many_windows *all, size_t first, size_t n, int shares) {
    together *g = s->together;
    tick *t = &g->tick;
    const tick_plan *p = t->plan;
    g->all = all;
    g->first = first;
    g->n = n;
    begin(g);
    for (size_t step = 0; n > 0; step++) {
        if (shares && step == g->until && !keep_steps(g, step, &s->watched)) {
            return 0;
        }
        look_at_inputs(g, step, n);
        if (shares) {
            lstmcore_look_at_kept(t, &g->kept, step - g->from, all->stride);
        } else {
            lstmcore_apply(&t->scratch, p->shared, p->n_shared, 0, n);
        }
        lstmcore_lockstep(t, g->states, 0, n, (int)(step & 1), step == 0 && all->state == NULL);
        size_t ended = n;
        while (ended > 0 && length_of(g, ended - 1) == step + 1) {
            ended--;
        }
        lstmcore_apply(&t->scratch, p->head, p->n_each, 0, n);
        lstmcore_apply(&t->scratch, p->head + p->n_each, p->n_head - p->n_each, ended, n - ended);
        put(g, step, ended, n);
        if (watch_after(&s->watched, n * p->tick_work)) {
            return 0;
        }
        n = ended;
    }
    if (all->end != NULL) {
        put_ends(g);
    }
    return 1;
}
