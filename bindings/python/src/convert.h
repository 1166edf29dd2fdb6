/* convert.h - Python objects <-> the core's structs: changes, results, options' texts. */
#ifndef CSPY_CONVERT_H
#define CSPY_CONVERT_H
#include "state.h"

/* Text of the core, valid UTF-8; NULL becomes None. */
PyObject *cspy_text(const char *text);
/* Takes over `text` of csync_malloc. */
PyObject *cspy_take_text(char *text);

/* A new csync.Change with copies of everything; NULL becomes None. */
PyObject *cspy_change_new(cspy_state *state, const csync_change *change);

/* A csync.Change seen as the core's struct; the strings are borrowed from `held`. */
typedef struct cspy_change {
    csync_change pub;
    PyObject *held[6];
} cspy_change;
/* 0, or -1 with an exception (TypeError: not a Change). Release it either way. */
int cspy_change_read(cspy_state *state, PyObject *object, cspy_change *out);
void cspy_change_release(cspy_change *change);

/* A csync.Position. */
PyObject *cspy_position_new(cspy_state *state, const csync_fetch *fetch);
/* The twelve counts in the order of csync.Result's fields. */
PyObject *cspy_result_new(const csync_result *result);

#endif
