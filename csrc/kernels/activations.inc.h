/* exp and the activations, written once over `vec`.
 *
 * Inputs of +-inf and NaN give what the limit and IEEE say. Subnormal inputs and results count as zero, since all of
 * this runs with flush-to-zero set. The polynomials are minimax fits made with the Remez algorithm.
 */
#define LOG2_E_HIGH 0x1.715476p+0f
#define LOG2_E_LOW  0x1.4ae0cp-26f

/* 1.5*2^23 + 127: what is added to it is rounded to an integer n, and n + 127, the exponent of 2^n, then stands in the
 * low bits. */
#define ROUNDER 12583039.0f

/* (2^r - 1) / r for |r| <= 1/2; multiplied by r, less than 4e-9 from 2^r - 1. */
static inline vec pow2_quotient(vec r) {
    vec q = vec_set1(0x1.446cdep-13f);
    q = vec_fma(q, r, vec_set1(0x1.5f08f8p-10f));
    q = vec_fma(q, r, vec_set1(0x1.3b29e4p-7f));
    q = vec_fma(q, r, vec_set1(0x1.c6af6cp-5f));
    q = vec_fma(q, r, vec_set1(0x1.ebfbep-3f));
    return vec_fma(q, r, vec_set1(0x1.62e43p-1f));
}

/* a = n + r with n the nearest integer and a = x*high: returns r, rounded once, and 2^n in *power.
 * Wants a in [-127, 128]; 2^-127 comes out as 0 and 2^128 as inf. */
static inline vec split(vec x, float high, vec *power) {
    const vec rounder = vec_set1(ROUNDER), factor = vec_set1(high);
    const vec t = vec_fma(x, factor, rounder);
    *power = vec_shift_exponent(t);
    return vec_fma(x, factor, vec_sub(rounder, t));
}

/* 1 + e^-x for any x, with e^-x up to 1.4e-8*|x| off, relatively: log2(e) is taken as one float. The constants stand
 * first in min and max so that a NaN goes through. */
static inline vec one_plus_exp_minus(vec x) {
    vec power;
    const vec one = vec_set1(1.0f);
    const vec r = split(vec_max(vec_set1(-88.7f), vec_min(vec_set1(87.0f), x)), -LOG2_E_HIGH, &power);
    return vec_fma(vec_fma(pow2_quotient(r), r, one), power, one);
}

/* e^(2|x|) - 1, from which tanh |x| = e / (e + 2); e up to 1.4e-8*|x| off, relatively. From 2|x| = 18.1 on that
 * quotient rounds to 1, so 10 may stand for all |x| that are larger. */
static inline vec expm1_twice(vec x) {
    vec power;
    const vec r = split(vec_min(vec_set1(10.0f), vec_abs(x)), 2 * LOG2_E_HIGH, &power);
    return vec_fma(vec_mul(pow2_quotient(r), r), power, vec_sub(power, vec_set1(1.0f)));
}

/* Where a result stands for itself, log2(e) is taken as two floats: split's a with the rest of x*log2(e) added. */
static inline vec split_e(vec x, vec *power) {
    return vec_fma(x, vec_set1(LOG2_E_LOW), split(x, LOG2_E_HIGH, power));
}

/* e^x - 1 for x in [-87, 88] */
static inline vec expm1_of(vec x) {
    vec power;
    const vec r = split_e(x, &power);
    return vec_fma(vec_mul(pow2_quotient(r), r), power, vec_sub(power, vec_set1(1.0f)));
}

/* e^x for x up to 88.7; inf from 88.4 on */
static inline vec exp_of(vec x) {
    vec power;
    const vec r = split_e(vec_max(vec_set1(-88.0f), x), &power);
    return vec_mul(vec_fma(pow2_quotient(r), r, vec_set1(1.0f)), power);
}

/* 1 / (1 + e^-x) for x from zero up, e^x / (1 + e^x) below: no power is above 1, and the small ones stay precise. Power
 * and sum are kept with what their rounding left out, and the quotient is corrected by it: 1.06 ulp off at most. */
static inline vec sigmoid_of(vec x) {
    const vec zero = vec_set1(0.0f), one = vec_set1(1.0f);
    vec power;
    const vec r = split_e(vec_max(vec_set1(-88.0f), vec_sub(zero, vec_abs(x))), &power);
    const vec q = pow2_quotient(r);
    const vec pow2_r = vec_fma(q, r, one);
    const vec e = vec_mul(pow2_r, power), e_low = vec_mul(vec_fma(q, r, vec_sub(one, pow2_r)), power);
    const vec sum = vec_add(one, e), sum_low = vec_add(vec_add(vec_sub(one, sum), e), e_low);
    const vec top = vec_select_less(x, zero, e, one), top_low = vec_select_less(x, zero, e_low, zero);
    const vec y = vec_div(top, sum), minus_y = vec_sub(zero, y);
    const vec rest = vec_add(vec_fma(minus_y, sum, top), vec_fma(minus_y, sum_low, top_low));
    /* 1 / sum is y itself or 1 - y */
    return vec_fma(rest, vec_select_less(x, zero, vec_sub(one, y), y), y);
}

