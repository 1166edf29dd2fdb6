/* execute.h - SQL from Python and rows to Python. */
#ifndef CSPY_EXECUTE_H
#define CSPY_EXECUTE_H
#include "callback.h"

/* Runs one statement with a sequence of parameters; a list of tuples, or NULL with an exception. */
PyObject *cspy_execute(cspy_call *call, csync *handle, const char *sql, PyObject *params);

#endif
