/* Which kernel serves a model. */
#ifndef LSTMCORE_DISPATCH_H
#define LSTMCORE_DISPATCH_H

#include "kernel.h"

/* The kernel by that name, or for NULL the one from LSTMCORE_KERNEL, or else the best that runs here. */
int lstmcore_select_kernel(const char *name, const kernel **selected);

#endif
