/* Random sequences of calls of the C interface: sound ones and wrong ones, in any order, on some models, sessions and
 * slidings that come and go. A wrong call must say so and change nothing; an answer must have the same bits through
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

enum { PLACES = 3, MOST_STREAMS = 4, MOST_TICKS = 48, MOST_LAYERS = 6, MOST_STEPS = 9, MOST_CALLS = 80 };

/* What was pushed to a stream since it began. */
typedef struct {
    size_t ticks;
    int unknown; /* it began from a state that no ticks lead to */
    float *x;    /* (MOST_TICKS, input_size) */
} history;

typedef struct {
    lstmcore_sliding *it;
    lstmcore_model *model;
    lstmcore_session *other; /* the other door to its answers */
    size_t window, streams;
    history histories[MOST_STREAMS];
    float *bound_x, *bound_y; /* NULL: not bound */
} sliding;

static lstmcore_model *models[PLACES];
static lstmcore_session *sessions[PLACES];
static lstmcore_model *models_of[PLACES]; /* of the sessions, which keep them alive */
static sliding slidings[PLACES];

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

/* --- models ---------------------------------------------------------------------------------------------------- */

static const char *kernel_to_try(void) {
    const size_t k = draw(8);
    return k < 4   ? NULL
           : k < 6 ? lstmcore_kernel_name((int)draw((size_t)lstmcore_kernel_count() + 1))
           : k < 7 ? ""
                   : "?";
}

static void new_model(size_t place) {
    static const size_t odd[] = {0, (size_t)1 << 21, SIZE_MAX};
    lstmcore_model_free(models[place]);
    models[place] = NULL;
    const int wrong = once_in(8);
    const size_t input = wrong ? odd[draw(3)] : 1 + draw(20);
    const char *kernel_name = kernel_to_try();
    const int code = lstmcore_model_new(kernel_name, input, &models[place]);
    expect(wrong ? code == LSTMCORE_BAD_ARGUMENT : code != LSTMCORE_BAD_ARGUMENT, "model_new: another code");
    expect((code == LSTMCORE_OK) == (models[place] != NULL), "model_new: set its output on an error");
    expect(lstmcore_model_new(kernel_name, input, NULL) == LSTMCORE_BAD_ARGUMENT, "model_new: no output");
    expect(models[place] == NULL || lstmcore_model_kernel(models[place]) != NULL, "model_kernel: no name");
}

/* A layer that no model takes. Returns the code. */
static int add_wrong(lstmcore_model *m) {
    static const float one[1] = {1.0f};
    lstmcore_variant v = {.hidden = 1, .weight_ih = one, .weight_hh = one, .cell = LSTMCORE_RNN};
    const size_t size = once_in(2) ? 0 : MAX_SIZE + 1;
    switch (draw(16)) {
    case 0:
        return lstmcore_model_add_lstm(m, size, one, one, one, 1);
    case 1:
        return lstmcore_model_add_gru(m, 1, NULL, one, one, one, 1);
    case 2:
        return lstmcore_model_add_gru(m, 1, one, one, one, NULL, 1);
    case 3:
        return lstmcore_model_add_rnn(m, 1, one, one, one, LSTMCORE_GELU, 1);
    case 4:
        return lstmcore_model_add_linear(m, size, one, one);
    case 5:
        return lstmcore_model_add_linear(m, 1, one, NULL);
    case 6:
        return lstmcore_model_add_affine(m, NULL, one);
    case 7:
        return lstmcore_model_add_activation(m, (lstmcore_activation)(once_in(2) ? -1 : 99), 0.0f, 0.0f);
    case 8:
        return lstmcore_model_add_layer_norm(m, NULL, NULL, once_in(2) ? NAN : -1.0f);
    case 9:
        return lstmcore_model_add_flatten(m, size);
    case 10:
        return lstmcore_model_add_variant(m, NULL, 1);
    case 11:
        v.cell = (lstmcore_cell)3;
        break;
    case 12:
        v.peephole = one; /* not in an RNN */
        break;
    case 13:
        v.gate.kind = (lstmcore_activation)99;
        break;
    case 14:
        v.clip = once_in(2) ? NAN : -1.0f;
        break;
    default:
        v.weight_hh = NULL;
    }
    return lstmcore_model_add_variant(m, &v, 1);
}

