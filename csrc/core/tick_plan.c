#include "tick_plan.h"

#include <stdlib.h>

/* Whether the newest tick is at the end of a sequence, or, of a reversed one, at its beginning; or neither. */
typedef enum { AT_END, AT_BEGINNING, NOWHERE } newest;

static newest newest_of(const lstmcore_model *model, const newest *found, const op *o) {
    newest n = AT_END;
    int any = 0;
    for (size_t k = 0; k < o->n_reads; k++) {
        if (model->values[o->reads[k]].sequence) {
            n = !any || n == found[o->reads[k]] ? found[o->reads[k]] : NOWHERE;
            any = 1;
        }
    }
    return o->kind != OP_REVERSE || n == NOWHERE ? n : n == AT_END ? AT_BEGINNING : AT_END;
}

/* The step that the newest tick decides is all that is read, or what is read goes on from step to step. */
static int follows(const lstmcore_model *model, int v, newest n) {
    const steps_read read = model->plan[0]->values[v].read;
    return !model->values[v].sequence || (n == AT_END && (read == LAST || read == ALL)) ||
           (n == AT_BEGINNING && read == FIRST);
}

static void find_scopes(const lstmcore_model *model, tick_plan *p, newest *found) {
    for (size_t v = 0; v < model->n_inputs; v++) {
        const int unread = model->plan[0]->values[v].read == NOBODY;
        p->scopes[v] = unread || follows(model, (int)v, AT_END) ? SHARED : WHOLE_WINDOW;
    }
    for (size_t n = 0; n < model->n_ops; n++) {
        const op *o = &model->ops[n];
        if (model->plan[0]->when[n] == NEVER) {
            continue;
        }
        scope s = SHARED;
        for (size_t k = 0; k < o->n_reads; k++) {
            s = p->scopes[o->reads[k]] > s ? p->scopes[o->reads[k]] : s;
        }
        found[o->writes] = o->kind == OP_LAST || o->kind == OP_FLATTEN ? AT_END : newest_of(model, found, o);
        if (o->kind == OP_FLATTEN || !follows(model, o->writes, found[o->writes])) {
            s = WHOLE_WINDOW;
        } else if (o->kind == OP_RECURRENT && found[o->writes] == AT_END) {
            p->carried[n] = 1;
            s = s > PER_WINDOW ? s : PER_WINDOW;
        }
        if (s == WHOLE_WINDOW && p->stopper < 0) {
            p->stopper = (int)n;
        }
        p->scopes[o->writes] = s;
    }
    p->carries = p->slides = p->stopper < 0;
    p->all_carried = 1;
    for (size_t n = 0; n < model->n_ops; n++) {
        p->all_carried = p->all_carried && (p->carried[n] || model->ops[n].kind != OP_RECURRENT);
    }
    for (size_t k = 0; k < model->n_outputs; k++) {
        p->slides = p->slides && !model->values[model->outputs[k].value].sequence;
    }
}

/* Ops that of a tick put out the row that they read. */
static int moves_nothing(op_kind kind) {
    return kind == OP_LAST || kind == OP_REVERSE;
}

static void find_sources(const lstmcore_model *model, tick_plan *p) {
    for (size_t v = 0; v < model->n_values; v++) {
        const op *o = model->values[v].maker < 0 ? NULL : &model->ops[model->values[v].maker];
        p->sources[v] = o != NULL && moves_nothing(o->kind) ? p->sources[o->reads[0]] : (int)v;
    }
}

/* Which ops must run for the states to go on: those with a state, and those they read. */
static void find_updates(const lstmcore_model *model, tick_plan *p, unsigned char *wanted) {
    for (size_t n = model->n_ops; n-- > 0;) {
        const op *o = &model->ops[n];
        wanted[o->writes] = wanted[o->writes] || p->carried[n];
        for (size_t k = 0; wanted[o->writes] && k < o->n_reads; k++) {
            wanted[o->reads[k]] = 1;
        }
    }
    for (int last = 0; last < 2; last++) { /* what is read at every step never reads what is read at the last alone */
        for (size_t n = 0; n < model->n_ops; n++) {
            const int v = model->ops[n].writes;
            if (model->plan[0]->when[n] == NEVER || moves_nothing(model->ops[n].kind) ||
                (model->plan[0]->values[v].read != ALL) != last) {
                continue;
            }
            if (!wanted[v]) {
                p->head[p->n_head++] = n;
            } else if (p->scopes[v] == SHARED) {
                p->shared[p->n_shared++] = n;
            } else {
                p->updates[p->n_updates++] = n;
            }
        }
        p->n_each = last ? p->n_each : p->n_head;
    }
}

static void keep_value(const lstmcore_model *model, tick_plan *p, int of) {
    const int v = p->sources[of];
    for (size_t k = 0; k < p->n_values; k++) {
        if (p->values[k].of == v) {
            return;
        }
    }
    p->values[p->n_values++] = (kept){v, round_up(model->values[v].width, ROW)};
}

/* What is shared, made or come in before the windows take their step, and read by them or by an answer, or is one. An
 * input that only an answer reads is not kept: the caller's array is still there. */
