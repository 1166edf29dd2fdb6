/* batch.c - csync.Batch: changes in order, and where they stand in a log. Cannot be altered. */
#include "batch.h"

#include "convert.h"
#include "error.h"

typedef struct batch {
    PyObject_HEAD csync_batch *batch;
} batch;

static PyObject *wrap(PyTypeObject *type, csync_batch *owned)
{
    batch *self = (batch *)PyType_GenericAlloc(type, 0);

    if (self == NULL)
        csync_batch_free(owned);
    else
        self->batch = owned;
    return (PyObject *)self;
}

PyObject *cspy_batch_take(cspy_state *state, csync_batch *owned)
{
    return wrap(state->batch_type, owned);
}

/* A batch that was never given a position must stay without one. */
static int has_position(const csync_batch_info *info)
{
    return info->origin || info->epoch || info->from_version || info->to_version ||
           info->has_more || info->hash[0];
}

static csync_batch *copy(cspy_state *state, const csync_batch *from)
{
    csync_error err = CSYNC_ERROR_INIT;
    csync_batch_info info = {.struct_size = sizeof info};
    csync_batch *to = NULL;
    int rc = csync_batch_new(&to, &err);

    for (size_t i = 0; rc == 0 && i < csync_batch_count(from); i++)
        rc = csync_batch_add(to, csync_batch_at(from, i), &err);
    if (rc == 0 && csync_batch_get_info(from, &info) == 0 && has_position(&info))
        rc = csync_batch_set_info(to, &info, &err);
    if (rc == 0)
        return to;
    csync_batch_free(to);
    cspy_raise(state, &err);
    return NULL;
}

PyObject *cspy_batch_copy(cspy_state *state, const csync_batch *from)
{
    csync_batch *to = copy(state, from);

    return to == NULL ? NULL : cspy_batch_take(state, to);
}

/* Appends every Change of `iterator`. 0, or -1 with an exception. */
static int fill(cspy_state *state, csync_batch *to, PyObject *iterator)
{
    csync_error err = CSYNC_ERROR_INIT;
    cspy_change change;
    PyObject *item;

    while ((item = PyIter_Next(iterator)) != NULL) {
        if (cspy_change_read(state, item, &change) == 0 && csync_batch_add(to, &change.pub, &err))
            cspy_raise(state, &err);
        cspy_change_release(&change);
        Py_DECREF(item);
        if (PyErr_Occurred())
            break;
    }
    return PyErr_Occurred() ? -1 : 0;
}

static csync_batch *from_iterable(cspy_state *state, PyObject *changes)
{
    csync_error err = CSYNC_ERROR_INIT;
    csync_batch *made = NULL;
    PyObject *iterator = PyObject_GetIter(changes);

    if (iterator == NULL) {
        if (PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_Format(PyExc_TypeError,
                         "expected a csync.Batch or a list of csync.Change, not %R", changes);
        return NULL;
    }
    if (csync_batch_new(&made, &err))
        cspy_raise(state, &err);
    else if (fill(state, made, iterator)) {
        csync_batch_free(made);
        made = NULL;
    }
    Py_DECREF(iterator);
    return made;
}

const csync_batch *cspy_batch_read(cspy_state *state, PyObject *object, csync_batch **owned)
{
    *owned = NULL;
    if (Py_IS_TYPE(object, state->batch_type))
        return ((batch *)object)->batch;
    *owned = from_iterable(state, object);
    return *owned;
}

int cspy_batch_give(cspy_state *state, PyObject *object, csync_batch **out)
{
    batch *self = (batch *)object;

    if (!Py_IS_TYPE(object, state->batch_type)) {
        *out = from_iterable(state, object);
    } else if (Py_REFCNT(object) == 1) { /* nobody else can see it: no need to copy */
        *out = self->batch;
        self->batch = NULL;
    } else {
        *out = copy(state, self->batch);
    }
    return *out == NULL ? -1 : 0;
}

/* ---- The type ----------------------------------------------------------------------------------- */

static csync_batch_info info_of(PyObject *self)
{
    csync_batch_info info = {.struct_size = sizeof info};

    csync_batch_get_info(((batch *)self)->batch, &info);
    return info;
}

static PyObject *batch_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"changes", "origin", "from_version", "to_version", "has_more",
                            "hash",    NULL};
    cspy_state *state = cspy_state_of(type);
    csync_error err = CSYNC_ERROR_INIT;
    csync_batch_info info = {.struct_size = sizeof info};
    long long from = 0, to = 0;
    const char *hash = "";
    PyObject *changes = NULL;
    csync_batch *made;

    if (state == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "|O$zLLps:Batch", names, &changes, &info.origin,
                                     &from, &to, &info.has_more, &hash))
        return NULL;
    if (strlen(hash) >= sizeof info.hash)
        return cspy_fail(state, CSYNC_EINVAL, "a hash has 64 hex digits, not %zu", strlen(hash));
    info.from_version = from;
    info.to_version = to;
    memcpy(info.hash, hash, strlen(hash) + 1);
    if (changes == NULL)
        changes = PyTuple_New(0);
    else
        Py_INCREF(changes);
    made = changes == NULL ? NULL : from_iterable(state, changes);
    Py_XDECREF(changes);
    if (made == NULL)
        return NULL;
    if (kwargs != NULL && PyDict_Size(kwargs) > (PyDict_GetItemString(kwargs, "changes") != NULL) &&
        csync_batch_set_info(made, &info, &err)) {
        csync_batch_free(made);
        return cspy_raise(state, &err);
    }
    return wrap(type, made);
}

