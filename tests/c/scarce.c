/* Makes slidings again and again, each time with another of their allocations refused: that has to be said, nothing
 * asked for after it, all given back (a leak is for the sanitizer to find), and the model left as it was. Anything else
 * ends the program with status 1.
 *
 *     scarce KERNEL           prints what kernel_bits prints
 *     scarce KERNEL greedy    with a request planted after each refusal, to see it found
 *
 * Linked with --wrap. What a session or an LSTM's states are made of counts as one allocation.
 */
#include "trials.h"
#include "core/session.h"

static size_t requests, refused; /* the number of the last request, and of the one that is refused; 0: none is */
static int within;               /* one that counts already */

static int granted(void) {
    return within || ++requests != refused;
}

#define WRAP(type, name, parameters, arguments, refusal) \
    type __real_##name parameters;                       \
    type __wrap_##name parameters {                      \
        if (!granted()) {                                \
            return refusal;                              \
        }                                                \
        within++;                                        \
        type result = __real_##name arguments;           \
        within--;                                        \
        return result;                                   \
    }

WRAP(void *, calloc, (size_t n, size_t size), (n, size), NULL)
WRAP(float *, lstmcore_floats_new, (size_t n), (n), NULL)
WRAP(recurrent_state *, lstmcore_states_new, (const lstmcore_model *model, size_t rows), (model, rows), NULL)
WRAP(int, lstmcore_session_new, (lstmcore_model * model, lstmcore_session **session), (model, session),
     LSTMCORE_NO_MEMORY)

static int open_session(lstmcore_model *model, lstmcore_session **session) {
    return lstmcore_session_new(model, session);
}

static size_t most; /* requests of one sliding */

static void refuse_each(lstmcore_model *model, size_t window, size_t streams) {
    int code = LSTMCORE_NO_MEMORY;
    for (refused = 1; code != LSTMCORE_OK; refused++) {
        lstmcore_sliding *sliding = NULL;
        requests = 0;
        code = lstmcore_sliding_new(model, window, streams, &sliding);
        requests += code != LSTMCORE_OK && planted("greedy");
        if (code == LSTMCORE_OK) {
            most = requests > most ? requests : most;
            lstmcore_sliding_free(sliding);
        } else if (code != LSTMCORE_NO_MEMORY || sliding != NULL) {
            fail("lstmcore_sliding_new", "did not say that there is no memory");
        } else if (requests > refused) {
            fail("lstmcore_sliding_new", "asked for more after it was refused");
        }
    }
    refused = 0;
}

static void answer_again(const call *c, const windows *w, const float *answers) {
    float *y = random_floats(y_size(w), 1.0f);
    check(c->answer(w, y), c->name);
    if (memcmp(y, answers, y_size(w) * sizeof *y) != 0) {
        fail(c->name, "other bits after refusals");
    }
    free(y);
}

/* One model in five: what is asked for does not hang on every size. */
static void try_windows(const windows *w, float *y) {
    static size_t model;
    check(run_many(w, y), "run_many");
    if (model++ % 5 != 0) {
        return;
    }
    if (w->sliding != NULL) {
        refuse_each(w->model, w->steps, w->n);
    }
    if (w->carried != NULL) {
        refuse_each(w->model, 0, w->n);
    }
    each_call(w, y, answer_again);
}

int main(int argc, char **argv) {
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: scarce KERNEL [greedy]\n");
        return 2;
    }
    fault = argc == 3 ? argv[2] : "";
    try_models(argv[1]);
    if (most < 8) {
        fail("scarce", "saw fewer allocations than a sliding has");
    }
    return 0;
}
