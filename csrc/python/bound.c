/* A function of the core bound to its handle and arrays, as Python calls it: the whole road from a numpy array to the
 * answer in one C call. The general binding (cffi) takes several Python operations for it, which cost more than a step
 * of a small model.
 *
 * Nothing here computes but the difference to a model's mean, which must be formed before a double is rounded. From the
 * moment an array is copied in until the answer is out, the interpreter lock is held unless the function takes long or
 * a handler of signals runs in it; and who comes then, another thread or the handler, finds the Bound `running` and
 * does not touch what it works on.
 *
 * What an array says of itself, its users can change at any time: its shape, its dtype, even where its numbers are. So
 * pointers and sizes of the bound arrays are read once and kept here.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <string.h>

/* Of numpy's headers only what reads an array's fields, nothing of the table of functions that has to be imported: the
 * buffer protocol takes as long for an array as a step of a small model. */
#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#define NO_IMPORT_ARRAY
#include <numpy/arrayobject.h>

#include "lstmcore.h"

enum { MAX_DIMENSIONS = 2 };

typedef int function(void *handle);
typedef int binding(void *handle, const void *const *inputs, size_t steps, float *const *outputs);

/* clang-format off */
typedef struct {
    PyObject_HEAD
    function *run;      /* takes what stands in x, puts the answer into y */
    binding *bind;      /* of a handle that others use too: say before each run which x and y; NULL: it knows them */
    function *behind;   /* there is something to be done first; NULL: never */
    function *catch_up; /* do it */
    void *handle;
    float *x;       /* (sizes[0],) or (sizes[0], sizes[1]), without gaps */
    float *input;   /* as x: the numbers before the mean is subtracted, which `run` begins with; NULL: those in x */
    const float *mean;        /* of each column; both NULL: zero */
    const double *wide_mean;  /* where floats do not hold it */
    float *y; /* (at least 1,) */
    int rank;
    npy_intp sizes[MAX_DIMENSIONS];
    int finite; /* NaN and infinity go to `slow` */
    int yields; /* run takes long: let other threads have the interpreter meanwhile */
    int running; /* x is taken, and the answer to it is not out yet */
    PyObject *ndarray; /* numpy's type */
    PyObject *slow;    /* what to make of any other input: a callable that returns a fitting array, or None */
    PyObject *answer;  /* a callable that returns it, or None: y is one number */
    PyObject *refuse;  /* a callable that raises what a code of the core means */
    PyObject *kept;    /* what the handle lives in, x and y; who is in a call holds the Bound, and so these */
} Bound;
/* clang-format on */

/* Of this processor's floats or doubles, and as many of them in each direction. Its numbers may stand anywhere. */
static int fits(const Bound *self, const PyArrayObject *given) {
    if ((PyArray_TYPE(given) != NPY_FLOAT && PyArray_TYPE(given) != NPY_DOUBLE) || !PyArray_ISNOTSWAPPED(given) ||
        PyArray_NDIM(given) != self->rank) {
        return 0;
    }
    for (int n = 0; n < self->rank; n++) {
        if (PyArray_DIM(given, n) != self->sizes[n]) {
            return 0;
        }
    }
    return 1;
}

/* `count` numbers of a type, `step` bytes apart, each less its mean: the difference is formed in the wider of the two
 * types and rounded to a float once. Twice the same loop, so that the one without gaps becomes vectors. */
#define LESS(name, type, mean_type)                                                                       \
    static void name(float *to, const char *from, npy_intp step, const mean_type *mean, npy_intp count) { \
        type x;                                                                                           \
        if (step == (npy_intp)sizeof x) {                                                                 \
            for (npy_intp k = 0; k < count; k++) {                                                        \
                memcpy(&x, from + k * (npy_intp)sizeof x, sizeof x);                                      \
                to[k] = (float)(x - mean[k]);                                                             \
            }                                                                                             \
            return;                                                                                       \
        }                                                                                                 \
        for (npy_intp k = 0; k < count; k++) {                                                            \
            memcpy(&x, from + k * step, sizeof x);                                                        \
            to[k] = (float)(x - mean[k]);                                                                 \
        }                                                                                                 \
    }
