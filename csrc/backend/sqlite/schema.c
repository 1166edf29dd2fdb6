/* schema.c - csync's own tables, and init. */
#include <string.h>

#include "backend/sqlite/sqlite.h"

/* The first five are the reference's, with its names and columns. _sync_log has no CHECK and no secondary
 * index (the two halve capture speed) and is AUTOINCREMENT (a version is never used twice). In it origin
 * NULL is this replica, and seq NULL is the version. */
static const char tables_sql[] =
    "CREATE TABLE IF NOT EXISTS main._sync_log(version INTEGER PRIMARY KEY AUTOINCREMENT,"
    " table_name TEXT NOT NULL, pk_value TEXT NOT NULL, operation TEXT NOT NULL, payload TEXT,"
    " origin TEXT, timestamp TEXT NOT NULL, seq INTEGER);"
    "CREATE TABLE IF NOT EXISTS main._sync_state(key TEXT PRIMARY KEY, value TEXT NOT NULL);"
    "CREATE TABLE IF NOT EXISTS main._sync_session(sync_active INTEGER NOT NULL DEFAULT 0,"
    " clock TEXT NOT NULL DEFAULT '', ticked REAL NOT NULL DEFAULT 0);"
    "CREATE TABLE IF NOT EXISTS main._sync_clients(origin_id TEXT PRIMARY KEY,"
    " last_sync_version INTEGER NOT NULL DEFAULT 0, last_sync_timestamp TEXT NOT NULL,"
    " created_at TEXT NOT NULL, pushed_to INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE IF NOT EXISTS main._sync_subscriptions(subscription_id TEXT PRIMARY KEY,"
    " origin_id TEXT NOT NULL, subscription_type TEXT NOT NULL"
    " CHECK(subscription_type IN ('record','table','query')), table_name TEXT NOT NULL, filter TEXT,"
    " created_at TEXT NOT NULL, expires_at TEXT, version INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE IF NOT EXISTS main._sync_tables(id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " name TEXT NOT NULL UNIQUE, capture INTEGER NOT NULL, fingerprint TEXT NOT NULL,"
    " surplus INTEGER DEFAULT 0);"
    "CREATE TABLE IF NOT EXISTS main._sync_origins(id INTEGER PRIMARY KEY, origin TEXT NOT NULL UNIQUE);"
    "CREATE TABLE IF NOT EXISTS main._sync_peers(id INTEGER PRIMARY KEY, peer TEXT NOT NULL UNIQUE,"
    " pulled INTEGER NOT NULL, pulled_epoch TEXT NOT NULL, pushed INTEGER NOT NULL,"
    " pushed_epoch TEXT NOT NULL, heard INTEGER NOT NULL, asked INTEGER NOT NULL,"
    " unheard INTEGER NOT NULL, heard_ts INTEGER NOT NULL, last_seen TEXT NOT NULL);"
    "CREATE TABLE IF NOT EXISTS main._sync_heard(origin TEXT PRIMARY KEY, version INTEGER NOT NULL,"
    " ts INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS main._sync_replies(peer INTEGER PRIMARY KEY,"
    " idempotency_key TEXT NOT NULL,"
    " reply TEXT NOT NULL);"
    "CREATE TABLE IF NOT EXISTS main._sync_snapshots(peer INTEGER PRIMARY KEY, number INTEGER NOT NULL,"
    " version INTEGER NOT NULL, epoch TEXT NOT NULL, floor_ts INTEGER NOT NULL, cursor TEXT NOT NULL);"
    "CREATE TABLE IF NOT EXISTS main._sync_epochs(id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " epoch TEXT NOT NULL UNIQUE, first_version INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS main._sync_parked(id INTEGER PRIMARY KEY, table_name TEXT NOT NULL,"
    " pk_value TEXT NOT NULL, operation TEXT NOT NULL, payload TEXT, origin TEXT NOT NULL,"
    " timestamp TEXT NOT NULL, seq INTEGER NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL,"
    " since TEXT NOT NULL);"
    "CREATE INDEX IF NOT EXISTS main._sync_parked_row ON _sync_parked(table_name, pk_value);"
    "CREATE TABLE IF NOT EXISTS main._sync_conflicts(id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL,"
    " table_name TEXT NOT NULL, pk_value TEXT NOT NULL, strategy TEXT NOT NULL, decision TEXT NOT NULL,"
    " loser_operation TEXT, loser_payload TEXT, loser_origin TEXT, loser_timestamp TEXT, loser_seq INTEGER,"
    " winner_operation TEXT, winner_payload TEXT, winner_origin TEXT, winner_timestamp TEXT,"
    " winner_seq INTEGER);"
    "INSERT INTO main._sync_state(key,value) VALUES('last_server_version','0'),('last_push_version','0'),"
    " ('folded_version','0'),('relay','0'),('unlogged','0') ON CONFLICT DO NOTHING;"
    "INSERT INTO main._sync_session(rowid,sync_active) VALUES(1,0) ON CONFLICT DO NOTHING;";

static int exists(cs_sqlite *b, int *found, csync_error *err)
{
    int64_t n = 0;
    int rc = sq_query_int(b, "SELECT count(*) FROM main.sqlite_master WHERE name='_sync_conflicts'",
                          &n, err);

    *found = n > 0;
    return rc;
}

/* The stored origin, else `wanted`, else a new one. */
static int settle_origin(cs_sqlite *b, const char *wanted, csync_error *err)
{
    char stored[CSYNC_ORIGIN_SIZE];
    int fresh = 0;
    int rc = sq_state_text(b, "origin_id", stored, sizeof stored, err);

    if (rc == CSYNC_OK)
        rc = cs_origin_settle(stored, wanted, &fresh, err);
    if (rc == CSYNC_OK && fresh)
        rc = sq_state_put_text(b, "origin_id", stored, err);
    if (rc != CSYNC_OK)
        return rc;
    memcpy(b->base.origin, stored, sizeof stored);
    return sq_origin_id(b, stored, &b->me, err);
}

static int create(cs_sqlite *b, const char *origin, csync_error *err)
{
    int rc = sq_exec(b, tables_sql, err);

    if (rc == CSYNC_OK)
        rc = settle_origin(b, origin, err);
    return rc == CSYNC_OK ? sq_remember_file(b, err) : rc;
}

/* The session row as no crash of ours leaves it: another tool's leftover, or gone. Without it nothing would
 * be captured. */
static int mend_session(cs_sqlite *b, csync_error *err)
{
    int64_t sound = 0;
    int rc = sq_query_int(
        b, "SELECT count(*) FROM main._sync_session WHERE rowid=1 AND sync_active=0", &sound, err);

    if (rc != CSYNC_OK || sound)
        return rc;
    return sq_exec(b,
                   "INSERT INTO main._sync_session(rowid,sync_active) VALUES(1,0) "
                   "ON CONFLICT DO UPDATE SET sync_active=0",
                   err);
}

/* Opening a replica again writes nothing, so that it never waits for a writer; unless the file is a copy. */
static int load(cs_sqlite *b, const char *origin, csync_error *err)
{
    int rc = settle_origin(b, origin, err);

    if (rc == CSYNC_OK)
        rc = mend_session(b, err);
    if (rc == CSYNC_OK)
        rc = sq_settle_identity(b, origin != NULL, err);
    if (rc == CSYNC_OK)
        rc = sq_state_int(b, "copied_at", &b->base.copied_at, err);
    if (rc == CSYNC_OK)
        rc = sq_state_text(b, "copied_from", b->base.copied_from, sizeof b->base.copied_from, err);
    return rc == CSYNC_OK ? settle_origin(b, NULL, err) : rc;
}

int sq_init(cs_backend *base, const char *origin, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    int found = 0;
    int rc = exists(b, &found, err);

    if (rc == CSYNC_OK && !found) {
        rc = base->ops->begin(base, 1, err);
        if (rc == CSYNC_OK)
            rc = create(b, origin, err);
        if (rc == CSYNC_OK)
            rc = base->ops->commit(base, err);
        if (rc != CSYNC_OK) {
            base->ops->rollback(base);
            return rc;
        }
    }
    return rc == CSYNC_OK ? load(b, origin, err) : rc;
}
