/* convert.c - Python objects <-> the core's structs. */
#include "convert.h"

#include "error.h"

static const char *const operations[] = {"insert", "update", "delete"};

PyObject *cspy_text(const char *text)
{
    if (text == NULL)
        Py_RETURN_NONE;
    return PyUnicode_FromString(text);
}

PyObject *cspy_take_text(char *text)
{
    PyObject *result = cspy_text(text);

    csync_free(text);
    return result;
}

static PyObject *seq_or_none(int64_t seq)
{
    if (seq == 0)
        Py_RETURN_NONE;
    return PyLong_FromLongLong(seq);
}

PyObject *cspy_change_new(cspy_state *state, const csync_change *change)
{
    if (change == NULL)
        Py_RETURN_NONE;
    return PyObject_CallFunction(state->change, "LssszssN", (long long)change->version, change->table,
                                 change->pk, operations[change->operation - 1], change->payload,
                                 change->origin, change->timestamp, seq_or_none(change->seq));
}

static int read_integer(PyObject *object, const char *name, int64_t *out)
{
    PyObject *value = PyObject_GetAttrString(object, name);

    if (value == NULL)
        return -1;
    *out = value == Py_None ? 0 : PyLong_AsLongLong(value);
    Py_DECREF(value);
    return PyErr_Occurred() ? -1 : 0;
}

/* Borrows the UTF-8 of attribute `name`; *held keeps it alive. None becomes NULL. */
static int read_text(cspy_state *state, PyObject *object, const char *name, PyObject **held,
                     const char **out)
{
    Py_ssize_t length = 0;

    *held = PyObject_GetAttrString(object, name);
    if (*held == NULL)
        return -1;
    if (*held == Py_None)
        return 0;
    *out = PyUnicode_AsUTF8AndSize(*held, &length);
    if (*out == NULL)
        return -1;
    if (strlen(*out) != (size_t)length) {
        cspy_fail(state, CSYNC_EINVAL, "%s of a change holds a NUL character", name);
        return -1;
    }
    return 0;
}

static int operation_code(const char *text)
{
    for (int i = 0; text != NULL && i < 3; i++)
        if (strcmp(text, operations[i]) == 0)
            return i + 1;
    return 0;
}

int cspy_change_read(cspy_state *state, PyObject *object, cspy_change *out)
{
    const char *operation = NULL;
    csync_change *pub = &out->pub;

    memset(out, 0, sizeof *out);
    pub->struct_size = sizeof *pub;
    switch (PyObject_IsInstance(object, state->change)) {
    case 0:
        PyErr_Format(PyExc_TypeError, "expected a csync.Change, not %R", object);
        return -1;
    case -1:
        return -1;
    }
    if (read_integer(object, "version", &pub->version) || read_integer(object, "seq", &pub->seq) ||
        read_text(state, object, "operation", &out->held[0], &operation) ||
        read_text(state, object, "table_name", &out->held[1], &pub->table) ||
        read_text(state, object, "pk_json", &out->held[2], &pub->pk) ||
        read_text(state, object, "payload_json", &out->held[3], &pub->payload) ||
        read_text(state, object, "origin", &out->held[4], &pub->origin) ||
        read_text(state, object, "timestamp", &out->held[5], &pub->timestamp))
        return -1;
    pub->operation = operation_code(operation);
    return 0;
}

void cspy_change_release(cspy_change *change)
{
    for (int i = 0; i < 6; i++)
        Py_CLEAR(change->held[i]);
}

PyObject *cspy_position_new(cspy_state *state, const csync_fetch *fetch)
{
    return PyObject_CallFunction(state->position, "Lzzz", (long long)fetch->since, fetch->epoch,
                                 fetch->origin, fetch->cursor);
}

PyObject *cspy_result_new(const csync_result *r)
{
    return Py_BuildValue("(LLLLLLLLLLLL)", (long long)r->pulled, (long long)r->pushed,
                         (long long)r->duplicates, (long long)r->lost, (long long)r->conflicts,
                         (long long)r->parked, (long long)r->rejected, (long long)r->batches,
                         (long long)r->bytes, (long long)r->repaired, (long long)r->ahead_ms,
                         (long long)r->resyncs);
}
