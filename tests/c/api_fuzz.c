/* Random sequences of calls of the C interface: sound ones and wrong ones, in any order, on some models, sessions and
 * streams that come and go. A wrong call must say so and change nothing; an answer must have the same bits through
 * another door. The sanitizers see the rest.
 *
 *     api_fuzz -runs=N [-seed=S] [-artifact_prefix=P]    N sequences; the bytes of one that fails go to Pcrash-*
 *     api_fuzz FILE ...                                  the sequences in these files
 *
 * What is called is read from bytes, so that libFuzzer, where clang builds this, can look for others.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "any_layer.h"
#include "calls.h"

enum { PLACES = 3, MOST_STREAMS = 4, MOST_TICKS = 48, MOST_LAYERS = 9, MOST_STEPS = 9, MOST_CALLS = 80 };

/* What was pushed to a stream since it began. */
typedef struct {
    size_t ticks;
    int unknown;         /* it began from a state that no ticks lead to */
    float *x[MAX_PORTS]; /* of each input (MOST_TICKS, width) */
} history;

typedef struct {
    lstmcore_session *it;
    lstmcore_model *model; /* which it keeps alive */
    int ends;
} session;

typedef struct {
    lstmcore_streams *it;
    lstmcore_model *model;
    lstmcore_session *other; /* the other door to its answers */
    size_t window, count;
    history histories[MOST_STREAMS];
    float *bound_x[MAX_PORTS], *bound_y[MAX_PORTS]; /* NULL: not bound */
} feed;

static graph models[PLACES]; /* model NULL: none */
static session sessions[PLACES];
static feed feeds[PLACES];

/* How often something was compared with its other door. */
static size_t windows_compared, series_compared, ticks_compared, bound_ticks_compared, steps_compared, states_moved;

static const uint8_t *bytes;
static size_t left;

/* Below `n`, at most 256; 0 when there is nothing left to read. */
static size_t draw(size_t n) {
    if (left == 0) {
        return 0;
    }
    left--;
    return *bytes++ % n;
}

static int once_in(size_t n) {
    return draw(n) == n - 1;
}

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "api_fuzz: %s\n", what);
    abort();
}

static void expect(int fine, const char *what) {
    if (!fine) {
        fail(what);
    }
}

static void refused(int code, const char *what) {
    expect(code == LSTMCORE_BAD_ARGUMENT, what);
}

/* n random floats. Some are no numbers. */
static float *floats(size_t n) {
    float *const x = random_floats(n, 2.0f);
    if (n != 0 && once_in(16)) {
        static const float odd[] = {NAN, INFINITY, -INFINITY, 1e-42f, -0.0f, 3e38f};
        x[random_bits() % n] = odd[draw(sizeof odd / sizeof *odd)];
    }
    return x;
}

static void same(const float *a, const float *b, size_t n, const char *what) {
    expect(memcmp(a, b, n * sizeof *a) == 0, what);
}

static void free_ports(float **ports) {
    for (size_t k = 0; k < MAX_PORTS; k++) {
        free(ports[k]);
        ports[k] = NULL;
    }
}

/* Arrays for the inputs or outputs of a model: `n` windows of `steps`. Some steps of an input are zeros. */
static void new_inputs(const lstmcore_model *m, size_t n, size_t steps, float **x) {
    for (size_t k = 0; k < m->n_inputs; k++) {
        const value *v = input_of(m, k);
        x[k] = floats(port_size(v, n, steps));
        clear_steps(x[k], v->sequence ? n * steps : 0, v->width);
    }
}

static void new_outputs(const lstmcore_model *m, size_t n, size_t steps, float **y) {
    for (size_t k = 0; k < m->n_outputs; k++) {
        y[k] = random_floats(port_size(output_of(m, k), n, steps), 1.0f);
    }
}

/* --- models ---------------------------------------------------------------------------------------------------- */

static const char *kernel_to_try(void) {
    const size_t k = draw(8);
    return k < 4   ? NULL
           : k < 6 ? lstmcore_kernel_name((int)draw((size_t)lstmcore_kernel_count() + 1))
           : k < 7 ? ""
                   : "?";
}

