/* A model from its beginning to its end: inputs, what all layers have in common, outputs. */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/dispatch.h"
#include "kernels/packing.h"
#include "plan.h"
#include "tick_plan.h"
#include "watch.h"

#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)

const char *lstmcore_version(void) {
    return TEXT(LSTMCORE_VERSION_MAJOR) "." TEXT(LSTMCORE_VERSION_MINOR) "." TEXT(LSTMCORE_VERSION_PATCH);
}

const char *lstmcore_error(int code) {
    static const char *const texts[] = {
        [LSTMCORE_OK] = "no error",
        [LSTMCORE_NO_MEMORY] = "out of memory",
        [LSTMCORE_BAD_ARGUMENT] = "a size out of range, or a value that does not fit",
        [LSTMCORE_NO_SUCH_KERNEL] = "no kernel of that name",
        [LSTMCORE_CANNOT_RUN] = "this processor, operating system or build cannot run that kernel",
        [LSTMCORE_SEALED] = "the model is sealed already, or, for a session, not yet",
        [LSTMCORE_BUSY] = "in use, by another thread or by a call that a handler of signals has interrupted",
        [LSTMCORE_STOPPED] = "the caller's own function has stopped it",
    };
    return code >= 0 && code <= LSTMCORE_STOPPED ? texts[code] : "unknown error";
}

int lstmcore_fail(lstmcore_model *model, int code, const char *format, ...) {
    if (!atomic_load(&model->sealed)) { /* else other threads may read the text */
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(model->error, sizeof model->error, format, arguments);
        va_end(arguments);
    }
    return code;
}

const char *lstmcore_model_error(const lstmcore_model *model) {
    return model == NULL ? "the model is NULL" : model->error;
}

void lstmcore_op_free(op *o) {
    lstmcore_packed_free(&o->weights);
    lstmcore_packed_free(&o->recurrent);
    free(o->start_h);
    free(o->start_c);
    free(o->reads);
    if (o->variant != NULL) {
        lstmcore_packed_free(&o->variant->late);
        lstmcore_packed_free(&o->variant->projection);
        free(o->variant->peephole);
        free(o->variant->bias);
        free(o->variant->norm_ih);
        free(o->variant->norm_hh);
        free(o->variant->norm_c);
        free(o->variant->norm_c_bias);
        free(o->variant);
    }
}

