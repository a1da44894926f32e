/* What this core can do, and how far the kernels are from it. Prints JSON; benchmarks/ceiling.py reads it.
 *
 *     ceiling_avx512 | ceiling_avx2
 *
 * For each shape: the time that loading the recurrent weights takes, step after step and nothing else done with them;
 * the time that its multiply-adds take at the measured rate; and the time of lstmcore_run, called from C.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lstmcore.h"

#if defined(__AVX512F__)
#include "kernels/vec_avx512.h"
#define NAME "avx512"
#else
#include "kernels/vec_avx2.h"
#define NAME "avx2"
#endif

enum { ACCUMULATORS = 12, ROUNDS = 40 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static float sink; /* what is stored here cannot be left out by the compiler */

/* Vector multiply-adds per microsecond, from registers. */
static double fma_rate(void) {
    enum { REPEATS = 20000 };
    double best = 1e30;
    vec a[ACCUMULATORS];
    for (int n = 0; n < ACCUMULATORS; n++) {
        a[n] = vec_set1((float)n);
    }
    for (int round = 0; round < ROUNDS; round++) {
        vec x = vec_set1(0.5f);
        const double start = now();
        for (int r = 0; r < REPEATS; r++) {
            __asm__ volatile("" : "+v"(x)); /* or the loop would be computed once */
#pragma GCC unroll 12
            for (int n = 0; n < ACCUMULATORS; n++) {
                a[n] = vec_fma(a[n], x, x);
            }
        }
        const double taken = now() - start;
        best = taken < best ? taken : best;
    }
    float lanes[VEC_LANES];
    for (int n = 0; n < ACCUMULATORS; n++) {
        vec_store(lanes, a[n]);
        sink += lanes[0];
    }
    return ACCUMULATORS * (double)REPEATS / best;
}

/* Microseconds to load `bytes` of memory `times` times over, one multiply-add to a load; with `turns` every second time
 * backwards, as the kernels walk but for 64 units, so that the nearest cache still holds where it begins. */
static double stream(const float *memory, size_t bytes, int times, int turns) {
    double best = 1e30;
    const size_t floats = bytes / sizeof *memory / (8 * VEC_LANES) * (8 * VEC_LANES);
    vec a[8];
    for (int n = 0; n < 8; n++) {
        a[n] = vec_set1(0.0f);
    }
    for (int round = 0; round < ROUNDS; round++) {
        const vec x = vec_set1(0.5f);
        const double start = now();
        for (int t = 0; t < times; t++) {
            for (size_t k = 0; k < floats; k += 8 * VEC_LANES) {
                const float *at = memory + (turns && t & 1 ? floats - 8 * VEC_LANES - k : k);
#pragma GCC unroll 8
                for (int n = 0; n < 8; n++) {
                    a[n] = vec_fma(x, vec_load(at + (size_t)n * VEC_LANES), a[n]);
                }
            }
            __asm__ volatile("" : : : "memory");
        }
        const double taken = now() - start;
        best = taken < best ? taken : best;
    }
    float lanes[VEC_LANES];
    for (int n = 0; n < 8; n++) {
        vec_store(lanes, a[n]);
        sink += lanes[0];
    }
    return best;
}

static float *random_floats(size_t n, float scale) {
    float *p = malloc(n * sizeof *p);
    for (size_t k = 0; p != NULL && k < n; k++) {
        p[k] = scale * ((float)rand() / (float)RAND_MAX - 0.5f);
    }
    return p;
}

typedef struct {
    const char *key; /* in benchmarks/models.py */
    const char *name;
    size_t steps, input, hidden, layers;
    size_t gates; /* 4: an LSTM, 3: a GRU */
} shape;

static const shape shapes[] = {
    {"quant", "quant: 50 x 10, hidden 64", 50, 10, 64, 1, 4}, {"exit", "exit: 50 x 8, 2 x 64", 50, 8, 64, 2, 4},
    {"hidden32", "50 x 10, hidden 32", 50, 10, 32, 1, 4},     {"hidden128", "100 x 32, hidden 128", 100, 32, 128, 1, 4},
    {"a", "A: 50 x 100, 2 x 100", 50, 100, 100, 2, 4},        {"hidden256", "50 x 16, 2 x 256", 50, 16, 256, 2, 4},
    {"gru", "GRU: 50 x 10, hidden 64", 50, 10, 64, 1, 3},
};

