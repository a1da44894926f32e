/* The calls that answer windows, in one form. A new one is tried by poison, quiet and others once it is in `calls`. */
#ifndef CALLS_H
#define CALLS_H

#include <string.h>

#include "random_layers.h"
#include "core/streams.h"
#include "core/window.h"

enum { MAX_PORTS = 6 };

/* Windows of a model that has a session, as lstmcore_run_many takes them. */
typedef struct {
    lstmcore_model *model;
    lstmcore_session *session;
    const void *x[MAX_PORTS]; /* n windows for each input */
    size_t n, steps;
    const size_t *lengths;     /* (n,), or NULL */
    const float *state;        /* (n, state_size), or NULL */
    int ends;                  /* the session can give the states at the end */
    lstmcore_streams *sliding; /* n streams, windows of `steps`; NULL: not tried */
    lstmcore_streams *carried; /* n streams that carry their states; NULL: not tried */
    float *tick[MAX_PORTS];    /* of each input: room for a tick of each stream */
    float *answer[MAX_PORTS];  /* of each output, likewise */
    float *kept;               /* room for the states of one sequence */
} windows;

/* What a call answers. */
typedef struct {
    float *y[MAX_PORTS];
    float *end; /* (n, state_size), or NULL where the session gives none */
} answers;

static const value *input_of(const lstmcore_model *model, size_t k) {
    return &model->values[model->inputs[k].value];
}

static const value *output_of(const lstmcore_model *model, size_t k) {
    return &model->values[model->outputs[k].value];
}

/* Floats of an input or output of `n` windows. */
static size_t port_size(const value *v, size_t n, size_t steps) {
    return n * v->width * (v->sequence ? steps : 1);
}

static size_t x_size(const windows *w, size_t k) {
    return port_size(input_of(w->model, k), w->n, w->steps);
}

static size_t y_size(const windows *w, size_t k) {
    return port_size(output_of(w->model, k), w->n, w->steps);
}

static size_t states_size(const windows *w) {
    return w->n * w->model->state_size;
}

static size_t length_of(const windows *w, size_t m) {
    return w->lengths == NULL ? w->steps : w->lengths[m];
}

/* --- the calls ------------------------------------------------------------------------------------------------- */

static int run_many(const windows *w, const answers *to) {
    return lstmcore_run_many(w->session, w->x, w->n, w->steps, w->lengths, w->state, to->y, to->end);
}

static int run_one(const windows *w, const answers *to) {
    return lstmcore_run(w->session, w->x, length_of(w, 0), w->state, to->y, to->end);
}

static int run_bound(const windows *w, const answers *to) {
    const int code = lstmcore_bind(w->session, w->x, length_of(w, 0), to->y);
    return code == LSTMCORE_OK ? lstmcore_run_bound(w->session) : code;
}

/* The windows as a series of such as do not overlap. */
static int run_windows(const windows *w, const answers *to) {
    return lstmcore_run_windows(w->session, w->x, w->n * w->steps, w->steps, w->steps, to->y);
}

/* Tick t of windows `first` to `first` + n - 1, into w->tick. */
static void gather_ticks(const windows *w, size_t first, size_t n, size_t t) {
    for (size_t k = 0; k < w->model->n_inputs; k++) {
        const value *v = input_of(w->model, k);
        for (size_t m = 0; m < n; m++) {
            const size_t row = v->sequence ? (first + m) * w->steps + t : first + m;
            memcpy(w->tick[k] + m * v->width, (const float *)w->x[k] + row * v->width, v->width * sizeof(float));
        }
    }
}

/* From w->answer to where the answers to tick t are; of a vector the last stays. */
static void scatter_answers(const windows *w, const answers *to, size_t first, size_t n, size_t t) {
    for (size_t k = 0; k < w->model->n_outputs; k++) {
        const value *v = output_of(w->model, k);
        for (size_t m = 0; m < n; m++) {
            const size_t row = v->sequence ? (first + m) * w->steps + t : first + m;
            memcpy(to->y[k] + row * v->width, w->answer[k] + m * v->width, v->width * sizeof(float));
        }
    }
}

static int reset_all(const windows *w, lstmcore_streams *streams, size_t *which) {
    int code = LSTMCORE_OK;
    for (size_t m = 0; m < w->n && code == LSTMCORE_OK; m++) {
        which[m] = m;
        code = lstmcore_streams_reset(streams, m);
    }
    return code;
}

