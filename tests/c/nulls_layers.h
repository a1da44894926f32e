/* What nulls.c tries on a model that is being built. */
#ifndef NULLS_LAYERS_H
#define NULLS_LAYERS_H

#include <math.h>
#include <stdint.h>
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

static float numbers[256]; /* weights, ticks, answers */

/* What is refused of the model `m` must be told, in another text than that of the failure before. */
#define BAD(call)                                                                                            \
    do {                                                                                                     \
        REFUSED(lstmcore_model_add_output(m, "before", -1));                                                 \
        expect(strstr(lstmcore_model_error(m), "output before") != NULL, 1, "the text of -1");               \
        REFUSED(call);                                                                                       \
        expect(strstr(lstmcore_model_error(m), "output before") == NULL && *lstmcore_model_error(m) != 0, 1, \
               "a text of " #call);                                                                          \
    } while (0)

enum { LARGE = 1 << 21, ABSENT = 99 };

static void try_inputs(lstmcore_model *m) {
    const lstmcore_rank sequence = LSTMCORE_SEQUENCE;
    const lstmcore_dtype dtype = LSTMCORE_FLOAT32;
    REFUSED(lstmcore_model_add_input(NULL, "new", sequence, 2, dtype, NULL));
    BAD(lstmcore_model_add_input(m, NULL, sequence, 2, dtype, NULL));
    BAD(lstmcore_model_add_input(m, "new", (lstmcore_rank)2, 2, dtype, NULL));
    BAD(lstmcore_model_add_input(m, "new", (lstmcore_rank)-1, 2, dtype, NULL));
    BAD(lstmcore_model_add_input(m, "new", sequence, 0, dtype, NULL));
    BAD(lstmcore_model_add_input(m, "new", sequence, LARGE, dtype, NULL));
    BAD(lstmcore_model_add_input(m, "new", sequence, SIZE_MAX, dtype, NULL));
    BAD(lstmcore_model_add_input(m, "new", sequence, 2, LSTMCORE_INT32, NULL));
    BAD(lstmcore_model_add_input(m, "new", sequence, 2, (lstmcore_dtype)9, NULL));
    BAD(lstmcore_model_add_input(m, "ticks", sequence, 2, dtype, NULL)); /* there is one */
}

static void try_recurrent(lstmcore_model *m, lstmcore_value x, lstmcore_value vector) {
    const float *const w = numbers;
    const lstmcore_activation tanh_ = LSTMCORE_TANH;
    const lstmcore_value wrong[] = {-1, ABSENT, vector};
    lstmcore_variant how = {.cell = LSTMCORE_RNN, .hidden = 2, .candidate = {LSTMCORE_TANH, 0, 0}};
    REFUSED(lstmcore_model_add_lstm(NULL, x, 2, w, w, w, NULL));
    REFUSED(lstmcore_model_add_gru(NULL, x, 2, w, w, w, w, NULL));
    REFUSED(lstmcore_model_add_rnn(NULL, x, 2, w, w, w, tanh_, NULL));
    REFUSED(lstmcore_model_add_variant(NULL, x, &how, NULL));
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        how.weight_ih = how.weight_hh = w;
        BAD(lstmcore_model_add_lstm(m, wrong[k], 2, w, w, w, NULL));
        BAD(lstmcore_model_add_gru(m, wrong[k], 2, w, w, w, w, NULL));
        BAD(lstmcore_model_add_rnn(m, wrong[k], 2, w, w, w, tanh_, NULL));
        BAD(lstmcore_model_add_variant(m, wrong[k], &how, NULL));
    }
    for (size_t hidden = 0; hidden <= LARGE; hidden += LARGE) {
        how.hidden = hidden;
        BAD(lstmcore_model_add_lstm(m, x, hidden, w, w, w, NULL));
        BAD(lstmcore_model_add_gru(m, x, hidden, w, w, w, w, NULL));
        BAD(lstmcore_model_add_rnn(m, x, hidden, w, w, w, tanh_, NULL));
        BAD(lstmcore_model_add_variant(m, x, &how, NULL));
    }
    for (int missing = 0; missing < 4; missing++) {
        const float *const a = missing == 0 ? NULL : w, *const b = missing == 1 ? NULL : w;
        const float *const c = missing == 2 ? NULL : w, *const d = missing == 3 ? NULL : w;
        BAD(lstmcore_model_add_gru(m, x, 2, a, b, c, d, NULL));
        if (missing < 3) {
            BAD(lstmcore_model_add_lstm(m, x, 2, a, b, c, NULL));
            BAD(lstmcore_model_add_rnn(m, x, 2, a, b, c, tanh_, NULL));
        }
        if (missing < 2) {
            how = (lstmcore_variant){.cell = LSTMCORE_RNN, .hidden = 2, .weight_ih = a, .weight_hh = b};
            BAD(lstmcore_model_add_variant(m, x, &how, NULL));
        }
    }
    BAD(lstmcore_model_add_rnn(m, x, 2, w, w, w, (lstmcore_activation)1000, NULL));
    BAD(lstmcore_model_add_rnn(m, x, 2, w, w, w, LSTMCORE_SIGMOID, NULL));
    BAD(lstmcore_model_add_variant(m, x, NULL, NULL));
    how = (lstmcore_variant){.cell = LSTMCORE_LSTM, .hidden = 2, .weight_ih = w, .weight_hh = w, .proj = LARGE};
    how.weight_hr = w;
    BAD(lstmcore_model_add_variant(m, x, &how, NULL));
    how.proj = 1;
    how.weight_hr = NULL;
    BAD(lstmcore_model_add_variant(m, x, &how, NULL));
}

