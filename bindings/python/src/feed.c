/* feed.c - the C half of csync.Subscription. */
#include "batch.h"
#include "convert.h"
#include "error.h"
#include "replica.h"

typedef struct feed {
    PyObject_HEAD PyObject *replica;
    cspy_state *state;
    csync_subscription *handle; /* NULL: not made, or closed */
    int uses; /* calls of other threads that run; under the GIL */
    int closing; /* the last of them closes */
} feed;

/* With the GIL, no uses left. Keeps a pending exception. */
static void close_now(feed *self)
{
    csync_subscription *handle = self->handle;

    self->handle = NULL;
    if (handle == NULL)
        return;
    Py_BEGIN_ALLOW_THREADS csync_subscription_close(handle);
    Py_END_ALLOW_THREADS
}

static PyObject *closed_error(feed *self)
{
    return cspy_fail(self->state, CSYNC_EMISUSE, "the subscription is closed");
}

static int is_open(feed *self)
{
    return self->handle != NULL && !self->closing;
}

static int subscribe(feed *self, const csync_subscribe_options *options)
{
    csync_error err = CSYNC_ERROR_INIT;
    cspy_call call;
    cspy_use use;
    csync *handle = cspy_enter(self->replica, &use);
    int rc;

    if (handle == NULL)
        return -1;
    cspy_call_init(&call, self->state);
    cspy_call_begin(&call);
    rc = csync_subscribe(&self->handle, handle, options, &err);
    cspy_call_end(&call);
    rc = cspy_call_finish(&call, rc, &err);
    cspy_leave(self->replica, &use);
    return rc;
}

static PyObject *feed_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    csync_subscribe_options options = {.struct_size = sizeof options};
    cspy_state *state = cspy_state_of(type);
    PyObject *replica;
    long long since;
    feed *self;

    (void)kwargs;
    if (state == NULL ||
        !PyArg_ParseTuple(args, "O!zzpLz:Subscription", state->replica_type, &replica,
                          &options.table, &options.pk, &options.resume, &since, &options.id))
        return NULL;
    options.since = since;
    self = (feed *)PyType_GenericAlloc(type, 0);
    if (self == NULL)
        return NULL;
    self->state = state;
    self->replica = Py_NewRef(replica);
    if (subscribe(self, &options))
        Py_CLEAR(self);
    return (PyObject *)self;
}

/* Waits without the GIL; a signal ends the wait, so that Ctrl-C works. */
static PyObject *feed_next(PyObject *object, PyObject *args)
{
    feed *self = (feed *)object;
    csync_error err = CSYNC_ERROR_INIT;
    csync_batch *batch = NULL;
    cspy_call call;
    cspy_use use;
    int timeout_ms, rc;

    if (!PyArg_ParseTuple(args, "i:_next", &timeout_ms))
        return NULL;
    if (!is_open(self))
        return closed_error(self);
    if (cspy_enter(self->replica, &use) == NULL)
        return NULL;
    self->uses++;
    cspy_call_init(&call, self->state);
    cspy_call_begin(&call);
    rc = csync_subscription_next(self->handle, timeout_ms, &batch, &err);
    cspy_call_end(&call);
    rc = cspy_call_finish(&call, rc, &err);
    if (--self->uses == 0 && self->closing)
        close_now(self);
    cspy_leave(self->replica, &use);
    if (rc)
        return NULL;
    if (batch != NULL)
        return cspy_batch_take(self->state, batch);
    if (self->closing)
        return closed_error(self);
    return PyErr_CheckSignals() ? NULL : Py_NewRef(Py_None);
}

static PyObject *feed_close(PyObject *object, PyObject *unused)
{
    feed *self = (feed *)object;

    (void)unused;
    self->closing = 1;
    if (self->uses > 0)
        csync_subscription_wake(self->handle);
    else
        close_now(self);
    Py_RETURN_NONE;
}

static PyObject *feed_fileno(PyObject *object, PyObject *unused)
{
    feed *self = (feed *)object;

    (void)unused;
    return is_open(self) ? PyLong_FromLong(csync_subscription_fd(self->handle)) : closed_error(self);
}

static PyObject *get_closed(PyObject *object, void *unused)
{
    (void)unused;
    return PyBool_FromLong(!is_open((feed *)object));
}

static PyObject *get_id(PyObject *object, void *unused)
{
    feed *self = (feed *)object;

    (void)unused;
    return is_open(self) ? cspy_text(csync_subscription_id(self->handle)) : closed_error(self);
}

static PyObject *get_version(PyObject *object, void *unused)
{
    feed *self = (feed *)object;

    (void)unused;
    return is_open(self) ? PyLong_FromLongLong(csync_subscription_version(self->handle))
                         : closed_error(self);
}

static void feed_finalize(PyObject *object)
{
    feed *self = (feed *)object;
    PyObject *type, *value, *traceback;

    if (self->handle == NULL)
        return;
    PyErr_Fetch(&type, &value, &traceback);
    if (PyErr_ResourceWarning(object, 1, "unclosed subscription %R", object))
        PyErr_WriteUnraisable(object);
    close_now(self);
    PyErr_Restore(type, value, traceback);
}

static int feed_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((feed *)object)->replica);
    return 0;
}

static int feed_clear(PyObject *object)
{
    close_now((feed *)object);
    Py_CLEAR(((feed *)object)->replica);
    return 0;
}

/* A class made in Python has called feed_finalize before it calls this. */
static void feed_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    feed_clear(object);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"close", feed_close, METH_NOARGS, "close($self, /)\n--\n\nEnds it; twice is fine."},
    {"fileno", feed_fileno, METH_NOARGS,
     "fileno($self, /)\n--\n\n"
     "A descriptor that is readable when there may be changes, until next(0) has returned None."},
    {"_next", feed_next, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getset[] = {
    {"closed", get_closed, NULL, "True after close().", NULL},
    {"id", get_id, NULL, "The id under which it is in _sync_subscriptions.", NULL},
    {"version", get_version, NULL, "The version up to which changes were given out.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, feed_new},         {Py_tp_finalize, feed_finalize},
    {Py_tp_dealloc, feed_dealloc}, {Py_tp_traverse, feed_traverse},
    {Py_tp_clear, feed_clear},     {Py_tp_methods, methods},
    {Py_tp_getset, getset},        {0, NULL},
};

static PyType_Spec spec = {
    .name = "csync._csync.Subscription",
    .basicsize = sizeof(feed),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int cspy_add_subscription(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    int rc = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);

    Py_XDECREF(type);
    return rc;
}
