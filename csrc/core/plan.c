#include "plan.h"

#include <stdlib.h>
#include <string.h>

steps_read lstmcore_steps_needed(const op *o, steps_read read) {
    switch (o->kind) {
    case OP_RECURRENT:
        return read == FIRST ? FIRST : ALL;
    case OP_FLATTEN:
        return ALL;
    case OP_REVERSE:
        return read == FIRST ? LAST : read == LAST ? FIRST : ALL;
    default: /* OP_LAST makes a vector, of which LAST is read */
        return read;
    }
}

/* From the outputs backwards. */
static void find_reads(const lstmcore_model *model, int states, plan *p) {
    for (size_t k = 0; k < model->n_outputs; k++) {
        const int v = model->outputs[k].value;
        p->values[v].read = both(p->values[v].read, model->values[v].sequence ? ALL : LAST);
    }
    for (size_t n = model->n_ops; n-- > 0;) {
        const op *o = &model->ops[n];
        steps_read *const read = &p->values[o->writes].read;
        if (states && o->kind == OP_RECURRENT) {
            *read = *read == NOBODY ? LAST : *read == FIRST ? ALL : *read;
        }
        for (size_t k = 0; *read != NOBODY && k < o->n_reads; k++) {
            const int v = o->reads[k];
            const steps_read needed = model->values[v].sequence ? lstmcore_steps_needed(o, *read) : LAST;
            p->values[v].read = both(p->values[v].read, needed);
        }
    }
}

static int is_streamed(const lstmcore_model *model, const plan *p, int v) {
    return model->values[v].sequence && p->values[v].read == ALL;
}

static op_when when_runs(const lstmcore_model *model, const plan *p, const op *o) {
    const steps_read read = p->values[o->writes].read;
    if (read == NOBODY) {
        return NEVER;
    }
    if (o->kind == OP_RECURRENT) {
        return read == FIRST ? ONCE : BY_CHUNKS;
    }
    return o->kind == OP_FLATTEN || is_streamed(model, p, o->writes) ? BY_CHUNKS : ONCE;
}

/* Passes, and the values that must be kept whole: what is read in a later pass than that in which it is made, from its
 * end, or at its first step when the last has been made. */
static void find_passes(const lstmcore_model *model, plan *p) {
    p->n_passes = 1;
    for (size_t n = 0; n < model->n_ops; n++) {
        const op *o = &model->ops[n];
        p->when[n] = when_runs(model, p, o);
        size_t pass = 0;
        for (size_t k = 0; p->when[n] != NEVER && k < o->n_reads; k++) {
            const place *v = &p->values[o->reads[k]];
            const int computed = model->values[o->reads[k]].maker >= 0;
            const int later = computed && p->when[n] == BY_CHUNKS && o->kind == OP_REVERSE;
            pass = v->pass + (size_t)later > pass ? v->pass + (size_t)later : pass;
        }
        p->values[o->writes].pass = pass;
        p->n_passes = p->when[n] != NEVER && pass + 1 > p->n_passes ? pass + 1 : p->n_passes;
        for (size_t k = 0; p->when[n] != NEVER && k < o->n_reads; k++) {
            place *v = &p->values[o->reads[k]];
            const int first_late = p->when[n] == ONCE && lstmcore_steps_needed(o, p->values[o->writes].read) == FIRST;
            if (model->values[o->reads[k]].maker >= 0 && is_streamed(model, p, o->reads[k]) &&
                (pass > v->pass || first_late)) {
                v->place = AT_WHOLE;
            }
        }
    }
}

/* `by_chunks` and `once`: zeros for each value, and so they are left. */
static void find_order(const lstmcore_model *model, plan *p, size_t *by_chunks, size_t *once) {
    for (size_t n = 0; n < model->n_ops; n++) {
        const size_t pass = p->values[model->ops[n].writes].pass;
        by_chunks[pass] += p->when[n] == BY_CHUNKS;
        once[pass] += p->when[n] == ONCE;
    }
    for (size_t pass = 0, at = 0; pass < p->n_passes; pass++) { /* how many become where the next one goes */
        p->first[pass] = at;
        p->once[pass] = at + by_chunks[pass];
        p->first[pass + 1] = at = p->once[pass] + once[pass];
        by_chunks[pass] = p->first[pass];
        once[pass] = p->once[pass];
    }
    for (size_t n = 0; n < model->n_ops; n++) {
        const size_t pass = p->values[model->ops[n].writes].pass;
        if (p->when[n] != NEVER) {
            p->order[(p->when[n] == BY_CHUNKS ? by_chunks : once)[pass]++] = n;
        }
    }
    memset(by_chunks, 0, p->n_passes * sizeof *by_chunks);
    memset(once, 0, p->n_passes * sizeof *once);
}

