#include "guards.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    unsigned char *whole, *at;
    size_t whole_size, size;
    int remembered;
} block;

enum { GUARD = 1024, LINE = 64, PAGE = 4096 };

static block blocks[2048]; /* one that is not in use: at is NULL */
#define BLOCKS (sizeof blocks / sizeof *blocks)

static int remember;

void *__real_aligned_alloc(size_t alignment, size_t size);
void __real_free(void *at);

static _Noreturn void fail(const char *call_name, const char *what) {
    fprintf(stderr, "%s: %s\n", call_name, what);
    exit(1);
}

static block *find(const void *at) {
    for (block *b = blocks; b < blocks + BLOCKS; b++) {
        if (b->at == at) {
            return b;
        }
    }
    return NULL;
}

static void *place(size_t alignment, size_t size, size_t shift) {
    block *b = find(NULL);
    if (b == NULL) {
        fail("guards", "more allocations than there is room for");
    }
    const size_t before = alignment > GUARD ? alignment : GUARD;
    *b = (block){.whole_size = (before + shift + size + GUARD + alignment - 1) / alignment * alignment, .size = size};
    b->whole = __real_aligned_alloc(alignment, b->whole_size);
    if (b->whole == NULL) {
        fail("guards", "out of memory");
    }
    memset(b->whole, POISON, b->whole_size);
    return b->at = b->whole + before + shift;
}

void *guarded_new(size_t size, size_t shift) {
    return place(LINE, size, shift);
}

size_t guarded_size(const void *at) {
    return find(at)->size;
}

static int all_poison(const unsigned char *from, const unsigned char *to) {
    while (from < to && *from == POISON) {
        from++;
    }
    return from == to;
}

static void check(const block *b, const char *call_name) {
    if (!all_poison(b->whole, b->at) || !all_poison(b->at + b->size, b->whole + b->whole_size)) {
        fail(call_name, "wrote outside an array");
    }
}

void guards_check(const char *call_name) {
    for (const block *b = blocks; b < blocks + BLOCKS; b++) {
        if (b->at != NULL) {
            check(b, call_name);
        }
    }
}

void guards_remember(int on) {
    remember = on;
}

void guards_poison_remembered(void) {
    for (const block *b = blocks; b < blocks + BLOCKS; b++) {
        if (b->at != NULL && b->remembered) {
            memset(b->at, POISON, b->size);
        }
    }
}

void *__wrap_malloc(size_t size) {
    return guarded_new(size, 0);
}

void *__wrap_calloc(size_t n, size_t size) {
    return memset(guarded_new(n * size, 0), 0, n * size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    if (alignment > PAGE) {
        fail("guards", "a wider alignment than they give");
    }
    void *at = place(alignment < LINE ? LINE : alignment, size, 0);
    find(at)->remembered = remember;
    return at;
}

void __wrap_free(void *at) {
    block *b = at == NULL ? NULL : find(at);
    if (b == NULL) {
        __real_free(at); /* the C library's own */
        return;
    }
    check(b, "before free");
    __real_free(b->whole);
    b->at = NULL;
}

void *__wrap_realloc(void *at, size_t size) {
    void *new = guarded_new(size, 0);
    if (at != NULL) {
        const size_t old = find(at)->size;
        memcpy(new, at, old < size ? old : size);
        __wrap_free(at);
    }
    return new;
}
