/* module.c - the module csync._csync: its state, its types, and the functions that need no replica. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* dladdr */
#endif
#include "state.h"

#include <dlfcn.h>

#include "batch.h"
#include "convert.h"
#include "error.h"
#include "server.h"

cspy_state *cspy_state_of(PyTypeObject *type)
{
    for (; type != NULL; type = PyType_GetSlot(type, Py_tp_base)) {
        void *state = PyType_GetModuleState(type);
        if (state != NULL)
            return state;
        PyErr_Clear(); /* a class made in Python: its base may be ours */
    }
    PyErr_SetString(PyExc_SystemError, "not a type of csync");
    return NULL;
}

/* ---- Which copy of SQLite ----------------------------------------------------------------------- */

/* 1 when `symbol` lives in the very object that holds the interpreter. */
static int is_in_interpreter(void *symbol)
{
    Dl_info ours, theirs;

    return symbol != NULL && dladdr(symbol, &theirs) && dladdr((void *)Py_IsInitialized, &ours) &&
           ours.dli_fbase == theirs.dli_fbase;
}

/* Where SQLite is reachable from the module `_sqlite3`: its file, or None where it is built into the
 * interpreter. NULL: nowhere. The handle is never closed: the copy must stay. */
static void *sqlite_handle(const char *path)
{
    void *handle;

    if (path != NULL)
        return dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    handle = dlopen(NULL, RTLD_NOW);
    return handle != NULL && is_in_interpreter(dlsym(handle, "sqlite3_libversion")) ? handle : NULL;
}

static PyObject *bind_sqlite(PyObject *module, PyObject *args)
{
    csync_error err = CSYNC_ERROR_INIT;
    const char *path;
    void *handle;

    if (!PyArg_ParseTuple(args, "z", &path))
        return NULL;
    handle = sqlite_handle(path);
    if (handle == NULL || dlsym(handle, "sqlite3_libversion") == NULL)
        return cspy_fail(
            PyModule_GetState(module), CSYNC_EUNSUPPORTED,
            "this Python has a private copy of SQLite that csync cannot reach, and a second copy "
            "in one process destroys databases; open the file with sqlite3.connect and pass that "
            "connection to csync.open");
    if (csync_bind_sqlite(handle, &err))
        return cspy_raise(PyModule_GetState(module), &err);
    Py_RETURN_NONE;
}

/* ---- Functions ---------------------------------------------------------------------------------- */

static PyObject *batch_hash(PyObject *module, PyObject *changes)
{
    cspy_state *state = PyModule_GetState(module);
    csync_error err = CSYNC_ERROR_INIT;
    char hex[CSYNC_HASH_SIZE];
    csync_batch *owned;
    const csync_batch *batch = cspy_batch_read(state, changes, &owned);
    int rc;

    if (batch == NULL)
        return NULL;
    rc = csync_batch_hash(batch, hex, &err);
    csync_batch_free(owned);
    return rc ? cspy_raise(state, &err) : PyUnicode_FromString(hex);
}

static PyObject *verify_hash(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"expected", "actual", NULL};
    csync_error err = CSYNC_ERROR_INIT;
    const char *expected, *actual;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "ss:verify_hash", names, &expected, &actual))
        return NULL;
    if (csync_verify_hash(expected, actual, &err))
        return cspy_raise(PyModule_GetState(module), &err);
    Py_RETURN_NONE;
}

static PyObject *resolve(PyObject *module, PyObject *args)
{
    cspy_state *state = PyModule_GetState(module);
    csync_error err = CSYNC_ERROR_INIT;
    PyObject *local, *remote, *answer = NULL;
    int strategy, decision;
    cspy_change a, b = {.held = {NULL}};

    if (!PyArg_ParseTuple(args, "OOi", &local, &remote, &strategy))
        return NULL;
    if (cspy_change_read(state, local, &a) == 0 && cspy_change_read(state, remote, &b) == 0) {
        if (csync_resolve(&a.pub, &b.pub, strategy, &decision, &err))
            cspy_raise(state, &err);
        else
            answer = PyUnicode_FromString(decision == CSYNC_KEEP_LOCAL ? "local" : "remote");
    }
    cspy_change_release(&a);
    cspy_change_release(&b);
    return answer;
}

