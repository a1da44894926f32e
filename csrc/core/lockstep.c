#include "lockstep.h"

#include "recurrent.h"

int lstmcore_find_span(const lstmcore_model *model, span *found) {
    *found = (span){0};
    for (size_t n = 0; n < model->n_ops; n++) {
        if (model->ops[n].kind == OP_RECURRENT) {
            found->first = found->any ? found->first : n;
            found->last = n;
            found->any = 1;
        }
    }
    return found->any && !model->ops[found->last].all_steps;
}

void lstmcore_tick_gates(lstmcore_session *s, const span *ops, const float *x, size_t n, float *gates,
                         size_t gates_row) {
    stream in = {x, s->model->input_size, n, s->model->input_size, 0};
    for (size_t o = 0; o < ops->first; o++) {
        lstmcore_apply(s, o, &in, 0);
    }
    recurrent_gates(s->model->kernel, &s->model->ops[ops->first], &in, n, gates, gates_row);
}

stream lstmcore_lockstep(lstmcore_session *s, const span *ops, const recurrent_state *states, size_t at, size_t rows,
                         int now, const float *gates, size_t gates_row) {
    stream in = {0};
    for (size_t n = ops->first; n <= ops->last; n++) {
        const op *o = &s->model->ops[n];
        if (o->kind != OP_RECURRENT) {
            lstmcore_apply(s, n, &in, 0);
            continue;
        }
        if (n != ops->first) {
            recurrent_gates(s->model->kernel, o, &in, rows, s->gates, s->gates_row);
            gates = s->gates;
            gates_row = s->gates_row;
        }
        float *const h_new = states[n].h[!now] + at * h_row(o);
        recurrent_step(s, o, gates, gates_row, rows, states[n].h[now] + at * h_row(o), h_new,
                       states[n].c + at * c_row(o));
        in = (stream){h_new, h_row(o), rows, o->out, 0};
    }
    return in;
}
