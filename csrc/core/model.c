/* Build a model: check that layers fit, pack their weights for the kernel. */
#include "model.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/dispatch.h"
#include "kernels/packing.h"
#include "watch.h"

const char *lstmcore_error(int code) {
    static const char *const texts[] = {
        [LSTMCORE_OK] = "no error",
        [LSTMCORE_NO_MEMORY] = "out of memory",
        [LSTMCORE_BAD_ARGUMENT] = "a size out of range, or a layer that does not fit behind the last one",
        [LSTMCORE_NO_SUCH_KERNEL] = "no kernel of that name",
        [LSTMCORE_CANNOT_RUN] = "this processor, operating system or build cannot run that kernel",
        [LSTMCORE_SEALED] = "the model has a session already",
        [LSTMCORE_BUSY] = "in use, by another thread or by a call that a handler of signals has interrupted",
        [LSTMCORE_STOPPED] = "the caller's own function has stopped it",
    };
    return code >= 0 && code <= LSTMCORE_STOPPED ? texts[code] : "unknown error";
}

static void op_free(op *o) {
    lstmcore_packed_free(&o->weights);
    lstmcore_packed_free(&o->recurrent);
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

int lstmcore_model_new(const char *kernel_name, size_t input_size, lstmcore_model **model) {
    if (model == NULL || input_size < 1 || input_size > MAX_SIZE) {
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
    *new = (lstmcore_model){.kernel = selected, .input_size = input_size, .width = input_size, .sequence = 1};
    atomic_init(&new->users, 1);
    atomic_init(&new->sealed, 0);
    *model = new;
    return LSTMCORE_OK;
}

void lstmcore_model_free(lstmcore_model *model) {
    if (model == NULL || atomic_fetch_sub(&model->users, 1) > 1) {
        return;
    }
    for (size_t n = 0; n < model->n_ops; n++) {
        op_free(&model->ops[n]);
    }
    free(model->ops);
    free(model);
}

const char *lstmcore_model_kernel(const lstmcore_model *model) {
    return model == NULL ? NULL : model->kernel->name;
}

static void count_work(op *o) {
    const size_t row = o->kind == OP_RECURRENT ? o->gates_row : o->kind == OP_FLATTEN ? o->in : o->out;
    const size_t matrices = o->kind == OP_RECURRENT ? o->in + o->out : o->kind == OP_LINEAR ? o->in : 0;
    o->work = row * (matrices + WATCH_ELEMENT);
    const size_t most = WATCH_WORK / (row * (o->out + WATCH_ELEMENT));
    o->at_once = most > 1 ? most : 1;
}

size_t lstmcore_work(const lstmcore_model *model, size_t from, size_t to) {
    size_t work = 0;
    for (size_t n = from; n <= to; n++) {
        work += model->ops[n].work;
    }
    return work;
}

int lstmcore_append(lstmcore_model *model, op *o, int code) {
    count_work(o);
    op *ops = code == LSTMCORE_OK ? realloc(model->ops, (model->n_ops + 1) * sizeof *ops) : NULL;
    if (ops == NULL) {
        op_free(o);
        return code == LSTMCORE_OK ? LSTMCORE_NO_MEMORY : code;
    }
    ops[model->n_ops++] = *o;
    model->ops = ops;
    model->width = o->out;
    return LSTMCORE_OK;
}

int lstmcore_may_add(const lstmcore_model *model, size_t out) {
    if (model == NULL || out < 1 || out > MAX_SIZE) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    return atomic_load(&model->sealed) ? LSTMCORE_SEALED : LSTMCORE_OK;
}

int lstmcore_model_add_linear(lstmcore_model *model, size_t outputs, const float *weight, const float *bias) {
    int code = lstmcore_may_add(model, outputs);
    if (code != LSTMCORE_OK) {
        return code;
    }
    if (weight == NULL || bias == NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    op o = {.kind = OP_LINEAR, .in = model->width, .out = outputs};
    code = lstmcore_pack(&o.weights, model->kernel->lanes, 1, outputs, o.in, weight, bias);
    return lstmcore_append(model, &o, code);
}

/* A layer of a factor and a summand for each feature: ones and zeros where they are NULL. */
static int add_features(lstmcore_model *model, op_kind kind, const float *scale, const float *shift, float eps) {
    int code = LSTMCORE_OK;
    op o = {.kind = kind, .in = model->width, .out = model->width, .eps = eps};
    o.weights.weights = lstmcore_floats_new(o.in);
    o.weights.bias = lstmcore_floats_new(o.in);
    if (o.weights.weights == NULL || o.weights.bias == NULL) {
        code = LSTMCORE_NO_MEMORY;
    } else {
        for (size_t j = 0; j < o.in; j++) {
            o.weights.weights[j] = scale == NULL ? 1.0f : scale[j];
            o.weights.bias[j] = shift == NULL ? 0.0f : shift[j];
        }
    }
    return lstmcore_append(model, &o, code);
}

int lstmcore_model_add_affine(lstmcore_model *model, const float *scale, const float *shift) {
    const int code = lstmcore_may_add(model, 1);
    if (code == LSTMCORE_OK && (scale == NULL || shift == NULL)) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    return code == LSTMCORE_OK ? add_features(model, OP_AFFINE, scale, shift, 0.0f) : code;
}

int lstmcore_model_add_layer_norm(lstmcore_model *model, const float *weight, const float *bias, float eps) {
    const int code = lstmcore_may_add(model, 1);
    if (code == LSTMCORE_OK && !(eps >= 0.0f)) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    return code == LSTMCORE_OK ? add_features(model, OP_LAYER_NORM, weight, bias, eps) : code;
}

/* What a recurrent layer would compute for the steps before is left out where all that follows it looks at a step by
 * itself. */
int lstmcore_model_add_last(lstmcore_model *model) {
    int code = lstmcore_may_add(model, 1);
    if (code != LSTMCORE_OK) {
        return code;
    }
    if (!model->sequence) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    size_t n = model->n_ops;
    while (n > 0 && model->ops[n - 1].kind != OP_RECURRENT) {
        n--;
    }
    if (n > 0) {
        model->ops[n - 1].all_steps = 0;
    } else {
        op o = {.kind = OP_LAST, .in = model->width, .out = model->width};
        code = lstmcore_append(model, &o, code);
    }
    if (code == LSTMCORE_OK) {
        model->sequence = 0;
    }
    return code;
}

int lstmcore_model_add_activation(lstmcore_model *model, lstmcore_activation kind, float alpha, float beta) {
    const int code = lstmcore_may_add(model, 1);
    if (code == LSTMCORE_OK && (unsigned)kind > LSTMCORE_HARD_SILU) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    op o = {.kind = OP_ACTIVATION, .activation = {kind, alpha, beta}};
    o.in = o.out = model == NULL ? 0 : model->width;
    return code == LSTMCORE_OK ? lstmcore_append(model, &o, code) : code;
}

int lstmcore_model_add_softmax(lstmcore_model *model) {
    const int code = lstmcore_may_add(model, 1);
    op o = {.kind = OP_SOFTMAX};
    o.in = o.out = model == NULL ? 0 : model->width;
    return code == LSTMCORE_OK ? lstmcore_append(model, &o, code) : code;
}

int lstmcore_model_add_flatten(lstmcore_model *model, size_t steps) {
    int code = lstmcore_may_add(model, steps);
    if (code != LSTMCORE_OK) {
        return code;
    }
    if (!model->sequence || steps * model->width > MAX_SIZE) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    op o = {.kind = OP_FLATTEN, .in = model->width, .out = steps * model->width, .steps = steps};
    code = lstmcore_append(model, &o, code);
    if (code == LSTMCORE_OK) {
        model->steps = steps;
        model->sequence = 0;
    }
    return code;
}
