/* Memory as kernels want it. */
#ifndef LSTMCORE_MEMORY_H
#define LSTMCORE_MEMORY_H

#include <stddef.h>

static inline size_t round_up(size_t n, size_t to) {
    return (n + to - 1) / to * to;
}

/* Zeroed memory on a cache line's boundary, for n floats and at least one line; NULL where there is none. */
float *lstmcore_floats_new(size_t n);

/* The same on the boundary of a page. */
float *lstmcore_pages_new(size_t n);

#endif
