/* Every function of lstmcore.h, each pointer NULL in turn, each size out of range, values that do not exist, models
 * that are not sealed: a code or a zero, no harm, and of a model a text. Ends with status 1 where another thing comes.
 *
 *     nulls KERNEL
 */
#include "nulls_layers.h"

static int go_on(void *context) {
    (void)context;
    return 0;
}

/* Arrays of a model of two inputs and two outputs, all there, or without one of them. */
typedef struct {
    const void *x[2];
    float *y[2];
} arrays;

static arrays all_there(void) {
    return (arrays){{numbers, numbers + 64}, {numbers + 128, numbers + 192}};
}

/* `call`, which reads a.x and a.y, without each of the arrays in turn. */
#define LACKING_EACH(call)                                         \
    for (int missing = 0; missing < 4; missing++) {                \
        arrays a = all_there();                                    \
        a.x[missing & 1] = missing < 2 ? NULL : a.x[missing & 1];  \
        a.y[missing & 1] = missing >= 2 ? NULL : a.y[missing & 1]; \
        REFUSED(call);                                             \
    }

static void try_runs(lstmcore_session *s) {
    const arrays all = all_there();
    const size_t lengths[] = {1, 2}, zero = 0, longer = 3;
    float *const *const y = all.y;
    const void *const *const x = all.x;
    REFUSED(lstmcore_run(NULL, x, 2, NULL, y, NULL));
    REFUSED(lstmcore_run(s, NULL, 2, NULL, y, NULL));
    REFUSED(lstmcore_run(s, x, 0, NULL, y, NULL));
    REFUSED(lstmcore_run(s, x, SIZE_MAX, NULL, y, NULL));
    REFUSED(lstmcore_run(s, x, 2, NULL, NULL, NULL));
    REFUSED(lstmcore_run(s, x, 2, NULL, y, numbers)); /* of a session without states */
    LACKING_EACH(lstmcore_run(s, a.x, 2, NULL, a.y, NULL));
    REFUSED(lstmcore_run_many(NULL, x, 1, 2, NULL, NULL, y, NULL));
    REFUSED(lstmcore_run_many(s, NULL, 1, 2, NULL, NULL, y, NULL));
    REFUSED(lstmcore_run_many(s, x, 1, 0, NULL, NULL, y, NULL));
    REFUSED(lstmcore_run_many(s, x, 1, 2, &zero, NULL, y, NULL));
    REFUSED(lstmcore_run_many(s, x, 1, 2, &longer, NULL, y, NULL));
    REFUSED(lstmcore_run_many(s, x, 1, 2, NULL, NULL, NULL, NULL));
    REFUSED(lstmcore_run_many(s, x, 1, 2, NULL, NULL, y, numbers));
    LACKING_EACH(lstmcore_run_many(s, a.x, 1, 2, NULL, NULL, a.y, NULL));
    OK(lstmcore_run_many(s, x, 0, 2, NULL, NULL, y, NULL));
    OK(lstmcore_run_many(s, x, 2, 2, lengths, NULL, y, NULL));
    REFUSED(lstmcore_run_windows(NULL, x, 4, 2, 1, y));
    REFUSED(lstmcore_run_windows(s, NULL, 4, 2, 1, y));
    REFUSED(lstmcore_run_windows(s, x, 4, 2, 1, NULL));
    REFUSED(lstmcore_run_windows(s, x, 4, 0, 1, y));
    REFUSED(lstmcore_run_windows(s, x, 4, 2, 0, y));
    REFUSED(lstmcore_run_windows(s, x, 1, 2, 1, y));
    REFUSED(lstmcore_run_windows(s, x, 0, 0, 0, y));
    LACKING_EACH(lstmcore_run_windows(s, a.x, 4, 2, 1, a.y));
    OK(lstmcore_run_windows(s, x, 4, 2, 1, y));
}

static void try_session(lstmcore_model *m) {
    lstmcore_session *s = NULL;
    const arrays all = all_there();
    REFUSED(lstmcore_session_new(NULL, 0, &s));
    REFUSED(lstmcore_session_new(m, 0, NULL));
    OK(lstmcore_session_new(m, 0, &s));
    REFUSED(lstmcore_session_watch(NULL, go_on, NULL));
    OK(lstmcore_session_watch(s, NULL, NULL));
    OK(lstmcore_session_watch(s, go_on, NULL));
    REFUSED(lstmcore_session_reserve(NULL, 2));
    REFUSED(lstmcore_session_reserve(s, SIZE_MAX));
    OK(lstmcore_session_reserve(s, 0));
    REFUSED(lstmcore_run_bound(NULL));
    REFUSED(lstmcore_run_bound(s)); /* nothing is bound */
    REFUSED(lstmcore_bind(NULL, all.x, 2, all.y));
    REFUSED(lstmcore_bind(s, NULL, 2, all.y));
    REFUSED(lstmcore_bind(s, all.x, 2, NULL));
    REFUSED(lstmcore_bind(s, all.x, SIZE_MAX, all.y));
    LACKING_EACH(lstmcore_bind(s, a.x, 2, a.y));
    REFUSED(lstmcore_run_bound(s)); /* still nothing */
    try_runs(s);
    lstmcore_session_free(NULL);
    lstmcore_session_free(s);
}

