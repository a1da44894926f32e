/* Nothing moves on the hot path: no call that answers windows allocates or frees memory, and none makes a system call.
 * One that does ends the program with status 1.
 *
 *     quiet KERNEL           prints what kernel_bits prints
 *     quiet KERNEL FAULT     with a fault planted in every call, to see it found: malloc, calloc, realloc,
 *                            aligned_alloc, posix_memalign, free; getpid or write, which are system calls
 *
 * The first are counted by linking with --wrap; that the core has no other way to memory, a look at the names that its
 * library asks for can tell. System calls are left to the kernel, which kills a child that makes one. The program
 * ends with status 77 where it cannot ask for that.
 */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "trials.h"

enum { CANNOT_TELL = 77 };

/* Allocations and frees. Volatile, since the compiler knows that malloc changes nobody's variables. */
static volatile size_t moves;

/* Count, then do what was asked. */
#define WRAP(type, name, parameters, arguments) \
    type __real_##name parameters;              \
    type __wrap_##name parameters {             \
        moves++;                                \
        return __real_##name arguments;         \
    }

WRAP(void *, malloc, (size_t size), (size))
WRAP(void *, calloc, (size_t n, size_t size), (n, size))
WRAP(void *, realloc, (void *at, size_t size), (at, size))
WRAP(void *, aligned_alloc, (size_t alignment, size_t size), (alignment, size))
WRAP(int, posix_memalign, (void **at, size_t alignment, size_t size), (at, alignment, size))

void __real_free(void *at);
void __wrap_free(void *at) {
    moves++;
    __real_free(at);
}

static void plant(void) {
    static void *volatile at; /* or what is planted for nothing would be left out */
    if (planted("malloc")) {
        at = malloc(1);
    } else if (planted("calloc")) {
        at = calloc(1, 1);
    } else if (planted("realloc")) {
        at = realloc(at, 1);
    } else if (planted("aligned_alloc")) {
        at = aligned_alloc(64, 64);
    } else if (planted("posix_memalign")) {
        void *aligned = NULL;
        at = posix_memalign(&aligned, 64, 64) == 0 ? aligned : NULL;
    } else if (planted("free")) {
        free(at);
    } else if (planted("getpid")) {
        syscall(SYS_getpid);
    } else if (planted("write")) {
        syscall(SYS_write, STDERR_FILENO, "", 0);
    }
}

static answers again; /* room for the answers of any call on the windows that are tried */

static void counted(const call *c, const windows *w, const answers *y) {
    const size_t before = moves;
    const int code = c->answer(w, y);
    plant();
    const size_t moved = moves - before;
    check(code, c->name);
    if (moved != 0) {
        fail(c->name, "allocated or freed memory");
    }
}

static void counted_call(const call *c, const windows *w, const answers *expected) {
    counted(c, w, &again);
    if (!same_answers(c, w, &again, expected)) {
        fail(c->name, "other bits than the first answer");
    }
}

/* The name of the call that a child is in, where its parent sees it. */
static const char *volatile *trapped;

static void trapped_call(const call *c, const windows *w, const answers *expected) {
    (void)expected;
    *trapped = c->name;
    if (c->answer(w, &again) != LSTMCORE_OK) {
        syscall(SYS_exit, 1);
    }
    plant();
}

/* From here on every system call but SYS_exit is the process's end. (The kernel's strict mode would let reads and
 * writes pass.) Returns 0 where the kernel cannot do this. */
static int forbid_system_calls(void) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL),
    };
    const struct sock_fprog filter = {.len = sizeof rules / sizeof *rules, .filter = rules};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

static int can_trap = 1;

static void trap(const windows *w, const answers *y) {
    fflush(stdout); /* what stands in its buffer is written once, by the parent */
    const pid_t child = fork();
    if (child == 0) {
        if (!forbid_system_calls()) {
            _exit(CANNOT_TELL);
        }
        each_call(w, y, trapped_call);
        syscall(SYS_exit, 0);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) {
        fail("quiet", "no child to watch");
    }
    if (WIFSIGNALED(status)) {
        fail(*trapped, WTERMSIG(status) == SIGSYS ? "made a system call" : "was ended by a signal");
    }
    can_trap = WEXITSTATUS(status) != CANNOT_TELL;
    if (can_trap && WEXITSTATUS(status) != 0) {
        fail(*trapped, "gave no answer");
    }
}

static int open_session(lstmcore_model *model, int states, lstmcore_session **session) {
    const size_t before = moves;
    const int code = lstmcore_session_new(model, states, session);
    if (moves == before) {
        fail("lstmcore_session_new", "allocates, and was not seen to");
    }
    return code;
}

/* One model in five: what a call asks of the system does not hang on every size. A session's first calls are made by
 * the child, so that nothing is done once and for all before it is watched; but what lstmcore_session_reserve makes
 * room for. */
static void try_windows(const windows *w, const answers *y) {
    static size_t model;
    if (model++ % 5 != 0) {
        check(run_many(w, y), "run_many");
        return;
    }
    check(lstmcore_session_reserve(w->session, w->steps), "session_reserve");
    again = room_for(w);
    if (can_trap) {
        trap(w, y);
    }
    counted(&calls[0], w, y);
    each_call(w, y, counted_call);
    free_answers(&again);
}

int main(int argc, char **argv) {
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: quiet KERNEL [FAULT]\n");
        return 2;
    }
    fault = argc == 3 ? argv[2] : "";
    trapped = mmap(NULL, sizeof *trapped, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (trapped == MAP_FAILED) {
        fail("quiet", "no memory to share with a child");
    }
    try_models(argv[1]);
    if (!can_trap) {
        fprintf(stderr, "quiet: this system has no seccomp filters; system calls were not watched\n");
        return CANNOT_TELL;
    }
    return 0;
}
