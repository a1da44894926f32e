/* The error of exp, tanh and sigmoid against float64 over every float32 value. Takes some minutes.
 *
 *     cmake -S . -B build/sweep -DLSTMCORE_BENCHMARKS=ON && cmake --build build/sweep && build/sweep/activation_sweep
 *
 * An ulp is the distance of the floats next to the exact result. Exact results below 2^-126, which count as zero here,
 * are held against zero apart from the rest: no result may be larger than 2^-126 there.
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
    k->activate(LSTMCORE_TANH, 0.0f, x, n);
}

static void kernel_sigmoid(const kernel *k, float *x, size_t n) {
    k->activate(LSTMCORE_SIGMOID, 0.0f, x, n);
}

static const struct {
    const char *name;
    void (*run)(const kernel *, float *, size_t);
    double (*exact)(double);
    double limit; /* beyond it, on the side where the result grows, exp is used by nobody */
} functions[] = {
    {"exp", kernel_exp, exp, 88.0},
    {"tanh", kernel_tanh, tanh, INFINITY},
    {"sigmoid", kernel_sigmoid, exact_sigmoid, INFINITY},
};

static double ulp(double exact) {
    int exponent;
    frexp(exact, &exponent);
    return ldexp(1.0, exponent - 24);
}

static int sweep(const kernel *k, size_t f) {
    double worst = 0.0, sum = 0.0;
    float worst_at = 0.0f;
    uint64_t counted = 0, above[4] = {0}, wrong = 0;
    static float x[BATCH], y[BATCH];
    for (uint64_t first = 0; first < (uint64_t)1 << 32; first += BATCH) {
        for (uint32_t n = 0; n < BATCH; n++) {
            const uint32_t bits = (uint32_t)first + n;
            memcpy(&x[n], &bits, sizeof bits);
        }
        memcpy(y, x, sizeof y);
        const fp_mode callers = fp_mode_enter();
        functions[f].run(k, y, BATCH);
        fp_mode_leave(callers);
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
            if (fabs(exact) < 0x1p-126) {
                wrong += fabsf(y[n]) > 0x1p-126f || (signbit(exact) != 0) != (signbit(y[n]) != 0);
                continue;
            }
            const double error = fabs((double)y[n] - exact) / ulp(exact);
            sum += error;
            counted++;
            for (int a = 0; a < 4; a++) {
                above[a] += error > 0.5 * (a + 1);
            }
            if (!(error <= worst)) {
                worst = error;
                worst_at = x[n];
            }
        }
    }
    printf("%-8s %-8s max %.3f ulp at %-14.9g mean %.3f   above 0.5: %.2f%%  1.0: %.3f%%  1.5: %.4f%%  2.0: %.4f%%   "
           "wrong: %llu\n",
           k->name, functions[f].name, worst, (double)worst_at, sum / (double)counted,
           100.0 * (double)above[0] / (double)counted, 100.0 * (double)above[1] / (double)counted,
           100.0 * (double)above[2] / (double)counted, 100.0 * (double)above[3] / (double)counted,
           (unsigned long long)wrong);
    fflush(stdout);
    return wrong != 0;
}

int main(int argc, char **argv) {
    const kernel *k;
    const int code = lstmcore_select_kernel(argc > 1 ? argv[1] : NULL, &k);
    if (code != LSTMCORE_OK) {
        fprintf(stderr, "%s\n", lstmcore_error(code));
        return 2;
    }
    int failed = 0;
    for (size_t f = 0; f < sizeof functions / sizeof *functions; f++) {
        failed |= sweep(k, f);
    }
    return failed;
}
