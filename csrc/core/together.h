/* Windows that take each step together. */
#ifndef LSTMCORE_TOGETHER_H
#define LSTMCORE_TOGETHER_H

#include "window.h"

/* Fewer windows than these are as fast alone. */
enum { LEAST = 4 };

/* What lstmcore_run_many has them; but that a window's sequences begin `stride` steps after those of the one before. */
typedef struct {
    const void *const *inputs;
    size_t n, steps, stride;
    const size_t *lengths;
    const float *state;
    float *const *outputs;
    float *end;
} many_windows;

/* How many of them may take their steps together, at most CHUNK, 0 if this model's cannot; and whether the ticks of
 * windows that overlap are then computed once. */
size_t lstmcore_at_once(const lstmcore_model *model, const many_windows *all, int *shares);

/* The memory for it, once in a session's life. */
int lstmcore_together_reserve(lstmcore_session *s);
void lstmcore_together_free(struct together *g);

/* Windows `first` to `first` + n - 1, in the core's floating-point mode. Returns 0 where the caller stops it. */
int lstmcore_run_together(lstmcore_session *s, const many_windows *all, size_t first, size_t n, int shares);

#endif
