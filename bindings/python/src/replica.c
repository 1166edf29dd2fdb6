/* replica.c - the C half of csync.Replica: a handle, who uses it, and one method per call of the core.
 * csync._replica derives from it and adds what is nicer to say in Python. */
#include "replica.h"

#include <time.h>

#include "batch.h"
#include "convert.h"
#include "error.h"
#include "execute.h"
#include "outcomes.h"

struct cspy_replica {
    PyObject_HEAD cspy_state *state;
    csync *handle; /* NULL: not opened, or closed */
    int closing; /* no new uses; the last user closes */
    cspy_use *uses;
    cspy_attach attach; /* of a wrapped connection */
    PyObject *probe; /* of a wrapped connection: raises when this thread must not use it; keeps it alive */
};

/* ---- Uses and close ----------------------------------------------------------------------------- */

/* With the GIL, no uses left. Keeps a pending exception. */
static void close_now(cspy_replica *self)
{
    PyObject *type, *value, *traceback;
    csync *handle = self->handle;

    self->handle = NULL;
    if (handle == NULL)
        return;
    PyErr_Fetch(&type, &value, &traceback);
    Py_BEGIN_ALLOW_THREADS csync_close(handle);
    cspy_attach_release(&self->attach);
    Py_END_ALLOW_THREADS Py_CLEAR(self->probe);
    PyErr_Restore(type, value, traceback);
}

csync *cspy_enter(PyObject *object, cspy_use *use)
{
    cspy_replica *self = (cspy_replica *)object;

    if (self->handle != NULL && self->probe != NULL) {
        PyObject *cursor = PyObject_CallNoArgs(self->probe);
        if (cursor == NULL)
            return NULL;
        Py_DECREF(cursor);
    }
    if (self->handle == NULL || self->closing) {
        cspy_fail(self->state, CSYNC_EMISUSE, "the replica is closed");
        return NULL;
    }
    use->thread = PyThread_get_thread_ident();
    use->next = self->uses;
    self->uses = use;
    return self->handle;
}

void cspy_leave(PyObject *object, cspy_use *use)
{
    cspy_replica *self = (cspy_replica *)object;
    cspy_use **link = &self->uses;

    while (*link != use)
        link = &(*link)->next;
    *link = use->next;
    if (self->uses == NULL && self->closing)
        close_now(self);
}

static int used_by_this_thread(const cspy_replica *self)
{
    for (const cspy_use *use = self->uses; use != NULL; use = use->next)
        if (use->thread == PyThread_get_thread_ident())
            return 1;
    return 0;
}

/* Stops what other threads do with the replica and waits for them. 0, or -1 with KeyboardInterrupt. */
static int wait_for_others(cspy_replica *self)
{
    struct timespec pause = {.tv_nsec = 2 * 1000 * 1000};

    while (self->uses != NULL) {
        csync_cancel(self->handle); /* each time: a call that waited may have begun */
        Py_BEGIN_ALLOW_THREADS nanosleep(&pause, NULL);
        Py_END_ALLOW_THREADS if (PyErr_CheckSignals()) return -1;
    }
    return 0;
}

static PyObject *replica_close(PyObject *object, PyObject *unused)
{
    cspy_replica *self = (cspy_replica *)object;

    (void)unused;
    if (self->handle == NULL)
        Py_RETURN_NONE;
    self->closing = 1;
    if (used_by_this_thread(self)) /* inside a callback: cspy_leave will do it */
        Py_RETURN_NONE;
    if (wait_for_others(self))
        return NULL;
    close_now(self);
    Py_RETURN_NONE;
}

static PyObject *get_closed(PyObject *object, void *unused)
{
    cspy_replica *self = (cspy_replica *)object;

    (void)unused;
    return PyBool_FromLong(self->handle == NULL || self->closing);
}

/* csync_cancel never waits, so the GIL is kept; that also keeps the handle alive. */
static PyObject *replica_cancel(PyObject *object, PyObject *unused)
{
    cspy_replica *self = (cspy_replica *)object;

    (void)unused;
    if (self->handle != NULL)
        csync_cancel(self->handle);
    Py_RETURN_NONE;
}

/* ---- Open --------------------------------------------------------------------------------------- */

static csync_open_options open_options(const char *origin, int timeout_ms, int foreign_keys)
{
    return (csync_open_options){
        .struct_size = sizeof(csync_open_options),
        .origin = origin,
        .busy_timeout_ms = timeout_ms > 0 ? timeout_ms : -1,
        .foreign_keys = foreign_keys ? 0 : -1,
    };
}

