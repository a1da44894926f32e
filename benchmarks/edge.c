/* Times the core's functions from C, inside the Python process that measures its own calls: benchmarks/edge.py loads
 * this and hands over the function and a session. */
#define _POSIX_C_SOURCE 200809L
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* lstmcore_run and lstmcore_streams_push */
typedef int run_function(void *session, const void *const *inputs, size_t steps, const float *state,
                         float *const *outputs, float *end);
typedef int push_function(void *streams, size_t n, const size_t *which, const void *const *inputs,
                          float *const *outputs);

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* One of `run` and `push`, the other NULL, for windows of x (windows, steps*features), one after the other from window
 * `first` on: `untimed` calls, then `calls` whose nanoseconds go into `taken`. Returns the first code that is not 0. */
int time_calls(run_function *run, push_function *push, void *session, const float *x, size_t windows, size_t steps,
               size_t features, size_t first, float *y, int untimed, int calls, int64_t *taken) {
    const size_t stream = 0;
    int code = 0;
    for (int n = -untimed; n < calls && code == 0; n++, first++) {
        const float *window = x + first % windows * steps * features;
        const int64_t start = now();
        const void *const inputs[] = {window};
        float *const outputs[] = {y};
        code = push == NULL ? run(session, inputs, steps, NULL, outputs, NULL)
                            : push(session, 1, &stream, inputs, outputs);
        if (n >= 0) {
            taken[n] = now() - start;
        }
    }
    return code;
}