/* Inputs that no model takes. */
static void add_wrong_inputs(lstmcore_model *m, const char *taken) {
    const size_t inputs = m->n_inputs, size = once_in(2) ? 0 : MAX_SIZE + 1;
    const lstmcore_rank rank = (lstmcore_rank)(once_in(2) ? -1 : 2);
    refused(lstmcore_model_add_input(m, NULL, LSTMCORE_VECTOR, 1, LSTMCORE_FLOAT32, NULL), "add_input: no name");
    refused(lstmcore_model_add_input(m, taken, LSTMCORE_VECTOR, 1, LSTMCORE_FLOAT32, NULL), "add_input: a name twice");
    refused(lstmcore_model_add_input(m, "new", rank, 1, LSTMCORE_FLOAT32, NULL), "add_input: rank");
    refused(lstmcore_model_add_input(m, "new", LSTMCORE_VECTOR, size, LSTMCORE_FLOAT32, NULL), "add_input: width");
    refused(lstmcore_model_add_input(m, "new", LSTMCORE_VECTOR, 1, LSTMCORE_INT32, NULL), "add_input: dtype");
    expect(m->n_inputs == inputs && *lstmcore_model_error(m) != 0, "add_input: a wrong one changed the model");
}

static void new_model(size_t slot) {
    graph *g = &models[slot];
    const char *kernel_name = kernel_to_try();
    lstmcore_model_free(g->model);
    *g = (graph){.steps = 1 + draw(MOST_STEPS), .follows = (int)draw(3)};
    const int code = lstmcore_model_new(kernel_name, &g->model);
    expect((code == LSTMCORE_OK) == (g->model != NULL), "model_new: set its output on an error");
    refused(lstmcore_model_new(kernel_name, NULL), "model_new: no output");
    expect(g->model == NULL || lstmcore_model_kernel(g->model) != NULL, "model_kernel: no name");
    const size_t inputs = 1 + draw(3);
    for (size_t k = 0; g->model != NULL && k < inputs; k++) {
        const int sequence = k == 0 ? !once_in(16) : once_in(2);
        add_input(g, sequence, 1 + draw(20));
    }
    if (g->model != NULL && once_in(8)) {
        add_wrong_inputs(g->model, "i0");
    }
}

/* A layer that no model takes. Returns the code. `v` is a sequence of the model's, or not even a value. */
static int add_wrong(lstmcore_model *m, lstmcore_value v) {
    static const float one[1] = {1.0f};
    lstmcore_variant how = {.hidden = 1, .weight_ih = one, .weight_hh = one, .cell = LSTMCORE_RNN};
    const size_t size = once_in(2) ? 0 : MAX_SIZE + 1;
    const lstmcore_value absent = once_in(2) ? -1 : 1 << 20, pair[] = {v, absent};
    lstmcore_value out = -7;
    int code;
    switch (draw(22)) {
    case 0:
        code = lstmcore_model_add_lstm(m, v, size, one, one, one, &out);
        break;
    case 1:
        code = lstmcore_model_add_gru(m, v, 1, NULL, one, one, one, &out);
        break;
    case 2:
        code = lstmcore_model_add_gru(m, v, 1, one, one, one, NULL, &out);
        break;
    case 3:
        code = lstmcore_model_add_rnn(m, v, 1, one, one, one, LSTMCORE_GELU, &out);
        break;
    case 4:
        code = lstmcore_model_add_linear(m, v, size, one, one, &out);
        break;
    case 5:
        code = lstmcore_model_add_linear(m, v, 1, one, NULL, &out);
        break;
    case 6:
        code = lstmcore_model_add_affine(m, v, NULL, one, &out);
        break;
    case 7:
        code = lstmcore_model_add_activation(m, v, (lstmcore_function){(lstmcore_activation)99, 0, 0}, &out);
        break;
    case 8:
        code = lstmcore_model_add_layer_norm(m, v, NULL, NULL, once_in(2) ? NAN : -1.0f, &out);
        break;
    case 9:
        code = lstmcore_model_add_flatten(m, v, size, &out);
        break;
    case 10:
        code = lstmcore_model_add_variant(m, v, NULL, &out);
        break;
    case 11:
        code = lstmcore_model_add_softmax(m, absent, &out);
        break;
    case 12:
        code = lstmcore_model_add_join(m, LSTMCORE_SUM, pair, 1 + draw(2), &out);
        break;
    case 13:
        code = lstmcore_model_add_join(m, (lstmcore_join)99, (lstmcore_value[]){v, v}, 2, &out);
        break;
    case 14:
        code = lstmcore_model_add_differs(m, v, NAN, &out);
        break;
    case 15:
        code = lstmcore_model_add_where(m, v, absent, &out);
        break;
    case 16:
        code = lstmcore_model_set_mask(m, absent, v);
        break;
    case 17:
        code = lstmcore_model_set_start(m, 0, one, one); /* an input */
        break;
    case 18:
        code = lstmcore_model_add_output(m, "new", 0); /* likewise */
        break;
    default:
        how.weight_hh = once_in(2) ? NULL : one;
        how.clip = how.weight_hh == NULL ? 0.0f : once_in(2) ? NAN : -1.0f;
        code = lstmcore_model_add_variant(m, v, &how, &out);
    }
    expect(out == -7, "a wrong layer set its output");
    return code;
}

