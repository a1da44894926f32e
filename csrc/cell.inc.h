/* The LSTM step, written once over `vec`: reference.py's lstm_step. */

/* c' = sigmoid(f)*c + sigmoid(i)*tanh(g), h' = sigmoid(o)*tanh(c'), with three divisions instead of five:
 * sigmoid(f)*c = c / (1 + e^-f), and sigmoid(i)*tanh(g) = e / ((1 + e^-i) * (e + 2)) with e = e^2g - 1. */
INLINE void cell(vec i, vec f, vec g, vec o, vec *c, vec *h) {
    const vec two = vec_set1(2.0f);
    const vec kept = vec_div(*c, one_plus_exp_minus(f));
    const vec e_g = expm1_twice(g);
    const vec written = vec_div(vec_copysign(e_g, g), vec_mul(one_plus_exp_minus(i), vec_add(e_g, two)));
    const vec new_c = vec_add(kept, written);
    const vec e_c = expm1_twice(new_c);
    *h = vec_div(vec_copysign(e_c, new_c), vec_mul(one_plus_exp_minus(o), vec_add(e_c, two)));
    *c = new_c;
}

/* The tail's new state. What follows a gate in its vector gives states that nobody reads. */
INLINE void tail_cells(const int TAIL, size_t tail_units, const float *gates, const vec *product, float *h, float *c) {
    const vec a = vec_add(vec_load(gates), product[0]);
    const vec b = TAIL == 1 ? a : vec_add(vec_load(gates + VEC_LANES), product[TAIL - 1]);
    vec c_unit = vec_load(c);
    vec h_unit;
    cell(a, vec_from(a, b, tail_units), vec_from(a, b, 2 * tail_units), vec_from(a, b, 3 * tail_units), &c_unit,
         &h_unit);
    vec_store(c, c_unit);
    vec_store(h, h_unit);
}

/* The new state of M rows x (B blocks of units, and the tail), `acc` being their recurrent product. Rows of h and c are
 * `row` apart. */
INLINE void cells(const int M, const int B, const int TAIL, size_t tail_units, size_t block, const float *gates,
                  size_t gates_row, const vec *acc, float *h, float *c, size_t row) {
    UNROLL
    for (int m = 0; m < M; m++, acc += B * 4 + TAIL) {
        UNROLL
        for (int b = 0; b < B; b++) {
            const size_t unit = (block + (size_t)b) * VEC_LANES;
            const float *a = gates + (size_t)m * gates_row + unit * 4;
            const vec *product = acc + b * 4;
            const vec i = vec_add(vec_load(a), product[0]);
            const vec f = vec_add(vec_load(a + VEC_LANES), product[1]);
            const vec g = vec_add(vec_load(a + 2 * VEC_LANES), product[2]);
            const vec o = vec_add(vec_load(a + 3 * VEC_LANES), product[3]);
            vec c_unit = vec_load(c + (size_t)m * row + unit);
            vec h_unit;
            cell(i, f, g, o, &c_unit, &h_unit);
            vec_store(c + (size_t)m * row + unit, c_unit);
            vec_store(h + (size_t)m * row + unit, h_unit);
        }
        if (TAIL > 0) {
            const size_t unit = (block + (size_t)B) * VEC_LANES, at = (size_t)m * row + unit;
            tail_cells(TAIL, tail_units, gates + (size_t)m * gates_row + unit * 4, acc + B * 4, h + at, c + at);
        }
    }
}

/* One step of M rows x (B blocks, and the tail): the recurrent product from zero (with h_zero it is zero), plus what
 * the input contributes, then the cell. */
INLINE void step_tile(const int M, const int B, const int TAIL, const packed *r, size_t block, const float *gates,
                      size_t gates_row, int h_zero, const float *h_old, float *h_new, float *c, size_t row) {
    vec acc[MAX_TILE];
    UNROLL
    for (int n = 0; n < M * (B * 4 + TAIL); n++) {
        acc[n] = vec_set1(0.0f);
    }
    if (!h_zero) {
        tile(M, B, 4, TAIL, r, block, h_old, row, acc);
    }
    cells(M, B, TAIL, r->tail_units, block, gates, gates_row, acc, h_new, c, row);
}

/* A step takes B blocks at a time, and the tail with the last of them. Odd steps go downwards, so that the blocks used
 * last, which the nearest cache still holds, come first. */