/* Below 0.625 x + x^3 * p(x^2), p being 4.2e-9 off where multiplied by x^2; from there on 1 - 2 / (e^2|x| + 1). From
 * |x| = 9.1 on that rounds to 1, so 10 may stand for all that is larger. */
static inline vec tanh_of(vec x) {
    const vec one = vec_set1(1.0f), two = vec_set1(2.0f), a = vec_abs(x);
    const vec square = vec_mul(a, a);
    vec small = vec_set1(-0x1.76b3d4p-8f);
    small = vec_fma(small, square, vec_set1(0x1.5258ccp-6f));
    small = vec_fma(small, square, vec_set1(-0x1.b844a2p-5f));
    small = vec_fma(small, square, vec_set1(0x1.11076cp-3f));
    small = vec_fma(small, square, vec_set1(-0x1.555534p-2f));
    small = vec_fma(vec_mul(small, square), a, a);
    const vec e = exp_of(vec_mul(two, vec_min(vec_set1(10.0f), a)));
    const vec large = vec_sub(one, vec_div(two, vec_add(e, one)));
    return vec_copysign(vec_select_less(a, vec_set1(0.625f), small, large), x);
}

static inline vec relu_of(vec x) {
    return vec_max(vec_set1(0.0f), x);
}

static inline vec leaky_relu_of(vec x, float slope) {
    return vec_fma(vec_set1(slope), vec_min(vec_set1(0.0f), x), relu_of(x));
}

static inline vec elu_of(vec x, float alpha) {
    const vec below = vec_max(vec_set1(-87.0f), vec_min(vec_set1(0.0f), x));
    return vec_fma(vec_set1(alpha), expm1_of(below), relu_of(x));
}

/* x * Phi(x) = x/2 * (1 + erf z), z = x/sqrt 2. Below |z| = 1 erf by a polynomial in z^2, 1.2e-9 off; from there on
 * erfc |z| = e^(g(|z|) - z^2): far below zero, where the answer is next to nothing, small instead of the 0 that
 * 1 + erf z would round to, though with few of its digits right (docs/accuracy.md). */
static inline vec gelu_of(vec x) {
    const vec one = vec_set1(1.0f);
    const vec z = vec_mul(x, vec_set1(0x1.6a09e6p-1f));
    const vec a = vec_min(vec_set1(9.5f), vec_abs(z));
    const vec square = vec_mul(a, a);
    vec small = vec_set1(0x1.4ae4d4p-14f);
    small = vec_fma(small, square, vec_set1(-0x1.a485eep-11f));
    small = vec_fma(small, square, vec_set1(0x1.5419f6p-8f));
    small = vec_fma(small, square, vec_set1(-0x1.b7fbb4p-6f));
    small = vec_fma(small, square, vec_set1(0x1.ce2d2p-4f));
    small = vec_fma(small, square, vec_set1(-0x1.81273ep-2f));
    small = vec_fma(small, square, vec_set1(0x1.20dd74p+0f));
    small = vec_fma(small, z, one);
    vec large = vec_set1(-0x1.7a68acp-18f);
    large = vec_fma(large, a, vec_set1(0x1.84ac06p-13f));
    large = vec_fma(large, a, vec_set1(-0x1.4d0b32p-9f));
    large = vec_fma(large, a, vec_set1(0x1.3ffe6cp-6f));
    large = vec_fma(large, a, vec_set1(-0x1.8ef244p-4f));
    large = vec_fma(large, a, vec_set1(0x1.6b1026p-2f));
    large = vec_fma(large, a, vec_set1(-0x1.1f531p+0f));
    large = vec_fma(large, a, vec_set1(-0x1.9b435cp-10f));
    large = exp_of(vec_sub(large, square));
    large = vec_select_less(z, vec_set1(0.0f), large, vec_sub(vec_set1(2.0f), large));
    const vec sum = vec_select_less(a, one, small, large);
    return vec_mul(vec_mul(vec_set1(0.5f), x), sum);
}

/* x/2 * (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2/pi) * (x + 0.044715 x^3). Below -16 it is as good as zero, and x is
 * kept from outgrowing the sum, which ends at e^87; the last summand is -0, or NaN for -inf, as the equation has it. */
static inline vec gelu_tanh_of(vec x) {
    const vec low = vec_set1(-16.0f), near = vec_max(low, x);
    const vec cubic = vec_fma(vec_mul(vec_set1(0.044715f), vec_mul(near, near)), near, near);
    const vec value = vec_div(near, one_plus_exp_minus(vec_mul(vec_set1(0x1.988454p+0f), cubic)));
    const vec beyond = vec_min(vec_set1(-0.0f), vec_sub(x, low));
    return vec_add(value, vec_mul(beyond, vec_set1(0.0f)));
}