static void add_layers(graph *g) {
    lstmcore_model *m = g->model;
    if (m != NULL && once_in(4)) {
        const size_t ops = m->n_ops, values = m->n_values;
        char said[sizeof m->error];
        memcpy(said, m->error, sizeof said);
        const int code = add_wrong(m, (lstmcore_value)draw(m->n_values + 1));
        expect(code == LSTMCORE_BAD_ARGUMENT || (m->sealed && code == LSTMCORE_SEALED), "a wrong layer was taken");
        expect(m->n_ops == ops && m->n_values == values, "a wrong layer changed the model");
        expect(m->sealed ? strcmp(lstmcore_model_error(m), said) == 0 : *lstmcore_model_error(m) != 0,
               "nothing is said of a wrong layer, or something of a sealed model");
        refused(add_wrong(NULL, 0), "a layer of no model");
    } else if (m != NULL && m->sealed) {
        expect(lstmcore_model_add_softmax(m, 0, NULL) == LSTMCORE_SEALED, "a layer was added to a model in use");
    } else if (m != NULL && m->n_ops < MOST_LAYERS) {
        add_any(g);
    }
}

static void seal(graph *g) {
    if (g->model != NULL && g->model->sealed) {
        expect(lstmcore_model_seal(g->model) == LSTMCORE_SEALED, "seal: twice");
    } else if (g->model != NULL) {
        refused(lstmcore_model_seal(g->model), "seal: without an output");
        end_graph(g, (int)draw(2));
        expect(!g->follows || g->model->ticks->carries, "a graph that looks ahead nowhere does not carry");
    }
}

/* --- windows --------------------------------------------------------------------------------------------------- */

static void new_session(session *s) {
    lstmcore_session_free(s->it);
    s->it = NULL;
    s->model = models[draw(PLACES)].model;
    s->ends = (int)draw(2);
    const int code = lstmcore_session_new(s->model, s->ends, &s->it);
    expect(code == (s->model == NULL    ? LSTMCORE_BAD_ARGUMENT
                    : !s->model->sealed ? LSTMCORE_SEALED
                                        : LSTMCORE_OK),
           "session_new: another code");
    expect(code != LSTMCORE_SEALED || *lstmcore_model_error(s->model) != 0, "session_new: nothing is said");
    expect((code == LSTMCORE_OK) == (s->it != NULL), "session_new: set its output on an error");
}

static void compare_call(const call *c, const windows *w, const answers *expected) {
    answers y = {.end = w->ends ? random_floats(states_size(w), 1.0f) : NULL};
    new_outputs(w->model, w->n, w->steps, y.y);
    check(c->answer(w, &y), c->name);
    expect(same_answers(c, w, &y, expected), c->name);
    free_ports(y.y);
    free(y.end);
    windows_compared++;
}

/* Calls with an array that is missing or a size that is out of range. */
static void run_wrong(const windows *w, const answers *y) {
    const size_t none = 0;
    float *const end = y->end, *without_y[MAX_PORTS] = {NULL};
    const void *without_x[MAX_PORTS] = {NULL};
    refused(lstmcore_run(w->session, NULL, w->steps, w->state, y->y, end), "run: no inputs");
    refused(lstmcore_run(w->session, without_x, w->steps, w->state, y->y, end), "run: an input is NULL");
    refused(lstmcore_run(w->session, w->x, 0, w->state, y->y, end), "run: no steps");
    refused(lstmcore_run(w->session, w->x, w->steps, w->state, NULL, end), "run: no outputs");
    refused(lstmcore_run(w->session, w->x, w->steps, w->state, without_y, end), "run: an output is NULL");
    refused(lstmcore_run_many(w->session, w->x, 1, w->steps, &none, w->state, y->y, end), "run_many: length 0");
    if (!w->ends) {
        refused(lstmcore_run(w->session, w->x, w->steps, NULL, y->y, y->y[0]), "run: states of a session without");
    }
}

