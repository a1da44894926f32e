/* The cells that keep nothing but h: GRU and RNN, reference.py's gru_step and rnn_step, written once over `vec`. */

INLINE int gates_of(const cell_kind KIND) {
    return KIND == CELL_LSTM ? 4 : KIND == CELL_GRU ? 3 : 1;
}

/* tanh x = e / (e + 2), e = e^2x - 1, with the sign of x */
INLINE vec tanh_quotient(vec x) {
    const vec e = expm1_twice(x);
    return vec_div(vec_copysign(e, x), vec_add(e, vec_set1(2.0f)));
}

/* n = tanh(x_n + sigmoid(r)*p_n), h' = n + sigmoid(z)*(h - n): three divisions, in three parts. `a` is what the input
 * contributes; p_n, the third of the products, began at the candidate's recurrent bias. */
INLINE vec gru_seen(const float *a, const vec *product) {
    return gated(sum_of(0, a, product), product[2]);
}
INLINE vec gru_candidate(const float *a, vec seen) {
    return tanh_quotient(vec_add(vec_load(a + 2 * VEC_LANES), seen));
}
INLINE vec gru_state(const float *a, const vec *product, vec n, vec h) {
    return vec_add(n, gated(sum_of(1, a, product), vec_sub(h, n)));
}

/* The new h of a vector of units from what the input contributes to their gates, the recurrent products and h. */
INLINE vec state_without_cell(const cell_kind KIND, const float *a, const vec *product, vec h) {
    if (KIND == CELL_GRU) {
        return gru_state(a, product, gru_candidate(a, gru_seen(a, product)), h);
    }
    const vec x = sum_of(0, a, product);
    return KIND == CELL_RNN_RELU ? relu_of(x) : tanh_quotient(x);
}