static void try_pushes(lstmcore_streams *s) {
    const arrays all = all_there();
    const size_t first = 0, absent = 7;
    REFUSED(lstmcore_streams_push(NULL, 1, &first, all.x, all.y));
    REFUSED(lstmcore_streams_push(s, 1, NULL, all.x, all.y));
    REFUSED(lstmcore_streams_push(s, 1, &absent, all.x, all.y));
    REFUSED(lstmcore_streams_push(s, 1, &first, NULL, all.y));
    REFUSED(lstmcore_streams_push(s, 1, &first, all.x, NULL));
    LACKING_EACH(lstmcore_streams_push(s, 1, &first, a.x, a.y));
    OK(lstmcore_streams_push(s, 0, &first, all.x, all.y));
    REFUSED(lstmcore_streams_bind(NULL, all.x, all.y));
    REFUSED(lstmcore_streams_bind(s, NULL, all.y));
    REFUSED(lstmcore_streams_bind(s, all.x, NULL));
    LACKING_EACH(lstmcore_streams_bind(s, a.x, a.y));
    REFUSED(lstmcore_streams_push_bound(NULL));
    REFUSED(lstmcore_streams_push_bound(s)); /* nothing is bound */
}

static void try_streams(lstmcore_model *m) {
    lstmcore_streams *s = NULL;
    const size_t absent = 7;
    size_t ticks = 0;
    float *const state = numbers;
    ZERO(lstmcore_model_slides(NULL));
    ZERO(lstmcore_model_carries(NULL));
    REFUSED(lstmcore_streams_new(NULL, 2, 1, &s));
    REFUSED(lstmcore_streams_new(m, 2, 1, NULL));
    REFUSED(lstmcore_streams_new(m, 2, 0, &s));
    REFUSED(lstmcore_streams_new(m, LARGE, 1, &s));
    REFUSED(lstmcore_streams_new(m, 2, LARGE, &s));
    OK(lstmcore_streams_new(m, 2, 1, &s));
    REFUSED(lstmcore_streams_watch(NULL, go_on, NULL));
    OK(lstmcore_streams_watch(s, go_on, NULL));
    try_pushes(s);
    REFUSED(lstmcore_streams_catch_up(NULL));
    REFUSED(lstmcore_streams_hurry(NULL));
    ZERO(lstmcore_streams_behind(NULL));
    REFUSED(lstmcore_streams_start_helper(NULL, 0, -1));
    lstmcore_streams_stop_helper(NULL);
    lstmcore_streams_stop_helper(s);
    REFUSED(lstmcore_streams_reset(NULL, 0));
    REFUSED(lstmcore_streams_reset(s, absent));
    ZERO(lstmcore_streams_ticks(NULL, 0));
    ZERO(lstmcore_streams_ticks(s, absent));
    ZERO(lstmcore_streams_state_size(NULL));
    REFUSED(lstmcore_streams_get_state(NULL, 0, state, &ticks));
    REFUSED(lstmcore_streams_get_state(s, absent, state, &ticks));
    REFUSED(lstmcore_streams_get_state(s, 0, NULL, &ticks));
    REFUSED(lstmcore_streams_get_state(s, 0, state, NULL));
    REFUSED(lstmcore_streams_set_state(NULL, 0, state, 0));
    REFUSED(lstmcore_streams_set_state(s, absent, state, 0));
    REFUSED(lstmcore_streams_set_state(s, 0, NULL, 0));
    lstmcore_streams_free(NULL);
    lstmcore_streams_free(s);
}

static void try_library(const char *kernel_name) {
    lstmcore_model *m = NULL;
    for (int code = -1; code <= 100; code++) {
        expect(lstmcore_error(code) != NULL, 1, "lstmcore_error");
    }
    for (int kernel = -1; kernel <= lstmcore_kernel_count(); kernel += lstmcore_kernel_count() + 1) {
        expect(lstmcore_kernel_name(kernel) == NULL, 1, "lstmcore_kernel_name");
        ZERO(lstmcore_kernel_built(kernel));
        ZERO(lstmcore_kernel_runs(kernel));
    }
    REFUSED(lstmcore_model_new(kernel_name, NULL));
    expect(lstmcore_model_new("none", &m), LSTMCORE_NO_SUCH_KERNEL, "lstmcore_model_new");
    expect(lstmcore_model_kernel(NULL) == NULL, 1, "lstmcore_model_kernel");
    expect(*lstmcore_model_error(NULL) != 0, 1, "lstmcore_model_error");
    ZERO(lstmcore_model_state_size(NULL));
    lstmcore_model_free(NULL);
}

/* Two inputs, and an answer to each: a recurrent layer over the ticks, and a linear one. */
int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: nulls KERNEL\n");
        return 2;
    }
    lstmcore_model *m = NULL;
    lstmcore_value x, vector, h, y, other;
    for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++) {
        numbers[n] = (float)(n % 7) * 0.1f - 0.3f;
    }
    try_library(argv[1]);
    OK(lstmcore_model_new(argv[1], &m));
    expect(*lstmcore_model_error(m), 0, "a text before any failure");
    OK(lstmcore_model_add_input(m, "ticks", LSTMCORE_SEQUENCE, 2, LSTMCORE_FLOAT32, &x));
    OK(lstmcore_model_add_input(m, "more", LSTMCORE_VECTOR, 2, LSTMCORE_FLOAT32, &vector));
    try_inputs(m);
    try_recurrent(m, x, vector);
    try_row_layers(m, x);
    try_joins_and_steps(m, x, vector);
    try_settings(m, x, vector);
    OK(lstmcore_model_add_rnn(m, x, 2, numbers, numbers, numbers, LSTMCORE_TANH, &h));
    OK(lstmcore_model_add_last(m, h, &y));
    OK(lstmcore_model_add_linear(m, vector, 2, numbers, numbers, &other));
    try_outputs(m, x, y);
    OK(lstmcore_model_add_output(m, "other", other));
    OK(lstmcore_model_seal(m));
    try_sealed(m, x, h);
    try_session(m);
    try_streams(m);
    lstmcore_model_free(m);
    return 0;
}
