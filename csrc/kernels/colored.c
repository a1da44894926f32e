#include "colored.h"

#include <string.h>

#include "cpu.h"
#include "memory.h"

int lstmcore_color(packed *r, size_t lanes) {
    const size_t gates = r->gates;
    if ((r->cell != CELL_LSTM && r->cell != CELL_GRU) || lanes != COLORED_LANES || r->inputs != COLORED_UNITS ||
        lstmcore_cpu_cache() != COLORED_CACHE) {
        return LSTMCORE_OK;
    }
    const size_t bias = colored_begin(gates, r->blocks, 0);
    r->colored = lstmcore_pages_new(bias + PAGE);
    if (r->colored == NULL) {
        return LSTMCORE_NO_MEMORY;
    }
    const float *from = r->weights;
    for (size_t block = 0; block < r->blocks; block++) {
        for (size_t k = 0; k < COLORED_UNITS; k++) {
            float *const half = r->colored + colored_begin(gates, block, k);
            for (size_t gate = 0; gate < gates; gate++, from += LINE) {
                memcpy(half + colored_at(gates, k % COLORED_HALF, block % 2 * gates + gate), from, LINE * sizeof *from);
            }
        }
    }
    if (r->cell == CELL_GRU) {
        memcpy(r->colored + bias + PASSING, r->bias, gates * COLORED_UNITS * sizeof *from);
    }
    return LSTMCORE_OK;
}