static PyObject *canonical_json(PyObject *module, PyObject *args)
{
    csync_error err = CSYNC_ERROR_INIT;
    const char *json;
    Py_ssize_t length;
    char *out = NULL;

    if (!PyArg_ParseTuple(args, "s#:canonical_json", &json, &length))
        return NULL;
    if (csync_canonical_json(json, (size_t)length, &out, &err))
        return cspy_raise(PyModule_GetState(module), &err);
    return cspy_take_text(out);
}

/* ---- Content codings ---- */

static PyObject *codings(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyUnicode_FromString(csync_codings());
}

static PyObject *take_bytes(PyObject *module, int rc, char *out, size_t length, csync_error *err)
{
    PyObject *bytes;

    if (rc != CSYNC_OK)
        return cspy_raise(PyModule_GetState(module), err);
    bytes = PyBytes_FromStringAndSize(out, (Py_ssize_t)length);
    csync_free(out);
    return bytes;
}

static PyObject *encode(PyObject *module, PyObject *args)
{
    csync_error err = CSYNC_ERROR_INIT;
    const char *coding;
    PyObject *answer;
    Py_buffer data;
    char *out;
    size_t length;
    int rc;

    if (!PyArg_ParseTuple(args, "sy*", &coding, &data))
        return NULL;
    Py_BEGIN_ALLOW_THREADS rc = csync_encode(coding, data.buf, (size_t)data.len, &out, &length, &err);
    Py_END_ALLOW_THREADS answer = take_bytes(module, rc, out, length, &err);
    PyBuffer_Release(&data);
    return answer;
}

static PyObject *decode(PyObject *module, PyObject *args)
{
    csync_error err = CSYNC_ERROR_INIT;
    const char *coding;
    PyObject *answer;
    Py_buffer data;
    Py_ssize_t max;
    char *out;
    size_t length;
    int rc;

    if (!PyArg_ParseTuple(args, "sy*n", &coding, &data, &max))
        return NULL;
    Py_BEGIN_ALLOW_THREADS rc =
        csync_decode(coding, data.buf, (size_t)data.len, (size_t)max, &out, &length, &err);
    Py_END_ALLOW_THREADS answer = take_bytes(module, rc, out, length, &err);
    PyBuffer_Release(&data);
    return answer;
}

