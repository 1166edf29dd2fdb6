/* open.c - connections, transactions, and the table of functions. */
#include <string.h>

#include "backend/sqlite/sqlite.h"
#include "base/mem.h"

#define BUSY_STEP_MS 5

/* Memory that mirrors rows of the database is dropped when a transaction did not happen. */
static void forget_origins(cs_sqlite *b)
{
    for (size_t i = 0; i < b->origin_cap; i++)
        cs_free(b->origin_texts[i]);
    cs_free(b->origin_texts);
    b->origin_texts = NULL;
    b->origin_cap = 0;
    cs_free(b->last_origin);
    b->last_origin = NULL;
}

static int begin(cs_backend *base, int write, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, write ? SQ_BEGIN_WRITE : SQ_BEGIN, &stmt, err);

    if (rc == CSYNC_OK)
        rc = sq_run(b, stmt, err);
    b->in_tx = rc == CSYNC_OK;
    b->flag_set = b->suppressed = 0;
    return rc;
}

static int commit(cs_backend *base, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_COMMIT, &stmt, err);

    if (rc == CSYNC_OK)
        rc = sq_run(b, stmt, err);
    if (rc == CSYNC_OK)
        b->in_tx = b->epoch_new = 0;
    return rc;
}

static void rollback(cs_backend *base)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);

    if (!b->in_tx)
        return;
    b->in_tx = 0;
    for (int i = 0; i < SQ_FIXED_COUNT; i++) /* a statement that still runs would hold the rollback up */
        sqlite3_reset(b->fixed[i]);
    while (!sqlite3_get_autocommit(b->db) && /* a cancel may interrupt the ROLLBACK too */
           sqlite3_exec(b->db, "ROLLBACK", NULL, NULL, NULL) == SQLITE_INTERRUPT)
        ;
    b->flag_set = b->suppressed = b->suppressed_writes = 0;
    if (b->epoch_new)
        b->epoch[0] = 0;
    b->epoch_new = 0;
    base->relay = 0; /* what the transaction switched on is off again; the next one reads it */
    b->foreign_from = b->foreign_to = 0;
    sq_forget_all(b);
    forget_origins(b);
}

static int ready(cs_backend *base, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);

    if (sqlite3_get_autocommit(b->db))
        return CSYNC_OK;
    return cs_fail(err, CSYNC_EBUSY,
                   "the connection has an open transaction; commit it or roll it back first");
}

static void interrupt(cs_backend *base)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);

    sqlite3_interrupt(b->db);
}

static void close_backend(cs_backend *base)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);

    rollback(base);
    sq_forget_all(b);
    forget_origins(b);
    for (int i = 0; i < SQ_FIXED_COUNT; i++)
        sqlite3_finalize(b->fixed[i]);
    if (b->owned)
        sqlite3_close_v2(b->db);
    cs_row_close(&b->key_row);
    cs_row_close(&b->payload_row);
    cs_free(b->key);
    cs_free(b->cells);
    cs_free(b->present);
    cs_free(b);
}

/* Versions are given out under the lock of the one who writes. */
static int no_lag(cs_backend *base, cs_holder_visit visit, void *ctx, csync_error *err)
{
    (void)base;
    (void)visit;
    (void)ctx;
    (void)err;
    return CSYNC_OK;
}

static const cs_backend_ops ops = {
    .name = "sqlite",
    .close = close_backend,
    .interrupt = interrupt,
    .ready = ready,
    .begin = begin,
    .commit = commit,
    .rollback = rollback,
    .init = sq_init,
    .check_schema = sq_check_schema,
    .schema_changed = sq_schema_changed,
    .track = sq_track,
    .untrack = sq_untrack,
    .trigger_sql = sq_trigger_sql_of,
    .suppress = sq_suppress,
    .fold = sq_fold,
    .needs_fold = sq_needs_fold,
    .start_relay = sq_start_relay,
    .complete_log = sq_complete_log,
    .parked_count = sq_parked_count,
    .log_top = sq_log_top,
    .pending = sq_pending,
    .page = sq_page,
    .heads_get = sq_heads_get,
    .head_change = sq_head_change,
    .log_change = sq_log_change,
    .agree = sq_agree,
    .merge = sq_merge,
    .retry_parked = sq_retry_parked,
    .raise_clock = sq_raise_clock,
    .stamp_now = sq_stamp_now,
    .wall_clock = sq_wall_clock,
    .stamp_again = sq_stamp_again,
    .settle = sq_settle,
    .settled = sq_settled,
    .position = sq_position,
    .judge = sq_judge,
    .floors = sq_floors,
    .purge = sq_purge,
    .snapshot_page = sq_snapshot_page,
    .snapshot_get = sq_snapshot_get,
    .snapshot_put = sq_snapshot_put,
    .forget_via = sq_forget_via,
    .offer = sq_offer,
    .snapshot_seen = sq_snapshot_seen,
    .snapshot_unseen = sq_snapshot_unseen,
    .reply_get = sq_reply_get,
    .reply_put = sq_reply_put,
    .client_put = sq_client_put,
    .client_get = sq_client_get,
    .client_forget = sq_client_forget,
    .clients = sq_clients,
    .safe_version = sq_safe_version,
    .heard = sq_heard,
    .heard_put = sq_heard_put,
    .peer_get = sq_peer_get,
    .peer_put = sq_peer_put,
    .other_peers = sq_other_peers,
    .state = sq_state,
    .lag = no_lag,
    .doctor = sq_doctor,
    .conflict_add = sq_conflict_add,
    .conflicts = sq_conflicts,
    .parked = sq_parked,
    .scan = sq_scan,
    .look = sq_look,
    .restore = sq_restore,
    .execute = sq_execute,
    .signs = sq_signs,
    .has_news = sq_has_news,
    .subscription_get = sq_subscription_get,
    .subscription_put = sq_subscription_put,
    .subscription_drop = sq_subscription_drop,
    .subscriptions_expire = sq_subscriptions_expire,
};

