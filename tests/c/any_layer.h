/* Graphs of any layers: each reads values that were made before it, drawn among those that fit. */
#ifndef ANY_LAYER_H
#define ANY_LAYER_H

#include <string.h>

#include "random_layers.h"

enum { MOST_VALUES = 48, MOST_PORTS = 6, WIDEST = 300, LONGEST_VECTOR = 3000 };

/* A model under way. A chain stands for a value that layers may read. */
typedef struct {
    lstmcore_model *model;
    chain values[MOST_VALUES];
    size_t n, n_inputs;
    chain outputs[MOST_PORTS];
    size_t n_outputs;
    size_t flattened[MOST_PORTS], n_flattened; /* must be read: a window's length hangs on them */
    size_t steps;                              /* of a Flatten */
    int follows;                               /* nothing looks ahead but what the newest tick alone decides */
} graph;

static void add_input(graph *g, int sequence, size_t width) {
    chain c = {.model = g->model, .width = width, .sequence = sequence};
    const char name[] = {'i', (char)('0' + g->n_inputs), 0};
    check(lstmcore_model_add_input(g->model, name, sequence ? LSTMCORE_SEQUENCE : LSTMCORE_VECTOR, width,
                                   LSTMCORE_FLOAT32, &c.at),
          "add_input");
    g->values[g->n++] = c;
    g->n_inputs++;
}

/* With one to three inputs, nearly always a sequence among them. */
static inline graph graph_of(const char *kernel_name, size_t steps, int follows) {
    graph g = {.steps = steps, .follows = follows};
    check(lstmcore_model_new(kernel_name, &g.model), kernel_name);
    const size_t inputs = random_between(1, 3), only_vectors = random_bits() % 16 == 0;
    for (size_t k = 0; k < inputs; k++) {
        const size_t width = random_between(1, 30); /* not drawn in the call: in which order is the compiler's choice */
        add_input(&g, !only_vectors && (k == 0 || random_bits() % 2), width);
    }
    return g;
}

enum { ANY = 0, VECTOR = 1, SEQUENCE = 2 };

/* A value of this rank and, where it is not 0, width, the newer ones more often; 0 where there is none. */
static int pick(const graph *g, int rank, size_t width, chain *found) {
    size_t fitting[MOST_VALUES], n = 0;
    for (size_t k = 0; k < g->n; k++) {
        const chain *c = &g->values[k];
        if ((rank == ANY || c->sequence == (rank == SEQUENCE)) &&
            (width == 0 ? c->width <= WIDEST : c->width == width)) {
            fitting[n++] = k;
        }
    }
    if (n != 0) {
        const size_t a = random_bits() % n, b = random_bits() % n;
        *found = g->values[fitting[a > b ? a : b]];
    }
    return n != 0;
}

static void keep(graph *g, chain c) {
    if (g->n < MOST_VALUES) {
        g->values[g->n++] = c;
    }
}

/* What a layer's states begin with, of one made last; `hidden` of an LSTM is the width of c. */
static void set_start(const chain *c, size_t states_before) {
    const size_t more = lstmcore_model_state_size(c->model) - states_before - c->width;
    float *h = random_floats(c->width, 1.0f), *cell = random_floats(more, 1.0f);
    check(lstmcore_model_set_start(c->model, c->at, h, more == 0 ? NULL : cell), "set_start");
    free(h);
    free(cell);
}

/* A recurrent layer, at times with a mask, unless that is NULL, or a start. */
static void add_any_recurrent(chain *c, const chain *mask) {
    const size_t states = lstmcore_model_state_size(c->model);
    add_recurrent(c, sizes[random_bits() % SIZES], 0.3f);
    if (random_bits() % 3 == 0) {
        set_start(c, states);
    }
    if (mask != NULL) {
        check(lstmcore_model_set_mask(c->model, c->at, mask->at), "set_mask");
    }
}

static void add_reverse(chain *c) {
    check(lstmcore_model_add_reverse(c->model, c->at, &c->at), "add_reverse");
}

/* Steps that count, at times those of an input that are not all zeros; 0 where there is nothing that could say so. */
static int pick_mask(graph *g, chain *mask) {
    if (g->values[0].sequence && random_bits() % 2) {
        *mask = g->values[0];
        check(lstmcore_model_add_differs(g->model, mask->at, 0.0f, &mask->at), "add_differs");
        mask->width = 1;
        return 1;
    }
    return pick(g, SEQUENCE, 1, mask);
}

/* Values joined as `how` says. The first has been chosen; the others fit it. */
static void add_join(graph *g, chain first, lstmcore_join how) {
    const size_t n = random_between(2, 4);
    lstmcore_value in[4] = {first.at};
    size_t width = first.width;
    for (size_t k = 1; k < n; k++) {
        chain other;
        /* Nothing is found where only the first itself has grown too wide. */
        if (!pick(g, first.sequence ? SEQUENCE : VECTOR, how == LSTMCORE_CONCAT ? 0 : first.width, &other)) {
            other = first;
        }
        in[k] = other.at;
        width += how == LSTMCORE_CONCAT ? other.width : 0;
    }
    check(lstmcore_model_add_join(g->model, how, in, n, &first.at), "add_join");
    first.width = width;
    keep(g, first);
}