static void add_layers(lstmcore_model *m) {
    if (m != NULL && once_in(4)) {
        const size_t ops = m->n_ops;
        const int code = add_wrong(m);
        expect(code == LSTMCORE_BAD_ARGUMENT || (m->sealed && code == LSTMCORE_SEALED), "a wrong layer was taken");
        expect(m->n_ops == ops && add_wrong(NULL) == LSTMCORE_BAD_ARGUMENT, "a wrong layer changed the model");
    } else if (m != NULL && m->sealed) {
        expect(lstmcore_model_add_softmax(m) == LSTMCORE_SEALED, "a layer was added to a model in use");
    } else if (m != NULL && m->n_ops < MOST_LAYERS && m->sequence && once_in(2)) {
        size_t h = 0, c = 0;
        add_recurrent(m, m->width, sizes[draw(SIZES)], 0.3f, once_in(2), &h, &c);
    } else if (m != NULL && m->n_ops < MOST_LAYERS) {
        add_any(m, 1 + draw(MOST_STEPS));
    }
}

/* --- windows --------------------------------------------------------------------------------------------------- */

static size_t answer_size(const lstmcore_model *m, size_t steps) {
    return m->width * (m->sequence ? steps : 1);
}

static void new_session(size_t place) {
    lstmcore_session_free(sessions[place]);
    sessions[place] = NULL;
    lstmcore_model *m = models[draw(PLACES)];
    const int code = lstmcore_session_new(m, &sessions[place]);
    expect((code == LSTMCORE_OK) == (m != NULL && m->n_ops != 0), "session_new: another code");
    expect((code == LSTMCORE_OK) == (sessions[place] != NULL), "session_new: set its output on an error");
    models_of[place] = m;
}

/* Some windows at once, with states or without, and the same ones by one. */
static void run(lstmcore_session *s, const lstmcore_model *m) {
    const size_t n = draw(4), any = once_in(6) ? 33 + draw(8) : 1 + draw(MOST_STEPS);
    const size_t steps = m->steps != 0 && !once_in(8) ? m->steps : any, size = answer_size(m, steps);
    float *x = floats(n * steps * m->input_size), *y = floats(n * size), *again = floats(size);
    float *h = once_in(3) ? floats(n * m->h_states) : NULL, *c = once_in(3) ? floats(n * m->c_states) : NULL;
    float *zeros = calloc(m->h_states + 1, sizeof *zeros);
    const int code = lstmcore_run_many(s, x, n, steps, h, c, y);
    const int fits = m->steps == 0 || m->steps == steps;
    expect(code == (fits ? LSTMCORE_OK : LSTMCORE_BAD_ARGUMENT), "run_many: another code");
    for (size_t w = 0; fits && w < n; w++) {
        const float *xw = x + w * steps * m->input_size, *cw = c == NULL ? NULL : c + w * m->c_states;
        if (h == NULL && c == NULL && once_in(2)) {
            expect(lstmcore_bind(s, xw, steps, again) == LSTMCORE_OK, "bind");
            expect(lstmcore_run_bound(s) == LSTMCORE_OK, "run_bound");
        } else {
            expect(lstmcore_run(s, xw, steps, h == NULL ? zeros : h + w * m->h_states, cw, again) == LSTMCORE_OK,
                   "run");
        }
        same(again, y + w * size, size, "run: other bits than run_many");
        windows_compared++;
    }
    lstmcore_bind(s, NULL, 0, NULL);
    expect(lstmcore_run_bound(s) == LSTMCORE_BAD_ARGUMENT, "run_bound: nothing is bound");
    expect(lstmcore_run(s, NULL, steps, NULL, NULL, y) == LSTMCORE_BAD_ARGUMENT, "run: no x");
    expect(lstmcore_run(s, x, 0, NULL, NULL, y) == LSTMCORE_BAD_ARGUMENT, "run: no steps");
    expect(lstmcore_run(s, x, steps, NULL, NULL, NULL) == LSTMCORE_BAD_ARGUMENT, "run: no y");
    float *owned[] = {x, y, again, h, c, zeros};
    for (size_t k = 0; k < sizeof owned / sizeof *owned; k++) {
        free(owned[k]);
    }
}

