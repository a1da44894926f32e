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

/* One step of B blocks of units: the recurrent product from zero (with h_zero it is zero), plus what the input
 * contributes, then the cell. */
INLINE void step_blocks(const int B, const packed *r, size_t block, const float *gates, int h_zero, const float *h_old,
                        float *h_new, float *c, float *out) {
    vec acc[MAX_TILE];
    UNROLL
    for (int n = 0; n < B * 4; n++) {
        acc[n] = vec_set1(0.0f);
    }
    if (!h_zero) {
        tile(1, B, 4, r, block, h_old, 0, acc);
    }
    UNROLL
    for (int b = 0; b < B; b++) {
        const size_t unit = (block + (size_t)b) * VEC_LANES;
        const float *a = gates + unit * 4;
        const vec i = vec_add(vec_load(a), acc[b * 4]);
        const vec f = vec_add(vec_load(a + VEC_LANES), acc[b * 4 + 1]);
        const vec g = vec_add(vec_load(a + 2 * VEC_LANES), acc[b * 4 + 2]);
        const vec o = vec_add(vec_load(a + 3 * VEC_LANES), acc[b * 4 + 3]);
        vec c_unit = vec_load(c + unit);
        vec h_unit;
        cell(i, f, g, o, &c_unit, &h_unit);
        vec_store(c + unit, c_unit);
        vec_store(h_new + unit, h_unit);
        if (out != NULL) {
            vec_store(out + unit, h_unit);
        }
    }
}

/* A step takes B blocks at a time. Odd steps go downwards, so that the blocks used last, which the nearest cache still
 * holds, come first. */
INLINE void run_steps(const int B, const packed *r, const float *gates, size_t gates_row, size_t rows, int from_zero,
                      float *h[2], float *c, float *out, size_t out_row) {
    const size_t groups = r->blocks / (size_t)B;
    for (size_t t = 0; t < rows; t++) {
        const int h_zero = from_zero && r->finite && t == 0;
        for (size_t n = 0; n < groups; n++) {
            const size_t group = t & 1 ? groups - 1 - n : n;
            step_blocks(B, r, group * (size_t)B, gates, h_zero, h[0], h[1], c, out);
        }
        for (size_t block = groups * (size_t)B; block < r->blocks; block++) {
            step_blocks(1, r, block, gates, h_zero, h[0], h[1], c, out);
        }
        float *const newest = h[1];
        h[1] = h[0];
        h[0] = newest;
        gates += gates_row;
        out = out == NULL ? NULL : out + out_row;
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
