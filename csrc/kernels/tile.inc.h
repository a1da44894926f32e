/* The tile: M rows x (B blocks of units x G gates, and TAIL vectors) of accumulators in registers, written once over
 * `vec`.
 *
 *     acc[m][b][g] = start + sum over k of in[m][k] * weights[block + b][k][g][lane]
 *
 * and behind these, where the blocks are the last ones (or none, block being their number), the tail's sums.
 * Every sum is formed in the order of k with one fused multiply-add per term, so its bits depend neither on M and B
 * nor on the number of lanes. (A linear layer's is formed as CHAINS of them.) Letters: k inputs, m rows, b blocks, g
 * gates.
 */
#define INLINE static inline __attribute__((always_inline))

/* The loops over m, b and g have constant bounds wherever this is called, and vanish; only then do the accumulators
 * stay in registers. */
#define UNROLL _Pragma("GCC unroll 32")

enum { MAX_TILE = 16 };

/* A sum of a linear layer is cut into so many: chain n has the terms of k = n, n + CHAINS, ... in their order, the
 * first one from the bias on. With a single chain of dependent additions a head takes several times as long. */
enum { CHAINS = 4 };

INLINE void tile(const int M, const int B, const int G, const int TAIL, const packed *w, size_t block, const float *in,
                 size_t in_row, vec acc[MAX_TILE]) {
    const int N = B * G + TAIL;
    const size_t k_step = (size_t)G * VEC_LANES;
    const size_t block_step = w->inputs * k_step;
    const float *weights = w->weights + block * block_step;
    const float *tail = weights + (size_t)B * block_step;
    const size_t inputs = w->inputs;
    for (size_t k = 0; k < inputs; k++, weights += k_step, tail += TAIL * VEC_LANES) {
        vec x[MAX_TILE];
        UNROLL
        for (int m = 0; m < M; m++) {
            x[m] = vec_set1(in[(size_t)m * in_row + k]);
        }
        UNROLL
        for (int b = 0; b < B; b++) {
            UNROLL
            for (int g = 0; g < G; g++) {
                const vec value = vec_load(weights + (size_t)b * block_step + (size_t)g * VEC_LANES);
                UNROLL
                for (int m = 0; m < M; m++) {
                    acc[m * N + b * G + g] = vec_fma(x[m], value, acc[m * N + b * G + g]);
                }
            }
        }
        UNROLL
        for (int n = 0; n < TAIL; n++) {
            const vec value = vec_load(tail + (size_t)n * VEC_LANES);
            UNROLL
            for (int m = 0; m < M; m++) {
                acc[m * N + B * G + n] = vec_fma(x[m], value, acc[m * N + B * G + n]);
            }
        }
    }
}

/* A tile that starts at the bias and is stored as rows that are laid out like it. */
INLINE void project_tile(const int M, const int B, const int G, const int TAIL, const packed *w, size_t block,
                         const float *in, size_t in_row, float *out, size_t out_row) {
    const int N = B * G + TAIL;
    const size_t begin = block * (size_t)G * VEC_LANES;
    vec acc[MAX_TILE];
    UNROLL
    for (int m = 0; m < M; m++) {
        UNROLL
        for (int n = 0; n < N; n++) {
            acc[m * N + n] = vec_load(w->bias + begin + (size_t)n * VEC_LANES);
        }
    }
    tile(M, B, G, TAIL, w, block, in, in_row, acc);
    UNROLL
    for (int m = 0; m < M; m++) {
        UNROLL
        for (int n = 0; n < N; n++) {
            vec_store(out + (size_t)m * out_row + begin + (size_t)n * VEC_LANES, acc[m * N + n]);
        }
    }
}

/* All rows of B blocks: the blocks' weights stay in the first-level cache while the rows pass. */
INLINE void project_blocks(const int B, const int G, const int TAIL, const packed *w, size_t block, const float *in,
                           size_t in_row, size_t rows, float *out, size_t out_row) {
    size_t m = 0;
    for (; m + TILE_ROWS <= rows; m += TILE_ROWS) {
        project_tile(TILE_ROWS, B, G, TAIL, w, block, in + m * in_row, in_row, out + m * out_row, out_row);
    }
    for (; m < rows; m++) {
        project_tile(1, B, G, TAIL, w, block, in + m * in_row, in_row, out + m * out_row, out_row);
    }
}

/* Calls its argument with the tail's vectors as a constant. */
#define WITH_TAIL(w, call)                   \
    switch (VEC_LANES > 1 ? (w)->tail : 0) { \
    case 0:                                  \
        call(0) break;                       \
    case 1:                                  \
        call(1) break;                       \
    default:                                 \
        call(2) break;                       \
    }