static lstmcore_streams *new_streams(const windows *w, size_t window) {
    lstmcore_streams *streams = NULL;
    const int fits = window == 0 ? lstmcore_model_carries(w->model) : lstmcore_model_slides(w->model);
    const int code = lstmcore_streams_new(w->model, window, w->n, &streams);
    expect(code == (fits ? LSTMCORE_OK : LSTMCORE_BAD_ARGUMENT), "streams_new: another code");
    return streams;
}

/* Some windows at once, and the same ones through all doors. */
static void run(const session *s) {
    const lstmcore_model *m = s->model;
    const size_t n = 1 + draw(once_in(4) ? MAX_WINDOWS : 3), any = once_in(6) ? 33 + draw(8) : 1 + draw(MOST_STEPS);
    const size_t steps = m->steps != 0 && !once_in(8) ? m->steps : any;
    const int fits = m->steps == 0 || m->steps == steps, streams = fits && once_in(3);
    windows w = {.model = s->model, .session = s->it, .n = n, .steps = steps, .ends = s->ends};
    float *x[MAX_PORTS] = {NULL}, *state = once_in(3) ? floats(states_size(&w)) : NULL;
    size_t lengths[MAX_WINDOWS];
    new_inputs(m, n, steps, x);
    memcpy(w.x, x, sizeof x);
    for (size_t k = 0; k < n; k++) {
        lengths[k] = 1 + draw(steps);
    }
    w.lengths = m->steps == 0 && once_in(3) ? lengths : NULL;
    w.state = state;
    answers y = {.end = s->ends ? random_floats(states_size(&w), 1.0f) : NULL};
    new_outputs(m, n, steps, y.y);
    new_inputs(m, n, 1, w.tick);
    new_outputs(m, n, 1, w.answer);
    w.kept = random_floats(m->state_size, 1.0f);
    w.sliding = streams ? new_streams(&w, steps) : NULL;
    w.carried = streams ? new_streams(&w, 0) : NULL;
    expect(run_many(&w, &y) == (fits ? LSTMCORE_OK : LSTMCORE_BAD_ARGUMENT), "run_many: another code");
    if (fits) {
        each_call(&w, &y, compare_call);
    }
    run_wrong(&w, &y);
    lstmcore_streams_free(w.sliding);
    lstmcore_streams_free(w.carried);
    free_ports(x);
    free_ports(y.y);
    free_ports(w.tick);
    free_ports(w.answer);
    free(w.kept);
    free(state);
    free(y.end);
}

/* Every window of a series, and some of them alone. */
static void run_windows_of_series(const session *s) {
    const lstmcore_model *m = s->model;
    const size_t ticks = once_in(8) ? 600 + draw(200) : draw(60), stride = once_in(3) ? 1 : draw(24);
    const size_t window = m->steps != 0 && !once_in(4) ? m->steps : once_in(16) ? 330 + draw(256) : draw(20);
    const int fits = window != 0 && stride != 0 && window <= ticks && (m->steps == 0 || m->steps == window);
    const size_t n = fits ? (ticks - window) / stride + 1 : 1;
    float *x[MAX_PORTS] = {NULL}, *y[MAX_PORTS] = {NULL}, *alone[MAX_PORTS] = {NULL};
    const void *inputs[MAX_PORTS] = {NULL};
    for (size_t k = 0; k < m->n_inputs; k++) {
        x[k] = floats((input_of(m, k)->sequence ? ticks : n) * input_of(m, k)->width);
    }
    new_outputs(m, n, window, y);
    new_outputs(m, 1, window, alone);
    const int code = lstmcore_run_windows(s->it, (const void *const *)x, ticks, window, stride, y);
    expect(code == (fits ? LSTMCORE_OK : LSTMCORE_BAD_ARGUMENT), "run_windows: another code");
    for (size_t some = 0; fits && some < 4; some++) {
        const size_t w = draw(256) * n / 256;
        for (size_t k = 0; k < m->n_inputs; k++) {
            inputs[k] = x[k] + w * input_of(m, k)->width * (input_of(m, k)->sequence ? stride : 1);
        }
        check(lstmcore_run(s->it, inputs, window, NULL, alone, NULL), "run");
        for (size_t k = 0; k < m->n_outputs; k++) {
            const size_t size = port_size(output_of(m, k), 1, window);
            same(alone[k], y[k] + w * size, size, "run_windows: other bits than run");
        }
        series_compared++;
    }
    free_ports(x);
    free_ports(y);
    free_ports(alone);
}

