/* The calls that answer windows, in one form. A new one is tried by poison and quiet once it is in `calls`. */
#ifndef CALLS_H
#define CALLS_H

#include <string.h>

#include "core/model.h"

/* No more than this many at once. */
enum { MAX_WINDOWS = 3 };

/* Windows of a model that has a session, as lstmcore_run_many takes them. */
typedef struct {
    lstmcore_model *model;
    lstmcore_session *session;
    const float *x; /* (n, steps, input_size) */
    size_t n, steps;
    const float *h0, *c0;      /* n times the states of all layers, or NULL */
    lstmcore_sliding *sliding; /* n streams, windows of `steps`; NULL: not tried */
    lstmcore_sliding *carried; /* n streams that carry their states; NULL: not tried */
    float *tick;               /* (n, input_size): room for a tick of each window */
} windows;

static size_t x_size(const windows *w) {
    return w->n * w->steps * w->model->input_size;
}

static size_t h_size(const windows *w) {
    return w->n * w->model->h_states;
}

static size_t c_size(const windows *w) {
    return w->n * w->model->c_states;
}

static size_t y_size(const windows *w) {
    return w->n * w->model->width * (w->model->sequence ? w->steps : 1);
}

static int run_many(const windows *w, float *y) {
    return lstmcore_run_many(w->session, w->x, w->n, w->steps, w->h0, w->c0, y);
}

static int run_one(const windows *w, float *y) {
    return lstmcore_run(w->session, w->x, w->steps, w->h0, w->c0, y);
}

static int run_bound(const windows *w, float *y) {
    const int code = lstmcore_bind(w->session, w->x, w->steps, y);
    return code == LSTMCORE_OK ? lstmcore_run_bound(w->session) : code;
}

/* Each window's last tick, then all of it, pushed to a stream of its own. */
static int push(const windows *w, float *y) {
    const size_t features = w->model->input_size;
    size_t streams[MAX_WINDOWS];
    int code = LSTMCORE_OK;
    for (size_t m = 0; m < w->n && code == LSTMCORE_OK; m++) {
        streams[m] = m;
        code = lstmcore_sliding_reset(w->sliding, m);
    }
    for (size_t t = 0; t <= w->steps && code == LSTMCORE_OK; t++) {
        for (size_t m = 0; m < w->n; m++) {
            const float *x = w->x + (m * w->steps + (t == 0 ? w->steps : t) - 1) * features;
            memcpy(w->tick + m * features, x, features * sizeof *x);
        }
        code = lstmcore_sliding_push(w->sliding, w->n, streams, w->tick, y);
    }
    return code;
}

static int push_bound(const windows *w, float *y) {
    int code = lstmcore_sliding_reset(w->sliding, 0);
    for (size_t t = 0; t < w->steps && code == LSTMCORE_OK; t++) {
        code = lstmcore_sliding_bind(w->sliding, w->x + t * w->model->input_size, y);
        code = code == LSTMCORE_OK ? lstmcore_sliding_push_bound(w->sliding) : code;
        code = code == LSTMCORE_OK ? lstmcore_sliding_catch_up(w->sliding) : code;
    }
    return code;
}

static int push_carried(const windows *w, float *y) {
    const size_t only = 0, y_row = w->model->sequence ? w->model->width : 0;
    int code = lstmcore_sliding_reset(w->carried, only);
    for (size_t t = 0; t < w->steps && code == LSTMCORE_OK; t++) {
        const float *x = w->x + t * w->model->input_size;
        code = lstmcore_sliding_push(w->carried, 1, &only, x, y + t * y_row);
    }
    return code;
}

static int from_zeros(const windows *w) {
    return w->h0 == NULL && w->c0 == NULL;
}

static int slides(const windows *w) {
    return w->sliding != NULL && from_zeros(w);
}

static int carries(const windows *w) {
    return w->carried != NULL && from_zeros(w);
}

typedef struct {
    const char *name;
    int (*answer)(const windows *w, float *y);
    int many;                        /* takes more than one window */
    int (*fits)(const windows *all); /* whether it can answer these windows; NULL: any */
} call;

/* The first answers any windows. */
static const call calls[] = {
    {"lstmcore_run_many", run_many, 1, NULL},
    {"lstmcore_run", run_one, 0, NULL},
    {"lstmcore_run_bound", run_bound, 0, from_zeros},
    {"lstmcore_sliding_push", push, 1, slides},
    {"lstmcore_sliding_push_bound", push_bound, 0, slides},
    {"lstmcore_sliding_push of carried states", push_carried, 0, carries},
};
#define CALLS (sizeof calls / sizeof *calls)

static size_t tried[CALLS]; /* how often each of them was */

/* try_call for each call that can answer these windows, all at once or one by one; y are the answers to all of them. */
static void each_call(const windows *all, const float *y,
                      void (*try_call)(const call *c, const windows *w, const float *answers)) {
    for (const call *c = calls; c < calls + CALLS; c++) {
        if (c->fits != NULL && !c->fits(all)) {
            continue;
        }
        windows w = *all;
        w.n = c->many ? all->n : 1;
        const float *answers = y;
        for (size_t done = 0; done < all->n; done += w.n) {
            try_call(c, &w, answers);
            tried[c - calls]++;
            w.x += x_size(&w);
            w.h0 = w.h0 == NULL ? NULL : w.h0 + h_size(&w);
            w.c0 = w.c0 == NULL ? NULL : w.c0 + c_size(&w);
            answers += y_size(&w);
        }
    }
}

#endif
