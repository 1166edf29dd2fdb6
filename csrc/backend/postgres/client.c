/* client.c - who reads this replica's log and how far each is, and forgetting what all of them have. */
#include "backend/postgres/postgres.h"

#define SILENT_MS                                                                                  \
    "(csync._sync_wall()-floor(extract(epoch FROM last_sync_timestamp::timestamptz)*1000)::bigint)"
/* $1: days. Never one that this replica itself has to go to: its deletes must not be forgotten before they are pushed. */
#define STALE "(pushed_to=0 AND " SILENT_MS ">$1::bigint*86400000)"

int pg_client_put(cs_backend *base, const char *origin, int64_t version, int goes_there,
                  csync_error *err)
{
    pg_args a = {.count = 0};

    pg_text(&a, origin);
    pg_int(&a, version);
    pg_int(&a, goes_there);
    return pg_run((cs_pg *)base,
                  "INSERT INTO csync._sync_clients AS c(origin_id,last_sync_version,"
                  "last_sync_timestamp,created_at,pushed_to) SELECT $1,$2::bigint,n,n,$3::int FROM "
                  "csync._sync_time(csync._sync_wall()) n ON CONFLICT(origin_id) DO UPDATE SET "
                  "last_sync_version=excluded.last_sync_version,"
                  "last_sync_timestamp=excluded.last_sync_timestamp,"
                  "pushed_to=c.pushed_to|excluded.pushed_to",
                  &a, NULL, err);
}

int pg_client_get(cs_backend *base, const char *origin, cs_contact *out, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    pg_args a = {.count = 0};
    PGresult *r;
    int rc;

    out->silence_ms = INT64_MAX;
    out->goes_there = 0;
    pg_text(&a, origin);
    rc = pg_run(b, "SELECT " SILENT_MS ",pushed_to FROM csync._sync_clients WHERE origin_id=$1", &a,
                &r, err);
    if (rc == CSYNC_OK && pg_rows(b, r)) {
        out->silence_ms = pg_cell_int(b, r, 0, 0);
        out->goes_there = pg_cell_int(b, r, 0, 1) != 0;
    }
    pg_clear(b, r);
    return rc;
}

int pg_client_forget(cs_backend *base, const char *origin, csync_error *err)
{
    pg_args a = {.count = 0};
    int64_t one;
    int found = 0;
    int rc;

    pg_text(&a, origin);
    rc = pg_query_int((cs_pg *)base, "DELETE FROM csync._sync_clients WHERE origin_id=$1 RETURNING 1",
                      &a, &one, &found, err);
    if (rc == CSYNC_OK && !found)
        rc = cs_fail(err, CSYNC_ENOTFOUND, "there is no client \"%.100s\"", origin);
    return rc;
}

int pg_clients(cs_backend *base, int stale_days, cs_client_visit visit, void *ctx, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    pg_args a = {.count = 0};
    cs_client client;
    PGresult *r;
    int rc;

    pg_int(&a, stale_days);
    rc = pg_run(b,
                "SELECT origin_id,last_sync_version,last_sync_timestamp,created_at," STALE
                "::int FROM csync._sync_clients ORDER BY last_sync_version,origin_id",
                &a, &r, err);
    for (int i = 0, n = rc == CSYNC_OK ? pg_rows(b, r) : 0; rc == CSYNC_OK && i < n; i++) {
        client.origin = pg_cell(b, r, i, 0);
        client.version = pg_cell_int(b, r, i, 1);
        client.last_sync = pg_cell(b, r, i, 2);
        client.created = pg_cell(b, r, i, 3);
        client.stale = (int)pg_cell_int(b, r, i, 4);
        rc = visit(ctx, &client, err);
    }
    pg_clear(b, r);
    return rc;
}

/* Nobody has more of the log than there is, whatever he says. */
int pg_safe_version(cs_backend *base, int stale_days, int64_t *version, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    pg_args a = {.count = 0};
    int rc;

    pg_int(&a, stale_days);
    rc = pg_query_int(b, "SELECT min(last_sync_version) FROM csync._sync_clients WHERE NOT " STALE,
                      &a, version, NULL, err);
    if (*version > b->top)
        *version = b->top;
    return rc;
}

/* ---- forgetting ---- */

int pg_floors(cs_backend *base, cs_floors *out, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    PGresult *r;
    int rc = pg_run(b,
                    "SELECT max(value::bigint) FILTER(WHERE key='log_floor'),max(value::bigint) "
                    "FILTER(WHERE key='tombstone_floor'),max(value::bigint) FILTER(WHERE "
                    "key='tombstone_ts') FROM csync._sync_state WHERE key IN "
                    "('log_floor','tombstone_floor','tombstone_ts')",
                    NULL, &r, err);

    if (rc == CSYNC_OK) {
        out->log = pg_cell_int(b, r, 0, 0);
        out->tombstones = pg_cell_int(b, r, 0, 1);
        out->tombstone_ts = pg_cell_int(b, r, 0, 2);
    }
    pg_clear(b, r);
    return rc;
}

/* Deleted rows whose entry is up to `version`, but not those whose delete waits for something. */
static int forget_tombstones(cs_pg *b, int64_t version, cs_floors *floors, csync_purged *out,
                             csync_error *err)
{
    pg_args a = {.count = 0};
    PGresult *r;
    int rc;

    pg_int(&a, version);
    rc = pg_run(b,
                "WITH d AS (DELETE FROM csync._sync_rows WHERE state&1<>0 AND parked=0 AND version<=$1 "
                "RETURNING ts) SELECT count(*),coalesce(max(ts),0) FROM d",
                &a, &r, err);
    if (rc == CSYNC_OK && pg_cell_int(b, r, 0, 0)) {
        int64_t ts = pg_cell_int(b, r, 0, 1);

        floors->tombstones = version;
        if (floors->tombstone_ts < ts)
            floors->tombstone_ts = ts;
        out->tombstones += pg_cell_int(b, r, 0, 0);
    }
    pg_clear(b, r);
    return rc;
}

static int store_floors(cs_pg *b, const cs_floors *floors, csync_error *err)
{
    int rc = pg_state_put_int(b, "log_floor", floors->log, err);

    if (rc == CSYNC_OK)
        rc = pg_state_put_int(b, "tombstone_floor", floors->tombstones, err);
    return rc == CSYNC_OK ? pg_state_put_int(b, "tombstone_ts", floors->tombstone_ts, err) : rc;
}

int pg_purge(cs_backend *base, int64_t version, csync_purged *out, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    pg_args a = {.count = 0};
    cs_floors floors;
    PGresult *r;
    int rc = pg_floors(base, &floors, err);

    pg_int(&a, version);
    if (rc == CSYNC_OK)
        rc = pg_query_int(b, "SELECT max(version) FROM csync._sync_log WHERE version<=$1", &a,
                          &version, NULL, err);
    if (rc != CSYNC_OK || --version <= floors.log)
        return rc;
    floors.log = version;
    rc = forget_tombstones(b, version, &floors, out, err);
    a.count = 0;
    pg_int(&a, version);
    if (rc == CSYNC_OK)
        rc = pg_run(b, "DELETE FROM csync._sync_log WHERE version<=$1", &a, &r, err);
    if (rc != CSYNC_OK)
        return rc;
    out->entries = pg_affected(b, r);
    pg_clear(b, r);
    return store_floors(b, &floors, err);
}
