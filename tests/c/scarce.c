/* Makes models, sessions and streams with each of their allocations refused in turn: that has to be said, all given
 * back, and the model left as it was. Anything else ends the program with status 1.
 *
 *     scarce KERNEL           prints what kernel_bits prints
 *     scarce KERNEL silent    with a refusal that is not reported planted, to see it found
 *     scarce KERNEL leak      with an allocation that is not given back planted
 *
 * Linked with --wrap. A call to try is made again and again until none of its allocations is refused; the preprocessor
 * leads the calls of kernel_bits here.
 */
#include <stddef.h>
#include <stdlib.h>

#include "lstmcore.h"

static size_t requests, refused; /* the number of the last request, and of the one that is refused; 0: none is */
static volatile size_t taken;    /* allocations that are not given back; the compiler knows malloc */
static int trying;               /* a call under way may be refused something */
static size_t most, seals;       /* refusals of one call, and of calls to seal a model */

static int granted(void) {
    return !trying || ++requests != refused;
}

#define WRAP(name, parameters, arguments, news)                      \
    void *__real_##name parameters;                                  \
    void *__wrap_##name parameters {                                 \
        void *const at = granted() ? __real_##name arguments : NULL; \
        taken += (size_t)(at != NULL && (news));                     \
        return at;                                                   \
    }

WRAP(malloc, (size_t size), (size), 1)
WRAP(calloc, (size_t n, size_t size), (n, size), 1)
WRAP(realloc, (void *old, size_t size), (old, size), old == NULL)
WRAP(aligned_alloc, (size_t alignment, size_t size), (alignment, size), 1)

void __real_free(void *at);
void __wrap_free(void *at) {
    taken -= (size_t)(at != NULL);
    __real_free(at);
}

static void begin_to_refuse(void) {
    refused = 0;
    trying = 1;
}

static void refuse_next(void) {
    refused++;
    requests = 0;
}

static int goes_on(int code, const char *name);

/* `call` once for each of its allocations, and once more; the last code. */
#define EACH_REFUSED(name, call)        \
    ({                                  \
        int code_;                      \
        begin_to_refuse();              \
        do {                            \
            refuse_next();              \
            code_ = call;               \
        } while (goes_on(code_, name)); \
        code_;                          \
    })

#define TRY(name, ...) EACH_REFUSED(#name, name(__VA_ARGS__))

#define lstmcore_model_new(...)            TRY(lstmcore_model_new, __VA_ARGS__)
#define lstmcore_model_add_input(...)      TRY(lstmcore_model_add_input, __VA_ARGS__)
#define lstmcore_model_add_lstm(...)       TRY(lstmcore_model_add_lstm, __VA_ARGS__)
#define lstmcore_model_add_gru(...)        TRY(lstmcore_model_add_gru, __VA_ARGS__)
#define lstmcore_model_add_rnn(...)        TRY(lstmcore_model_add_rnn, __VA_ARGS__)
#define lstmcore_model_add_variant(...)    TRY(lstmcore_model_add_variant, __VA_ARGS__)
#define lstmcore_model_set_start(...)      TRY(lstmcore_model_set_start, __VA_ARGS__)
#define lstmcore_model_set_mask(...)       TRY(lstmcore_model_set_mask, __VA_ARGS__)
#define lstmcore_model_add_linear(...)     TRY(lstmcore_model_add_linear, __VA_ARGS__)
#define lstmcore_model_add_affine(...)     TRY(lstmcore_model_add_affine, __VA_ARGS__)
#define lstmcore_model_add_activation(...) TRY(lstmcore_model_add_activation, __VA_ARGS__)
#define lstmcore_model_add_layer_norm(...) TRY(lstmcore_model_add_layer_norm, __VA_ARGS__)
#define lstmcore_model_add_softmax(...)    TRY(lstmcore_model_add_softmax, __VA_ARGS__)
#define lstmcore_model_add_join(...)       TRY(lstmcore_model_add_join, __VA_ARGS__)
#define lstmcore_model_add_differs(...)    TRY(lstmcore_model_add_differs, __VA_ARGS__)
#define lstmcore_model_add_where(...)      TRY(lstmcore_model_add_where, __VA_ARGS__)
#define lstmcore_model_add_last(...)       TRY(lstmcore_model_add_last, __VA_ARGS__)
#define lstmcore_model_add_reverse(...)    TRY(lstmcore_model_add_reverse, __VA_ARGS__)
#define lstmcore_model_add_flatten(...)    TRY(lstmcore_model_add_flatten, __VA_ARGS__)
#define lstmcore_model_add_output(...)     TRY(lstmcore_model_add_output, __VA_ARGS__)
#define lstmcore_model_seal(...)           TRY(lstmcore_model_seal, __VA_ARGS__)
#define lstmcore_streams_new(...)          TRY(lstmcore_streams_new, __VA_ARGS__)
#define lstmcore_run_windows(...)          TRY(lstmcore_run_windows, __VA_ARGS__)

