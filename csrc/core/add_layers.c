/* Add the layers that carry no state: check that they fit, lay out their weights. */
#include <math.h>
#include <stdlib.h>

#include "kernels/packing.h"
#include "program.h"

static int missing(lstmcore_model *model, const char *kind, const char *what) {
    return lstmcore_fail(model, LSTMCORE_BAD_ARGUMENT, "%s, layer %zu: %s", kind, model->n_ops, what);
}

/* What makes as many numbers of each row as come in. */
static int add_same(lstmcore_model *model, const char *kind, op *o, lstmcore_value in, lstmcore_value *out) {
    const int code = lstmcore_may_add(model, kind, in, 0, 1);
    if (code != LSTMCORE_OK) {
        return code;
    }
    o->in = o->out = model->values[in].width;
    return lstmcore_append(model, o, &in, 1, LSTMCORE_OK, out);
}

int lstmcore_model_add_linear(lstmcore_model *model, lstmcore_value in, size_t outputs, const float *weight,
                              const float *bias, lstmcore_value *out) {
    int code = lstmcore_may_add(model, "linear", in, 0, outputs);
    if (code != LSTMCORE_OK) {
        return code;
    }
    if (weight == NULL || bias == NULL) {
        return missing(model, "linear", "weight or bias is NULL");
    }
    op o = {.kind = OP_LINEAR, .in = model->values[in].width, .out = outputs};
    code = lstmcore_pack(&o.weights, model->kernel->lanes, 1, outputs, o.in, weight, bias);
    return lstmcore_append(model, &o, &in, 1, code, out);
}

/* A layer of a factor and a summand for each feature: ones and zeros where they are NULL. */
static int add_features(lstmcore_model *model, op *o, lstmcore_value in, const float *scale, const float *shift,
                        lstmcore_value *out) {
    int code = LSTMCORE_OK;
    o->in = o->out = model->values[in].width;
    o->weights.weights = lstmcore_floats_new(o->in);
    o->weights.bias = lstmcore_floats_new(o->in);
    if (o->weights.weights == NULL || o->weights.bias == NULL) {
        code = LSTMCORE_NO_MEMORY;
    } else {
        for (size_t j = 0; j < o->in; j++) {
            o->weights.weights[j] = scale == NULL ? 1.0f : scale[j];
            o->weights.bias[j] = shift == NULL ? 0.0f : shift[j];
        }
    }
    return lstmcore_append(model, o, &in, 1, code, out);
}

int lstmcore_model_add_affine(lstmcore_model *model, lstmcore_value in, const float *scale, const float *shift,
                              lstmcore_value *out) {
    const int code = lstmcore_may_add(model, "affine", in, 0, 1);
    if (code == LSTMCORE_OK && (scale == NULL || shift == NULL)) {
        return missing(model, "affine", "scale or shift is NULL");
    }
    return code == LSTMCORE_OK ? add_features(model, &(op){.kind = OP_AFFINE}, in, scale, shift, out) : code;
}

int lstmcore_model_add_layer_norm(lstmcore_model *model, lstmcore_value in, const float *weight, const float *bias,
                                  float eps, lstmcore_value *out) {
    const int code = lstmcore_may_add(model, "layer_norm", in, 0, 1);
    if (code == LSTMCORE_OK && !(eps >= 0.0f)) {
        return missing(model, "layer_norm", "eps is below 0, or NaN");
    }
    op o = {.kind = OP_LAYER_NORM, .eps = eps};
    return code == LSTMCORE_OK ? add_features(model, &o, in, weight, bias, out) : code;
}

int lstmcore_model_add_activation(lstmcore_model *model, lstmcore_value in, lstmcore_function function,
                                  lstmcore_value *out) {
    if (model != NULL && (unsigned)function.kind > LSTMCORE_HARD_SILU) {
        return missing(model, "activation", "there is no such function");
    }
    return add_same(model, "activation", &(op){.kind = OP_ACTIVATION, .activation = function}, in, out);
}

int lstmcore_model_add_softmax(lstmcore_model *model, lstmcore_value in, lstmcore_value *out) {
    return add_same(model, "softmax", &(op){.kind = OP_SOFTMAX}, in, out);
}

