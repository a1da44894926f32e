#include "cpu.h"

#if LSTMCORE_X86
#if !defined(__AVX512F__)
#error "kernel_avx512.c is compiled with -mavx512f"
#endif

#define KERNEL_NAME avx512
#include "vec_avx512.h"

#include "kernel.inc.h"
#else
typedef int lstmcore_nothing_here; /* a translation unit may not be empty */
#endif