/* Every window of a series, and one of them alone. */
static void run_windows(lstmcore_session *s, const lstmcore_model *m) {
    const size_t ticks = draw(60), window = draw(20), stride = draw(24);
    const int fits = window != 0 && stride != 0 && window <= ticks && lstmcore_model_slides(m);
    const size_t windows = fits ? (ticks - window) / stride + 1 : 1;
    float *x = floats(ticks * m->input_size), *y = floats(windows * m->width), *again = floats(m->width);
    const int code = lstmcore_run_windows(s, x, ticks, window, stride, y);
    expect(code == (fits ? LSTMCORE_OK : LSTMCORE_BAD_ARGUMENT), "run_windows: another code");
    if (fits) {
        const size_t w = draw(windows);
        check(lstmcore_run(s, x + w * stride * m->input_size, window, NULL, NULL, again), "run");
        same(again, y + w * m->width, m->width, "run_windows: other bits than run");
        series_compared++;
    }
    free(x);
    free(y);
    free(again);
}

/* --- slidings -------------------------------------------------------------------------------------------------- */

static void unbind(sliding *s) {
    free(s->bound_x);
    free(s->bound_y);
    s->bound_x = s->bound_y = NULL;
}

static void free_sliding(sliding *s) {
    lstmcore_sliding_free(s->it);
    lstmcore_session_free(s->other);
    unbind(s);
    for (size_t k = 0; k < s->streams; k++) {
        free(s->histories[k].x);
    }
    *s = (sliding){0};
}

static void new_sliding(sliding *s) {
    static const size_t odd[] = {0, MAX_SIZE + 1, SIZE_MAX};
    free_sliding(s);
    lstmcore_model *m = models[draw(PLACES)];
    if (once_in(8)) {
        expect(lstmcore_sliding_new(m, 3, odd[draw(3)], &s->it) == LSTMCORE_BAD_ARGUMENT, "sliding_new: streams");
        expect(lstmcore_sliding_new(m, odd[1 + draw(2)], 1, &s->it) == LSTMCORE_BAD_ARGUMENT, "sliding_new: window");
        expect(lstmcore_sliding_new(m, 3, 1, NULL) == LSTMCORE_BAD_ARGUMENT && s->it == NULL, "sliding_new: no output");
    }
    const size_t window = once_in(8) ? 30 + draw(10) : draw(MOST_STEPS), streams = 1 + draw(MOST_STREAMS);
    const int code = lstmcore_sliding_new(m, window, streams, &s->it);
    expect((code == LSTMCORE_OK) == (s->it != NULL), "sliding_new: set its output on an error");
    expect(window == 0 || m == NULL || (code == LSTMCORE_OK) == lstmcore_model_slides(m), "sliding_new: another code");
    if (code != LSTMCORE_OK) {
        return;
    }
    s->model = m;
    s->window = window;
    s->streams = streams;
    check(lstmcore_session_new(m, &s->other), "session_new");
    for (size_t k = 0; k < streams; k++) {
        s->histories[k].x = random_floats(MOST_TICKS * m->input_size, 1.0f);
    }
}