#include "trials.h"

/* Whether the call is made once more. */
static int goes_on(int code, const char *name) {
    const int was_refused = trying && requests >= refused;
    if (was_refused && planted("silent")) {
        code = LSTMCORE_OK;
    }
    if (was_refused ? code != LSTMCORE_NO_MEMORY : code == LSTMCORE_NO_MEMORY) {
        fail(name, was_refused ? "did not say that there is no memory" : "said that there is no memory where there is");
    }
    if (was_refused) {
        most = refused > most ? refused : most;
        seals += (size_t)(strcmp(name, "lstmcore_model_seal") == 0);
    }
    trying = trying && was_refused;
    return was_refused;
}

static int open_session(lstmcore_model *model, int states, lstmcore_session **session) {
    return TRY(lstmcore_session_new, model, states, session);
}

/* Nothing that a refused call took is still there: a call that makes something and is then freed leaves no trace. */
static void give_back(const windows *w) {
    const size_t before = taken;
    lstmcore_session *session;
    lstmcore_streams *streams;
    check(open_session(w->model, w->ends, &session), "session_new");
    check(TRY(lstmcore_session_reserve, session, 2 * w->steps), "session_reserve");
    if (planted("leak")) {
        static void *volatile leak;
        leak = malloc(1);
        (void)leak;
    }
    lstmcore_session_free(session);
    for (size_t window = 0; window <= w->steps; window += w->steps) {
        if (window == 0 ? w->carried != NULL : w->sliding != NULL) {
            check(lstmcore_streams_new(w->model, window, w->n, &streams), "streams_new");
            lstmcore_streams_free(streams);
        }
    }
    if (taken != before) {
        fail("a call that was refused memory", "did not give back what it had");
    }
}

static void answer_again(const call *c, const windows *w, const answers *expected) {
    answers y = room_for(w);
    check(c->answer(w, &y), c->name);
    if (!same_answers(c, w, &y, expected)) {
        fail(c->name, "other bits after refusals");
    }
    free_answers(&y);
}

/* One model in five is used for more: what is asked for does not hang on every size. */
static void try_windows(const windows *w, const answers *y) {
    static size_t models;
    check(TRY(lstmcore_run_many, w->session, w->x, w->n, w->steps, w->lengths, w->state, y->y, y->end), "run_many");
    if (models++ % 5 == 0) {
        give_back(w);
        each_call(w, y, answer_again);
    }
}

int main(int argc, char **argv) {
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: scarce KERNEL [silent | leak]\n");
        return 2;
    }
    fault = argc == 3 ? argv[2] : "";
    const size_t before = taken;
    try_models(argv[1]);
    fflush(stdout);
    if (most < 30 || seals < 100) {
        fail("scarce", "saw fewer allocations than there are");
    }
    if (taken > before + 1) { /* what stdout writes through stays */
        fail("models", "were not given back");
    }
    return 0;
}
