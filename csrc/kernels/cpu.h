/* What the processor and the operating system allow. */
#ifndef LSTMCORE_CPU_H
#define LSTMCORE_CPU_H

/* Processor families: 0 or 1, for #if and for kernels.def. */
#define LSTMCORE_ANY 1
#if defined(__x86_64__)
#define LSTMCORE_X86   1
#define LSTMCORE_ARM64 0
#elif defined(__aarch64__)
#define LSTMCORE_X86   0
#define LSTMCORE_ARM64 1
#else
#define LSTMCORE_X86   0
#define LSTMCORE_ARM64 0
#endif

#include <stddef.h>

/* Bytes of the first-level data cache; 32 KiB where the system does not say. */
size_t lstmcore_cpu_cache(void);

/* One for each kernel: 1 if its instructions can run here. */
#define KERNEL(name, family) int lstmcore_cpu_runs_##name(void);
#include "kernels.def"
#undef KERNEL

#endif