/* The place in `order` of the last op that reads each value; of an output the end of its pass's chunks, of one that is
 * a single row the end of all. */
static void find_last_uses(const lstmcore_model *model, const plan *p, size_t *last_use) {
    for (size_t at = 0; at < p->first[p->n_passes]; at++) {
        const op *o = &model->ops[p->order[at]];
        for (size_t k = 0; k < o->n_reads; k++) {
            last_use[o->reads[k]] = at;
        }
    }
    for (size_t k = 0; k < model->n_outputs; k++) {
        const int v = model->outputs[k].value;
        const size_t end = is_streamed(model, p, v) ? p->once[p->values[v].pass] : p->first[p->n_passes];
        last_use[v] = last_use[v] > end ? last_use[v] : end;
    }
}

/* Where each op writes. `until` says, of each buffer of chunks, up to which place in `order` it is wanted. */
static void find_places(const lstmcore_model *model, plan *p, const size_t *last_use, size_t *until) {
    for (size_t v = 0; v < model->n_values; v++) {
        p->sources[v] = (int)v;
        const value *of = &model->values[v];
        p->values[v].row = of->maker < 0 ? of->width : round_up(of->width, ROW);
        p->values[v].place = of->maker < 0 ? AT_INPUT : p->values[v].place;
    }
    for (size_t at = 0; at < p->first[p->n_passes]; at++) {
        const op *o = &model->ops[p->order[at]];
        place *to = &p->values[o->writes];
        const place *from = &p->values[o->reads[0]];
        const int streamed = is_streamed(model, p, o->writes), dead = last_use[o->reads[0]] == at;
        if (to->place == AT_WHOLE) {
            to->at = p->wholes++;
        } else if (streamed) {
            to->place = AT_CHUNK;
            if (!(dead && from->place == AT_CHUNK && works_in_place(o->kind))) {
                size_t free = 0;
                while (free < p->chunks && until[free] >= at + 1) {
                    free++;
                }
                to->at = free;
                p->chunks = free == p->chunks ? p->chunks + 1 : p->chunks;
            } else {
                to->at = from->at;
            }
            until[to->at] = (last_use[o->writes] > at ? last_use[o->writes] : at) + 1;
            p->row = to->row > p->row ? to->row : p->row;
        } else {
            const int moves = works_in_place(o->kind) || o->kind == OP_LAST || o->kind == OP_REVERSE;
            to->place = AT_ONE;
            if (dead && from->place == AT_ONE && moves) {
                to->at = from->at;
            } else {
                to->at = p->ones;
                p->ones += to->row;
            }
        }
    }
    for (size_t v = 0; v < model->n_values; v++) { /* one row for all, so that any value may use any buffer */
        p->values[v].row = p->values[v].place == AT_CHUNK ? p->row : p->values[v].row;
    }
}

void lstmcore_plan_free(plan *p) {
    if (p != NULL) {
        free(p->values);
        free(p->when);
        free(p->sources);
        free(p->order);
        free(p->first);
        free(p->once);
        free(p);
    }
}

plan *lstmcore_plan_new(const lstmcore_model *model, int states) {
    plan *p = calloc(1, sizeof *p);
    size_t *const last_use = calloc(model->n_values, sizeof *last_use);
    size_t *const until = calloc(model->n_values, sizeof *until);
    if (p != NULL) {
        p->values = calloc(model->n_values, sizeof *p->values);
        p->when = calloc(model->n_ops, sizeof *p->when);
        p->sources = calloc(model->n_values, sizeof *p->sources);
        p->order = calloc(model->n_ops, sizeof *p->order);
        p->first = calloc(model->n_ops + 1, sizeof *p->first);
        p->once = calloc(model->n_ops, sizeof *p->once);
    }
    if (p == NULL || last_use == NULL || until == NULL || p->values == NULL || p->when == NULL || p->sources == NULL ||
        p->order == NULL || p->first == NULL || p->once == NULL) {
        lstmcore_plan_free(p);
        p = NULL;
    } else {
        find_reads(model, states, p);
        find_passes(model, p);
        find_order(model, p, last_use, until);
        find_last_uses(model, p, last_use);
        find_places(model, p, last_use, until);
    }
    free(last_use);
    free(until);
    return p;
}
