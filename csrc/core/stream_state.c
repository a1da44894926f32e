/* The state of streams: to begin again, to save, to restore.
 *
 * Who enters takes what the helper has not begun, also of other streams, and wakes it for what is left.
 */
#include <string.h>

#include "streams.h"

int lstmcore_streams_reset(lstmcore_streams *s, size_t which) {
    if (s == NULL || which >= s->count) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    const int code = lstmcore_streams_enter(s);
    if (code != LSTMCORE_OK) {
        return code;
    }
    lstmcore_streams_begin(s, which);
    lstmcore_streams_wake(s);
    lstmcore_streams_leave(s);
    return LSTMCORE_OK;
}

size_t lstmcore_streams_ticks(const lstmcore_streams *s, size_t which) {
    return s == NULL || which >= s->count ? 0 : s->rings[which].ticks;
}

size_t lstmcore_streams_state_size(const lstmcore_streams *s) {
    size_t size = 0;
    for (size_t n = 0; s != NULL && n < s->model->n_ops; n++) {
        size += s->tick.plan->carried[n] ? s->slots * (s->model->ops[n].out + s->model->ops[n].c) : 0;
    }
    return size;
}

/* Between a ring and an array [layer][h, c][window, the oldest first][unit], to or from. A layer without c has none. */
static void copy_state(lstmcore_streams *s, size_t which, float *to, const float *from) {
    const ring *r = &s->rings[which];
    size_t at = 0;
    for (size_t n = 0; n < s->model->n_ops; n++) {
        const op *o = &s->model->ops[n];
        if (!s->tick.plan->carried[n]) {
            continue;
        }
        float *const parts[] = {s->states[n].h[r->now], s->states[n].c};
        const size_t widths[] = {o->out, o->c}, apart[] = {h_row(o), c_row(o)};
        for (size_t part = 0; part < 2; part++) {
            for (size_t age = 0; age < s->slots; age++, at += widths[part]) {
                float *own = parts[part] + (which * s->slots + (r->head + age) % s->slots) * apart[part];
                if (to != NULL) {
                    lstmcore_put(to + at, 1, widths[part], (rows){own, 0});
                } else {
                    memcpy(own, from + at, widths[part] * sizeof *own);
                }
            }
        }
    }
}

int lstmcore_streams_get_state(lstmcore_streams *s, size_t which, float *state, size_t *ticks) {
    if (s == NULL || which >= s->count || state == NULL || ticks == NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    const int code = lstmcore_streams_enter(s);
    if (code != LSTMCORE_OK) {
        return code;
    }
    if (is_pending(&s->rings[which]) && !lstmcore_streams_take_step(s, which, &s->watched)) {
        lstmcore_streams_wake(s);
        lstmcore_streams_leave(s);
        return LSTMCORE_STOPPED;
    }
    copy_state(s, which, state, NULL);
    *ticks = s->rings[which].ticks;
    lstmcore_streams_wake(s);
    lstmcore_streams_leave(s);
    return LSTMCORE_OK;
}

int lstmcore_streams_set_state(lstmcore_streams *s, size_t which, const float *state, size_t ticks) {
    if (s == NULL || which >= s->count || state == NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    const int code = lstmcore_streams_enter(s);
    if (code != LSTMCORE_OK) {
        return code;
    }
    ring_begin(&s->rings[which], ticks);
    copy_state(s, which, NULL, state);
    lstmcore_streams_form_products(s, which);
    lstmcore_streams_wake(s);
    lstmcore_streams_leave(s);
    return LSTMCORE_OK;
}
