/* Weights in the layout of a kernel. */
#ifndef LSTMCORE_PACKING_H
#define LSTMCORE_PACKING_H

#include "kernel.h"

/* (gates*units, inputs) row-major -> [block][k][gate][lane], and (gates*units,), which may be NULL for zeros, ->
 * [block][gate][lane] */
int lstmcore_pack(packed *w, size_t lanes, size_t gates, size_t units, size_t inputs, const float *matrix,
                  const float *bias);

void lstmcore_packed_free(packed *w);

#endif
