/* A function of the core bound to its handle and arrays, as Python calls it: the whole road from a numpy array to the
 * answer in one C call. The general binding (cffi) takes several Python operations for it, which cost more than a step
 * of a small model.
 *
 * Nothing here computes. From the moment an array is copied in until the answer is out, the interpreter lock is held
 * unless the function takes long: so two threads that share a Bound cannot mix up their inputs, and no other thread
 * gets the interpreter between a tick and its answer.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <string.h>

/* PyObject_GetBuffer and Py_buffer belong to the stable ABI from Python 3.11 on. 3.10 has the same function and the
 * same layout, but its headers hide both from a module for the stable ABI, and so do later ones from a module
 * for 3.10's. */
#if Py_LIMITED_API + 0 < 0x030B0000
typedef struct {
    void *buf;
    PyObject *obj;
    Py_ssize_t len, itemsize;
    int readonly, ndim;
    char *format;
    Py_ssize_t *shape, *strides, *suboffsets;
    void *internal;
} Py_buffer;
extern int PyObject_GetBuffer(PyObject *exporter, Py_buffer *view, int flags);
extern void PyBuffer_Release(Py_buffer *view);
#define PyBUF_WRITABLE     0x0001
#define PyBUF_FORMAT       0x0004
#define PyBUF_ND           0x0008
#define PyBUF_STRIDES      (0x0010 | PyBUF_ND)
#define PyBUF_C_CONTIGUOUS (0x0020 | PyBUF_STRIDES)
#endif

enum { MAX_DIMENSIONS = 2 };

typedef int function(void *handle);

/* clang-format off */
typedef struct {
    PyObject_HEAD
    function *run;      /* takes what stands in x, puts the answer into y */
    function *behind;   /* there is something to be done first; NULL: never */
    function *catch_up; /* do it */
    void *handle;
    Py_buffer x, y; /* held as long as this object lives */
    int finite;     /* NaN and infinity go to `slow` */
    int yields;     /* run takes long: let other threads have the interpreter meanwhile */
    PyObject *ndarray; /* numpy's type */
    PyObject *slow;    /* what to make of any other input: a callable that returns a fitting array, or None */
    PyObject *answer;  /* a callable that returns it, or None: y is one number */
    PyObject *busy;    /* the text of the error where another thread is in the function */
    PyObject *keep;    /* what the handle lives in */
} Bound;
/* clang-format on */

/* This processor's float, which may stand anywhere: numpy writes "f", and "=f" where it is not aligned. */
static int is_float(const char *format) {
    return format != NULL && strcmp(format + (*format == '='), "f") == 0;
}

static int fits(const Bound *self, const Py_buffer *view) {
    if (!is_float(view->format) || view->ndim != self->x.ndim) {
        return 0;
    }
    for (int n = 0; n < view->ndim; n++) {
        if (view->shape[n] != self->x.shape[n]) {
            return 0;
        }
    }
    return 1;
}

/* The numbers of a view that fits into x. Returns 0, x being as it was or half written, where one is not finite and
 * must be. */
static int copy(const Bound *self, const Py_buffer *view) {
    const int flat = view->ndim == 1;
    const Py_ssize_t rows = flat ? 1 : view->shape[0], columns = view->shape[view->ndim - 1];
    const Py_ssize_t row_step = flat ? 0 : view->strides[0], step = view->strides[view->ndim - 1];
    float *to = self->x.buf;
    for (Py_ssize_t m = 0; m < rows; m++, to += columns) {
        const char *from = (const char *)view->buf + m * row_step;
        if (step == (Py_ssize_t)sizeof *to) {
            memcpy(to, from, (size_t)columns * sizeof *to);
        } else {
            for (Py_ssize_t k = 0; k < columns; k++) {
                memcpy(&to[k], from + k * step, sizeof *to);
            }
        }
        for (Py_ssize_t k = 0; self->finite && k < columns; k++) {
            if (!isfinite(to[k])) {
                return 0;
            }
        }
    }
    return 1;
}

/* An ndarray of the right shape and dtype into x: 1. Anything else: 0, no error set. */
static int take(const Bound *self, PyObject *given) {
    Py_buffer view;
    if ((PyObject *)Py_TYPE(given) != self->ndarray) { /* a subclass may mean something else, as masked arrays do */
        return 0;
    }
    if (PyObject_GetBuffer(given, &view, PyBUF_FORMAT | PyBUF_STRIDES) < 0) {
        PyErr_Clear();
        return 0;
    }
    const int taken = fits(self, &view) && copy(self, &view);
    PyBuffer_Release(&view);
    return taken;
}