static int must_be_new(cspy_replica *self)
{
    if (self->handle == NULL && !self->closing)
        return 0;
    cspy_fail(self->state, CSYNC_EMISUSE,
              "this replica was opened before; call csync.open for another");
    return -1;
}

static PyObject *replica_open(PyObject *object, PyObject *args)
{
    cspy_replica *self = (cspy_replica *)object;
    csync_error err = CSYNC_ERROR_INIT;
    csync_open_options options;
    PyObject *path;
    const char *origin;
    csync *handle = NULL;
    int timeout_ms, foreign_keys, rc;
    cspy_call call;

    if (!PyArg_ParseTuple(args, "O&zip", PyUnicode_FSConverter, &path, &origin, &timeout_ms,
                          &foreign_keys))
        return NULL;
    options = open_options(origin, timeout_ms, foreign_keys);
    if (must_be_new(self) == 0) {
        cspy_call_init(&call, self->state);
        cspy_call_begin(&call);
        rc = csync_open(&handle, PyBytes_AsString(path), &options, &err);
        cspy_call_end(&call);
        if (cspy_call_finish(&call, rc, &err) == 0)
            self->handle = handle;
    }
    Py_DECREF(path);
    return self->handle == NULL || PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

/* Lets `load(token)` run SQL on the connection that makes SQLite call sqlite_ext.c. */
static int attach(cspy_replica *self, PyObject *load, const char *token)
{
    PyObject *answer;
    int rc;

    cspy_attach_begin(&self->attach, token);
    answer = PyObject_CallFunction(load, "s", token);
    if (answer == NULL) { /* end it all the same, but keep the exception that says why */
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        cspy_attach_end(&self->attach);
        PyErr_Restore(type, value, traceback);
        return -1;
    }
    rc = cspy_attach_end(&self->attach);
    Py_DECREF(answer);
    return rc;
}

static PyObject *replica_open_connection(PyObject *object, PyObject *args)
{
    cspy_replica *self = (cspy_replica *)object;
    csync_error err = CSYNC_ERROR_INIT;
    csync_open_options options;
    PyObject *probe, *load;
    const char *token, *origin;
    csync *handle = NULL;
    int timeout_ms, rc;
    cspy_call call;

    if (!PyArg_ParseTuple(args, "OOszi", &probe, &load, &token, &origin, &timeout_ms) ||
        must_be_new(self))
        return NULL;
    options = open_options(origin, timeout_ms, 1);
    if (attach(self, load, token)) {
        cspy_attach_release(&self->attach);
        return NULL;
    }
    cspy_call_init(&call, self->state);
    cspy_call_begin(&call);
    rc = csync_open_sqlite(&handle, self->attach.db, self->attach.api, &options, &err);
    cspy_call_end(&call);
    if (cspy_call_finish(&call, rc, &err)) {
        cspy_attach_release(&self->attach);
        return NULL;
    }
    self->handle = handle;
    self->probe = Py_NewRef(probe);
    Py_RETURN_NONE;
}

/* ---- Plain calls: no callbacks ------------------------------------------------------------------ */

/* What a call needs and leaves, so that the methods below stay short. */
typedef struct plain {
    PyObject *self;
    cspy_use use;
    cspy_call call;
    csync_error err;
    csync *handle;
} plain;

/* Enters the replica and releases the GIL. 0, or -1 with an exception. */
static int begin(plain *p, PyObject *self)
{
    cspy_state *state = ((cspy_replica *)self)->state;

    p->self = self;
    p->err = (csync_error)CSYNC_ERROR_INIT;
    p->handle = cspy_enter(self, &p->use);
    if (p->handle == NULL)
        return -1;
    cspy_call_init(&p->call, state);
    cspy_call_begin(&p->call);
    return 0;
}

/* 0, or -1 with an exception. */
static int end(plain *p, int rc)
{
    cspy_call_end(&p->call);
    rc = cspy_call_finish(&p->call, rc, &p->err);
    cspy_leave(p->self, &p->use);
    return rc;
}

static PyObject *replica_track(PyObject *self, PyObject *args)
{
    csync_track_options options = {.struct_size = sizeof options};
    const char *table;
    plain p;

    if (!PyArg_ParseTuple(args, "si", &table, &options.capture) || begin(&p, self))
        return NULL;
    return end(&p, csync_track(p.handle, table, &options, &p.err)) ? NULL : Py_NewRef(Py_None);
}

static PyObject *replica_untrack(PyObject *self, PyObject *args)
{
    const char *table;
    plain p;

    if (!PyArg_ParseTuple(args, "s", &table) || begin(&p, self))
        return NULL;
    return end(&p, csync_untrack(p.handle, table, &p.err)) ? NULL : Py_NewRef(Py_None);
}

/* What the core says as JSON. */
static PyObject *report(PyObject *self, int (*of)(csync *, char **, csync_error *))
{
    char *json = NULL;
    plain p;

    if (begin(&p, self))
        return NULL;
    return end(&p, of(p.handle, &json, &p.err)) ? NULL : cspy_take_text(json);
}

static PyObject *replica_tables(PyObject *self, PyObject *unused)
{
    (void)unused;
    return report(self, csync_tables);
}

static PyObject *replica_trigger_sql(PyObject *self, PyObject *args)
{
    const char *table;
    int capture;
    char *sql = NULL;
    plain p;

    if (!PyArg_ParseTuple(args, "si", &table, &capture) || begin(&p, self))
        return NULL;
    return end(&p, csync_trigger_sql(p.handle, table, capture, &sql, &p.err)) ? NULL
                                                                              : cspy_take_text(sql);
}

static PyObject *replica_state(PyObject *self, PyObject *unused)
{
    csync_state s = {.struct_size = sizeof s};
    plain p;

    (void)unused;
    if (begin(&p, self) || end(&p, csync_get_state(p.handle, &s, &p.err)))
        return NULL;
    return Py_BuildValue("(sLLLLLL)", s.origin, (long long)s.max_version,
                         (long long)s.last_server_version, (long long)s.last_push_version,
                         (long long)s.tables, (long long)s.parked, (long long)s.conflicts);
}

static PyObject *replica_parked(PyObject *self, PyObject *unused)
{
    (void)unused;
    return report(self, csync_parked);
}

static PyObject *replica_lag(PyObject *self, PyObject *unused)
{
    (void)unused;
    return report(self, csync_lag);
}

static PyObject *replica_doctor(PyObject *self, PyObject *unused)
{
    (void)unused;
    return report(self, csync_doctor);
}

static PyObject *replica_conflicts(PyObject *self, PyObject *args)
{
    long long since;
    int limit;
    char *json = NULL;
    plain p;

    if (!PyArg_ParseTuple(args, "Li", &since, &limit) || begin(&p, self))
        return NULL;
    return end(&p, csync_conflicts(p.handle, since, limit, &json, &p.err)) ? NULL
                                                                           : cspy_take_text(json);
}

static PyObject *replica_hash(PyObject *self, PyObject *unused)
{
    char hex[CSYNC_HASH_SIZE];
    plain p;

    (void)unused;
    if (begin(&p, self))
        return NULL;
    return end(&p, csync_hash(p.handle, hex, &p.err)) ? NULL : PyUnicode_FromString(hex);
}

static PyObject *replica_digest(PyObject *self, PyObject *args)
{
    const char *request;
    char *answer = NULL;
    plain p;

    if (!PyArg_ParseTuple(args, "s:digest", &request) || begin(&p, self))
        return NULL;
    return end(&p, csync_digest(p.handle, request, &answer, &p.err)) ? NULL : cspy_take_text(answer);
}

static PyObject *replica_suppress_begin(PyObject *self, PyObject *unused)
{
    plain p;

    (void)unused;
    if (begin(&p, self))
        return NULL;
    return end(&p, csync_suppress_begin(p.handle, &p.err)) ? NULL : Py_NewRef(Py_None);
}

static PyObject *replica_suppress_end(PyObject *self, PyObject *args)
{
    int commit;
    plain p;

    if (!PyArg_ParseTuple(args, "p", &commit) || begin(&p, self))
        return NULL;
    return end(&p, csync_suppress_end(p.handle, commit, &p.err)) ? NULL : Py_NewRef(Py_None);
}

static PyObject *replica_changes(PyObject *self, PyObject *args)
{
    cspy_state *state = ((cspy_replica *)self)->state;
    csync_fetch fetch = {.struct_size = sizeof fetch};
    long long since, max_bytes;
    csync_batch *batch = NULL;
    plain p;

    if (!PyArg_ParseTuple(args, "LiLzzz", &since, &fetch.limit, &max_bytes, &fetch.epoch,
                          &fetch.origin, &fetch.cursor) ||
        begin(&p, self))
        return NULL;
    fetch.since = since;
    fetch.max_bytes = max_bytes;
    return end(&p, csync_changes(p.handle, &fetch, &batch, &p.err)) ? NULL
                                                                    : cspy_batch_take(state, batch);
}

static PyObject *replica_clients(PyObject *self, PyObject *args)
{
    int stale_days;
    char *json = NULL;
    plain p;

    if (!PyArg_ParseTuple(args, "i", &stale_days) || begin(&p, self))
        return NULL;
    return end(&p, csync_clients(p.handle, stale_days, &json, &p.err)) ? NULL : cspy_take_text(json);
}

static PyObject *replica_register_client(PyObject *self, PyObject *args)
{
    const char *origin;
    long long version;
    plain p;

    if (!PyArg_ParseTuple(args, "sL", &origin, &version) || begin(&p, self))
        return NULL;
    return end(&p, csync_register_client(p.handle, origin, version, &p.err)) ? NULL
                                                                             : Py_NewRef(Py_None);
}

static PyObject *replica_forget_client(PyObject *self, PyObject *args)
{
    const char *origin;
    plain p;

    if (!PyArg_ParseTuple(args, "s", &origin) || begin(&p, self))
        return NULL;
    return end(&p, csync_forget_client(p.handle, origin, &p.err)) ? NULL : Py_NewRef(Py_None);
}

static PyObject *replica_safe_version(PyObject *self, PyObject *args)
{
    int stale_days;
    int64_t version = 0;
    plain p;

    if (!PyArg_ParseTuple(args, "i", &stale_days) || begin(&p, self))
        return NULL;
    return end(&p, csync_safe_version(p.handle, stale_days, &version, &p.err))
               ? NULL
               : PyLong_FromLongLong(version);
}

static PyObject *replica_purge(PyObject *self, PyObject *args)
{
    csync_purge_options options = {.struct_size = sizeof options};
    csync_purged purged = {.struct_size = sizeof purged};
    plain p;

    if (!PyArg_ParseTuple(args, "i", &options.stale_days) || begin(&p, self))
        return NULL;
    if (end(&p, csync_purge(p.handle, &options, &purged, &p.err)))
        return NULL;
    return Py_BuildValue("(LLL)", (long long)purged.version, (long long)purged.entries,
                         (long long)purged.tombstones);
}

/* ---- Calls with callbacks ----------------------------------------------------------------------- */

static PyObject *replica_execute(PyObject *self, PyObject *args)
{
    PyObject *params, *rows = NULL;
    const char *sql;
    cspy_use use;
    cspy_call call;
    csync *handle;

    if (!PyArg_ParseTuple(args, "sO", &sql, &params) || (handle = cspy_enter(self, &use)) == NULL)
        return NULL;
    cspy_call_init(&call, ((cspy_replica *)self)->state);
    rows = cspy_execute(&call, handle, sql, params);
    cspy_leave(self, &use);
    return rows;
}

static PyObject *replica_apply(PyObject *self, PyObject *args)
{
    cspy_state *state = ((cspy_replica *)self)->state;
    csync_error err = CSYNC_ERROR_INIT;
    csync_result result = {.struct_size = sizeof result};
    csync_outcome *outcome = NULL;
    csync_sync_options options;
    PyObject *changes, *tuple;
    const csync_batch *batch;
    csync_batch *owned;
    cspy_use use;
    cspy_call call;
    csync *handle;
    int rc = -1;

    cspy_call_init(&call, state);
    if (!PyArg_ParseTuple(args, "OO!", &changes, &PyTuple_Type, &tuple) ||
        cspy_options_read(&call, tuple, &options) ||
        (batch = cspy_batch_read(state, changes, &owned)) == NULL)
        return NULL;
    handle = cspy_enter(self, &use);
    if (handle != NULL) {
        cspy_call_begin(&call);
        rc = csync_apply(handle, batch, &options, &outcome, &result, &err);
        cspy_call_end(&call);
        rc = cspy_call_finish(&call, rc, &err);
        cspy_leave(self, &use);
    }
    csync_batch_free(owned);
    if (rc) {
        csync_outcome_free(outcome);
        return NULL;
    }
    return Py_BuildValue("(NN)", cspy_result_new(&result), cspy_outcomes_take(state, outcome));
}

static PyObject *replica_sync(PyObject *self, PyObject *args)
{
    cspy_state *state = ((cspy_replica *)self)->state;
    csync_error err = CSYNC_ERROR_INIT;
    csync_result result = {.struct_size = sizeof result};
    csync_sync_options options;
    PyObject *peer, *tuple;
    cspy_use use, peer_use;
    cspy_call call;
    csync *handle, *peer_handle;
    int rc;

    cspy_call_init(&call, state);
    if (!PyArg_ParseTuple(args, "O!O!", state->replica_type, &peer, &PyTuple_Type, &tuple) ||
        cspy_options_read(&call, tuple, &options) || (handle = cspy_enter(self, &use)) == NULL)
        return NULL;
    peer_handle = cspy_enter(peer, &peer_use);
    if (peer_handle == NULL) {
        cspy_leave(self, &use);
        return NULL;
    }
    cspy_call_begin(&call);
    rc = csync_sync(handle, peer_handle, &options, &result, &err);
    cspy_call_end(&call);
    rc = cspy_call_finish(&call, rc, &err);
    cspy_leave(peer, &peer_use);
    cspy_leave(self, &use);
    return rc ? NULL : cspy_result_new(&result);
}

static PyObject *replica_sync_remote(PyObject *self, PyObject *args)
{
    csync_error err = CSYNC_ERROR_INIT;
    csync_result result = {.struct_size = sizeof result};
    csync_sync_options options;
    csync_remote remote;
    PyObject *fetch, *send, *tuple;
    const char *name;
    cspy_use use;
    cspy_call call;
    csync *handle;
    int rc;

    cspy_call_init(&call, ((cspy_replica *)self)->state);
    if (!PyArg_ParseTuple(args, "OOsO!", &fetch, &send, &name, &PyTuple_Type, &tuple) ||
        cspy_options_read(&call, tuple, &options) || (handle = cspy_enter(self, &use)) == NULL)
        return NULL;
    call.fetch = fetch == Py_None ? NULL : fetch;
    call.send = send == Py_None ? NULL : send;
    remote = cspy_remote_make(&call, name);
    cspy_call_begin(&call);
    rc = csync_sync_remote(handle, &remote, &options, &result, &err);
    cspy_call_end(&call);
    rc = cspy_call_finish(&call, rc, &err);
    cspy_leave(self, &use);
    return rc ? NULL : cspy_result_new(&result);
}

static PyObject *replica_verify(PyObject *self, PyObject *args)
{
    csync_verify_options options;
    PyObject *peer;
    cspy_use peer_use;
    csync *peer_handle;
    char *report = NULL;
    int repair, limit, rc;
    plain p;

    if (!PyArg_ParseTuple(args, "O!pi", ((cspy_replica *)self)->state->replica_type, &peer, &repair,
                          &limit) ||
        (peer_handle = cspy_enter(peer, &peer_use)) == NULL)
        return NULL;
    rc = begin(&p, self);
    if (rc == 0) {
        options = cspy_verify_options_make(&p.call, repair, limit);
        rc = end(&p, csync_verify(p.handle, peer_handle, &options, &report, &p.err));
    }
    cspy_leave(peer, &peer_use);
    return rc ? NULL : cspy_take_text(report);
}

static PyObject *replica_verify_remote(PyObject *self, PyObject *args)
{
    csync_error err = CSYNC_ERROR_INIT;
    csync_verify_options options;
    csync_remote remote;
    PyObject *digest;
    char *report = NULL;
    cspy_use use;
    cspy_call call;
    csync *handle;
    int repair, limit, rc;

    cspy_call_init(&call, ((cspy_replica *)self)->state);
    if (!PyArg_ParseTuple(args, "Opi", &digest, &repair, &limit) ||
        (handle = cspy_enter(self, &use)) == NULL)
        return NULL;
    call.digest = digest == Py_None ? NULL : digest;
    remote = cspy_remote_make(&call, NULL);
    options = cspy_verify_options_make(&call, repair, limit);
    cspy_call_begin(&call);
    rc = csync_verify_remote(handle, &remote, &options, &report, &err);
    cspy_call_end(&call);
    rc = cspy_call_finish(&call, rc, &err);
    cspy_leave(self, &use);
    return rc ? NULL : cspy_take_text(report);
}

/* ---- The type ----------------------------------------------------------------------------------- */

static PyObject *replica_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    cspy_state *state = cspy_state_of(type);
    cspy_replica *self;

    (void)args; /* for __init__ of the class that derives from this */
    (void)kwargs;
    if (state == NULL)
        return NULL;
    self = (cspy_replica *)PyType_GenericAlloc(type, 0);
    if (self != NULL)
        self->state = state;
    return (PyObject *)self;
}

