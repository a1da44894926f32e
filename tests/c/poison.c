/* Answers every window once more with NaN wherever no number of the model's or the caller's stands: in the weights'
 * padding, in all memory of a session and of streams, and around every array. An answer with other bits, or a write to
 * what lies around an array, ends the program with status 1.
 *
 *     poison KERNEL           prints what kernel_bits prints
 *     poison KERNEL FAULT     with a fault planted, to see it found:
 *         weight    the last unit's weights count as padding
 *         input     windows are read one float further on
 *         answer    answers are written one float further on
 *         write     a window is written to
 */
#include "trials.h"
#include "guards.h"

/* A copy as unaligned as an array of floats may be. */
static float *guarded_copy(const float *from, size_t n) {
    return from == NULL ? NULL : memcpy(guarded_new(n * sizeof *from, sizeof *from), from, n * sizeof *from);
}

static size_t padding; /* floats */

/* The unit whose number stands at `at`, beyond all units where there is none: in [block][input][gate][lane], and behind
 * that in [input][tail's vector][lane]. */
static size_t unit_at(const packed *w, size_t inputs, size_t lanes, size_t at) {
    const size_t block = inputs * w->gates * lanes, row = w->tail * lanes;
    if (at < w->blocks * block) {
        return at / block * lanes + at % lanes;
    }
    if (row == 0 || (at - w->blocks * block) % row >= w->gates * w->tail_units) {
        return SIZE_MAX;
    }
    return w->blocks * lanes + (at - w->blocks * block) % row % w->tail_units;
}

/* All of an array but the numbers of its first `units` units. */
static void poison_array(float *array, const packed *w, size_t inputs, size_t lanes, size_t units) {
    const size_t n = guarded_size(array) / sizeof *array;
    for (size_t k = 0; k < n; k++) {
        if (unit_at(w, inputs, lanes, k) >= units) {
            memset(&array[k], POISON, sizeof *array);
            padding++;
        }
    }
}

static void poison_packed(const packed *w, size_t lanes, size_t units) {
    if (w->inputs != 0) {
        poison_array(w->weights, w, w->inputs, lanes, units);
        poison_array(w->bias, w, 1, lanes, units);
    }
}

/* All of an array of gates, `part` apart, but their first `units` units; an array [block][...][lane] of them has
 * `group` floats to a block. */
static void poison_parts(float *array, size_t group, size_t lanes, size_t part, size_t units) {
    const size_t n = array == NULL ? 0 : guarded_size(array) / sizeof *array;
    for (size_t k = 0; k < n; k++) {
        if ((k / group * lanes + k % lanes) % part >= units) {
            memset(&array[k], POISON, sizeof *array);
            padding++;
        }
    }
}

static void poison_packed_parts(const packed *w, size_t lanes, size_t part, size_t units) {
    if (w->inputs != 0) {
        poison_parts(w->weights, w->inputs * lanes, lanes, part, units);
        poison_parts(w->bias, lanes, lanes, part, units);
    }
}

static void poison_variant(const op *o, size_t lanes) {
    const variant *v = o->variant;
    const size_t part = v->part, units = v->how.hidden - (size_t)planted("weight");
    poison_packed_parts(&o->weights, lanes, part, units);
    poison_packed_parts(&o->recurrent, lanes, part, units);
    poison_packed_parts(&v->late, lanes, part, units);
    poison_packed(&v->projection, lanes, o->out);
    float *const arrays[] = {v->peephole, v->bias, v->norm_ih, v->norm_hh, v->norm_c, v->norm_c_bias};
    for (size_t n = 0; n < sizeof arrays / sizeof *arrays; n++) {
        poison_parts(arrays[n], 1, 1, part, units);
    }
}

static void poison_model(const lstmcore_model *model) {
    const size_t lanes = model->kernel->lanes;
    for (const op *o = model->ops; o < model->ops + model->n_ops; o++) {
        const size_t units = o->out - (size_t)planted("weight");
        if (o->variant != NULL) {
            poison_variant(o, lanes);
        } else if (o->kind == OP_RECURRENT) {
            poison_packed(&o->weights, lanes, units);
            poison_packed(&o->recurrent, lanes, units);
        } else if (o->kind == OP_LINEAR) {
            poison_packed(&o->weights, lanes, units);
        } else if (o->kind == OP_AFFINE || o->kind == OP_LAYER_NORM) {
            const packed plain = {.blocks = o->out, .gates = 1};
            poison_array(o->weights.weights, &plain, 1, 1, units);
            poison_array(o->weights.bias, &plain, 1, 1, units);
        }
    }
}