/* --- streams --------------------------------------------------------------------------------------------------- */

static void unbind(feed *s) {
    free_ports(s->bound_x);
    free_ports(s->bound_y);
}

static void free_feed(feed *s) {
    lstmcore_streams_free(s->it);
    lstmcore_session_free(s->other);
    unbind(s);
    for (size_t k = 0; k < s->count; k++) {
        free_ports(s->histories[k].x);
    }
    *s = (feed){0};
}

static void new_feed(feed *s) {
    static const size_t odd[] = {0, MAX_SIZE + 1, SIZE_MAX};
    free_feed(s);
    lstmcore_model *m = models[draw(PLACES)].model;
    if (once_in(8)) {
        refused(lstmcore_streams_new(m, 3, odd[draw(3)], &s->it), "streams_new: count");
        refused(lstmcore_streams_new(m, odd[1 + draw(2)], 1, &s->it), "streams_new: window");
        refused(lstmcore_streams_new(m, 3, 1, NULL), "streams_new: no output");
        expect(s->it == NULL, "streams_new: set its output on an error");
    }
    const size_t window = once_in(8) ? 30 + draw(10) : draw(MOST_STEPS), count = 1 + draw(MOST_STREAMS);
    const int fits = window == 0 ? lstmcore_model_carries(m) : lstmcore_model_slides(m);
    const int code = lstmcore_streams_new(m, window, count, &s->it);
    expect((code == LSTMCORE_OK) == fits && fits == (s->it != NULL), "streams_new: another code");
    expect(m == NULL || m->sealed || code == LSTMCORE_SEALED, "streams_new: of a model that is not sealed");
    expect(m == NULL || !m->sealed || fits || *lstmcore_model_error(m) != 0, "nothing is said of what looks ahead");
    if (code != LSTMCORE_OK) {
        return;
    }
    s->model = m;
    s->window = window;
    s->count = count;
    check(lstmcore_session_new(m, 1, &s->other), "session_new");
    for (size_t k = 0; k < count; k++) {
        for (size_t in = 0; in < m->n_inputs; in++) {
            s->histories[k].x[in] = random_floats(MOST_TICKS * input_of(m, in)->width, 1.0f);
        }
    }
}

/* Answers, the rows `at`, beside those to the stream's last ticks as a window. Returns whether there are any. */
static int compare(const feed *s, const history *h, float *const *given, size_t at) {
    const lstmcore_model *m = s->model;
    for (size_t k = 0; k < m->n_outputs && h->ticks < s->window && !h->unknown; k++) {
        const size_t width = output_of(m, k)->width;
        for (size_t j = 0; j < width; j++) {
            expect(isnan(given[k][at * width + j]), "push: a number before the window was full");
        }
    }
    if (h->unknown || h->ticks < s->window) {
        return 0;
    }
    const size_t steps = s->window == 0 ? h->ticks : s->window;
    const void *x[MAX_PORTS];
    float *y[MAX_PORTS] = {NULL};
    for (size_t k = 0; k < m->n_inputs; k++) {
        const value *v = input_of(m, k);
        x[k] = h->x[k] + (h->ticks - (v->sequence ? steps : 1)) * v->width;
    }
    new_outputs(m, 1, steps, y);
    check(lstmcore_run(s->other, x, steps, NULL, y, NULL), "run");
    for (size_t k = 0; k < m->n_outputs; k++) {
        const value *v = output_of(m, k);
        same(given[k] + at * v->width, y[k] + (v->sequence ? steps - 1 : 0) * v->width, v->width,
             "push: other bits than the window");
    }
    free_ports(y);
    return 1;
}

/* Row `at` of what was pushed. */
static void remember(const feed *s, history *h, float *const *x, size_t at) {
    for (size_t k = 0; k < s->model->n_inputs; k++) {
        const size_t width = input_of(s->model, k)->width;
        memcpy(h->x[k] + h->ticks * width, x[k] + at * width, width * sizeof(float));
    }
    h->ticks++;
}

static void begin(feed *s, size_t stream) {
    check(lstmcore_streams_reset(s->it, stream), "reset");
    s->histories[stream].ticks = 0;
    s->histories[stream].unknown = 0;
}

/* Streams that have no room left begin anew, so that what was pushed to each is known. */
static void make_room(feed *s, size_t stream, size_t ticks) {
    if (s->histories[stream].ticks + ticks > MOST_TICKS) {
        begin(s, stream);
    }
}

