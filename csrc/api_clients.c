/* api_clients.c - the public entry points on clients and tombstones. */
#include <string.h>

#include "base/options.h"
#include "base/rules.h"
#include "sync/replica.h"
#include "sync/report.h"

#define STALE_DAYS 90

typedef struct client_args {
    const char *origin;
    int64_t version;
    int stale_days;
    csync_purged purged;
} client_args;

static int check_client(csync *c, const char *origin, csync_error *err)
{
    if (!origin)
        return cs_fail(err, CSYNC_EMISUSE, "origin is NULL");
    if (strcmp(origin, c->backend->origin) == 0)
        return cs_fail(err, CSYNC_EINVAL, "a replica is no client of its own");
    return cs_peer_check(origin, err);
}

static int check_days(int days, csync_error *err)
{
    return days >= 0 ? CSYNC_OK : cs_fail(err, CSYNC_EINVAL, "stale_days is negative");
}

static int days_of(int stale_days)
{
    return stale_days ? stale_days : STALE_DAYS;
}

static int put_client(csync *c, void *ctx, csync_error *err)
{
    const client_args *a = ctx;
    int64_t top = 0;
    int rc = c->backend->ops->log_top(c->backend, &top, err);

    if (rc == CSYNC_OK && (a->version < 0 || a->version > top))
        rc = cs_fail(err, CSYNC_EINVAL, "version %lld is not in the log, which ends with %lld",
                     (long long)a->version, (long long)top);
    return rc == CSYNC_OK ? c->backend->ops->client_put(c->backend, a->origin, a->version, 0, err)
                          : rc;
}

int csync_register_client(csync *replica, const char *origin, int64_t version, csync_error *err)
{
    client_args args = {.origin = origin, .version = version};
    int rc = cs_replica_enter(replica, err);

    if (rc != CSYNC_OK)
        return rc;
    rc = check_client(replica, origin, err);
    if (rc == CSYNC_OK)
        rc = cs_replica_write(replica, put_client, &args, err);
    return cs_replica_leave(replica, rc, err);
}

static int forget_client(csync *c, void *ctx, csync_error *err)
{
    return c->backend->ops->client_forget(c->backend, ctx, err);
}

int csync_forget_client(csync *replica, const char *origin, csync_error *err)
{
    int rc = cs_replica_enter(replica, err);

    if (rc != CSYNC_OK)
        return rc;
    rc = check_client(replica, origin, err);
    if (rc == CSYNC_OK)
        rc = cs_replica_write(replica, forget_client, (void *)origin, err);
    return cs_replica_leave(replica, rc, err);
}

int csync_clients(csync *replica, int stale_days, char **json, csync_error *err)
{
    int rc;

    if (json)
        *json = NULL;
    rc = cs_replica_enter(replica, err);
    if (rc != CSYNC_OK)
        return rc;
    rc = json ? check_days(stale_days, err) : cs_fail(err, CSYNC_EMISUSE, "json is NULL");
    if (rc == CSYNC_OK)
        rc = cs_report_clients(replica, days_of(stale_days), json, err);
    return cs_replica_leave(replica, rc, err);
}

static int read_safe_version(csync *c, void *ctx, csync_error *err)
{
    client_args *a = ctx;

    return c->backend->ops->safe_version(c->backend, a->stale_days, &a->version, err);
}

int csync_safe_version(csync *replica, int stale_days, int64_t *version, csync_error *err)
{
    client_args args = {.stale_days = days_of(stale_days)};
    int rc;

    if (version)
        *version = 0;
    rc = cs_replica_enter(replica, err);
    if (rc != CSYNC_OK)
        return rc;
    rc = version ? check_days(stale_days, err) : cs_fail(err, CSYNC_EMISUSE, "version is NULL");
    if (rc == CSYNC_OK)
        rc = cs_replica_read(replica, read_safe_version, &args, err);
    if (rc == CSYNC_OK)
        *version = args.version;
    return cs_replica_leave(replica, rc, err);
}

static int purge(csync *c, void *ctx, csync_error *err)
{
    client_args *a = ctx;
    cs_backend *b = c->backend;
    int rc = b->ops->suppress(b, 1, err);

    if (rc == CSYNC_OK)
        rc = b->ops->fold(b, err);
    if (rc == CSYNC_OK)
        rc = b->ops->suppress(b, 0, err);
    if (rc == CSYNC_OK)
        rc = CS_RULE(ACKNOWLEDGED) ? b->ops->safe_version(b, a->stale_days, &a->purged.version, err)
                                   : b->ops->log_top(b, &a->purged.version, err);
    if (rc == CSYNC_OK)
        rc = b->ops->purge(b, a->purged.version, &a->purged, err);
    return rc;
}

int csync_purge(csync *replica, const csync_purge_options *options, csync_purged *out,
                csync_error *err)
{
    csync_purge_options o;
    client_args args = {.purged = {.struct_size = sizeof args.purged}};
    int rc = cs_replica_enter(replica, err);

    if (rc != CSYNC_OK)
        return rc;
    rc = CS_OPTIONS_IN(&o, options, err);
    if (rc == CSYNC_OK && out)
        rc = CS_STRUCT_CHECK(out, err);
    if (rc == CSYNC_OK)
        rc = check_days(o.stale_days, err);
    args.stale_days = days_of(o.stale_days);
    if (rc == CSYNC_OK)
        rc = cs_replica_write(replica, purge, &args, err);
    if (rc == CSYNC_OK && out)
        CS_STRUCT_OUT(out, &args.purged);
    return cs_replica_leave(replica, rc, err);
}
