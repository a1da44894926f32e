/* The error of the activations against float64 over every float32 value. benchmarks/accuracy.py builds and runs it.
 *
 *     activation_sweep FUNCTION ALPHA BETA KERNEL STREAMS STRIDE
 *
 * counts for a kernel's function with its numbers (0 where it has none) and for STREAMS others, whose results come in
 * from the standard input: BATCH floats of the first for the bit patterns 0, STRIDE, 2*STRIDE, ..., the same of the
 * second, and so by turns to the end; the last batch is shorter.
 *
 * Prints a JSON list, the kernel first. An ulp is the distance of the floats next to the exact result. Where that is no
 * normal float, or the result is none, it is right or wrong: below 2^-126, which counts as zero here, it may be up to
 * 2^-126 large and has to have the exact one's sign; beyond the largest float it is that or an infinity.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/dispatch.h"
#include "kernels/fp_mode.h"

enum { BATCH = 1 << 18, MAX_ENGINES = 8 };

/* In forms that cancel nowhere, so that float64 is exact enough. */
#define EQUATION(name, expression)                             \
    static double exact_##name(double x, double a, double b) { \
        (void)a;                                               \
        (void)b;                                               \
        return expression;                                     \
    }

EQUATION(exp, exp(x))
EQUATION(tanh, tanh(x))
EQUATION(sigmoid, 1.0 / (1.0 + exp(-x)))
EQUATION(relu, x > 0.0 ? x : 0.0)
EQUATION(leaky_relu, x > 0.0 ? x : a * x)
EQUATION(elu, x > 0.0 ? x : a * expm1(x))
EQUATION(gelu, 0.5 * x * erfc(-x * 0.70710678118654752))
EQUATION(gelu_tanh, x / (1.0 + exp(-2.0 * 0.79788456080286536 * (x + 0.044715 * x * x * x))))
EQUATION(affine, a *x + b)
EQUATION(thresholded_relu, x > a ? x : 0.0)
EQUATION(scaled_tanh, a *tanh(b *x))
EQUATION(hard_sigmoid, fmin(fmax(a *x + b, 0.0), 1.0))
EQUATION(softsign, x / (1.0 + fabs(x)))
EQUATION(softplus, fmax(x, 0.0) + log1p(exp(-fabs(x))))
EQUATION(silu, x / (1.0 + exp(-x)))
EQUATION(selu, 1.0507009873554805 * (x > 0.0 ? x : 1.6732632423543772 * expm1(x)))
EQUATION(relu6, fmin(fmax(x, 0.0), 6.0))
EQUATION(hard_tanh, fmin(fmax(x, -1.0), 1.0))
EQUATION(mish, x *tanh(log1p(exp(fmin(x, 100.0)))))
EQUATION(hard_silu, x *fmin(fmax(x + 3.0, 0.0), 6.0) / 6.0)

enum { SOFTMAX = -1 }; /* the e^x of a softmax, which is no activation */

static const struct function {
    const char *name;
    int kind;
    double (*exact)(double x, double a, double b);
    int either_zero; /* by a comparison with 0, which says nothing of a zero's sign */
    float limit;     /* looked at up to it, 0: everywhere */
} functions[] = {
    {"exp", SOFTMAX, exact_exp, 0, 88.0f},
    {"tanh", LSTMCORE_TANH, exact_tanh, 0, 0.0f},
    {"sigmoid", LSTMCORE_SIGMOID, exact_sigmoid, 0, 0.0f},
    {"relu", LSTMCORE_RELU, exact_relu, 1, 0.0f},
    {"leaky_relu", LSTMCORE_LEAKY_RELU, exact_leaky_relu, 0, 0.0f},
    {"elu", LSTMCORE_ELU, exact_elu, 0, 0.0f},
    {"gelu", LSTMCORE_GELU, exact_gelu, 0, 0.0f},
    {"gelu_tanh", LSTMCORE_GELU_TANH, exact_gelu_tanh, 0, 0.0f},
    {"affine", LSTMCORE_AFFINE, exact_affine, 0, 0.0f},
    {"thresholded_relu", LSTMCORE_THRESHOLDED_RELU, exact_thresholded_relu, 1, 0.0f},
    {"scaled_tanh", LSTMCORE_SCALED_TANH, exact_scaled_tanh, 0, 0.0f},
    {"hard_sigmoid", LSTMCORE_HARD_SIGMOID, exact_hard_sigmoid, 1, 0.0f},
    {"softsign", LSTMCORE_SOFTSIGN, exact_softsign, 0, 0.0f},
    {"softplus", LSTMCORE_SOFTPLUS, exact_softplus, 0, 0.0f},
    {"silu", LSTMCORE_SILU, exact_silu, 0, 0.0f},
    {"selu", LSTMCORE_SELU, exact_selu, 0, 0.0f},
    {"relu6", LSTMCORE_RELU6, exact_relu6, 1, 0.0f},
    {"exponential", LSTMCORE_EXPONENTIAL, exact_exp, 0, 0.0f},
    {"hard_tanh", LSTMCORE_HARD_TANH, exact_hard_tanh, 0, 0.0f},
    {"mish", LSTMCORE_MISH, exact_mish, 0, 0.0f},
    {"hard_silu", LSTMCORE_HARD_SILU, exact_hard_silu, 0, 0.0f},
};