/* The next answers of a stream without an end, and the states after it, by a run of one step from its state. */
static answers one_step(const feed *s, size_t stream, const float *const *x) {
    const lstmcore_model *m = s->model;
    answers a = {.end = random_floats(m->state_size, 1.0f)};
    windows w = {.model = s->model, .carried = s->it};
    for (size_t n = 0; n < m->n_ops; n++) {
        if (m->ops[n].kind == OP_RECURRENT) {
            begin_state(&w, n, a.end + m->ops[n].state_at);
        }
    }
    w.kept = random_floats(m->state_size, 1.0f);
    check(get_end(&w, stream, a.end), "get_state");
    free(w.kept);
    new_outputs(m, 1, 1, a.y);
    float *const before = a.end;
    a.end = random_floats(m->state_size, 1.0f);
    check(lstmcore_run(s->other, (const void *const *)x, 1, before, a.y, a.end), "run");
    free(before);
    return a;
}

static int same_state(const feed *s, size_t stream, const answers *a) {
    const call of = {.end = CARRIED};
    windows w = {.model = s->model, .n = 1, .steps = 1, .carried = s->it};
    answers now = *a;
    w.kept = random_floats(s->model->state_size, 1.0f);
    now.end = random_floats(s->model->state_size, 1.0f);
    check(get_end(&w, stream, now.end), "get_state");
    const int as_expected = same_answers(&of, &w, &now, a);
    free(w.kept);
    free(now.end);
    return as_expected;
}

static void push_ticks(feed *s) {
    const lstmcore_model *m = s->model;
    const size_t n = draw(6);
    size_t which[5];
    float *x[MAX_PORTS] = {NULL}, *y[MAX_PORTS] = {NULL};
    for (size_t k = 0; k < n; k++) {
        which[k] = draw(s->count);
        make_room(s, which[k], n);
    }
    new_inputs(m, n, 1, x);
    new_outputs(m, n, 1, y);
    const void *const *const inputs = (const void *const *)x;
    if (n != 0 && once_in(8)) {
        const size_t at = draw(n), right = which[at];
        which[at] = once_in(2) ? s->count : SIZE_MAX;
        refused(lstmcore_streams_push(s->it, n, which, inputs, y), "push: no such stream");
        which[at] = right;
        refused(lstmcore_streams_push(s->it, n, which, (const void *[MAX_PORTS]){NULL}, y), "push: an input is NULL");
        refused(lstmcore_streams_push(s->it, n, which, inputs, (float *[MAX_PORTS]){NULL}), "push: an output is NULL");
    }
    const int stepped = s->window == 0 && n == 1 && once_in(2);
    answers step = stepped ? one_step(s, which[0], (const float *const *)x) : (answers){.end = NULL};
    check(lstmcore_streams_push(s->it, n, which, inputs, y), "push");
    for (size_t k = 0; k < n; k++) {
        history *h = &s->histories[which[k]];
        remember(s, h, x, k);
        ticks_compared += (size_t)compare(s, h, y, k);
    }
    if (stepped) {
        for (size_t k = 0; k < m->n_outputs; k++) {
            same(step.y[k], y[k], output_of(m, k)->width, "push: other bits than a run from the stream's state");
        }
        expect(once_in(2) || same_state(s, which[0], &step), "push: another state than a run from the stream's");
        steps_compared++;
    }
    free_ports(step.y);
    free(step.end);
    free_ports(x);
    free_ports(y);
}

static void push_bound_tick(feed *s) {
    const lstmcore_model *m = s->model;
    if (s->bound_x[0] == NULL || once_in(4)) {
        if (s->bound_x[0] == NULL) {
            refused(lstmcore_streams_push_bound(s->it), "push_bound: nothing is bound");
        }
        float *x[MAX_PORTS] = {NULL}, *y[MAX_PORTS] = {NULL};
        new_inputs(m, 1, 1, x);
        new_outputs(m, 1, 1, y);
        check(lstmcore_streams_bind(s->it, (const void *const *)x, y), "bind");
        refused(lstmcore_streams_bind(s->it, (const void *[MAX_PORTS]){NULL}, y), "bind: an input is NULL");
        unbind(s);
        memcpy(s->bound_x, x, sizeof x);
        memcpy(s->bound_y, y, sizeof y);
    }
    make_room(s, 0, 1);
    const size_t in = draw(m->n_inputs);
    s->bound_x[in][draw(input_of(m, in)->width)] = random_float(2.0f);
    check(lstmcore_streams_push_bound(s->it), "push_bound");
    remember(s, &s->histories[0], s->bound_x, 0);
    bound_ticks_compared += (size_t)compare(s, &s->histories[0], s->bound_y, 0);
}

