/* A thread that catches up while its caller does something else.
 *
 * One word says whose turn it is. A push takes back what the helper has not begun, and waits for what it has, so the
 * helper changes when a step is taken and never which.
 *
 * A fork copies memory and no thread but its own. It waits until no helper is in the middle of a step, so that a child
 * finds whole states; there, the first call that looks for the helper finds that it is of another process and goes on
 * without one.
 */
#if defined(__linux__)
#define _GNU_SOURCE /* pthread_setaffinity_np */
#endif
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "cpu.h"
#include "sliding.h"

enum { IDLE, WANTED, RUNNING, STOP };

/* Pauses, some microseconds, in which a helper that has a processor of its own ends most steps. */
enum { PATIENCE = 256 };

struct lstmcore_helper {
    lstmcore_sliding *sliding;
    pthread_t thread;
    unsigned forks; /* as it was when the thread was made */
    _Atomic int turn;
    int spins;
    pthread_mutex_t mutex; /* with `woken`, for a helper that sleeps */
    pthread_cond_t woken;
};

/* Held by every helper in a step, and by a fork against them. */
static pthread_rwlock_t steps = PTHREAD_RWLOCK_INITIALIZER;
static unsigned forks; /* that lie between this process and the one that loaded the library, while it had helpers */

static void before_fork(void) {
    pthread_rwlock_wrlock(&steps);
}

static void in_parent(void) {
    pthread_rwlock_unlock(&steps);
}

static void in_child(void) {
    pthread_rwlock_init(&steps, NULL); /* those who waited for it are not here */
    forks++;
}

static int fork_code;

static void watch_forks(void) {
    fork_code = pthread_atfork(before_fork, in_parent, in_child);
}

static void pause_a_moment(void) {
#if LSTMCORE_X86
    __builtin_ia32_pause();
#elif LSTMCORE_ARM64
    __asm__ volatile("yield");
#endif
}

static void catch_up(lstmcore_helper *h) {
    int expected = WANTED;
    pthread_rwlock_rdlock(&steps);
    if (atomic_compare_exchange_strong(&h->turn, &expected, RUNNING)) {
        const fp_mode callers = fp_mode_enter();
        lstmcore_sliding_take_steps(h->sliding);
        fp_mode_leave(callers);
        expected = RUNNING;
        atomic_compare_exchange_strong(&h->turn, &expected, IDLE);
    }
    pthread_rwlock_unlock(&steps);
}

static void *help(void *argument) {
    lstmcore_helper *h = argument;
    for (int turn; (turn = atomic_load(&h->turn)) != STOP;) {
        if (turn == WANTED) {
            catch_up(h);
        } else if (h->spins) {
            pause_a_moment();
        } else {
            pthread_mutex_lock(&h->mutex);
            while (atomic_load(&h->turn) == IDLE) {
                pthread_cond_wait(&h->woken, &h->mutex);
            }
            pthread_mutex_unlock(&h->mutex);
        }
    }
    return NULL;
}

void lstmcore_sliding_settle(lstmcore_sliding *s) {
    lstmcore_helper *h = s->helper;
    if (h == NULL) {
        return;
    }
    if (h->forks != forks) {
        free(h); /* its mutex and condition may look as if its thread still used them: they are left as they are */
        s->helper = NULL;
        return;
    }
    int expected = WANTED;
    if (!atomic_compare_exchange_strong(&h->turn, &expected, IDLE)) {
        for (int pauses = 0; atomic_load(&h->turn) == RUNNING;) {
            if (pauses < PATIENCE) {
                pause_a_moment();
                pauses++;
            } else { /* it may be waiting for this processor */
                sched_yield();
            }
        }
    }
}

int lstmcore_sliding_behind(const lstmcore_sliding *s) {
    return s->helper != NULL ? atomic_load(&s->helper->turn) != IDLE : s->window != 0 && s->rings[0].pending;
}

/* The mutex is taken so that the helper is either before its look at `turn` or asleep. */
static void wake(lstmcore_helper *h) {
    if (!h->spins) {
        pthread_mutex_lock(&h->mutex);
        pthread_cond_signal(&h->woken);
        pthread_mutex_unlock(&h->mutex);
    }
}

void lstmcore_sliding_wake(lstmcore_sliding *s) {
    if (s->helper != NULL) {
        atomic_store(&s->helper->turn, WANTED);
        wake(s->helper);
    }
}

static int pin(pthread_t thread, int cpu) {
#if defined(__linux__)
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    if (cpu >= CPU_SETSIZE) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    CPU_SET((size_t)cpu, &cpus);
    return pthread_setaffinity_np(thread, sizeof cpus, &cpus) == 0 ? LSTMCORE_OK : LSTMCORE_BAD_ARGUMENT;
#else
    (void)thread;
    (void)cpu;
    return LSTMCORE_CANNOT_RUN;
#endif
}

int lstmcore_sliding_start_helper(lstmcore_sliding *s, int spins, int cpu) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (s == NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    lstmcore_sliding_settle(s);
    if (s->helper != NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    pthread_once(&once, watch_forks);
    lstmcore_helper *h = fork_code == 0 ? calloc(1, sizeof *h) : NULL;
    if (h == NULL) {
        return LSTMCORE_NO_MEMORY;
    }
    h->sliding = s;
    h->forks = forks;
    h->spins = spins;
    pthread_mutex_init(&h->mutex, NULL);
    pthread_cond_init(&h->woken, NULL);
    if (pthread_create(&h->thread, NULL, help, h) != 0) {
        free(h);
        return LSTMCORE_NO_MEMORY;
    }
    s->helper = h;
    const int code = cpu < 0 ? LSTMCORE_OK : pin(h->thread, cpu);
    if (code != LSTMCORE_OK) {
        lstmcore_sliding_stop_helper(s);
    }
    return code;
}

void lstmcore_sliding_stop_helper(lstmcore_sliding *s) {
    if (s == NULL) {
        return;
    }
    lstmcore_sliding_settle(s); /* so that nobody puts another word in the place of this one */
    lstmcore_helper *h = s->helper;
    if (h == NULL) {
        return;
    }
    atomic_store(&h->turn, STOP);
    wake(h);
    pthread_join(h->thread, NULL);
    pthread_mutex_destroy(&h->mutex);
    pthread_cond_destroy(&h->woken);
    free(h);
    s->helper = NULL;
}
