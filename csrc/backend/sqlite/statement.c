/* statement.c - the SQL of csync's own statements, prepared once; and what SQLite's failures mean. */
#include "backend/sqlite/sqlite.h"

#include <string.h>

#include "base/mem.h"

/* A client that was silent for more than ?1 days; one whose time is none is not stale, nor one that this replica
 * itself has to go to: what is deleted here offline must not be forgotten before it was pushed. */
#define STALE "(NOT pushed_to AND coalesce(julianday('now')-julianday(last_sync_timestamp)>?1,0))"

static const char *const fixed_sql[SQ_FIXED_COUNT] = {
    [SQ_BEGIN] = "BEGIN",
    [SQ_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [SQ_COMMIT] = "COMMIT",
    [SQ_SAVEPOINT] = "SAVEPOINT csync_attempt",
    [SQ_UNDO] = "ROLLBACK TO csync_attempt",
    [SQ_RELEASE] = "RELEASE csync_attempt",
    [SQ_SCHEMA_VERSION] = "PRAGMA main.schema_version",
    [SQ_STATE_GET] = "SELECT value FROM main._sync_state WHERE key=?1",
    [SQ_STATE_PUT] = "INSERT INTO main._sync_state(key,value) VALUES(?1,?2) "
                     "ON CONFLICT(key) DO UPDATE SET value=excluded.value",
    [SQ_SUPPRESS] = "UPDATE main._sync_session SET sync_active=?1 WHERE rowid=1",
    [SQ_CLOCK_GET] = "SELECT max(strftime('%Y-%m-%dT%H:%M:%fZ','now'), clock) FROM main._sync_session "
                     "WHERE rowid=1",
    [SQ_CLOCK_PUT] = "UPDATE main._sync_session SET clock=?1 WHERE rowid=1 AND clock<?1",
    [SQ_LOG_TOP] = "SELECT seq FROM main.sqlite_sequence WHERE name='_sync_log'",
    [SQ_LOG_APPEND] = "INSERT INTO main._sync_log"
                      "(version,table_name,pk_value,operation,payload,origin,timestamp,seq) "
                      "VALUES(?1,?2,?3,?4,?5,?6,?7,?8)",
    [SQ_LOG_SCAN] = "SELECT version,table_name,pk_value,operation,payload,origin,timestamp,seq "
                    "FROM main._sync_log WHERE version>?1 ORDER BY version",
    [SQ_LOG_LOCAL_SCAN] = "SELECT version,table_name,pk_value,operation,timestamp,"
                          "origin IS NULL FROM main._sync_log WHERE version>?1 ORDER BY version",
    [SQ_LOG_ENTRY] = "SELECT version,table_name,pk_value,operation,payload,origin,timestamp,seq "
                     "FROM main._sync_log WHERE version=?1",
    [SQ_LOG_LAST] = "SELECT version,table_name,pk_value,operation,payload,origin,timestamp,seq "
                    "FROM main._sync_log WHERE version<=?1 ORDER BY version DESC LIMIT 1",
    [SQ_LOG_PENDING] = "SELECT 1 FROM main._sync_log WHERE version>?1 AND "
                       "(origin IS NULL OR origin=?2) LIMIT 1",
    [SQ_LOG_AFTER] = "SELECT version,pk_value FROM main._sync_log WHERE version>?1 AND "
                     "table_name=?2 AND origin IS NULL",
    [SQ_LOG_DROP] = "DELETE FROM main._sync_log WHERE version=?1",
    [SQ_LOG_BLANK] = "UPDATE main._sync_log SET payload=NULL WHERE version>?1 AND origin IS NULL",
    [SQ_LOG_FIRST] =
        "SELECT timestamp FROM main._sync_log WHERE version>?1 AND table_name=?2 AND origin IS "
        "NULL AND operation<>'delete' ORDER BY version LIMIT 1",
    [SQ_LOG_LOCAL] =
        "INSERT INTO main._sync_log(table_name,pk_value,operation,timestamp) VALUES(?1,?2,?3,?4)",
    [SQ_LOG_DELETED] = "SELECT pk_value FROM main._sync_log WHERE version>?1 AND table_name=?2 AND "
                       "operation='delete' AND origin IS NULL",
    [SQ_ORIGIN_ID] = "SELECT id FROM main._sync_origins WHERE origin=?1",
    [SQ_ORIGIN_ADD] = "INSERT INTO main._sync_origins(origin) VALUES(?1)",
    [SQ_ORIGIN_TEXT] = "SELECT origin FROM main._sync_origins WHERE id=?1",
    [SQ_PEER_GET] =
        "SELECT id,pulled,pulled_epoch,pushed,pushed_epoch,unheard,heard,asked,heard_ts FROM main._sync_peers WHERE peer=?1",
    [SQ_PEER_PUT] =
        "INSERT INTO main._sync_peers(peer,pulled,pulled_epoch,pushed,pushed_epoch,unheard,"
        "heard,asked,heard_ts,last_seen) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,strftime('%Y-%m-%dT%H:%M:%fZ','now')) ON CONFLICT(peer) DO UPDATE SET "
        "pulled=excluded.pulled,pulled_epoch=excluded.pulled_epoch,pushed=excluded.pushed,"
        "pushed_epoch=excluded.pushed_epoch,unheard=excluded.unheard,heard=excluded.heard,asked=excluded.asked,heard_ts=excluded.heard_ts,last_seen=excluded.last_seen "
        "RETURNING id",
    [SQ_PEER_OTHER] = "SELECT 1 FROM main._sync_peers WHERE peer<>?1 LIMIT 1",
    [SQ_HEARD] = "SELECT origin,version,ts FROM main._sync_heard UNION ALL "
                 "SELECT peer,heard,0 FROM main._sync_peers WHERE asked AND heard>0",
    [SQ_HEARD_PUT] =
        "INSERT INTO main._sync_heard(origin,version,ts) VALUES(?1,?2,?3) ON CONFLICT(origin) DO "
        "UPDATE SET version=excluded.version,ts=max(ts,excluded.ts)",
    [SQ_EPOCH_ADD] = "INSERT INTO main._sync_epochs(epoch,first_version) VALUES(?1,?2)",
    [SQ_EPOCH_GET] = "SELECT (SELECT min(n.first_version) FROM main._sync_epochs n WHERE n.id>e.id) "
                     "FROM main._sync_epochs e WHERE e.epoch=?1",
    [SQ_EPOCH_NEWEST] = "SELECT epoch FROM main._sync_epochs ORDER BY id DESC LIMIT 1",
    [SQ_CLIENT_PUT] =
        "INSERT INTO main._sync_clients(origin_id,last_sync_version,last_sync_timestamp,created_at,"
        "pushed_to) VALUES(?1,?2,strftime('%Y-%m-%dT%H:%M:%fZ','now'),"
        "strftime('%Y-%m-%dT%H:%M:%fZ','now'),?3) ON CONFLICT(origin_id) DO UPDATE SET "
        "last_sync_version=excluded.last_sync_version,"
        "last_sync_timestamp=excluded.last_sync_timestamp,pushed_to=pushed_to|excluded.pushed_to",
    [SQ_CLIENT_GET] = "SELECT (julianday('now')-julianday(last_sync_timestamp))*86400000,pushed_to "
                      "FROM main._sync_clients WHERE origin_id=?1",
    [SQ_CLIENT_FORGET] = "DELETE FROM main._sync_clients WHERE origin_id=?1",
    [SQ_CLIENT_LIST] = "SELECT origin_id,last_sync_version,last_sync_timestamp,created_at," STALE
                       " FROM main._sync_clients ORDER BY last_sync_version,origin_id",
    [SQ_CLIENT_SAFE] = "SELECT min(last_sync_version) FROM main._sync_clients WHERE NOT " STALE,
    [SQ_LOG_TRIM] = "DELETE FROM main._sync_log WHERE version<=?1",
    [SQ_REPLY_GET] = "SELECT reply FROM main._sync_replies WHERE peer=?1 AND "
                     "idempotency_key=?2",
    [SQ_REPLY_PUT] =
        "INSERT INTO main._sync_replies(peer,idempotency_key,reply) VALUES(?1,?2,?3) ON CONFLICT(peer) "
        "DO UPDATE SET idempotency_key=excluded.idempotency_key,reply=excluded.reply",
    [SQ_SNAPSHOT_GET] =
        "SELECT number,version,epoch,floor_ts,cursor FROM main._sync_snapshots WHERE peer=?1",
    [SQ_SNAPSHOT_PUT] =
        "INSERT INTO main._sync_snapshots(peer,number,version,epoch,floor_ts,cursor) "
        "VALUES(?1,?2,?3,?4,?5,?6) ON CONFLICT(peer) DO UPDATE SET number=excluded.number,"
        "version=excluded.version,epoch=excluded.epoch,floor_ts=excluded.floor_ts,"
        "cursor=excluded.cursor",
    [SQ_SNAPSHOT_DROP] = "DELETE FROM main._sync_snapshots WHERE peer=?1",
    [SQ_WALL_CLOCK] = "SELECT strftime('%Y-%m-%dT%H:%M:%fZ','now')",
    [SQ_CLOCK_SET] = "UPDATE main._sync_session SET clock=?1 WHERE rowid=1",
    [SQ_PARK_ADD] = "INSERT INTO main._sync_parked"
                    "(table_name,pk_value,operation,payload,origin,timestamp,seq,reason,message,since) "
                    "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,strftime('%Y-%m-%dT%H:%M:%fZ','now'))",
    [SQ_PARK_DROP] = "DELETE FROM main._sync_parked WHERE id=?1",
    [SQ_PARK_GET] =
        "SELECT id,table_name,pk_value,operation,payload,origin,timestamp,seq,reason,message,"
        "since FROM main._sync_parked WHERE id=?1",
    [SQ_PARK_LIST] =
        "SELECT id,table_name,pk_value,operation,payload,origin,timestamp,seq,reason,message,"
        "since FROM main._sync_parked ORDER BY timestamp DESC,origin DESC,seq DESC,id DESC",
    [SQ_PARK_ANY] = "SELECT 1 FROM main._sync_parked LIMIT 1",
    [SQ_PARK_FIND] = "SELECT id,timestamp,origin,seq FROM main._sync_parked "
                     "WHERE table_name=?1 AND pk_value=?2",
    [SQ_PARK_FORGET] = "DELETE FROM main._sync_parked WHERE table_name=?1 AND pk_value=?2",
    [SQ_PARK_OF] =
        "SELECT id,table_name,pk_value,operation,payload,origin,timestamp,seq,reason,message,since "
        "FROM main._sync_parked WHERE table_name=?1 ORDER BY timestamp DESC,origin DESC,seq DESC",
    [SQ_PARK_AFTER] =
        "SELECT id,table_name,pk_value,operation,payload,origin,timestamp,seq,reason,message,since "
        "FROM main._sync_parked WHERE id>?1 ORDER BY id",
    [SQ_PARK_COUNT] = "SELECT count(*) FROM main._sync_parked",
    [SQ_SURPLUS_GET] = "SELECT surplus FROM main._sync_tables WHERE id=?1",
    [SQ_SURPLUS_PUT] = "UPDATE main._sync_tables SET surplus=?2 WHERE id=?1",
    [SQ_FOREIGN_KEYS] = "PRAGMA foreign_keys",
    [SQ_TEMP_TRIGGERS] = "SELECT count(*) FROM temp.sqlite_master WHERE type='trigger'",
    [SQ_CONFLICT_COUNT] = "SELECT count(*) FROM main._sync_conflicts",
    [SQ_CONFLICT_ADD] =
        "INSERT INTO main._sync_conflicts(at,table_name,pk_value,strategy,decision,"
        "loser_operation,loser_payload,loser_origin,loser_timestamp,loser_seq,"
        "winner_operation,winner_payload,winner_origin,winner_timestamp,winner_seq) "
        "VALUES(strftime('%Y-%m-%dT%H:%M:%fZ','now'),?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)",
    [SQ_CONFLICT_LIST] = "SELECT id,at,table_name,pk_value,strategy,decision,"
                         "loser_operation,loser_payload,loser_origin,loser_timestamp,loser_seq,"
                         "winner_operation,winner_payload,winner_origin,winner_timestamp,winner_seq "
                         "FROM main._sync_conflicts WHERE id>?1 ORDER BY id LIMIT ?2",
    [SQ_SUBSCRIPTION_GET] = "SELECT version, table_name=?2 AND filter IS ?3 "
                            "FROM main._sync_subscriptions WHERE subscription_id=?1",
    [SQ_SUBSCRIPTION_PUT] =
        "INSERT INTO main._sync_subscriptions(subscription_id,origin_id,subscription_type,"
        "table_name,filter,created_at,expires_at,version) "
        "VALUES(?1,?2,?3,?4,?5,strftime('%Y-%m-%dT%H:%M:%fZ','now'),"
        "strftime('%Y-%m-%dT%H:%M:%fZ','now',?6),?7) ON CONFLICT(subscription_id) DO UPDATE "
        "SET expires_at=excluded.expires_at,version=excluded.version",
    [SQ_SUBSCRIPTION_DROP] = "DELETE FROM main._sync_subscriptions WHERE subscription_id=?1",
    [SQ_SUBSCRIPTIONS_EXPIRE] = "DELETE FROM main._sync_subscriptions "
                                "WHERE expires_at<strftime('%Y-%m-%dT%H:%M:%fZ','now')",
};

/* What SQLite's primary result codes are to csync. */
static int code_of(int native)
{
    switch (native & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return CSYNC_EBUSY;
    case SQLITE_NOMEM:
        return CSYNC_ENOMEM;
    case SQLITE_INTERRUPT:
        return CSYNC_ECANCELED;
    default:
        return CSYNC_EDB;
    }
}

int sq_fail(cs_sqlite *b, csync_error *err, const char *what)
{
    SQ_API(b);
    int native = sqlite3_extended_errcode(b->db);
    int code = code_of(native);

    b->native = native;
    if (cs_error_writable(err))
        err->native_code = native;
    if (code == CSYNC_ENOMEM)
        return cs_fail_nomem(err);
    if (code == CSYNC_ECANCELED)
        return cs_fail(err, code, "cancelled");
    if (code == CSYNC_EBUSY)
        return cs_fail(err, code, "%s: another connection is writing to the database (%s)", what,
                       sqlite3_errmsg(b->db));
    return cs_fail(err, code, "%s: %s", what, sqlite3_errmsg(b->db));
}

int sq_prepare(cs_sqlite *b, const char *sql, sqlite3_stmt **out, csync_error *err)
{
    SQ_API(b);

    *out = NULL;
    if (sqlite3_prepare_v3(b->db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL) != SQLITE_OK)
        return sq_fail(b, err, "cannot prepare a statement");
    return CSYNC_OK;
}

int sq_fixed(cs_sqlite *b, enum sq_fixed which, sqlite3_stmt **out, csync_error *err)
{
    SQ_API(b);

    *out = b->fixed[which];
    if (*out) {
        sqlite3_reset(*out);
        return CSYNC_OK;
    }
    int rc = sq_prepare(b, fixed_sql[which], &b->fixed[which], err);
    *out = b->fixed[which];
    return rc;
}

/* A value that could not be bound would be NULL: such a statement must not run. */
static int bind_failure(cs_sqlite *b, sqlite3_stmt *stmt, csync_error *err)
{
    SQ_API(b);
    int failed = b->bind_failed;

    b->bind_failed = SQLITE_OK;
    sqlite3_reset(stmt);
    if (failed == SQLITE_TOOBIG)
        return cs_fail(err, CSYNC_EINVAL, "a value is larger than SQLite can hold");
    return cs_fail_nomem(err);
}

int sq_step(cs_sqlite *b, sqlite3_stmt *stmt, csync_error *err)
{
    SQ_API(b);
    int rc;

    if (b->bind_failed)
        return bind_failure(b, stmt, err);
    rc = sqlite3_step(stmt);

    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE) {
        sqlite3_reset(stmt);
        return 0;
    }
    rc = sq_fail(b, err, "database error");
    sqlite3_reset(stmt);
    return rc;
}