/* A stream's state into another, of the same streams or of others of the same model; or one that is made up. */
static void move_state(feed *from, feed *to) {
    const size_t a = draw(from->count), b = draw(to->count), size = lstmcore_streams_state_size(from->it);
    const int fits = from->model == to->model && from->window == to->window;
    size_t ticks = 0;
    float *state = random_floats(size, 1.0f);
    check(lstmcore_streams_get_state(from->it, a, state, &ticks), "get_state");
    expect(ticks == from->histories[a].ticks, "get_state: another number of ticks");
    refused(lstmcore_streams_get_state(from->it, from->count, state, &ticks), "get_state: no such stream");
    if (fits) {
        history *h = &to->histories[b];
        const int made_up = once_in(4);
        for (size_t k = 0; made_up && k < size; k++) {
            state[k] = random_float(1.0f);
        }
        check(lstmcore_streams_set_state(to->it, b, state, ticks), "set_state");
        h->ticks = ticks;
        h->unknown = made_up || from->histories[a].unknown;
        states_moved += h->ticks != 0 && !h->unknown;
        for (size_t k = 0; h != &from->histories[a] && k < from->model->n_inputs; k++) {
            memcpy(h->x[k], from->histories[a].x[k], ticks * input_of(from->model, k)->width * sizeof(float));
        }
    }
    refused(lstmcore_streams_set_state(to->it, to->count, state, 0), "set_state: no such stream");
    free(state);
}

static void settle(feed *s) {
    const size_t stream = draw(s->count);
    switch (draw(7)) {
    case 0:
        check(lstmcore_streams_catch_up(s->it), "catch_up");
        break;
    case 1:
        check(lstmcore_streams_hurry(s->it), "hurry");
        break;
    case 2:
        begin(s, stream);
        break;
    case 3:
        lstmcore_streams_stop_helper(s->it);
        break;
    case 4: {
        const int code = lstmcore_streams_start_helper(s->it, once_in(4), once_in(8) ? 1 << 20 : -1);
        expect(code == LSTMCORE_OK || code == LSTMCORE_BAD_ARGUMENT || code == LSTMCORE_CANNOT_RUN, "start_helper");
        break;
    }
    case 5:
        expect(lstmcore_streams_ticks(s->it, s->count) == 0, "ticks: of no stream");
        expect(lstmcore_streams_ticks(s->it, stream) == s->histories[stream].ticks, "ticks: another number");
        break;
    default:
        expect(lstmcore_streams_behind(s->it) >= 0, "behind");
    }
}

/* What functions say of NULL; nulls.c asks all of them. */
static void nothing(void) {
    size_t ticks, only = 0;
    float y[1] = {0}, *const outputs[] = {y};
    const void *const inputs[] = {y};
    refused(lstmcore_run(NULL, inputs, 1, NULL, outputs, NULL), "run(NULL)");
    refused(lstmcore_run_windows(NULL, inputs, 1, 1, 1, outputs), "run_windows(NULL)");
    refused(lstmcore_run_bound(NULL), "run_bound(NULL)");
    refused(lstmcore_session_new(NULL, 0, NULL), "session_new(NULL)");
    refused(lstmcore_streams_push(NULL, 1, &only, inputs, outputs), "push(NULL)");
    refused(lstmcore_streams_catch_up(NULL), "catch_up(NULL)");
    refused(lstmcore_streams_get_state(NULL, 0, y, &ticks), "get_state(NULL)");
    expect(!lstmcore_model_slides(NULL) && lstmcore_kernel_name(-1) == NULL, "slides(NULL)");
    expect(lstmcore_error((int)draw(256) - 9) != NULL, "error: no text");
    lstmcore_streams_free(NULL);
    lstmcore_session_free(NULL);
    lstmcore_model_free(NULL);
}

static void free_one(size_t kind, size_t slot) {
    if (kind == 0) {
        lstmcore_model_free(models[slot].model);
        models[slot].model = NULL;
    } else if (kind == 1) {
        lstmcore_session_free(sessions[slot].it);
        sessions[slot].it = NULL;
    } else {
        free_feed(&feeds[slot]);
    }
}

