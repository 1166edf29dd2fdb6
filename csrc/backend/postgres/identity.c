/* identity.c - a copied database is a replica of its own (as in the SQLite backend).
 *
 * A database is told from its copies by its cluster's identifier and its number there. CREATE DATABASE ... TEMPLATE,
 * a dump that is restored and pg_upgrade give another number; a copy of the whole cluster (a base backup, a promoted
 * standby) gives neither. */
#include <stdio.h>
#include <string.h>

#include "backend/postgres/postgres.h"
#include "base/log.h"
#include "base/uuid.h"

#define STATE_KEY "database_id"

typedef char database_id[48];

/* Managed services may keep the cluster's identifier to themselves. */
static int read_id(cs_pg *b, database_id out, csync_error *err)
{
    int64_t may_call = 0;
    PGresult *r;
    int rc = pg_query_int(
        b, "SELECT has_function_privilege('pg_catalog.pg_control_system()','execute')::int", NULL,
        &may_call, NULL, err);

    if (rc == CSYNC_OK)
        rc = pg_run(
            b,
            may_call
                ? "SELECT s.system_identifier||'.'||d.oid FROM pg_catalog.pg_control_system() s,"
                  "pg_catalog.pg_database d WHERE d.datname=current_database()"
                : "SELECT '.'||oid FROM pg_catalog.pg_database WHERE datname=current_database()",
            NULL, &r, err);
    if (rc != CSYNC_OK)
        return rc;
    snprintf(out, sizeof(database_id), "%s", pg_rows(b, r) ? pg_cell(b, r, 0, 0) : "");
    pg_clear(b, r);
    return CSYNC_OK;
}

int pg_remember_database(cs_pg *b, csync_error *err)
{
    database_id id;
    int rc = read_id(b, id, err);

    return rc == CSYNC_OK ? pg_state_put(b, STATE_KEY, id, err) : rc;
}

/* Where one of the two does not know the cluster (another role asked), the database's number has to do. */
static int is_same(const char *a, const char *b)
{
    return a[0] == '.' || b[0] == '.' ? strcmp(strchr(a, '.'), strchr(b, '.')) == 0
                                      : strcmp(a, b) == 0;
}

static int is_copy(cs_pg *b, int *is, csync_error *err)
{
    database_id now = "", stored;
    int rc = pg_state_text(b, STATE_KEY, stored, sizeof stored, err);

    if (rc == CSYNC_OK)
        rc = read_id(b, now, err);
    *is = rc == CSYNC_OK && strchr(now, '.') && strchr(stored, '.') && !is_same(now, stored);
    return rc;
}

/* The log's own entries become those of the origin that made them, which wrote up to `made`; no peer knows the new
 * origin's log. */
static int rename_origin(cs_pg *b, int64_t made, csync_error *err)
{
    pg_args a = {.count = 0};
    char id[CS_UUID_SIZE];
    int64_t last = 0;
    int rc = cs_uuid4(id, err);

    pg_text(&a, b->base.origin);
    if (rc == CSYNC_OK)
        rc = pg_last_version(b, &last, err);
    if (rc == CSYNC_OK)
        rc = pg_run(b, "UPDATE csync._sync_log SET origin=$1,seq=version WHERE origin IS NULL", &a,
                    NULL, err);
    if (rc == CSYNC_OK)
        rc = pg_state_put(b, "origin_id", id, err);
    if (rc == CSYNC_OK) /* what is pending in it was made by its user all the same */
        rc = pg_state_put_int(b, "copied_at", last, err);
    if (rc == CSYNC_OK)
        rc = pg_state_text(b, "copied_from", b->base.copied_from, sizeof b->base.copied_from, err);
    cs_lineage_add(b->base.copied_from, b->base.origin, made);
    if (rc == CSYNC_OK)
        rc = pg_state_put(b, "copied_from", b->base.copied_from, err);
    if (rc == CSYNC_OK)
        rc = pg_exec(b,
                     "UPDATE csync._sync_peers SET pushed=0,pushed_epoch='';"
                     "DELETE FROM csync._sync_clients;DELETE FROM csync._sync_replies",
                     err);
    if (rc == CSYNC_OK)
        memcpy(b->base.origin, id, sizeof id);
    return rc;
}

/* An edit made under the new origin has to beat what it saw, which may have the very same time. */
static int pass_own_stamps(cs_pg *b, csync_error *err)
{
    int64_t last = 0;
    int rc = pg_stamp_now(&b->base, &last, err);

    return rc == CSYNC_OK ? pg_raise_clock(&b->base, last + 1, err) : rc;
}

static int become_own(cs_pg *b, csync_error *err)
{
    int64_t repaired = 0, made = 0;
    int still = 0;
    int rc = is_copy(b, &still, err); /* another process may have been faster */

    if (rc != CSYNC_OK || !still)
        return rc;
    rc = pg_check_schema(&b->base, &repaired, err);
    if (rc == CSYNC_OK)
        rc = b->base.ops->suppress(&b->base, 1, err);
    if (rc == CSYNC_OK)
        rc = pg_fold(&b->base, err);
    if (rc == CSYNC_OK)
        rc = pg_last_version(b, &made, err);
    if (rc == CSYNC_OK) /* rows from before track are pending too */
        rc = pg_complete_log(&b->base, 0, err);
    if (rc == CSYNC_OK)
        rc = rename_origin(b, made, err);
    if (rc == CSYNC_OK)
        rc = pass_own_stamps(b, err);
    if (rc == CSYNC_OK)
        rc = b->base.ops->suppress(&b->base, 0, err);
    return rc == CSYNC_OK ? pg_remember_database(b, err) : rc;
}

/* Whoever writes finishes first: which origin made an entry must not change under it. */
static int settle(cs_pg *b, int is_pinned, csync_error *err)
{
    int rc = b->base.ops->begin(&b->base, 1, err);

    if (rc == CSYNC_OK && !is_pinned)
        rc = pg_exec(b, "LOCK TABLE csync._sync_log IN SHARE ROW EXCLUSIVE MODE", err);
    if (rc == CSYNC_OK)
        rc = is_pinned ? pg_remember_database(b, err) : become_own(b, err);
    if (rc == CSYNC_OK)
        rc = b->base.ops->commit(&b->base, err);
    if (rc != CSYNC_OK)
        b->base.ops->rollback(&b->base);
    return rc;
}

int pg_settle_identity(cs_pg *b, int is_pinned, csync_error *err)
{
    char old[CSYNC_ORIGIN_SIZE];
    int is = 0;
    int rc = b->base.ops->begin(&b->base, 0, err);

    if (rc == CSYNC_OK)
        rc = is_copy(b, &is, err);
    if (rc == CSYNC_OK)
        rc = b->base.ops->commit(&b->base, err);
    if (rc != CSYNC_OK)
        b->base.ops->rollback(&b->base);
    if (rc != CSYNC_OK || !is)
        return rc;
    memcpy(old, b->base.origin, sizeof old);
    rc = settle(b, is_pinned, err);
    if (rc == CSYNC_OK && strcmp(old, b->base.origin) != 0)
        cs_log(CSYNC_LOG_WARNING, "the database is a copy; its origin is %s now, no longer %s",
               b->base.origin, old);
    return rc;
}
