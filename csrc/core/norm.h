/* Layer normalisation. */
#ifndef LSTMCORE_NORM_H
#define LSTMCORE_NORM_H

#include <stddef.h>

/* x = (x - mean) / sqrt(variance + eps) * weight + bias over `parts` rows of `width` values, `row` apart in x, weight
 * and bias, which may be NULL: Ba et al. 2016. */
void lstmcore_normalize(float *x, size_t parts, size_t width, size_t row, const float *weight, const float *bias,
                        float eps);

#endif
