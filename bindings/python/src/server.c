/* server.c - the C half of csync.Server, tokens in a file, and the program csync. */
#include "server.h"

#include "callback.h"
#include "error.h"
#include "grant.h"

enum { LIST_MAX = 256 };

typedef struct server {
    PyObject_HEAD cspy_state *state;
    csync_server *handle; /* NULL: closed */
} server;

/* What csync_server_start reads, with the lists that it points to. */
typedef struct settings {
    csync_server_options options;
    csync_served databases[LIST_MAX];
    csync_grant grants[LIST_MAX];
    const char *origins[LIST_MAX];
} settings;

static int check_size(PyObject *tuple, const char *what)
{
    if (PyTuple_Size(tuple) <= LIST_MAX)
        return 0;
    PyErr_Format(PyExc_ValueError, "a server has at most %d %s", LIST_MAX, what);
    return -1;
}

static int read_lists(settings *s, PyObject *databases, PyObject *grants, PyObject *origins)
{
    if (check_size(databases, "databases") || check_size(grants, "grants") ||
        check_size(origins, "origins"))
        return -1;
    for (Py_ssize_t i = 0; i < PyTuple_Size(databases); i++)
        if (!PyArg_ParseTuple(PyTuple_GetItem(databases, i), "ss:database", &s->databases[i].name,
                              &s->databases[i].url))
            return -1;
    for (Py_ssize_t i = 0; i < PyTuple_Size(grants); i++)
        if (cspy_grant_read(PyTuple_GetItem(grants, i), &s->grants[i]))
            return -1;
    for (Py_ssize_t i = 0; i < PyTuple_Size(origins); i++)
        if (!(s->origins[i] = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(origins, i), NULL)))
            return -1;
    s->options.databases = s->databases;
    s->options.database_count = (size_t)PyTuple_Size(databases);
    s->options.grants = s->grants;
    s->options.grant_count = (size_t)PyTuple_Size(grants);
    s->options.origins = s->origins;
    s->options.origin_count = (size_t)PyTuple_Size(origins);
    return 0;
}

static int read_settings(settings *s, PyObject *args)
{
    csync_server_options *o = &s->options;
    PyObject *databases, *grants, *origins;

    o->struct_size = sizeof *o;
    if (!PyArg_ParseTuple(args, "O!O!O!zzzzpLiiiiiiiiii:Server", &PyTuple_Type, &databases,
                          &PyTuple_Type, &grants, &PyTuple_Type, &origins, &o->listen, &o->tokens,
                          &o->tls_cert, &o->tls_key, &o->behind_proxy, &o->max_body, &o->readers,
                          &o->queue, &o->max_connections, &o->max_per_address, &o->max_streams,
                          &o->rate, &o->header_ms, &o->body_ms, &o->idle_ms, &o->log_fd))
        return -1;
    return read_lists(s, databases, grants, origins);
}

static void free_settings(settings *s)
{
    for (size_t i = 0; i < LIST_MAX; i++)
        cspy_grant_free(&s->grants[i]);
    PyMem_Free(s);
}

static int start(server *self, const settings *s)
{
    csync_error err = CSYNC_ERROR_INIT;
    cspy_call call;
    int rc;

    cspy_call_init(&call, self->state);
    cspy_call_begin(&call);
    rc = csync_server_start(&self->handle, &s->options, &err);
    cspy_call_end(&call);
    return cspy_call_finish(&call, rc, &err);
}

static PyObject *server_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    cspy_state *state = cspy_state_of(type);
    settings *s = state == NULL ? NULL : PyMem_Calloc(1, sizeof *s);
    server *self;

    (void)kwargs;
    if (s == NULL)
        return state == NULL ? NULL : PyErr_NoMemory();
    self = (server *)PyType_GenericAlloc(type, 0);
    if (self != NULL) {
        self->state = state;
        if (read_settings(s, args) || start(self, s))
            Py_CLEAR(self);
    }
    free_settings(s);
    return (PyObject *)self;
}

static PyObject *server_url(PyObject *object, void *closure)
{
    server *self = (server *)object;

    (void)closure;
    return self->handle ? PyUnicode_FromString(csync_server_url(self->handle))
                        : cspy_fail(self->state, CSYNC_EMISUSE, "the server is closed");
}