int lstmcore_model_add_join(lstmcore_model *model, lstmcore_join how, const lstmcore_value *in, size_t n,
                            lstmcore_value *out) {
    static const op_kind kinds[] = {OP_CONCAT, OP_SUM, OP_MEAN, OP_PRODUCT, OP_MAXIMUM};
    int code = model == NULL ? LSTMCORE_BAD_ARGUMENT : LSTMCORE_OK;
    if (code != LSTMCORE_OK) {
        return code;
    }
    if ((unsigned)how > LSTMCORE_MAXIMUM || in == NULL || n < 2 || n > MAX_OPS) {
        return missing(model, "join", "expected a kind of join and at least two values");
    }
    size_t width = 0;
    for (size_t k = 0; code == LSTMCORE_OK && k < n; k++) {
        code = lstmcore_may_add(model, "join", in[k], 0, 1);
        if (code == LSTMCORE_OK) {
            const value *v = &model->values[in[k]], *first = &model->values[in[0]];
            width = how == LSTMCORE_CONCAT ? width + v->width : v->width;
            if (v->sequence != first->sequence || (how != LSTMCORE_CONCAT && v->width != first->width)) {
                code = missing(model, "join", "its values are sequences and vectors, or of several widths");
            } else if (width > MAX_SIZE) {
                code = missing(model, "join", "its values are together too wide");
            }
        }
    }
    op o = {.out = width};
    if (code == LSTMCORE_OK) {
        o.kind = kinds[how];
        o.in = model->values[in[0]].width;
    }
    return code == LSTMCORE_OK ? lstmcore_append(model, &o, in, n, code, out) : code;
}

int lstmcore_model_add_differs(lstmcore_model *model, lstmcore_value in, float number, lstmcore_value *out) {
    const int code = lstmcore_may_add(model, "differs", in, 1, 1);
    if (code != LSTMCORE_OK) {
        return code;
    }
    if (isnan(number)) {
        return missing(model, "differs", "the number is NaN, from which all numbers differ");
    }
    op o = {.kind = OP_DIFFERS, .in = model->values[in].width, .out = 1, .activation = {.alpha = number}};
    return lstmcore_append(model, &o, &in, 1, code, out);
}

int lstmcore_model_add_where(lstmcore_model *model, lstmcore_value in, lstmcore_value mask, lstmcore_value *out) {
    int code = lstmcore_may_add(model, "where", in, 1, 1);
    code = code == LSTMCORE_OK ? lstmcore_may_add(model, "where", mask, 1, 1) : code;
    if (code != LSTMCORE_OK) {
        return code;
    }
    if (model->values[mask].width != 1) {
        return missing(model, "where", "the mask is wider than 1");
    }
    op o = {.kind = OP_WHERE, .in = model->values[in].width, .out = model->values[in].width};
    return lstmcore_append(model, &o, (lstmcore_value[]){in, mask}, 2, code, out);
}

static int add_steps(lstmcore_model *model, const char *name, op_kind kind, lstmcore_value in, lstmcore_value *out) {
    const int code = lstmcore_may_add(model, name, in, 1, 1);
    if (code != LSTMCORE_OK) {
        return code;
    }
    op o = {.kind = kind, .in = model->values[in].width, .out = model->values[in].width};
    return lstmcore_append(model, &o, &in, 1, code, out);
}

int lstmcore_model_add_last(lstmcore_model *model, lstmcore_value in, lstmcore_value *out) {
    return add_steps(model, "last", OP_LAST, in, out);
}

int lstmcore_model_add_reverse(lstmcore_model *model, lstmcore_value in, lstmcore_value *out) {
    return add_steps(model, "reverse", OP_REVERSE, in, out);
}

int lstmcore_model_add_flatten(lstmcore_model *model, lstmcore_value in, size_t steps, lstmcore_value *out) {
    int code = lstmcore_may_add(model, "flatten", in, 1, steps);
    if (code != LSTMCORE_OK) {
        return code;
    }
    const size_t width = model->values[in].width;
    if (steps * width > MAX_SIZE || (model->steps != 0 && model->steps != steps)) {
        return missing(model, "flatten", "too wide, or of another number of steps than another one");
    }
    op o = {.kind = OP_FLATTEN, .in = width, .out = steps * width, .steps = steps};
    code = lstmcore_append(model, &o, &in, 1, code, out);
    if (code == LSTMCORE_OK) {
        model->steps = steps;
    }
    return code;
}
