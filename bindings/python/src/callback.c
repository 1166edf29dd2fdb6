/* callback.c - the trampolines: how the core reaches the user's functions. */
#include "callback.h"

#include <time.h>

#include "batch.h"
#include "convert.h"
#include "error.h"
#include "outcomes.h"

/* How often a sync that has nothing to tell Python looks for Ctrl-C. Each look takes the GIL, and another
 * thread may keep it for 5 ms. */
enum { SIGNALS_EVERY_MS = 50 };

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void cspy_call_init(cspy_call *call, cspy_state *state)
{
    memset(call, 0, sizeof *call);
    call->state = state;
    call->signals_at = now_ms();
}

void cspy_call_begin(cspy_call *call)
{
    call->thread = PyEval_SaveThread();
}

void cspy_call_end(cspy_call *call)
{
    PyEval_RestoreThread(call->thread);
    call->thread = NULL;
}

int cspy_call_finish(cspy_call *call, int rc, const csync_error *err)
{
    PyObject *refusal = call->refusal;

    call->refusal = NULL;
    if (refusal != NULL && call->type == NULL && rc != CSYNC_OK && rc == call->refusal_code) {
        PyErr_SetObject((PyObject *)Py_TYPE(refusal), refusal);
        Py_DECREF(refusal);
        return -1;
    }
    Py_XDECREF(refusal);
    if (call->type != NULL) {
        PyErr_Restore(call->type, call->value, call->traceback);
        call->type = call->value = call->traceback = NULL;
        return -1;
    }
    if (rc == CSYNC_OK)
        return 0;
    cspy_raise(call->state, err);
    return -1;
}

int cspy_call_enter(cspy_call *call)
{
    if (call->type != NULL)
        return CSYNC_ECALLBACK;
    cspy_call_end(call);
    return CSYNC_OK;
}

int cspy_call_leave(cspy_call *call)
{
    int failed = PyErr_Occurred() != NULL;

    if (failed)
        PyErr_Fetch(&call->type, &call->value, &call->traceback);
    cspy_call_begin(call);
    return failed ? CSYNC_ECALLBACK : CSYNC_OK;
}

/* The same after a function that speaks for a peer, which may refuse what it is asked. */
static int leave_peer(cspy_call *call, csync_error *err)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    call->refusal_code = value == NULL ? 0 : cspy_refusal(call->state, value, err);
    if (!call->refusal_code) {
        PyErr_Restore(type, value, traceback);
        return cspy_call_leave(call);
    }
    if (traceback != NULL)
        PyException_SetTraceback(value, traceback);
    Py_XDECREF(call->refusal);
    call->refusal = value;
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    cspy_call_begin(call);
    return call->refusal_code;
}

/* ---- on_conflict -------------------------------------------------------------------------------- */

static int decide_merge(cspy_call *call, PyObject *row, csync_decision *decision)
{
    PyObject *text = PyObject_CallFunctionObjArgs(call->state->dump_row, row, NULL);
    Py_ssize_t length = 0;
    const char *bytes = text == NULL ? NULL : PyUnicode_AsUTF8AndSize(text, &length);

    if (bytes != NULL) {
        decision->kind = CSYNC_MERGE;
        decision->payload = csync_malloc((size_t)length + 1);
        if (decision->payload == NULL)
            PyErr_NoMemory();
        else
            memcpy(decision->payload, bytes, (size_t)length + 1);
    }
    Py_XDECREF(text);
    return PyErr_Occurred() ? -1 : 0;
}

static int decide(cspy_call *call, PyObject *answer, csync_decision *decision)
{
    if (answer == Py_None)
        decision->kind = CSYNC_DELETE_ROW;
    else if (PyUnicode_Check(answer) && PyUnicode_CompareWithASCIIString(answer, "local") == 0)
        decision->kind = CSYNC_KEEP_LOCAL;
    else if (PyUnicode_Check(answer) && PyUnicode_CompareWithASCIIString(answer, "remote") == 0)
        decision->kind = CSYNC_TAKE_REMOTE;
    else if (PyDict_Check(answer))
        return decide_merge(call, answer, decision);
    else {
        PyErr_Format(PyExc_TypeError,
                     "on_conflict must return \"local\", \"remote\", None (delete the row) or a dict "
                     "(the merged row), not %R",
                     answer);
        return -1;
    }
    return 0;
}

static int on_conflict(void *user_data, const csync_change *local, const csync_change *remote,
                       const csync_change *base, csync_decision *decision)
{
    cspy_call *call = user_data;
    PyObject *answer;
    int rc = cspy_call_enter(call);

    if (rc)
        return rc;
    answer = PyObject_CallFunction(call->on_conflict, "NNN", cspy_change_new(call->state, local),
                                   cspy_change_new(call->state, remote),
                                   cspy_change_new(call->state, base));
    if (answer != NULL)
        decide(call, answer, decision);
    Py_XDECREF(answer);
    return cspy_call_leave(call);
}

