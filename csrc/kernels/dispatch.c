#include "dispatch.h"

#include <stdlib.h>
#include <string.h>

#include "cpu.h"

#define KERNEL(name, family) extern const kernel lstmcore_kernel_##name;
#include "kernels.def"
#undef KERNEL

typedef struct {
    const char *name;
    const kernel *built; /* NULL where the processor family has no such instructions */
    int (*runs)(void);
} entry;

/* IF(LSTMCORE_X86, p) is p on x86 and NULL elsewhere; the name of a kernel that is not built must not even appear. */
#define IF(condition, pointer)  IF_(condition, pointer)
#define IF_(condition, pointer) IF_##condition(pointer)
#define IF_0(pointer)           NULL
#define IF_1(pointer)           pointer

static const entry kernels[] = {
#define KERNEL(name, family) {#name, IF(family, &lstmcore_kernel_##name), lstmcore_cpu_runs_##name},
#include "kernels.def"
#undef KERNEL
};

enum { COUNT = sizeof kernels / sizeof kernels[0] };

int lstmcore_kernel_count(void) {
    return COUNT;
}

const char *lstmcore_kernel_name(int k) {
    return k >= 0 && k < COUNT ? kernels[k].name : NULL;
}

int lstmcore_kernel_built(int k) {
    return k >= 0 && k < COUNT && kernels[k].built != NULL;
}

int lstmcore_kernel_runs(int k) {
    return lstmcore_kernel_built(k) && kernels[k].runs();
}

int lstmcore_select_kernel(const char *name, const kernel **selected) {
    if (name == NULL) {
        name = getenv("LSTMCORE_KERNEL");
    }
    const int any = name == NULL || *name == '\0';
    for (int k = 0; k < COUNT; k++) {
        if (!any && strcmp(name, kernels[k].name) != 0) {
            continue;
        }
        if (lstmcore_kernel_runs(k)) {
            *selected = kernels[k].built;
            return LSTMCORE_OK;
        }
        if (!any) {
            return LSTMCORE_CANNOT_RUN;
        }
    }
    return LSTMCORE_NO_SUCH_KERNEL; /* a name that none of them has: the scalar kernel runs everywhere */
}
