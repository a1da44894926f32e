/* Four lanes: NEON on 64-bit Arm. See vec_scalar.h. */
#include <arm_neon.h>

#define VEC_LANES 4
#define TILE_ROWS 4 /* 4 rows x 4 gates of accumulators in 32 registers */

typedef float32x4_t vec;

static inline vec vec_load(const float *p) {
    return vld1q_f32(p);
}
static inline void vec_store(float *p, vec a) {
    vst1q_f32(p, a);
}
static inline vec vec_set1(float a) {
    return vdupq_n_f32(a);
}
static inline vec vec_add(vec a, vec b) {
    return vaddq_f32(a, b);
}
static inline vec vec_sub(vec a, vec b) {
    return vsubq_f32(a, b);
}
static inline vec vec_mul(vec a, vec b) {
    return vmulq_f32(a, b);
}
static inline vec vec_div(vec a, vec b) {
    return vdivq_f32(a, b);
}
static inline vec vec_fma(vec a, vec b, vec c) {
    return vfmaq_f32(c, a, b);
}
/* Not vminq/vmaxq: those order the zeros and prefer NaN, which x86 does not. */
static inline vec vec_min(vec a, vec b) {
    return vbslq_f32(vcltq_f32(a, b), a, b);
}
static inline vec vec_max(vec a, vec b) {
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}
static inline vec vec_select_less(vec a, vec b, vec x, vec y) {
    return vbslq_f32(vcltq_f32(a, b), x, y);
}
static inline vec vec_abs(vec a) {
    return vabsq_f32(a);
}
static inline vec vec_copysign(vec a, vec b) {
    return vbslq_f32(vdupq_n_u32(0x80000000u), b, a);
}
static inline vec vec_shift_exponent(vec a) {
    return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(a), 23));
}
static inline vec vec_from(vec a, vec b, size_t n) {
    static const uint8_t bytes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const uint8x16x2_t both = {{vreinterpretq_u8_f32(a), vreinterpretq_u8_f32(b)}};
    return vreinterpretq_f32_u8(vqtbl2q_u8(both, vaddq_u8(vld1q_u8(bytes), vdupq_n_u8((uint8_t)(4 * n)))));
}
