/* A recurrent step, written once over `vec`. KIND, like M and B, is a constant wherever it stands. */

/* The tail's new state. What follows a gate in its vector gives states that nobody reads. */
INLINE void tail_cells(const int TAIL, size_t tail_units, const float *gates, const vec *product, float *h, float *c) {
    const vec a = vec_add(vec_load(gates), product[0]);
    const vec b = TAIL == 1 ? a : vec_add(vec_load(gates + VEC_LANES), product[TAIL - 1]);
    lstm_cell(a, vec_from(a, b, tail_units), vec_from(a, b, 2 * tail_units), vec_from(a, b, 3 * tail_units), c, h);
}

/* Where a row's c stands; cells without c have no rows of it. */
INLINE float *c_at(const cell_kind KIND, float *c, size_t at) {
    return KIND == CELL_LSTM ? c + at : c;
}

/* The new state of M rows x (B blocks of units, and an LSTM's tail), `acc` being their recurrent product. Rows of h and
 * c are `row` apart. */
INLINE void cells(const cell_kind KIND, const int M, const int B, const int TAIL, size_t tail_units, size_t block,
                  const float *gates, size_t gates_row, const vec *acc, const float *h_old, float *h, float *c,
                  size_t row) {
    const int G = gates_of(KIND);
    UNROLL
    for (int m = 0; m < M; m++, acc += B * G + TAIL) {
        UNROLL
        for (int b = 0; b < B; b++) {
            const size_t unit = (block + (size_t)b) * VEC_LANES;
            const float *a = gates + (size_t)m * gates_row + unit * (size_t)G;
            const vec *product = acc + b * G;
            if (KIND != CELL_LSTM) {
                vec_store(h + (size_t)m * row + unit,
                          state_without_cell(KIND, a, product, vec_load(h_old + (size_t)m * row + unit)));
                continue;
            }
            const vec i = sum_of(0, a, product);
            const vec f = sum_of(1, a, product);
            const vec g = sum_of(2, a, product);
            const vec o = sum_of(3, a, product);
            lstm_cell(i, f, g, o, c + (size_t)m * row + unit, h + (size_t)m * row + unit);
        }
        if (TAIL > 0) {
            const size_t unit = (block + (size_t)B) * VEC_LANES, at = (size_t)m * row + unit;
            tail_cells(TAIL, tail_units, gates + (size_t)m * gates_row + unit * 4, acc + B * 4, h + at, c + at);
        }
    }
}

/* One step of M rows x (B blocks, and the tail): the recurrent product (with h_zero what it begins with), plus what the
 * input contributes, then the cell. */
INLINE void step_tile(const cell_kind KIND, const int M, const int B, const int TAIL, const packed *r, size_t block,
                      const float *gates, size_t gates_row, int h_zero, const float *h_old, float *h_new, float *c,
                      size_t row) {
    const int G = gates_of(KIND);
    vec acc[MAX_TILE];
    UNROLL
    for (int n = 0; n < M * (B * G + TAIL); n++) {
        acc[n] = KIND == CELL_GRU ? vec_load(r->bias + (block * (size_t)G + (size_t)(n % (B * G))) * VEC_LANES)
                                  : vec_set1(0.0f);
    }
    if (!h_zero) {
        tile(M, B, G, TAIL, r, block, h_old, row, acc);
    }
    cells(KIND, M, B, TAIL, r->tail_units, block, gates, gates_row, acc, h_old, h_new, c, row);
}

/* B blocks, and the tail, of one step of one sequence. With FUSED what the input x contributes is formed first, through
 * the weights w, in `gates`; else it is there. */
INLINE void one_tile(const cell_kind KIND, const int FUSED, const int B, const int TAIL, const packed *w,
                     const float *x, const packed *r, size_t block, float *gates, int h_zero, const float *h_old,
                     float *h_new, float *c) {
    if (FUSED) {
        project_tile(1, B, gates_of(KIND), TAIL, w, block, x, 0, gates, 0);
    }
    step_tile(KIND, 1, B, TAIL, r, block, gates, 0, h_zero, h_old, h_new, c, 0);
}

/* A step takes B blocks at a time, and the tail with the last of them. Odd steps go downwards, so that the blocks used
 * last, which the nearest cache still holds, come first. */
