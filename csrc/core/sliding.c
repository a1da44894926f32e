/* The exact sliding window: T windows in flight, one for each tick at which a window that is still wanted began.
 *
 * A push answers the oldest of them, whose recurrent products have been formed before the tick came: one step for each
 * recurrent layer, then the head. To catch up is to let all of them take that step too, in lockstep, to begin a new one
 * in the answered one's place, and to form the products of the one that is now the oldest. Every sum is formed as it is
 * in a whole window, so the answers have the same bits.
 *
 * A stream without an end is one window in flight that is never answered for the last time.
 */
#include "sliding.h"

#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "recurrent.h"

/* Beyond any use, and small enough that no size overflows. */
#define MAX_WINDOWS ((size_t)1 << 20)

int lstmcore_sliding_enter(lstmcore_sliding *s) {
    if (atomic_exchange_explicit(&s->busy, 1, memory_order_acquire)) {
        return LSTMCORE_BUSY;
    }
    s->scratch->watched.callers = fp_mode_enter();
    if (!lstmcore_sliding_settle(s)) {
        lstmcore_sliding_leave(s);
        return LSTMCORE_STOPPED;
    }
    return LSTMCORE_OK;
}

void lstmcore_sliding_leave(lstmcore_sliding *s) {
    fp_mode_leave(s->scratch->watched.callers);
    atomic_store_explicit(&s->busy, 0, memory_order_release);
}

int lstmcore_sliding_watch(lstmcore_sliding *s, int (*stop)(void *), void *context) {
    return s == NULL ? LSTMCORE_BAD_ARGUMENT : lstmcore_session_watch(s->scratch, stop, context);
}

int lstmcore_model_slides(const lstmcore_model *model) {
    span ops;
    return model != NULL && lstmcore_find_span(model, &ops);
}

void lstmcore_sliding_form_products(lstmcore_sliding *s, size_t which) {
    const ring *r = &s->rings[which];
    for (size_t n = s->ops.first; n <= s->ops.last; n++) {
        const op *o = &s->model->ops[n];
        if (o->kind == OP_RECURRENT) {
            recurrent_product(s->model->kernel, o, s->states[n].h[r->now] + (which * s->slots + r->head) * h_row(o),
                              r->now, s->products[n] + which * o->gates_row);
        }
    }
}

/* Read also by who is not alone with the stream: lstmcore_sliding_behind. */
static int pending(const ring *r) {
    return atomic_load_explicit(&r->pending, memory_order_relaxed);
}

static void set_pending(ring *r, int is) {
    atomic_store_explicit(&r->pending, is, memory_order_relaxed);
}

/* `slots` of the ring's windows from `slot` on begin anew. */
static void zero(lstmcore_sliding *s, size_t which, size_t slot, size_t slots) {
    for (size_t n = s->ops.first; n <= s->ops.last; n++) {
        const op *o = &s->model->ops[n];
        if (o->kind == OP_RECURRENT) {
            lstmcore_states_zero(o, &s->states[n], s->rings[which].now, which * s->slots + slot, slots);
        }
    }
}

int lstmcore_sliding_take_step(lstmcore_sliding *s, size_t which, watch *watched) {
    ring *r = &s->rings[which];
    const size_t gates_row = s->model->ops[s->ops.first].gates_row;
    while (r->stepped < s->window) {
        if (watch_stops(watched)) {
            return 0;
        }
        const size_t rows = s->slots - r->stepped < CHUNK ? s->slots - r->stepped : CHUNK;
        lstmcore_lockstep(s->scratch, &s->ops, s->states, which * s->slots + r->stepped, rows, r->now,
                          s->gates + which * gates_row, 0);
        r->stepped += rows;
        watched->work += rows * s->step_work;
    }
    r->stepped = 0;
    r->now = !r->now;
    if (s->window != 0) {
        zero(s, which, r->head, 1);
        r->head = (r->head + 1) % s->slots;
    }
    lstmcore_sliding_form_products(s, which);
    set_pending(r, 0);
    return 1;
}

