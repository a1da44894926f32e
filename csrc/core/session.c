/* Run windows through a model. Nothing here allocates but lstmcore_session_new. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/colored.h"
#include "kernels/fp_mode.h"
#include "recurrent.h"

void lstmcore_states_free(const lstmcore_model *model, recurrent_state *states) {
    for (size_t n = 0; states != NULL && n < model->n_ops; n++) {
        free(states[n].h[0]);
        free(states[n].h[1]);
        free(states[n].c);
    }
    free(states);
}

recurrent_state *lstmcore_states_new(const lstmcore_model *model, size_t rows) {
    recurrent_state *states = calloc(model->n_ops, sizeof *states);
    for (size_t n = 0; states != NULL && n < model->n_ops; n++) {
        const op *o = &model->ops[n];
        if (o->kind != OP_RECURRENT) {
            continue;
        }
        recurrent_state *const st = &states[n];
        st->h[0] = lstmcore_floats_new(rows * h_row(o));
        st->h[1] = lstmcore_floats_new(rows * h_row(o));
        st->c = lstmcore_floats_new(rows * c_row(o));
        if (st->h[0] == NULL || st->h[1] == NULL || st->c == NULL) {
            lstmcore_states_free(model, states);
            return NULL;
        }
    }
    return states;
}

void lstmcore_states_zero(const op *o, const recurrent_state *state, int now, size_t at, size_t rows) {
    memset(state->h[now] + at * h_row(o), 0, rows * h_row(o) * sizeof(float));
    memset(state->c + at * c_row(o), 0, rows * c_row(o) * sizeof(float));
}

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

int lstmcore_session_new(lstmcore_model *model, lstmcore_session **session) {
    if (model == NULL || session == NULL || model->n_ops == 0) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    lstmcore_session *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return LSTMCORE_NO_MEMORY;
    }
    s->model = model;
    atomic_fetch_add(&model->users, 1);
    s->row = round_up(model->input_size, ROW);
    size_t flat = 0, work = 0;
    int colored = 0;
    for (size_t n = 0; n < model->n_ops; n++) {
        const op *o = &model->ops[n];
        s->gates_row = larger(s->gates_row, o->gates_row);
        s->row = larger(s->row, c_row(o));
        colored |= o->recurrent.colored != NULL;
        work = larger(work, o->variant != NULL ? o->gates_row + o->variant->part : 0);
        if (o->kind == OP_FLATTEN) {
            flat = o->out; /* has rows of its own: one of them is as long as CHUNK rows of others */
        } else {
            s->row = larger(s->row, round_up(o->out, ROW));
        }
    }
    s->rows[0] = lstmcore_floats_new(CHUNK * s->row);
    s->rows[1] = lstmcore_floats_new(CHUNK * s->row);
    s->gates = lstmcore_floats_new(CHUNK * s->gates_row);
    s->pages = colored ? lstmcore_pages_new((CHUNK + 1) * PAGE) : NULL;
    s->products = lstmcore_floats_new(work != 0 ? CHUNK * s->gates_row : 0);
    s->work = lstmcore_floats_new(work);
    s->flat = lstmcore_floats_new(flat);
    s->states = lstmcore_states_new(model, 1);
    if (s->states == NULL || s->rows[0] == NULL || s->rows[1] == NULL || s->gates == NULL || s->products == NULL ||
        s->work == NULL || s->flat == NULL || (colored && s->pages == NULL)) {
        lstmcore_session_free(s);
        return LSTMCORE_NO_MEMORY;
    }
    atomic_store(&model->sealed, 1);
    *session = s;
    return LSTMCORE_OK;
}

void lstmcore_session_free(lstmcore_session *s) {
    if (s == NULL) {
        return;
    }
    lstmcore_states_free(s->model, s->states);
    free(s->rows[0]);
    free(s->rows[1]);
    free(s->gates);
    free(s->pages);
    free(s->products);
    free(s->work);
    free(s->flat);
    lstmcore_model_free(s->model);
    free(s);
}

static void set_state(float *to, const float *from, size_t units) {
    if (from == NULL) {
        memset(to, 0, units * sizeof *to);
    } else {
        memcpy(to, from, units * sizeof *to);
    }
}

static void begin(lstmcore_session *s, const float *h0, const float *c0) {
    s->flat_used = 0;
    s->from_zero = h0 == NULL;
    for (size_t n = 0; n < s->model->n_ops; n++) {
        const op *o = &s->model->ops[n];
        if (o->kind == OP_RECURRENT) {
            set_state(s->states[n].h[0], h0 == NULL ? NULL : h0 + o->h_at, o->out);
            set_state(s->states[n].c, c0 == NULL ? NULL : c0 + o->c_at, o->c);
        }
    }
}

