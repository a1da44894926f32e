/* Prints a hash of a kernel's outputs for each of many random models, one a line: the lines of all kernels, on all
 * processors, must be the same. Also the program that the sanitizers watch.
 *
 *     kernel_bits KERNEL
 *     kernel_bits --list       the kernels that run here
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "random_layers.h"

/* The first are LSTMs and what stands around them; those that follow have every other layer too. */
enum { LSTM_MODELS = 230, MODELS = 2 * LSTM_MODELS };

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

static size_t add_lstm(lstmcore_model *model, size_t in, size_t hidden, float scale, int all_steps) {
    float *w = random_floats(4 * hidden * in, scale), *r = random_floats(4 * hidden * hidden, scale);
    float *b = random_floats(4 * hidden, scale);
    check(lstmcore_model_add_lstm(model, hidden, w, r, b, all_steps), "add_lstm");
    free(w);
    free(r);
    free(b);
    return hidden;
}

static void one_model(const char *kernel, size_t seed) {
    random_state = seed;
    const size_t input = random_between(1, 40), layers = random_between(1, 3), hidden = sizes[seed % SIZES];
    const size_t steps = seed % 4 == 0 ? random_between(1, 100) : random_between(1, 12);
    const int all_steps = (int)(random_bits() & 1);
    const float scale = random_float(1.0f) > 0 ? 0.3f : 3.0f;

    lstmcore_model *model;
    check(lstmcore_model_new(kernel, input, &model), kernel);
    const int others = seed >= LSTM_MODELS;
    size_t width = input, h_states = 0, c_states = 0;
    if (random_bits() & 1) {
        add_affine(model, width);
    }
    for (size_t k = 0; k < layers; k++) {
        const int all = k + 1 < layers || all_steps;
        if (others) {
            width = add_recurrent(model, width, hidden, scale, all, &h_states, &c_states);
        } else {
            width = add_lstm(model, width, hidden, scale, all);
            h_states += width;
            c_states += width;
        }
    }
    for (int kind = LSTMCORE_RELU; kind <= (others ? LSTMCORE_HARD_SILU : LSTMCORE_SIGMOID); kind++) {
        if (random_bits() % (others ? 10 : 3) == 0) {
            check(lstmcore_model_add_activation(model, (lstmcore_activation)kind, 0.3f, 0.6f), "add_activation");
        }
    }
    if (others && random_bits() % 3 == 0) {
        add_layer_norm(model, width);
    }
    size_t rows = all_steps ? steps : 1;
    if (all_steps && random_bits() % 3 == 0) {
        check(lstmcore_model_add_flatten(model, steps), "add_flatten");
        width *= steps;
        rows = 1;
    } else if (all_steps && others && random_bits() % 3 == 0) {
        check(lstmcore_model_add_last(model), "add_last");
        rows = 1;
    }
    width = add_linear(model, width, sizes[random_bits() % SIZES]);
    if (random_bits() & 1) {
        check(lstmcore_model_add_softmax(model), "add_softmax");
    }

    lstmcore_session *session;
    check(lstmcore_session_new(model, &session), "session_new");
    const size_t n = 3;
    float *x = random_floats(n * steps * input, 2.0f);
    float *h = random_floats(n * h_states, 1.0f), *c = random_floats(n * c_states, 2.0f);
    float *y = random_floats(n * rows * width, 1.0f), *again = random_floats(rows * width, 1.0f);
    if (seed % 5 == 4) {
        spoil(x, n * steps * input, seed);
    }
    check(lstmcore_run_many(session, x, n, steps, seed & 1 ? h : NULL, seed & 1 ? c : NULL, y), "run_many");
    printf("%zu %016" PRIx64 "\n", seed, hash(14695981039346656037u, y, n * rows * width));

    /* The first window once more: nothing may be left of the windows before. */
    check(lstmcore_run(session, x, steps, seed & 1 ? h : NULL, seed & 1 ? c : NULL, again), "run");
    if (memcmp(again, y, rows * width * sizeof *y) != 0) {
        fprintf(stderr, "model %zu: the same window gave other bits when run again\n", seed);
        exit(1);
    }
    free(x);
    free(h);
    free(c);
    free(y);
    free(again);
    lstmcore_session_free(session);
    lstmcore_model_free(model);
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
    for (size_t seed = 0; seed < MODELS; seed++) {
        one_model(argv[1], seed);
    }
    return 0;
}