/* Call one of the core's functions. Returns -1 and an error where another thread is in it. */
static int call(const Bound *self, function *f, int yields) {
    int code;
    if (yields) {
        Py_BEGIN_ALLOW_THREADS;
        code = f(self->handle);
        Py_END_ALLOW_THREADS;
    } else {
        code = f(self->handle);
    }
    if (code != 0) {
        PyErr_SetObject(PyExc_RuntimeError, self->busy);
        return -1;
    }
    return 0;
}

static PyObject *answer(const Bound *self) {
    if (call(self, self->run, self->yields) < 0) {
        return NULL;
    }
    return self->answer == Py_None ? PyFloat_FromDouble(*(const float *)self->y.buf)
                                   : PyObject_CallObject(self->answer, NULL);
}

/* What may take long comes before the input is copied, since other threads run meanwhile. */
static int settle(const Bound *self) {
    return self->behind != NULL && self->behind(self->handle) ? call(self, self->catch_up, 1) : 0;
}

static PyObject *bound_run(PyObject *object, PyObject *unused) {
    (void)unused;
    const Bound *self = (const Bound *)object;
    return settle(self) < 0 ? NULL : answer(self);
}

static PyObject *bound_ask(PyObject *object, PyObject *given) {
    const Bound *self = (const Bound *)object;
    if (settle(self) < 0) {
        return NULL;
    }
    if (take(self, given)) {
        return answer(self);
    }
    if (self->slow == Py_None) {
        Py_RETURN_NONE;
    }
    PyObject *array = PyObject_CallFunctionObjArgs(self->slow, given, NULL);
    if (array == NULL) {
        return NULL;
    }
    const int taken = take(self, array);
    Py_DECREF(array);
    if (!taken) {
        PyErr_SetString(PyExc_TypeError, "the conversion gave something that does not fit");
        return NULL;
    }
    return answer(self);
}

static void bound_free(PyObject *object) {
    Bound *self = (Bound *)object;
    PyTypeObject *type = Py_TYPE(object);
    Py_CLEAR(self->keep); /* first: until then the core may use x and y */
    PyBuffer_Release(&self->x);
    PyBuffer_Release(&self->y);
    Py_CLEAR(self->ndarray);
    Py_CLEAR(self->slow);
    Py_CLEAR(self->answer);
    Py_CLEAR(self->busy);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static PyObject *bound_new(PyTypeObject *type, PyObject *arguments, PyObject *names) {
    static char *keywords[] = {"run",     "handle", "x",      "y",        "slow",   "answer", "busy",
                               "ndarray", "keep",   "behind", "catch_up", "finite", "yields", NULL};
    unsigned long long run = 0, handle = 0, behind = 0, catch_up = 0;
    PyObject *x, *y, *slow, *answer_, *busy, *ndarray, *keep;
    int finite = 0, yields = 0;
    if (!PyArg_ParseTupleAndKeywords(arguments, names, "KKOOOOOOO|$KKpp", keywords, &run, &handle, &x, &y, &slow,
                                     &answer_, &busy, &ndarray, &keep, &behind, &catch_up, &finite, &yields)) {
        return NULL;
    }
    Bound *self = (Bound *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->run = (function *)(uintptr_t)run;
    self->behind = (function *)(uintptr_t)behind;
    self->catch_up = (function *)(uintptr_t)catch_up;
    self->handle = (void *)(uintptr_t)handle;
    self->finite = finite;
    self->yields = yields;
    const int flags = PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE;
    if (PyObject_GetBuffer(x, &self->x, flags) < 0 || PyObject_GetBuffer(y, &self->y, flags) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->slow = Py_NewRef(slow);
    self->answer = Py_NewRef(answer_);
    self->busy = Py_NewRef(busy);
    self->ndarray = Py_NewRef(ndarray);
    self->keep = Py_NewRef(keep);
    if (self->x.ndim < 1 || self->x.ndim > MAX_DIMENSIONS || !fits(self, &self->x) || self->y.itemsize != 4) {
        PyErr_SetString(PyExc_ValueError, "x and y: expected float32 arrays, x of one or two dimensions");
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static PyMethodDef bound_methods[] = {
    {"ask", bound_ask, METH_O, "Copy an array into x, run, return the answer; None for what `slow` must convert."},
    {"run", bound_run, METH_NOARGS, "Run on what stands in x, return the answer."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot bound_slots[] = {
    {Py_tp_new, bound_new},
    {Py_tp_dealloc, bound_free},
    {Py_tp_methods, bound_methods},
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
