/* A kernel: the texts over whichever `vec` came before, and the table of what they offer. Everything is static, since
 * functions of one name compiled with other instructions would be merged by the linker. */
#include <stdint.h>
#include <string.h>

#include "colored.h"

#if defined(__FAST_MATH__) || (defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0)
#error "kernels need IEEE arithmetic in float: no -ffast-math, no x87"
#endif

/* clang-format off: each reads the one before */
#include "activations.inc.h"
#include "activate.inc.h"
#include "tile.inc.h"
#include "lstm.inc.h"
#include "gru.inc.h"
#include "cell.inc.h"
#if VEC_LANES == COLORED_LANES
#include "colored.inc.h"
#endif
/* clang-format on */

#define TABLE_(name) lstmcore_kernel_##name
#define TABLE(name)  TABLE_(name)
#define TEXT_(name)  #name
#define TEXT(name)   TEXT_(name)

extern const kernel TABLE(KERNEL_NAME);

const kernel TABLE(KERNEL_NAME) = {
    .name = TEXT(KERNEL_NAME),
    .lanes = VEC_LANES,
    .project = project,
    .linear = linear,
    .product = product,
    .steps = steps,
#if VEC_LANES == COLORED_LANES
    .colored_steps = colored_steps,
#endif
    .carry = carry,
    .step = step,
    .finish = finish,
    .activate = activate,
    .affine = affine,
    .exponential = exponential,
};
