/* execute.c - SQL from Python and rows to Python. */
#include "execute.h"

#include "error.h"

/* ---- Parameters --------------------------------------------------------------------------------- */

typedef struct params {
    size_t count;
    csync_value *values;
    PyObject *held; /* list of the bytes objects that values point into */
} params;

/* Keeps `bytes` (taken over) and points `value` into it. */
static int hold(params *p, csync_value *value, int type, PyObject *bytes)
{
    char *data;
    Py_ssize_t length;
    int rc = -1;

    if (bytes != NULL && PyBytes_AsStringAndSize(bytes, &data, &length) == 0 &&
        PyList_Append(p->held, bytes) == 0) {
        value->type = type;
        value->data = data;
        value->length = (size_t)length;
        rc = 0;
    }
    Py_XDECREF(bytes);
    return rc;
}

static int bind_integer(csync_value *value, PyObject *object, size_t number)
{
    value->type = CSYNC_INTEGER;
    value->integer = PyLong_AsLongLong(object);
    if (value->integer != -1 || !PyErr_Occurred())
        return 0;
    if (PyErr_ExceptionMatches(PyExc_OverflowError))
        PyErr_Format(PyExc_OverflowError, "parameter %zu: %S does not fit in 64 bits", number,
                     object);
    return -1;
}

static int bind(params *p, csync_value *value, PyObject *object, size_t number)
{
    if (object == Py_None)
        return 0; /* zeroed: CSYNC_NULL */
    if (PyLong_Check(object)) /* bool too */
        return bind_integer(value, object, number);
    if (PyFloat_Check(object)) {
        value->type = CSYNC_REAL;
        value->real = PyFloat_AsDouble(object);
        return 0;
    }
    if (PyUnicode_Check(object))
        return hold(p, value, CSYNC_TEXT,
                    PyUnicode_AsEncodedString(object, "utf-8", "surrogateescape"));
    if (PyObject_CheckBuffer(object))
        return hold(p, value, CSYNC_BLOB, PyBytes_FromObject(object));
    PyErr_Format(PyExc_TypeError,
                 "parameter %zu: expected None, bool, int, float, str or bytes, not %R", number,
                 object);
    return -1;
}

static int params_read(params *p, PyObject *sequence)
{
    PyObject *items;
    int rc = 0;

    if (PyUnicode_Check(sequence) || !PySequence_Check(sequence)) {
        PyErr_Format(PyExc_TypeError, "params must be a sequence such as a tuple, not %R", sequence);
        return -1;
    }
    items = PySequence_Tuple(sequence);
    if (items == NULL)
        return -1;
    p->count = (size_t)PyTuple_Size(items);
    p->held = PyList_New(0);
    p->values = PyMem_Calloc(p->count + 1, sizeof *p->values);
    if (p->values == NULL)
        PyErr_NoMemory();
    if (p->values == NULL || p->held == NULL)
        rc = -1;
    for (size_t i = 0; rc == 0 && i < p->count; i++)
        rc = bind(p, &p->values[i], PyTuple_GetItem(items, (Py_ssize_t)i), i + 1);
    Py_DECREF(items);
    return rc;
}

static void params_free(params *p)
{
    PyMem_Free(p->values);
    Py_XDECREF(p->held);
}

/* ---- Rows --------------------------------------------------------------------------------------- */

/* Rows wait here without the GIL and become Python objects in portions: taking the GIL for each row could
 * cost 5 ms a row beside a busy thread. */
enum { PORTION = 256 * 1024 };

typedef struct rows {
    cspy_call *call;
    PyObject *list;
    csync_value *values; /* data of a text or blob: its offset in bytes */
    size_t count, room;
    char *bytes;
    size_t used, size;
    int columns;
} rows;

static PyObject *value_object(const rows *r, const csync_value *value)
{
    const char *data = r->bytes + (size_t)value->data;

    switch (value->type) {
    case CSYNC_INTEGER:
        return PyLong_FromLongLong(value->integer);
    case CSYNC_REAL:
        return PyFloat_FromDouble(value->real);
    case CSYNC_TEXT:
        return PyUnicode_DecodeUTF8(value->length ? data : "", (Py_ssize_t)value->length,
                                    "surrogateescape");
    case CSYNC_BLOB:
        return PyBytes_FromStringAndSize(value->length ? data : "", (Py_ssize_t)value->length);
    }
    Py_RETURN_NONE;
}

static PyObject *row_object(const rows *r, size_t first)
{
    PyObject *row = PyTuple_New(r->columns);

    for (int i = 0; row != NULL && i < r->columns; i++) {
        PyObject *value = value_object(r, &r->values[first + (size_t)i]);
        if (value == NULL || PyTuple_SetItem(row, i, value))
            Py_CLEAR(row);
    }
    return row;
}

/* With the GIL: makes the waiting rows Python's. */
static void flush(rows *r)
{
    for (size_t i = 0; i < r->count && !PyErr_Occurred(); i += (size_t)r->columns) {
        PyObject *row = row_object(r, i);
        if (row != NULL)
            PyList_Append(r->list, row);
        Py_XDECREF(row);
    }
    r->count = r->used = 0;
}

/* PyMem_Realloc would need the GIL. */
static int grow(void **array, size_t *room, size_t used, size_t more, size_t item)
{
    size_t next = *room ? *room : 64;
    void *grown;

    if (used + more <= *room)
        return 0;
    while (next < used + more)
        next *= 2;
    grown = csync_malloc(next * item);
    if (grown == NULL)
        return -1;
    if (used)
        memcpy(grown, *array, used * item);
    csync_free(*array);
    *array = grown;
    *room = next;
    return 0;
}

static int keep(rows *r, const csync_value *from)
{
    size_t length = from->type == CSYNC_TEXT || from->type == CSYNC_BLOB ? from->length : 0;
    csync_value *to;

    if (grow((void **)&r->values, &r->room, r->count, 1, sizeof *r->values) ||
        grow((void **)&r->bytes, &r->size, r->used, length, 1))
        return -1;
    to = &r->values[r->count++];
    *to = *from;
    to->data = (const void *)r->used;
    if (length)
        memcpy(r->bytes + r->used, from->data, length);
    r->used += length;
    return 0;
}

static int on_row(void *user_data, int columns, const char *const *names, const csync_value *values)
{
    rows *r = user_data;
    int rc, complete = 1;

    (void)names;
    r->columns = columns;
    for (int i = 0; complete && i < columns; i++)
        complete = keep(r, &values[i]) == 0;
    if (complete && r->used + r->count * sizeof *r->values < PORTION)
        return CSYNC_OK;
    rc = cspy_call_enter(r->call);
    if (rc)
        return rc;
    if (!complete)
        PyErr_NoMemory();
    else if (PyErr_CheckSignals() == 0)
        flush(r);
    return cspy_call_leave(r->call);
}

PyObject *cspy_execute(cspy_call *call, csync *handle, const char *sql, PyObject *sequence)
{
    csync_error err = CSYNC_ERROR_INIT;
    params p = {0};
    rows r = {.call = call, .list = PyList_New(0)};
    int rc;

    if (r.list != NULL && params_read(&p, sequence) == 0) {
        cspy_call_begin(call);
        rc = csync_execute(handle, sql, p.values, p.count, on_row, &r, NULL, &err);
        cspy_call_end(call);
        if (cspy_call_finish(call, rc, &err) == 0)
            flush(&r);
    }
    params_free(&p);
    csync_free(r.values);
    csync_free(r.bytes);
    if (PyErr_Occurred())
        Py_CLEAR(r.list);
    return r.list;
}
