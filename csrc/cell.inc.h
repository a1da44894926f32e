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

/* The new state of M rows x B blocks of units, `acc` being their recurrent product. Rows of h and c are `row` apart. */
INLINE void cells(const int M, const int B, size_t block, const float *gates, size_t gates_row, const vec *acc,
                  float *h, float *c, size_t row) {
    UNROLL
    for (int m = 0; m < M; m++) {
        UNROLL
        for (int b = 0; b < B; b++) {
            const size_t unit = (block + (size_t)b) * VEC_LANES;
            const float *a = gates + (size_t)m * gates_row + unit * 4;
            const vec *product = acc + (m * B + b) * 4;
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
    }
}

/* One step of M rows x B blocks: the recurrent product from zero (with h_zero it is zero), plus what the input
 * contributes, then the cell. */
INLINE void step_tile(const int M, const int B, const packed *r, size_t block, const float *gates, size_t gates_row,
                      int h_zero, const float *h_old, float *h_new, float *c, size_t row) {
    vec acc[MAX_TILE];
    UNROLL
    for (int n = 0; n < M * B * 4; n++) {
        acc[n] = vec_set1(0.0f);
    }
    if (!h_zero) {
        tile(M, B, 4, r, block, h_old, row, acc);
    }
    cells(M, B, block, gates, gates_row, acc, h_new, c, row);
}

/* A step takes B blocks at a time. Odd steps go downwards, so that the blocks used last, which the nearest cache still
 * holds, come first. */
INLINE void run_steps(const int B, const packed *r, const float *gates, size_t gates_row, size_t rows, int from_zero,
                      float *h[2], float *c, float *out, size_t out_row) {
    const size_t groups = r->blocks / (size_t)B;
    const float *h_old = h[0];
    for (size_t t = 0; t < rows; t++) {
        float *const h_new = out == NULL ? h[1] : out; /* where every h is wanted, the next step reads it there */
        const int h_zero = from_zero && r->finite && t == 0;
        for (size_t n = 0; n < groups; n++) {
            const size_t group = t & 1 ? groups - 1 - n : n;
            step_tile(1, B, r, group * (size_t)B, gates, 0, h_zero, h_old, h_new, c, 0);
        }
        for (size_t block = groups * (size_t)B; block < r->blocks; block++) {
            step_tile(1, 1, r, block, gates, 0, h_zero, h_old, h_new, c, 0);
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
        memcpy(h[0], h_old, r->blocks * VEC_LANES * sizeof *out);
    }
}

static void lstm(const packed *r, const float *gates, size_t gates_row, size_t rows, int from_zero, float *h[2],
                 float *c, float *out, size_t out_row) {
    if (r->in_pairs) {
        run_steps(2, r, gates, gates_row, rows, from_zero, h, c, out, out_row);
    } else {
        run_steps(1, r, gates, gates_row, rows, from_zero, h, c, out, out_row);
    }
}

/* A block's weights stay in the first-level cache while the rows pass. */
static void step(const packed *r, const float *gates, size_t gates_row, size_t rows, const float *h_old, float *h_new,
                 float *c, size_t row) {
    for (size_t block = 0; block < r->blocks; block++) {
        size_t m = 0;
        for (; m + TILE_ROWS <= rows; m += TILE_ROWS) {
            step_tile(TILE_ROWS, 1, r, block, gates + m * gates_row, gates_row, 0, h_old + m * row, h_new + m * row,
                      c + m * row, row);
        }
        for (; m < rows; m++) {
            step_tile(1, 1, r, block, gates + m * gates_row, gates_row, 0, h_old + m * row, h_new + m * row,
                      c + m * row, row);
        }
    }
}

static void finish(size_t blocks, const float *gates, size_t gates_row, const float *products, size_t products_row,
                   size_t rows, float *h, float *c, size_t row) {
    for (size_t m = 0; m < rows; m++) {
        for (size_t block = 0; block < blocks; block++) {
            vec acc[4];
            UNROLL
            for (int g = 0; g < 4; g++) {
                acc[g] = vec_load(products + m * products_row + (block * 4 + (size_t)g) * VEC_LANES);
            }
            cells(1, 1, block, gates + m * gates_row, 0, acc, h + m * row, c + m * row, 0);
        }
    }
}
