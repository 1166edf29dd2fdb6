/* error.h - codes of the core become Python exceptions, and nowhere else. */
#ifndef CSPY_ERROR_H
#define CSPY_ERROR_H
#include "state.h"

/* Finds the classes of csync._errors. 0, or -1 with an exception. */
int cspy_errors_load(cspy_state *state);
/* Raises what `err` describes (code CSYNC_ENOMEM: MemoryError). Always returns NULL. */
PyObject *cspy_raise(cspy_state *state, const csync_error *err);
/* Raises `code` with a text of the binding's own; format as PyUnicode_FromFormat. Always returns NULL. */
PyObject *cspy_fail(cspy_state *state, int code, const char *format, ...);

/* Where the exception says that a peer refused a step in a way that a session may know an answer to: fills
 * `err` and returns its code; else 0. No exception is left pending. */
int cspy_refusal(cspy_state *state, PyObject *exception, csync_error *err);
#endif
