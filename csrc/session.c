/* Run windows through a model. Nothing here allocates but lstmcore_session_new. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fp_mode.h"
#include "model.h"

/* A window goes through all layers a few steps at a time, so that what lies between two layers stays in the nearest
 * caches and a session's memory does not grow with the window. */
enum { CHUNK = 32 };

/* An LSTM's state; h[0] is the newest. */
typedef struct {
    float *h[2];
    float *c;
} state;

struct lstmcore_session {
    const lstmcore_model *model;
    size_t row;       /* floats in a row of `rows`: the widest layer's, rounded up */
    size_t gates_row; /* floats in a row of `gates` */
    float *rows[2];   /* (CHUNK, row): what goes into a layer and what comes out of it, in turn */
    float *gates;     /* (CHUNK, gates_row) */
    float *flat;      /* (steps*in,) of a Flatten */
    size_t flat_used;
    int from_zero;        /* no step has been taken since all states were set to zero */
    state *states;        /* one for each op; empty where it is no LSTM */
    const float *bound_x; /* what lstmcore_bind was given */
    size_t bound_steps;
    float *bound_y;
};

int lstmcore_session_new(lstmcore_model *model, lstmcore_session **session) {
    if (model == NULL || session == NULL || model->n_ops == 0) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    lstmcore_session *s = calloc(1, sizeof *s);
    if (s == NULL || (s->states = calloc(model->n_ops, sizeof *s->states)) == NULL) {
        free(s);
        return LSTMCORE_NO_MEMORY;
    }
    s->model = model;
    s->row = round_up(model->input_size, ROW);
    size_t flat = 0;
    for (size_t n = 0; n < model->n_ops; n++) {
        const op *o = &model->ops[n];
        if (o->kind == OP_FLATTEN) {
            flat = o->out; /* has rows of its own: one of them is as long as CHUNK rows of others */
        } else if (round_up(o->out, ROW) > s->row) {
            s->row = round_up(o->out, ROW);
        }
    }
    int short_of_memory = 0;
    for (size_t n = 0; n < model->n_ops; n++) {
        if (model->ops[n].kind != OP_LSTM) {
            continue;
        }
        const size_t units = round_up(model->ops[n].out, ROW);
        s->gates_row = 4 * units > s->gates_row ? 4 * units : s->gates_row;
        state *st = &s->states[n];
        st->h[0] = lstmcore_floats_new(units);
        st->h[1] = lstmcore_floats_new(units);
        st->c = lstmcore_floats_new(units);
        short_of_memory |= st->h[0] == NULL || st->h[1] == NULL || st->c == NULL;
    }
    s->rows[0] = lstmcore_floats_new(CHUNK * s->row);
    s->rows[1] = lstmcore_floats_new(CHUNK * s->row);
    s->gates = lstmcore_floats_new(CHUNK * s->gates_row);
    s->flat = lstmcore_floats_new(flat);
    if (short_of_memory || s->rows[0] == NULL || s->rows[1] == NULL || s->gates == NULL || s->flat == NULL) {
        lstmcore_session_free(s);
        return LSTMCORE_NO_MEMORY;
    }
    model->sealed = 1;
    *session = s;
    return LSTMCORE_OK;
}

void lstmcore_session_free(lstmcore_session *s) {
    if (s == NULL) {
        return;
    }
    for (size_t n = 0; s->states != NULL && n < s->model->n_ops; n++) {
        free(s->states[n].h[0]);
        free(s->states[n].h[1]);
        free(s->states[n].c);
    }
    free(s->states);
    free(s->rows[0]);
    free(s->rows[1]);
    free(s->gates);
    free(s->flat);
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
        if (o->kind == OP_LSTM) {
            set_state(s->states[n].h[0], h0 == NULL ? NULL : h0 + o->state, o->out);
            set_state(s->states[n].c, c0 == NULL ? NULL : c0 + o->state, o->out);
        }
    }
}

/* Rows on their way through the layers. `own` says that `at` is the session's memory and may be overwritten. */
typedef struct {
    const float *at;
    size_t row, rows, width;
    int own;
} stream;

/* Where a layer may put its rows: the buffer that `in` does not stand in. */
static float *other_rows(lstmcore_session *s, const stream *in) {
    return s->rows[in->at == s->rows[0]];
}

/* `in` in memory that a layer may work on in place, rows padded. */
static float *own_rows(lstmcore_session *s, stream *in) {
    if (!in->own) {
        float *to = other_rows(s, in);
        for (size_t m = 0; m < in->rows; m++) {
            memcpy(to + m * s->row, in->at + m * in->row, in->width * sizeof *to);
        }
        *in = (stream){to, s->row, in->rows, in->width, 1};
    }
    return (float *)(uintptr_t)in->at;
}