/* An answer beside the one to the stream's last ticks as a window. Returns whether there is one. */
static int compare(const sliding *s, const history *h, const float *answer) {
    const lstmcore_model *m = s->model;
    if (h->unknown) {
        return 0;
    }
    if (h->ticks < s->window) {
        for (size_t k = 0; k < m->width; k++) {
            expect(answer[k] != answer[k], "push: a number before the window was full");
        }
        return 0;
    }
    const size_t steps = s->window == 0 ? h->ticks : s->window, size = answer_size(m, steps);
    float *y = random_floats(size, 1.0f);
    check(lstmcore_run(s->other, h->x + (h->ticks - steps) * m->input_size, steps, NULL, NULL, y), "run");
    same(answer, y + size - m->width, m->width, "push: other bits than the window");
    free(y);
    return 1;
}

static void remember(const sliding *s, history *h, const float *tick) {
    memcpy(h->x + h->ticks * s->model->input_size, tick, s->model->input_size * sizeof *tick);
    h->ticks++;
}

static void begin(sliding *s, size_t stream) {
    check(lstmcore_sliding_reset(s->it, stream), "reset");
    s->histories[stream].ticks = 0;
    s->histories[stream].unknown = 0;
}

/* Streams that have no room left begin anew, so that what was pushed to each is known. */
static void make_room(sliding *s, size_t stream, size_t ticks) {
    if (s->histories[stream].ticks + ticks > MOST_TICKS) {
        begin(s, stream);
    }
}

/* The next answer of a stream without an end, by a run of one step from its state. */
static float *one_step(const sliding *s, size_t stream, const float *tick) {
    const lstmcore_model *m = s->model;
    float *state = random_floats(m->h_states + m->c_states, 1.0f), *y = random_floats(m->width, 1.0f);
    float *h0 = random_floats(m->h_states, 1.0f), *c0 = random_floats(m->c_states, 1.0f);
    size_t ticks, at = 0, h = 0, c = 0;
    check(lstmcore_sliding_get_state(s->it, stream, state, &ticks), "get_state");
    for (const op *o = m->ops; o < m->ops + m->n_ops; o++) {
        if (o->kind == OP_RECURRENT) {
            memcpy(h0 + h, state + at, o->out * sizeof *state);
            memcpy(c0 + c, state + at + o->out, o->c * sizeof *state);
            h += o->out;
            c += o->c;
            at += o->out + o->c;
        }
    }
    check(lstmcore_run(s->other, tick, 1, h0, c0, y), "run");
    free(state);
    free(h0);
    free(c0);
    return y;
}

static void push(sliding *s) {
    const size_t n = draw(6), features = s->model->input_size, width = s->model->width;
    size_t streams[5];
    for (size_t k = 0; k < n; k++) {
        streams[k] = draw(s->streams);
        make_room(s, streams[k], n);
    }
    float *x = floats(n * features), *y = floats(n * width);
    if (n != 0 && once_in(8)) {
        const size_t at = draw(n), right = streams[at];
        streams[at] = once_in(2) ? s->streams : SIZE_MAX;
        expect(lstmcore_sliding_push(s->it, n, streams, x, y) == LSTMCORE_BAD_ARGUMENT, "push: no such stream");
        streams[at] = right;
    }
    float *step = s->window == 0 && n == 1 ? one_step(s, streams[0], x) : NULL;
    check(lstmcore_sliding_push(s->it, n, streams, x, y), "push");
    if (step != NULL) {
        same(step, y, width, "push: other bits than a run from the stream's state");
        free(step);
        steps_compared++;
    }
    for (size_t k = 0; k < n; k++) {
        history *h = &s->histories[streams[k]];
        remember(s, h, x + k * features);
        ticks_compared += (size_t)compare(s, h, y + k * width);
    }
    free(x);
    free(y);
}