INLINE void run_steps(const int B, const int TAIL, const packed *r, const float *gates, size_t gates_row, size_t rows,
                      int from_zero, float *h[2], float *c, float *out, size_t out_row) {
    const size_t groups = (r->blocks + (size_t)B - 1) / (size_t)B;
    const float *h_old = h[0];
    for (size_t t = 0; t < rows; t++) {
        float *const h_new = out == NULL ? h[1] : out; /* where every h is wanted, the next step reads it there */
        const int h_zero = from_zero && r->finite && t == 0;
        for (size_t n = 0; n < groups; n++) {
            const size_t block = (t & 1 ? groups - 1 - n : n) * (size_t)B, left = r->blocks - block;
            if (left < (size_t)B) {
                step_tile(1, 1, TAIL, r, block, gates, 0, h_zero, h_old, h_new, c, 0);
            } else if (TAIL > 0 && left == (size_t)B) {
                step_tile(1, B, TAIL, r, block, gates, 0, h_zero, h_old, h_new, c, 0);
            } else {
                step_tile(1, B, 0, r, block, gates, 0, h_zero, h_old, h_new, c, 0);
            }
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

static void lstm(const packed *r, const float *gates, size_t gates_row, size_t rows, int from_zero, float *h[2],
                 float *c, float *out, size_t out_row) {
#define IN_PAIRS(TAIL)   run_steps(2, TAIL, r, gates, gates_row, rows, from_zero, h, c, out, out_row);
#define ONE_BY_ONE(TAIL) run_steps(1, TAIL, r, gates, gates_row, rows, from_zero, h, c, out, out_row);
    if (r->in_pairs) {
        WITH_TAIL(r, IN_PAIRS)
    } else {
        WITH_TAIL(r, ONE_BY_ONE)
    }
#undef IN_PAIRS
#undef ONE_BY_ONE
}

/* A block's weights, or the tail's, stay in the first-level cache while the rows pass. */
INLINE void step_rows(const int B, const int TAIL, const packed *r, size_t block, const float *gates, size_t gates_row,
                      size_t rows, const float *h_old, float *h_new, float *c, size_t row) {
    size_t m = 0;
    for (; m + TILE_ROWS <= rows; m += TILE_ROWS) {
        step_tile(TILE_ROWS, B, TAIL, r, block, gates + m * gates_row, gates_row, 0, h_old + m * row, h_new + m * row,
                  c + m * row, row);
    }
    for (; m < rows; m++) {
        step_tile(1, B, TAIL, r, block, gates + m * gates_row, gates_row, 0, h_old + m * row, h_new + m * row,
                  c + m * row, row);
    }
}

static void step(const packed *r, const float *gates, size_t gates_row, size_t rows, const float *h_old, float *h_new,
                 float *c, size_t row) {
    for (size_t block = 0; block < r->blocks; block++) {
        step_rows(1, 0, r, block, gates, gates_row, rows, h_old, h_new, c, row);
    }
#define TAIL_ONLY(TAIL) step_rows(0, TAIL, r, r->blocks, gates, gates_row, rows, h_old, h_new, c, row);
    WITH_TAIL(r, TAIL_ONLY)
#undef TAIL_ONLY
}

INLINE void finish_rows(const int TAIL, const packed *r, const float *gates, size_t gates_row, const float *products,
                        size_t products_row, size_t rows, float *h, float *c, size_t row) {
    for (size_t m = 0; m < rows; m++) {
        for (size_t block = 0; block < r->blocks + (TAIL > 0); block++) {
            vec acc[4];
            UNROLL
            for (int g = 0; g < 4; g++) {
                acc[g] = vec_load(products + m * products_row + (block * 4 + (size_t)g) * VEC_LANES);
            }
            if (block < r->blocks) {
                cells(1, 1, 0, 0, block, gates + m * gates_row, 0, acc, h + m * row, c + m * row, 0);
            } else {
                cells(1, 0, TAIL, r->tail_units, block, gates + m * gates_row, 0, acc, h + m * row, c + m * row, 0);
            }
        }
    }
}

static void finish(const packed *r, const float *gates, size_t gates_row, const float *products, size_t products_row,
                   size_t rows, float *h, float *c, size_t row) {
#define FINISH(TAIL) finish_rows(TAIL, r, gates, gates_row, products, products_row, rows, h, c, row);
    WITH_TAIL(r, FINISH)
#undef FINISH
}