static void softmax(const kernel *k, float *x, size_t n) {
    float largest = x[0];
    for (size_t j = 1; j < n; j++) {
        largest = x[j] > largest || x[j] != x[j] ? x[j] : largest;
    }
    k->exponential(largest, x, round_up(n, ROW));
    float sum = 0.0f;
    for (size_t j = 0; j < n; j++) {
        sum += x[j];
    }
    for (size_t j = 0; j < n; j++) {
        x[j] /= sum;
    }
}

/* Send rows through one layer. Returns 0 where nothing goes on until the window's last rows have come. */
static int apply(lstmcore_session *s, size_t n, stream *in, int last) {
    const op *o = &s->model->ops[n];
    const kernel *k = s->model->kernel;
    switch (o->kind) {
    case OP_LSTM: {
        state *st = &s->states[n];
        float *out = other_rows(s, in);
        k->project(&o->weights, in->at, in->row, in->rows, s->gates, s->gates_row);
        k->lstm(&o->recurrent, s->gates, s->gates_row, in->rows, s->from_zero, st->h, st->c, o->all_steps ? out : NULL,
                s->row);
        if (!o->all_steps) {
            memcpy(out, st->h[0], round_up(o->out, ROW) * sizeof *out);
        }
        *in = (stream){out, s->row, o->all_steps ? in->rows : 1, o->out, 1};
        return o->all_steps || last;
    }
    case OP_LINEAR: {
        float *out = other_rows(s, in);
        k->project(&o->weights, in->at, in->row, in->rows, out, s->row);
        *in = (stream){out, s->row, in->rows, o->out, 1};
        return 1;
    }
    case OP_AFFINE: {
        float *x = own_rows(s, in);
        for (size_t m = 0; m < in->rows; m++) {
            k->affine(o->weights.weights, o->weights.bias, x + m * in->row, round_up(in->width, ROW));
        }
        return 1;
    }
    case OP_ACTIVATION: {
        float *x = own_rows(s, in);
        for (size_t m = 0; m < in->rows; m++) {
            k->activate(o->activation, o->alpha, x + m * in->row, round_up(in->width, ROW));
        }
        return 1;
    }
    case OP_SOFTMAX: {
        float *x = own_rows(s, in);
        for (size_t m = 0; m < in->rows; m++) {
            softmax(k, x + m * in->row, in->width);
        }
        return 1;
    }
    case OP_FLATTEN:
        for (size_t m = 0; m < in->rows; m++, s->flat_used += o->in) {
            memcpy(s->flat + s->flat_used, in->at + m * in->row, o->in * sizeof *s->flat);
        }
        *in = (stream){s->flat, round_up(o->out, ROW), 1, o->out, 1};
        return last;
    }
    return 0;
}

/* The one NaN: which of its payloads an operation gives differs between processors. */
static void put(float *y, const stream *rows) {
    const uint32_t quiet = 0x7fc00000u;
    for (size_t m = 0; m < rows->rows; m++) {
        for (size_t j = 0; j < rows->width; j++) {
            const float value = rows->at[m * rows->row + j];
            memcpy(&y[m * rows->width + j], value == value ? (const void *)&value : (const void *)&quiet, sizeof *y);
        }
    }
}

static void run(lstmcore_session *s, const float *x, size_t steps, const float *h0, const float *c0, float *y) {
    const size_t features = s->model->input_size;
    begin(s, h0, c0);
    for (size_t t = 0; t < steps; t += CHUNK) {
        const size_t rows = steps - t < CHUNK ? steps - t : CHUNK;
        stream in = {x + t * features, features, rows, features, 0};
        int goes_on = 1;
        for (size_t n = 0; goes_on && n < s->model->n_ops; n++) {
            goes_on = apply(s, n, &in, t + rows == steps);
        }
        s->from_zero = 0;
        if (goes_on) {
            put(y, &in);
            y += in.rows * in.width;
        }
    }
}

int lstmcore_run_many(lstmcore_session *s, const float *x, size_t n, size_t steps, const float *h0, const float *c0,
                      float *y) {
    if (s == NULL || x == NULL || y == NULL || steps < 1 || (s->model->steps != 0 && steps != s->model->steps)) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    const size_t states = s->model->states;
    const fp_mode callers = fp_mode_enter();
    for (size_t w = 0; w < n; w++) {
        run(s, x + w * steps * s->model->input_size, steps, h0 == NULL ? NULL : h0 + w * states,
            c0 == NULL ? NULL : c0 + w * states, y + w * s->model->width * (s->model->sequence ? steps : 1));
    }
    fp_mode_leave(callers);
    return LSTMCORE_OK;
}

int lstmcore_run(lstmcore_session *s, const float *x, size_t steps, const float *h0, const float *c0, float *y) {
    return lstmcore_run_many(s, x, 1, steps, h0, c0, y);
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
