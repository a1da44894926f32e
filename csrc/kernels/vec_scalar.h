/* One float as a vector of one lane: the oracle of the other vec_*.h, and what runs where none of them can.
 *
 * Each vec_*.h defines the type `vec`, VEC_LANES, and the same operations with the same result in every lane,
 * NaN and signed zeros included; how many rows of a projection its registers hold; nothing else.
 */
#include <math.h>
#include <string.h>

#define VEC_LANES 1
#define TILE_ROWS 1 /* rows of a projection at once */

typedef float vec;

static inline vec vec_load(const float *p) {
    return *p;
}
static inline void vec_store(float *p, vec a) {
    *p = a;
}
static inline vec vec_set1(float a) {
    return a;
}
static inline vec vec_add(vec a, vec b) {
    return a + b;
}
static inline vec vec_sub(vec a, vec b) {
    return a - b;
}
static inline vec vec_mul(vec a, vec b) {
    return a * b;
}
static inline vec vec_div(vec a, vec b) {
    return a / b;
}
/* a*b + c, rounded once */
static inline vec vec_fma(vec a, vec b, vec c) {
    return fmaf(a, b, c);
}
/* b where either is NaN or both are zero */
static inline vec vec_min(vec a, vec b) {
    return a < b ? a : b;
}
static inline vec vec_max(vec a, vec b) {
    return a > b ? a : b;
}
/* x where a < b, else y */
static inline vec vec_select_less(vec a, vec b, vec x, vec y) {
    return a < b ? x : y;
}
static inline vec vec_abs(vec a) {
    return fabsf(a);
}
/* the magnitude of a with the sign of b */
static inline vec vec_copysign(vec a, vec b) {
    return copysignf(a, b);
}
/* the float whose bits are those of a, shifted left by 23: an integer in the low bits becomes an exponent */
static inline vec vec_shift_exponent(vec a) {
    unsigned bits;
    memcpy(&bits, &a, sizeof bits);
    bits <<= 23;
    memcpy(&a, &bits, sizeof a);
    return a;
}
/* The lanes from n on of a and b, one behind the other: n at most 3/2 of a vector, and lanes beyond b hold anything. No
 * vector of one lane is parted. */
static inline vec vec_from(vec a, vec b, size_t n) {
    return n == 0 ? a : b;
}
