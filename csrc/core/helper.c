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
#elif !defined(__APPLE__)
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#endif
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "kernels/cpu.h"
#include "streams.h"

enum { IDLE, WANTED, RUNNING, STOP };

/* Pauses, some microseconds, in which a helper that has a processor of its own ends most steps. */
enum { PATIENCE = 256 };

/* Milliseconds after which a caller who waits for the helper is asked whether to go on. */
enum { BETWEEN_QUESTIONS = 10 };

struct lstmcore_helper {
    lstmcore_streams *streams;
    pthread_t thread;
    unsigned forks; /* as it was when the thread was made */
    _Atomic int turn;
    int spins;
    pthread_mutex_t mutex; /* with `woken`, for a helper that sleeps */
    pthread_cond_t woken;
    watch watched; /* whether the thread shall end */
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
        h->watched.callers = fp_mode_enter();
        lstmcore_streams_take_steps(h->streams, &h->watched);
        fp_mode_leave(h->watched.callers);
        expected = RUNNING;
        atomic_compare_exchange_strong(&h->turn, &expected, IDLE);
    }
    pthread_rwlock_unlock(&steps);
}

static int shall_end(void *helper) {
    return atomic_load(&((lstmcore_helper *)helper)->turn) == STOP;
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

/* The helper, unless it stayed in the process that this one is a fork of. */
static lstmcore_helper *helper_here(const lstmcore_streams *s) {
    return s->helper != NULL && s->helper->forks == forks ? s->helper : NULL;
}

static int64_t milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int lstmcore_streams_settle(lstmcore_streams *s) {
    lstmcore_helper *h = helper_here(s);
    int expected = WANTED;
    if (h == NULL || atomic_compare_exchange_strong(&h->turn, &expected, IDLE)) {
        return 1;
    }
    int64_t asked = 0;
    for (int pauses = 0; atomic_load(&h->turn) == RUNNING;) {
        if (pauses < PATIENCE) {
            pause_a_moment();
            pauses++;
            continue;
        }
        sched_yield(); /* it may be waiting for this processor */
        const int64_t now = milliseconds();
        if (asked == 0 || now - asked > BETWEEN_QUESTIONS) {
            if (asked != 0 && watch_ask(&s->watched)) {
                return 0;
            }
            asked = now;
        }
    }
    return 1;
}

int lstmcore_streams_behind(const lstmcore_streams *s) {
    if (s == NULL) {
        return 0;
    }
    const lstmcore_helper *h = helper_here(s);
    return (h != NULL && atomic_load(&h->turn) != IDLE) || (s->window != 0 && is_pending(&s->rings[0]));
}

/* The mutex is taken so that the helper is either before its look at `turn` or asleep. */
static void wake(lstmcore_helper *h) {
    if (!h->spins) {
        pthread_mutex_lock(&h->mutex);
        pthread_cond_signal(&h->woken);
        pthread_mutex_unlock(&h->mutex);
    }
}

void lstmcore_streams_wake(lstmcore_streams *s) {
    lstmcore_helper *h = helper_here(s);
    if (h != NULL) {
        atomic_store(&h->turn, WANTED);
        wake(h);
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

int lstmcore_streams_start_helper(lstmcore_streams *s, int spins, int cpu) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (s == NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    if (helper_here(s) != NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    pthread_once(&once, watch_forks);
    lstmcore_helper *h = fork_code == 0 ? calloc(1, sizeof *h) : NULL;
    if (h == NULL) {
        return LSTMCORE_NO_MEMORY;
    }
    h->streams = s;
    h->forks = forks;
    h->spins = spins;
    h->watched = (watch){.stop = shall_end, .context = h};
    pthread_mutex_init(&h->mutex, NULL);
    pthread_cond_init(&h->woken, NULL);
    if (pthread_create(&h->thread, NULL, help, h) != 0) {
        free(h);
        return LSTMCORE_NO_MEMORY;
    }
    free(s->helper); /* of another process: its mutex and condition may look as if its thread still used them */
    s->helper = h;
    const int code = cpu < 0 ? LSTMCORE_OK : pin(h->thread, cpu);
    if (code != LSTMCORE_OK) {
        lstmcore_streams_stop_helper(s);
    }
    return code;
}

void lstmcore_streams_stop_helper(lstmcore_streams *s) {
    if (s == NULL) {
        return;
    }
    lstmcore_helper *h = helper_here(s);
    if (h != NULL) {
        /* The word stays: nobody else is in a call. A step under way is left for the next one. */
        atomic_store(&h->turn, STOP);
        wake(h);
        pthread_join(h->thread, NULL);
        pthread_mutex_destroy(&h->mutex);
        pthread_cond_destroy(&h->woken);
    }
    free(s->helper);
    s->helper = NULL;
}
