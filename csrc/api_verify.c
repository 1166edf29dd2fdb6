/* api_verify.c - the public entry points of a comparison: answering digests, and asking for them. */
#include <string.h>

#include "api_remote.h"
#include "base/options.h"
#include "sync/digest.h"
#include "sync/verify.h"

#define REPORTED 1000 /* rows, by default */

int csync_digest(csync *replica, const char *request, char **answer, csync_error *err)
{
    int rc;

    if (answer)
        *answer = NULL;
    rc = cs_replica_enter(replica, err);
    if (rc != CSYNC_OK)
        return rc;
    rc = request && answer ? cs_digest_serve(replica, request, answer, err)
                           : cs_fail(err, CSYNC_EMISUSE, "request or answer is NULL");
    return cs_replica_leave(replica, rc, err);
}

/* `v` says whom to ask. */
static int run(cs_verify *v, csync *replica, const csync_verify_options *options, char **report,
               csync_error *err)
{
    csync_state state = {.struct_size = sizeof state};
    int rc = CS_OPTIONS_IN(&v->options, options, err);

    if (rc == CSYNC_OK && v->options.limit < 0)
        rc = cs_fail(err, CSYNC_EINVAL, "limit is negative");
    if (rc == CSYNC_OK)
        rc = csync_get_state(replica, &state, err); /* not closed, not forked, not called back */
    if (rc != CSYNC_OK)
        return rc;
    v->replica = replica;
    if (!v->options.limit)
        v->options.limit = REPORTED;
    cs_replica_begin_drive(replica);
    rc = cs_verify_run(v, err);
    if (rc == CSYNC_OK)
        rc = cs_verify_report(v, report, err);
    cs_verify_free(v);
    cs_replica_end_drive(replica);
    return rc;
}

static int ask_replica(void *ctx, const char *request, char **answer, csync_error *err)
{
    return csync_digest(ctx, request, answer, err);
}

int csync_verify(csync *replica, csync *peer, const csync_verify_options *options, char **report,
                 csync_error *err)
{
    cs_verify v = {.ask = ask_replica, .ctx = peer};
    csync_state state = {.struct_size = sizeof state};
    int rc;

    cs_error_clear(err);
    if (report)
        *report = NULL;
    if (!replica || !peer || !report)
        return cs_fail(err, CSYNC_EMISUSE, "replica, peer or report is NULL");
    if (replica == peer)
        return cs_fail(err, CSYNC_EINVAL, "a replica cannot be compared with itself");
    rc = csync_get_state(peer, &state, err);
    if (rc != CSYNC_OK)
        return rc;
    cs_replica_begin_drive(peer); /* a callback may close it */
    rc = run(&v, replica, options, report, err);
    cs_replica_end_drive(peer);
    return rc;
}

static int ask_remote(void *ctx, const char *request, char **answer, csync_error *err)
{
    const csync_remote *remote = ctx;

    return cs_remote_code(remote->digest(remote->user_data, request, answer, err), "digest", err);
}

int csync_verify_remote(csync *replica, const csync_remote *remote,
                        const csync_verify_options *options, char **report, csync_error *err)
{
    csync_remote r;
    cs_verify v = {.ask = ask_remote, .ctx = &r};
    int rc;

    cs_error_clear(err);
    if (report)
        *report = NULL;
    if (!replica || !remote || !report)
        return cs_fail(err, CSYNC_EMISUSE, "replica, remote or report is NULL");
    rc = CS_OPTIONS_IN(&r, remote, err);
    if (rc == CSYNC_OK && !r.digest)
        rc = cs_fail(err, CSYNC_EUNSUPPORTED,
                     "the remote has no digest function, so it cannot be compared with");
    return rc == CSYNC_OK ? run(&v, replica, options, report, err) : rc;
}
