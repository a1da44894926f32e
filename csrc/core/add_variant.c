/* Add a recurrent layer other than the usual ones: check what is asked for, lay out its weights. */
#include <stdlib.h>
#include <string.h>

#include "kernels/packing.h"
#include "add_recurrent.h"

/* (gates*hidden, inputs) row-major -> (gates*part, inputs), the rows beyond each gate's last unit zeros; NULL stays. */
static int spread(const float *from, size_t gates, size_t hidden, size_t part, size_t inputs, float **to) {
    *to = NULL;
    if (from == NULL) {
        return LSTMCORE_OK;
    }
    *to = lstmcore_floats_new(gates * part * inputs);
    if (*to == NULL) {
        return LSTMCORE_NO_MEMORY;
    }
    for (size_t g = 0; g < gates; g++) {
        memcpy(*to + g * part * inputs, from + g * hidden * inputs, hidden * inputs * sizeof *from);
    }
    return LSTMCORE_OK;
}

/* As one gate of gates*part units. */
static int pack_spread(packed *w, const lstmcore_model *model, size_t gates, size_t hidden, size_t inputs,
                       const float *matrix, const float *bias) {
    const size_t part = round_up(hidden, ROW);
    float *wide;
    int code = spread(matrix, gates, hidden, part, inputs, &wide);
    if (code == LSTMCORE_OK) {
        code = lstmcore_pack(w, model->kernel->lanes, 1, gates * part, inputs, wide, bias);
    }
    free(wide);
    return code;
}

static int pack_weights(const lstmcore_model *model, op *o, const lstmcore_variant *how) {
    variant *const v = o->variant;
    const size_t hidden = how->hidden, part = v->part, all = v->gates * part;
    const int gru = how->cell == LSTMCORE_GRU, late = gru && !how->reset_after;
    float *const of_input = lstmcore_floats_new(all), *const of_h = lstmcore_floats_new(all);
    int code = of_input == NULL || of_h == NULL ? LSTMCORE_NO_MEMORY : LSTMCORE_OK;
    for (size_t j = 0; code == LSTMCORE_OK && j < v->gates * hidden; j++) {
        const size_t at = j / hidden * part + j % hidden;
        const float b = how->bias_hh == NULL ? 0.0f : how->bias_hh[j];
        const int apart = gru && how->reset_after && j >= 2 * hidden; /* r acts on it */
        of_input[at] = (how->bias_ih == NULL ? 0.0f : how->bias_ih[j]) + (apart ? 0.0f : b);
        of_h[at] = apart ? b : 0.0f;
    }
    if (code == LSTMCORE_OK) {
        code = pack_spread(&o->weights, model, v->gates, hidden, o->in, how->weight_ih,
                           how->norm_ih == NULL ? of_input : NULL);
    }
    if (code == LSTMCORE_OK) {
        code = pack_spread(&o->recurrent, model, v->gates - (size_t)late, hidden, o->out, how->weight_hh, of_h);
    }
    if (code == LSTMCORE_OK && late) {
        code = pack_spread(&v->late, model, 1, hidden, hidden, how->weight_hh + 2 * hidden * hidden, NULL);
    }
    if (code == LSTMCORE_OK && how->proj != 0) {
        code = lstmcore_pack(&v->projection, model->kernel->lanes, 1, how->proj, hidden, how->weight_hr, NULL);
    }
    if (how->norm_ih != NULL) {
        v->bias = of_input;
    } else {
        free(of_input);
    }
    free(of_h);
    return code;
}

static int known(lstmcore_function f) {
    return (unsigned)f.kind <= LSTMCORE_HARD_SILU;
}

/* Settings of one cell are refused in another, that nobody takes them for done. */
static int sound(const lstmcore_variant *how) {
    const int norms = (how->norm_ih != NULL) + (how->norm_hh != NULL) + (how->norm_c != NULL);
    const int of_lstm =
        how->proj != 0 || how->coupled || how->peephole != NULL || norms != 0 || how->norm_c_bias != NULL;
    return (unsigned)how->cell <= LSTMCORE_RNN && known(how->gate) && known(how->candidate) && known(how->output) &&
           how->clip >= 0.0f && how->weight_ih != NULL && how->weight_hh != NULL && how->proj <= MAX_SIZE &&
           (how->proj == 0) == (how->weight_hr == NULL) && (norms == 0 || norms == 3) &&
           (norms == 3 || how->norm_c_bias == NULL) && (norms == 0 || how->norm_eps >= 0.0f) &&
           (how->cell == LSTMCORE_LSTM || !of_lstm) && (how->cell == LSTMCORE_GRU || !how->reset_after);
}

int lstmcore_model_add_variant(lstmcore_model *model, lstmcore_value in, const lstmcore_variant *how,
                               lstmcore_value *out) {
    int code = lstmcore_may_add(model, "variant", in, 1, how == NULL ? 1 : how->hidden);
    if (code != LSTMCORE_OK) {
        return code;
    }
    if (how == NULL || !sound(how)) {
        return lstmcore_fail(model, LSTMCORE_BAD_ARGUMENT,
                             "variant, layer %zu: a missing weight, an unknown function, a number out of range, or a "
                             "setting of another cell",
                             model->n_ops);
    }
    variant *const v = calloc(1, sizeof *v);
    if (v == NULL) {
        return lstmcore_fail(model, LSTMCORE_NO_MEMORY, "variant, layer %zu: out of memory", model->n_ops);
    }
    v->how = *how;
    v->gates = how->cell == LSTMCORE_LSTM ? 4 : how->cell == LSTMCORE_GRU ? 3 : 1;
    v->part = round_up(how->hidden, ROW);
    op o = {.kind = OP_RECURRENT, .in = model->values[in].width, .variant = v};
    o.out = how->proj != 0 ? how->proj : how->hidden;
    o.c = how->cell == LSTMCORE_LSTM ? how->hidden : 0;
    o.gates_row = v->gates * v->part;
    const struct {
        const float *from;
        size_t gates;
        float **to;
    } arrays[] = {
        {how->peephole, 3, &v->peephole}, {how->norm_ih, v->gates, &v->norm_ih},  {how->norm_hh, v->gates, &v->norm_hh},
        {how->norm_c, 1, &v->norm_c},     {how->norm_c_bias, 1, &v->norm_c_bias},
    };
    for (size_t n = 0; code == LSTMCORE_OK && n < sizeof arrays / sizeof *arrays; n++) {
        code = spread(arrays[n].from, arrays[n].gates, how->hidden, v->part, 1, arrays[n].to);
    }
    if (code == LSTMCORE_OK) {
        code = pack_weights(model, &o, how);
    }
    return lstmcore_append_recurrent(model, &o, in, code, out);
}
