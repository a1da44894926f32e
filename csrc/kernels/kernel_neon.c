#include "cpu.h"

#if LSTMCORE_ARM64
#if !defined(__ARM_NEON)
#error "kernel_neon.c needs NEON"
#endif

#define KERNEL_NAME neon
#include "vec_neon.h"

#include "kernel.inc.h"
#else
typedef int lstmcore_nothing_here; /* a translation unit may not be empty */
#endif
