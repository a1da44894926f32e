/* What benchmarks/against.py loads of each revision of the core: this file linked with that revision's library, whose
 * own functions are hidden in it, so that two of them can be in one program. It hands out the functions by name, and
 * times them without Python between the calls. */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "lstmcore.h"

#define EXPORT __attribute__((visibility("default")))

/* What a model is made with and run by. */
#define FUNCTIONS(F)                 \
    F(lstmcore_error)                \
    F(lstmcore_model_new)            \
    F(lstmcore_model_free)           \
    F(lstmcore_model_kernel)         \
    F(lstmcore_model_add_lstm)       \
    F(lstmcore_model_add_gru)        \
    F(lstmcore_model_add_linear)     \
    F(lstmcore_model_add_affine)     \
    F(lstmcore_model_add_activation) \
    F(lstmcore_session_new)          \
    F(lstmcore_session_free)         \
    F(lstmcore_sliding_new)          \
    F(lstmcore_sliding_free)         \
    F(lstmcore_sliding_bind)

typedef void function(void);
EXPORT function *against_function(const char *name) {
#define FIND(f)                  \
    if (strcmp(name, #f) == 0) { \
        return (function *)f;    \
    }
    FUNCTIONS(FIND)
    return NULL;
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* `untimed` calls and then `calls` timed ones, each with the next row of x (rows, size), from row `first` on.
 *   window:  lstmcore_run, `steps` ticks a row
 *   push:    lstmcore_sliding_push, a tick a row, and after it, untimed, what is left to do
 *   bound:   lstmcore_sliding_push_bound, the tick being copied to `bound` before, untimed
 *   series:  lstmcore_run_windows, over one row of `steps` ticks, windows of `window`
 * The handle is a session's or a sliding's. Returns the first code that is not 0. */
enum { WINDOW, PUSH, BOUND, SERIES };
EXPORT int against_time(int door, void *handle, const float *x, size_t rows, size_t size, size_t steps, size_t window,
                        size_t first, float *bound, float *y, int untimed, int calls, int64_t *taken) {
    const size_t stream = 0;
    int code = 0;
    for (int n = -untimed; n < calls && code == 0; n++, first++) {
        const float *row = x + first % rows * size;
        if (door == BOUND) {
            memcpy(bound, row, size * sizeof *row);
        }
        const int64_t start = now();
        switch (door) {
        case WINDOW:
            code = lstmcore_run(handle, row, steps, NULL, NULL, y);
            break;
        case PUSH:
            code = lstmcore_sliding_push(handle, 1, &stream, row, y);
            break;
        case BOUND:
            code = lstmcore_sliding_push_bound(handle);
            break;
        default:
            code = lstmcore_run_windows(handle, row, steps, window, 1, y);
        }
        if (n >= 0) {
            taken[n] = now() - start;
        }
        if (code == 0 && (door == PUSH || door == BOUND)) {
            code = lstmcore_sliding_catch_up(handle);
        }
    }
    return code;
}