static PyObject *server_closed(PyObject *object, void *closure)
{
    (void)closure;
    return PyBool_FromLong(((server *)object)->handle == NULL);
}

static PyObject *server_reload(PyObject *object, PyObject *none)
{
    server *self = (server *)object;
    csync_error err = CSYNC_ERROR_INIT;

    (void)none;
    if (self->handle == NULL)
        return cspy_fail(self->state, CSYNC_EMISUSE, "the server is closed");
    if (csync_server_reload(self->handle, &err))
        return cspy_raise(self->state, &err);
    Py_RETURN_NONE;
}

static PyObject *server_stop(PyObject *object, PyObject *none)
{
    server *self = (server *)object;
    csync_server *handle = self->handle;
    PyThreadState *thread;

    (void)none;
    self->handle = NULL;
    thread = PyEval_SaveThread();
    csync_server_stop(handle);
    PyEval_RestoreThread(thread);
    Py_RETURN_NONE;
}

static void server_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    csync_server_stop(((server *)object)->handle);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object); /* a class made in Python is collected */
    Py_DECREF(type);
}

static PyGetSetDef properties[] = {
    {"url", server_url, NULL, NULL, NULL},
    {"closed", server_closed, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef methods[] = {
    {"_reload", server_reload, METH_NOARGS, NULL},
    {"_stop", server_stop, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, server_new},
    {Py_tp_dealloc, server_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "csync._csync.Server",
    .basicsize = sizeof(server),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int cspy_add_server(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    int rc = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);

    Py_XDECREF(type);
    return rc;
}

/* ---- tokens ---- */

static PyObject *text_or_raise(PyObject *module, int rc, char *text, const csync_error *err)
{
    PyObject *out = rc ? cspy_raise(PyModule_GetState(module), err) : PyUnicode_FromString(text);

    csync_free(text);
    return out;
}

PyObject *cspy_token_add(PyObject *module, PyObject *args)
{
    csync_token_options o = {.struct_size = sizeof o};
    csync_error err = CSYNC_ERROR_INIT;
    PyObject *tables;
    const char *file;
    char *token = NULL;
    int rc;

    if (!PyArg_ParseTuple(args, "szziLO!:token_add", &file, &o.client, &o.database, &o.may,
                          &o.expires_ms, &PyTuple_Type, &tables) ||
        cspy_read_names(tables, &o.tables, &o.table_count))
        return NULL;
    rc = csync_token_add(file, &o, &token, &err);
    PyMem_Free((void *)o.tables);
    return text_or_raise(module, rc, token, &err);
}

PyObject *cspy_token_list(PyObject *module, PyObject *args)
{
    csync_error err = CSYNC_ERROR_INIT;
    const char *file;
    char *json = NULL;
    int rc;

    if (!PyArg_ParseTuple(args, "s:token_list", &file))
        return NULL;
    rc = csync_token_list(file, &json, &err);
    return text_or_raise(module, rc, json, &err);
}

PyObject *cspy_token_revoke(PyObject *module, PyObject *args)
{
    csync_error err = CSYNC_ERROR_INIT;
    const char *file, *id;

    if (!PyArg_ParseTuple(args, "ss:token_revoke", &file, &id))
        return NULL;
    if (csync_token_revoke(file, id, &err))
        return cspy_raise(PyModule_GetState(module), &err);
    Py_RETURN_NONE;
}

/* ---- the program ---- */

PyObject *cspy_program(PyObject *module, PyObject *args)
{
    char *argv[LIST_MAX + 1] = {NULL};
    Py_ssize_t count = PyTuple_Size(args);
    PyThreadState *thread;
    int status;

    (void)module;
    if (check_size(args, "arguments"))
        return NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        argv[i] = (char *)PyUnicode_AsUTF8AndSize(PyTuple_GetItem(args, i), NULL);
        if (argv[i] == NULL)
            return NULL;
    }
    thread = PyEval_SaveThread();
    status = csync_program((int)count, argv);
    PyEval_RestoreThread(thread);
    return PyLong_FromLong(status);
}