static cs_sqlite *create(const sqlite3_api_routines *api, int owned)
{
    cs_sqlite *b = cs_calloc(1, sizeof *b);

    if (!b)
        return NULL;
    b->base.ops = &ops;
    b->api = api;
    b->owned = owned;
    b->schema_version = -1;
    return b;
}

/* The order of UTF-8 bytes: BINARY in a UTF-16 database is that of its 16-bit units' bytes. */
static int compare_utf8(void *unused, int a_len, const void *a, int b_len, const void *b)
{
    int order = memcmp(a, b, (size_t)(a_len < b_len ? a_len : b_len));

    (void)unused;
    return order ? order : a_len - b_len;
}

static int add_collation(cs_sqlite *b, csync_error *err)
{
    SQ_API(b);

    if (sqlite3_create_collation_v2(b->db, "csync_utf8", SQLITE_UTF8, NULL, compare_utf8, NULL) ==
        SQLITE_OK)
        return CSYNC_OK;
    return sq_fail(b, err, "cannot register a collation");
}

static const char *path_of(const char *url)
{
    static const char scheme[] = "sqlite:";

    if (strncmp(url, scheme, sizeof scheme - 1) != 0)
        return url;
    url += sizeof scheme - 1;
    return strncmp(url, "//", 2) == 0 ? url + 2 : url;
}

/* Waits in small steps, so that a cancel is noticed. */
static int on_busy(void *ctx, int count)
{
    cs_sqlite *b = ctx;
    SQ_API(b);

    if (b->base.impatient || count * BUSY_STEP_MS >= b->busy_ms ||
        (b->base.cancelled && atomic_load(b->base.cancelled)))
        return 0;
    sqlite3_sleep(BUSY_STEP_MS);
    return 1;
}

static int busy_timeout(const csync_open_options *options)
{
    if (options->busy_timeout_ms == 0)
        return 5000;
    return options->busy_timeout_ms < 0 ? 0 : options->busy_timeout_ms;
}

/* Defensive: SQL cannot damage the file (sqlite.org/security.html). trusted_schema stays on: with it off
 * SQLite 3.40 refuses its own JSON functions in triggers, csync's among them. */
static int configure(cs_sqlite *b, const csync_open_options *options, csync_error *err)
{
    SQ_API(b);

    sqlite3_extended_result_codes(b->db, 1);
    b->busy_ms = busy_timeout(options);
    sqlite3_busy_handler(b->db, on_busy, b);
    if (sqlite3_db_config(b->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL) != SQLITE_OK)
        return sq_fail(b, err, "cannot configure the connection");
    return sq_exec(
        b, options->foreign_keys < 0 ? "PRAGMA foreign_keys=OFF" : "PRAGMA foreign_keys=ON", err);
}

int cs_sqlite_open(cs_backend **out, const char *url, const csync_open_options *options,
                   csync_error *err)
{
    static const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    const sqlite3_api_routines *sqlite3_api;
    cs_sqlite *b;
    int rc = sq_bound(&sqlite3_api, err);

    *out = NULL;
    if (rc != CSYNC_OK)
        return rc;
    b = create(sqlite3_api, 1);
    if (!b)
        return cs_fail_nomem(err);
    if (sqlite3_open_v2(path_of(url), &b->db, flags, NULL) != SQLITE_OK) {
        rc = b->db ? cs_fail(err, CSYNC_EDB, "cannot open database \"%.200s\": %s", path_of(url),
                             sqlite3_errmsg(b->db))
                   : cs_fail_nomem(err);
    } else {
        rc = configure(b, options, err);
        if (rc == CSYNC_OK)
            rc = add_collation(b, err);
    }
    if (rc != CSYNC_OK) {
        close_backend(&b->base);
        return rc;
    }
    *out = &b->base;
    return CSYNC_OK;
}

int cs_sqlite_attach(cs_backend **out, void *db, const void *api, const csync_open_options *options,
                     csync_error *err)
{
    const sqlite3_api_routines *table = api;
    cs_sqlite *b;
    int rc = table ? sq_bind_api(table, err) : sq_bound(&table, err);

    (void)options;
    *out = NULL;
    if (rc != CSYNC_OK)
        return rc;
    b = create(table, 0);
    if (!b)
        return cs_fail_nomem(err);
    b->db = db;
    rc = add_collation(b, err);
    if (rc != CSYNC_OK) {
        close_backend(&b->base);
        return rc;
    }
    *out = &b->base;
    return CSYNC_OK;
}
