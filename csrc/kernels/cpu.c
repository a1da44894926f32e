#define _DEFAULT_SOURCE /* sysconf's cache sizes */
#include "cpu.h"

#include <unistd.h>

size_t lstmcore_cpu_cache(void) {
    long bytes = 0;
#ifdef _SC_LEVEL1_DCACHE_SIZE
    bytes = sysconf(_SC_LEVEL1_DCACHE_SIZE);
#endif
    return bytes > 0 ? (size_t)bytes : (size_t)32 << 10;
}

#if LSTMCORE_X86

#include <cpuid.h>

/* XCR0 says which registers the operating system saves when it switches threads. A processor may offer AVX-512
 * while the system does not save its registers: the instructions then fault. */
static unsigned saved_state(void) {
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

enum { STATE_AVX = 0x6, STATE_AVX512 = 0xe6 }; /* xmm, ymm; and opmask, upper zmm, zmm16-31 */

static int runs(unsigned state, unsigned leaf7_ebx) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_FMA)) {
        return 0;
    }
    if ((saved_state() & state) != state) {
        return 0;
    }
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & leaf7_ebx) == leaf7_ebx;
}

int lstmcore_cpu_runs_avx512(void) {
    return runs(STATE_AVX512, bit_AVX2 | bit_AVX512F);
}

int lstmcore_cpu_runs_avx2(void) {
    return runs(STATE_AVX, bit_AVX2);
}

#else

int lstmcore_cpu_runs_avx512(void) {
    return 0;
}

int lstmcore_cpu_runs_avx2(void) {
    return 0;
}

#endif

int lstmcore_cpu_runs_neon(void) {
    return LSTMCORE_ARM64; /* every 64-bit Arm processor has it */
}

int lstmcore_cpu_runs_scalar(void) {
    return 1;
}
