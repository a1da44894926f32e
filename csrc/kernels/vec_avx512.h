/* Sixteen lanes: AVX-512F. See vec_scalar.h. */
#include <immintrin.h>

#define VEC_LANES 16
#define TILE_ROWS 4 /* 4 rows x 4 gates of accumulators in 32 registers */

typedef __m512 vec;

static inline vec vec_load(const float *p) {
    return _mm512_loadu_ps(p);
}
static inline void vec_store(float *p, vec a) {
    _mm512_storeu_ps(p, a);
}
static inline vec vec_set1(float a) {
    return _mm512_set1_ps(a);
}
static inline vec vec_add(vec a, vec b) {
    return _mm512_add_ps(a, b);
}
static inline vec vec_sub(vec a, vec b) {
    return _mm512_sub_ps(a, b);
}
static inline vec vec_mul(vec a, vec b) {
    return _mm512_mul_ps(a, b);
}
static inline vec vec_div(vec a, vec b) {
    return _mm512_div_ps(a, b);
}
static inline vec vec_fma(vec a, vec b, vec c) {
    return _mm512_fmadd_ps(a, b, c);
}
static inline vec vec_min(vec a, vec b) {
    return _mm512_min_ps(a, b);
}
static inline vec vec_max(vec a, vec b) {
    return _mm512_max_ps(a, b);
}
static inline vec vec_select_less(vec a, vec b, vec x, vec y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
static inline vec vec_abs(vec a) {
    return _mm512_abs_ps(a);
}
/* The bitwise operations on floats need AVX-512DQ; those on integers do not. 0xca picks b's bits where the mask is
 * set and c's elsewhere. */
static inline vec vec_copysign(vec a, vec b) {
    const __m512i sign = _mm512_set1_epi32((int)0x80000000u);
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(sign, _mm512_castps_si512(b), _mm512_castps_si512(a), 0xca));
}
static inline vec vec_shift_exponent(vec a) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a), 23));
}
/* Four numbers in every quarter, and one of them in every lane: for four, that is one load and not four. */
static inline vec vec_quad(const float *p) {
    return _mm512_broadcast_f32x4(_mm_loadu_ps(p));
}
static inline vec vec_spread(vec quad, const int N) {
    switch (N) { /* the instruction wants a constant */
    case 0:
        return _mm512_permute_ps(quad, 0x00);
    case 1:
        return _mm512_permute_ps(quad, 0x55);
    case 2:
        return _mm512_permute_ps(quad, 0xaa);
    default:
        return _mm512_permute_ps(quad, 0xff);
    }
}
static inline vec vec_from(vec a, vec b, size_t n) {
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_permutex2var_ps(a, _mm512_add_epi32(lanes, _mm512_set1_epi32((int)n)), b);
}
