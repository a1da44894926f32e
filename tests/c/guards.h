/* Memory between guards. In a program linked with guards.c and --wrap for the functions that it stands in for,
 * every allocation lies between two zones of POISON and is POISON itself until it is written to.
 *
 * guards.c is a file of its own so that the compiler, which knows that malloc changes nobody's variables, does not see
 * both it and who calls it.
 */
#ifndef GUARDS_H
#define GUARDS_H

#include <stddef.h>

/* Each byte of it; as a float NaN, as an index or a pointer beyond all memory. */
enum { POISON = 0xff };

/* `shift` bytes behind a cache line's boundary; goes with free. */
void *guarded_new(size_t size, size_t shift);

/* Of an allocation, as it was asked for. */
size_t guarded_size(const void *at);

/* End the program with status 1 and this name where anything was written outside an allocation that is still there. */
void guards_check(const char *call_name);

/* From here on, with `on` 0 no longer, remember what is allocated aligned: the core's arrays of floats are. */
void guards_remember(int on);

/* Fill all that was remembered, and not freed, with POISON. */
void guards_poison_remembered(void);

#endif