static void replica_finalize(PyObject *object)
{
    cspy_replica *self = (cspy_replica *)object;
    PyObject *type, *value, *traceback;

    if (self->handle == NULL)
        return;
    PyErr_Fetch(&type, &value, &traceback);
    if (PyErr_ResourceWarning(object, 1, "unclosed replica %R", object))
        PyErr_WriteUnraisable(object);
    close_now(self);
    PyErr_Restore(type, value, traceback);
}

static int replica_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((cspy_replica *)object)->probe);
    return 0;
}

static int replica_clear(PyObject *object)
{
    cspy_replica *self = (cspy_replica *)object;

    close_now(self);
    Py_CLEAR(self->probe);
    return 0;
}

/* A class made in Python has called replica_finalize before it calls this. */
static void replica_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    replica_clear(object);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"close", replica_close, METH_NOARGS,
     "close($self, /)\n--\n\n"
     "Closes the replica; twice is fine. A wrapped connection stays open.\n\n"
     "A call that another thread has running is cancelled and waited for. Inside one of the replica's own\n"
     "callbacks the close is carried out when the outermost call returns."},
    {"cancel", replica_cancel, METH_NOARGS,
     "cancel($self, /)\n--\n\n"
     "Stops the running call, from any thread, without waiting: it raises Cancelled and its open batch is\n"
     "rolled back. Without a running call it does nothing."},
    {"hash", replica_hash, METH_NOARGS,
     "hash($self, /)\n--\n\nSHA-256 over the rows of all tracked tables, in hex: equal for equal data."},
    {"digest", replica_digest, METH_VARARGS,
     "digest($self, request, /)\n--\n\n"
     "Answers what a peer that compares itself with this replica asks: JSON text for JSON text, to be carried\n"
     "over any wire. `csync.Remote(digest=other.digest)` is another replica."},
    {"_open", replica_open, METH_VARARGS, NULL},
    {"_open_connection", replica_open_connection, METH_VARARGS, NULL},
    {"_track", replica_track, METH_VARARGS, NULL},
    {"_untrack", replica_untrack, METH_VARARGS, NULL},
    {"_tables", replica_tables, METH_NOARGS, NULL},
    {"_trigger_sql", replica_trigger_sql, METH_VARARGS, NULL},
    {"_state", replica_state, METH_NOARGS, NULL},
    {"_parked", replica_parked, METH_NOARGS, NULL},
    {"_lag", replica_lag, METH_NOARGS, NULL},
    {"_doctor", replica_doctor, METH_NOARGS, NULL},
    {"_conflicts", replica_conflicts, METH_VARARGS, NULL},
    {"_suppress_begin", replica_suppress_begin, METH_NOARGS, NULL},
    {"_suppress_end", replica_suppress_end, METH_VARARGS, NULL},
    {"_changes", replica_changes, METH_VARARGS, NULL},
    {"_clients", replica_clients, METH_VARARGS, NULL},
    {"_register_client", replica_register_client, METH_VARARGS, NULL},
    {"_forget_client", replica_forget_client, METH_VARARGS, NULL},
    {"_safe_version", replica_safe_version, METH_VARARGS, NULL},
    {"_purge", replica_purge, METH_VARARGS, NULL},
    {"_execute", replica_execute, METH_VARARGS, NULL},
    {"_apply", replica_apply, METH_VARARGS, NULL},
    {"_verify", replica_verify, METH_VARARGS, NULL},
    {"_verify_remote", replica_verify_remote, METH_VARARGS, NULL},
    {"_sync", replica_sync, METH_VARARGS, NULL},
    {"_sync_remote", replica_sync_remote, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getset[] = {
    {"closed", get_closed, NULL, "True after close().", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, replica_new},         {Py_tp_finalize, replica_finalize},
    {Py_tp_dealloc, replica_dealloc}, {Py_tp_traverse, replica_traverse},
    {Py_tp_clear, replica_clear},     {Py_tp_methods, methods},
    {Py_tp_getset, getset},           {0, NULL},
};

static PyType_Spec spec = {
    .name = "csync._csync.Replica",
    .basicsize = sizeof(cspy_replica),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int cspy_add_replica(PyObject *module, cspy_state *state)
{
    state->replica_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return state->replica_type == NULL ? -1 : PyModule_AddType(module, state->replica_type);
}