static PyObject *batch_from_json(PyObject *type, PyObject *args)
{
    cspy_state *state = cspy_state_of((PyTypeObject *)type);
    csync_error err = CSYNC_ERROR_INIT;
    csync_batch *made = NULL;
    const char *json;
    Py_ssize_t length;

    if (state == NULL || !PyArg_ParseTuple(args, "s#:from_json", &json, &length))
        return NULL;
    if (csync_batch_from_json(&made, json, (size_t)length, &err))
        return cspy_raise(state, &err);
    return wrap((PyTypeObject *)type, made);
}

static PyObject *batch_to_json(PyObject *self, PyObject *unused)
{
    csync_error err = CSYNC_ERROR_INIT;
    char *json = NULL;

    (void)unused;
    if (csync_batch_to_json(((batch *)self)->batch, &json, NULL, &err))
        return cspy_raise(cspy_state_of(Py_TYPE(self)), &err);
    return cspy_take_text(json);
}

static void batch_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    csync_batch_free(((batch *)self)->batch);
    PyObject_Free(self);
    Py_DECREF(type);
}

static Py_ssize_t batch_length(PyObject *self)
{
    return (Py_ssize_t)csync_batch_count(((batch *)self)->batch);
}

static PyObject *batch_item(PyObject *self, Py_ssize_t i)
{
    cspy_state *state = cspy_state_of(Py_TYPE(self));

    if (i < 0 || i >= batch_length(self)) {
        PyErr_SetString(PyExc_IndexError, "batch index out of range");
        return NULL;
    }
    return cspy_change_new(state, csync_batch_at(((batch *)self)->batch, (size_t)i));
}

static PyObject *batch_repr(PyObject *self)
{
    csync_batch_info info = info_of(self);
    Py_ssize_t n = batch_length(self);

    return PyUnicode_FromFormat("<csync.Batch of %zd change%s, versions %lld to %lld%s>", n,
                                n == 1 ? "" : "s", (long long)info.from_version,
                                (long long)info.to_version, info.has_more ? ", more follow" : "");
}

static PyObject *get_origin(PyObject *self, void *unused)
{
    (void)unused;
    return cspy_text(info_of(self).origin);
}

static PyObject *get_from_version(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromLongLong(info_of(self).from_version);
}

static PyObject *get_to_version(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromLongLong(info_of(self).to_version);
}

static PyObject *get_epoch(PyObject *self, void *unused)
{
    (void)unused;
    return cspy_text(info_of(self).epoch);
}

static PyObject *get_cursor(PyObject *self, void *unused)
{
    (void)unused;
    return cspy_text(info_of(self).cursor);
}

static PyObject *get_has_more(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(info_of(self).has_more);
}

static PyObject *get_hash(PyObject *self, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(info_of(self).hash);
}

static PyMethodDef methods[] = {
    {"to_json", batch_to_json, METH_NOARGS,
     "to_json($self, /)\n--\n\nThe wire form, a JSON text that Batch.from_json reads."},
    {"from_json", batch_from_json, METH_VARARGS | METH_CLASS,
     "from_json($type, text, /)\n--\n\nReads the wire form from str or bytes. InvalidValue names the byte or the "
     "change at fault."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getset[] = {
    {"origin", get_origin, NULL, "The replica whose log it was read from, or None.", NULL},
    {"from_version", get_from_version, NULL, "It holds the changes after this version ...", NULL},
    {"to_version", get_to_version, NULL, "... up to and with this one.", NULL},
    {"epoch", get_epoch, NULL,
     "Goes with to_version: both are the position to go on from. Or None.", NULL},
    {"cursor", get_cursor, NULL,
     "Of a snapshot's page: where the next one goes on, \"\": nowhere; else None.", NULL},
    {"has_more", get_has_more, NULL, "True when the log goes on after to_version.", NULL},
    {"hash", get_hash, NULL, "SHA-256 of the changes in hex, or \"\": not given. apply checks it.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static const char doc[] =
    "Batch(changes=(), *, origin=None, from_version=0, to_version=0, has_more=False, hash=\"\")\n--\n\n"
    "Changes in order, and where they stand in a replica's log: what changes() returns and apply() takes.\n\n"
    "A sequence of Change. Cannot be altered, depends on no replica, and may be used from any thread. Without\n"
    "the keywords it has no position: apply() then takes each change for itself.";

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)doc},       {Py_tp_new, batch_new},
    {Py_tp_dealloc, batch_dealloc}, {Py_tp_repr, batch_repr},
    {Py_tp_iter, PySeqIter_New},    {Py_tp_methods, methods},
    {Py_tp_getset, getset},         {Py_sq_length, batch_length},
    {Py_sq_item, batch_item},       {0, NULL},
};

static PyType_Spec spec = {
    .name = "csync.Batch",
    .basicsize = sizeof(batch),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int cspy_add_batch(PyObject *module, cspy_state *state)
{
    state->batch_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return state->batch_type == NULL ? -1 : PyModule_AddType(module, state->batch_type);
}
