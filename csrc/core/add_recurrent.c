/* Add the recurrent layers that the kernels have a cell for; and what all recurrent layers may be told. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/colored.h"
#include "kernels/cpu.h"
#include "kernels/packing.h"
#include "add_recurrent.h"

int lstmcore_append_recurrent(lstmcore_model *model, op *o, lstmcore_value in, int code, lstmcore_value *out) {
    o->state_at = model->state_size;
    const size_t states = o->out + o->c;
    code = lstmcore_append(model, o, &in, 1, code, out);
    if (code == LSTMCORE_OK) {
        model->state_size += states;
    }
    return code;
}

static int may_add_recurrent(lstmcore_model *model, const char *kind, lstmcore_value in, size_t hidden,
                             const float *weight_ih, const float *weight_hh, const float *bias) {
    const int code = lstmcore_may_add(model, kind, in, 1, hidden);
    if (code == LSTMCORE_OK && (weight_ih == NULL || weight_hh == NULL || bias == NULL)) {
        return lstmcore_fail(model, LSTMCORE_BAD_ARGUMENT, "%s, layer %zu: a weight or bias is NULL", kind,
                             model->n_ops);
    }
    return code;
}

/* `bias` belongs to the product of the input, recurrent_bias, or NULL, to that of h. */
static int add(lstmcore_model *model, cell_kind cell, size_t gates, lstmcore_value in, size_t hidden,
               const float *weight_ih, const float *weight_hh, const float *bias, const float *recurrent_bias,
               lstmcore_value *out) {
    const size_t lanes = model->kernel->lanes;
    op o = {.kind = OP_RECURRENT, .in = model->values[in].width, .out = hidden};
    o.c = cell == CELL_LSTM ? hidden : 0;
    o.gates_row = gates * round_up(hidden, ROW);
    int code = lstmcore_pack(&o.weights, lanes, gates, hidden, o.in, weight_ih, bias);
    if (code == LSTMCORE_OK) {
        code = lstmcore_pack(&o.recurrent, lanes, gates, hidden, hidden, weight_hh, recurrent_bias);
        o.recurrent.cell = cell;
        /* Two blocks at once hide the latency of the multiply-adds better than one, but only one block may be small
         * enough to stay in the cache until the next step begins with it. */
        const size_t two_blocks = 2 * hidden * gates * lanes * sizeof(float);
        o.recurrent.in_pairs = two_blocks <= lstmcore_cpu_cache() / 4 * 3;
    }
    if (code == LSTMCORE_OK) {
        code = lstmcore_color(&o.recurrent, lanes);
    }
    return lstmcore_append_recurrent(model, &o, in, code, out);
}

int lstmcore_model_add_lstm(lstmcore_model *model, lstmcore_value in, size_t hidden, const float *weight_ih,
                            const float *weight_hh, const float *bias, lstmcore_value *out) {
    const int code = may_add_recurrent(model, "lstm", in, hidden, weight_ih, weight_hh, bias);
    return code == LSTMCORE_OK ? add(model, CELL_LSTM, 4, in, hidden, weight_ih, weight_hh, bias, NULL, out) : code;
}

int lstmcore_model_add_gru(lstmcore_model *model, lstmcore_value in, size_t hidden, const float *weight_ih,
                           const float *weight_hh, const float *bias_ih, const float *bias_hh, lstmcore_value *out) {
    int code = may_add_recurrent(model, "gru", in, hidden, weight_ih, weight_hh, bias_ih);
    if (code != LSTMCORE_OK) {
        return code;
    }
    if (bias_hh == NULL) {
        return lstmcore_fail(model, LSTMCORE_BAD_ARGUMENT, "gru, layer %zu: a weight or bias is NULL", model->n_ops);
    }
    /* r acts on the candidate's product and recurrent bias; the other biases may as well be added to the input. */
    float *const of_input = lstmcore_floats_new(3 * hidden), *const of_h = lstmcore_floats_new(3 * hidden);
    code = of_input == NULL || of_h == NULL ? LSTMCORE_NO_MEMORY : LSTMCORE_OK;
    for (size_t j = 0; code == LSTMCORE_OK && j < 3 * hidden; j++) {
        of_input[j] = j < 2 * hidden ? bias_ih[j] + bias_hh[j] : bias_ih[j];
        of_h[j] = j < 2 * hidden ? 0.0f : bias_hh[j] + 0.0f; /* -0 becomes 0, as a product of zeros added to it would */
    }
    if (code == LSTMCORE_OK) {
        code = add(model, CELL_GRU, 3, in, hidden, weight_ih, weight_hh, of_input, of_h, out);
    } else {
        lstmcore_fail(model, code, "gru, layer %zu: %s", model->n_ops, lstmcore_error(code));
    }
    free(of_input);
    free(of_h);
    return code;
}

