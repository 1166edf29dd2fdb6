/* callback.h - one call of the core, and the user's functions that it may call back.
 *
 * The life of a call:
 *  1. cspy_call_init, with the user's functions; no Python code runs here.
 *  2. cspy_call_begin releases the GIL and keeps the thread state in the call, so that the way back is
 *     right in every interpreter.
 *  3. The core runs. A trampoline (below) calls cspy_call_enter, which takes the GIL and refuses when an
 *     earlier callback of this call has failed; then Python code; then cspy_call_leave, which keeps a
 *     pending exception in the call, releases the GIL and tells the core to go on or to stop.
 *  4. The core rolls back and returns. cspy_call_end takes the GIL again.
 *  5. cspy_call_finish raises the very object that the callback raised, else what the core reported.
 * cspy_call_enter and cspy_call_leave are the only places where the core's side takes or gives the GIL. */
#ifndef CSPY_CALLBACK_H
#define CSPY_CALLBACK_H
#include "state.h"

typedef struct cspy_call {
    cspy_state *state;
    PyObject *on_conflict, *progress, *fetch, *send, *digest; /* borrowed from the caller, or NULL */
    PyThreadState *thread; /* while the GIL is released */
    PyObject *type, *value, *traceback; /* what a callback raised */
    PyObject *refusal; /* an exception with which a peer refused a step; the session may have gone on */
    int refusal_code;
    int64_t signals_at; /* when signals were last looked at, in ms */
} cspy_call;

void cspy_call_init(cspy_call *call, cspy_state *state);
void cspy_call_begin(cspy_call *call);
void cspy_call_end(cspy_call *call);
/* 0, or -1 with an exception: the callback's, or the one for `rc` and `err`. Leaves the call ready for
 * another round. */
int cspy_call_finish(cspy_call *call, int rc, const csync_error *err);

/* 0: Python code may run now. Else the code to return to the core. */
int cspy_call_enter(cspy_call *call);
/* The code to return to the core. */
int cspy_call_leave(cspy_call *call);

/* Reads the tuple that csync._replica makes of the keyword arguments: (direction, batch_size, batch_bytes,
 * max_retry_passes, strategy, on_conflict, progress, full_resync), and wires the trampolines to `call`. The functions are
 * borrowed from the tuple. 0, or -1 with an exception. */
int cspy_options_read(cspy_call *call, PyObject *tuple, csync_sync_options *out);
/* Options of a comparison that Ctrl-C stops. */
csync_verify_options cspy_verify_options_make(cspy_call *call, int repair, int limit);
/* The remote of call->fetch, call->send and call->digest. */
csync_remote cspy_remote_make(cspy_call *call, const char *name);

#endif
