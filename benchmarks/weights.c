/* Ways to bring the recurrent weights of 64 units to the multiply-adds, 49 steps of them: what each layout and order
 * costs when nothing else is done. Prints JSON; benchmarks/ceiling.py builds and reads it.
 *
 *     weights_avx512 | weights_avx2
 *
 * A step takes 64 rows k of 4 gates x 64 units, 64 KiB, twice a first-level cache of 32 KiB. All but the
 * colored ways keep the kernels' layout, [block][k][gate][lane]. A GRU's three gates are 48 KiB.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#if defined(__AVX512F__)
#include "kernels/vec_avx512.h"
#define NAME "avx512"
#else
#include "kernels/vec_avx2.h"
#define NAME "avx2"
#endif
#include "kernels/colored.h"

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32")

enum { STEPS = 49, UNITS = 64, ROUNDS = 400, BLOCKS = UNITS / VEC_LANES };

/* What a step reads and writes besides lies among the passing lines of a page, as in the kernels: h, and some of the
 * sums. */
static float *h, *out;

/* Fold so many sums into a line, or the compiler would leave them out. */
INLINE void store(const int N, vec *acc) {
    UNROLL
    for (int n = 1; n < N; n++) {
        acc[0] = vec_add(acc[0], acc[n]);
    }
    vec_store(out, acc[0]);
}

/* B blocks of units of G gates at once; what is `ahead` floats away is prefetched, with the hint. */
INLINE void blocks_at(const int G, const int B, const int ahead, const int hint, const float *weights) {
    const int k_step = G * VEC_LANES;
    vec acc[16];
    UNROLL
    for (int n = 0; n < G * B; n++) {
        acc[n] = vec_set1(0.0f);
    }
    for (int k = 0; k < UNITS; k++, weights += k_step) {
        const vec x = vec_set1(h[k]);
        UNROLL
        for (int n = 0; n < G * B; n++) {
            const float *at = weights + n / G * UNITS * k_step + n % G * VEC_LANES;
            if (ahead != 0 && (n * VEC_LANES) % 16 == 0) {
                __builtin_prefetch(at + ahead, 0, hint);
            }
            acc[n] = vec_fma(x, vec_load(at), acc[n]);
        }
    }
    store(G * B, acc);
}

INLINE void in_blocks(const int G, const int B, const int ahead, const int hint, int down, const float *weights) {
    for (int b = 0; b < BLOCKS; b += B) {
        blocks_at(G, B, ahead, hint, weights + (down ? BLOCKS - B - b : b) * UNITS * G * VEC_LANES);
    }
}

static void one_block(const float *w, int t) {
    (void)t;
    in_blocks(4, 1, 0, 0, 0, w);
}
static void one_block_to_and_fro(const float *w, int t) {
    in_blocks(4, 1, 0, 0, t & 1, w);
}
static void two_blocks_to_and_fro(const float *w, int t) {
    in_blocks(4, 2, 0, 0, t & 1, w);
}
static void four_blocks(const float *w, int t) {
    in_blocks(4, 4, 0, 0, t & 1, w);
}
static void prefetch_512(const float *w, int t) {
    in_blocks(4, 1, 128, 3, t & 1, w);
}
static void prefetch_2048(const float *w, int t) {
    in_blocks(4, 1, 512, 3, t & 1, w);
}
static void prefetch_past(const float *w, int t) {
    in_blocks(4, 1, 128, 0, t & 1, w);
}
static void first_block_only(const float *w, int t) {
    (void)t;
    for (int b = 0; b < BLOCKS; b++) {
        blocks_at(4, 1, 0, 0, w);
    }
}

static void gru_to_and_fro(const float *w, int t) {
    in_blocks(3, 1, 0, 0, t & 1, w);
}
static void gru_in_pairs(const float *w, int t) {
    in_blocks(3, 2, 0, 0, t & 1, w);
}
static void gru_first_block_only(const float *w, int t) {
    (void)t;
    for (int b = 0; b < BLOCKS; b++) {
        blocks_at(3, 1, 0, 0, w);
    }
}

#if defined(__AVX512F__)
INLINE void colored(const int G, const float *weights) {
    for (int half = 0; half < 4; half++, weights += colored_half((size_t)G)) {
        vec acc[8];
        UNROLL
        for (int n = 0; n < 2 * G; n++) {
            acc[n] = vec_set1(0.0f);
        }
        UNROLL
        for (int k = 0; k < COLORED_HALF; k++) {
            const vec x = vec_set1(h[half % 2 * COLORED_HALF + k]);
            UNROLL
            for (int n = 0; n < 2 * G; n++) {
                acc[n] = vec_fma(x, vec_load(weights + colored_at((size_t)G, (size_t)k, (size_t)n)), acc[n]);
            }
        }
        store(2 * G, acc);
    }
}
static void colored_lstm(const float *w, int t) {
    (void)t;
    colored(4, w);
}
static void colored_gru(const float *w, int t) {
    (void)t;
    colored(3, w);
}
#endif

static const struct {
    const char *name;
    void (*step)(const float *weights, int t);
} ways[] = {
    {"one block at a time, always upwards", one_block},
    {"one block at a time, up and down in turn", one_block_to_and_fro},
    {"two blocks at a time, up and down", two_blocks_to_and_fro},
    {"four blocks at a time", four_blocks},
    {"one block, up and down, prefetch 512 bytes ahead", prefetch_512},
    {"one block, up and down, prefetch 2 KiB ahead", prefetch_2048},
    {"one block, up and down, prefetchnta 512 bytes ahead", prefetch_past},
    {"one block four times: all in the first-level cache", first_block_only},
    {"a GRU's three gates, one block at a time, up and down in turn", gru_to_and_fro},
    {"a GRU's, two blocks at a time, up and down", gru_in_pairs},
    {"a GRU's, one block four times: all in the first-level cache", gru_first_block_only},
#if defined(__AVX512F__)
    {"the colored layout", colored_lstm},
    {"a GRU's, the colored layout", colored_gru},
#endif
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

int main(void) {
    enum { WAYS = sizeof ways / sizeof *ways };
    enum { PAGES = 64 }; /* the layouts are shorter */
    float *memory = aligned_alloc(PAGE * sizeof *memory, (PAGES + 1) * PAGE * sizeof *memory);
    if (memory == NULL) {
        return 1;
    }
    for (int n = 0; n < (PAGES + 1) * PAGE; n++) {
        memory[n] = 0.5f;
    }
    h = memory + PAGES * PAGE + PASSING;
    out = h + UNITS;
    for (int n = 0; n < UNITS; n++) { /* not known when this is compiled, or the numbers would not be loaded */
        h[n] = 0.01f * (float)n;
    }
    double best[WAYS];
    for (int round = 0; round < ROUNDS; round++) { /* in turn: what slows the machine for a while slows all of them */
        for (int way = 0; way < WAYS; way++) {
            const double start = now();
            for (int t = 0; t < STEPS; t++) {
                ways[way].step(memory, t);
                __asm__ volatile("" : : : "memory");
            }
            const double taken = now() - start;
            best[way] = round == 0 || taken < best[way] ? taken : best[way];
        }
    }
    printf("{\"kernel\": \"%s\", \"ways\": [", NAME);
    for (int way = 0; way < WAYS; way++) {
        printf("%s{\"name\": \"%s\", \"us\": %.2f}", way ? ", " : "", ways[way].name, best[way]);
    }
    printf("]}\n");
    free(memory);
    return 0;
}