/* The vectors of all gates of a layer, as csrc/kernels/packing.c cuts it. */
static size_t vectors(const shape *s) {
    const size_t blocks = s->hidden / VEC_LANES, rest = s->hidden % VEC_LANES;
    const size_t tail = (s->gates * rest + VEC_LANES - 1) / VEC_LANES;
    return s->gates * blocks + (s->gates == 4 && blocks > 0 && tail <= 2 ? tail : s->gates * (size_t)(rest > 0));
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Windows that are answered in lockstep. */
enum { MANY = 256 };

/* p50 and minimum of lstmcore_run, and one window's share where many are answered in lockstep, in microseconds. */
static void run_time(const shape *s, double *p50, double *least, double *share) {
    lstmcore_model *model;
    lstmcore_session *session;
    lstmcore_value at;
    if (lstmcore_model_new(NAME, &model) != LSTMCORE_OK ||
        lstmcore_model_add_input(model, "x", LSTMCORE_SEQUENCE, s->input, LSTMCORE_FLOAT32, &at) != LSTMCORE_OK) {
        exit(1);
    }
    size_t in = s->input;
    for (size_t layer = 0; layer < s->layers; layer++, in = s->hidden) {
        const size_t rows = s->gates * s->hidden;
        float *w = random_floats(rows * in, 0.3f), *r = random_floats(rows * s->hidden, 0.3f);
        float *b = random_floats(rows, 0.3f);
        if ((s->gates == 4 ? lstmcore_model_add_lstm(model, at, s->hidden, w, r, b, &at)
                           : lstmcore_model_add_gru(model, at, s->hidden, w, r, b, b, &at)) != LSTMCORE_OK) {
            exit(1);
        }
        free(w);
        free(r);
        free(b);
    }
    if (lstmcore_model_add_last(model, at, &at) != LSTMCORE_OK ||
        lstmcore_model_add_output(model, "y", at) != LSTMCORE_OK || lstmcore_model_seal(model) != LSTMCORE_OK ||
        lstmcore_session_new(model, 0, &session) != LSTMCORE_OK) {
        exit(1);
    }
    const int calls = s->hidden < 128 ? 2000 : 200;
    double *taken = malloc((size_t)calls * sizeof *taken);
    float *x = random_floats(s->steps * s->input, 2.0f), *y = random_floats(s->hidden, 1.0f);
    const void *const inputs[] = {x};
    float *const outputs[] = {y};
    for (int n = -calls / 10; n < calls; n++) {
        x[(size_t)(n + calls) % (s->steps * s->input)] += 0.01f;
        const double start = now();
        lstmcore_run(session, inputs, s->steps, NULL, outputs, NULL);
        if (n >= 0) {
            taken[n] = now() - start;
        }
    }
    qsort(taken, (size_t)calls, sizeof *taken, compare);
    *p50 = taken[calls / 2];
    *least = taken[0];
    free(taken);
    free(x);
    float *series = random_floats((s->steps + MANY - 1) * s->input, 2.0f);
    float *answers = malloc(MANY * s->hidden * sizeof *answers);
    const void *const ticks[] = {series};
    float *const many[] = {answers};
    *share = 1e30;
    for (int n = 0; n < 5; n++) {
        const double start = now();
        if (lstmcore_run_windows(session, ticks, s->steps + MANY - 1, s->steps, 1, many) != LSTMCORE_OK) {
            exit(1);
        }
        const double mean = (now() - start) / MANY;
        *share = mean < *share ? mean : *share;
    }
    free(series);
    free(answers);
    free(y);
    lstmcore_session_free(session);
    lstmcore_model_free(model);
}

int main(void) {
    float *memory = aligned_alloc(4096, (size_t)4 << 20);
    if (memory == NULL) {
        return 1;
    }
    for (size_t k = 0; k < (size_t)1 << 20; k++) {
        memory[k] = 0.5f;
    }
    const double rate = fma_rate();
    printf("{\"kernel\": \"%s\", \"lanes\": %d, \"fma_per_us\": %.0f, \"load_gb_per_s\": {", NAME, VEC_LANES, rate);
    for (size_t kib = 16; kib <= 2048; kib *= 2) {
        printf("%s\"%zu\": %.1f", kib > 16 ? ", " : "", kib,
               (double)kib * 1024 * 20 / stream(memory, kib * 1024, 20, 0) / 1e3);
    }
    printf("}, \"shapes\": [");
    for (size_t n = 0; n < sizeof shapes / sizeof *shapes; n++) {
        const shape *s = &shapes[n];
        const size_t gate_vectors = vectors(s);
        const size_t inputs = s->input + s->hidden * (2 * s->layers - 1); /* of all products of a step */
        const size_t bytes = s->hidden * gate_vectors * VEC_LANES * sizeof(float);
        const double layers = (double)s->layers;
        double p50, least, share;
        run_time(s, &p50, &least, &share);
        printf("%s{\"key\": \"%s\", \"name\": \"%s\", ", n ? ", " : "", s->key, s->name);
        printf("\"stream_us\": %.2f, \"turning_us\": %.2f, \"fma_us\": %.2f, ",
               layers * stream(memory, bytes, (int)s->steps, 0), layers * stream(memory, bytes, (int)s->steps, 1),
               (double)(s->steps * inputs * gate_vectors) / rate);
        printf("\"lockstep_us\": %.2f, \"run_p50_us\": %.2f, \"run_min_us\": %.2f}", share, p50, least);
    }
    printf("]}\n");
    free(memory);
    return sink == 12345.0f;
}
