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

/* Up to LANES values, of which a compiler makes vectors where it sees how many they are. */
static inline void add(float sums[LANES], const float *x, size_t n) {
    for (size_t j = 0; j < n; j++) {
        sums[j] += x[j];
    }
}

static inline void center(float squares[LANES], float *x, size_t n, float mean) {
    for (size_t j = 0; j < n; j++) {
        x[j] -= mean;
        squares[j] += x[j] * x[j];
    }
}

void lstmcore_normalize(float *x, size_t parts, size_t width, size_t row, const float *weight, const float *bias,
                        float eps) {
    const float n = (float)(parts * width);
    const size_t whole = width - width % LANES;
    float sums[LANES] = {0}, squares[LANES] = {0};
    for (size_t p = 0; p < parts; p++) {
        for (size_t j = 0; j < whole; j += LANES) {
            add(sums, x + p * row + j, LANES);
        }
        add(sums, x + p * row + whole, width - whole);
    }
    const float mean = total(sums) / n;
    for (size_t p = 0; p < parts; p++) {
        for (size_t j = 0; j < whole; j += LANES) {
            center(squares, x + p * row + j, LANES, mean);
        }
        center(squares, x + p * row + whole, width - whole, mean);
    }
    const float deviation = sqrtf(total(squares) / n + eps);
    for (size_t p = 0; p < parts; p++) {
        for (size_t k = p * row; k < p * row + width; k++) {
            const float y = x[k] / deviation * weight[k];
            x[k] = bias == NULL ? y : y + bias[k];
        }
    }
}
