/* The processor's floating-point mode while a call runs: rounding to nearest, no traps, subnormal inputs and results
 * count as zero (arithmetic on them takes a hundred cycles on many processors). */
#ifndef LSTMCORE_FP_MODE_H
#define LSTMCORE_FP_MODE_H

#include <stdint.h>

#include "cpu.h"

#if LSTMCORE_X86

#include <xmmintrin.h>

typedef unsigned fp_mode;

static inline fp_mode fp_mode_enter(void) {
    const fp_mode callers = _mm_getcsr();
    _mm_setcsr(0x9fc0); /* flush to zero, all exceptions masked, denormals are zero */
    return callers;
}

static inline void fp_mode_leave(fp_mode callers) {
    _mm_setcsr(callers);
}

#elif LSTMCORE_ARM64

typedef uint64_t fp_mode;

static inline void fp_mode_leave(fp_mode callers) {
    __asm__ volatile("msr fpcr, %0" : : "r"(callers) : "memory");
}

static inline fp_mode fp_mode_enter(void) {
    fp_mode callers;
    __asm__ volatile("mrs %0, fpcr" : "=r"(callers) : : "memory");
    fp_mode_leave((fp_mode)1 << 24); /* FZ; all else zero: to nearest, no traps, NaN propagate */
    return callers;
}

#else
#error "lstmcore: no floating-point mode known for this processor family"
#endif

#endif
