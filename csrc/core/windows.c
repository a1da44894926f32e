/* Every window of a long series: CHUNK of them in lockstep, over what their common ticks contribute. */
#include <stdlib.h>

#include "lockstep.h"
#include "window.h"

typedef struct {
    tick tick;
    recurrent_state *states; /* of `at_once` windows */
    float **gates, **values; /* of each of the plan's, rows of the ticks of these windows; NULL of an input */
    size_t at_once, window, stride, apart;
    const void *const *inputs;
    float *const *outputs;
} series;

static void series_free(series *of) {
    const tick_plan *p = of->tick.plan;
    for (size_t k = 0; of->gates != NULL && k < p->n_gates; k++) {
        free(of->gates[k]);
    }
    for (size_t k = 0; of->values != NULL && k < p->n_values; k++) {
        free(of->values[k]);
    }
    free(of->gates);
    free(of->values);
    lstmcore_states_free(of->tick.model, of->states);
    lstmcore_tick_free(&of->tick);
}

static int is_input(const lstmcore_model *model, int v) {
    return model->values[v].maker < 0;
}

/* 0 where there is no memory. */
static int series_new(const lstmcore_model *model, series *of) {
    const tick_plan *p = model->ticks;
    const size_t ticks = (of->at_once - 1) * of->apart + of->window;
    if (!lstmcore_tick_new(model, &of->tick) || (of->gates = calloc(p->n_gates + 1, sizeof *of->gates)) == NULL ||
        (of->values = calloc(p->n_values + 1, sizeof *of->values)) == NULL ||
        (of->states = lstmcore_states_new(model, p->carried, of->at_once)) == NULL) {
        return 0;
    }
    for (size_t k = 0; k < p->n_gates; k++) {
        if ((of->gates[k] = lstmcore_floats_new(ticks * p->gates[k].row)) == NULL) {
            return 0;
        }
    }
    for (size_t k = 0; k < p->n_values; k++) {
        if (!is_input(model, p->values[k].of) &&
            (of->values[k] = lstmcore_floats_new(ticks * p->values[k].row)) == NULL) {
            return 0;
        }
    }
    return 1;
}

/* What `n` ticks contribute, the first of them tick `at` of the series and row `to` of what is kept. */
static void run_ticks(series *of, size_t at, size_t to, size_t n) {
    tick *t = &of->tick;
    const tick_plan *p = t->plan;
    for (size_t k = 0; k < t->model->n_inputs; k++) {
        const size_t width = t->model->values[k].width;
        t->values[k] = (rows){(const float *)of->inputs[k] + (t->model->values[k].sequence ? at * width : 0), width};
    }
    lstmcore_tick_shared(t, n);
    for (size_t k = 0; k < p->n_gates; k++) {
        const op *o = &t->model->ops[p->gates[k].of];
        recurrent_gates(t->scratch.kernel, o, t->values[o->reads[0]], n, of->gates[k] + to * p->gates[k].row,
                        p->gates[k].row);
    }
    for (size_t k = 0; k < p->n_values; k++) {
        const rows from = t->values[p->values[k].of];
        const size_t row = p->values[k].row;
        for (size_t m = 0; of->values[k] != NULL && m < n; m++) {
            memcpy(of->values[k] + (to + m) * row, from.at + m * from.row,
                   t->model->values[p->values[k].of].width * sizeof *from.at);
        }
    }
}

/* Let what windows read at their step t be that of windows from number w on. */
static void look_at(series *of, size_t w, size_t step) {
    tick *t = &of->tick;
    const tick_plan *p = t->plan;
    for (size_t k = 0; k < t->model->n_inputs; k++) {
        const value *v = &t->model->values[k];
        const float *const x = of->inputs[k];
        t->values[k] = v->sequence ? (rows){x + (w * of->stride + step) * v->width, of->stride * v->width}
                                   : (rows){x + w * v->width, v->width};
    }
    for (size_t k = 0; k < p->n_gates; k++) {
        t->gates[k] = (rows){of->gates[k] + step * p->gates[k].row, of->apart * p->gates[k].row};
    }
    for (size_t k = 0; k < p->n_values; k++) {
        if (of->values[k] != NULL) {
            t->values[p->values[k].of] = (rows){of->values[k] + step * p->values[k].row, of->apart * p->values[k].row};
        }
    }
}