int lstmcore_model_add_rnn(lstmcore_model *model, lstmcore_value in, size_t hidden, const float *weight_ih,
                           const float *weight_hh, const float *bias, lstmcore_activation activation,
                           lstmcore_value *out) {
    const int code = may_add_recurrent(model, "rnn", in, hidden, weight_ih, weight_hh, bias);
    if (code == LSTMCORE_OK && activation != LSTMCORE_TANH && activation != LSTMCORE_RELU) {
        return lstmcore_fail(model, LSTMCORE_BAD_ARGUMENT, "rnn, layer %zu: neither tanh nor relu", model->n_ops);
    }
    const cell_kind cell = activation == LSTMCORE_TANH ? CELL_RNN_TANH : CELL_RNN_RELU;
    return code == LSTMCORE_OK ? add(model, cell, 1, in, hidden, weight_ih, weight_hh, bias, NULL, out) : code;
}

/* The recurrent layer that makes a value, or NULL. */
static op *recurrent_of(lstmcore_model *model, lstmcore_value layer) {
    if (layer < 0 || (size_t)layer >= model->n_values || model->values[layer].maker < 0) {
        return NULL;
    }
    op *o = &model->ops[model->values[layer].maker];
    return o->kind == OP_RECURRENT ? o : NULL;
}

static int may_set(lstmcore_model *model, const char *what, lstmcore_value layer) {
    if (model == NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    if (atomic_load(&model->sealed)) {
        return lstmcore_fail(model, LSTMCORE_SEALED, "%s: the model is sealed", what);
    }
    if (recurrent_of(model, layer) == NULL) {
        return lstmcore_fail(model, LSTMCORE_BAD_ARGUMENT, "%s: value %d is not that of a recurrent layer", what,
                             layer);
    }
    return LSTMCORE_OK;
}

int lstmcore_model_set_start(lstmcore_model *model, lstmcore_value layer, const float *h, const float *c) {
    const int code = may_set(model, "start", layer);
    if (code != LSTMCORE_OK) {
        return code;
    }
    op *o = recurrent_of(model, layer);
    if (h == NULL || (o->c != 0) != (c != NULL) || o->start_h != NULL) {
        return lstmcore_fail(model, LSTMCORE_BAD_ARGUMENT, "start of value %d: expected h, of an LSTM c too, once",
                             layer);
    }
    float *const start_h = lstmcore_floats_new(o->out), *const start_c = lstmcore_floats_new(o->c);
    if (start_h == NULL || start_c == NULL) {
        free(start_h);
        free(start_c);
        return lstmcore_fail(model, LSTMCORE_NO_MEMORY, "start of value %d: out of memory", layer);
    }
    memcpy(start_h, h, o->out * sizeof *h);
    if (c != NULL) {
        memcpy(start_c, c, o->c * sizeof *c);
    }
    o->start_h = start_h;
    o->start_c = start_c;
    return LSTMCORE_OK;
}

int lstmcore_model_set_mask(lstmcore_model *model, lstmcore_value layer, lstmcore_value mask) {
    const int code = may_set(model, "mask", layer);
    if (code != LSTMCORE_OK) {
        return code;
    }
    op *o = recurrent_of(model, layer);
    if (o->n_reads != 1 || mask < 0 || mask >= layer || !model->values[mask].sequence ||
        model->values[mask].width != 1) {
        return lstmcore_fail(model, LSTMCORE_BAD_ARGUMENT,
                             "mask of value %d: expected a sequence of width 1 from before it, once", layer);
    }
    o->reads[o->n_reads++] = mask;
    return LSTMCORE_OK;
}