/* Of a recurrent layer: what it begins with, which steps count. */
static void try_settings(lstmcore_model *m, lstmcore_value x, lstmcore_value vector) {
    const float *const w = numbers;
    lstmcore_value lstm, gru, mask, late;
    OK(lstmcore_model_add_differs(m, x, 0.0f, &mask));
    OK(lstmcore_model_add_lstm(m, x, 2, w, w, w, &lstm));
    OK(lstmcore_model_add_gru(m, x, 2, w, w, w, w, &gru));
    OK(lstmcore_model_add_differs(m, x, 0.0f, &late));
    REFUSED(lstmcore_model_set_start(NULL, lstm, w, w));
    BAD(lstmcore_model_set_start(m, -1, w, w));
    BAD(lstmcore_model_set_start(m, ABSENT, w, w));
    BAD(lstmcore_model_set_start(m, x, w, w));
    BAD(lstmcore_model_set_start(m, mask, w, w));
    BAD(lstmcore_model_set_start(m, lstm, NULL, w));
    BAD(lstmcore_model_set_start(m, lstm, w, NULL));
    BAD(lstmcore_model_set_start(m, gru, w, w));
    OK(lstmcore_model_set_start(m, lstm, w, w));
    BAD(lstmcore_model_set_start(m, lstm, w, w)); /* twice */
    REFUSED(lstmcore_model_set_mask(NULL, lstm, mask));
    BAD(lstmcore_model_set_mask(m, mask, mask));
    BAD(lstmcore_model_set_mask(m, ABSENT, mask));
    BAD(lstmcore_model_set_mask(m, lstm, -1));
    BAD(lstmcore_model_set_mask(m, lstm, ABSENT));
    BAD(lstmcore_model_set_mask(m, lstm, x)); /* too wide */
    BAD(lstmcore_model_set_mask(m, lstm, vector));
    BAD(lstmcore_model_set_mask(m, lstm, lstm));
    BAD(lstmcore_model_set_mask(m, lstm, late));
    OK(lstmcore_model_set_mask(m, lstm, mask));
    BAD(lstmcore_model_set_mask(m, lstm, mask)); /* twice */
}

