/* Streams: for the exact sliding window T windows in flight, one for each tick at which a window that is still wanted
 * began.
 *
 * A push answers the oldest of them, whose recurrent products have been formed before the tick came: one step for each
 * recurrent layer, then the head. To catch up is to let all of them take that step too, in lockstep, to begin a new one
 * in the answered one's place, and to form the products of the one that is now the oldest. Every sum is formed as it is
 * in a whole window, so the answers have the same bits.
 *
 * A stream without an end is one window in flight that is never answered for the last time.
 */
#include "streams.h"

#include <math.h>
#include <stdatomic.h>

int lstmcore_streams_enter(lstmcore_streams *s) {
    if (atomic_exchange_explicit(&s->busy, 1, memory_order_acquire)) {
        return LSTMCORE_BUSY;
    }
    s->watched.callers = fp_mode_enter();
    if (s->helper != NULL && !lstmcore_streams_settle(s)) {
        lstmcore_streams_leave(s);
        return LSTMCORE_STOPPED;
    }
    return LSTMCORE_OK;
}

void lstmcore_streams_leave(lstmcore_streams *s) {
    fp_mode_leave(s->watched.callers);
    atomic_store_explicit(&s->busy, 0, memory_order_release);
}

int lstmcore_streams_watch(lstmcore_streams *s, int (*stop)(void *), void *context) {
    if (s == NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    watch_by(&s->watched, stop, context);
    return LSTMCORE_OK;
}

static void put_nan(const lstmcore_streams *s, float *const *outputs, size_t at) {
    const float nan = NAN;
    for (size_t k = 0; k < s->model->n_outputs; k++) {
        const size_t width = s->model->values[s->model->outputs[k].value].width;
        lstmcore_put(outputs[k] + at * width, width, 1, (rows){&nan, 0});
    }
}

/* How many of the streams `which`, n of them, can be answered together: no two the same, and such as have caught up; of
 * streams without an end else such as have not, each of whose products is then formed with the next step. */
static size_t gather_streams(lstmcore_streams *s, size_t n, const size_t *which, purpose why, int *code) {
    size_t count = 0;
    s->call++;
    for (; count < CHUNK && count < n && s->rings[which[count]].call != s->call; count++) {
        ring *r = &s->rings[which[count]];
        if (count != 0 && count * s->tick.plan->tick_work >= WATCH_WORK) {
            break;
        }
        if (why == PUSH ? is_pending(r) && !lstmcore_streams_take_step(s, which[count], &s->watched)
                        : is_pending(r) != (why == FUSED)) {
            *code = why == PUSH ? LSTMCORE_STOPPED : LSTMCORE_OK;
            break;
        }
        r->now = why == FUSED ? !r->now : r->now;
        r->call = s->call;
    }
    return count;
}

/* What lstmcore_streams_push does, its arguments checked. */
static int push(lstmcore_streams *s, size_t n, const size_t *which, const void *const *inputs, float *const *outputs) {
    int code = lstmcore_streams_enter(s);
    if (code != LSTMCORE_OK) {
        return code;
    }
    for (size_t done = 0, count; code == LSTMCORE_OK && done < n; done += count) {
        if (done != 0 && watch_stops(&s->watched)) {
            code = LSTMCORE_STOPPED;
            break;
        }
        const size_t *these = which + done;
        const purpose why = s->window != 0 ? PUSH : is_pending(&s->rings[*these]) ? FUSED : CARRY;
        count = gather_streams(s, n - done, these, why, &code);
        if (count == 0) {
            break;
        }
        lstmcore_streams_answer(s, count, these, inputs, outputs, done, why);
        s->watched.work += count * s->tick.plan->tick_work;
        for (size_t m = 0; m < count; m++) {
            ring *r = &s->rings[these[m]];
            set_pending(r, 1);
            r->ticks++;
            if (r->ticks < s->window) {
                put_nan(s, outputs, done + m);
            }
        }
    }
    if (s->helper != NULL) {
        lstmcore_streams_wake(s);
    }
    lstmcore_streams_leave(s);
    return code;
}

int lstmcore_streams_push(lstmcore_streams *s, size_t n, const size_t *which, const void *const *inputs,
                          float *const *outputs) {
    if (s == NULL || which == NULL || lacks_arrays(s->model, inputs, outputs)) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    for (size_t m = 0; m < n; m++) {
        if (which[m] >= s->count) {
            return LSTMCORE_BAD_ARGUMENT;
        }
    }
    return push(s, n, which, inputs, outputs);
}

int lstmcore_streams_bind(lstmcore_streams *s, const void *const *inputs, float *const *outputs) {
    if (s == NULL || lacks_arrays(s->model, inputs, outputs)) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    memcpy(s->bound_inputs, inputs, s->model->n_inputs * sizeof *inputs);
    memcpy(s->bound_outputs, outputs, s->model->n_outputs * sizeof *outputs);
    return LSTMCORE_OK;
}

int lstmcore_streams_push_bound(lstmcore_streams *s) {
    const size_t only = 0;
    return s == NULL || *s->bound_outputs == NULL ? LSTMCORE_BAD_ARGUMENT
                                                  : push(s, 1, &only, s->bound_inputs, s->bound_outputs);
}

static int catch_up(lstmcore_streams *s, int rehearsal) {
    if (s == NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    int code = lstmcore_streams_enter(s);
    if (code != LSTMCORE_OK) {
        return code;
    }
    if (!lstmcore_streams_take_steps(s, &s->watched)) {
        code = LSTMCORE_STOPPED;
        lstmcore_streams_wake(s); /* the helper, from whom entering took the steps */
    } else if (rehearsal) {
        lstmcore_streams_rehearse(s);
    }
    lstmcore_streams_leave(s);
    return code;
}

int lstmcore_streams_catch_up(lstmcore_streams *s) {
    return catch_up(s, 1);
}

int lstmcore_streams_hurry(lstmcore_streams *s) {
    return catch_up(s, 0);
}
