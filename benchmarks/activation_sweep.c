/* The error of the activations against float64 over every float32 value. benchmarks/accuracy.py builds and runs
 * it.
 *
 *     activation_sweep FUNCTION KERNEL     a kernel's function
 *     activation_sweep FUNCTION -          whatever comes in: the results for all bit patterns from 0 to 2^32 - 1
 *
 * Prints a line of JSON. An ulp is the distance of the floats next to the exact result. Exact results below 2^-126,
 * which count as zero here, are held against zero apart from the rest: no result may be larger than 2^-126 there.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "dispatch.h"
#include "fp_mode.h"

enum { BATCH = 1 << 12 };

static double exact_sigmoid(double x) {
    return 1.0 / (1.0 + exp(-x));
}

static void kernel_exp(const kernel *k, float *x, size_t n) {
    k->exponential(0.0f, x, n);
}

static void kernel_tanh(const kernel *k, float *x, size_t n) {
    k->activate(LSTMCORE_TANH, 0.0f, 0.0f, x, n);
}

static void kernel_sigmoid(const kernel *k, float *x, size_t n) {
    k->activate(LSTMCORE_SIGMOID, 0.0f, 0.0f, x, n);
}

/* One without numbers of its own. */
#define PLAIN(name, kind, equation)                                  \
    static void kernel_##name(const kernel *k, float *x, size_t n) { \
        k->activate(LSTMCORE_##kind, 0.0f, 0.0f, x, n);              \
    }                                                                \
    static double exact_##name(double x) {                           \
        return equation;                                             \
    }

PLAIN(exponential, EXPONENTIAL, exp(x))
PLAIN(softsign, SOFTSIGN, x / (1.0 + fabs(x)))
PLAIN(softplus, SOFTPLUS, fmax(x, 0.0) + log1p(exp(-fabs(x))))
PLAIN(silu, SILU, x / (1.0 + exp(-x)))
PLAIN(selu, SELU, 1.0507009873554805 * (x > 0.0 ? x : 1.6732632423543772 * expm1(x) + 0.0))
PLAIN(mish, MISH, x *tanh(log1p(exp(fmin(x, 100.0)))))
PLAIN(hard_silu, HARD_SILU, x *fmin(fmax(x + 3.0, 0.0), 6.0) / 6.0)

static const struct {
    const char *name;
    void (*run)(const kernel *, float *, size_t);
    double (*exact)(double);
    double limit; /* beyond it, on the side where the result grows, exp is used by nobody */
} functions[] = {
    {"exp", kernel_exp, exp, 88.0},
    {"tanh", kernel_tanh, tanh, INFINITY},
    {"sigmoid", kernel_sigmoid, exact_sigmoid, INFINITY},
    {"exponential", kernel_exponential, exact_exponential, 88.72284f},
    {"softsign", kernel_softsign, exact_softsign, INFINITY},
    {"softplus", kernel_softplus, exact_softplus, INFINITY},
    {"silu", kernel_silu, exact_silu, INFINITY},
    {"selu", kernel_selu, exact_selu, 3.238e38},
    {"mish", kernel_mish, exact_mish, INFINITY},
    {"hard_silu", kernel_hard_silu, exact_hard_silu, INFINITY},
};

static double ulp(double exact) {
    int exponent;
    frexp(exact, &exponent);
    return ldexp(1.0, exponent - 24);
}

/* The next BATCH results, of the kernel `k` or, where that is NULL, from the standard input. */
static int results(const kernel *k, size_t f, const float *x, float *y) {
    if (k == NULL) {
        return fread(y, sizeof *y, BATCH, stdin) == BATCH;
    }
    memcpy(y, x, BATCH * sizeof *y);
    const fp_mode callers = fp_mode_enter();
    functions[f].run(k, y, BATCH);
    fp_mode_leave(callers);
    return 1;
}

static int sweep(const kernel *k, size_t f) {
    double worst = 0.0, sum = 0.0;
    float worst_at = 0.0f;
    uint64_t counted = 0, above = 0, wrong = 0;
    static float x[BATCH], y[BATCH];
    for (uint64_t first = 0; first < (uint64_t)1 << 32; first += BATCH) {
        for (uint32_t n = 0; n < BATCH; n++) {
            const uint32_t bits = (uint32_t)first + n;
            memcpy(&x[n], &bits, sizeof bits);
        }
        if (!results(k, f, x, y)) {
            fprintf(stderr, "the results end at pattern %llu\n", (unsigned long long)first);
            return 2;
        }
        for (uint32_t n = 0; n < BATCH; n++) {
            if (x[n] != x[n]) {
                wrong += y[n] == y[n];
                continue;
            }
            if (x[n] > functions[f].limit) {
                continue;
            }
            /* A subnormal input counts as a zero of its sign. */
            const double in = fabsf(x[n]) < 0x1p-126f ? copysign(0.0, x[n]) : x[n];
            const double exact = functions[f].exact(in);
            if (exact != exact || isinf(exact)) {
                wrong += exact != exact ? y[n] == y[n] : (double)y[n] != exact;
                continue;
            }
            if (fabs(exact) < 0x1p-126) {
                wrong += !(fabsf(y[n]) <= 0x1p-126f) || (signbit(exact) != 0) != (signbit(y[n]) != 0);
                continue;
            }
            const double error = fabs((double)y[n] - exact) / ulp(exact);
            sum += error;
            counted++;
            above += error > 1.0;
            if (!(error <= worst)) {
                worst = error;
                worst_at = x[n];
            }
        }
    }
    printf("{\"function\": \"%s\", \"max_ulp\": %.3f, \"at\": %.9g, \"mean_ulp\": %.3f, \"percent_above_1\": %.3f, "
           "\"wrong\": %llu}\n",
           functions[f].name, worst, (double)worst_at, sum / (double)counted, 100.0 * (double)above / (double)counted,
           (unsigned long long)wrong);
    return 0;
}

int main(int argc, char **argv) {
    size_t f = 0;
    while (argc == 3 && f < sizeof functions / sizeof *functions && strcmp(argv[1], functions[f].name) != 0) {
        f++;
    }
    if (argc != 3 || f == sizeof functions / sizeof *functions) {
        fprintf(stderr, "usage: activation_sweep FUNCTION KERNEL|-\n");
        return 2;
    }
    const kernel *k = NULL;
    const int code = strcmp(argv[2], "-") == 0 ? LSTMCORE_OK : lstmcore_select_kernel(argv[2], &k);
    if (code != LSTMCORE_OK) {
        fprintf(stderr, "%s: %s\n", argv[2], lstmcore_error(code));
        return 2;
    }
    return sweep(k, f);
}
