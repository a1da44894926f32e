/* Random numbers and layers of random weights, the same on every machine. */
#ifndef RANDOM_LAYERS_H
#define RANDOM_LAYERS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "lstmcore.h"

/* No more than this many at once: blocks of windows in lockstep, and some that are left over. */
enum { MAX_WINDOWS = 40 };

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

/* A value that layers are added to, each reading the one before. */
typedef struct {
    lstmcore_model *model;
    lstmcore_value at;
    size_t width;
    int sequence;
} chain;

static inline chain chain_of(const char *kernel_name, size_t input) {
    chain c = {.width = input, .sequence = 1};
    check(lstmcore_model_new(kernel_name, &c.model), kernel_name);
    check(lstmcore_model_add_input(c.model, "window", LSTMCORE_SEQUENCE, input, LSTMCORE_FLOAT32, &c.at), "add_input");
    return c;
}

/* No more layers: what came out of the last one is the answer. */
static inline void end_chain(const chain *c) {
    check(lstmcore_model_add_output(c->model, "answer", c->at), "add_output");
    check(lstmcore_model_seal(c->model), "seal");
}

static void add_linear(chain *c, size_t out) {
    float *w = random_floats(out * c->width, 0.5f), *b = random_floats(out, 0.5f);
    check(lstmcore_model_add_linear(c->model, c->at, out, w, b, &c->at), "add_linear");
    free(w);
    free(b);
    c->width = out;
}

static void add_affine(chain *c) {
    float *scale = random_floats(c->width, 2.0f), *shift = random_floats(c->width, 1.0f);
    check(lstmcore_model_add_affine(c->model, c->at, scale, shift, &c->at), "add_affine");
    free(scale);
    free(shift);
}

static lstmcore_activation random_activation(void) {
    return (lstmcore_activation)random_between(LSTMCORE_RELU, LSTMCORE_HARD_SILU);
}

static void add_activation(chain *c, lstmcore_activation kind) {
    const lstmcore_function f = {kind, 0.3f, 0.6f};
    check(lstmcore_model_add_activation(c->model, c->at, f, &c->at), "add_activation");
}

static void add_last(chain *c) {
    check(lstmcore_model_add_last(c->model, c->at, &c->at), "add_last");
    c->sequence = 0;
}

static void add_flatten(chain *c, size_t steps) {
    check(lstmcore_model_add_flatten(c->model, c->at, steps, &c->at), "add_flatten");
    c->sequence = 0;
    c->width *= steps;
}

static void add_layer_norm(chain *c) {
    float *weight = random_floats(c->width, 2.0f), *bias = random_floats(c->width, 1.0f);
    const int affine = random_bits() % 4 != 0;
    check(lstmcore_model_add_layer_norm(c->model, c->at, affine ? weight : NULL, affine ? bias : NULL, 1e-5f, &c->at),
          "add_layer_norm");
    free(weight);
    free(bias);
}

/* The usual function, or in one case of three any other: of two numbers that suit all of them. */
static lstmcore_function random_function(lstmcore_activation usual) {
    return (lstmcore_function){random_bits() % 3 != 0 ? usual : random_activation(), 0.3f, 0.6f};
}

/* `size` random floats in one case of three, else NULL. */
static float *at_times(int may, size_t size, float scale) {
    return may && random_bits() % 3 == 0 ? random_floats(size, scale) : NULL;
}

/* A recurrent layer of any kind and setting. */
static void add_recurrent(chain *c, size_t hidden, float scale) {
    lstmcore_model *const model = c->model;
    const lstmcore_value at = c->at;
    const size_t in = c->width;
    const lstmcore_cell cell = (lstmcore_cell)(random_bits() % 3);
    const size_t gates = cell == LSTMCORE_LSTM ? 4 : cell == LSTMCORE_GRU ? 3 : 1;
    const int lstm = cell == LSTMCORE_LSTM, usual = random_bits() % 3 == 0;
    const size_t proj = lstm && !usual && random_bits() % 3 == 0 ? random_between(1, 40) : 0;
    const size_t width = proj != 0 ? proj : hidden;
    float *w = random_floats(gates * hidden * in, scale), *r = random_floats(gates * hidden * width, scale);
    float *b = random_floats(gates * hidden, scale), *d = random_floats(gates * hidden, scale);
    float *owned[] = {w, r, b, d, NULL, NULL, NULL, NULL, NULL, NULL};
    c->width = width;
    if (usual && lstm) {
        check(lstmcore_model_add_lstm(model, at, hidden, w, r, b, &c->at), "add_lstm");
    } else if (usual && cell == LSTMCORE_GRU) {
        check(lstmcore_model_add_gru(model, at, hidden, w, r, b, d, &c->at), "add_gru");
    } else if (usual) {
        const lstmcore_activation f = random_bits() & 1 ? LSTMCORE_TANH : LSTMCORE_RELU;
        check(lstmcore_model_add_rnn(model, at, hidden, w, r, b, f, &c->at), "add_rnn");
    } else {
        const int norms = lstm && random_bits() % 3 == 0;
        lstmcore_variant how = {.cell = cell, .hidden = hidden, .proj = proj, .weight_ih = w, .weight_hh = r};
        how.gate = random_function(LSTMCORE_SIGMOID);
        how.candidate = random_function(LSTMCORE_TANH);
        how.output = random_function(LSTMCORE_TANH);
        how.clip = random_bits() % 3 == 0 ? 0.7f : 0.0f;
        how.coupled = lstm && random_bits() % 3 == 0;
        how.reset_after = cell == LSTMCORE_GRU && random_bits() % 2 == 0;
        how.bias_ih = random_bits() % 3 == 0 ? NULL : b;
        how.bias_hh = random_bits() % 3 == 0 ? NULL : d;
        how.weight_hr = owned[4] = proj != 0 ? random_floats(proj * hidden, 0.5f) : NULL;
        how.peephole = owned[5] = at_times(lstm, 3 * hidden, 1.0f);
        how.norm_ih = owned[6] = norms ? random_floats(4 * hidden, 1.0f) : NULL;
        how.norm_hh = owned[7] = norms ? random_floats(4 * hidden, 1.0f) : NULL;
        how.norm_c = owned[8] = norms ? random_floats(hidden, 1.0f) : NULL;
        how.norm_c_bias = owned[9] = at_times(norms, hidden, 1.0f);
        how.norm_eps = 1e-5f;
        check(lstmcore_model_add_variant(model, at, &how, &c->at), "add_variant");
    }
    for (size_t n = 0; n < sizeof owned / sizeof *owned; n++) {
        free(owned[n]);
    }
}

/* Sizes below, at and above every tile: 1, 4, 8 and 16 lanes, 1, 2 and 4 rows and blocks, tails of 1 and 2 vectors. */
static const size_t sizes[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  11, 12, 13, 15,  16,  17,  23, 24,
                               25, 31, 32, 33, 40, 47, 48, 56, 63, 64, 65, 72, 100, 127, 128, 130};
#define SIZES (sizeof sizes / sizeof *sizes)

#endif
