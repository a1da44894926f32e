/* A thread that catches up while its caller does something else.
 *
 * One word says whose turn it is. A push takes back what the helper has not begun, and waits for what it has, so the
 * helper changes when a step is taken and never which.
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

struct lstmcore_helper {
    lstmcore_sliding *sliding;
    pthread_t thread;
    _Atomic int turn;
    int spins;
    pthread_mutex_t mutex; /* with `woken`, for a helper that sleeps */
    pthread_cond_t woken;
};

static void pause_a_moment(void) {
#if LSTMCORE_X86
    __builtin_ia32_pause();
#elif LSTMCORE_ARM64
    __asm__ volatile("yield");
#endif
}

static void catch_up(lstmcore_helper *h) {
    int expected = WANTED;
    if (!atomic_compare_exchange_strong(&h->turn, &expected, RUNNING)) {
        return;
    }
    const fp_mode callers = fp_mode_enter();
    lstmcore_sliding_take_steps(h->sliding);
    fp_mode_leave(callers);
    expected = RUNNING;
    atomic_compare_exchange_strong(&h->turn, &expected, IDLE);
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
    int expected = WANTED;
    if (!atomic_compare_exchange_strong(&h->turn, &expected, IDLE)) {
        while (atomic_load(&h->turn) == RUNNING) {
            pause_a_moment();
        }
    }
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
    if (s == NULL || s->helper != NULL) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    lstmcore_helper *h = calloc(1, sizeof *h);
    if (h == NULL) {
        return LSTMCORE_NO_MEMORY;
    }
    h->sliding = s;
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
    if (s == NULL || s->helper == NULL) {
        return;
    }
    lstmcore_helper *h = s->helper;
    lstmcore_sliding_settle(s); /* so that nobody puts another word in the place of this one */
    atomic_store(&h->turn, STOP);
    wake(h);
    pthread_join(h->thread, NULL);
    pthread_mutex_destroy(&h->mutex);
    pthread_cond_destroy(&h->woken);
    free(h);
    s->helper = NULL;
}
