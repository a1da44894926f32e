/* The state of a sliding window's streams: to begin again, to save, to restore.
 *
 * Who enters takes what the helper has not begun, also of other streams, and wakes it for what is left.
 */
#include <string.h>

#include "sliding.h"

int lstmcore_sliding_reset(lstmcore_sliding *s, size_t which) {
    if (s == NULL || which >= s->streams) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    const int code = lstmcore_sliding_enter(s);
    if (code != LSTMCORE_OK) {
        return code;
    }
    lstmcore_sliding_begin(s, which);
    lstmcore_sliding_wake(s);
    lstmcore_sliding_leave(s);
    return LSTMCORE_OK;
}

size_t lstmcore_sliding_ticks(const lstmcore_sliding *s, size_t which) {
    return s == NULL || which >= s->streams ? 0 : s->rings[which].ticks;
}

size_t lstmcore_sliding_state_size(const lstmcore_sliding *s) {
    return s == NULL ? 0 : s->slots * (s->model->h_states + s->model->c_states);
}

/* Between a ring and an array [layer][h, c][window, the oldest first][unit], to or from. A layer without c has none. */
static void copy_state(lstmcore_sliding *s, size_t which, float *to, const float *from) {
    const ring *r = &s->rings[which];
    size_t at = 0;
    for (size_t n = s->ops.first; n <= s->ops.last; n++) {
        const op *o = &s->model->ops[n];
        if (o->kind != OP_RECURRENT) {
            continue;
        }
        float *const parts[] = {s->states[n].h[r->now], s->states[n].c};
        const size_t widths[] = {o->out, o->c}, rows[] = {h_row(o), c_row(o)};
        for (size_t part = 0; part < 2; part++) {
            for (size_t age = 0; age < s->slots; age++, at += widths[part]) {
                float *own = parts[part] + (which * s->slots + (r->head + age) % s->slots) * rows[part];
                if (to != NULL) {
                    memcpy(to + at, own, widths[part] * sizeof *own);
                } else {
                    memcpy(own, from + at, widths[part] * sizeof *own);
                }
            }
        }
    }
}

int lstmcore_sliding_get_state(lstmcore_sliding *s, size_t which, float *state, size_t *ticks) {
    if (s == NULL || which >= s->streams || state == NULL || ticks == NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    const int code = lstmcore_sliding_enter(s);
    if (code != LSTMCORE_OK) {
        return code;
    }
    if (s->rings[which].pending && !lstmcore_sliding_take_step(s, which, &s->scratch->watched)) {
        lstmcore_sliding_wake(s);
        lstmcore_sliding_leave(s);
        return LSTMCORE_STOPPED;
    }
    copy_state(s, which, state, NULL);
    *ticks = s->rings[which].ticks;
    lstmcore_sliding_wake(s);
    lstmcore_sliding_leave(s);
    return LSTMCORE_OK;
}

int lstmcore_sliding_set_state(lstmcore_sliding *s, size_t which, const float *state, size_t ticks) {
    if (s == NULL || which >= s->streams || state == NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    const int code = lstmcore_sliding_enter(s);
    if (code != LSTMCORE_OK) {
        return code;
    }
    s->rings[which] = (ring){.ticks = ticks};
    copy_state(s, which, NULL, state);
    lstmcore_sliding_form_products(s, which);
    lstmcore_sliding_wake(s);
    lstmcore_sliding_leave(s);
    return LSTMCORE_OK;
}