static void try_row_layers(lstmcore_model *m, lstmcore_value x) {
    const float *const w = numbers;
    const lstmcore_function relu = {LSTMCORE_RELU, 0, 0}, unknown = {(lstmcore_activation)1000, 0, 0};
    REFUSED(lstmcore_model_add_linear(NULL, x, 2, w, w, NULL));
    REFUSED(lstmcore_model_add_affine(NULL, x, w, w, NULL));
    REFUSED(lstmcore_model_add_activation(NULL, x, relu, NULL));
    REFUSED(lstmcore_model_add_layer_norm(NULL, x, w, w, 0.0f, NULL));
    REFUSED(lstmcore_model_add_softmax(NULL, x, NULL));
    for (lstmcore_value v = -1; v <= ABSENT; v += ABSENT + 1) {
        BAD(lstmcore_model_add_linear(m, v, 2, w, w, NULL));
        BAD(lstmcore_model_add_affine(m, v, w, w, NULL));
        BAD(lstmcore_model_add_activation(m, v, relu, NULL));
        BAD(lstmcore_model_add_layer_norm(m, v, w, w, 0.0f, NULL));
        BAD(lstmcore_model_add_softmax(m, v, NULL));
    }
    BAD(lstmcore_model_add_linear(m, x, 0, w, w, NULL));
    BAD(lstmcore_model_add_linear(m, x, LARGE, w, w, NULL));
    BAD(lstmcore_model_add_linear(m, x, 2, NULL, w, NULL));
    BAD(lstmcore_model_add_linear(m, x, 2, w, NULL, NULL));
    BAD(lstmcore_model_add_affine(m, x, NULL, w, NULL));
    BAD(lstmcore_model_add_affine(m, x, w, NULL, NULL));
    BAD(lstmcore_model_add_activation(m, x, unknown, NULL));
    BAD(lstmcore_model_add_layer_norm(m, x, w, w, -1.0f, NULL));
    BAD(lstmcore_model_add_layer_norm(m, x, w, w, NAN, NULL));
    OK(lstmcore_model_add_layer_norm(m, x, NULL, NULL, 0.0f, NULL));
}

static void try_joins_and_steps(lstmcore_model *m, lstmcore_value x, lstmcore_value vector) {
    const lstmcore_value same[] = {x, x}, mixed[] = {x, vector}, absent[] = {x, ABSENT}, below[] = {-1, x};
    lstmcore_value narrow[] = {x, 0};
    OK(lstmcore_model_add_differs(m, x, 0.0f, &narrow[1]));
    REFUSED(lstmcore_model_add_join(NULL, LSTMCORE_SUM, same, 2, NULL));
    for (int how = LSTMCORE_CONCAT; how <= LSTMCORE_MAXIMUM; how++) {
        BAD(lstmcore_model_add_join(m, (lstmcore_join)how, NULL, 2, NULL));
        BAD(lstmcore_model_add_join(m, (lstmcore_join)how, same, 0, NULL));
        BAD(lstmcore_model_add_join(m, (lstmcore_join)how, same, 1, NULL));
        BAD(lstmcore_model_add_join(m, (lstmcore_join)how, same, SIZE_MAX, NULL));
        BAD(lstmcore_model_add_join(m, (lstmcore_join)how, mixed, 2, NULL));
        BAD(lstmcore_model_add_join(m, (lstmcore_join)how, absent, 2, NULL));
        BAD(lstmcore_model_add_join(m, (lstmcore_join)how, below, 2, NULL));
        if (how != LSTMCORE_CONCAT) {
            BAD(lstmcore_model_add_join(m, (lstmcore_join)how, narrow, 2, NULL));
        }
    }
    BAD(lstmcore_model_add_join(m, (lstmcore_join)5, same, 2, NULL));
    BAD(lstmcore_model_add_join(m, (lstmcore_join)-1, same, 2, NULL));
    REFUSED(lstmcore_model_add_differs(NULL, x, 0.0f, NULL));
    REFUSED(lstmcore_model_add_where(NULL, x, narrow[1], NULL));
    REFUSED(lstmcore_model_add_last(NULL, x, NULL));
    REFUSED(lstmcore_model_add_reverse(NULL, x, NULL));
    REFUSED(lstmcore_model_add_flatten(NULL, x, 2, NULL));
    const lstmcore_value wrong[] = {-1, ABSENT, vector};
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        BAD(lstmcore_model_add_differs(m, wrong[k], 0.0f, NULL));
        BAD(lstmcore_model_add_where(m, wrong[k], narrow[1], NULL));
        BAD(lstmcore_model_add_where(m, x, wrong[k], NULL));
        BAD(lstmcore_model_add_last(m, wrong[k], NULL));
        BAD(lstmcore_model_add_reverse(m, wrong[k], NULL));
        BAD(lstmcore_model_add_flatten(m, wrong[k], 2, NULL));
    }
    BAD(lstmcore_model_add_differs(m, x, NAN, NULL));
    BAD(lstmcore_model_add_where(m, x, x, NULL)); /* too wide for a mask */
    BAD(lstmcore_model_add_flatten(m, x, 0, NULL));
    BAD(lstmcore_model_add_flatten(m, x, 1 << 20, NULL)); /* times two */
    BAD(lstmcore_model_add_flatten(m, x, SIZE_MAX, NULL));
}