int lstmcore_model_new(const char *kernel_name, lstmcore_model **model) {
    if (model == NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    const kernel *selected = NULL;
    const int code = lstmcore_select_kernel(kernel_name, &selected);
    if (code != LSTMCORE_OK) {
        return code;
    }
    lstmcore_model *new = malloc(sizeof *new);
    if (new == NULL) {
        return LSTMCORE_NO_MEMORY;
    }
    *new = (lstmcore_model){.kernel = selected};
    atomic_init(&new->users, 1);
    atomic_init(&new->sealed, 0);
    *model = new;
    return LSTMCORE_OK;
}

static void ports_free(port *ports, size_t n) {
    for (size_t k = 0; k < n; k++) {
        free(ports[k].name);
    }
    free(ports);
}

void lstmcore_model_free(lstmcore_model *model) {
    if (model == NULL || atomic_fetch_sub(&model->users, 1) > 1) {
        return;
    }
    for (size_t n = 0; n < model->n_ops; n++) {
        lstmcore_op_free(&model->ops[n]);
    }
    free(model->ops);
    free(model->values);
    ports_free(model->inputs, model->n_inputs);
    ports_free(model->outputs, model->n_outputs);
    lstmcore_plan_free(model->plan[0]);
    lstmcore_plan_free(model->plan[1]);
    lstmcore_tick_plan_free(model->ticks);
    free(model);
}

const char *lstmcore_model_kernel(const lstmcore_model *model) {
    return model == NULL ? NULL : model->kernel->name;
}

size_t lstmcore_model_state_size(const lstmcore_model *model) {
    return model == NULL ? 0 : model->state_size;
}

/* Room for one more of `n` things; the old room, or NULL, stays where there is no memory. */
static int grow(void **things, size_t n, size_t size) {
    void *more = realloc(*things, (n + 1) * size);
    *things = more == NULL ? *things : more;
    return more != NULL;
}

static int add_port(lstmcore_model *model, port **ports, size_t *n, const char *what, const char *name, int v) {
    for (size_t k = 0; k < *n; k++) {
        if (strcmp((*ports)[k].name, name) == 0) {
            return lstmcore_fail(model, LSTMCORE_BAD_ARGUMENT, "%s %.60s: there is one of that name", what, name);
        }
    }
    const size_t length = strlen(name) + 1;
    char *copy = malloc(length);
    if (copy == NULL || !grow((void **)ports, *n, sizeof **ports)) {
        free(copy);
        return lstmcore_fail(model, LSTMCORE_NO_MEMORY, "%s %.60s: out of memory", what, name);
    }
    memcpy(copy, name, length);
    (*ports)[(*n)++] = (port){copy, v};
    return LSTMCORE_OK;
}

int lstmcore_model_add_input(lstmcore_model *model, const char *name, lstmcore_rank rank, size_t width,
                             lstmcore_dtype dtype, lstmcore_value *out) {
    if (model == NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    if (atomic_load(&model->sealed)) {
        return lstmcore_fail(model, LSTMCORE_SEALED, "an input: the model is sealed");
    }
    if (name == NULL || model->n_ops != 0 || (unsigned)rank > LSTMCORE_VECTOR || (unsigned)dtype > LSTMCORE_INT32 ||
        width < 1 || width > MAX_SIZE || model->n_inputs >= MAX_OPS) {
        return lstmcore_fail(model, LSTMCORE_BAD_ARGUMENT,
                             "input %.60s: expected a name, a rank, a width from 1 to %zu, a dtype, and no layer yet",
                             name == NULL ? "NULL" : name, MAX_SIZE);
    }
    if (dtype != LSTMCORE_FLOAT32) {
        return lstmcore_fail(model, LSTMCORE_BAD_ARGUMENT, "input %.60s: no layer reads integers yet", name);
    }
    if (!grow((void **)&model->values, model->n_values, sizeof *model->values)) {
        return lstmcore_fail(model, LSTMCORE_NO_MEMORY, "input %.60s: out of memory", name);
    }
    const int code = add_port(model, &model->inputs, &model->n_inputs, "input", name, (int)model->n_values);
    if (code == LSTMCORE_OK) {
        model->values[model->n_values] = (value){width, rank == LSTMCORE_SEQUENCE, -1};
        if (out != NULL) {
            *out = (lstmcore_value)model->n_values;
        }
        model->n_values++;
    }
    return code;
}

static int is_value(const lstmcore_model *model, lstmcore_value v) {
    return v >= 0 && (size_t)v < model->n_values;
}

int lstmcore_model_add_output(lstmcore_model *model, const char *name, lstmcore_value v) {
    if (model == NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    if (atomic_load(&model->sealed)) {
        return lstmcore_fail(model, LSTMCORE_SEALED, "an output: the model is sealed");
    }
    if (name == NULL || !is_value(model, v) || model->values[v].maker < 0 || model->n_outputs >= MAX_OPS) {
        return lstmcore_fail(model, LSTMCORE_BAD_ARGUMENT, "output %.60s: expected a name, and the value of a layer",
                             name == NULL ? "NULL" : name);
    }
    return add_port(model, &model->outputs, &model->n_outputs, "output", name, v);
}

int lstmcore_may_add(lstmcore_model *model, const char *kind, lstmcore_value in, int sequence, size_t width) {
    if (model == NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    const size_t layer = model->n_ops;
    if (atomic_load(&model->sealed)) {
        return lstmcore_fail(model, LSTMCORE_SEALED, "%s, layer %zu: the model is sealed", kind, layer);
    }
    if (layer >= MAX_OPS) {
        return lstmcore_fail(model, LSTMCORE_BAD_ARGUMENT, "%s: more than %zu layers", kind, MAX_OPS);
    }
    if (!is_value(model, in)) {
        return lstmcore_fail(model, LSTMCORE_BAD_ARGUMENT, "%s, layer %zu: there is no value %d", kind, layer, in);
    }
    if (sequence && !model->values[in].sequence) {
        return lstmcore_fail(model, LSTMCORE_BAD_ARGUMENT, "%s, layer %zu: value %d is a vector, not a sequence", kind,
                             layer, in);
    }
    if (width < 1 || width > MAX_SIZE) {
        return lstmcore_fail(model, LSTMCORE_BAD_ARGUMENT, "%s, layer %zu: a width of %zu; expected 1 to %zu", kind,
                             layer, width, MAX_SIZE);
    }
    return LSTMCORE_OK;
}

static void count_work(op *o) {
    const size_t row = o->kind == OP_RECURRENT ? o->gates_row : o->kind == OP_FLATTEN ? o->in : o->out;
    const size_t matrices = o->kind == OP_RECURRENT ? o->in + o->out : o->kind == OP_LINEAR ? o->in : 0;
    o->work = row * (matrices + WATCH_ELEMENT);
    const size_t most = WATCH_WORK / (row * (o->out + WATCH_ELEMENT));
    o->at_once = most > 1 ? most : 1;
}

int lstmcore_append(lstmcore_model *model, op *o, const lstmcore_value *reads, size_t n, int code,
                    lstmcore_value *out) {
    count_work(o);
    o->reads = code == LSTMCORE_OK ? malloc((n + 1) * sizeof *o->reads) : NULL; /* one more: see set_mask */
    if (code == LSTMCORE_OK && (o->reads == NULL || !grow((void **)&model->ops, model->n_ops, sizeof *model->ops) ||
                                !grow((void **)&model->values, model->n_values, sizeof *model->values))) {
        code = LSTMCORE_NO_MEMORY;
    }
    if (code != LSTMCORE_OK) {
        lstmcore_op_free(o);
        return lstmcore_fail(model, code, "layer %zu: %s", model->n_ops, lstmcore_error(code));
    }
    o->n_reads = n;
    for (size_t k = 0; k < n; k++) {
        o->reads[k] = reads[k];
    }
    o->writes = (int)model->n_values;
    const int sequence = o->kind != OP_LAST && o->kind != OP_FLATTEN && model->values[reads[0]].sequence;
    model->values[model->n_values] = (value){o->out, sequence, (int)model->n_ops};
    model->ops[model->n_ops++] = *o;
    if (out != NULL) {
        *out = (lstmcore_value)model->n_values;
    }
    model->n_values++;
    return LSTMCORE_OK;
}

/* For lstmcore_model_error: what a model that takes windows only as a whole has against ticks. */
static void tell_what_stops(lstmcore_model *model) {
    const tick_plan *p = model->ticks;
    model->error[0] = 0;
    if (!p->carries) {
        lstmcore_fail(model, LSTMCORE_OK, "layer %d looks at other steps than the newest, before the window is whole",
                      p->stopper);
    }
    for (size_t k = 0; p->carries && k < model->n_outputs; k++) {
        if (model->values[model->outputs[k].value].sequence) {
            lstmcore_fail(model, LSTMCORE_OK, "output %.60s is a sequence, and a window that slides has one answer",
                          model->outputs[k].name);
        }
    }
}

int lstmcore_model_seal(lstmcore_model *model) {
    if (model == NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    if (atomic_load(&model->sealed)) {
        return lstmcore_fail(model, LSTMCORE_SEALED, "the model is sealed already");
    }
    if (model->n_outputs == 0) {
        return lstmcore_fail(model, LSTMCORE_BAD_ARGUMENT, "the model has no output");
    }
    for (int states = 0; states < 2; states++) {
        model->plan[states] = lstmcore_plan_new(model, states);
    }
    model->ticks = lstmcore_tick_plan_new(model);
    if (model->plan[0] == NULL || model->plan[1] == NULL || model->ticks == NULL) {
        lstmcore_plan_free(model->plan[0]);
        lstmcore_plan_free(model->plan[1]);
        lstmcore_tick_plan_free(model->ticks);
        model->plan[0] = model->plan[1] = NULL;
        model->ticks = NULL;
        return lstmcore_fail(model, LSTMCORE_NO_MEMORY, "the plan: out of memory");
    }
    model->steps = 0; /* of a Flatten that nobody reads, any */
    for (size_t n = 0; n < model->n_ops; n++) {
        if (model->ops[n].kind == OP_FLATTEN && model->plan[0]->when[n] != NEVER) {
            model->steps = model->ops[n].steps;
        }
    }
    tell_what_stops(model);
    atomic_store(&model->sealed, 1);
    return LSTMCORE_OK;
}