int lstmcore_sliding_take_steps(lstmcore_sliding *s, watch *watched) {
    for (size_t which = 0; which < s->streams; which++) {
        if (pending(&s->rings[which]) && !lstmcore_sliding_take_step(s, which, watched)) {
            return 0;
        }
    }
    return 1;
}

void lstmcore_sliding_begin(lstmcore_sliding *s, size_t which) {
    s->rings[which] = (ring){0};
    zero(s, which, 0, s->slots);
    lstmcore_sliding_form_products(s, which);
}

void lstmcore_sliding_free(lstmcore_sliding *s) {
    if (s == NULL) {
        return;
    }
    lstmcore_sliding_stop_helper(s);
    for (size_t n = 0; s->products != NULL && n < s->model->n_ops; n++) {
        free(s->products[n]);
    }
    free(s->products);
    lstmcore_states_free(s->model, s->states);
    lstmcore_session_free(s->scratch); /* and with it, perhaps, the model */
    free(s->gates);
    free(s->h);
    free(s->c);
    free(s->gathered);
    free(s->rehearsal);
    free(s->rings);
    free(s);
}

/* Every array of a sliding whose sizes are set; 0 at the first for which there is no memory. */
static int allocate(lstmcore_model *model, lstmcore_sliding *s) {
    const op *ops = model->ops;
    if (lstmcore_session_new(model, &s->scratch) != LSTMCORE_OK ||
        (s->rings = calloc(s->streams, sizeof *s->rings)) == NULL ||
        (s->states = lstmcore_states_new(model, s->streams * s->slots)) == NULL ||
        (s->gates = lstmcore_floats_new(s->streams * ops[s->ops.first].gates_row)) == NULL ||
        (s->h = lstmcore_floats_new(CHUNK * s->scratch->row)) == NULL ||
        (s->c = lstmcore_floats_new(CHUNK * s->scratch->row)) == NULL ||
        (s->gathered = lstmcore_floats_new(CHUNK * s->scratch->gates_row)) == NULL ||
        (s->rehearsal = lstmcore_floats_new(model->input_size + model->width)) == NULL ||
        (s->products = calloc(model->n_ops, sizeof *s->products)) == NULL) {
        return 0;
    }
    free(s->scratch->pages); /* for several steps of one window only, which no stream takes */
    s->scratch->pages = NULL;
    for (size_t n = 0; n < model->n_ops; n++) {
        if (ops[n].kind == OP_RECURRENT &&
            (s->products[n] = lstmcore_floats_new(s->streams * ops[n].gates_row)) == NULL) {
            return 0;
        }
    }
    return 1;
}

int lstmcore_sliding_new(lstmcore_model *model, size_t window, size_t streams, lstmcore_sliding **sliding) {
    span ops;
    if (model == NULL || sliding == NULL || window > MAX_WINDOWS || streams < 1 || streams > MAX_WINDOWS) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    const int slides = lstmcore_find_span(model, &ops);
    if (window == 0 ? !ops.any || model->steps != 0 : !slides) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    lstmcore_sliding *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return LSTMCORE_NO_MEMORY;
    }
    s->model = model;
    s->window = window;
    s->slots = window == 0 ? 1 : window;
    s->streams = streams;
    s->ops = ops;
    s->step_work = lstmcore_work(model, ops.first, ops.last);
    s->tick_work = lstmcore_work(model, 0, model->n_ops - 1);
    if (!allocate(model, s)) {
        lstmcore_sliding_free(s);
        return LSTMCORE_NO_MEMORY;
    }
    const fp_mode callers = fp_mode_enter();
    lstmcore_sliding_form_products(s, 0);
    fp_mode_leave(callers);
    for (size_t n = ops.first; n <= ops.last; n++) { /* all streams begin alike */
        const size_t row = s->products[n] == NULL ? 0 : model->ops[n].gates_row;
        for (size_t which = 1; row != 0 && which < streams; which++) {
            memcpy(s->products[n] + which * row, s->products[n], row * sizeof(float));
        }
    }
    *sliding = s;
    return LSTMCORE_OK;
}

