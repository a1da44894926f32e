#include "norm.h"

#include <math.h>

/* Sums in a fixed order: value j of a row goes to the sum j mod LANES, and those are added by halves. */
enum { LANES = 16 };

static float total(float sums[LANES]) {
    for (size_t half = LANES / 2; half > 0; half /= 2) {
        for (size_t j = 0; j < half; j++) {
            sums[j] += sums[j + half];
        }
    }
    return sums[0];
}

void lstmcore_normalize(float *x, size_t parts, size_t width, size_t row, const float *weight, const float *bias,
                        float eps) {
    const float n = (float)(parts * width);
    float sums[LANES] = {0}, squares[LANES] = {0};
    for (size_t p = 0; p < parts; p++) {
        for (size_t j = 0; j < width; j++) {
            sums[j % LANES] += x[p * row + j];
        }
    }
    const float mean = total(sums) / n;
    for (size_t p = 0; p < parts; p++) {
        for (size_t j = 0; j < width; j++) {
            const float apart = x[p * row + j] - mean;
            x[p * row + j] = apart;
            squares[j % LANES] += apart * apart;
        }
    }
    const float deviation = sqrtf(total(squares) / n + eps);
    for (size_t p = 0; p < parts; p++) {
        for (size_t k = p * row; k < p * row + width; k++) {
            const float y = x[k] / deviation * weight[k];
            x[k] = bias == NULL ? y : y + bias[k];
        }
    }
}
