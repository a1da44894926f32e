/* What is left to do after an answer: the other windows' step, and the products that the next answer reads. */
#include "streams.h"

/* For each op that has a state in every window: n_op, its number. */
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

/* `slots` of the ring's windows from `slot` on begin anew. */
static void begin(lstmcore_streams *s, size_t which, size_t slot, size_t slots) {
    FOR_CARRIED(s, n) {
        lstmcore_states_begin(&s->model->ops[n], &s->states[n], s->rings[which].now, which * s->slots + slot, slots);
    }
}

int lstmcore_streams_take_step(lstmcore_streams *s, size_t which, watch *watched) {
    ring *r = &s->rings[which];
    if (s->window != 0) {
        lstmcore_look_at_kept(&s->tick, &s->kept, which, 0);
    }
    while (r->stepped < s->window) {
        if (watch_stops(watched)) {
            return 0;
        }
        const size_t n = s->slots - r->stepped < CHUNK ? s->slots - r->stepped : CHUNK;
        lstmcore_lockstep(&s->tick, s->states, which * s->slots + r->stepped, n, r->now, 0);
        r->stepped += n;
        watched->work += n * s->tick.plan->step_work;
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
        if (is_pending(&s->rings[which]) && !lstmcore_streams_take_step(s, which, watched)) {
            return 0;
        }
    }
    return 1;
}

void lstmcore_streams_begin(lstmcore_streams *s, size_t which) {
    ring_begin(&s->rings[which], 0);
    begin(s, which, 0, s->slots);
    lstmcore_streams_form_products(s, which);
}
