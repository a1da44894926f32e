/* Every function of lstmcore.h, each pointer NULL in turn and each size out of range: a code or a zero, and no harm.
 * Ends with status 1 where another thing comes.
 *
 *     nulls KERNEL
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lstmcore.h"

static void expect(int code, int expected, const char *what) {
    if (code != expected) {
        fprintf(stderr, "%s: expected %d, got %d\n", what, expected, code);
        exit(1);
    }
}

#define OK(call)      expect(call, LSTMCORE_OK, #call)
#define REFUSED(call) expect(call, LSTMCORE_BAD_ARGUMENT, #call)
#define ZERO(call)    expect((int)(call), 0, #call)

static float numbers[64]; /* weights, ticks, answers */

static int go_on(void *context) {
    (void)context;
    return 0;
}

static void try_layers(lstmcore_model *m) {
    const float *const w = numbers;
    const size_t large = (size_t)1 << 40;
    lstmcore_variant how = {.cell = LSTMCORE_RNN, .hidden = 2, .candidate = {LSTMCORE_TANH, 0, 0}};
    REFUSED(lstmcore_model_add_lstm(NULL, 2, w, w, w, 1));
    REFUSED(lstmcore_model_add_lstm(m, 0, w, w, w, 1));
    REFUSED(lstmcore_model_add_lstm(m, large, w, w, w, 1));
    REFUSED(lstmcore_model_add_lstm(m, 2, NULL, w, w, 1));
    REFUSED(lstmcore_model_add_lstm(m, 2, w, NULL, w, 1));
    REFUSED(lstmcore_model_add_lstm(m, 2, w, w, NULL, 1));
    REFUSED(lstmcore_model_add_gru(NULL, 2, w, w, w, w, 1));
    REFUSED(lstmcore_model_add_gru(m, 0, w, w, w, w, 1));
    REFUSED(lstmcore_model_add_gru(m, 2, NULL, w, w, w, 1));
    REFUSED(lstmcore_model_add_gru(m, 2, w, NULL, w, w, 1));
    REFUSED(lstmcore_model_add_gru(m, 2, w, w, NULL, w, 1));
    REFUSED(lstmcore_model_add_gru(m, 2, w, w, w, NULL, 1));
    REFUSED(lstmcore_model_add_rnn(NULL, 2, w, w, w, LSTMCORE_TANH, 1));
    REFUSED(lstmcore_model_add_rnn(m, 0, w, w, w, LSTMCORE_TANH, 1));
    REFUSED(lstmcore_model_add_rnn(m, 2, NULL, w, w, LSTMCORE_TANH, 1));
    REFUSED(lstmcore_model_add_rnn(m, 2, w, NULL, w, LSTMCORE_TANH, 1));
    REFUSED(lstmcore_model_add_rnn(m, 2, w, w, NULL, LSTMCORE_TANH, 1));
    REFUSED(lstmcore_model_add_rnn(m, 2, w, w, w, (lstmcore_activation)1000, 1));
    REFUSED(lstmcore_model_add_variant(NULL, &how, 1));
    REFUSED(lstmcore_model_add_variant(m, NULL, 1));
    REFUSED(lstmcore_model_add_variant(m, &how, 1)); /* without weights */
    REFUSED(lstmcore_model_add_linear(NULL, 2, w, w));
    REFUSED(lstmcore_model_add_linear(m, 0, w, w));
    REFUSED(lstmcore_model_add_linear(m, 2, NULL, w));
    REFUSED(lstmcore_model_add_linear(m, 2, w, NULL));
    REFUSED(lstmcore_model_add_affine(NULL, w, w));
    REFUSED(lstmcore_model_add_affine(m, NULL, w));
    REFUSED(lstmcore_model_add_affine(m, w, NULL));
    REFUSED(lstmcore_model_add_activation(NULL, LSTMCORE_RELU, 0, 0));
    REFUSED(lstmcore_model_add_activation(m, (lstmcore_activation)1000, 0, 0));
    REFUSED(lstmcore_model_add_layer_norm(NULL, w, w, 0));
    REFUSED(lstmcore_model_add_last(NULL));
    REFUSED(lstmcore_model_add_softmax(NULL));
    REFUSED(lstmcore_model_add_flatten(NULL, 2));
    REFUSED(lstmcore_model_add_flatten(m, 0));
}

