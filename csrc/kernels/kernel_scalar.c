#define KERNEL_NAME scalar
#include "vec_scalar.h"
#include "kernel.inc.h"
