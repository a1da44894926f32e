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
    s->watched.stop = stop;
    s->watched.context = context;
    return LSTMCORE_OK;
}

/* Calls `what` with n_op, the op and its states for each op that has a state in every window. */
#define FOR_CARRIED(s, n_op)                                        \
    for (size_t k_ = 0, n_op; k_ < (s)->tick.plan->n_updates; k_++) \
        if (n_op = (s)->tick.plan->updates[k_], (s)->tick.plan->carried[n_op])

void lstmcore_streams_form_products(lstmcore_streams *s, size_t which) {
    const ring *r = &s->rings[which];
    FOR_CARRIED(s, n) {
        const op *o = &s->model->ops[n];
        recurrent_product(s->model->kernel, o, s->states[n].h[r->now] + (which * s->slots + r->head) * h_row(o), r->now,
                          s->products[n] + which * o->gates_row);
    }
}

/* Read also by who is not alone with the stream: lstmcore_streams_behind. */
static int pending(const ring *r) {
    return atomic_load_explicit(&r->pending, memory_order_relaxed);
}

static void set_pending(ring *r, int is) {
    atomic_store_explicit(&r->pending, is, memory_order_relaxed);
}

/* `slots` of the ring's windows from `slot` on begin anew. */
static void begin(lstmcore_streams *s, size_t which, size_t slot, size_t slots) {
    FOR_CARRIED(s, n) {
        lstmcore_states_begin(&s->model->ops[n], &s->states[n], s->rings[which].now, which * s->slots + slot, slots);
    }
}

/* Let what windows read in their step be what is kept of a stream's last tick. */
static void look_at_kept(lstmcore_streams *s, size_t which) {
    const tick_plan *p = s->tick.plan;
    for (size_t k = 0; k < p->n_gates; k++) {
        s->tick.gates[k] = (rows){s->gates[k] + which * p->gates[k].row, 0};
    }
    for (size_t k = 0; k < p->n_values; k++) {
        if (p->values[k].late) {
            s->tick.values[p->values[k].of] = (rows){s->values[k] + which * p->values[k].row, 0};
        }
    }
}

int lstmcore_streams_take_step(lstmcore_streams *s, size_t which, watch *watched) {
    ring *r = &s->rings[which];
    if (s->window != 0) {
        look_at_kept(s, which);
    }
    while (r->stepped < s->window) {
        if (watch_stops(watched)) {
            return 0;
        }
        const size_t n = s->slots - r->stepped < CHUNK ? s->slots - r->stepped : CHUNK;
        lstmcore_lockstep(&s->tick, s->states, which * s->slots + r->stepped, n, r->now);
        r->stepped += n;
        watched->work += n * s->step_work;
    }
    r->stepped = 0;
    r->now = !r->now;
    if (s->window != 0) {
        begin(s, which, r->head, 1);
        r->head = (r->head + 1) % s->slots;
    }
    lstmcore_streams_form_products(s, which);
    set_pending(r, 0);
    return 1;
}

int lstmcore_streams_take_steps(lstmcore_streams *s, watch *watched) {
    for (size_t which = 0; which < s->count; which++) {
        if (pending(&s->rings[which]) && !lstmcore_streams_take_step(s, which, watched)) {
            return 0;
        }
    }
    return 1;
}

void lstmcore_streams_begin(lstmcore_streams *s, size_t which) {
    s->rings[which] = (ring){0};
    begin(s, which, 0, s->slots);
    lstmcore_streams_form_products(s, which);
}

/* What an answer is for. CARRY: the states of a stream without an end take the step; FUSED: whose product has not been
 * formed. REHEARSE: nobody wants it, but the next one shall find what it reads in the nearest cache. */
typedef enum { PUSH, CARRY, FUSED, REHEARSE } purpose;

/* What each of the n streams' tick contributes to the gates of layer n_op, kept where other windows take their step. */
static rows gates_of(lstmcore_streams *s, size_t n_op, size_t n, const size_t *which, purpose why) {
    const op *o = &s->model->ops[n_op];
    const scratch *w = &s->tick.scratch;
    const rows in = s->tick.values[o->reads[0]];
    const int g = s->tick.plan->gates_of[n_op];
    if (g < 0 && n == 1) { /* of more weights than the cache holds, it holds those that were used last */
        recurrent_gates_of_one(w->kernel, o, in.at, why == REHEARSE, w->gates);
        return (rows){w->gates, 0};
    }
    if (n == 1) {
        float *const own = s->gates[g] + which[0] * o->gates_row;
        recurrent_gates(w->kernel, o, in, 1, own, 0);
        return (rows){own, 0};
    }
    recurrent_gates(w->kernel, o, in, n, w->gates, w->gates_row);
    for (size_t m = 0; g >= 0 && m < n; m++) {
        memcpy(s->gates[g] + which[m] * o->gates_row, w->gates + m * w->gates_row, o->gates_row * sizeof *w->gates);
    }
    return (rows){w->gates, w->gates_row};
}

