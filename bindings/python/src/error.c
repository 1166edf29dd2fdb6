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
    if (err->code == CSYNC_EHASH && (set(exception, "expected", text(err->expected)) ||
                                     set(exception, "actual", text(err->actual))))
        return -1;
    return 0;
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
