/* identity.c - a copied file is a replica of its own: under one origin two replicas would make different changes
 * with the same stamp. */
#include <string.h>

#include "backend/sqlite/sqlite.h"
#include "base/file_id.h"
#include "base/log.h"
#include "base/rules.h"
#include "base/uuid.h"

static void file_id(cs_sqlite *b, char out[CS_FILE_ID_SIZE])
{
    SQ_API(b);
    const char *path = sqlite3_db_filename(b->db, "main");

    out[0] = 0;
    if (path && *path)
        cs_file_id(path, out);
}

int sq_remember_file(cs_sqlite *b, csync_error *err)
{
    char id[CS_FILE_ID_SIZE];

    file_id(b, id);
    return sq_state_put_text(b, "file_id", id, err);
}

int sq_is_copy(cs_sqlite *b, int *is_copy, csync_error *err)
{
    char now[CS_FILE_ID_SIZE], stored[CS_FILE_ID_SIZE];
    int rc = sq_state_text(b, "file_id", stored, sizeof stored, err);

    file_id(b, now);
    *is_copy = rc == CSYNC_OK && now[0] && stored[0] && strcmp(now, stored) != 0;
    return rc;
}

/* The log's own entries become those of the origin that made them, which wrote up to `made`; no peer knows the new
 * origin's log. */
static int rename_origin(cs_sqlite *b, int64_t made, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    char id[CS_UUID_SIZE];
    int64_t top = 0;
    int rc = sq_prepare(b, "UPDATE main._sync_log SET origin=?1,seq=version WHERE origin IS NULL",
                        &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, b->base.origin);
    rc = sq_run(b, stmt, err);
    sqlite3_finalize(stmt);
    if (rc == CSYNC_OK)
        rc = cs_uuid4(id, err);
    if (rc == CSYNC_OK)
        rc = sq_state_put_text(b, "origin_id", id, err);
    if (rc == CSYNC_OK)
        rc = sq_origin_id(b, id, &b->me, err);
    if (rc == CSYNC_OK)
        rc = sq_log_top(&b->base, &top, err);
    if (rc == CSYNC_OK) /* what is pending in it was made by its user all the same */
        rc = sq_state_put_int(b, "copied_at", top, err);
    if (rc == CSYNC_OK)
        rc = sq_state_text(b, "copied_from", b->base.copied_from, sizeof b->base.copied_from, err);
    cs_lineage_add(b->base.copied_from, b->base.origin, made);
    if (rc == CSYNC_OK)
        rc = sq_state_put_text(b, "copied_from", b->base.copied_from, err);
    if (rc == CSYNC_OK)
        rc = sq_exec(b,
                     "UPDATE main._sync_peers SET pushed=0,pushed_epoch='';"
                     "DELETE FROM main._sync_clients;DELETE FROM main._sync_replies;",
                     err);
    if (rc == CSYNC_OK)
        memcpy(b->base.origin, id, sizeof id);
    return rc;
}

/* An edit made under the new origin has to beat what it saw, which may have the very same time. */
static int pass_own_stamps(cs_sqlite *b, csync_error *err)
{
    int64_t last = 0;
    int rc = sq_stamp_now(&b->base, &last, err);

    return rc == CSYNC_OK ? sq_raise_clock(&b->base, last + 1, err) : rc;
}

static int become_own(cs_sqlite *b, csync_error *err)
{
    int64_t repaired = 0, made = 0;
    int is_copy = 0;
    int rc = sq_is_copy(b, &is_copy, err); /* again: another process may have been faster */

    if (rc != CSYNC_OK || !is_copy)
        return rc;
    rc = sq_check_schema(&b->base, &repaired, err);
    if (rc == CSYNC_OK && CS_RULE(COPY_ORIGIN))
        rc = sq_suppress(&b->base, 1, err);
    if (rc == CSYNC_OK && CS_RULE(COPY_ORIGIN))
        rc = sq_fold(&b->base, err);
    if (rc == CSYNC_OK)
        rc = sq_log_top(&b->base, &made, err);
    if (rc == CSYNC_OK && CS_RULE(COPY_ORIGIN)) /* rows from before track are pending too */
        rc = sq_complete_log(&b->base, 0, err);
    if (rc == CSYNC_OK && CS_RULE(COPY_ORIGIN))
        rc = rename_origin(b, made, err);
    if (rc == CSYNC_OK && CS_RULE(COPY_ORIGIN))
        rc = CS_RULE(COPY_CLOCK) ? pass_own_stamps(b, err) : CSYNC_OK;
    if (rc == CSYNC_OK && CS_RULE(COPY_ORIGIN))
        rc = sq_suppress(&b->base, 0, err);
    return rc == CSYNC_OK ? sq_remember_file(b, err) : rc;
}

int sq_settle_identity(cs_sqlite *b, int pinned, csync_error *err)
{
    char old[CSYNC_ORIGIN_SIZE];
    int is_copy = 0;
    int rc = sq_is_copy(b, &is_copy, err);

    if (rc != CSYNC_OK || !is_copy)
        return rc;
    memcpy(old, b->base.origin, sizeof old);
    rc = b->base.ops->begin(&b->base, 1, err);
    if (rc == CSYNC_OK)
        rc = pinned ? sq_remember_file(b, err) : become_own(b, err);
    if (rc == CSYNC_OK)
        rc = b->base.ops->commit(&b->base, err);
    if (rc != CSYNC_OK)
        b->base.ops->rollback(&b->base);
    else if (strcmp(old, b->base.origin) != 0)
        cs_log(CSYNC_LOG_WARNING, "the database file is a copy; its origin is %s now, no longer %s",
               b->base.origin, old);
    return rc;
}