/* Each window's last tick, then all of it, pushed to a stream of its own. */
static int push(const windows *w, const answers *to) {
    size_t which[MAX_WINDOWS];
    int code = reset_all(w, w->sliding, which);
    for (size_t t = 0; t <= w->steps && code == LSTMCORE_OK; t++) {
        gather_ticks(w, 0, w->n, (t == 0 ? w->steps : t) - 1);
        code = lstmcore_streams_push(w->sliding, w->n, which, (const void *const *)w->tick, to->y);
    }
    return code;
}

static int push_bound(const windows *w, const answers *to) {
    int code = lstmcore_streams_reset(w->sliding, 0);
    code = code == LSTMCORE_OK ? lstmcore_streams_bind(w->sliding, (const void *const *)w->tick, to->y) : code;
    for (size_t t = 0; t < w->steps && code == LSTMCORE_OK; t++) {
        gather_ticks(w, 0, 1, t);
        code = lstmcore_streams_push_bound(w->sliding);
        code = code == LSTMCORE_OK ? lstmcore_streams_catch_up(w->sliding) : code;
    }
    return code;
}

/* The state of a carried stream, as a run gives it at the end of a window; layers that keep none are left out. */
static int get_end(const windows *w, size_t stream, float *end) {
    size_t ticks, at = 0;
    const int code = end == NULL ? LSTMCORE_OK : lstmcore_streams_get_state(w->carried, stream, w->kept, &ticks);
    for (size_t n = 0; n < w->model->n_ops && end != NULL; n++) {
        const op *o = &w->model->ops[n];
        if (w->model->ticks->carried[n]) {
            memcpy(end + o->state_at, w->kept + at, (o->out + o->c) * sizeof(float));
            at += o->out + o->c;
        }
    }
    return code;
}

/* All windows at once, as far as they are long; with a catch-up after each tick but every third. */
static int push_carried_together(const windows *w, const answers *to) {
    size_t which[MAX_WINDOWS];
    int code = reset_all(w, w->carried, which);
    for (size_t t = 0; t < w->steps && code == LSTMCORE_OK; t++) {
        gather_ticks(w, 0, w->n, t);
        code = lstmcore_streams_push(w->carried, w->n, which, (const void *const *)w->tick, w->answer);
        scatter_answers(w, to, 0, w->n, t);
        if (code == LSTMCORE_OK && t % 3 != 0) {
            code = t % 3 == 1 ? lstmcore_streams_catch_up(w->carried) : lstmcore_streams_hurry(w->carried);
        }
    }
    for (size_t m = 0; m < w->n && code == LSTMCORE_OK; m++) {
        code = get_end(w, m, to->end == NULL ? NULL : to->end + m * w->model->state_size);
    }
    return code;
}

/* One window, each step's product formed with the next one's. */
static int push_carried(const windows *w, const answers *to) {
    const size_t only = 0;
    int code = lstmcore_streams_reset(w->carried, only);
    for (size_t t = 0; t < length_of(w, 0) && code == LSTMCORE_OK; t++) {
        gather_ticks(w, 0, 1, t);
        code = lstmcore_streams_push(w->carried, 1, &only, (const void *const *)w->tick, w->answer);
        scatter_answers(w, to, 0, 1, t);
    }
    return code == LSTMCORE_OK ? get_end(w, 0, to->end) : code;
}

/* What layer n begins with where nothing was carried to it, into `to`. */
static void begin_state(const windows *w, size_t n, float *to) {
    const op *o = &w->model->ops[n];
    for (size_t j = 0; j < o->out + o->c; j++) {
        const float *const start = j < o->out ? o->start_h : o->start_c;
        to[j] = w->state != NULL ? w->state[o->state_at + j]
                : start == NULL  ? 0.0f
                                 : start[j < o->out ? j : j - o->out];
    }
}

/* A window in two, the second of which begins with the states at the end of the first; but layers whose only step is
 * the newest tick's begin anew. */
static int run_in_halves(const windows *w, const answers *to) {
    const size_t first = length_of(w, 0) / 2;
    const void *x[MAX_PORTS];
    float *y[MAX_PORTS];
    int code = first == 0 ? LSTMCORE_OK : lstmcore_run(w->session, w->x, first, w->state, to->y, w->kept);
    for (size_t n = 0; n < w->model->n_ops; n++) {
        const op *o = &w->model->ops[n];
        if (o->kind == OP_RECURRENT && (first == 0 || !w->model->ticks->carried[n])) {
            begin_state(w, n, w->kept + o->state_at);
        }
    }
    for (size_t k = 0; k < w->model->n_inputs; k++) {
        const value *v = input_of(w->model, k);
        x[k] = (const float *)w->x[k] + (v->sequence ? first * v->width : 0);
    }
    for (size_t k = 0; k < w->model->n_outputs; k++) {
        const value *v = output_of(w->model, k);
        y[k] = to->y[k] + (v->sequence ? first * v->width : 0);
    }
    return code == LSTMCORE_OK ? lstmcore_run(w->session, x, length_of(w, 0) - first, w->kept, y, to->end) : code;
}

