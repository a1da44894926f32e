/* Streams from their beginning to their end. */
#include <stdatomic.h>
#include <stdlib.h>

#include "streams.h"

/* Beyond any use, and small enough that no size overflows. */
#define MAX_WINDOWS ((size_t)1 << 20)

int lstmcore_model_slides(const lstmcore_model *model) {
    return model != NULL && atomic_load(&model->sealed) && model->ticks->slides;
}

int lstmcore_model_carries(const lstmcore_model *model) {
    return model != NULL && atomic_load(&model->sealed) && model->ticks->carries;
}

void lstmcore_streams_free(lstmcore_streams *s) {
    if (s == NULL) {
        return;
    }
    lstmcore_streams_stop_helper(s);
    for (size_t n = 0; s->products != NULL && n < s->model->n_ops; n++) {
        free(s->products[n]);
    }
    free(s->products);
    lstmcore_kept_free(s->model, &s->kept);
    lstmcore_states_free(s->model, s->states);
    lstmcore_tick_free(&s->tick);
    free(s->h);
    free(s->c);
    free(s->gathered);
    free(s->zeros == NULL ? NULL : (void *)(uintptr_t)s->zeros[0]);
    free(s->nowhere == NULL ? NULL : s->nowhere[0]);
    free(s->zeros);
    free(s->nowhere);
    free(s->bound_inputs);
    free(s->bound_outputs);
    free(s->rings);
    lstmcore_model_free(s->model);
    free(s);
}

/* Zeros for every input and room for every output; 0 where there is no memory. */
static int allocate_ports(lstmcore_streams *s) {
    const lstmcore_model *model = s->model;
    size_t widest = 0;
    for (size_t v = 0; v < model->n_values; v++) {
        widest = model->values[v].width > widest ? model->values[v].width : widest;
    }
    s->zeros = calloc(model->n_inputs, sizeof *s->zeros);
    s->nowhere = calloc(model->n_outputs, sizeof *s->nowhere);
    s->bound_inputs = calloc(model->n_inputs, sizeof *s->bound_inputs);
    s->bound_outputs = calloc(model->n_outputs, sizeof *s->bound_outputs);
    if (s->zeros == NULL || s->nowhere == NULL || s->bound_inputs == NULL || s->bound_outputs == NULL) {
        return 0;
    }
    float *const zeros = lstmcore_floats_new(widest);
    float *const nowhere = lstmcore_floats_new(widest);
    for (size_t k = 0; k < model->n_inputs; k++) {
        s->zeros[k] = zeros;
    }
    for (size_t k = 0; k < model->n_outputs; k++) {
        s->nowhere[k] = nowhere;
    }
    return nowhere != NULL && zeros != NULL;
}

/* Ticks that are kept until other windows take their step: a stream without an end has no other window. */
static size_t window_ticks(const lstmcore_streams *s) {
    return s->window == 0 ? 0 : s->count;
}

/* Every array of streams whose sizes are set; 0 at the first for which there is no memory. */
static int allocate(lstmcore_streams *s) {
    const lstmcore_model *model = s->model;
    const tick_plan *p = model->ticks;
    if (!lstmcore_tick_new(model, &s->tick) || !allocate_ports(s) ||
        !lstmcore_kept_new(model, window_ticks(s), &s->kept) ||
        (s->rings = calloc(s->count, sizeof *s->rings)) == NULL ||
        (s->states = lstmcore_states_new(model, p->carried, s->count * s->slots)) == NULL ||
        (s->h = lstmcore_floats_new(CHUNK * p->row)) == NULL || (s->c = lstmcore_floats_new(CHUNK * p->row)) == NULL ||
        (s->gathered = lstmcore_floats_new(CHUNK * s->tick.scratch.gates_row)) == NULL ||
        (s->products = calloc(model->n_ops, sizeof *s->products)) == NULL) {
        return 0;
    }
    for (size_t n = 0; n < model->n_ops; n++) {
        if (p->carried[n] && (s->products[n] = lstmcore_floats_new(s->count * model->ops[n].gates_row)) == NULL) {
            return 0;
        }
    }
    return 1;
}

int lstmcore_streams_new(lstmcore_model *model, size_t window, size_t count, lstmcore_streams **streams) {
    if (model == NULL || streams == NULL || window > MAX_WINDOWS || count < 1 || count > MAX_WINDOWS) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    if (!atomic_load(&model->sealed)) {
        return lstmcore_fail(model, LSTMCORE_SEALED, "streams: the model is not sealed yet");
    }
    if (window == 0 ? !model->ticks->carries : !model->ticks->slides) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    lstmcore_streams *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return LSTMCORE_NO_MEMORY;
    }
    s->model = model;
    s->window = window;
    s->slots = window == 0 ? 1 : window;
    s->count = count;
    atomic_fetch_add(&model->users, 1);
    if (!allocate(s)) {
        lstmcore_streams_free(s);
        return LSTMCORE_NO_MEMORY;
    }
    const fp_mode callers = fp_mode_enter();
    lstmcore_streams_begin(s, 0);
    fp_mode_leave(callers);
    for (size_t n = 0; n < model->n_ops; n++) { /* all streams begin alike */
        const op *o = &model->ops[n];
        for (size_t which = 1; s->products[n] != NULL && which < count; which++) {
            memcpy(s->products[n] + which * o->gates_row, s->products[n], o->gates_row * sizeof(float));
            lstmcore_states_begin(o, &s->states[n], 0, which * s->slots, s->slots);
        }
    }
    *streams = s;
    return LSTMCORE_OK;
}