INLINE void one_step(const cell_kind KIND, const int FUSED, const int B, const int TAIL, const packed *w,
                     const float *x, const packed *r, int down, float *gates, int h_zero, const float *h_old,
                     float *h_new, float *c) {
    const size_t groups = (r->blocks + (size_t)B - 1) / (size_t)B;
    for (size_t n = 0; n < groups; n++) {
        const size_t block = (down ? groups - 1 - n : n) * (size_t)B, left = r->blocks - block;
        if (left >= (size_t)B && (TAIL == 0 || left > (size_t)B)) {
            one_tile(KIND, FUSED, B, 0, w, x, r, block, gates, h_zero, h_old, h_new, c);
        } else if (left == (size_t)B) {
            one_tile(KIND, FUSED, B, TAIL, w, x, r, block, gates, h_zero, h_old, h_new, c);
        } else {
            for (size_t one = block; one < r->blocks; one++) {
                if (TAIL > 0 && one + 1 == r->blocks) {
                    one_tile(KIND, FUSED, 1, TAIL, w, x, r, one, gates, h_zero, h_old, h_new, c);
                } else {
                    one_tile(KIND, FUSED, 1, 0, w, x, r, one, gates, h_zero, h_old, h_new, c);
                }
            }
        }
    }
}

/* A GRU's four blocks where the nearest cache holds two of them. Those come first, as a pair; the others arrive too
 * slowly to need a pair's accumulators, and one by one they have the new h sooner. */
INLINE void one_step_of_four(const packed *r, int down, const float *gates, int h_zero, const float *h_old,
                             float *h_new, float *c) {
    const size_t pair = down ? 2 : 0, others = 2 - pair;
    step_tile(CELL_GRU, 1, 2, 0, r, pair, gates, 0, h_zero, h_old, h_new, c, 0);
    step_tile(CELL_GRU, 1, 1, 0, r, others, gates, 0, h_zero, h_old, h_new, c, 0);
    step_tile(CELL_GRU, 1, 1, 0, r, others + 1, gates, 0, h_zero, h_old, h_new, c, 0);
}

INLINE void run_steps(const cell_kind KIND, const int B, const int TAIL, const packed *r, const float *gates,
                      size_t gates_row, size_t rows, int from_zero, float *h[2], float *c, float *out, size_t out_row) {
    const float *h_old = h[0];
    for (size_t t = 0; t < rows; t++) {
        float *const h_new = out == NULL ? h[1] : out; /* where every h is wanted, the next step reads it there */
        const int h_zero = from_zero && r->finite && t == 0;
        if (KIND == CELL_GRU && B == 2 && VEC_LANES == 16 && r->blocks == 4) {
            one_step_of_four(r, t & 1, gates, h_zero, h_old, h_new, c);
        } else {
            one_step(KIND, 0, B, TAIL, NULL, NULL, r, t & 1, (float *)(uintptr_t)gates, h_zero, h_old, h_new, c);
        }
        gates += gates_row;
        h_old = h_new;
        if (out == NULL) {
            h[1] = h[0];
            h[0] = h_new;
        } else {
            out += out_row;
        }
    }
    if (out != NULL) {
        memcpy(h[0], h_old, (r->blocks + (TAIL > 0)) * VEC_LANES * sizeof *out);
    }
}

/* Two blocks, or one; with a single gate, which fills few accumulators, four or two. */
INLINE void run_steps_of(const cell_kind KIND, const int TAIL, const packed *r, const float *gates, size_t gates_row,
                         size_t rows, int from_zero, float *h[2], float *c, float *out, size_t out_row) {
    const int more = gates_of(KIND) == 1 ? 4 : 2;
    if (gates_of(KIND) == 1 ? r->blocks >= 4 : r->in_pairs) {
        run_steps(KIND, more, TAIL, r, gates, gates_row, rows, from_zero, h, c, out, out_row);
    } else {
        run_steps(KIND, more / 2, TAIL, r, gates, gates_row, rows, from_zero, h, c, out, out_row);
    }
}

INLINE void carry_of(const cell_kind KIND, const int TAIL, const packed *w, const float *x, const packed *r, int down,
                     float *gates, const float *h_old, float *h_new, float *c) {
    const int more = gates_of(KIND) == 1 ? 4 : 2;
    if (gates_of(KIND) == 1 ? r->blocks >= 4 : r->in_pairs) {
        one_step(KIND, 1, more, TAIL, w, x, r, down, gates, 0, h_old, h_new, c);
    } else {
        one_step(KIND, 1, more / 2, TAIL, w, x, r, down, gates, 0, h_old, h_new, c);
    }
}

