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

#include "lstmcore.h"

/* Arithmetic on integers alone, so that every machine draws the same numbers. */
static uint64_t random_state;

static uint32_t random_bits(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

static size_t random_between(size_t low, size_t high) {
    return low + random_bits() % (high - low + 1);
}

static float random_float(float scale) {
    return scale * ((float)(int32_t)(random_bits() % 2000001u) - 1e6f) * 1e-6f;
}

static void check(int code, const char *what) {
    if (code != LSTMCORE_OK) {
        fprintf(stderr, "%s: %s\n", what, lstmcore_error(code));
        exit(1);
    }
}

/* Exactly n floats, so that a read or write beyond them is one beyond the allocation. */
static float *random_floats(size_t n, float scale) {
    float *p = malloc(n * sizeof *p);
    if (p == NULL) {
        exit(1);
    }
    for (size_t k = 0; k < n; k++) {
        p[k] = random_float(scale);
    }
    return p;
}

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

static size_t add_lstm(lstmcore_model *model, size_t in, size_t hidden, float scale, int all_steps) {
    float *w = random_floats(4 * hidden * in, scale), *r = random_floats(4 * hidden * hidden, scale);
    float *b = random_floats(4 * hidden, scale);
    check(lstmcore_model_add_lstm(model, hidden, w, r, b, all_steps), "add_lstm");
    free(w);
    free(r);
    free(b);
    return hidden;
}

static size_t add_linear(lstmcore_model *model, size_t in, size_t out) {
    float *w = random_floats(out * in, 0.5f), *b = random_floats(out, 0.5f);
    check(lstmcore_model_add_linear(model, out, w, b), "add_linear");
    free(w);
    free(b);
    return out;
}

static void add_affine(lstmcore_model *model, size_t in) {
    float *scale = random_floats(in, 2.0f), *shift = random_floats(in, 1.0f);
    check(lstmcore_model_add_affine(model, scale, shift), "add_affine");
    free(scale);
    free(shift);
}

static uint64_t hash(uint64_t h, const float *x, size_t n) {
    const unsigned char *bytes = (const unsigned char *)x;
    for (size_t k = 0; k < n * sizeof *x; k++) {
        h = (h ^ bytes[k]) * 1099511628211u; /* FNV-1a */
    }
    return h;
}

/* Sizes below, at and above every tile: 1, 4, 8 and 16 lanes, 1, 2 and 4 rows and blocks, tails of 1 and 2 vectors. */
static const size_t sizes[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  11, 12, 13, 15,  16,  17,  23, 24,
                               25, 31, 32, 33, 40, 47, 48, 56, 63, 64, 65, 72, 100, 127, 128, 130};
#define SIZES (sizeof sizes / sizeof *sizes)

static void one_model(const char *kernel, size_t seed) {
    random_state = seed;
    const size_t input = random_between(1, 40), layers = random_between(1, 3), hidden = sizes[seed % SIZES];
    const size_t steps = seed % 4 == 0 ? random_between(1, 100) : random_between(1, 12);
    const int all_steps = (int)(random_bits() & 1);
    const float scale = random_float(1.0f) > 0 ? 0.3f : 3.0f;

    lstmcore_model *model;
    check(lstmcore_model_new(kernel, input, &model), kernel);
    size_t width = input, states = 0;
    if (random_bits() & 1) {
        add_affine(model, width);
    }
    for (size_t k = 0; k < layers; k++) {
        width = add_lstm(model, width, hidden, scale, k + 1 < layers || all_steps);
        states += hidden;
    }
    for (int kind = LSTMCORE_RELU; kind <= LSTMCORE_SIGMOID; kind++) {
        if (random_bits() % 3 == 0) {
            check(lstmcore_model_add_activation(model, (lstmcore_activation)kind, 0.3f), "add_activation");
        }
    }
    size_t rows = all_steps ? steps : 1;
    if (all_steps && random_bits() % 3 == 0) {
        check(lstmcore_model_add_flatten(model, steps), "add_flatten");
        width *= steps;
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
    float *h = random_floats(n * states, 1.0f), *c = random_floats(n * states, 2.0f);
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
    for (size_t seed = 0; seed < 230; seed++) {
        one_model(argv[1], seed);
    }
    return 0;
}
