#include "packing.h"

#include <math.h>
#include <stdlib.h>

#include "memory.h"

/* Units that fill at most half of a block become a tail behind whole blocks: what it saves then is more than taking the
 * gates apart again costs. */
static void cut(packed *w, size_t lanes, size_t units) {
    const size_t rest = units % lanes, tail = (w->gates * rest + lanes - 1) / lanes;
    w->blocks = units / lanes;
    if (w->gates == 4 && w->blocks > 0 && tail <= 2) {
        w->tail_units = rest;
        w->tail = tail;
    } else {
        w->blocks += rest > 0;
    }
}

/* (gates*units, inputs) row-major and (gates*units,) -> the layout in kernel.h */
int lstmcore_pack(packed *w, size_t lanes, size_t gates, size_t units, size_t inputs, const float *matrix,
                  const float *bias) {
    *w = (packed){.inputs = inputs, .gates = gates};
    cut(w, lanes, units);
    const size_t vectors = w->blocks * gates + w->tail;
    w->weights = lstmcore_floats_new(vectors * inputs * lanes);
    /* Read as a row of gates may be, with room for what a tail leaves out. */
    w->bias = lstmcore_floats_new((w->blocks + (w->tail > 0)) * gates * lanes);
    if (w->weights == NULL || w->bias == NULL) {
        return LSTMCORE_NO_MEMORY;
    }
    w->finite = 1;
    for (size_t n = 0; n < gates * units * inputs; n++) {
        w->finite &= isfinite(matrix[n]) != 0;
    }
    for (size_t g = 0; g < gates; g++) {
        for (size_t u = 0; u < units; u++) {
            const size_t block = u / lanes, lane = u % lanes, begin = block * gates * lanes;
            const size_t k_step = (block < w->blocks ? gates : w->tail) * lanes;
            const size_t at = g * (block < w->blocks ? lanes : w->tail_units) + lane;
            for (size_t k = 0; k < inputs; k++) {
                w->weights[begin * inputs + k * k_step + at] = matrix[(g * units + u) * inputs + k];
            }
            if (bias != NULL) {
                w->bias[begin + at] = bias[g * units + u];
            }
        }
    }
    return LSTMCORE_OK;
}

void lstmcore_packed_free(packed *w) {
    free(w->weights);
    free(w->bias);
    free(w->colored);
}
