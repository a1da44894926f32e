/* Add the recurrent layers that the kernels have a cell for. */
#include <stdlib.h>

#include "kernels/colored.h"
#include "kernels/cpu.h"
#include "kernels/packing.h"
#include "model.h"

int lstmcore_append_recurrent(lstmcore_model *model, op *o, int code) {
    o->h_at = model->h_states;
    o->c_at = model->c_states;
    code = lstmcore_append(model, o, code);
    if (code == LSTMCORE_OK) {
        model->h_states += o->out;
        model->c_states += o->c;
        model->sequence = o->all_steps != 0;
    }
    return code;
}

static int may_add_recurrent(const lstmcore_model *model, size_t hidden, const float *weight_ih, const float *weight_hh,
                             const float *bias) {
    const int code = lstmcore_may_add(model, hidden);
    if (code == LSTMCORE_OK && (!model->sequence || weight_ih == NULL || weight_hh == NULL || bias == NULL)) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    return code;
}

/* `bias` belongs to the product of the input, recurrent_bias, or NULL, to that of h. */
static int add(lstmcore_model *model, cell_kind cell, size_t gates, size_t hidden, const float *weight_ih,
               const float *weight_hh, const float *bias, const float *recurrent_bias, int all_steps) {
    const size_t lanes = model->kernel->lanes;
    op o = {.kind = OP_RECURRENT, .in = model->width, .out = hidden, .all_steps = all_steps};
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
    return lstmcore_append_recurrent(model, &o, code);
}

int lstmcore_model_add_lstm(lstmcore_model *model, size_t hidden, const float *weight_ih, const float *weight_hh,
                            const float *bias, int all_steps) {
    const int code = may_add_recurrent(model, hidden, weight_ih, weight_hh, bias);
    return code == LSTMCORE_OK ? add(model, CELL_LSTM, 4, hidden, weight_ih, weight_hh, bias, NULL, all_steps) : code;
}

int lstmcore_model_add_gru(lstmcore_model *model, size_t hidden, const float *weight_ih, const float *weight_hh,
                           const float *bias_ih, const float *bias_hh, int all_steps) {
    int code = may_add_recurrent(model, hidden, weight_ih, weight_hh, bias_ih);
    if (code != LSTMCORE_OK) {
        return code;
    }
    if (bias_hh == NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    /* r acts on the candidate's product and recurrent bias; the other biases may as well be added to the input. */
    float *const of_input = lstmcore_floats_new(3 * hidden), *const of_h = lstmcore_floats_new(3 * hidden);
    code = of_input == NULL || of_h == NULL ? LSTMCORE_NO_MEMORY : LSTMCORE_OK;
    for (size_t j = 0; code == LSTMCORE_OK && j < 3 * hidden; j++) {
        of_input[j] = j < 2 * hidden ? bias_ih[j] + bias_hh[j] : bias_ih[j];
        of_h[j] = j < 2 * hidden ? 0.0f : bias_hh[j] + 0.0f; /* -0 becomes 0, as a product of zeros added to it would */
    }
    if (code == LSTMCORE_OK) {
        code = add(model, CELL_GRU, 3, hidden, weight_ih, weight_hh, of_input, of_h, all_steps);
    }
    free(of_input);
    free(of_h);
    return code;
}

int lstmcore_model_add_rnn(lstmcore_model *model, size_t hidden, const float *weight_ih, const float *weight_hh,
                           const float *bias, lstmcore_activation activation, int all_steps) {
    const int code = may_add_recurrent(model, hidden, weight_ih, weight_hh, bias);
    if (code == LSTMCORE_OK && activation != LSTMCORE_TANH && activation != LSTMCORE_RELU) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    const cell_kind cell = activation == LSTMCORE_TANH ? CELL_RNN_TANH : CELL_RNN_RELU;
    return code == LSTMCORE_OK ? add(model, cell, 1, hidden, weight_ih, weight_hh, bias, NULL, all_steps) : code;
}
