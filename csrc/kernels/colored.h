/* The colored layout: recurrent weights that are up to twice a first-level cache, placed so that what it keeps stays.
 *
 * A cache of 32 KiB in 8 ways has 64 sets; where in its page of 4 KiB a line lies says into which of them it goes. A
 * step reads each weight once. Where any line may push out any other the cache keeps what was read last, and all the
 * rest is read from the second level in one go. Here lines are of two colors: those in the first KEPT_SETS sets fill
 * all eight ways of these and stay; all others, and most of what else a step touches, pass through the remaining sets.
 * Both are mixed evenly, so that the second level delivers while the first is read.
 */
#ifndef LSTMCORE_COLORED_H
#define LSTMCORE_COLORED_H

#include "kernel.h"

/* Narrower vectors are bound by their multiply-adds sooner: an LSTM 5 % faster, a GRU 4 % slower. */
#define COLORED_LANES 16

enum {
    COLORED_CACHE = 32 << 10,
    COLORED_UNITS = 64,               /* smaller matrices fit as they are, and of larger ones too little stays */
    COLORED_ROWS = 4,                 /* fewer steps than that take the other weights */
    COLORED_HALF = COLORED_UNITS / 2, /* rows of h that are laid out together */
    LINE = ROW,
    PAGE = 64 * LINE, /* floats */
    KEPT_SETS = 52,   /* an LSTM's gates reach into four of them; from 56 on h and c do too; with 48 fewer stay */
    KEPT = 8 * KEPT_SETS / 4, /* lines of a half that stay: there are eight ways and four halves */
    PASSING_SETS = 64 - KEPT_SETS,
    PASSING = KEPT_SETS * LINE, /* where in its page a passing line may begin */
};

/* Floats from one half to the next: a tile is two blocks, and half of it COLORED_HALF rows of 2*gates lines. */
static inline size_t colored_half(size_t gates) {
    return (COLORED_HALF * 2 * gates - KEPT + PASSING_SETS - 1) / PASSING_SETS * PAGE;
}

/* Where line n of row k of a half stands. */
static inline size_t colored_at(size_t gates, size_t k, size_t n) {
    const size_t lines = COLORED_HALF * 2 * gates, line = k * 2 * gates + n;
    const size_t kept = line * KEPT / lines, passed = line - kept; /* before this one */
    const int stays = (line + 1) * KEPT / lines > kept;
    return stays ? kept / KEPT_SETS * PAGE + kept % KEPT_SETS * LINE
                 : passed / PASSING_SETS * PAGE + PASSING + passed % PASSING_SETS * LINE;
}

/* Where the half of these blocks and rows begins: [two blocks][half]. Behind the last is a page with a GRU's bias. */
static inline size_t colored_begin(size_t gates, size_t block, size_t k) {
    return (block / 2 * 2 + k / COLORED_HALF) * colored_half(gates);
}

/* Where a row of gates begins in its page, so that it ends there: among the passing lines, a GRU's as a whole. */
static inline size_t colored_gates(size_t gates) {
    return PAGE - gates * COLORED_UNITS;
}

/* Makes r->colored of the other weights where that is of use. */
int lstmcore_color(packed *r, size_t lanes);

#endif
