/* The rest of the activations, made of those in activations.inc.h, and the one function that offers all of them.
 * Written once over `vec`; a NaN goes through each, since in min and max the constant stands first.
 */

/* x in [low, high], or the nearer of the two */
static inline vec clamp(float low, float high, vec x) {
    return vec_max(vec_set1(low), vec_min(vec_set1(high), x));
}

/* e^x for any x. Of what is above 1 a half is formed first, since 2^128 is no float and e^88.7 is. */
static inline vec exp_any(vec x) {
    const vec rounder = vec_set1(ROUNDER), high = vec_set1(LOG2_E_HIGH), zero = vec_set1(0.0f), one = vec_set1(1.0f);
    const vec a = clamp(-88.0f, 89.0f, x);
    const vec halved = vec_select_less(zero, a, one, zero);
    const vec t = vec_fma(a, high, rounder);
    const vec r = vec_fma(a, vec_set1(LOG2_E_LOW), vec_fma(a, high, vec_sub(rounder, t)));
    const vec power = vec_shift_exponent(vec_sub(t, halved));
    return vec_mul(vec_mul(vec_fma(pow2_quotient(r), r, one), power), vec_add(one, halved));
}

/* e^-|x|, and 2^24 times it, which is a normal number as long as |x| times the first is; both 0 beyond. */
static inline vec exp_minus_abs(vec x, vec *scaled) {
    const vec rounder = vec_set1(ROUNDER), high = vec_set1(LOG2_E_HIGH), zero = vec_set1(0.0f);
    const vec a = vec_sub(zero, vec_abs(x)), b = vec_max(vec_set1(-104.0f), a);
    const vec t = vec_fma(b, high, rounder);
    const vec r = vec_fma(b, vec_set1(LOG2_E_LOW), vec_fma(b, high, vec_sub(rounder, t)));
    const vec power = vec_shift_exponent(vec_add(t, vec_set1(24.0f)));
    const vec e = vec_mul(vec_fma(pow2_quotient(r), r, vec_set1(1.0f)), power);
    *scaled = vec_select_less(a, vec_set1(-104.0f), zero, e);
    return vec_mul(*scaled, vec_set1(0x1p-24f));
}

/* x * top/bottom, where below zero `top` holds a factor e^x: there it is given as `top_scaled`, 2^24 times as large,
 * since x*e^x is a float for some x whose e^x is none. */
static inline vec times_quotient(vec x, vec top, vec top_scaled, vec bottom) {
    const vec zero = vec_set1(0.0f), one = vec_set1(1.0f);
    const vec y = vec_div(vec_mul(x, vec_select_less(x, zero, top_scaled, top)), bottom);
    return vec_mul(y, vec_select_less(x, zero, vec_set1(0x1p-24f), one));
}

/* x * sigmoid(x), the sigmoid as 1 / (1 + e^-x) or e^x / (1 + e^x) */
static inline vec silu_of(vec x) {
    vec scaled;
    const vec one = vec_set1(1.0f), e = exp_minus_abs(x, &scaled);
    return times_quotient(x, one, scaled, vec_add(one, e));
}

/* x * tanh(softplus(x)). With u = e^x the tanh is (u^2 + 2u) / (u^2 + 2u + 2), with v = e^-x (1 + 2v) / (1 + 2v +
 * 2v^2). */
static inline vec mish_of(vec x) {
    vec scaled;
    const vec zero = vec_set1(0.0f), one = vec_set1(1.0f), two = vec_set1(2.0f), e = exp_minus_abs(x, &scaled);
    const vec above = vec_fma(two, e, one), e_plus_2 = vec_add(e, two);
    const vec bottom = vec_select_less(x, zero, vec_fma(e, e_plus_2, two), vec_fma(vec_mul(two, e), e, above));
    return times_quotient(x, above, vec_mul(scaled, e_plus_2), bottom);
}

/* max(x, 0) + log(1 + y), y = e^-|x|: the logarithm is 2*atanh(s/2), s = y / (1 + y/2), by s + s * u * p(u), u = s^2/4,
 * p being 7e-10 off where multiplied by u. */
