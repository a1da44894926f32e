/* Prints a hash of a kernel's outputs for each of many random models, one a line: the lines of all kernels, on all
 * processors, must be the same. Also the program that the sanitizers watch.
 *
 *     kernel_bits KERNEL
 *     kernel_bits --list       the kernels that run here
 *
 * With TRY_EVERY=N in the environment, only of every N-th model: an emulator takes long.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "any_layer.h"

/* The first are LSTMs and what stands around them; those that follow have every other layer too, and the last are
 * graphs. */
enum { LSTM_MODELS = 230, CHAINS = 2 * LSTM_MODELS, MODELS = CHAINS + 240 };

/* Numbers that are not: among the inputs of some models. */
static void spoil(float *x, size_t n, size_t seed) {
    static const float special[] = {INFINITY, -INFINITY, 1e-40f, -1e-42f, 0.0f, -0.0f, 3e38f, -3e38f, 1e-30f};
    for (size_t k = 0; k < n; k++) {
        if (random_bits() % 8 == 0) {
            x[k] = special[random_bits() % (sizeof special / sizeof *special)];
        }
    }
    if (seed % 16 == 15) {
        x[n / 2] = NAN;
    }
}

static uint64_t hash(uint64_t h, const float *x, size_t n) {
    const unsigned char *bytes = (const unsigned char *)x;
    for (size_t k = 0; k < n * sizeof *x; k++) {
        h = (h ^ bytes[k]) * 1099511628211u; /* FNV-1a */
    }
    return h;
}

/* Few enough that each is answered alone; or more, which take their steps together. */
static size_t windows_to_try(size_t one_in) {
    return random_bits() % one_in == 0 ? random_between(4, MAX_WINDOWS) : 3;
}

static void add_lstm(chain *c, size_t hidden, float scale) {
    float *w = random_floats(4 * hidden * c->width, scale), *r = random_floats(4 * hidden * hidden, scale);
    float *b = random_floats(4 * hidden, scale);
    check(lstmcore_model_add_lstm(c->model, c->at, hidden, w, r, b, &c->at), "add_lstm");
    free(w);
    free(r);
    free(b);
    c->width = hidden;
}

static void one_model(const char *kernel, size_t seed) {
    random_state = seed;
    const size_t input = random_between(1, 40), layers = random_between(1, 3), hidden = sizes[seed % SIZES];
    const size_t steps = seed % 4 == 0 ? random_between(1, 100) : random_between(1, 12);
    const int all_steps = (int)(random_bits() & 1);
    const float scale = random_float(1.0f) > 0 ? 0.3f : 3.0f;

    chain c = chain_of(kernel, input);
    const int others = seed >= LSTM_MODELS;
    if (random_bits() & 1) {
        add_affine(&c);
    }
    for (size_t k = 0; k < layers; k++) {
        if (others) {
            add_recurrent(&c, hidden, scale);
        } else {
            add_lstm(&c, hidden, scale);
        }
    }
    if (!all_steps) {
        add_last(&c);
    }
    for (int kind = LSTMCORE_RELU; kind <= (others ? LSTMCORE_HARD_SILU : LSTMCORE_SIGMOID); kind++) {
        if (random_bits() % (others ? 10 : 3) == 0) {
            add_activation(&c, (lstmcore_activation)kind);
        }
    }
    if (others && random_bits() % 3 == 0) {
        add_layer_norm(&c);
    }
    if (all_steps && random_bits() % 3 == 0) {
        add_flatten(&c, steps);
    } else if (all_steps && others && random_bits() % 3 == 0) {
        add_last(&c);
    }
    add_linear(&c, sizes[random_bits() % SIZES]);
    if (random_bits() & 1) {
        check(lstmcore_model_add_softmax(c.model, c.at, &c.at), "add_softmax");
    }
    end_chain(&c);

    lstmcore_session *session;
    check(lstmcore_session_new(c.model, 0, &session), "session_new");
    const size_t n = windows_to_try(12), size = c.width * (c.sequence ? steps : 1);
    float *x = random_floats(n * steps * input, 2.0f);
    float *state = random_floats(n * lstmcore_model_state_size(c.model), 1.0f);
    float *y = random_floats(n * size, 1.0f), *again = random_floats(size, 1.0f);
    if (seed % 5 == 4) {
        spoil(x, n * steps * input, seed);
    }
    const void *const inputs[] = {x};
    const float *const begin = seed & 1 ? state : NULL;
    check(lstmcore_run_many(session, inputs, n, steps, NULL, begin, (float *[]){y}, NULL), "run_many");
    printf("%zu %016" PRIx64 "\n", seed, hash(14695981039346656037u, y, n * size));

    /* The windows once more, one by one: nothing may be left of those before, or hang on those beside. */
    for (size_t w = 0; w < n; w++) {
        const float *const alone = begin == NULL ? NULL : begin + w * lstmcore_model_state_size(c.model);
        check(lstmcore_run(session, (const void *[]){x + w * steps * input}, steps, alone, (float *[]){again}, NULL),
              "run");
        if (memcmp(again, y + w * size, size * sizeof *y) != 0) {
            fprintf(stderr, "model %zu: window %zu of %zu gave other bits when run alone\n", seed, w, n);
            exit(1);
        }
    }
    free(x);
    free(state);
    free(y);
    free(again);
    lstmcore_session_free(session);
    lstmcore_model_free(c.model);
}