LESS(floats_less_floats, float, float)
LESS(floats_less_doubles, float, double)
LESS(doubles_less_floats, double, float)
LESS(doubles_less_doubles, double, double)

/* The same without a mean. */
static void rounded(float *to, const char *from, npy_intp step, int doubles, npy_intp count) {
    if (!doubles && step == (npy_intp)sizeof *to) {
        memcpy(to, from, (size_t)count * sizeof *to);
        return;
    }
    for (npy_intp k = 0; k < count; k++, from += step) {
        double x;
        if (doubles) {
            memcpy(&x, from, sizeof x);
            to[k] = (float)x;
        } else {
            memcpy(&to[k], from, sizeof *to);
        }
    }
}

/* A row of x; `less` the mean where there is one. */
static void put(const Bound *self, int less, float *to, const char *from, npy_intp step, int doubles, npy_intp count) {
    if (!less) {
        rounded(to, from, step, doubles, count);
    } else if (self->wide_mean != NULL) {
        (doubles ? doubles_less_doubles : floats_less_doubles)(to, from, step, self->wide_mean, count);
    } else if (self->mean != NULL) {
        (doubles ? doubles_less_floats : floats_less_floats)(to, from, step, self->mean, count);
    } else {
        rounded(to, from, step, doubles, count);
    }
}

/* The numbers of an array that fits into x, and into the input. Returns 0, these being as they were or half written,
 * where one is not finite and must be. */
static int copy(const Bound *self, const PyArrayObject *given, int less) {
    const int last = self->rank - 1, doubles = PyArray_TYPE(given) == NPY_DOUBLE;
    const npy_intp rows = last == 0 ? 1 : self->sizes[0], columns = self->sizes[last];
    const npy_intp row_step = last == 0 ? 0 : PyArray_STRIDE(given, 0), step = PyArray_STRIDE(given, last);
    float *to = self->x;
    for (npy_intp m = 0; m < rows; m++, to += columns) {
        const char *from = PyArray_BYTES(given) + m * row_step;
        put(self, less, to, from, step, doubles, columns);
        if (self->input != NULL) {
            rounded(self->input + m * columns, from, step, doubles, columns);
        }
        for (npy_intp k = 0; self->finite && k < columns; k++) {
            if (!isfinite(to[k])) {
                return 0;
            }
        }
    }
    return 1;
}

/* An ndarray of the right shape and dtype into x: 1. Anything else: 0. */
static int take(const Bound *self, PyObject *given, int less) {
    if ((PyObject *)Py_TYPE(given) != self->ndarray) { /* a subclass may mean something else, as masked arrays do */
        return 0;
    }
    const PyArrayObject *array = (const PyArrayObject *)given;
    return fits(self, array) && copy(self, array, less);
}

/* Set the error that a code of the core means. */
static PyObject *refuse(const Bound *self, int code) {
    PyObject *none = PyObject_CallFunction(self->refuse, "i", code);
    if (none != NULL) {
        Py_DECREF(none);
        PyErr_Format(PyExc_SystemError, "the core's code %d was not refused", code);
    }
    return NULL;
}

/* Call one of the core's functions. Returns -1 and an error where another thread is in it, or it was stopped. */
static int call(const Bound *self, function *f, int yields) {
    int code;
    if (yields) {
        Py_BEGIN_ALLOW_THREADS;
        code = f(self->handle);
        Py_END_ALLOW_THREADS;
    } else {
        code = f(self->handle);
    }
    if (code != LSTMCORE_OK) {
        refuse(self, code);
        return -1;
    }
    return 0;
}

static PyObject *answer(const Bound *self) {
    if (self->bind != NULL) {
        const int code =
            self->bind(self->handle, (const void *[]){self->x}, (size_t)self->sizes[0], (float *[]){self->y});
        if (code != LSTMCORE_OK) { /* no memory for so long a window */
            return refuse(self, code);
        }
    }
    if (call(self, self->run, self->yields) < 0) {
        return NULL;
    }
    return self->answer == Py_None ? PyFloat_FromDouble(*self->y) : PyObject_CallObject(self->answer, NULL);
}

/* What may take long comes before the input is copied, since other threads run meanwhile. */
static int settle(const Bound *self) {
    return self->behind != NULL && self->behind(self->handle) ? call(self, self->catch_up, 1) : 0;
}