static void try_session(lstmcore_model *m) {
    lstmcore_session *s = NULL;
    float *const x = numbers, *const y = numbers + 32;
    REFUSED(lstmcore_session_new(NULL, &s));
    REFUSED(lstmcore_session_new(m, NULL));
    OK(lstmcore_session_new(m, &s));
    REFUSED(lstmcore_session_watch(NULL, go_on, NULL));
    OK(lstmcore_session_watch(s, NULL, NULL));
    OK(lstmcore_session_watch(s, go_on, NULL));
    REFUSED(lstmcore_bind(NULL, x, 1, y));
    REFUSED(lstmcore_run_bound(NULL));
    REFUSED(lstmcore_run_bound(s)); /* nothing is bound */
    OK(lstmcore_bind(s, NULL, 1, NULL));
    REFUSED(lstmcore_run_bound(s));
    REFUSED(lstmcore_run(NULL, x, 1, NULL, NULL, y));
    REFUSED(lstmcore_run(s, NULL, 1, NULL, NULL, y));
    REFUSED(lstmcore_run(s, x, 0, NULL, NULL, y));
    REFUSED(lstmcore_run(s, x, 1, NULL, NULL, NULL));
    REFUSED(lstmcore_run_many(NULL, x, 1, 1, NULL, NULL, y));
    REFUSED(lstmcore_run_many(s, NULL, 1, 1, NULL, NULL, y));
    REFUSED(lstmcore_run_many(s, x, 1, 0, NULL, NULL, y));
    REFUSED(lstmcore_run_many(s, x, 1, 1, NULL, NULL, NULL));
    OK(lstmcore_run_many(s, x, 0, 1, NULL, NULL, y));
    REFUSED(lstmcore_run_windows(NULL, x, 4, 2, 1, y));
    REFUSED(lstmcore_run_windows(s, NULL, 4, 2, 1, y));
    REFUSED(lstmcore_run_windows(s, x, 4, 2, 1, NULL));
    REFUSED(lstmcore_run_windows(s, x, 4, 0, 1, y));
    REFUSED(lstmcore_run_windows(s, x, 4, 2, 0, y));
    REFUSED(lstmcore_run_windows(s, x, 1, 2, 1, y));
    REFUSED(lstmcore_run_windows(s, x, 0, 0, 0, y));
    OK(lstmcore_run_windows(s, x, 4, 2, 1, y));
    lstmcore_session_free(NULL);
    lstmcore_session_free(s);
}