/* The products, h and c of n streams' oldest windows, as rows. c as it was is still wanted there: when the stream
 * catches up all of its windows take this step. */
static void gather(lstmcore_streams *s, size_t n_op, size_t n, const size_t *which) {
    const op *o = &s->model->ops[n_op];
    const recurrent_state *st = &s->states[n_op];
    const size_t row = s->tick.plan->row, gates_row = s->tick.scratch.gates_row;
    for (size_t m = 0; m < n; m++) {
        const ring *r = &s->rings[which[m]];
        const size_t slot = which[m] * s->slots + r->head;
        memcpy(s->c + m * row, st->c + slot * c_row(o), c_row(o) * sizeof(float));
        if (n > 1) {
            memcpy(s->h + m * row, st->h[r->now] + slot * h_row(o), h_row(o) * sizeof(float));
            memcpy(s->gathered + m * gates_row, s->products[n_op] + which[m] * o->gates_row,
                   o->gates_row * sizeof(float));
        }
    }
}

/* The new h and c of n streams without an end, from rows. */
static void scatter(lstmcore_streams *s, size_t n_op, size_t n, const size_t *which, const float *h) {
    const size_t of_h = h_row(&s->model->ops[n_op]), of_c = c_row(&s->model->ops[n_op]), row = s->tick.plan->row;
    for (size_t m = 0; m < n; m++) {
        const int next = !s->rings[which[m]].now;
        memcpy(s->states[n_op].h[next] + which[m] * of_h, h + m * row, of_h * sizeof(float));
        memcpy(s->states[n_op].c + which[m] * of_c, s->c + m * row, of_c * sizeof(float));
    }
}

/* The step of each of n windows that counts; the h of the others stays. */
static void finish(lstmcore_streams *s, const op *o, rows gates, rows products, size_t n, const float *h_old,
                   float *h_new, float *c) {
    const size_t row = s->tick.plan->row;
    if (o->n_reads == 1) {
        recurrent_finish(&s->tick.scratch, o, gates, products, n, h_old, h_new, c, row);
        return;
    }
    const rows mask = s->tick.values[o->reads[1]];
    for (size_t m = 0; m < n; m++) {
        const rows own = {gates.at + m * gates.row, 0}, product = {products.at + m * products.row, 0};
        if (mask.at[m * mask.row] != 0.0f) {
            recurrent_finish(&s->tick.scratch, o, own, product, 1, h_old + m * row, h_new + m * row, c + m * row, row);
        } else {
            memcpy(h_new + m * row, h_old + m * row, h_row(o) * sizeof *h_new);
        }
    }
}

/* The step of a layer with a state, for the oldest windows of n streams. */
static void take_due_step(lstmcore_streams *s, size_t n_op, size_t n, const size_t *which, purpose why) {
    const op *o = &s->model->ops[n_op];
    const rows gates = gates_of(s, n_op, n, which, why);
    recurrent_state *st = &s->states[n_op];
    const ring *r = &s->rings[which[0]];
    rows out = {s->tick.chunks + s->tick.plan->buffers[o->writes] * CHUNK * s->tick.plan->row, s->tick.plan->row};
    if (n > 1) {
        gather(s, n_op, n, which);
        finish(s, o, gates, (rows){s->gathered, s->tick.scratch.gates_row}, n, s->h, (float *)(uintptr_t)out.at, s->c);
        if (why == CARRY) {
            scatter(s, n_op, n, which, out.at);
        }
        s->tick.values[o->writes] = out;
        return;
    }
    const float *const h_old = st->h[r->now] + (which[0] * s->slots + r->head) * h_row(o);
    const rows product = {s->products[n_op] + which[0] * o->gates_row, 0};
    if (why == CARRY) { /* the only step there is goes where it belongs */
        float *const h_new = st->h[!r->now] + which[0] * h_row(o);
        out.at = h_new;
        finish(s, o, gates, product, 1, h_old, h_new, st->c + which[0] * c_row(o));
    } else {
        gather(s, n_op, 1, which);
        finish(s, o, gates, product, 1, h_old, (float *)(uintptr_t)out.at, s->c);
    }
    s->tick.values[o->writes] = out;
}

