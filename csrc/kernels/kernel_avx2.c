#include "cpu.h"

#if LSTMCORE_X86
#if !defined(__AVX2__) || !defined(__FMA__)
#error "kernel_avx2.c is compiled with -mavx2 -mfma"
#endif

#define KERNEL_NAME avx2
#include "vec_avx2.h"

#include "kernel.inc.h"
#else
typedef int lstmcore_nothing_here; /* a translation unit may not be empty */
#endif