static void try_outputs(lstmcore_model *m, lstmcore_value x, lstmcore_value y) {
    lstmcore_session *session;
    lstmcore_streams *streams;
    expect(lstmcore_session_new(m, 0, &session), LSTMCORE_SEALED, "a session of a model that is not sealed");
    expect(strstr(lstmcore_model_error(m), "a session: ") != NULL, 1, "a text of a session");
    expect(lstmcore_streams_new(m, 2, 1, &streams), LSTMCORE_SEALED, "streams of a model that is not sealed");
    expect(strstr(lstmcore_model_error(m), "streams: ") != NULL, 1, "a text of streams");
    ZERO(lstmcore_model_slides(m));
    ZERO(lstmcore_model_carries(m));
    REFUSED(lstmcore_model_seal(NULL));
    BAD(lstmcore_model_seal(m)); /* there is no output */
    REFUSED(lstmcore_model_add_output(NULL, "answer", y));
    BAD(lstmcore_model_add_output(m, NULL, y));
    BAD(lstmcore_model_add_output(m, "new", ABSENT));
    BAD(lstmcore_model_add_output(m, "new", x)); /* an input */
    OK(lstmcore_model_add_output(m, "answer", y));
    BAD(lstmcore_model_add_output(m, "answer", y));
    BAD(lstmcore_model_add_input(m, "late", LSTMCORE_VECTOR, 1, LSTMCORE_FLOAT32, NULL));
}

/* Nothing can be added to a sealed model. */
static void try_sealed(lstmcore_model *m, lstmcore_value x, lstmcore_value y) {
    const float *const w = numbers;
    const lstmcore_variant how = {.cell = LSTMCORE_RNN, .hidden = 2, .weight_ih = w, .weight_hh = w};
    expect(*lstmcore_model_error(m), 0, "a text of a sealed model that slides");
    expect(lstmcore_model_seal(m), LSTMCORE_SEALED, "seal");
    expect(lstmcore_model_add_input(m, "n", LSTMCORE_VECTOR, 1, LSTMCORE_FLOAT32, NULL), LSTMCORE_SEALED, "input");
    expect(lstmcore_model_add_output(m, "n", y), LSTMCORE_SEALED, "output");
    expect(lstmcore_model_set_start(m, y, w, NULL), LSTMCORE_SEALED, "set_start");
    expect(lstmcore_model_set_mask(m, y, x), LSTMCORE_SEALED, "set_mask");
    expect(lstmcore_model_add_lstm(m, x, 2, w, w, w, NULL), LSTMCORE_SEALED, "lstm");
    expect(lstmcore_model_add_gru(m, x, 2, w, w, w, w, NULL), LSTMCORE_SEALED, "gru");
    expect(lstmcore_model_add_rnn(m, x, 2, w, w, w, LSTMCORE_TANH, NULL), LSTMCORE_SEALED, "rnn");
    expect(lstmcore_model_add_variant(m, x, &how, NULL), LSTMCORE_SEALED, "variant");
    expect(lstmcore_model_add_linear(m, x, 2, w, w, NULL), LSTMCORE_SEALED, "linear");
    expect(lstmcore_model_add_join(m, LSTMCORE_SUM, (lstmcore_value[]){x, x}, 2, NULL), LSTMCORE_SEALED, "join");
    expect(lstmcore_model_add_flatten(m, x, 2, NULL), LSTMCORE_SEALED, "flatten");
    expect(*lstmcore_model_error(m), 0, "a text that others may be reading");
}

#endif