/* `n` windows, at most `at_once`, from window w on. Returns 0 where the caller stops it. */
static int run_block(series *of, watch *watched, size_t w, size_t n) {
    tick *t = &of->tick;
    const tick_plan *p = t->plan;
    const size_t step_work = n * lstmcore_work(t->model, p->updates, p->n_updates);
    size_t tick_work = lstmcore_work(t->model, p->shared, p->n_shared);
    for (size_t k = 0; k < p->n_gates; k++) {
        tick_work += t->model->ops[p->gates[k].of].work;
    }
    /* Windows further apart than they are long share no tick, and what lies between them is left out. */
    const size_t pieces = of->stride < of->window ? 1 : n;
    const size_t ticks = pieces == 1 ? (n - 1) * of->stride + of->window : of->window;
    lstmcore_tick_reset(t);
    for (size_t piece = 0; piece < pieces; piece++) {
        for (size_t at = 0; at < ticks; at += CHUNK) {
            const size_t some = ticks - at < CHUNK ? ticks - at : CHUNK;
            run_ticks(of, (w + piece) * of->stride + at, piece * of->window + at, some);
            if (watch_after(watched, some * tick_work)) {
                return 0;
            }
        }
    }
    for (size_t k = 0; k < p->n_updates; k++) {
        const size_t n_op = p->updates[k];
        if (p->carried[n_op]) {
            lstmcore_states_begin(&t->model->ops[n_op], &of->states[n_op], 0, 0, n);
        }
    }
    for (size_t step = 0; step < of->window; step++) {
        look_at(of, w, step);
        lstmcore_lockstep(t, of->states, 0, n, (int)(step & 1));
        if (watch_after(watched, step_work)) {
            return 0;
        }
    }
    lstmcore_tick_head(t, n);
    lstmcore_tick_put(t, of->outputs, w, n);
    return !watch_after(watched, n * lstmcore_work(t->model, p->head, p->n_head));
}

int lstmcore_run_windows(lstmcore_session *s, const void *const *inputs, size_t ticks, size_t window, size_t stride,
                         float *const *outputs) {
    if (s == NULL || lacks_arrays(s->model, inputs, outputs) || window < 1 || stride < 1 || window > ticks ||
        (s->model->steps != 0 && window != s->model->steps)) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    const size_t windows = (ticks - window) / stride + 1;
    if (!s->model->ticks->slides) {
        return lstmcore_run_apart(s, inputs, windows, window, stride, NULL, NULL, outputs, NULL);
    }
    series of = {.window = window, .stride = stride, .inputs = inputs, .outputs = outputs};
    of.apart = stride < window ? stride : window;
    /* Few enough windows at once that the gates of their ticks stay in the second-level cache where they can. */
    of.at_once = windows < CHUNK ? windows : CHUNK;
    while (of.at_once > 4 && (of.at_once - 1) * of.apart > 16 * CHUNK) {
        of.at_once /= 2;
    }
    int code = series_new(s->model, &of) ? LSTMCORE_OK : LSTMCORE_NO_MEMORY;
    s->watched.callers = fp_mode_enter();
    for (size_t w = 0; code == LSTMCORE_OK && w < windows; w += of.at_once) {
        const size_t n = windows - w < of.at_once ? windows - w : of.at_once;
        code = run_block(&of, &s->watched, w, n) ? LSTMCORE_OK : LSTMCORE_STOPPED;
    }
    fp_mode_leave(s->watched.callers);
    series_free(&of);
    return code;
}