static void push_bound(sliding *s) {
    const size_t features = s->model->input_size;
    if (s->bound_x == NULL || once_in(4)) {
        unbind(s);
        check(lstmcore_sliding_bind(s->it, NULL, NULL), "bind");
        expect(lstmcore_sliding_push_bound(s->it) == LSTMCORE_BAD_ARGUMENT, "push_bound: nothing is bound");
        s->bound_x = floats(features);
        s->bound_y = floats(s->model->width);
        check(lstmcore_sliding_bind(s->it, s->bound_x, s->bound_y), "bind");
    }
    make_room(s, 0, 1);
    s->bound_x[draw(features)] = random_float(2.0f);
    check(lstmcore_sliding_push_bound(s->it), "push_bound");
    remember(s, &s->histories[0], s->bound_x);
    bound_ticks_compared += (size_t)compare(s, &s->histories[0], s->bound_y);
}

/* A stream's state into another, of the same sliding or of another of the same model; or one that is made up. */
static void move_state(sliding *from, sliding *to) {
    const size_t a = draw(from->streams), b = draw(to->streams), size = lstmcore_sliding_state_size(from->it);
    const int fits = from->model == to->model && from->window == to->window;
    size_t ticks = 0;
    float *state = random_floats(size, 1.0f);
    check(lstmcore_sliding_get_state(from->it, a, state, &ticks), "get_state");
    expect(ticks == from->histories[a].ticks, "get_state: another number of ticks");
    expect(lstmcore_sliding_get_state(from->it, from->streams, state, &ticks) == LSTMCORE_BAD_ARGUMENT, "get_state");
    if (fits) {
        history *h = &to->histories[b];
        const int made_up = once_in(4);
        for (size_t k = 0; made_up && k < size; k++) {
            state[k] = random_float(1.0f);
        }
        check(lstmcore_sliding_set_state(to->it, b, state, ticks), "set_state");
        h->ticks = ticks;
        h->unknown = made_up || from->histories[a].unknown;
        states_moved += h->ticks != 0 && !h->unknown;
        if (h != &from->histories[a]) {
            memcpy(h->x, from->histories[a].x, ticks * from->model->input_size * sizeof *h->x);
        }
    }
    expect(lstmcore_sliding_set_state(to->it, to->streams, state, 0) == LSTMCORE_BAD_ARGUMENT, "set_state");
    free(state);
}

static void settle(sliding *s) {
    const size_t stream = draw(s->streams);
    switch (draw(7)) {
    case 0:
        check(lstmcore_sliding_catch_up(s->it), "catch_up");
        break;
    case 1:
        check(lstmcore_sliding_hurry(s->it), "hurry");
        break;
    case 2:
        begin(s, stream);
        break;
    case 3:
        lstmcore_sliding_stop_helper(s->it);
        break;
    case 4: {
        const int code = lstmcore_sliding_start_helper(s->it, once_in(4), once_in(8) ? 1 << 20 : -1);
        expect(code == LSTMCORE_OK || code == LSTMCORE_BAD_ARGUMENT || code == LSTMCORE_CANNOT_RUN, "start_helper");
        break;
    }
    case 5:
        expect(lstmcore_sliding_ticks(s->it, s->streams) == 0, "ticks: of no stream");
        expect(lstmcore_sliding_ticks(s->it, stream) == s->histories[stream].ticks, "ticks: another number");
        break;
    default:
        expect(lstmcore_sliding_behind(s->it) >= 0, "behind");
    }
}