int sq_run(cs_sqlite *b, sqlite3_stmt *stmt, csync_error *err)
{
    SQ_API(b);
    int rc;

    while ((rc = sq_step(b, stmt, err)) == 1)
        ;
    sqlite3_reset(stmt);
    return rc;
}

int sq_exec(cs_sqlite *b, const char *sql, csync_error *err)
{
    SQ_API(b);

    if (sqlite3_exec(b->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return sq_fail(b, err, "database error");
    return CSYNC_OK;
}

int sq_exec_buf(cs_sqlite *b, cs_buf *sql, csync_error *err)
{
    int rc = cs_buf_check(sql, err);

    if (rc == CSYNC_OK)
        rc = sq_exec(b, sql->data, err);
    cs_buf_free(sql);
    return rc;
}

int sq_fixed_int(cs_sqlite *b, enum sq_fixed which, int64_t *out, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, which, &stmt, err);

    *out = 0;
    if (rc == CSYNC_OK && (rc = sq_step(b, stmt, err)) == 1) {
        *out = sqlite3_column_int64(stmt, 0);
        rc = CSYNC_OK;
    }
    sqlite3_reset(stmt);
    return rc;
}

int sq_query_int(cs_sqlite *b, const char *sql, int64_t *out, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_prepare(b, sql, &stmt, err);

    *out = 0;
    if (rc == CSYNC_OK && (rc = sq_step(b, stmt, err)) == 1) {
        *out = sqlite3_column_int64(stmt, 0);
        rc = CSYNC_OK;
    }
    sqlite3_finalize(stmt);
    return rc;
}
