/* Python's answer to the core's question whether a long call shall end (lstmcore_session_watch): yes, once Ctrl-C or
 * another signal has raised in the main thread, or once that thread has told others to leave off.
 *
 * Python runs the handlers of signals in its main thread, between two operations, and a call of the core is one
 * operation. Only the main thread therefore takes the interpreter lock here: a daemon thread that asks for it while the
 * interpreter ends is ended on the spot.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdatomic.h>
#include <string.h>

static _Atomic unsigned long main_thread;
static PyObject *kept[3]; /* the main thread's, with the interpreter lock: what a handler has raised, or NULL */

/* A number that is not 0 where the thread's work shall end. NULL: nobody says so. */
static _Thread_local const _Atomic int *flag;

static int stop(void *unused) {
    (void)unused;
    if (flag != NULL && atomic_load(flag) != 0) {
        return 1;
    }
    if (PyThread_get_thread_ident() != atomic_load(&main_thread)) {
        return 0;
    }
    const PyGILState_STATE state = PyGILState_Ensure();
    const int raised = PyErr_CheckSignals() != 0;
    if (raised) { /* to release the old error may run any code: last, when no error is set and `kept` is complete */
        PyObject *raised_now[3], *before[3];
        PyErr_Fetch(&raised_now[0], &raised_now[1], &raised_now[2]);
        memcpy(before, kept, sizeof kept);
        memcpy(kept, raised_now, sizeof kept);
        for (size_t n = 0; n < 3; n++) {
            Py_XDECREF(before[n]);
        }
    }
    PyGILState_Release(state);
    return raised;
}

static PyObject *raise_kept(PyObject *module, PyObject *unused) {
    (void)module;
    (void)unused;
    if (kept[0] == NULL || PyThread_get_thread_ident() != atomic_load(&main_thread)) {
        Py_RETURN_NONE;
    }
    PyErr_Restore(kept[0], kept[1], kept[2]);
    kept[0] = kept[1] = kept[2] = NULL;
    return NULL;
}

static PyObject *set_main(PyObject *module, PyObject *identity) {
    (void)module;
    const unsigned long thread = PyLong_AsUnsignedLong(identity);
    if (PyErr_Occurred()) {
        return NULL;
    }
    atomic_store(&main_thread, thread);
    Py_RETURN_NONE;
}

static PyObject *set_flag(PyObject *module, PyObject *address) {
    (void)module;
    void *at = PyLong_AsVoidPtr(address);
    if (PyErr_Occurred()) {
        return NULL;
    }
    flag = at;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"raise_kept", raise_kept, METH_NOARGS, "Raise what a handler raised while the core ran; nothing where none did."},
    {"set_main", set_main, METH_O, "Say which thread, by its identity, runs the handlers of signals."},
    {"set_flag", set_flag, METH_O,
     "The address of the C int at which this thread's work ends once it is not 0; 0: none."},
    {NULL, NULL, 0, NULL},
};

static int execute(PyObject *module) {
    PyObject *address = PyLong_FromVoidPtr((void *)(uintptr_t)stop);
    if (address == NULL) {
        return -1;
    }
    const int code = PyModule_AddObjectRef(module, "ADDRESS", address);
    Py_DECREF(address);
    return code;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "lstmcore._stop",
                                 .m_doc = "Long calls of the core that can be interrupted.", .m_methods = methods,
                                 .m_slots = slots};

PyMODINIT_FUNC PyInit__stop(void) {
    return PyModuleDef_Init(&definition);
}