/* Windows of some lengths, with the states at their end, for a graph of one kind or another. */
static void one_graph(const char *kernel, size_t seed) {
    random_state = seed;
    const size_t steps = seed % 4 == 0 ? random_between(1, 100) : random_between(1, 12), n = windows_to_try(3);
    graph g = graph_of(kernel, steps, seed % 3 != 0);
    for (size_t layers = random_between(1, 12); layers > 0; layers--) {
        add_any(&g);
    }
    end_graph(&g, seed % 3 == 1);

    const int states = (int)(random_bits() & 1);
    lstmcore_session *session;
    check(lstmcore_session_new(g.model, states, &session), "session_new");
    float *x[MOST_PORTS], *y[MOST_PORTS];
    for (size_t k = 0; k < g.n_inputs; k++) {
        const chain *c = &g.values[k];
        const size_t rows = n * (c->sequence ? steps : 1);
        x[k] = random_floats(rows * c->width, 2.0f);
        clear_steps(x[k], c->sequence ? rows : 0, c->width);
        if (seed % 5 == 4) {
            spoil(x[k], rows * c->width, seed);
        }
    }
    for (size_t k = 0; k < g.n_outputs; k++) {
        const chain *c = &g.outputs[k];
        y[k] = random_floats(n * c->width * (c->sequence ? steps : 1), 1.0f);
    }
    size_t lengths[MAX_WINDOWS];
    for (size_t w = 0; w < n; w++) {
        lengths[w] = random_between(1, steps);
    }
    const size_t size = n * lstmcore_model_state_size(g.model);
    float *state = random_floats(size, 1.0f), *end = random_floats(size, 1.0f);
    check(lstmcore_run_many(session, (const void *const *)x, n, steps, seed % 4 == 1 && !g.n_flattened ? lengths : NULL,
                            random_bits() % 3 == 0 ? state : NULL, y, states ? end : NULL),
          "run_many");
    uint64_t bits = hash(14695981039346656037u, end, size);
    for (size_t k = 0; k < g.n_outputs; k++) {
        const chain *c = &g.outputs[k];
        bits = hash(bits, y[k], n * c->width * (c->sequence ? steps : 1));
        free(y[k]);
    }
    printf("%zu %016" PRIx64 "\n", seed, bits);
    for (size_t k = 0; k < g.n_inputs; k++) {
        free(x[k]);
    }
    free(state);
    free(end);
    lstmcore_session_free(session);
    lstmcore_model_free(g.model);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: kernel_bits KERNEL | --list\n");
        return 2;
    }
    if (strcmp(argv[1], "--list") == 0) {
        for (int k = 0; k < lstmcore_kernel_count(); k++) {
            if (lstmcore_kernel_runs(k)) {
                puts(lstmcore_kernel_name(k));
            }
        }
        return 0;
    }
    const char *const every = getenv("TRY_EVERY");
    for (size_t seed = 0; seed < MODELS; seed += every == NULL ? 1 : (size_t)atoi(every)) {
        if (seed < CHAINS) {
            one_model(argv[1], seed);
        } else {
            one_graph(argv[1], seed);
        }
    }
    return 0;
}