static inline vec softplus_of(vec x) {
    const vec half = vec_set1(0.5f), y = exp_of(vec_sub(vec_set1(0.0f), vec_abs(x)));
    const vec s = vec_div(y, vec_fma(half, y, vec_set1(1.0f))), half_s = vec_mul(half, s);
    const vec u = vec_mul(half_s, half_s);
    vec p = vec_set1(0x1.f1aee2p-4f);
    p = vec_fma(p, u, vec_set1(0x1.b6d6a4p-4f));
    p = vec_fma(p, u, vec_set1(0x1.250972p-3f));
    p = vec_fma(p, u, vec_set1(0x1.9996a8p-3f));
    p = vec_fma(p, u, vec_set1(0x1.555558p-2f));
    return vec_add(vec_fma(vec_mul(p, u), s, s), relu_of(x));
}

/* Klambauer et al. 2017: 1.0507 * elu(x, 1.67326) */
static inline vec selu_of(vec x) {
    const vec below = vec_max(vec_set1(-87.0f), vec_min(vec_set1(0.0f), x));
    return vec_fma(vec_set1(1.7580993408473768f), expm1_of(below), vec_mul(vec_set1(1.0507009873554805f), relu_of(x)));
}

/* 0 up to alpha, x above */
static inline vec thresholded_relu_of(vec x, float alpha) {
    const vec zero = vec_set1(0.0f), nan_or_0 = vec_max(zero, vec_min(zero, x));
    return vec_select_less(vec_set1(alpha), x, x, nan_or_0);
}

static inline vec softsign_of(vec x) {
    return vec_div(x, vec_add(vec_set1(1.0f), vec_abs(x)));
}

static inline vec hard_silu_of(vec x) {
    return vec_mul(x, vec_div(clamp(0.0f, 6.0f, vec_add(x, vec_set1(3.0f))), vec_set1(6.0f)));
}

#define EACH(expression)                        \
    for (size_t k = 0; k < n; k += VEC_LANES) { \
        const vec v = vec_load(x + k);          \
        vec_store(x + k, (expression));         \
    }

static void activate(lstmcore_activation kind, float alpha, float beta, float *x, size_t n) {
    const vec a = vec_set1(alpha), b = vec_set1(beta);
    switch (kind) {
    case LSTMCORE_RELU:
        EACH(relu_of(v)) break;
    case LSTMCORE_LEAKY_RELU:
        EACH(leaky_relu_of(v, alpha)) break;
    case LSTMCORE_ELU:
        EACH(elu_of(v, alpha)) break;
    case LSTMCORE_GELU:
        EACH(gelu_of(v)) break;
    case LSTMCORE_GELU_TANH:
        EACH(gelu_tanh_of(v)) break;
    case LSTMCORE_TANH:
        EACH(tanh_of(v)) break;
    case LSTMCORE_SIGMOID:
        EACH(sigmoid_of(v)) break;
    case LSTMCORE_LINEAR:
        break;
    case LSTMCORE_AFFINE:
        EACH(vec_fma(a, v, b)) break;
    case LSTMCORE_THRESHOLDED_RELU:
        EACH(thresholded_relu_of(v, alpha)) break;
    case LSTMCORE_SCALED_TANH:
        EACH(vec_mul(a, tanh_of(vec_mul(b, v)))) break;
    case LSTMCORE_HARD_SIGMOID:
        EACH(clamp(0.0f, 1.0f, vec_fma(a, v, b))) break;
    case LSTMCORE_SOFTSIGN:
        EACH(softsign_of(v)) break;
    case LSTMCORE_SOFTPLUS:
        EACH(softplus_of(v)) break;
    case LSTMCORE_SILU:
        EACH(silu_of(v)) break;
    case LSTMCORE_SELU:
        EACH(selu_of(v)) break;
    case LSTMCORE_RELU6:
        EACH(clamp(0.0f, 6.0f, v)) break;
    case LSTMCORE_EXPONENTIAL:
        EACH(exp_any(v)) break;
    case LSTMCORE_HARD_TANH:
        EACH(clamp(-1.0f, 1.0f, v)) break;
    case LSTMCORE_MISH:
        EACH(mish_of(v)) break;
    case LSTMCORE_HARD_SILU:
        EACH(hard_silu_of(v)) break;
    }
}

static void exponential(float shift, float *x, size_t n) {
    EACH(exp_of(vec_sub(v, vec_set1(shift))))
}

#undef EACH
