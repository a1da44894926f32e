/* Steps over the colored layout (colored.h), written once over `vec`: the sums of a tile of two blocks, formed while
 * the cells of the tile before it are computed.
 *
 * A cell is one long chain of operations that wait for each other, and a step begins with an h that the step before has
 * just made. So the order of the tiles is always upwards: the h of the last tile, whose cells are still being computed
 * when the next step begins, is wanted in the second half of its rows only.
 */

/* Two blocks whose products are formed, and where the rest of their step stands. */
typedef struct {
    vec product[2 * 3]; /* a GRU's */
    vec value[2];       /* what a cell's last part gave */
    const float *gates; /* an LSTM's with the products added */
    const float *h_old;
    float *h, *c, *out; /* where only the last h is wanted, out is h: a branch between rows costs more than a store */
} two_cells;

/* A cell in three parts, each with one or two exponentials. They stand between the rows of half a tile. */
enum { PARTS = 3, ROWS_APART = COLORED_HALF / (2 * PARTS) };

INLINE void part(const cell_kind KIND, const int PART, const int BLOCK, two_cells *of) {
    const int at = BLOCK * VEC_LANES;
    const float *const a = of->gates + gates_of(KIND) * at;
    const vec *const product = of->product + 3 * BLOCK;
    vec *const value = &of->value[BLOCK];
    if (KIND == CELL_LSTM && PART == 0) {
        *value = gated(vec_load(a + VEC_LANES), vec_load(of->c + at));
    } else if (KIND == CELL_LSTM && PART == 1) {
        *value = vec_add(*value, gated_tanh(vec_load(a), vec_load(a + 2 * VEC_LANES)));
        vec_store(of->c + at, *value);
    } else if (KIND == CELL_LSTM) {
        *value = gated_tanh(vec_load(a + 3 * VEC_LANES), *value);
    } else if (PART == 0) {
        *value = gru_seen(a, product);
    } else if (PART == 1) {
        *value = gru_candidate(a, *value);
    } else {
        *value = gru_state(a, product, *value, vec_load(of->h_old + at));
    }
    if (PART == PARTS - 1) {
        vec_store(of->h + at, *value);
        vec_store(of->out + at, *value);
    }
}

/* The rows of half a tile, and where WITH_CELLS is set, in turn with them, the cells that wait. */
INLINE void half_tile(const cell_kind KIND, const int WITH_CELLS, const float *weights, const float *h, vec *acc,
                      two_cells *waiting) {
    const int N = 2 * gates_of(KIND);
    vec quad = vec_set1(0.0f);
    UNROLL
    for (int k = 0; k < COLORED_HALF; k++) {
        quad = k % 4 == 0 ? vec_quad(h + k) : quad;
        const vec x = vec_spread(quad, k % 4);
        UNROLL
        for (int n = 0; n < N; n++) {
            acc[n] = vec_fma(x, vec_load(weights + colored_at((size_t)gates_of(KIND), (size_t)k, (size_t)n)), acc[n]);
        }
        if (WITH_CELLS && k % ROWS_APART == 0 && k / ROWS_APART < 2 * PARTS) {
            part(KIND, k / ROWS_APART / 2, k / ROWS_APART % 2, waiting);
        }
    }
}

INLINE void cells_at_once(const cell_kind KIND, two_cells *waiting) {
    UNROLL
    for (int n = 0; n < 2 * PARTS; n++) {
        part(KIND, n / 2, n % 2, waiting);
    }
}

INLINE void run_colored(const cell_kind KIND, const packed *r, float *gates, size_t rows, int from_zero, float *h,
                        float *c, float *out, size_t out_row) {
    const int G = gates_of(KIND);
    const size_t half = colored_half((size_t)G);
    const float *const bias = r->colored + colored_begin((size_t)G, r->blocks, 0) + PASSING;
    /* h, the next h and c stay in passing lines, behind the rows of gates. */
    float *h_old = gates + rows * PAGE + (G - 3) * COLORED_UNITS, *h_new = h_old + COLORED_UNITS;
    float *const c_here = h_new + COLORED_UNITS;
    const size_t bytes = COLORED_UNITS * sizeof *h;
    memcpy(h_old, h, bytes);
    if (KIND == CELL_LSTM) {
        memcpy(c_here, c, bytes);
    }
    two_cells waiting = {.h = NULL};
    for (size_t t = 0; t < rows; t++, gates += PAGE) {
        const int h_zero = from_zero && r->finite && t == 0;
        const float *weights = r->colored;
        for (size_t unit = 0; unit < COLORED_UNITS; unit += 2 * VEC_LANES, weights += 2 * half) {
            vec acc[2 * 4];
            UNROLL
            for (int n = 0; n < 2 * G; n++) {
                acc[n] = KIND == CELL_GRU ? vec_load(bias + unit * 3 + (size_t)n * VEC_LANES) : vec_set1(0.0f);
            }
            if (t == 0 && unit == 0) {
                if (!h_zero) {
                    half_tile(KIND, 0, weights, h_old, acc, NULL);
                }
            } else if (h_zero) {
                cells_at_once(KIND, &waiting);
            } else {
                half_tile(KIND, 1, weights, h_old, acc, &waiting);
            }
            if (!h_zero) {
                half_tile(KIND, 0, weights + half, h_old + COLORED_HALF, acc, NULL);
            }
            UNROLL
            for (int n = 0; n < 2 * G; n++) {
                if (KIND == CELL_GRU) {
                    waiting.product[n] = acc[n];
                } else { /* where they stay in registers too few are left for the rows and the cells */
                    float *const gate = gates + unit * 4 + (size_t)n * VEC_LANES;
                    vec_store(gate, vec_add(vec_load(gate), acc[n]));
                }
            }
            waiting.gates = gates + unit * (size_t)G;
            waiting.h_old = h_old + unit;
            waiting.h = h_new + unit;
            waiting.c = c_here + unit;
            waiting.out = out == NULL ? h_new + unit : out + t * out_row + unit;
        }
        float *const newest = h_new;
        h_new = h_old;
        h_old = newest;
    }
    cells_at_once(KIND, &waiting);
    memcpy(h, h_old, bytes);
    if (KIND == CELL_LSTM) {
        memcpy(c, c_here, bytes);
    }
}

/* Functions of their own: as parts of one, each has fewer registers. */
#define COLORED(NAME, KIND)                                                                                         \
    static __attribute__((noinline)) void NAME(const packed *r, float *gates, size_t rows, int from_zero, float *h, \
                                               float *c, float *out, size_t out_row) {                              \
        run_colored(KIND, r, gates, rows, from_zero, h, c, out, out_row);                                           \
    }
COLORED(colored_lstm, CELL_LSTM)
COLORED(colored_gru, CELL_GRU)

static void colored_steps(const packed *r, float *gates, size_t rows, int from_zero, float *h, float *c, float *out,
                          size_t out_row) {
    if (r->cell == CELL_LSTM) {
        colored_lstm(r, gates, rows, from_zero, h, c, out, out_row);
    } else {
        colored_gru(r, gates, rows, from_zero, h, c, out, out_row);
    }
}