typedef struct {
    double worst, sum;
    float at, wrong_at; /* of the largest error; of the first wrong result */
    uint64_t counted, above, wrong;
} figures;

/* The distance of the floats around a number of their range: its power of two, from its bits. */
static double ulp(double exact) {
    uint64_t bits;
    memcpy(&bits, &exact, sizeof bits);
    bits &= (uint64_t)0x7ff << 52;
    memcpy(&exact, &bits, sizeof bits);
    return 0x1p-23 * exact;
}

static int right(const struct function *f, double exact, float y) {
    if (exact != exact) {
        return y != y;
    }
    if (isinf(exact)) {
        return (double)y == exact;
    }
    const int same_sign = (signbit(exact) != 0) == (signbit(y) != 0);
    if (fabs(exact) < 0x1p-126) {
        return fabsf(y) <= 0x1p-126f && (same_sign || f->either_zero);
    }
    return same_sign && fabsf(y) >= 0x1.fffffep127f; /* NaN is not */
}

static void count(figures *c, const struct function *f, float x, double exact, float y) {
    const int normal = fabs(exact) >= 0x1p-126 && fabs(exact) < 0x1.ffffffp127;
    if (!normal || !isfinite(y)) {
        const int wrong = normal || !right(f, exact, y);
        c->wrong_at = wrong && c->wrong == 0 ? x : c->wrong_at;
        c->wrong += (unsigned)wrong;
        return;
    }
    const double error = fabs((double)y - exact) / ulp(exact);
    c->sum += error;
    c->counted++;
    c->above += error > 1.0;
    if (!(error <= c->worst)) {
        c->worst = error;
        c->at = x;
    }
}

static void run(const kernel *k, const struct function *f, float alpha, float beta, float *x, size_t n) {
    const fp_mode callers = fp_mode_enter();
    if (f->kind == SOFTMAX) {
        k->exponential(0.0f, x, n);
    } else {
        k->activate((lstmcore_activation)f->kind, alpha, beta, x, n);
    }
    fp_mode_leave(callers);
}

static int sweep(const kernel *k, const struct function *f, float alpha, float beta, size_t streams, uint64_t stride) {
    static float x[BATCH], y[MAX_ENGINES][BATCH];
    figures all[MAX_ENGINES] = {{0}};
    for (uint64_t next = 0, n; next <= UINT32_MAX; next += n * stride) {
        for (n = 0; n < BATCH && next + n * stride <= UINT32_MAX; n++) {
            const uint32_t bits = (uint32_t)(next + n * stride);
            memcpy(&x[n], &bits, sizeof bits);
        }
        memcpy(y[0], x, sizeof x);
        run(k, f, alpha, beta, y[0], BATCH);
        for (size_t e = 1; e <= streams; e++) {
            if (fread(y[e], sizeof **y, n, stdin) != n) {
                fprintf(stderr, "the results of stream %zu end behind pattern %llu\n", e, (unsigned long long)next);
                return 2;
            }
        }
        for (uint64_t m = 0; m < n; m++) {
            if (f->limit > 0.0f && x[m] > f->limit) {
                continue;
            }
            /* A subnormal input counts as a zero of its sign. */
            const double in = fabsf(x[m]) < 0x1p-126f ? copysign(0.0, x[m]) : x[m];
            const double exact = in != in ? in : f->exact(in, alpha, beta);
            for (size_t e = 0; e <= streams; e++) {
                count(&all[e], f, x[m], exact, y[e][m]);
            }
        }
    }
    for (size_t e = 0; e <= streams; e++) {
        const figures *c = &all[e];
        const double per_cent = 100.0 * (double)c->above / (double)c->counted;
        printf("%s{\"max_ulp\": %.3f, \"at\": \"%.9g\", \"mean_ulp\": %.3f, \"percent_above_1\": %.3f, "
               "\"wrong\": %llu, \"first_wrong_at\": \"%.9g\"}",
               e == 0 ? "[" : ", ", c->worst, (double)c->at, c->sum / (double)c->counted, per_cent,
               (unsigned long long)c->wrong, (double)c->wrong_at);
    }
    printf("]\n");
    return 0;
}

int main(int argc, char **argv) {
    const size_t known = sizeof functions / sizeof *functions;
    size_t f = 0;
    while (argc == 7 && f < known && strcmp(argv[1], functions[f].name) != 0) {
        f++;
    }
    const unsigned long streams = argc == 7 ? strtoul(argv[5], NULL, 10) : 0;
    const unsigned long stride = argc == 7 ? strtoul(argv[6], NULL, 10) : 0;
    if (argc != 7 || f == known || streams >= MAX_ENGINES || stride == 0) {
        fprintf(stderr, "usage: activation_sweep FUNCTION ALPHA BETA KERNEL STREAMS STRIDE\n");
        return 2;
    }
    const kernel *k = NULL;
    const int code = lstmcore_select_kernel(argv[4], &k);
    if (code != LSTMCORE_OK) {
        fprintf(stderr, "%s: %s\n", argv[4], lstmcore_error(code));
        return 2;
    }
    return sweep(k, &functions[f], strtof(argv[2], NULL), strtof(argv[3], NULL), streams, stride);
}
