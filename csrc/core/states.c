/* The states of recurrent layers, and what they need to take steps. */
#include <stdlib.h>

#include "recurrent.h"

void lstmcore_states_free(const lstmcore_model *model, recurrent_state *states) {
    for (size_t n = 0; states != NULL && n < model->n_ops; n++) {
        free(states[n].h[0]);
        free(states[n].h[1]);
        free(states[n].c);
    }
    free(states);
}

recurrent_state *lstmcore_states_new(const lstmcore_model *model, const unsigned char *which, size_t n) {
    recurrent_state *states = calloc(model->n_ops, sizeof *states);
    for (size_t k = 0; states != NULL && k < model->n_ops; k++) {
        const op *o = &model->ops[k];
        if (o->kind != OP_RECURRENT || (which != NULL && !which[k])) {
            continue;
        }
        recurrent_state *const st = &states[k];
        st->h[0] = lstmcore_floats_new(n * h_row(o));
        st->h[1] = lstmcore_floats_new(n * h_row(o));
        st->c = lstmcore_floats_new(n * c_row(o));
        if (st->h[0] == NULL || st->h[1] == NULL || st->c == NULL) {
            lstmcore_states_free(model, states);
            return NULL;
        }
    }
    return states;
}

static void fill(float *to, const float *start, size_t row, size_t n) {
    if (start == NULL) {
        memset(to, 0, n * row * sizeof *to);
    }
    for (size_t m = 0; start != NULL && m < n; m++) {
        memcpy(to + m * row, start, row * sizeof *to);
    }
}

void lstmcore_states_begin(const op *o, const recurrent_state *state, int now, size_t at, size_t n) {
    fill(state->h[now] + at * h_row(o), o->start_h, h_row(o), n);
    fill(state->c + at * c_row(o), o->start_c, c_row(o), n);
}

void lstmcore_states_set(const op *o, const recurrent_state *state, int now, size_t at, const float *from) {
    memcpy(state->h[now] + at * h_row(o), from + o->state_at, o->out * sizeof *from);
    memcpy(state->c + at * c_row(o), from + o->state_at + o->out, o->c * sizeof *from);
}

void lstmcore_states_put(const op *o, const recurrent_state *state, int now, size_t at, float *to) {
    lstmcore_put(to + o->state_at, 1, o->out, (rows){state->h[now] + at * h_row(o), 0});
    lstmcore_put(to + o->state_at + o->out, 1, o->c, (rows){state->c + at * c_row(o), 0});
}

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

int lstmcore_scratch_new(const lstmcore_model *model, const int *sources, scratch *s) {
    size_t work = 0;
    *s = (scratch){.model = model, .kernel = model->kernel, .sources = sources};
    for (size_t n = 0; n < model->n_ops; n++) {
        const op *o = &model->ops[n];
        s->gates_row = larger(s->gates_row, o->gates_row);
        s->state_row = larger(s->state_row, o->kind == OP_RECURRENT ? larger(h_row(o), c_row(o)) : 0);
        work = larger(work, o->variant != NULL ? o->gates_row + o->variant->part : 0);
    }
    s->values = calloc(model->n_values, sizeof *s->values);
    s->ways = calloc(model->n_ops, sizeof *s->ways);
    for (size_t n = 0; s->values != NULL && s->ways != NULL && n < model->n_ops; n++) {
        const op *o = &model->ops[n];
        s->ways[n] = (way){o, &s->values[sources[o->reads[0]]], &s->values[sources[o->writes]]};
    }
    s->gates = lstmcore_floats_new(CHUNK * s->gates_row);
    s->products = lstmcore_floats_new(work != 0 ? CHUNK * s->gates_row : 0);
    s->work = lstmcore_floats_new(work);
    s->state = lstmcore_floats_new(3 * s->state_row);
    return s->values != NULL && s->ways != NULL && s->gates != NULL && s->products != NULL && s->work != NULL &&
           s->state != NULL;
}

void lstmcore_scratch_free(scratch *s) {
    free(s->values);
    free(s->ways);
    free(s->gates);
    free(s->products);
    free(s->work);
    free(s->state);
}