/* Both directions over a sequence, side by side. Of a graph that follows ticks only the newest step is then read. */
static void add_both_directions(graph *g, chain in) {
    chain mask, forward = in, backward = in;
    const int masked = random_bits() % 3 == 0 && pick_mask(g, &mask);
    add_any_recurrent(&forward, masked ? &mask : NULL);
    add_reverse(&backward);
    if (masked) {
        add_reverse(&mask);
    }
    add_any_recurrent(&backward, masked ? &mask : NULL);
    add_reverse(&backward);
    const lstmcore_value two[] = {forward.at, backward.at};
    chain both = forward;
    both.width += backward.width;
    check(lstmcore_model_add_join(g->model, LSTMCORE_CONCAT, two, 2, &both.at), "add_join");
    if (g->follows) {
        add_last(&both);
    } else {
        keep(g, backward);
    }
    keep(g, forward);
    keep(g, both);
}

/* A layer over a sequence beside its own reverse, of which the first step alone is read: neither end of the two is the
 * newest tick. */
static void add_mirrored(graph *g, chain c) {
    chain back = c;
    add_reverse(&back);
    check(lstmcore_model_add_join(g->model, LSTMCORE_CONCAT, (lstmcore_value[]){c.at, back.at}, 2, &c.at), "add_join");
    c.width *= 2;
    add_any_recurrent(&c, NULL);
    add_reverse(&c);
    add_last(&c);
    keep(g, c);
}

static void add_differs(graph *g, chain in) {
    check(lstmcore_model_add_differs(g->model, in.at, 0.0f, &in.at), "add_differs");
    in.width = 1;
    keep(g, in);
}

static void add_where(graph *g, chain in) {
    chain mask;
    if (pick_mask(g, &mask)) {
        check(lstmcore_model_add_where(g->model, in.at, mask.at, &in.at), "add_where");
        keep(g, in);
    }
}

/* A layer for each row, of any kind. */
static void add_row_layer(chain *c) {
    switch (random_bits() % 5) {
    case 0:
        add_linear(c, sizes[random_bits() % SIZES]);
        return;
    case 1:
        add_affine(c);
        return;
    case 2:
        add_activation(c, random_activation());
        return;
    case 3:
        check(lstmcore_model_add_softmax(c->model, c->at, &c->at), "add_softmax");
        return;
    default:
        add_layer_norm(c);
    }
}

/* Layers that need a sequence. */
static void add_steps_layer(graph *g, chain c) {
    chain mask;
    const size_t kind = random_bits() % 12;
    if (kind < 4) {
        add_any_recurrent(&c, random_bits() % 3 == 0 && pick_mask(g, &mask) ? &mask : NULL);
        keep(g, c);
    } else if (kind < 6) {
        add_last(&c);
        keep(g, c);
    } else if (kind == 6) {
        add_differs(g, c);
    } else if (kind == 7) {
        add_where(g, c);
    } else if (kind == 8) {
        add_both_directions(g, c);
    } else if (kind == 9 && !g->follows) {
        add_reverse(&c);
        keep(g, c);
    } else if (kind == 10 && !g->follows) {
        add_mirrored(g, c);
    } else if (!g->follows && c.width * g->steps <= LONGEST_VECTOR && g->n_flattened < 2) {
        add_flatten(&c, g->steps);
        g->flattened[g->n_flattened++] = g->n;
        keep(g, c);
    }
}

/* One more layer, or a few; none where nothing fits. */
static void add_any(graph *g) {
    chain c;
    const size_t kind = random_bits() % 8;
    if (g->n + 3 > MOST_VALUES) {
        return;
    }
    if (kind < 3 && pick(g, ANY, 0, &c)) {
        add_row_layer(&c);
        keep(g, c);
    } else if (kind < 5 && pick(g, ANY, 0, &c)) {
        add_join(g, c, (lstmcore_join)(random_bits() % (LSTMCORE_MAXIMUM + 1)));
    } else if (kind >= 5 && pick(g, SEQUENCE, 0, &c)) {
        add_steps_layer(g, c);
    }
}

static void add_output(graph *g, chain c) {
    const char name[] = {'o', (char)('0' + g->n_outputs), 0};
    check(lstmcore_model_add_output(g->model, name, c.at), "add_output");
    g->outputs[g->n_outputs++] = c;
}

/* No more layers: the newest value, all that a Flatten has made, and at times others are the answers; with
 * `only_vectors` the last step of a sequence is. */
static void end_graph(graph *g, int only_vectors) {
    if (g->n == g->n_inputs) {
        chain c = g->values[0];
        add_linear(&c, 3);
        keep(g, c);
    }
    size_t outputs[MOST_PORTS] = {g->n - 1}, n = 1;
    for (size_t k = 0; k < g->n_flattened; k++) {
        outputs[n++] = g->flattened[k];
    }
    while (n < MOST_PORTS - 1 && random_bits() % 2) {
        outputs[n++] = random_between(g->n_inputs, g->n - 1);
    }
    for (size_t k = 0; k < n; k++) {
        chain c = g->values[outputs[k]];
        if (c.sequence && only_vectors) {
            add_last(&c);
        }
        add_output(g, c);
    }
    check(lstmcore_model_seal(g->model), "seal");
}

/* Some steps of a sequence all zeros, which masks leave out. */
static void clear_steps(float *x, size_t steps, size_t width) {
    for (size_t t = 0; t < steps; t++) {
        if (random_bits() % 4 == 0) {
            memset(x + t * width, 0, width * sizeof *x);
        }
    }
}

#endif
