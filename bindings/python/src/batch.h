/* batch.h - csync.Batch. */
#ifndef CSPY_BATCH_H
#define CSPY_BATCH_H
#include "state.h"

/* A new csync.Batch that takes over `batch`, also when it fails. */
PyObject *cspy_batch_take(cspy_state *state, csync_batch *batch);
/* A new csync.Batch with a copy of `batch`. */
PyObject *cspy_batch_copy(cspy_state *state, const csync_batch *batch);

/* The batch that `object` is, or a new one from an iterable of Change. *owned is NULL or what the caller
 * frees; otherwise the result is borrowed from `object`. NULL with an exception. */
const csync_batch *cspy_batch_read(cspy_state *state, PyObject *object, csync_batch **owned);
/* Makes the answer of a fetch into a batch for the core to own. 0, or -1 with an exception. */
int cspy_batch_give(cspy_state *state, PyObject *object, csync_batch **out);

#endif
