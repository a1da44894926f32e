/* Layers in any order. */
#ifndef ANY_LAYER_H
#define ANY_LAYER_H

#include "core/model.h"
#include "random_layers.h"

/* One that fits behind the last, of any kind, or none; a Flatten of `steps`. */
static void add_any(lstmcore_model *model, size_t steps) {
    size_t h = 0, c = 0;
    switch (random_bits() % 9) {
    case 0:
    case 1:
        if (model->sequence) {
            const size_t hidden = sizes[random_bits() % SIZES];
            add_recurrent(model, model->width, hidden, 0.3f, random_bits() % 4 != 0, &h, &c);
        }
        return;
    case 2:
        add_linear(model, model->width, sizes[random_bits() % SIZES]);
        return;
    case 3:
        add_affine(model, model->width);
        return;
    case 4:
        check(lstmcore_model_add_activation(model, random_activation(), 0.3f, 0.6f), "add_activation");
        return;
    case 5:
        check(lstmcore_model_add_softmax(model), "add_softmax");
        return;
    case 6:
        add_layer_norm(model, model->width);
        return;
    case 7:
        if (model->sequence) {
            check(lstmcore_model_add_last(model), "add_last");
        }
        return;
    default:
        if (model->sequence) {
            check(lstmcore_model_add_flatten(model, steps), "add_flatten");
        }
    }
}

#endif
