/* A model built and run from C: LSTM(3 -> 8) over 20 ticks, then Linear(8, 1). */
#include <stdio.h>

#include "lstmcore.h"

enum { FEATURES = 3, HIDDEN = 8, TICKS = 20 };

static float weight_ih[4 * HIDDEN][FEATURES], weight_hh[4 * HIDDEN][HIDDEN], bias[4 * HIDDEN];
static float head[1][HIDDEN], head_bias[1];
static float window[TICKS][FEATURES], answer[1];

/* Stands for weights and ticks that your program has. */
static void fill(float *x, size_t n) {
    for (size_t k = 0; k < n; k++) {
        x[k] = (float)(k * 37 % 101) / 101.0f - 0.5f;
    }
}

static int check(int code) {
    if (code != LSTMCORE_OK) {
        fprintf(stderr, "lstmcore: %s\n", lstmcore_error(code));
    }
    return code != LSTMCORE_OK;
}

int main(void) {
    fill(&weight_ih[0][0], sizeof weight_ih / sizeof(float));
    fill(&weight_hh[0][0], sizeof weight_hh / sizeof(float));
    fill(&head[0][0], sizeof head / sizeof(float));
    fill(&window[0][0], sizeof window / sizeof(float));

    lstmcore_model *model = NULL;
    lstmcore_session *session = NULL;
    lstmcore_value ticks, h, last, score, y; /* what each layer reads and makes */
    const void *inputs[] = {window};
    float *outputs[] = {answer};
    int failed =
        check(lstmcore_model_new(NULL, &model)) ||
        check(lstmcore_model_add_input(model, "window", LSTMCORE_SEQUENCE, FEATURES, LSTMCORE_FLOAT32, &ticks)) ||
        check(lstmcore_model_add_lstm(model, ticks, HIDDEN, &weight_ih[0][0], &weight_hh[0][0], bias, &h)) ||
        check(lstmcore_model_add_last(model, h, &last)) ||
        check(lstmcore_model_add_linear(model, last, 1, &head[0][0], head_bias, &score)) ||
        check(lstmcore_model_add_activation(model, score, (lstmcore_function){.kind = LSTMCORE_SIGMOID}, &y)) ||
        check(lstmcore_model_add_output(model, "answer", y)) || check(lstmcore_model_seal(model)) ||
        check(lstmcore_session_new(model, 0, &session)) ||
        check(lstmcore_run(session, inputs, TICKS, NULL, outputs, NULL));
    if (!failed) {
        printf("answer %.6f\n", (double)answer[0]);
    }
    lstmcore_session_free(session);
    lstmcore_model_free(model); /* in any order: a session keeps its model alive */
    return failed;
}