/* The same of one stream without an end whose product has not been formed: in one pass over the weights. */
static void take_fused_step(lstmcore_streams *s, size_t n_op, size_t which) {
    const op *o = &s->model->ops[n_op];
    recurrent_state *st = &s->states[n_op];
    const int now = s->rings[which].now;
    const float *const h_old = st->h[now] + which * h_row(o);
    float *const h_new = st->h[!now] + which * h_row(o);
    if (o->n_reads == 1 || *s->tick.values[o->reads[1]].at != 0.0f) {
        recurrent_carry(&s->tick.scratch, o, s->tick.values[o->reads[0]].at, now, h_old, h_new,
                        st->c + which * c_row(o));
    } else {
        memcpy(h_new, h_old, h_row(o) * sizeof *h_new);
    }
    s->tick.values[o->writes] = (rows){h_new, h_row(o)};
}

static void look_at_inputs(lstmcore_streams *s, const void *const *inputs, size_t at) {
    for (size_t k = 0; k < s->model->n_inputs; k++) {
        const size_t width = s->model->values[k].width;
        s->tick.values[k] = (rows){(const float *)inputs[k] + at * width, width};
    }
}

/* One tick of each of n streams, at most CHUNK, no two the same, the first of them row `at` of the arrays. */
static void answer(lstmcore_streams *s, size_t n, const size_t *which, const void *const *inputs, float *const *outputs,
                   size_t at, purpose why) {
    tick *t = &s->tick;
    const tick_plan *p = t->plan;
    look_at_inputs(s, inputs, at);
    for (size_t k = 0; k < p->n_values; k++) { /* a catch-up has looked elsewhere for them */
        const int v = p->values[k].of;
        if (p->values[k].late && (size_t)v >= s->model->n_inputs) {
            t->values[v] = (rows){t->chunks + p->buffers[v] * CHUNK * p->row, p->row};
        }
    }
    lstmcore_tick_shared(t, n);
    for (size_t k = 0; s->window != 0 && k < p->n_values; k++) {
        const rows from = t->values[p->values[k].of];
        for (size_t m = 0; p->values[k].late && m < n; m++) {
            memcpy(s->values[k] + which[m] * p->values[k].row, from.at + m * from.row,
                   s->model->values[p->values[k].of].width * sizeof *from.at);
        }
    }
    for (size_t k = 0; k < p->n_updates; k++) {
        if (!p->carried[p->updates[k]]) {
            lstmcore_tick_apply(t, p->updates[k], n);
        } else if (why == FUSED) {
            take_fused_step(s, p->updates[k], *which);
        } else {
            take_due_step(s, p->updates[k], n, which, why);
        }
    }
    lstmcore_tick_head(t, n);
    lstmcore_tick_put(t, outputs, at, n);
}

static void put_nan(const lstmcore_streams *s, float *const *outputs, size_t at) {
    const float nan = NAN;
    for (size_t k = 0; k < s->model->n_outputs; k++) {
        const size_t width = s->model->values[s->model->outputs[k].value].width;
        lstmcore_put(outputs[k] + at * width, width, 1, (rows){&nan, 0});
    }
}

/* How many of the streams from `done` on can be answered together, after they have caught up. */
static size_t gather_streams(lstmcore_streams *s, size_t n, const size_t *which, size_t done, int *code) {
    size_t count = 0;
    s->call++;
    for (; count < CHUNK && done + count < n && s->rings[which[done + count]].call != s->call; count++) {
        ring *r = &s->rings[which[done + count]];
        if (pending(r) && !lstmcore_streams_take_step(s, which[done + count], &s->watched)) {
            *code = LSTMCORE_STOPPED;
            break;
        }
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
        ring *const first = &s->rings[*these];
        if (s->window == 0 && pending(first) && (done + 1 == n || these[1] == *these)) {
            /* The step whose product was to be formed and the next one, in one pass over the weights. */
            count = 1;
            first->now = !first->now;
            answer(s, 1, these, inputs, outputs, done, FUSED);
        } else {
            count = gather_streams(s, n, which, done, &code);
            if (count == 0) {
                break;
            }
            answer(s, count, these, inputs, outputs, done, s->window == 0 ? CARRY : PUSH);
        }
        s->watched.work += count * s->tick_work;
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

/* Last what the next answer reads first. */
static void rehearse(lstmcore_streams *s) {
    const size_t any = 0;
    answer(s, 1, &any, s->zeros, s->nowhere, 0, REHEARSE);
    look_at_inputs(s, s->zeros, 0);
    lstmcore_tick_shared(&s->tick, 1);
    for (size_t k = 0; k < s->tick.plan->n_gates; k++) {
        gates_of(s, (size_t)s->tick.plan->gates[k].of, 1, &any, REHEARSE);
    }
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
        rehearse(s);
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
