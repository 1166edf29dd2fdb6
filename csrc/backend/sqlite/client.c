/* client.c - who reads this replica's log and how far each is, and forgetting what all of them have. */
#include "backend/sqlite/sqlite.h"

int sq_client_put(cs_backend *base, const char *origin, int64_t version, int goes_there,
                  csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_CLIENT_PUT, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, origin);
    sq_bind_int(b, stmt, 2, version);
    sq_bind_int(b, stmt, 3, goes_there);
    return sq_run(b, stmt, err);
}

int sq_client_get(cs_backend *base, const char *origin, cs_contact *out, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_CLIENT_GET, &stmt, err);

    out->silence_ms = INT64_MAX;
    out->goes_there = 0;
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, origin);
    rc = sq_step(b, stmt, err);
    if (rc == 1) {
        out->silence_ms = sqlite3_column_int64(stmt, 0);
        out->goes_there = sqlite3_column_int(stmt, 1);
    }
    sqlite3_reset(stmt);
    return rc < 0 ? rc : CSYNC_OK;
}

int sq_client_forget(cs_backend *base, const char *origin, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_CLIENT_FORGET, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, origin);
    rc = sq_run(b, stmt, err);
    if (rc == CSYNC_OK && sqlite3_changes(b->db) == 0)
        rc = cs_fail(err, CSYNC_ENOTFOUND, "there is no client \"%.100s\"", origin);
    return rc;
}

int sq_clients(cs_backend *base, int stale_days, cs_client_visit visit, void *ctx, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    cs_client client;
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_CLIENT_LIST, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_int(b, stmt, 1, stale_days);
    while ((rc = sq_step(b, stmt, err)) == 1) {
        client.origin = sq_column_text(b, stmt, 0);
        client.version = sqlite3_column_int64(stmt, 1);
        client.last_sync = sq_column_text(b, stmt, 2);
        client.created = sq_column_text(b, stmt, 3);
        client.stale = sqlite3_column_int(stmt, 4);
        rc = visit(ctx, &client, err);
        if (rc != CSYNC_OK)
            break;
    }
    sqlite3_reset(stmt);
    return rc;
}

/* Nobody has more of the log than there is, whatever he says. */
int sq_safe_version(cs_backend *base, int stale_days, int64_t *version, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    sqlite3_stmt *stmt;
    int64_t top = 0;
    int rc = sq_fixed(b, SQ_CLIENT_SAFE, &stmt, err);

    *version = 0;
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_int(b, stmt, 1, stale_days);
    rc = sq_step(b, stmt, err);
    if (rc == 1)
        *version = sqlite3_column_int64(stmt, 0);
    sqlite3_reset(stmt);
    if (rc >= 0)
        rc = sq_log_top(base, &top, err);
    if (*version > top)
        *version = top;
    return rc;
}

/* ---- forgetting ---- */

int sq_floors(cs_backend *base, cs_floors *out, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    int rc = sq_state_int(b, "log_floor", &out->log, err);

    if (rc == CSYNC_OK)
        rc = sq_state_int(b, "tombstone_floor", &out->tombstones, err);
    return rc == CSYNC_OK ? sq_state_int(b, "tombstone_ts", &out->tombstone_ts, err) : rc;
}

/* Deleted rows whose entry is up to `version`, but not those whose delete waits for something. */
static int forget_tombstones(cs_sqlite *b, cs_table *t, int64_t version, cs_floors *floors,
                             csync_purged *out, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int64_t count = 0, ts = 0;
    int rc = sq_table_stmt(b, t, SQT_TOMBSTONES, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_int(b, stmt, 1, version);
    if ((rc = sq_step(b, stmt, err)) == 1) {
        count = sqlite3_column_int64(stmt, 0);
        ts = sqlite3_column_int64(stmt, 1);
        rc = CSYNC_OK;
    }
    sqlite3_reset(stmt);
    if (rc != CSYNC_OK || !count)
        return rc;
    floors->tombstones = version;
    if (floors->tombstone_ts < ts)
        floors->tombstone_ts = ts;
    out->tombstones += count;
    rc = sq_table_stmt(b, t, SQT_TOMBSTONES_FORGET, &stmt, err);
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_int(b, stmt, 1, version);
    return sq_run(b, stmt, err);
}

static int store_floors(cs_sqlite *b, const cs_floors *floors, csync_error *err)
{
    int rc = sq_state_put_int(b, "log_floor", floors->log, err);

    if (rc == CSYNC_OK)
        rc = sq_state_put_int(b, "tombstone_floor", floors->tombstones, err);
    return rc == CSYNC_OK ? sq_state_put_int(b, "tombstone_ts", floors->tombstone_ts, err) : rc;
}

int sq_purge(cs_backend *base, int64_t version, csync_purged *out, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    cs_floors floors;
    sqlite3_stmt *stmt;
    sq_entry last;
    int rc = sq_floors(base, &floors, err);

    if (rc == CSYNC_OK)
        rc = sq_last_entry(b, version, &last, err);
    if (rc != CSYNC_OK || last.version - 1 <= floors.log)
        return rc;
    floors.log = version = last.version - 1;
    for (size_t i = 0; rc == CSYNC_OK && i < base->table_count; i++)
        rc = forget_tombstones(b, base->tables[i], version, &floors, out, err);
    if (rc == CSYNC_OK)
        rc = sq_fixed(b, SQ_LOG_TRIM, &stmt, err);
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_int(b, stmt, 1, version);
    rc = sq_run(b, stmt, err);
    out->entries = rc == CSYNC_OK ? sqlite3_changes(b->db) : 0;
    return rc == CSYNC_OK ? store_floors(b, &floors, err) : rc;
}