static void try_sliding(lstmcore_model *m) {
    lstmcore_sliding *s = NULL;
    const size_t first = 0, absent = 7;
    size_t ticks = 0;
    float *const x = numbers, *const y = numbers + 32;
    ZERO(lstmcore_model_slides(NULL));
    REFUSED(lstmcore_sliding_new(NULL, 2, 1, &s));
    REFUSED(lstmcore_sliding_new(m, 2, 1, NULL));
    REFUSED(lstmcore_sliding_new(m, 2, 0, &s));
    REFUSED(lstmcore_sliding_new(m, (size_t)1 << 40, 1, &s));
    REFUSED(lstmcore_sliding_new(m, 2, (size_t)1 << 40, &s));
    OK(lstmcore_sliding_new(m, 2, 1, &s));
    REFUSED(lstmcore_sliding_watch(NULL, go_on, NULL));
    OK(lstmcore_sliding_watch(s, go_on, NULL));
    REFUSED(lstmcore_sliding_push(NULL, 1, &first, x, y));
    REFUSED(lstmcore_sliding_push(s, 1, NULL, x, y));
    REFUSED(lstmcore_sliding_push(s, 1, &absent, x, y));
    REFUSED(lstmcore_sliding_push(s, 1, &first, NULL, y));
    REFUSED(lstmcore_sliding_push(s, 1, &first, x, NULL));
    OK(lstmcore_sliding_push(s, 0, &first, x, y));
    REFUSED(lstmcore_sliding_bind(NULL, x, y));
    REFUSED(lstmcore_sliding_push_bound(NULL));
    REFUSED(lstmcore_sliding_push_bound(s)); /* nothing is bound */
    REFUSED(lstmcore_sliding_catch_up(NULL));
    REFUSED(lstmcore_sliding_hurry(NULL));
    ZERO(lstmcore_sliding_behind(NULL));
    REFUSED(lstmcore_sliding_start_helper(NULL, 0, -1));
    lstmcore_sliding_stop_helper(NULL);
    lstmcore_sliding_stop_helper(s);
    REFUSED(lstmcore_sliding_reset(NULL, 0));
    REFUSED(lstmcore_sliding_reset(s, absent));
    ZERO(lstmcore_sliding_ticks(NULL, 0));
    ZERO(lstmcore_sliding_ticks(s, absent));
    ZERO(lstmcore_sliding_state_size(NULL));
    REFUSED(lstmcore_sliding_get_state(NULL, 0, y, &ticks));
    REFUSED(lstmcore_sliding_get_state(s, absent, y, &ticks));
    REFUSED(lstmcore_sliding_get_state(s, 0, NULL, &ticks));
    REFUSED(lstmcore_sliding_get_state(s, 0, y, NULL));
    REFUSED(lstmcore_sliding_set_state(NULL, 0, y, 0));
    REFUSED(lstmcore_sliding_set_state(s, absent, y, 0));
    REFUSED(lstmcore_sliding_set_state(s, 0, NULL, 0));
    lstmcore_sliding_free(NULL);
    lstmcore_sliding_free(s);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: nulls KERNEL\n");
        return 2;
    }
    lstmcore_model *m = NULL;
    lstmcore_session *s = NULL;
    for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++) {
        numbers[n] = (float)(n % 7) * 0.1f - 0.3f;
    }
    for (int code = -1; code <= 100; code++) {
        expect(lstmcore_error(code) != NULL, 1, "lstmcore_error");
    }
    for (int kernel = -1; kernel <= lstmcore_kernel_count(); kernel += lstmcore_kernel_count() + 1) {
        expect(lstmcore_kernel_name(kernel) == NULL, 1, "lstmcore_kernel_name");
        ZERO(lstmcore_kernel_built(kernel));
        ZERO(lstmcore_kernel_runs(kernel));
    }
    REFUSED(lstmcore_model_new(argv[1], 2, NULL));
    REFUSED(lstmcore_model_new(argv[1], 0, &m));
    REFUSED(lstmcore_model_new(argv[1], (size_t)1 << 40, &m));
    expect(lstmcore_model_new("none", 2, &m), LSTMCORE_NO_SUCH_KERNEL, "lstmcore_model_new");
    expect(lstmcore_model_kernel(NULL) == NULL, 1, "lstmcore_model_kernel");
    lstmcore_model_free(NULL);
    OK(lstmcore_model_new(argv[1], 2, &m));
    REFUSED(lstmcore_session_new(m, &s)); /* no layers */
    try_layers(m);
    OK(lstmcore_model_add_rnn(m, 2, numbers, numbers, numbers, LSTMCORE_TANH, 0));
    try_session(m);
    try_sliding(m);
    expect(lstmcore_model_add_last(m), LSTMCORE_SEALED, "lstmcore_model_add_last");
    lstmcore_model_free(m);
    return 0;
}
