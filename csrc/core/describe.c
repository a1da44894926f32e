/* What a plan has found out, for who wants to look at it. */
#include <stdatomic.h>

#include "tick_plan.h"

static const char *kind_of(const op *o) {
    static const char *const kinds[] = {
        [OP_LINEAR] = "linear",
        [OP_AFFINE] = "affine",
        [OP_ACTIVATION] = "activation",
        [OP_SOFTMAX] = "softmax",
        [OP_LAYER_NORM] = "layer_norm",
        [OP_CONCAT] = "concat",
        [OP_SUM] = "sum",
        [OP_MEAN] = "mean",
        [OP_PRODUCT] = "product",
        [OP_MAXIMUM] = "maximum",
        [OP_DIFFERS] = "differs",
        [OP_WHERE] = "where",
        [OP_LAST] = "last",
        [OP_REVERSE] = "reverse",
        [OP_FLATTEN] = "flatten",
    };
    static const char *const cells[] = {
        [CELL_LSTM] = "lstm", [CELL_GRU] = "gru", [CELL_RNN_TANH] = "rnn", [CELL_RNN_RELU] = "rnn"};
    static const char *const variants[] = {
        [LSTMCORE_LSTM] = "lstm variant", [LSTMCORE_GRU] = "gru variant", [LSTMCORE_RNN] = "rnn variant"};
    if (o->kind != OP_RECURRENT) {
        return kinds[o->kind];
    }
    return o->variant != NULL ? variants[o->variant->how.cell] : cells[o->recurrent.cell];
}

int lstmcore_model_layer(const lstmcore_model *model, size_t layer, lstmcore_layer *out) {
    if (model == NULL || out == NULL || !atomic_load(&model->sealed) || layer >= model->n_ops) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    const op *o = &model->ops[layer];
    const place *p = &model->plan[0]->values[o->writes];
    const int runs = model->plan[0]->when[layer] != NEVER;
    *out = (lstmcore_layer){
        .kind = kind_of(o),
        .width = o->out,
        .steps = p->read == FIRST  ? LSTMCORE_FIRST_STEP
                 : p->read == LAST ? LSTMCORE_LAST_STEP
                 : p->read == ALL  ? LSTMCORE_ALL_STEPS
                                   : LSTMCORE_NO_STEP,
        .scope = !runs || model->ticks->scopes[o->writes] == SHARED ? LSTMCORE_SHARED
                 : model->ticks->scopes[o->writes] == PER_WINDOW    ? LSTMCORE_PER_WINDOW
                                                                    : LSTMCORE_WHOLE_WINDOW,
        .carried = model->ticks->carried[layer],
        .in_pass = p->pass,
        .whole = p->place == AT_WHOLE,
    };
    return LSTMCORE_OK;
}