/* The products, h and c of n streams' oldest windows, as rows. c as it was is still wanted there: when the stream
 * catches up all of its windows take this step. */
static void gather(lstmcore_sliding *s, size_t o, size_t n, const size_t *streams) {
    const op *layer = &s->model->ops[o];
    const recurrent_state *st = &s->states[o];
    for (size_t m = 0; m < n; m++) {
        const ring *r = &s->rings[streams[m]];
        const size_t slot = streams[m] * s->slots + r->head;
        memcpy(s->c + m * s->scratch->row, st->c + slot * c_row(layer), c_row(layer) * sizeof(float));
        if (n > 1) {
            memcpy(s->h + m * s->scratch->row, st->h[r->now] + slot * h_row(layer), h_row(layer) * sizeof(float));
            memcpy(s->gathered + m * s->scratch->gates_row, s->products[o] + streams[m] * layer->gates_row,
                   layer->gates_row * sizeof(float));
        }
    }
}

/* The new h and c of n streams without an end, from rows. */
static void scatter(lstmcore_sliding *s, size_t o, size_t n, const size_t *streams, const float *h) {
    const size_t of_h = h_row(&s->model->ops[o]), of_c = c_row(&s->model->ops[o]);
    for (size_t m = 0; m < n; m++) {
        const int next = !s->rings[streams[m]].now;
        memcpy(s->states[o].h[next] + streams[m] * of_h, h + m * s->scratch->row, of_h * sizeof(float));
        memcpy(s->states[o].c + streams[m] * of_c, s->c + m * s->scratch->row, of_c * sizeof(float));
    }
}

/* What an answer is for. CARRY: the states of a stream without an end take the step. REHEARSE: nobody wants it, but the
 * next one shall find what it reads in the nearest cache. */
typedef enum { PUSH, CARRY, REHEARSE } purpose;

/* One tick of each of n streams, at most CHUNK, no two the same. */
static void answer(lstmcore_sliding *s, size_t n, const size_t *streams, const float *x, float *y, purpose why) {
    lstmcore_session *scratch = s->scratch;
    const size_t first_row = s->model->ops[s->ops.first].gates_row;
    /* What stands in rows of one stream's own is gathered; of a single stream it is taken where it stands. */
    const float *gates = n == 1 ? s->gates + streams[0] * first_row : scratch->gates;
    lstmcore_tick_gates(scratch, &s->ops, x, n, (float *)(uintptr_t)gates, n == 1 ? first_row : scratch->gates_row);
    for (size_t m = 0; n > 1 && m < n; m++) {
        memcpy(s->gates + streams[m] * first_row, gates + m * scratch->gates_row, first_row * sizeof *x);
    }
    stream in = {0};
    for (size_t o = s->ops.first; o <= s->ops.last; o++) {
        const op *layer = &s->model->ops[o];
        if (layer->kind != OP_RECURRENT) {
            lstmcore_apply(scratch, o, &in, 0);
            continue;
        }
        if (o != s->ops.first) {
            gates = scratch->gates;
            if (n == 1) { /* of more weights than the cache holds, it holds those that were used last */
                recurrent_gates_of_one(s->model->kernel, layer, &in, why == REHEARSE, scratch->gates);
            } else {
                recurrent_gates(s->model->kernel, layer, &in, n, scratch->gates, scratch->gates_row);
            }
        }
        const recurrent_state *st = &s->states[o];
        const ring *r = &s->rings[streams[0]];
        const float *products = n == 1 ? s->products[o] + streams[0] * layer->gates_row : s->gathered;
        const float *h = n == 1 ? st->h[r->now] + (streams[0] * s->slots + r->head) * h_row(layer) : s->h;
        float *out = other_rows(scratch, &in), *c = s->c;
        if (why == CARRY && n == 1) { /* the only step there is goes where it belongs */
            out = st->h[!r->now] + streams[0] * h_row(layer);
            c = st->c + streams[0] * c_row(layer);
        } else {
            gather(s, o, n, streams);
        }
        recurrent_finish(scratch, layer, gates, products, n, h, out, c);
        if (why == CARRY && n > 1) {
            scatter(s, o, n, streams, out);
        }
        in = (stream){out, scratch->row, n, layer->out, c == s->c};
    }
    lstmcore_answer(scratch, s->ops.last + 1, &in, y);
}