static PyMethodDef functions[] = {
    {"bind_sqlite", bind_sqlite, METH_VARARGS, NULL},
    {"batch_hash", batch_hash, METH_O,
     "batch_hash($module, changes, /)\n--\n\n"
     "SHA-256 of a Batch or a list of Change, in hex: over `{version}:{table}:{pk}:{operation}:{payload or "
     "null}\\n`\nof each."},
    {"verify_hash", (PyCFunction)(void (*)(void))verify_hash, METH_VARARGS | METH_KEYWORDS,
     "verify_hash($module, /, expected, actual)\n--\n\n"
     "Compares two hashes in hex, of either case; raises HashMismatchError when they differ."},
    {"canonical_json", canonical_json, METH_VARARGS,
     "canonical_json($module, text, /)\n--\n\n"
     "The canonical form of any JSON text (RFC 8785, but integers keep all their digits): what hash() is over."},
    {"resolve", resolve, METH_VARARGS, NULL},
    {"token_add", cspy_token_add, METH_VARARGS, NULL},
    {"token_list", cspy_token_list, METH_VARARGS, NULL},
    {"token_revoke", cspy_token_revoke, METH_VARARGS, NULL},
    {"codings", codings, METH_NOARGS, NULL},
    {"encode", encode, METH_VARARGS, NULL},
    {"decode", decode, METH_VARARGS, NULL},
    {"program", cspy_program, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* ---- Module ------------------------------------------------------------------------------------- */

static PyObject *take(PyObject *module, const char *name)
{
    return module == NULL ? NULL : PyObject_GetAttrString(module, name);
}

static int load_python_side(cspy_state *state)
{
    PyObject *model = PyImport_ImportModule("csync._model");
    PyObject *json = PyImport_ImportModule("csync._json");

    if (model != NULL && json != NULL) {
        state->change = take(model, "Change");
        state->outcome = take(model, "Outcome");
        state->progress = take(model, "Progress");
        state->step = take(model, "Step");
        state->position = take(model, "Position");
        state->dump_row = take(json, "dump_row");
    }
    Py_XDECREF(model);
    Py_XDECREF(json);
    return PyErr_Occurred() || cspy_errors_load(state) ? -1 : 0;
}

static int add_constants(PyObject *module)
{
    return PyModule_AddStringConstant(module, "version", csync_version()) ||
           PyModule_AddIntMacro(module, CSYNC_CAPTURE_FULL) ||
           PyModule_AddIntMacro(module, CSYNC_CAPTURE_KEYS) ||
           PyModule_AddIntMacro(module, CSYNC_LAST_WRITE_WINS) ||
           PyModule_AddIntMacro(module, CSYNC_SERVER_WINS) ||
           PyModule_AddIntMacro(module, CSYNC_CLIENT_WINS) ||
           PyModule_AddIntMacro(module, CSYNC_CUSTOM) || PyModule_AddIntMacro(module, CSYNC_BOTH) ||
           PyModule_AddIntMacro(module, CSYNC_PULL) || PyModule_AddIntMacro(module, CSYNC_PUSH) ||
           PyModule_AddIntMacro(module, CSYNC_MAY_READ) ||
           PyModule_AddIntMacro(module, CSYNC_MAY_WRITE);
}

static int module_exec(PyObject *module)
{
    cspy_state *state = PyModule_GetState(module);

    return load_python_side(state) || cspy_add_batch(module, state) ||
                   cspy_add_outcomes(module, state) || cspy_add_replica(module, state) ||
                   cspy_add_session(module, state) || cspy_add_subscription(module) ||
                   cspy_add_api(module) || cspy_add_server(module) || add_constants(module)
               ? -1
               : 0;
}

/* Calls `each` for every reference that the state holds. */
#define FOR_EACH_REFERENCE(each, state)                                                            \
    do {                                                                                           \
        each((state)->replica_type);                                                               \
        each((state)->batch_type);                                                                 \
        each((state)->outcomes_type);                                                              \
        each((state)->session_type);                                                               \
        each((state)->change);                                                                     \
        each((state)->outcome);                                                                    \
        each((state)->progress);                                                                   \
        each((state)->step);                                                                       \
        each((state)->position);                                                                   \
        each((state)->dump_row);                                                                   \
        for (int i = 0; i < CSPY_ERRORS; i++)                                                      \
            each((state)->errors[i]);                                                              \
    } while (0)

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    cspy_state *state = PyModule_GetState(module);

    FOR_EACH_REFERENCE(Py_VISIT, state);
    return 0;
}

static int module_clear(PyObject *module)
{
    cspy_state *state = PyModule_GetState(module);

    FOR_EACH_REFERENCE(Py_CLEAR, state);
    return 0;
}

static void module_free(void *module)
{
    module_clear(module);
}

/* Py_mod_multiple_interpreters and Py_MOD_PER_INTERPRETER_GIL_SUPPORTED of Python 3.12, which the limited
 * API of 3.11 does not name. Python 3.11 refuses a slot that it does not know, so PyInit blanks it there. */
enum { MULTIPLE_INTERPRETERS = 3 };
static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {MULTIPLE_INTERPRETERS, (void *)2},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "csync._csync",
    .m_doc = "The C half of csync. Import csync instead.",
    .m_size = sizeof(cspy_state),
    .m_methods = functions,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__csync(void)
{
    if (Py_Version < 0x030C0000)
        module_slots[1] = (PyModuleDef_Slot){0, NULL};
    return PyModuleDef_Init(&definition);
}