/* --- which of them fit, and what is to be expected ------------------------------------------------------------- */

static int from_zeros(const windows *w) {
    return w->state == NULL;
}

static int whole(const windows *w) {
    return w->state == NULL && w->lengths == NULL;
}

static int slides(const windows *w) {
    return w->sliding != NULL && whole(w);
}

static int carries(const windows *w) {
    return w->carried != NULL && from_zeros(w);
}

static int hands_over(const windows *w) {
    return w->ends && w->model->ticks->carries;
}

static int all_carry(const windows *w) {
    return w->carried != NULL && whole(w);
}

typedef struct {
    const char *name;
    int (*answer)(const windows *w, const answers *to);
    int many;                        /* takes more than one window */
    int (*fits)(const windows *all); /* whether it can answer these windows; NULL: any */
    enum { NO_END, ALL_LAYERS, CARRIED } end;
} call;

/* The first answers any windows. */
static const call calls[] = {
    {"lstmcore_run_many", run_many, 1, NULL, ALL_LAYERS},
    {"lstmcore_run", run_one, 0, NULL, ALL_LAYERS},
    {"lstmcore_run in two halves", run_in_halves, 0, hands_over, CARRIED},
    {"lstmcore_run_bound", run_bound, 0, from_zeros, NO_END},
    {"lstmcore_run_windows", run_windows, 1, whole, NO_END},
    {"lstmcore_streams_push", push, 1, slides, NO_END},
    {"lstmcore_streams_push_bound", push_bound, 0, slides, NO_END},
    {"lstmcore_streams_push of carried states", push_carried, 0, carries, CARRIED},
    {"lstmcore_streams_push of several carried states", push_carried_together, 1, all_carry, CARRIED},
};
#define CALLS (sizeof calls / sizeof *calls)

static size_t tried[CALLS]; /* how often each of them was */

static int same_floats(const float *a, const float *b, size_t n) {
    return memcmp(a, b, n * sizeof *a) == 0;
}

/* Whether a call's answers are those; rows behind a window's length, and states that it does not give, aside. */
static int same_answers(const call *c, const windows *w, const answers *a, const answers *b) {
    const lstmcore_model *model = w->model;
    int same = 1;
    for (size_t m = 0; m < w->n; m++) {
        for (size_t k = 0; k < model->n_outputs; k++) {
            const size_t at = m * port_size(output_of(model, k), 1, w->steps);
            same = same && same_floats(a->y[k] + at, b->y[k] + at, port_size(output_of(model, k), 1, length_of(w, m)));
        }
        for (size_t n = 0; n < model->n_ops && a->end != NULL && b->end != NULL; n++) {
            const op *o = &model->ops[n];
            const size_t at = m * model->state_size + o->state_at;
            if (o->kind == OP_RECURRENT && (c->end == ALL_LAYERS || (c->end == CARRIED && model->ticks->carried[n]))) {
                same = same && same_floats(a->end + at, b->end + at, o->out + o->c);
            }
        }
    }
    return same;
}

/* try_call for each call that can answer these windows, all at once or one by one; y are the answers to all of them. */
static void each_call(const windows *all, const answers *y,
                      void (*try_call)(const call *c, const windows *w, const answers *expected)) {
    for (const call *c = calls; c < calls + CALLS; c++) {
        if (c->fits != NULL && !c->fits(all)) {
            continue;
        }
        windows w = *all;
        w.n = c->many ? all->n : 1;
        answers expected = *y;
        for (size_t done = 0; done < all->n; done += w.n) {
            try_call(c, &w, &expected);
            tried[c - calls]++;
            for (size_t k = 0; k < w.model->n_inputs; k++) {
                w.x[k] = (const float *)w.x[k] + x_size(&w, k);
            }
            for (size_t k = 0; k < w.model->n_outputs; k++) {
                expected.y[k] += y_size(&w, k);
            }
            w.lengths = w.lengths == NULL ? NULL : w.lengths + w.n;
            w.state = w.state == NULL ? NULL : w.state + states_size(&w);
            expected.end = expected.end == NULL ? NULL : expected.end + states_size(&w);
        }
    }
}

#endif
