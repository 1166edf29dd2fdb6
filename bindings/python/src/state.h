/* state.h - what one interpreter's copy of the module holds. */
#ifndef CSPY_STATE_H
#define CSPY_STATE_H
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>
#include "csync.h"

enum { CSPY_ERRORS = 16 };

typedef struct cspy_state {
    PyTypeObject *replica_type, *batch_type, *outcomes_type, *session_type;
    PyObject *change, *outcome, *progress, *step, *position; /* classes of csync._model */
    PyObject *dump_row; /* function of csync._json */
    PyObject *errors[CSPY_ERRORS]; /* in the order of error.c's table */
} cspy_state;

/* The state of the module that made `type` or the base it derives from. */
cspy_state *cspy_state_of(PyTypeObject *type);

/* Each adds its type to the module. 0, or -1 with an exception. */
int cspy_add_replica(PyObject *module, cspy_state *state);
int cspy_add_batch(PyObject *module, cspy_state *state);
int cspy_add_outcomes(PyObject *module, cspy_state *state);
int cspy_add_session(PyObject *module, cspy_state *state);
int cspy_add_subscription(PyObject *module);
int cspy_add_api(PyObject *module);
int cspy_add_server(PyObject *module);

#endif
