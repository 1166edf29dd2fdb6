/* error.c - the table from codes to exception classes. */
#include "error.h"

#include <stdarg.h>

static const struct {
    int code;
    const char *name;
} table[CSPY_ERRORS] = {
    {CSYNC_ERROR, "Error"}, /* first: the class for every code that is not listed */
    {CSYNC_EMISUSE, "Misuse"},
    {CSYNC_EINVAL, "InvalidValue"},
    {CSYNC_ENOTFOUND, "NotFound"},
    {CSYNC_EBUSY, "BusyError"},
    {CSYNC_EDB, "DatabaseError"},
    {CSYNC_ESCHEMA, "SchemaError"},
    {CSYNC_EFOREIGNKEY, "ForeignKeyError"},
    {CSYNC_EHASH, "HashMismatchError"},
    {CSYNC_EFULLRESYNC, "FullResyncRequired"},
    {CSYNC_ENET, "NetworkError"},
    {CSYNC_EPROTO, "ProtocolError"},
    {CSYNC_EAUTH, "AuthError"},
    {CSYNC_ECANCELED, "Cancelled"},
    {CSYNC_EUNSUPPORTED, "Unsupported"},
    {CSYNC_ECLOCK, "ClockSkewError"},
};

int cspy_errors_load(cspy_state *state)
{
    PyObject *module = PyImport_ImportModule("csync._errors");

    if (module == NULL)
        return -1;
    for (int i = 0; i < CSPY_ERRORS; i++) {
        state->errors[i] = PyObject_GetAttrString(module, table[i].name);
        if (state->errors[i] == NULL)
            break;
    }
    Py_DECREF(module);
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *class_of(cspy_state *state, int code)
{
    for (int i = 0; i < CSPY_ERRORS; i++)
        if (table[i].code == code)
            return state->errors[i];
    return state->errors[0];
}

static PyObject *text(const char *bytes)
{
    return PyUnicode_DecodeUTF8(bytes, (Py_ssize_t)strlen(bytes), "replace");
}

/* Takes over `value`. 0, or -1 with an exception. */
static int set(PyObject *object, const char *name, PyObject *value)
{
    int rc = value == NULL ? -1 : PyObject_SetAttrString(object, name, value);

    Py_XDECREF(value);
    return rc;
}

static int describe(PyObject *exception, const csync_error *err)
{
    if (set(exception, "code", text(csync_code_name(err->code))) ||
        set(exception, "native_code", PyLong_FromLong(err->native_code)))
        return -1;
    if (err->table[0] && set(exception, "table", text(err->table)))
        return -1;
    if (err->version && set(exception, "version", PyLong_FromLongLong(err->version)))
        return -1;
    if ((err->code == CSYNC_EHASH || err->code == CSYNC_ECLOCK) &&
        (set(exception, "expected", text(err->expected)) ||
         set(exception, "actual", text(err->actual))))
        return -1;
    if (err->code == CSYNC_EFULLRESYNC && err->expected[0] &&
        (set(exception, "oldest_version", PyLong_FromString(err->expected, NULL, 10)) ||
         set(exception, "client_version", PyLong_FromString(err->actual, NULL, 10))))
        return -1;
    return 0;
}

/* The text of attribute `name`, "" where there is none. */
static void get_text(PyObject *exception, const char *name, char *out, size_t size)
{
    PyObject *value = PyObject_GetAttrString(exception, name), *as_text = NULL;
    const char *bytes = NULL;

    if (value != NULL && value != Py_None)
        as_text = PyObject_Str(value);
    if (as_text != NULL)
        bytes = PyUnicode_AsUTF8AndSize(as_text, NULL);
    PyOS_snprintf(out, size, "%s", bytes == NULL ? "" : bytes);
    Py_XDECREF(as_text);
    Py_XDECREF(value);
    PyErr_Clear();
}

int cspy_refusal(cspy_state *state, PyObject *exception, csync_error *err)
{
    PyObject *as_text;

    if (PyObject_IsInstance(exception, class_of(state, CSYNC_EFULLRESYNC)) == 1)
        err->code = CSYNC_EFULLRESYNC;
    else if (PyObject_IsInstance(exception, class_of(state, CSYNC_ECLOCK)) == 1)
        err->code = CSYNC_ECLOCK;
    else
        return 0;
    get_text(exception, err->code == CSYNC_ECLOCK ? "expected" : "oldest_version", err->expected,
             sizeof err->expected);
    get_text(exception, err->code == CSYNC_ECLOCK ? "actual" : "client_version", err->actual,
             sizeof err->actual);
    as_text = PyObject_Str(exception);
    PyErr_Clear();
    if (as_text != NULL && PyUnicode_AsUTF8AndSize(as_text, NULL) != NULL)
        PyOS_snprintf(err->message, sizeof err->message, "%s",
                      PyUnicode_AsUTF8AndSize(as_text, NULL));
    Py_XDECREF(as_text);
    PyErr_Clear();
    return err->code;
}

PyObject *cspy_raise(cspy_state *state, const csync_error *err)
{
    PyObject *class, *message, *exception;

    if (err->code == CSYNC_ENOMEM)
        return PyErr_NoMemory();
    class = class_of(state, err->code);
    message = text(err->message[0] ? err->message : csync_code_name(err->code));
    if (message == NULL)
        return NULL;
    exception = PyObject_CallFunctionObjArgs(class, message, NULL);
    Py_DECREF(message);
    if (exception == NULL)
        return NULL;
    if (describe(exception, err) == 0)
        PyErr_SetObject(class, exception);
    Py_DECREF(exception);
    return NULL;
}

PyObject *cspy_fail(cspy_state *state, int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    PyErr_FormatV(class_of(state, code), format, args);
    va_end(args);
    return NULL;
}
