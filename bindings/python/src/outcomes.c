/* outcomes.c - csync.Outcomes: what became of each change of a batch. Cannot be altered. */
#include "outcomes.h"

#include "convert.h"
#include "error.h"

typedef struct outcomes {
    PyObject_HEAD csync_outcome *outcome;
} outcomes;

static const char *const statuses[] = {"",       "applied",  "duplicate", "lost",
                                       "parked", "rejected", "conflict"};

static PyObject *wrap(PyTypeObject *type, csync_outcome *owned)
{
    outcomes *self = (outcomes *)PyType_GenericAlloc(type, 0);

    if (self == NULL)
        csync_outcome_free(owned);
    else
        self->outcome = owned;
    return (PyObject *)self;
}

PyObject *cspy_outcomes_take(cspy_state *state, csync_outcome *owned)
{
    return wrap(state->outcomes_type, owned);
}

/* The core has no copy function: through JSON, which carries everything. */
static csync_outcome *copy(cspy_state *state, const csync_outcome *from)
{
    csync_error err = CSYNC_ERROR_INIT;
    csync_outcome *to = NULL;
    char *json = NULL;

    if (csync_outcome_to_json(from, &json, &err) ||
        csync_outcome_from_json(&to, json, strlen(json), &err))
        cspy_raise(state, &err);
    csync_free(json);
    return to;
}

int cspy_outcomes_give(cspy_state *state, PyObject *answer, csync_outcome **out)
{
    PyObject *found;

    *out = NULL;
    if (answer == Py_None)
        return 0;
    if (Py_IS_TYPE(answer, state->outcomes_type)) {
        *out = copy(state, ((outcomes *)answer)->outcome);
        return *out == NULL ? -1 : 0;
    }
    found = PyObject_GetAttrString(answer, "outcomes");
    if (found != NULL && Py_IS_TYPE(found, state->outcomes_type))
        *out = copy(state, ((outcomes *)found)->outcome);
    else if (found != NULL || PyErr_ExceptionMatches(PyExc_AttributeError))
        PyErr_Format(PyExc_TypeError,
                     "send must return None, csync.Outcomes or what apply() returned, not %R",
                     answer);
    Py_XDECREF(found);
    return *out == NULL ? -1 : 0;
}

/* ---- The type ----------------------------------------------------------------------------------- */

static PyObject *outcomes_from_json(PyObject *type, PyObject *args)
{
    cspy_state *state = cspy_state_of((PyTypeObject *)type);
    csync_error err = CSYNC_ERROR_INIT;
    csync_outcome *made = NULL;
    const char *json;
    Py_ssize_t length;

    if (state == NULL || !PyArg_ParseTuple(args, "s#:from_json", &json, &length))
        return NULL;
    if (csync_outcome_from_json(&made, json, (size_t)length, &err))
        return cspy_raise(state, &err);
    return wrap((PyTypeObject *)type, made);
}

static PyObject *outcomes_to_json(PyObject *self, PyObject *unused)
{
    csync_error err = CSYNC_ERROR_INIT;
    char *json = NULL;

    (void)unused;
    if (csync_outcome_to_json(((outcomes *)self)->outcome, &json, &err))
        return cspy_raise(cspy_state_of(Py_TYPE(self)), &err);
    return cspy_take_text(json);
}

static void outcomes_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    csync_outcome_free(((outcomes *)self)->outcome);
    PyObject_Free(self);
    Py_DECREF(type);
}

static Py_ssize_t outcomes_length(PyObject *self)
{
    return (Py_ssize_t)csync_outcome_count(((outcomes *)self)->outcome);
}

static PyObject *outcomes_item(PyObject *self, Py_ssize_t i)
{
    cspy_state *state = cspy_state_of(Py_TYPE(self));
    csync_outcome_entry entry = {.struct_size = sizeof entry};

    if (i < 0 || i >= outcomes_length(self)) {
        PyErr_SetString(PyExc_IndexError, "outcome index out of range");
        return NULL;
    }
    csync_outcome_at(((outcomes *)self)->outcome, (size_t)i, &entry);
    return PyObject_CallFunction(state->outcome, "ssN", statuses[entry.status], entry.reason,
                                 cspy_change_new(state, entry.winner));
}

static PyObject *outcomes_repr(PyObject *self)
{
    Py_ssize_t n = outcomes_length(self);

    return PyUnicode_FromFormat("<csync.Outcomes of %zd change%s>", n, n == 1 ? "" : "s");
}

static PyObject *get_position(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromLongLong(csync_outcome_position(((outcomes *)self)->outcome));
}

static PyObject *get_epoch(PyObject *self, void *unused)
{
    (void)unused;
    return cspy_text(csync_outcome_epoch(((outcomes *)self)->outcome));
}

static PyMethodDef methods[] = {
    {"to_json", outcomes_to_json, METH_NOARGS,
     "to_json($self, /)\n--\n\nA JSON text that Outcomes.from_json reads."},
    {"from_json", outcomes_from_json, METH_VARARGS | METH_CLASS,
     "from_json($type, text, /)\n--\n\nReads what to_json wrote, from str or bytes. InvalidValue: malformed."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef getset[] = {
    {"position", get_position, NULL,
     "The version up to which the receiver has the sender's log now.", NULL},
    {"epoch", get_epoch, NULL, "The epoch of that position, or None.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static const char doc[] =
    "What became of each change of a batch: a sequence of Outcome, in the batch's order.\n\n"
    "Empty when the batch was dropped whole because it does not continue the receiver's position. Comes from\n"
    "Replica.apply or Outcomes.from_json; cannot be altered and depends on no replica.";

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)doc},        {Py_tp_dealloc, outcomes_dealloc}, {Py_tp_repr, outcomes_repr},
    {Py_tp_iter, PySeqIter_New},     {Py_tp_methods, methods},          {Py_tp_getset, getset},
    {Py_sq_length, outcomes_length}, {Py_sq_item, outcomes_item},       {0, NULL},
};

static PyType_Spec spec = {
    .name = "csync.Outcomes",
    .basicsize = sizeof(outcomes),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

int cspy_add_outcomes(PyObject *module, cspy_state *state)
{
    state->outcomes_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    return state->outcomes_type == NULL ? -1 : PyModule_AddType(module, state->outcomes_type);
}