static void one_call(void) {
    const size_t slot = draw(PLACES), kind = draw(24);
    feed *s = &feeds[slot];
    if (kind == 0) {
        new_model(slot);
    } else if (kind < 5) {
        add_layers(&models[slot]);
    } else if (kind == 5) {
        seal(&models[slot]);
    } else if (kind < 8) {
        new_session(&sessions[slot]);
    } else if (kind < 11 && sessions[slot].it != NULL) {
        run(&sessions[slot]);
    } else if (kind == 11 && sessions[slot].it != NULL) {
        run_windows_of_series(&sessions[slot]);
    } else if (kind == 12) {
        new_feed(s);
    } else if (kind == 13) {
        free_one(draw(3), slot);
    } else if (kind == 14 && once_in(8)) {
        nothing();
    } else if (s->it != NULL && kind < 18) {
        push_ticks(s);
    } else if (s->it != NULL && kind < 20) {
        push_bound_tick(s);
    } else if (s->it != NULL && kind < 22) {
        settle(s);
    } else if (s->it != NULL && feeds[(slot + 1) % PLACES].it != NULL) {
        move_state(s, &feeds[(slot + draw(2)) % PLACES]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bytes = data;
    left = size;
    random_state = size;
    for (size_t k = 0; k < 4; k++) {
        random_state = random_state << 8 | draw(256);
    }
    for (size_t slot = 0; slot <= draw(PLACES); slot++) {
        new_model(slot);
        for (size_t layers = draw(7) + 1; layers != 0; layers--) {
            add_layers(&models[slot]);
        }
        if (!once_in(8)) {
            seal(&models[slot]);
        }
        new_session(&sessions[slot]);
        new_feed(&feeds[slot]);
    }
    for (size_t n = 0; left != 0 && n < MOST_CALLS; n++) {
        one_call();
    }
    for (size_t kind = 0; kind < 3; kind++) { /* models first: who still needs them keeps them */
        for (size_t slot = 0; slot < PLACES; slot++) {
            free_one(kind, slot);
        }
    }
    return 0;
}

#ifndef API_FUZZ_GUIDED
enum { MOST_BYTES = 600 };

static uint8_t input[1 << 16];
static size_t input_size;
static unsigned long long number;
static const char *prefix = "";

static void keep_input(void) {
    char name[4096];
    snprintf(name, sizeof name, "%scrash-%llu", prefix, number);
    FILE *file = fopen(name, "wb");
    if (file != NULL) {
        fwrite(input, 1, input_size, file);
        fclose(file);
        fprintf(stderr, "api_fuzz: the bytes are in %s\n", name);
    }
}

/* Of the sanitizers, where they are. */
extern void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

int main(int argc, char **argv) {
    unsigned long long runs = 0, seed = 0;
    if (__sanitizer_set_death_callback != NULL) {
        __sanitizer_set_death_callback(keep_input);
    }
    for (int n = 1; n < argc; n++) {
        if (sscanf(argv[n], "-runs=%llu", &runs) == 1 || sscanf(argv[n], "-seed=%llu", &seed) == 1) {
            continue;
        }
        if (strncmp(argv[n], "-artifact_prefix=", 17) == 0) {
            prefix = argv[n] + 17;
        } else if (argv[n][0] != '-') {
            FILE *file = fopen(argv[n], "rb");
            input_size = file == NULL ? 0 : fread(input, 1, sizeof input, file);
            if (file != NULL) { /* a folder opens, and cannot be read */
                fclose(file);
            }
            LLVMFuzzerTestOneInput(input, input_size);
        }
    }
    for (number = 0; number < runs; number++) {
        random_state = seed + number * 1000003u;
        input_size = random_between(8, MOST_BYTES);
        for (size_t k = 0; k < input_size; k++) {
            input[k] = (uint8_t)(random_bits() >> 3);
        }
        LLVMFuzzerTestOneInput(input, input_size);
        if ((number + 1) % 1000 == 0 || number + 1 == runs) {
            fprintf(stderr, "#%llu\n", number + 1);
        }
    }
    const size_t counts[] = {windows_compared,     series_compared, ticks_compared,
                             bound_ticks_compared, steps_compared,  states_moved};
    fprintf(stderr, "compared: %zu windows, %zu series, %zu ticks, %zu bound ticks, %zu steps; %zu states moved\n",
            counts[0], counts[1], counts[2], counts[3], counts[4], counts[5]);
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        expect(counts[k] != 0 || runs < 1000, "nothing of one kind was compared");
    }
    return 0;
}
#endif