static PyObject *bound_run(PyObject *object, PyObject *unused) {
    (void)unused;
    Bound *self = (Bound *)object;
    if (settle(self) < 0) {
        return NULL;
    }
    if (self->running) {
        return refuse(self, LSTMCORE_BUSY);
    }
    self->running = 1;
    if (self->input != NULL) { /* of a stream: one row */
        put(self, 1, self->x, (const char *)self->input, sizeof *self->input, 0, self->sizes[0]);
    }
    PyObject *answered = answer(self);
    self->running = 0;
    return answered;
}

/* The answer to an array, `less` the mean; NULL without an error where it does not fit. */
static PyObject *take_and_answer(Bound *self, PyObject *given, int less) {
    self->running = 1;
    PyObject *answered = take(self, given, less) ? answer(self) : NULL;
    self->running = 0;
    return answered;
}

static PyObject *ask(Bound *self, PyObject *given, int less) {
    if (settle(self) < 0) {
        return NULL;
    }
    if (self->running) {
        if (self->slow == Py_None) {
            Py_RETURN_NONE;
        }
        return refuse(self, LSTMCORE_BUSY);
    }
    PyObject *answered = take_and_answer(self, given, less);
    if (answered != NULL || PyErr_Occurred()) {
        return answered;
    }
    if (self->slow == Py_None) {
        Py_RETURN_NONE;
    }
    PyObject *array = PyObject_CallFunctionObjArgs(self->slow, given, NULL);
    if (array == NULL) {
        return NULL;
    }
    if (self->running) { /* another thread has come meanwhile */
        Py_DECREF(array);
        return refuse(self, LSTMCORE_BUSY);
    }
    answered = take_and_answer(self, array, less);
    Py_DECREF(array);
    if (answered == NULL && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_TypeError, "the conversion gave something that does not fit");
    }
    return answered;
}

static PyObject *bound_ask(PyObject *object, PyObject *given) {
    return ask((Bound *)object, given, 1);
}

static PyObject *bound_ask_taken(PyObject *object, PyObject *given) {
    return ask((Bound *)object, given, 0);
}

static PyObject *bound_running(PyObject *object, void *unused) {
    (void)unused;
    return PyBool_FromLong(((const Bound *)object)->running);
}