int lstmcore_sliding_push(lstmcore_sliding *s, size_t n, const size_t *streams, const float *x, float *y) {
    if (s == NULL || x == NULL || y == NULL || streams == NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    for (size_t m = 0; m < n; m++) {
        if (streams[m] >= s->streams) {
            return LSTMCORE_BAD_ARGUMENT;
        }
    }
    const size_t width = s->model->width, features = s->model->input_size;
    int code = lstmcore_sliding_enter(s);
    if (code != LSTMCORE_OK) {
        return code;
    }
    for (size_t done = 0; code == LSTMCORE_OK && done < n;) {
        if (done != 0 && watch_stops(&s->scratch->watched)) {
            code = LSTMCORE_STOPPED;
            break;
        }
        const size_t *these = streams + done;
        size_t count = 0;
        s->call++;
        for (; count < CHUNK && done + count < n && s->rings[these[count]].call != s->call; count++) {
            ring *r = &s->rings[these[count]];
            if (pending(r) && !lstmcore_sliding_take_step(s, these[count], &s->scratch->watched)) {
                code = LSTMCORE_STOPPED;
                break;
            }
            r->call = s->call;
        }
        if (count == 0) {
            break;
        }
        answer(s, count, these, x + done * features, y + done * width, s->window == 0 ? CARRY : PUSH);
        s->scratch->watched.work += count * s->tick_work;
        for (size_t m = 0; m < count; m++) {
            ring *r = &s->rings[these[m]];
            set_pending(r, 1);
            r->ticks++;
            if (r->ticks < s->window) {
                const float nan = NAN;
                lstmcore_put(y + (done + m) * width, &(stream){&nan, 0, width, 1, 0});
            }
        }
        done += count;
    }
    lstmcore_sliding_wake(s);
    lstmcore_sliding_leave(s);
    return code;
}

int lstmcore_sliding_bind(lstmcore_sliding *s, const float *x, float *y) {
    if (s == NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    s->bound_x = x;
    s->bound_y = y;
    return LSTMCORE_OK;
}

int lstmcore_sliding_push_bound(lstmcore_sliding *s) {
    const size_t only = 0;
    return s == NULL ? LSTMCORE_BAD_ARGUMENT : lstmcore_sliding_push(s, 1, &only, s->bound_x, s->bound_y);
}

/* Last what the next answer reads first. */
static void rehearsal(lstmcore_sliding *s) {
    const size_t any = 0;
    const float *const tick = s->rehearsal;
    answer(s, 1, &any, tick, s->rehearsal + s->model->input_size, REHEARSE);
    lstmcore_tick_gates(s->scratch, &s->ops, tick, 1, s->gates, s->model->ops[s->ops.first].gates_row);
}

static int catch_up(lstmcore_sliding *s, int rehearse) {
    if (s == NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    int code = lstmcore_sliding_enter(s);
    if (code != LSTMCORE_OK) {
        return code;
    }
    if (!lstmcore_sliding_take_steps(s, &s->scratch->watched)) {
        code = LSTMCORE_STOPPED;
        lstmcore_sliding_wake(s); /* the helper, from whom entering took the steps */
    } else if (rehearse) {
        rehearsal(s);
    }
    lstmcore_sliding_leave(s);
    return code;
}

int lstmcore_sliding_catch_up(lstmcore_sliding *s) {
    return catch_up(s, 1);
}

int lstmcore_sliding_hurry(lstmcore_sliding *s) {
    return catch_up(s, 0);
}
