/* The cell of the LSTM, reference.py's lstm_step, and what a GRU shares with it, written once over `vec`. */

/* A gate before its activation: what the input contributes, laid out as the bias, and the recurrent product. */
INLINE vec sum_of(const int GATE, const float *a, const vec *product) {
    return vec_add(vec_load(a + GATE * VEC_LANES), product[GATE]);
}

/* sigmoid(gate) * x = x / (1 + e^-gate) */
INLINE vec gated(vec gate, vec x) {
    return vec_div(x, one_plus_exp_minus(gate));
}

/* sigmoid(gate) * tanh(x) = e / ((1 + e^-gate) * (e + 2)), e = e^2x - 1, with the sign of x: one division, not two */
INLINE vec gated_tanh(vec gate, vec x) {
    const vec e = expm1_twice(x);
    return vec_div(vec_copysign(e, x), vec_mul(one_plus_exp_minus(gate), vec_add(e, vec_set1(2.0f))));
}

/* c' = sigmoid(f)*c + sigmoid(i)*tanh(g), h' = sigmoid(o)*tanh(c') */
INLINE void lstm_cell(vec i, vec f, vec g, vec o, float *c, float *h) {
    const vec new_c = vec_add(gated(f, vec_load(c)), gated_tanh(i, g));
    const vec new_h = gated_tanh(o, new_c);
    vec_store(c, new_c);
    vec_store(h, new_h);
}
