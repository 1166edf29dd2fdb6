/* api_sync.c - the public entry points of a sync: sessions and their drivers; SQL on csync's connection. */
#include <string.h>

#include "api_remote.h"
#include "base/mem.h"
#include "base/options.h"
#include "sync/replica.h"
#include "sync/session.h"

/* ---- sessions ---- */

int csync_session_new(csync_session **out, csync *replica, const char *peer,
                      const csync_sync_options *options, csync_error *err)
{
    csync_sync_options o;
    int rc;

    if (out)
        *out = NULL;
    rc = cs_replica_enter(replica, err);
    if (rc != CSYNC_OK)
        return rc;
    rc = out && peer ? CS_OPTIONS_IN(&o, options, err)
                     : cs_fail(err, CSYNC_EMISUSE, "out or peer is NULL");
    if (rc == CSYNC_OK)
        rc = cs_session_create(out, replica, peer, &o, err);
    return cs_replica_leave(replica, rc, err);
}

/* The replica of the session, entered. */
static int enter_session(const csync_session *session, csync **replica, csync_error *err)
{
    cs_error_clear(err);
    if (!session)
        return cs_fail(err, CSYNC_EMISUSE, "session is NULL");
    *replica = cs_session_replica(session);
    return cs_replica_enter(*replica, err);
}

int csync_session_next(csync_session *session, csync_step *step, csync_error *err)
{
    csync_step out = {.struct_size = sizeof out};
    csync *replica = NULL;
    int rc = enter_session(session, &replica, err);

    if (rc != CSYNC_OK)
        return rc;
    rc = CS_STRUCT_CHECK(step, err);
    if (rc == CSYNC_OK)
        rc = cs_session_next(session, &out, err);
    if (rc == CSYNC_OK)
        CS_STRUCT_OUT(step, &out);
    return cs_replica_leave(replica, rc, err);
}

int csync_session_page(csync_session *session, const csync_batch *page, csync_error *err)
{
    csync *replica = NULL;
    int rc = enter_session(session, &replica, err);

    if (rc != CSYNC_OK)
        return rc;
    rc = page ? cs_session_page(session, page, err) : cs_fail(err, CSYNC_EMISUSE, "page is NULL");
    return cs_replica_leave(replica, rc, err);
}

int csync_session_outcome(csync_session *session, const csync_outcome *outcome, csync_error *err)
{
    csync *replica = NULL;
    int rc = enter_session(session, &replica, err);

    if (rc != CSYNC_OK)
        return rc;
    rc = cs_session_outcome(session, outcome, err);
    return cs_replica_leave(replica, rc, err);
}

int csync_session_refused(csync_session *session, const csync_error *why, csync_error *err)
{
    csync *replica = NULL;
    csync_error own = CSYNC_ERROR_INIT;
    int rc;

    cs_error_copy(&own, why); /* `err` may be the same struct */
    rc = enter_session(session, &replica, err);
    if (rc != CSYNC_OK)
        return rc;
    rc = own.code < 0 ? cs_session_refused(session, &own, err)
                      : cs_fail(err, CSYNC_EMISUSE, "why is NULL or no failure");
    return cs_replica_leave(replica, rc, err);
}

int csync_session_result(const csync_session *session, csync_result *out)
{
    csync_result result;

    if (!session || cs_struct_check(out, NULL) != CSYNC_OK)
        return CSYNC_EMISUSE;
    result = cs_session_result(session);
    CS_STRUCT_OUT(out, &result);
    return CSYNC_OK;
}

void csync_session_free(csync_session *session)
{
    cs_session_destroy(session);
}

/* ---- drivers ---- */

int cs_remote_code(int rc, const char *function, csync_error *err)
{
    if (rc == CSYNC_OK)
        return rc;
    if (rc > 0 || rc < CSYNC_ECLOCK)
        return cs_fail(err, CSYNC_ECALLBACK,
                       "the remote's %s function answered %d, which is no code", function, rc);
    if (!cs_error_writable(err) || err->code == rc)
        return rc;
    return cs_fail(err, rc, "the remote's %s function failed", function);
}

/* Does what the step asks for and feeds the answer. */
static int answer(csync_session *session, const csync_step *step, const csync_remote *remote,
                  csync_error *err)
{
    csync_batch *page = NULL;
    csync_outcome *outcome = NULL;
    csync_error why = CSYNC_ERROR_INIT;
    int rc;

    if (step->kind == CSYNC_STEP_SEND)
        rc = cs_remote_code(remote->send(remote->user_data, step->batch, &outcome, &why), "send",
                            &why);
    else
        rc = cs_remote_code(remote->fetch(remote->user_data, &step->fetch, &page, &why), "fetch",
                            &why);
    if (rc != CSYNC_OK)
        rc = csync_session_refused(session, &why, err);
    else if (step->kind == CSYNC_STEP_SEND)
        rc = csync_session_outcome(session, outcome, err);
    else
        rc = csync_session_page(session, page, err);
    csync_batch_free(page);
    csync_outcome_free(outcome);
    return rc;
}

