/* session.c - the C half of csync.Session: a sync that the caller drives step by step. */
#include "batch.h"
#include "convert.h"
#include "error.h"
#include "outcomes.h"
#include "replica.h"

typedef struct session {
    PyObject_HEAD PyObject *replica,
        *options; /* kept: the core holds pointers into call, call borrows from options */
    csync_session *session;
    cspy_call call;
    int busy;
} session;

typedef struct use {
    session *self;
    cspy_use replica;
    csync_error err;
} use;

/* Enters the replica and releases the GIL. 0, or -1 with an exception. */
static int begin(use *u, PyObject *object)
{
    session *self = (session *)object;

    u->self = self;
    u->err = (csync_error)CSYNC_ERROR_INIT;
    if (self->busy) {
        cspy_fail(self->call.state, CSYNC_EBUSY,
                  "the session is in use by another thread or a callback");
        return -1;
    }
    if (cspy_enter(self->replica, &u->replica) == NULL)
        return -1;
    self->busy = 1;
    cspy_call_begin(&self->call);
    return 0;
}

/* 0, or -1 with an exception. */
static int end(use *u, int rc)
{
    cspy_call_end(&u->self->call);
    rc = cspy_call_finish(&u->self->call, rc, &u->err);
    u->self->busy = 0;
    cspy_leave(u->self->replica, &u->replica);
    return rc;
}

static int open_session(session *self, const char *peer)
{
    csync_error err = CSYNC_ERROR_INIT;
    csync_sync_options options;
    cspy_use use;
    csync *handle;
    int rc;

    if (cspy_options_read(&self->call, self->options, &options) ||
        (handle = cspy_enter(self->replica, &use)) == NULL)
        return -1;
    cspy_call_begin(&self->call);
    rc = csync_session_new(&self->session, handle, peer, &options, &err);
    cspy_call_end(&self->call);
    rc = cspy_call_finish(&self->call, rc, &err);
    cspy_leave(self->replica, &use);
    return rc;
}

static PyObject *session_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    cspy_state *state = cspy_state_of(type);
    PyObject *replica, *options;
    const char *peer;
    session *self;

    (void)kwargs;
    if (state == NULL || !PyArg_ParseTuple(args, "O!sO!:Session", state->replica_type, &replica,
                                           &peer, &PyTuple_Type, &options))
        return NULL;
    self = (session *)PyType_GenericAlloc(type, 0);
    if (self == NULL)
        return NULL;
    cspy_call_init(&self->call, state);
    self->replica = Py_NewRef(replica);
    self->options = Py_NewRef(options);
    if (open_session(self, peer))
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyObject *step_object(cspy_state *state, const csync_step *step)
{
    switch (step->kind) {
    case CSYNC_STEP_FETCH:
    case CSYNC_STEP_SNAPSHOT:
        return PyObject_CallFunction(state->step, "sNiL", "fetch",
                                     cspy_position_new(state, &step->fetch), step->fetch.limit,
                                     (long long)step->fetch.max_bytes);
    case CSYNC_STEP_SEND:
        return PyObject_CallFunction(state->step, "siiiN", "send", 0, 0, 0,
                                     cspy_batch_copy(state, step->batch));
    }
    return PyObject_CallFunction(state->step, "s", "done");
}

static PyObject *session_next(PyObject *object, PyObject *unused)
{
    session *self = (session *)object;
    csync_step step = {.struct_size = sizeof step};
    use u;

    (void)unused;
    if (begin(&u, object) || end(&u, csync_session_next(self->session, &step, &u.err)))
        return NULL;
    return step_object(self->call.state, &step);
}

static PyObject *session_page(PyObject *object, PyObject *changes)
{
    session *self = (session *)object;
    csync_batch *owned;
    const csync_batch *page = cspy_batch_read(self->call.state, changes, &owned);
    int rc = -1;
    use u;

    if (page != NULL && begin(&u, object) == 0)
        rc = end(&u, csync_session_page(self->session, page, &u.err));
    csync_batch_free(owned);
    return rc ? NULL : Py_NewRef(Py_None);
}

static PyObject *session_outcome(PyObject *object, PyObject *args)
{
    session *self = (session *)object;
    csync_outcome *outcome = NULL;
    PyObject *answer = Py_None;
    int rc = -1;
    use u;

    if (!PyArg_ParseTuple(args, "|O:outcome", &answer))
        return NULL;
    if (cspy_outcomes_give(self->call.state, answer, &outcome) == 0 && begin(&u, object) == 0)
        rc = end(&u, csync_session_outcome(self->session, outcome, &u.err));
    csync_outcome_free(outcome);
    return rc ? NULL : Py_NewRef(Py_None);
}

static PyObject *session_refused(PyObject *object, PyObject *exception)
{
    session *self = (session *)object;
    csync_error why = CSYNC_ERROR_INIT;
    int rc;
    use u;

    if (!cspy_refusal(self->call.state, exception, &why)) {
        if (PyExceptionInstance_Check(exception))
            PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        else
            PyErr_Format(PyExc_TypeError, "refused() takes an exception, not %R", exception);
        return NULL;
    }
    self->call.refusal = Py_NewRef(exception); /* the very object, if it stays at that */
    self->call.refusal_code = why.code;
    if (begin(&u, object)) {
        Py_CLEAR(self->call.refusal);
        return NULL;
    }
    rc = csync_session_refused(self->session, &why, &u.err);
    return end(&u, rc) ? NULL : Py_NewRef(Py_None);
}

static PyObject *session_result(PyObject *object, PyObject *unused)
{
    csync_result result = {.struct_size = sizeof result};

    (void)unused;
    csync_session_result(((session *)object)->session, &result);
    return cspy_result_new(&result);
}

static int session_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((session *)object)->replica);
    Py_VISIT(((session *)object)->options);
    return 0;
}

static int session_clear(PyObject *object)
{
    session *self = (session *)object;

    csync_session_free(self->session);
    self->session = NULL;
    Py_CLEAR(self->replica);
    Py_CLEAR(self->options);
    return 0;
}

static void session_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    session_clear(object);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"next", session_next, METH_NOARGS, "next($self, /)\n--\n\nA Step: what the session needs now."},
    {"page", session_page, METH_O,
     "page($self, changes, /)\n--\n\nAnswers a \"fetch\" step with a Batch or a list of Change."},
    {"outcome", session_outcome, METH_VARARGS,
     "outcome($self, answer=None, /)\n--\n\n"
     "Answers a \"send\" step with what the peer's apply() returned; None: all taken."},
    {"refused", session_refused, METH_O,
     "refused($self, exception, /)\n--\n\n"
     "The peer failed at the step. Returns when the session knows a way on (FullResyncRequired,\n"
     "ClockSkewError), else raises the exception."},
    {"_result", session_result, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, session_new},           {Py_tp_dealloc, session_dealloc},
    {Py_tp_traverse, session_traverse}, {Py_tp_clear, session_clear},
    {Py_tp_methods, methods},           {0, NULL},
};

static PyType_Spec spec = {
    .name = "csync._csync.Session",
    .basicsize = sizeof(session),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int cspy_add_session(PyObject *module, cspy_state *state)
{
    state->session_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return state->session_type == NULL ? -1 : PyModule_AddType(module, state->session_type);
}