/* What an op returns: see lstmcore_apply. */
enum { WAITS = 0, GOES_ON = 1, STOPPED = -1 };

/* Send a window's next rows through a recurrent layer. */
static int apply_recurrent(lstmcore_session *s, size_t n, stream *in, int last) {
    const op *o = &s->model->ops[n];
    recurrent_state *st = &s->states[n];
    float *out = other_rows(s, in);
    float *const every = o->all_steps ? out : NULL;
    const kernel *k = s->model->kernel;
    if (o->recurrent.colored != NULL && s->pages != NULL && in->rows >= COLORED_ROWS) {
        float *const gates = s->pages + colored_gates(o->recurrent.gates);
        recurrent_gates(k, o, in, in->rows, gates, PAGE);
        k->colored_steps(&o->recurrent, gates, in->rows, s->from_zero, st->h[0], st->c, every, s->row);
    } else {
        recurrent_gates(k, o, in, in->rows, s->gates, s->gates_row);
        for (size_t at = 0; at < in->rows; at += o->at_once) {
            const size_t rows = in->rows - at < o->at_once ? in->rows - at : o->at_once;
            recurrent_steps(s, o, at, rows, st, every);
            if (at + rows < in->rows && watch_after(&s->watched, rows * o->work)) {
                return STOPPED;
            }
        }
    }
    if (!o->all_steps) {
        memcpy(out, st->h[0], h_row(o) * sizeof *out);
    }
    *in = (stream){out, s->row, o->all_steps ? in->rows : 1, o->out, 1};
    return o->all_steps || last ? GOES_ON : WAITS;
}

/* At most CHUNK rows of a window. Returns 0 where the caller stops it; else `written` is how many answers went to y. */
static int run_rows(lstmcore_session *s, const float *x, size_t rows, int last, float *y, size_t *written) {
    const size_t features = s->model->input_size;
    stream in = {x, features, rows, features, 0};
    int goes_on = GOES_ON;
    for (size_t n = 0; goes_on == GOES_ON && n < s->model->n_ops; n++) {
        const op *o = &s->model->ops[n];
        const size_t work = in.rows * o->work;
        goes_on = (o->kind == OP_RECURRENT ? apply_recurrent : lstmcore_apply)(s, n, &in, last);
        if (goes_on == STOPPED || watch_after(&s->watched, work)) {
            return 0;
        }
    }
    s->from_zero = 0;
    *written = goes_on == GOES_ON ? in.rows : 0;
    if (*written != 0) {
        lstmcore_put(y, &in);
    }
    return 1;
}

static int run(lstmcore_session *s, const float *x, size_t steps, const float *h0, const float *c0, float *y) {
    begin(s, h0, c0);
    for (size_t t = 0; t < steps; t += CHUNK) {
        const size_t rows = steps - t < CHUNK ? steps - t : CHUNK;
        size_t written;
        if (!run_rows(s, x + t * s->model->input_size, rows, t + rows == steps, y, &written)) {
            return 0;
        }
        y += written * s->model->width;
    }
    return 1;
}

int lstmcore_run_many(lstmcore_session *s, const float *x, size_t n, size_t steps, const float *h0, const float *c0,
                      float *y) {
    if (s == NULL || x == NULL || y == NULL || steps < 1 || (s->model->steps != 0 && steps != s->model->steps)) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    const size_t h_states = s->model->h_states, c_states = s->model->c_states;
    int goes_on = 1;
    s->watched.callers = fp_mode_enter();
    for (size_t w = 0; goes_on && w < n; w++) {
        goes_on =
            run(s, x + w * steps * s->model->input_size, steps, h0 == NULL ? NULL : h0 + w * h_states,
                c0 == NULL ? NULL : c0 + w * c_states, y + w * s->model->width * (s->model->sequence ? steps : 1));
    }
    fp_mode_leave(s->watched.callers);
    return goes_on ? LSTMCORE_OK : LSTMCORE_STOPPED;
}

int lstmcore_run(lstmcore_session *s, const float *x, size_t steps, const float *h0, const float *c0, float *y) {
    return lstmcore_run_many(s, x, 1, steps, h0, c0, y);
}

int lstmcore_session_watch(lstmcore_session *s, int (*stop)(void *), void *context) {
    if (s == NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    s->watched.stop = stop;
    s->watched.context = context;
    return LSTMCORE_OK;
}

int lstmcore_bind(lstmcore_session *s, const float *x, size_t steps, float *y) {
    if (s == NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    s->bound_x = x;
    s->bound_steps = steps;
    s->bound_y = y;
    return LSTMCORE_OK;
}

int lstmcore_run_bound(lstmcore_session *s) {
    return s == NULL ? LSTMCORE_BAD_ARGUMENT : lstmcore_run(s, s->bound_x, s->bound_steps, NULL, NULL, s->bound_y);
}
