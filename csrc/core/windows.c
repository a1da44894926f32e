/* Every window of a long series: CHUNK of them in lockstep, over what their common ticks contribute. */
#include <stdlib.h>

#include "lockstep.h"

/* `n` windows, at most CHUNK, that begin `stride` ticks apart at x. Returns 0 where the caller stops it. */
static int run_windows(lstmcore_session *s, const span *ops, recurrent_state *states, float *gates, const float *x,
                       size_t n, size_t window, size_t stride, float *y) {
    const size_t features = s->model->input_size, gates_row = s->model->ops[ops->first].gates_row;
    /* Windows further apart than they are long share no tick, and what lies between them is left out. */
    const size_t apart = stride < window ? stride : window;
    const size_t before = lstmcore_work(s->model, 0, ops->first), step = lstmcore_work(s->model, ops->first, ops->last);
    const size_t pieces = stride < window ? 1 : n, ticks = stride < window ? (n - 1) * stride + window : window;
    for (size_t p = 0; p < pieces; p++) {
        for (size_t t = 0; t < ticks; t += CHUNK) {
            const size_t rows = ticks - t < CHUNK ? ticks - t : CHUNK;
            lstmcore_tick_gates(s, ops, x + (p * stride + t) * features, rows, gates + (p * window + t) * gates_row,
                                gates_row);
            if (watch_after(&s->watched, rows * before)) {
                return 0;
            }
        }
    }
    for (size_t o = ops->first; o <= ops->last; o++) {
        if (s->model->ops[o].kind == OP_RECURRENT) {
            lstmcore_states_zero(&s->model->ops[o], &states[o], 0, 0, n);
        }
    }
    stream in = {0};
    for (size_t t = 0; t < window; t++) {
        in = lstmcore_lockstep(s, ops, states, 0, n, (int)(t & 1), gates + t * gates_row, apart * gates_row);
        if (watch_after(&s->watched, n * step)) {
            return 0;
        }
    }
    lstmcore_answer(s, ops->last + 1, &in, y);
    return 1;
}

int lstmcore_run_windows(lstmcore_session *s, const float *x, size_t ticks, size_t window, size_t stride, float *y) {
    span ops;
    if (s == NULL || x == NULL || y == NULL || window < 1 || stride < 1 || window > ticks ||
        !lstmcore_find_span(s->model, &ops)) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    const size_t windows = (ticks - window) / stride + 1, features = s->model->input_size;
    const size_t apart = stride < window ? stride : window;
    /* Few enough windows at once that the gates of their ticks stay in the second-level cache where they can. */
    size_t at_once = windows < CHUNK ? windows : CHUNK;
    while (at_once > 4 && (at_once - 1) * apart > 16 * CHUNK) {
        at_once /= 2;
    }
    const size_t gates_row = s->model->ops[ops.first].gates_row;
    float *gates = lstmcore_floats_new(((at_once - 1) * apart + window) * gates_row);
    recurrent_state *states = lstmcore_states_new(s->model, at_once);
    int code = gates == NULL || states == NULL ? LSTMCORE_NO_MEMORY : LSTMCORE_OK;
    s->watched.callers = fp_mode_enter();
    for (size_t w = 0; code == LSTMCORE_OK && w < windows; w += at_once) {
        const size_t n = windows - w < at_once ? windows - w : at_once;
        if (!run_windows(s, &ops, states, gates, x + w * stride * features, n, window, stride,
                         y + w * s->model->width)) {
            code = LSTMCORE_STOPPED;
        }
    }
    fp_mode_leave(s->watched.callers);
    free(gates);
    lstmcore_states_free(s->model, states);
    return code;
}
