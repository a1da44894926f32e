/* Whether a long call shall end before its time: the caller's function is asked after so much work. */
#ifndef LSTMCORE_WATCH_H
#define LSTMCORE_WATCH_H

#include <stddef.h>

#include "kernels/fp_mode.h"

/* Multiply-adds between two questions: some 10 to 30 ms with vectors, ten times that without. */
#define WATCH_WORK ((size_t)1 << 27)

/* What a function of an element counts as. */
#define WATCH_ELEMENT 32

typedef struct {
    int (*stop)(void *context); /* NULL: nobody asks */
    void *context;
    size_t work; /* multiply-adds since the last question */
    fp_mode callers;
} watch;

static inline void watch_by(watch *w, int (*stop)(void *), void *context) {
    w->stop = stop;
    w->context = context;
}

/* Ask, in the caller's floating-point mode. */
static inline int watch_ask(watch *w) {
    w->work = 0;
    if (w->stop == NULL) {
        return 0;
    }
    fp_mode_leave(w->callers);
    const int stop = w->stop(w->context);
    w->callers = fp_mode_enter();
    return stop != 0;
}

/* Whether the call shall end, asked where enough has been done. A yes is not given twice: who hears it must end. */
static inline int watch_stops(watch *w) {
    return w->work < WATCH_WORK ? 0 : watch_ask(w);
}

/* So many multiply-adds are done; and the same question. */
static inline int watch_after(watch *w, size_t work) {
    w->work += work;
    return watch_stops(w);
}

#endif