/* ---- on_progress -------------------------------------------------------------------------------- */

static int report(cspy_call *call, const csync_progress *p)
{
    PyObject *progress, *answer = NULL;

    progress = PyObject_CallFunction(call->state->progress, "sLLL",
                                     p->phase == CSYNC_PULLING ? "pulling" : "pushing",
                                     (long long)p->changes, (long long)p->bytes, (long long)p->total);
    if (progress != NULL)
        answer = PyObject_CallFunctionObjArgs(call->progress, progress, NULL);
    Py_XDECREF(progress);
    Py_XDECREF(answer);
    return answer == NULL ? -1 : 0;
}

/* Set for every sync, so that Ctrl-C stops it. */
static int on_progress(void *user_data, const csync_progress *progress)
{
    cspy_call *call = user_data;
    int64_t now = now_ms();
    int rc;

    if (call->progress == NULL && now - call->signals_at < SIGNALS_EVERY_MS)
        return CSYNC_OK;
    call->signals_at = now;
    rc = cspy_call_enter(call);
    if (rc)
        return rc;
    if (PyErr_CheckSignals() == 0 && call->progress != NULL)
        report(call, progress);
    return cspy_call_leave(call);
}

/* ---- fetch, send and digest ----------------------------------------------------------------------------- */

static int fetch(void *user_data, const csync_fetch *wanted, csync_batch **out, csync_error *err)
{
    cspy_call *call = user_data;
    PyObject *answer;
    int rc = cspy_call_enter(call);

    if (rc)
        return rc;
    answer = PyObject_CallFunction(call->fetch, "Ni", cspy_position_new(call->state, wanted),
                                   wanted->limit);
    if (answer != NULL)
        cspy_batch_give(call->state, answer, out);
    Py_XDECREF(answer);
    return leave_peer(call, err);
}

static int send(void *user_data, const csync_batch *batch, csync_outcome **out, csync_error *err)
{
    cspy_call *call = user_data;
    PyObject *copy, *answer = NULL;
    int rc = cspy_call_enter(call);

    if (rc)
        return rc;
    copy = cspy_batch_copy(call->state, batch);
    if (copy != NULL)
        answer = PyObject_CallFunctionObjArgs(call->send, copy, NULL);
    if (answer != NULL)
        cspy_outcomes_give(call->state, answer, out);
    Py_XDECREF(answer);
    Py_XDECREF(copy);
    return leave_peer(call, err);
}

/* A copy of a str for the core to free; NULL with an exception. */
static char *text_for_core(PyObject *text)
{
    Py_ssize_t length;
    const char *bytes;
    char *copy;

    if (!PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "digest must return a str, not %R", text);
        return NULL;
    }
    bytes = PyUnicode_AsUTF8AndSize(text, &length);
    copy = bytes == NULL ? NULL : csync_malloc((size_t)length + 1);
    if (copy != NULL)
        memcpy(copy, bytes, (size_t)length + 1);
    else if (bytes != NULL)
        PyErr_NoMemory();
    return copy;
}

static int digest(void *user_data, const char *request, char **out, csync_error *err)
{
    cspy_call *call = user_data;
    PyObject *answer;
    int rc = cspy_call_enter(call);

    (void)err;
    if (rc)
        return rc;
    answer = PyObject_CallFunction(call->digest, "s", request);
    if (answer != NULL)
        *out = text_for_core(answer);
    Py_XDECREF(answer);
    return cspy_call_leave(call);
}

csync_verify_options cspy_verify_options_make(cspy_call *call, int repair, int limit)
{
    return (csync_verify_options){
        .struct_size = sizeof(csync_verify_options),
        .repair = repair,
        .limit = limit,
        .on_progress = on_progress,
        .user_data = call,
    };
}

csync_remote cspy_remote_make(cspy_call *call, const char *name)
{
    return (csync_remote){
        .struct_size = sizeof(csync_remote),
        .name = name,
        .user_data = call,
        .fetch = call->fetch == NULL ? NULL : fetch,
        .send = call->send == NULL ? NULL : send,
        .digest = call->digest == NULL ? NULL : digest,
    };
}

int cspy_options_read(cspy_call *call, PyObject *tuple, csync_sync_options *out)
{
    PyObject *conflict, *progress;
    long long batch_bytes;

    memset(out, 0, sizeof *out);
    out->struct_size = sizeof *out;
    if (!PyArg_ParseTuple(tuple, "iiLiiOOi", &out->direction, &out->batch_size, &batch_bytes,
                          &out->max_retry_passes, &out->strategy, &conflict, &progress,
                          &out->full_resync))
        return -1;
    call->on_conflict = conflict == Py_None ? NULL : conflict;
    call->progress = progress == Py_None ? NULL : progress;
    out->batch_bytes = batch_bytes;
    out->on_conflict = call->on_conflict == NULL ? NULL : on_conflict;
    out->on_progress = on_progress;
    out->user_data = call;
    return 0;
}