/* Runs the session to its end; on failure too, `result` tells what the complete batches did. */
static int drive(csync *replica, const char *peer, const csync_remote *remote,
                 const csync_sync_options *options, csync_result *result, csync_error *err)
{
    csync_session *session = NULL;
    csync_step step = {.struct_size = sizeof step};
    int rc = csync_session_new(&session, replica, peer, options, err);

    if (rc != CSYNC_OK)
        return rc;
    cs_replica_begin_drive(replica);
    while (rc == CSYNC_OK && (rc = csync_session_next(session, &step, err)) == CSYNC_OK &&
           step.kind != CSYNC_STEP_DONE) {
        rc = answer(session, &step, remote, err);
        if (rc == CSYNC_OK)
            rc = cs_replica_cancelled(replica, err);
    }
    if (result)
        (void)csync_session_result(session, result);
    csync_session_free(session);
    cs_replica_end_drive(replica);
    return rc;
}

static int fetch_local(void *user_data, const csync_fetch *fetch, csync_batch **out, csync_error *err)
{
    return csync_changes(user_data, fetch, out, err);
}

static int send_local(void *user_data, const csync_batch *batch, csync_outcome **out, csync_error *err)
{
    return csync_apply(user_data, batch, NULL, out, NULL, err);
}

int csync_sync(csync *replica, csync *peer, const csync_sync_options *options, csync_result *result,
               csync_error *err)
{
    csync_remote remote = {sizeof remote, NULL, peer, fetch_local, send_local, NULL};
    csync_state state = {.struct_size = sizeof state};
    int rc;

    cs_error_clear(err);
    if (!replica || !peer)
        return cs_fail(err, CSYNC_EMISUSE, "replica or peer is NULL");
    if (replica == peer)
        return cs_fail(err, CSYNC_EINVAL, "a replica cannot sync with itself");
    if (result && (rc = CS_STRUCT_CHECK(result, err)) != CSYNC_OK)
        return rc;
    cs_replica_begin_drive(peer); /* a callback may close it */
    rc = csync_get_state(peer, &state, err);
    if (rc == CSYNC_OK)
        rc = drive(replica, state.origin, &remote, options, result, err);
    cs_replica_end_drive(peer);
    return rc;
}

static int check_remote(const csync_remote *remote, int direction, csync_error *err)
{
    if (!remote->fetch && direction != CSYNC_PUSH)
        return cs_fail(err, CSYNC_EMISUSE, "the remote has no fetch function to pull with");
    if (!remote->send && direction != CSYNC_PULL)
        return cs_fail(err, CSYNC_EMISUSE, "the remote has no send function to push with");
    return CSYNC_OK;
}

int csync_sync_remote(csync *replica, const csync_remote *remote, const csync_sync_options *options,
                      csync_result *result, csync_error *err)
{
    csync_sync_options o;
    csync_remote r;
    int rc;

    cs_error_clear(err);
    if (!replica || !remote)
        return cs_fail(err, CSYNC_EMISUSE, "replica or remote is NULL");
    rc = CS_OPTIONS_IN(&r, remote, err);
    if (rc == CSYNC_OK && result)
        rc = CS_STRUCT_CHECK(result, err);
    if (rc == CSYNC_OK)
        rc = CS_OPTIONS_IN(&o, options, err);
    if (rc == CSYNC_OK)
        rc = check_remote(&r, o.direction, err);
    return rc == CSYNC_OK ? drive(replica, r.name ? r.name : "remote", &r, &o, result, err) : rc;
}

/* ---- SQL ---- */

int csync_execute(csync *replica, const char *sql, const csync_value *params, size_t count,
                  csync_row_fn fn, void *user_data, int64_t *changes, csync_error *err)
{
    int rc = cs_replica_enter(replica, err);

    if (rc != CSYNC_OK)
        return rc;
    if (changes)
        *changes = 0;
    if (!sql || (count && !params))
        rc = cs_fail(err, CSYNC_EMISUSE, "sql or params is NULL");
    if (rc == CSYNC_OK)
        rc = replica->backend->ops->execute(replica->backend, sql, params, count, fn, user_data,
                                            changes, err);
    return cs_replica_leave(replica, rc, err);
}

static int begin_suppressed(csync *c, csync_error *err)
{
    cs_backend *b = c->backend;
    int64_t repaired = 0;
    int rc = b->ops->ready(b, err);

    if (rc == CSYNC_OK)
        rc = b->ops->begin(b, 1, err);
    if (rc == CSYNC_OK)
        rc = b->ops->check_schema(b, &repaired, err);
    if (rc == CSYNC_OK)
        rc = b->ops->suppress(b, 1, err);
    if (rc != CSYNC_OK)
        b->ops->rollback(b);
    return rc;
}

int csync_suppress_begin(csync *replica, csync_error *err)
{
    int rc = cs_replica_enter(replica, err);

    if (rc != CSYNC_OK)
        return rc;
    if (replica->suppressing)
        rc = cs_fail(err, CSYNC_EMISUSE, "a suppressed transaction is open already");
    if (rc == CSYNC_OK)
        rc = begin_suppressed(replica, err);
    if (rc == CSYNC_OK)
        replica->suppressing = 1;
    return cs_replica_leave(replica, rc, err);
}

int csync_suppress_end(csync *replica, int commit, csync_error *err)
{
    int rc = cs_replica_enter(replica, err);

    if (rc != CSYNC_OK)
        return rc;
    if (!replica->suppressing) {
        rc = cs_fail(err, CSYNC_EMISUSE, "no suppressed transaction is open");
    } else {
        cs_backend *b = replica->backend;

        if (commit)
            rc = b->ops->suppress(b, 0, err);
        if (commit && rc == CSYNC_OK)
            rc = b->ops->commit(b, err);
        if (!commit || rc != CSYNC_OK)
            b->ops->rollback(b);
        replica->suppressing = 0;
    }
    return cs_replica_leave(replica, rc, err);
}
