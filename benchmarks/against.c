/* What benchmarks/against.py loads of each revision of the core: this file linked with that revision's library, whose
 * own functions are hidden in it, so that two of them can be in one program. It hands out the functions by name, and
 * times them without Python between the calls. */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "lstmcore.h"

#define EXPORT __attribute__((visibility("default")))

#ifndef LSTMCORE_VERSION_MAJOR /* models were chains then */
#include "against_chains.h"
#else
/* What a model is made with and run by. */
#define SAME(F, f) F(f, f)
#define FUNCTIONS(F)                       \
    SAME(F, lstmcore_error)                \
    SAME(F, lstmcore_model_new)            \
    SAME(F, lstmcore_model_free)           \
    SAME(F, lstmcore_model_kernel)         \
    SAME(F, lstmcore_model_error)          \
    SAME(F, lstmcore_model_add_input)      \
    SAME(F, lstmcore_model_add_lstm)       \
    SAME(F, lstmcore_model_add_gru)        \
    SAME(F, lstmcore_model_add_linear)     \
    SAME(F, lstmcore_model_add_affine)     \
    SAME(F, lstmcore_model_add_activation) \
    SAME(F, lstmcore_model_add_last)       \
    SAME(F, lstmcore_model_add_output)     \
    SAME(F, lstmcore_model_seal)           \
    SAME(F, lstmcore_session_new)          \
    SAME(F, lstmcore_session_free)         \
    SAME(F, lstmcore_streams_new)          \
    SAME(F, lstmcore_streams_free)         \
    SAME(F, lstmcore_streams_bind)

#define RUN(handle, x, steps, y) lstmcore_run(handle, (const void *[]){x}, steps, NULL, (float *[]){y}, NULL)
#define RUN_WINDOWS(handle, x, ticks, window, y) \
    lstmcore_run_windows(handle, (const void *[]){x}, ticks, window, 1, (float *[]){y})
#define PUSH_TICK(handle, stream, x, y) lstmcore_streams_push(handle, 1, stream, (const void *[]){x}, (float *[]){y})
#endif

typedef void function(void);
EXPORT function *against_function(const char *name) {
#define FIND(f, own)             \
    if (strcmp(name, #f) == 0) { \
        return (function *)own;  \
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
 *   push:    lstmcore_streams_push, a tick a row, and after it, untimed, what is left to do
 *   bound:   lstmcore_streams_push_bound, the tick being copied to `bound` before, untimed
 *   series:  lstmcore_run_windows, over one row of `steps` ticks, windows of `window`
 *   carried: pushes one behind the other, and nothing between
 *   clock:   nothing, so that what the clock takes is known
 * The handle is a session's or that of streams. Returns the first code that is not 0. */
enum { WINDOW, PUSH, BOUND, SERIES, CARRIED, CLOCK };
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
            code = RUN(handle, row, steps, y);
            break;
        case PUSH:
        case CARRIED:
            code = PUSH_TICK(handle, &stream, row, y);
            break;
        case BOUND:
            code = lstmcore_streams_push_bound(handle);
            break;
        case CLOCK:
            break;
        default:
            code = RUN_WINDOWS(handle, row, steps, window, y);
        }
        if (n >= 0) {
            taken[n] = now() - start;
        }
        if (code == 0 && (door == PUSH || door == BOUND)) {
            code = lstmcore_streams_catch_up(handle);
        }
    }
    return code;
}