static int open_session(lstmcore_model *model, int states, lstmcore_session **session) {
    guards_remember(1);
    const int code = lstmcore_session_new(model, states, session);
    guards_remember(0);
    return code;
}

/* Copies of what the caller gives, each between guards. */
static windows guarded_windows(const windows *given) {
    windows w = *given;
    for (size_t k = 0; k < w.model->n_inputs; k++) {
        w.x[k] = guarded_copy(given->x[k], x_size(given, k));
    }
    w.state = guarded_copy(given->state, given->state == NULL ? 0 : states_size(given));
    return w;
}

static answers guarded_answers(const windows *w) {
    answers a = {.end = NULL};
    for (size_t k = 0; k < w->model->n_outputs; k++) {
        a.y[k] = guarded_new(y_size(w, k) * sizeof(float), sizeof(float));
    }
    if (w->ends) {
        a.end = guarded_new(states_size(w) * sizeof(float), sizeof(float));
    }
    return a;
}

static int unchanged(const windows *w, const windows *given) {
    int same = w->state == NULL || same_floats(w->state, given->state, states_size(given));
    for (size_t k = 0; k < w->model->n_inputs; k++) {
        same = same && same_floats(w->x[k], given->x[k], x_size(given, k));
    }
    return same;
}

/* Whether nothing was written for steps that do not count. */
static int kept_off(const windows *w, const answers *a) {
    for (size_t m = 0; m < w->n; m++) {
        for (size_t k = 0; k < w->model->n_outputs; k++) {
            const value *v = output_of(w->model, k);
            const unsigned char *const window = (unsigned char *)(a->y[k] + m * port_size(v, 1, w->steps));
            for (size_t j = port_size(v, 1, length_of(w, m)); j < port_size(v, 1, w->steps); j++) {
                if (window[j * sizeof(float)] != POISON || window[j * sizeof(float) + 3] != POISON) {
                    return 0;
                }
            }
        }
    }
    return 1;
}

static void poisoned_call(const call *c, const windows *given, const answers *expected) {
    windows w = guarded_windows(given), to_ask;
    answers y = guarded_answers(given), to;
    /* A session and streams of their own, so that this is their first call; and all that they hold is poisoned, since
     * no answer relies on what was there before. */
    check(open_session(w.model, w.ends, &w.session), "session_new");
    guards_remember(1);
    open_streams(&w);
    check(lstmcore_session_reserve(w.session, w.steps), "session_reserve");
    guards_remember(0);
    guards_poison_remembered();
    to_ask = w;
    to = y;
    to_ask.x[0] = (const float *)w.x[0] + planted("input");
    to.y[0] += planted("answer");
    check(c->answer(&to_ask, &to), c->name);
    if (planted("write")) {
        *(float *)(uintptr_t)w.x[0] += 1.0f;
    }
    guards_check(c->name);
    close_streams(&w);
    lstmcore_session_free(w.session);
    if (!unchanged(&w, given)) {
        fail(c->name, "wrote to its input");
    }
    if (!same_answers(c, &w, &y, expected)) {
        fail(c->name, "NaN where no number of the model's or the caller's stands changed the answer");
    }
    if (!kept_off(&w, &y)) {
        fail(c->name, "wrote an answer to a step that does not count");
    }
    for (size_t k = 0; k < w.model->n_inputs; k++) {
        free((void *)(uintptr_t)w.x[k]);
    }
    free((void *)(uintptr_t)w.state);
    free_answers(&y);
}

static size_t models, models_without_nan, models_with_wholes;

static int has_nan(const windows *w, const answers *y) {
    for (size_t k = 0; k < w->model->n_outputs; k++) {
        for (size_t j = 0; j < y_size(w, k); j++) {
            if (y->y[k][j] != y->y[k][j]) {
                return 1;
            }
        }
    }
    return 0;
}

static void try_windows(const windows *w, const answers *y) {
    check(run_many(w, y), "run_many");
    models++;
    models_without_nan += (size_t)!has_nan(w, y);
    models_with_wholes += w->session->plan->wholes != 0;
    poison_model(w->model);
    each_call(w, y, poisoned_call);
}

int main(int argc, char **argv) {
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: poison KERNEL [weight | input | answer | write]\n");
        return 2;
    }
    fault = argc == 3 ? argv[2] : "";
    try_models(argv[1]);
    fprintf(stderr, "%zu models, %zu without NaN in their answers, %zu keep whole windows, %zu floats of padding\n",
            models, models_without_nan, models_with_wholes, padding);
    if (padding == 0 || models_without_nan < models / 2 || models_with_wholes < 20) {
        fail("poison", "nothing that it could have changed");
    }
    return 0;
}