/* What every function says of NULL. */
static void nothing(void) {
    float y[1] = {0};
    size_t ticks, only = 0;
    expect(lstmcore_run(NULL, y, 1, NULL, NULL, y) == LSTMCORE_BAD_ARGUMENT, "run(NULL)");
    expect(lstmcore_run_windows(NULL, y, 1, 1, 1, y) == LSTMCORE_BAD_ARGUMENT, "run_windows(NULL)");
    expect(lstmcore_bind(NULL, y, 1, y) == LSTMCORE_BAD_ARGUMENT, "bind(NULL)");
    expect(lstmcore_run_bound(NULL) == LSTMCORE_BAD_ARGUMENT, "run_bound(NULL)");
    expect(lstmcore_session_new(NULL, NULL) == LSTMCORE_BAD_ARGUMENT, "session_new(NULL)");
    expect(lstmcore_sliding_push(NULL, 1, &only, y, y) == LSTMCORE_BAD_ARGUMENT, "push(NULL)");
    expect(lstmcore_sliding_bind(NULL, y, y) == LSTMCORE_BAD_ARGUMENT, "sliding_bind(NULL)");
    expect(lstmcore_sliding_push_bound(NULL) == LSTMCORE_BAD_ARGUMENT, "push_bound(NULL)");
    expect(lstmcore_sliding_catch_up(NULL) == LSTMCORE_BAD_ARGUMENT, "catch_up(NULL)");
    expect(lstmcore_sliding_hurry(NULL) == LSTMCORE_BAD_ARGUMENT, "hurry(NULL)");
    expect(lstmcore_sliding_reset(NULL, 0) == LSTMCORE_BAD_ARGUMENT, "reset(NULL)");
    expect(lstmcore_sliding_start_helper(NULL, 0, -1) == LSTMCORE_BAD_ARGUMENT, "start_helper(NULL)");
    expect(lstmcore_sliding_get_state(NULL, 0, y, &ticks) == LSTMCORE_BAD_ARGUMENT, "get_state(NULL)");
    expect(lstmcore_sliding_set_state(NULL, 0, y, 0) == LSTMCORE_BAD_ARGUMENT, "set_state(NULL)");
    expect(lstmcore_sliding_ticks(NULL, 0) == 0 && lstmcore_sliding_state_size(NULL) == 0, "ticks(NULL)");
    expect(!lstmcore_model_slides(NULL) && lstmcore_kernel_name(-1) == NULL, "slides(NULL)");
    expect(lstmcore_error((int)draw(256) - 9) != NULL, "error: no text");
    lstmcore_sliding_stop_helper(NULL);
    lstmcore_sliding_free(NULL);
    lstmcore_session_free(NULL);
    lstmcore_model_free(NULL);
}

static void free_one(size_t kind, size_t place) {
    if (kind == 0) {
        lstmcore_model_free(models[place]);
        models[place] = NULL;
    } else if (kind == 1) {
        lstmcore_session_free(sessions[place]);
        sessions[place] = NULL;
    } else {
        free_sliding(&slidings[place]);
    }
}

static void one_call(void) {
    const size_t place = draw(PLACES), kind = draw(24);
    sliding *s = &slidings[place];
    if (kind < 2) {
        new_model(place);
    } else if (kind < 7) {
        add_layers(models[place]);
    } else if (kind < 9) {
        new_session(place);
    } else if (kind < 11 && sessions[place] != NULL) {
        run(sessions[place], models_of[place]);
    } else if (kind == 11 && sessions[place] != NULL) {
        run_windows(sessions[place], models_of[place]);
    } else if (kind == 12) {
        new_sliding(s);
    } else if (kind == 13) {
        free_one(draw(3), place);
    } else if (kind == 14 && once_in(8)) {
        nothing();
    } else if (s->it != NULL && kind < 18) {
        push(s);
    } else if (s->it != NULL && kind < 20) {
        push_bound(s);
    } else if (s->it != NULL && kind < 22) {
        settle(s);
    } else if (s->it != NULL && slidings[(place + 1) % PLACES].it != NULL) {
        move_state(s, &slidings[(place + draw(2)) % PLACES]);
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
    for (size_t place = 0; place <= draw(PLACES); place++) {
        new_model(place);
        for (size_t layers = draw(5) + 1; layers != 0; layers--) {
            add_layers(models[place]);
        }
        new_session(place);
        new_sliding(&slidings[place]);
    }
    for (size_t calls = 0; left != 0 && calls < MOST_CALLS; calls++) {
        one_call();
    }
    for (size_t kind = 0; kind < 3; kind++) { /* models first: who still needs them keeps them */
        for (size_t place = 0; place < PLACES; place++) {
            free_one(kind, place);
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