static void project(const packed *w, const float *in, size_t in_row, size_t rows, float *out, size_t out_row) {
    size_t block = 0;
    if (w->gates == 4) {
        for (; block < w->blocks; block++) {
            project_blocks(1, 4, 0, w, block, in, in_row, rows, out, out_row);
        }
#define TAIL_ONLY(TAIL) project_blocks(0, 4, TAIL, w, block, in, in_row, rows, out, out_row);
        WITH_TAIL(w, TAIL_ONLY)
#undef TAIL_ONLY
        return;
    }
    if (w->gates == 3) {
        for (; block < w->blocks; block++) {
            project_blocks(1, 3, 0, w, block, in, in_row, rows, out, out_row);
        }
        return;
    }
    /* One gate fills few accumulators, so several blocks go at once. */
    for (; block + 4 <= w->blocks; block += 4) {
        project_blocks(4, 1, 0, w, block, in, in_row, rows, out, out_row);
    }
    for (; block + 2 <= w->blocks; block += 2) {
        project_blocks(2, 1, 0, w, block, in, in_row, rows, out, out_row);
    }
    for (; block < w->blocks; block++) {
        project_blocks(1, 1, 0, w, block, in, in_row, rows, out, out_row);
    }
}

/* The recurrent product of one sequence. A caller who changes the direction from step to step begins with the weights
 * that the nearest cache still holds. */
static void product(const packed *r, const float *h, int down, float *out) {
    if (r->gates == 1) {
        project(r, h, 0, 1, out, 0);
        return;
    }
    for (size_t n = 0; n < r->blocks; n++) {
        const size_t block = down ? r->blocks - 1 - n : n;
        if (r->gates == 3) {
            project_tile(1, 1, 3, 0, r, block, h, 0, out, 0);
        } else if (block + 1 < r->blocks) {
            project_tile(1, 1, 4, 0, r, block, h, 0, out, 0);
        } else {
#define LAST(TAIL) project_tile(1, 1, 4, TAIL, r, block, h, 0, out, 0);
            WITH_TAIL(r, LAST)
#undef LAST
        }
    }
}

/* One term of each sum of a linear layer's tile, added to one of the chains. */
INLINE void linear_terms(const int M, const int B, const int CHAIN, const packed *w, size_t block, size_t k,
                         const float *in, size_t in_row, vec *acc) {
    UNROLL
    for (int b = 0; b < B; b++) {
        const vec value = vec_load(w->weights + ((block + (size_t)b) * w->inputs + k) * VEC_LANES);
        UNROLL
        for (int m = 0; m < M; m++) {
            vec *const sum = &acc[(m * B + b) * CHAINS + CHAIN];
            *sum = vec_fma(vec_set1(in[(size_t)m * in_row + k]), value, *sum);
        }
    }
}

/* M rows x B blocks of a linear layer. */
INLINE void linear_tile(const int M, const int B, const packed *w, size_t block, const float *in, size_t in_row,
                        float *out, size_t out_row) {
    vec acc[MAX_TILE];
    UNROLL
    for (int n = 0; n < M * B * CHAINS; n++) {
        acc[n] = n % CHAINS == 0 ? vec_load(w->bias + (block + (size_t)(n / CHAINS % B)) * VEC_LANES) : vec_set1(0.0f);
    }
    size_t k = 0;
    for (; k + CHAINS <= w->inputs; k += CHAINS) {
        UNROLL
        for (int chain = 0; chain < CHAINS; chain++) {
            linear_terms(M, B, chain, w, block, k + (size_t)chain, in, in_row, acc);
        }
    }
    UNROLL
    for (int chain = 0; chain < CHAINS - 1; chain++) {
        if (k + (size_t)chain < w->inputs) {
            linear_terms(M, B, chain, w, block, k + (size_t)chain, in, in_row, acc);
        }
    }
    UNROLL
    for (int n = 0; n < M * B; n++) {
        const vec *const part = &acc[n * CHAINS];
        vec_store(out + (size_t)(n / B) * out_row + (block + (size_t)(n % B)) * VEC_LANES,
                  vec_add(vec_add(part[0], part[1]), vec_add(part[2], part[3])));
    }
}

INLINE void linear_rows(const int B, const packed *w, size_t block, const float *in, size_t in_row, size_t rows,
                        float *out, size_t out_row) {
    const int M = TILE_ROWS > 1 ? TILE_ROWS / 2 : 1; /* B is two, where it can be */
    size_t m = 0;
    for (; m + (size_t)M <= rows; m += (size_t)M) {
        linear_tile(M, B, w, block, in + m * in_row, in_row, out + m * out_row, out_row);
    }
    for (; m < rows; m++) {
        linear_tile(1, B, w, block, in + m * in_row, in_row, out + m * out_row, out_row);
    }
}

static void linear(const packed *w, const float *in, size_t in_row, size_t rows, float *out, size_t out_row) {
    size_t block = 0;
    for (; block + 2 <= w->blocks; block += 2) {
        linear_rows(2, w, block, in, in_row, rows, out, out_row);
    }
    if (block < w->blocks) {
        linear_rows(1, w, block, in, in_row, rows, out, out_row);
    }
}

static void affine(const float *scale, const float *shift, float *x, size_t n) {
    for (size_t k = 0; k < n; k += VEC_LANES) {
        vec_store(x + k, vec_fma(vec_load(x + k), vec_load(scale + k), vec_load(shift + k)));
    }
}
