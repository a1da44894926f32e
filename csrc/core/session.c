/* Sessions: their memory, and what is bound to them. */
#include <stdatomic.h>
#include <stdlib.h>

#include "kernels/colored.h"
#include "tick_plan.h"
#include "together.h"

static int has_colored(const lstmcore_model *model) {
    int colored = 0;
    for (size_t n = 0; n < model->n_ops; n++) {
        colored |= model->ops[n].recurrent.colored != NULL;
    }
    return colored;
}

/* Every array of a session; 0 at the first for which there is no memory. */
static int allocate(lstmcore_session *s) {
    const lstmcore_model *model = s->model;
    const plan *p = s->plan;
    const int colored = has_colored(model);
    return lstmcore_scratch_new(model, p->sources, &s->scratch) &&
           (s->chunks = lstmcore_floats_new(p->chunks * CHUNK * p->row)) != NULL &&
           (s->ones = lstmcore_floats_new(p->ones)) != NULL &&
           (s->wholes = calloc(p->wholes + 1, sizeof *s->wholes)) != NULL &&
           (!colored || (s->pages = lstmcore_pages_new((CHUNK + 1) * PAGE)) != NULL) &&
           (s->states = lstmcore_states_new(model, NULL, 1)) != NULL &&
           (s->at_zero = calloc(model->n_ops, 1)) != NULL &&
           (s->inputs = calloc(model->n_inputs, sizeof *s->inputs)) != NULL &&
           (s->outputs = calloc(model->n_outputs, sizeof *s->outputs)) != NULL &&
           (s->bound_inputs = calloc(model->n_inputs, sizeof *s->bound_inputs)) != NULL &&
           (s->bound_outputs = calloc(model->n_outputs, sizeof *s->bound_outputs)) != NULL;
}

int lstmcore_session_new(lstmcore_model *model, int states, lstmcore_session **session) {
    if (model == NULL || session == NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    if (!atomic_load(&model->sealed)) {
        return lstmcore_fail(model, LSTMCORE_SEALED, "a session: the model is not sealed yet");
    }
    lstmcore_session *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return LSTMCORE_NO_MEMORY;
    }
    s->model = model;
    s->plan = model->plan[states != 0];
    atomic_fetch_add(&model->users, 1);
    if (!allocate(s)) {
        lstmcore_session_free(s);
        return LSTMCORE_NO_MEMORY;
    }
    *session = s;
    return LSTMCORE_OK;
}

void lstmcore_session_free(lstmcore_session *s) {
    if (s == NULL) {
        return;
    }
    for (size_t k = 0; s->wholes != NULL && k < s->plan->wholes; k++) {
        free(s->wholes[k]);
    }
    free(s->wholes);
    lstmcore_together_free(s->together);
    lstmcore_scratch_free(&s->scratch);
    free(s->chunks);
    free(s->ones);
    free(s->pages);
    lstmcore_states_free(s->model, s->states);
    free(s->at_zero);
    free(s->inputs);
    free(s->outputs);
    free(s->bound_inputs);
    free(s->bound_outputs);
    lstmcore_model_free(s->model);
    free(s);
}

int lstmcore_reserve_wholes(lstmcore_session *s, size_t steps) {
    if (steps > MAX_STEPS) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    if (steps <= s->room || s->plan->wholes == 0) {
        return LSTMCORE_OK;
    }
    s->room = 0; /* where memory is short some are gone */
    for (size_t v = 0; v < s->model->n_values; v++) {
        const place *p = &s->plan->values[v];
        if (p->place == AT_WHOLE) {
            free(s->wholes[p->at]);
            s->wholes[p->at] = lstmcore_floats_new(steps * p->row);
            if (s->wholes[p->at] == NULL) {
                return LSTMCORE_NO_MEMORY;
            }
        }
    }
    s->room = steps;
    return LSTMCORE_OK;
}

int lstmcore_session_reserve(lstmcore_session *s, size_t steps) {
    const int code = s == NULL ? LSTMCORE_BAD_ARGUMENT : lstmcore_reserve_wholes(s, steps);
    return code == LSTMCORE_OK && s->model->ticks->carries ? lstmcore_together_reserve(s) : code;
}

int lstmcore_session_watch(lstmcore_session *s, int (*stop)(void *), void *context) {
    if (s == NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    watch_by(&s->watched, stop, context);
    return LSTMCORE_OK;
}

int lstmcore_bind(lstmcore_session *s, const void *const *inputs, size_t steps, float *const *outputs) {
    if (s == NULL || lacks_arrays(s->model, inputs, outputs)) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    const int code = lstmcore_reserve_wholes(s, steps);
    for (size_t k = 0; code == LSTMCORE_OK && k < s->model->n_inputs; k++) {
        s->bound_inputs[k] = inputs[k];
    }
    for (size_t k = 0; code == LSTMCORE_OK && k < s->model->n_outputs; k++) {
        s->bound_outputs[k] = outputs[k];
    }
    s->bound_steps = code == LSTMCORE_OK ? steps : s->bound_steps;
    return code;
}

int lstmcore_run_bound(lstmcore_session *s) {
    return s == NULL ? LSTMCORE_BAD_ARGUMENT
                     : lstmcore_run(s, s->bound_inputs, s->bound_steps, NULL, s->bound_outputs, NULL);
}
