#include "memory.h"

#include <stdlib.h>
#include <string.h>

#include "colored.h"

static float *zeros(size_t boundary, size_t n) {
    const size_t bytes = round_up(n ? n : 1, boundary) * sizeof(float);
    float *memory = aligned_alloc(boundary * sizeof(float), bytes);
    if (memory != NULL) {
        memset(memory, 0, bytes);
    }
    return memory;
}

float *lstmcore_floats_new(size_t n) {
    return zeros(ROW, n);
}

float *lstmcore_pages_new(size_t n) {
    return zeros(PAGE, n);
}
