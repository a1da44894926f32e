/* The calls that answer windows: some dozens together, or one after the other. */
#include "together.h"

static size_t step_of(const lstmcore_model *model, int v, size_t steps) {
    return model->values[v].width * (model->values[v].sequence ? steps : 1);
}

/* Window w alone. Returns 0 where the caller stops it. */
static int run_alone(lstmcore_session *s, const many_windows *all, size_t w) {
    const lstmcore_model *model = s->model;
    for (size_t k = 0; k < model->n_inputs; k++) {
        s->inputs[k] = (const float *)all->inputs[k] + w * step_of(model, model->inputs[k].value, all->stride);
    }
    for (size_t k = 0; k < model->n_outputs; k++) {
        s->outputs[k] = all->outputs[k] + w * step_of(model, model->outputs[k].value, all->steps);
    }
    return lstmcore_run_window(s, all->lengths == NULL ? all->steps : all->lengths[w],
                               all->state == NULL ? NULL : all->state + w * model->state_size,
                               all->end == NULL ? NULL : all->end + w * model->state_size);
}

/* All of them, the arguments checked. */
static int run_all(lstmcore_session *s, const many_windows *all) {
    if (all->steps > MAX_STEPS) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    int shares = 0, goes_on = 1;
    const size_t at_once = all->n < LEAST ? 0 : lstmcore_at_once(s->model, all, &shares);
    const size_t rest = at_once < LEAST ? all->n : all->n % at_once < LEAST ? all->n % at_once : 0;
    int code = rest != 0 ? lstmcore_reserve_wholes(s, all->steps) : LSTMCORE_OK;
    code = code == LSTMCORE_OK && rest < all->n ? lstmcore_together_reserve(s) : code;
    if (code != LSTMCORE_OK) {
        return code;
    }
    s->watched.callers = fp_mode_enter();
    size_t w = 0;
    for (size_t n; goes_on && w < all->n - rest; w += n) {
        n = all->n - rest - w < at_once ? all->n - rest - w : at_once;
        goes_on = lstmcore_run_together(s, all, w, n, shares);
    }
    for (; goes_on && w < all->n; w++) {
        goes_on = run_alone(s, all, w);
    }
    fp_mode_leave(s->watched.callers);
    return goes_on ? LSTMCORE_OK : LSTMCORE_STOPPED;
}

int lstmcore_run_many(lstmcore_session *s, const void *const *inputs, size_t n, size_t steps, const size_t *lengths,
                      const float *state, float *const *outputs, float *end) {
    if (s == NULL || lacks_arrays(s->model, inputs, outputs) || steps < 1 ||
        (s->model->steps != 0 && (steps != s->model->steps || lengths != NULL)) ||
        (end != NULL && s->plan != s->model->plan[1])) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    for (size_t w = 0; lengths != NULL && w < n; w++) {
        if (lengths[w] < 1 || lengths[w] > steps) {
            return LSTMCORE_BAD_ARGUMENT;
        }
    }
    return run_all(s, &(many_windows){inputs, n, steps, steps, lengths, state, outputs, end});
}

int lstmcore_run(lstmcore_session *s, const void *const *inputs, size_t steps, const float *state,
                 float *const *outputs, float *end) {
    return lstmcore_run_many(s, inputs, 1, steps, NULL, state, outputs, end);
}

int lstmcore_run_windows(lstmcore_session *s, const void *const *inputs, size_t ticks, size_t window, size_t stride,
                         float *const *outputs) {
    if (s == NULL || lacks_arrays(s->model, inputs, outputs) || window < 1 || stride < 1 || window > ticks ||
        (s->model->steps != 0 && window != s->model->steps)) {
        return LSTMCORE_BAD_ARGUMENT;
    }
    const size_t n = (ticks - window) / stride + 1;
    return run_all(s, &(many_windows){inputs, n, window, stride, NULL, NULL, outputs, NULL});
}