static void bound_free(PyObject *object) {
    Bound *self = (Bound *)object;
    PyTypeObject *type = Py_TYPE(object);
    Py_CLEAR(self->kept);
    Py_CLEAR(self->ndarray);
    Py_CLEAR(self->slow);
    Py_CLEAR(self->answer);
    Py_CLEAR(self->refuse);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

/* Of float32 without gaps. */
static int writable(PyObject *array, PyObject *ndarray) {
    return (PyObject *)Py_TYPE(array) == ndarray && PyArray_TYPE((PyArrayObject *)array) == NPY_FLOAT &&
           PyArray_ISCARRAY((PyArrayObject *)array);
}

static int is_row(PyObject *array, npy_intp columns) {
    return PyArray_NDIM((PyArrayObject *)array) == 1 && PyArray_DIM((PyArrayObject *)array, 0) == columns;
}

/* Read where the arrays are. Returns 0 and an error where they are not what is wanted. */
static int bind_arrays(Bound *self, PyObject *x, PyObject *y, PyObject *input, PyObject *mean) {
    if (!writable(x, self->ndarray) || !writable(y, self->ndarray) || PyArray_NDIM((PyArrayObject *)x) < 1 ||
        PyArray_NDIM((PyArrayObject *)x) > MAX_DIMENSIONS) {
        PyErr_SetString(PyExc_ValueError, "x and y: expected float32 arrays, x of one or two dimensions");
        return 0;
    }
    self->x = PyArray_DATA((PyArrayObject *)x);
    self->y = PyArray_DATA((PyArrayObject *)y);
    self->rank = PyArray_NDIM((PyArrayObject *)x);
    memcpy(self->sizes, PyArray_DIMS((PyArrayObject *)x), (size_t)self->rank * sizeof *self->sizes);
    const npy_intp columns = self->sizes[self->rank - 1];
    if (input != Py_None) {
        if (!writable(input, self->ndarray) || self->rank != 1 || !is_row(input, columns)) {
            PyErr_SetString(PyExc_ValueError, "input: expected a float32 array as x, of one dimension");
            return 0;
        }
        self->input = PyArray_DATA((PyArrayObject *)input);
    }
    if (mean != Py_None) {
        if ((PyObject *)Py_TYPE(mean) != self->ndarray || !PyArray_ISCARRAY_RO((PyArrayObject *)mean) ||
            !is_row(mean, columns) ||
            (PyArray_TYPE((PyArrayObject *)mean) != NPY_FLOAT && PyArray_TYPE((PyArrayObject *)mean) != NPY_DOUBLE)) {
            PyErr_SetString(PyExc_ValueError, "mean: expected a float32 or float64 array, a number for each column");
            return 0;
        }
        if (PyArray_TYPE((PyArrayObject *)mean) == NPY_FLOAT) {
            self->mean = PyArray_DATA((PyArrayObject *)mean);
        } else {
            self->wide_mean = PyArray_DATA((PyArrayObject *)mean);
        }
    }
    return 1;
}

static PyObject *bound_new(PyTypeObject *type, PyObject *arguments, PyObject *names) {
    static char *keywords[] = {"run",    "handle",   "x",      "y",      "slow",  "answer", "refuse", "ndarray", "keep",
                               "behind", "catch_up", "finite", "yields", "input", "mean",   "bind",   NULL};
    unsigned long long run = 0, handle = 0, behind = 0, catch_up = 0, bind = 0;
    PyObject *x, *y, *slow, *answer_, *refuse_, *ndarray, *keep, *input = Py_None, *mean = Py_None;
    int finite = 0, yields = 0;
    if (!PyArg_ParseTupleAndKeywords(arguments, names, "KKOOOOOOO|$KKppOOK", keywords, &run, &handle, &x, &y, &slow,
                                     &answer_, &refuse_, &ndarray, &keep, &behind, &catch_up, &finite, &yields, &input,
                                     &mean, &bind)) {
        return NULL;
    }
    Bound *self = (Bound *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->run = (function *)(uintptr_t)run;
    self->bind = (binding *)(uintptr_t)bind;
    self->behind = (function *)(uintptr_t)behind;
    self->catch_up = (function *)(uintptr_t)catch_up;
    self->handle = (void *)(uintptr_t)handle;
    self->finite = finite;
    self->yields = yields;
    self->slow = Py_NewRef(slow);
    self->answer = Py_NewRef(answer_);
    self->refuse = Py_NewRef(refuse_);
    self->ndarray = Py_NewRef(ndarray);
    self->kept = PyTuple_Pack(5, keep, x, y, input, mean);
    if (self->kept == NULL || !bind_arrays(self, x, y, input, mean)) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static PyMethodDef bound_methods[] = {
    {"ask", bound_ask, METH_O,
     "Copy an array into x, run, return the answer. Without `slow`: None for what it cannot take now."},
    {"ask_taken", bound_ask_taken, METH_O, "The same for one of which the mean has been subtracted."},
    {"run", bound_run, METH_NOARGS, "Run on what stands in x, return the answer."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef bound_getset[] = {
    {"running", bound_running, NULL, "Whether a call is under way.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot bound_slots[] = {
    {Py_tp_new, bound_new},
    {Py_tp_dealloc, bound_free},
    {Py_tp_methods, bound_methods},
    {Py_tp_getset, bound_getset},
    {Py_tp_doc, "A function of the core bound to its handle, its input and its output."},
    {0, NULL},
};

static PyType_Spec bound_spec = {"lstmcore._bound.Bound", sizeof(Bound), 0, Py_TPFLAGS_DEFAULT, bound_slots};

static int execute(PyObject *module) {
    PyObject *type = PyType_FromSpec(&bound_spec);
    if (type == NULL) {
        return -1;
    }
    const int code = PyModule_AddObjectRef(module, "Bound", type);
    Py_DECREF(type);
    return code;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "lstmcore._bound", .m_doc = "The core's hot calls.",
                                 .m_slots = slots};

PyMODINIT_FUNC PyInit__bound(void) {
    return PyModuleDef_Init(&definition);
}
