/* api.c - the C half of csync.Api: requests are answered by csync_api_handle. */
#include "error.h"
#include "grant.h"
#include "replica.h"

typedef struct api {
    PyObject_HEAD PyObject *replicas; /* tuple */
    cspy_state *state;
    csync_api *handle;
} api;

enum { HEADERS_MAX = 200 };

/* ---- every replica is in use while a request is answered ---- */

static void leave_all(api *self, cspy_use *uses, Py_ssize_t count)
{
    while (count-- > 0)
        cspy_leave(PyTuple_GetItem(self->replicas, count), &uses[count]);
    PyMem_Free(uses);
}

static cspy_use *enter_all(api *self)
{
    Py_ssize_t count = PyTuple_Size(self->replicas);
    cspy_use *uses = PyMem_Calloc((size_t)count + 1, sizeof *uses);

    if (uses == NULL)
        return (cspy_use *)PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < count; i++)
        if (cspy_enter(PyTuple_GetItem(self->replicas, i), &uses[i]) == NULL) {
            leave_all(self, uses, i);
            return NULL;
        }
    return uses;
}

/* ---- making one ---- */

static int add_database(api *self, PyObject *name, PyObject *replica)
{
    const char *text = PyUnicode_AsUTF8AndSize(name, NULL);
    csync_error err = CSYNC_ERROR_INIT;
    cspy_use use;
    csync *handle = text == NULL ? NULL : cspy_enter(replica, &use);
    int rc;

    if (handle == NULL)
        return -1;
    rc = csync_api_add(self->handle, text, handle, &err);
    cspy_leave(replica, &use);
    if (rc)
        cspy_raise(self->state, &err);
    return rc ? -1 : 0;
}

static int add_grant(api *self, PyObject *tuple)
{
    csync_error err = CSYNC_ERROR_INIT;
    csync_grant grant;

    if (cspy_grant_read(tuple, &grant))
        return -1;
    if (csync_api_grant(self->handle, &grant, &err))
        cspy_raise(self->state, &err);
    cspy_grant_free(&grant);
    return PyErr_Occurred() ? -1 : 0;
}

static int fill(api *self, PyObject *names, PyObject *grants)
{
    for (Py_ssize_t i = 0; i < PyTuple_Size(names); i++)
        if (add_database(self, PyTuple_GetItem(names, i), PyTuple_GetItem(self->replicas, i)))
            return -1;
    for (Py_ssize_t i = 0; i < PyTuple_Size(grants); i++)
        if (add_grant(self, PyTuple_GetItem(grants, i)))
            return -1;
    return 0;
}

static PyObject *api_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    csync_api_options options = {.struct_size = sizeof options};
    cspy_state *state = cspy_state_of(type);
    csync_error err = CSYNC_ERROR_INIT;
    PyObject *names, *replicas, *grants;
    long long max_body;
    api *self;

    (void)kwargs;
    if (state == NULL || !PyArg_ParseTuple(args, "O!O!O!L:Api", &PyTuple_Type, &names, &PyTuple_Type,
                                           &replicas, &PyTuple_Type, &grants, &max_body))
        return NULL;
    self = (api *)PyType_GenericAlloc(type, 0);
    if (self == NULL)
        return NULL;
    options.max_body = max_body;
    self->state = state;
    self->replicas = Py_NewRef(replicas);
    if (csync_api_new(&self->handle, &options, &err))
        cspy_raise(state, &err);
    else
        (void)fill(self, names, grants);
    if (PyErr_Occurred())
        Py_CLEAR(self);
    return (PyObject *)self;
}

/* ---- a request ---- */

/* Headers are borrowed from `list`, pairs of str. */
static int read_headers(PyObject *list, csync_header *headers, size_t *count)
{
    Py_ssize_t n = PyTuple_Size(list);

    if (n > HEADERS_MAX)
        n = HEADERS_MAX;
    for (Py_ssize_t i = 0; i < n; i++)
        if (!PyArg_ParseTuple(PyTuple_GetItem(list, i), "ss:header", &headers[i].name,
                              &headers[i].value))
            return -1;
    *count = (size_t)n;
    return 0;
}

/* (status, ((name, value), ...), body) */
static PyObject *response_new(const csync_response *r)
{
    PyObject *headers = PyTuple_New((Py_ssize_t)r->header_count);

    for (size_t i = 0; headers != NULL && i < r->header_count; i++) {
        PyObject *pair = Py_BuildValue("(ss)", r->headers[i].name, r->headers[i].value);

        if (pair == NULL || PyTuple_SetItem(headers, (Py_ssize_t)i, pair))
            Py_CLEAR(headers);
    }
    return headers == NULL
               ? NULL
               : Py_BuildValue("(iNy#)", r->status, headers, r->body, (Py_ssize_t)r->body_length);
}

static PyObject *answer(api *self, const csync_request *request)
{
    csync_error err = CSYNC_ERROR_INIT;
    csync_response *response = NULL;
    PyObject *out = NULL;
    cspy_call call;
    cspy_use *uses = enter_all(self);
    int rc;

    if (uses == NULL)
        return NULL;
    cspy_call_init(&call, self->state);
    cspy_call_begin(&call);
    rc = csync_api_handle(self->handle, request, &response, &err);
    cspy_call_end(&call);
    rc = cspy_call_finish(&call, rc, &err);
    leave_all(self, uses, PyTuple_Size(self->replicas));
    if (rc == 0)
        out = response_new(response);
    csync_response_free(response);
    return out;
}

static PyObject *api_handle(PyObject *object, PyObject *args)
{
    csync_request request = {.struct_size = sizeof request};
    csync_header headers[HEADERS_MAX];
    Py_ssize_t length;
    PyObject *list;

    if (!PyArg_ParseTuple(args, "sszO!y#p:_handle", &request.method, &request.path, &request.query,
                          &PyTuple_Type, &list, &request.body, &length, &request.local) ||
        read_headers(list, headers, &request.header_count))
        return NULL;
    request.headers = headers;
    request.body_length = (size_t)length;
    return answer((api *)object, &request);
}

/* ---- the type ---- */

static int api_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((api *)object)->replicas);
    return 0;
}

static int api_clear(PyObject *object)
{
    Py_CLEAR(((api *)object)->replicas);
    return 0;
}

static void api_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    csync_api_free(((api *)object)->handle);
    api_clear(object);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"_handle", api_handle, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, api_new},     {Py_tp_dealloc, api_dealloc}, {Py_tp_traverse, api_traverse},
    {Py_tp_clear, api_clear}, {Py_tp_methods, methods},     {0, NULL},
};

static PyType_Spec spec = {
    .name = "csync._csync.Api",
    .basicsize = sizeof(api),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int cspy_add_api(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    int rc = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);

    Py_XDECREF(type);
    return rc;
}