static void find_kept(const lstmcore_model *model, tick_plan *p, const unsigned char *wanted) {
    for (size_t n = 0; n < model->n_ops; n++) {
        const op *o = &model->ops[n];
        p->gates_of[n] = -1;
        if (model->plan[0]->when[n] == NEVER || (wanted[o->writes] && p->scopes[o->writes] == SHARED)) {
            continue;
        }
        for (size_t k = 0; k < o->n_reads; k++) {
            const int v = o->reads[k];
            if (p->scopes[v] != SHARED) {
                continue;
            }
            if (k == 0 && p->carried[n]) {
                p->gates_of[n] = (int)p->n_gates;
                p->gates[p->n_gates++] = (kept){(int)n, o->gates_row};
            } else if (wanted[v]) {
                keep_value(model, p, v);
            }
        }
    }
    for (size_t k = 0; k < model->n_outputs; k++) {
        const int v = model->outputs[k].value;
        if (wanted[v] && p->scopes[v] == SHARED) {
            keep_value(model, p, v);
        }
    }
}

static int is_kept(const lstmcore_model *model, const tick_plan *p, int v) {
    for (size_t k = 0; k < p->n_values; k++) {
        if (p->values[k].of == v) {
            return 1;
        }
    }
    return model->values[v].maker < 0;
}

static const op *op_at(const lstmcore_model *model, const tick_plan *p, size_t at) {
    const size_t n = at < p->n_shared                  ? p->shared[at]
                     : at < p->n_shared + p->n_updates ? p->updates[at - p->n_shared]
                                                       : p->head[at - p->n_shared - p->n_updates];
    return &model->ops[n];
}

/* A buffer for each value, where no other is wanted at the same time. `until` says up to which op one is. */
static void find_buffers(const lstmcore_model *model, tick_plan *p, size_t *last_use, size_t *until) {
    const size_t n_ops = p->n_shared + p->n_updates + p->n_head;
    for (size_t at = 0; at < n_ops; at++) {
        const op *o = op_at(model, p, at);
        for (size_t k = 0; k < o->n_reads; k++) {
            last_use[p->sources[o->reads[k]]] = at;
        }
    }
    for (size_t k = 0; k < model->n_outputs; k++) {
        last_use[p->sources[model->outputs[k].value]] = n_ops;
    }
    for (size_t at = 0; at < n_ops; at++) {
        const op *o = op_at(model, p, at);
        const int from = p->sources[o->reads[0]];
        size_t buffer = 0;
        if (works_in_place(o->kind) && last_use[from] == at && !is_kept(model, p, from)) {
            buffer = p->buffers[from];
        } else {
            while (buffer < p->chunks && until[buffer] >= at + 1) {
                buffer++;
            }
            p->chunks = buffer == p->chunks ? p->chunks + 1 : p->chunks;
        }
        p->buffers[o->writes] = buffer;
        until[buffer] = (last_use[o->writes] > at ? last_use[o->writes] : at) + 1;
        p->row = round_up(o->out, ROW) > p->row ? round_up(o->out, ROW) : p->row;
        p->row = c_row(o) > p->row ? c_row(o) : p->row; /* c of the due windows has such rows too */
    }
}

static size_t work_of(const lstmcore_model *model, const size_t *ops, size_t n) {
    size_t work = 0;
    for (size_t k = 0; k < n; k++) {
        work += model->ops[ops[k]].work;
    }
    return work;
}

void lstmcore_tick_plan_free(tick_plan *p) {
    if (p != NULL) {
        free(p->scopes);
        free(p->shared);
        free(p->updates);
        free(p->head);
        free(p->carried);
        free(p->values);
        free(p->gates);
        free(p->gates_of);
        free(p->sources);
        free(p->buffers);
        free(p);
    }
}

tick_plan *lstmcore_tick_plan_new(const lstmcore_model *model) {
    const size_t values = model->n_values, ops = model->n_ops;
    tick_plan *p = model->plan[0] == NULL ? NULL : calloc(1, sizeof *p);
    if (p == NULL) {
        return NULL;
    }
    newest *const found = calloc(values, sizeof *found);
    unsigned char *const wanted = calloc(values, sizeof *wanted);
    size_t *const last_use = calloc(values, sizeof *last_use), *const until = calloc(values, sizeof *until);
    p->scopes = calloc(values, sizeof *p->scopes);
    p->shared = calloc(ops, sizeof *p->shared);
    p->updates = calloc(ops, sizeof *p->updates);
    p->head = calloc(ops, sizeof *p->head);
    p->carried = calloc(ops, sizeof *p->carried);
    p->values = calloc(values, sizeof *p->values);
    p->gates = calloc(ops, sizeof *p->gates);
    p->gates_of = calloc(ops, sizeof *p->gates_of);
    p->sources = calloc(values, sizeof *p->sources);
    p->buffers = calloc(values, sizeof *p->buffers);
    p->stopper = -1;
    if (found == NULL || wanted == NULL || last_use == NULL || until == NULL || p->scopes == NULL ||
        p->shared == NULL || p->updates == NULL || p->head == NULL || p->carried == NULL || p->values == NULL ||
        p->gates == NULL || p->gates_of == NULL || p->sources == NULL || p->buffers == NULL) {
        lstmcore_tick_plan_free(p);
        p = NULL;
    } else {
        find_scopes(model, p, found);
        find_sources(model, p);
        find_updates(model, p, wanted);
        find_kept(model, p, wanted);
        find_buffers(model, p, last_use, until);
        p->step_work = work_of(model, p->updates, p->n_updates);
        p->tick_work = p->step_work + work_of(model, p->shared, p->n_shared) + work_of(model, p->head, p->n_head);
    }
    free(found);
    free(wanted);
    free(last_use);
    free(until);
    return p;
}