/* A block's weights, or the tail's, stay in the first-level cache while the rows pass. */
INLINE void step_rows(const cell_kind KIND, const int B, const int TAIL, const packed *r, size_t block,
                      const float *gates, size_t gates_row, size_t rows, const float *h_old, float *h_new, float *c,
                      size_t row) {
    size_t m = 0;
    for (; m + TILE_ROWS <= rows; m += TILE_ROWS) {
        step_tile(KIND, TILE_ROWS, B, TAIL, r, block, gates + m * gates_row, gates_row, 0, h_old + m * row,
                  h_new + m * row, c_at(KIND, c, m * row), row);
    }
    for (; m < rows; m++) {
        step_tile(KIND, 1, B, TAIL, r, block, gates + m * gates_row, gates_row, 0, h_old + m * row, h_new + m * row,
                  c_at(KIND, c, m * row), row);
    }
}

INLINE void step_of(const cell_kind KIND, const int TAIL, const packed *r, const float *gates, size_t gates_row,
                    size_t rows, const float *h_old, float *h_new, float *c, size_t row) {
    for (size_t block = 0; block < r->blocks; block++) {
        step_rows(KIND, 1, 0, r, block, gates, gates_row, rows, h_old, h_new, c, row);
    }
    if (TAIL > 0) {
        step_rows(KIND, 0, TAIL, r, r->blocks, gates, gates_row, rows, h_old, h_new, c, row);
    }
}

INLINE void finish_of(const cell_kind KIND, const int TAIL, const packed *r, const float *gates, size_t gates_row,
                      const float *products, size_t products_row, size_t rows, const float *h_old, float *h_new,
                      float *c, size_t row) {
    const int G = gates_of(KIND);
    for (size_t m = 0; m < rows; m++) {
        for (size_t block = 0; block < r->blocks + (TAIL > 0); block++) {
            vec acc[MAX_TILE];
            UNROLL
            for (int g = 0; g < G; g++) {
                acc[g] = vec_load(products + m * products_row + (block * (size_t)G + (size_t)g) * VEC_LANES);
            }
            const float *const a = gates + m * gates_row, *const h_row = h_old + m * row;
            float *const c_row = c_at(KIND, c, m * row);
            if (block < r->blocks) {
                cells(KIND, 1, 1, 0, 0, block, a, 0, acc, h_row, h_new + m * row, c_row, 0);
            } else {
                cells(KIND, 1, 0, TAIL, r->tail_units, block, a, 0, acc, h_row, h_new + m * row, c_row, 0);
            }
        }
    }
}

/* A call of each kind of cell, and of each tail that an LSTM may have, is a text of its own. */
#define LSTM_CALL(TAIL) CALL(CELL_LSTM, TAIL);
#define FOR_CELL(r)             \
    switch ((r)->cell) {        \
    case CELL_LSTM:             \
        WITH_TAIL(r, LSTM_CALL) \
        break;                  \
    case CELL_GRU:              \
        CALL(CELL_GRU, 0);      \
        break;                  \
    case CELL_RNN_TANH:         \
        CALL(CELL_RNN_TANH, 0); \
        break;                  \
    case CELL_RNN_RELU:         \
        CALL(CELL_RNN_RELU, 0); \
        break;                  \
    }

static void steps(const packed *r, const float *gates, size_t gates_row, size_t rows, int from_zero, float *h[2],
                  float *c, float *out, size_t out_row) {
#define CALL(KIND, TAIL) run_steps_of(KIND, TAIL, r, gates, gates_row, rows, from_zero, h, c, out, out_row)
    FOR_CELL(r)
#undef CALL
}

static void carry(const packed *w, const float *x, const packed *r, int down, float *gates, const float *h_old,
                  float *h_new, float *c) {
#define CALL(KIND, TAIL) carry_of(KIND, TAIL, w, x, r, down, gates, h_old, h_new, c)
    FOR_CELL(r)
#undef CALL
}

static void step(const packed *r, const float *gates, size_t gates_row, size_t rows, const float *h_old, float *h_new,
                 float *c, size_t row) {
#define CALL(KIND, TAIL) step_of(KIND, TAIL, r, gates, gates_row, rows, h_old, h_new, c, row)
    FOR_CELL(r)
#undef CALL
}

static void finish(const packed *r, const float *gates, size_t gates_row, const float *products, size_t products_row,
                   size_t rows, const float *h_old, float *h_new, float *c, size_t row) {
#define CALL(KIND, TAIL) finish_of(KIND, TAIL, r, gates, gates_row, products, products_row, rows, h_old, h_new, c, row)
    FOR_CELL(r)
#undef CALL
}
