/* open.c - connections, transactions, and the table of functions. */
#include <string.h>

#include "backend/postgres/postgres.h"
#include "base/mem.h"

/* What the texts of values depend on; for the transaction only: a pooled connection, and the application's, keep
 * their own. Without bitmap scans a new log, of which there are no statistics, is read by its index from the version on, not
 * whole and sorted. */
#define SETTINGS                                                                                   \
    ";SET LOCAL client_encoding='UTF8';SET LOCAL client_min_messages=warning;"                     \
    "SET LOCAL timezone='UTC';SET LOCAL datestyle='ISO, YMD';SET LOCAL intervalstyle='iso_8601';"  \
    "SET LOCAL extra_float_digits=1;SET LOCAL bytea_output='hex';"                                 \
    "SET LOCAL standard_conforming_strings=on;SET LOCAL jit=off;SET LOCAL enable_bitmapscan=off;SET LOCAL check_function_bodies=off;" PG_SAFE_PATH

static int horizon(cs_pg *b, const char *sql, csync_error *err)
{
    PGresult *r = NULL;
    int rc = pg_exec_last(b, sql, &r, err);

    if (rc == CSYNC_OK)
        b->top = pg_cell_int(b, r, 0, 0);
    pg_clear(b, r);
    return rc;
}

/* A reader has one snapshot, taken after the horizon was seen, whatever the level of isolation is by default. */
static int begin_read(cs_pg *b, csync_error *err)
{
    int rc = horizon(
        b, "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;SELECT csync._sync_horizon()", err);

    return rc == CSYNC_OK
               ? pg_exec(b, "COMMIT;BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" SETTINGS, err)
               : rc;
}

int pg_begin_init(cs_pg *b, csync_error *err)
{
    b->in_tx = 1;
    return pg_exec(b, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE" SETTINGS, err);
}

/* Writers of csync go one after the other, so heads do not change under them. */
static int begin_write(cs_pg *b, csync_error *err)
{
    cs_buf sql = {0};
    int rc;

    cs_buf_printf(&sql,
                  "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE" SETTINGS
                  ";SET LOCAL lock_timeout=%d;SELECT pg_advisory_xact_lock(" PG_WRITER_LOCK ")",
                  b->base.impatient || b->busy_ms < 1 ? 1 : b->busy_ms);
    rc = pg_exec_buf(b, &sql, err);
    return rc == CSYNC_OK ? horizon(b, "SELECT csync._sync_horizon()", err) : rc;
}

static int begin(cs_backend *base, int write, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;

    b->in_tx = 1;
    b->suppressed = 0;
    pg_own_cut(b, 0);
    return write ? begin_write(b, err) : begin_read(b, err);
}

/* A COMMIT of a failed transaction is a ROLLBACK that reports no error. */
static int commit(cs_backend *base, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    int rc = b->pq->PQtransactionStatus(b->conn) == PQTRANS_INTRANS
                 ? pg_exec(b, "COMMIT", err)
                 : cs_fail(err, CSYNC_EDB, "the transaction has failed and cannot be committed");

    if (rc == CSYNC_OK)
        b->in_tx = b->epoch_new = 0;
    return rc;
}

static void rollback(cs_backend *base)
{
    cs_pg *b = (cs_pg *)base;

    if (!b->in_tx)
        return;
    b->in_tx = b->suppressed = 0;
    if (b->pq->PQtransactionStatus(b->conn) != PQTRANS_IDLE)
        b->pq->PQclear(b->pq->PQexec(b->conn, "ROLLBACK"));
    if (b->epoch_new)
        b->epoch[0] = 0;
    b->epoch_new = 0;
    base->relay = 0; /* what the transaction switched on is off again; the next one reads it */
    pg_forget_all(b);
}

static int ready(cs_backend *base, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;

    if (b->pq->PQstatus(b->conn) != CONNECTION_OK)
        return cs_fail(err, CSYNC_EDB,
                       "the connection to PostgreSQL is lost; open the replica again");
    switch (b->pq->PQtransactionStatus(b->conn)) {
    case PQTRANS_IDLE:
        return CSYNC_OK;
    case PQTRANS_ACTIVE:
        return cs_fail(err, CSYNC_EBUSY,
                       "a query is under way on the connection; read its results to their end first");
    case PQTRANS_INERROR:
        return cs_fail(err, CSYNC_EBUSY,
                       "the connection's open transaction has failed; roll it back first");
    default:
        return cs_fail(err, CSYNC_EBUSY,
                       "the connection has an open transaction; commit it or roll it back first");
    }
}

static void interrupt(cs_backend *base)
{
    cs_pg *b = (cs_pg *)base;
    char text[256];

    if (b->cancel)
        (void)b->pq->PQcancel(b->cancel, text, sizeof text);
}

static int suppress(cs_backend *base, int on, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;

    b->suppressed = on;
    return pg_exec(b,
                   on ? "SELECT set_config('csync.sync_active','1',true)"
                      : "SELECT set_config('csync.sync_active','',true)",
                   err);
}

static void close_backend(cs_backend *base)
{
    cs_pg *b = (cs_pg *)base;

    rollback(base);
    pg_forget_all(b);
    pg_forget_origins(b);
    if (b->cancel)
        b->pq->PQfreeCancel(b->cancel);
    if (b->conn && b->owned)
        b->pq->PQfinish(b->conn);
    cs_row_close(&b->key_row);
    cs_row_close(&b->payload_row);
    cs_buf_free(&b->pk);
    cs_buf_free(&b->constraint);
    pg_own_cut(b, 0);
    cs_free(b->own);
    cs_free(b->key);
    cs_free(b->cells);
    cs_free(b->present);
    cs_free(b);
}

static const cs_backend_ops ops = {
    .name = "postgresql",
    .close = close_backend,
    .interrupt = interrupt,
    .ready = ready,
    .begin = begin,
    .commit = commit,
    .rollback = rollback,
    .init = pg_init,
    .check_schema = pg_check_schema,
    .schema_changed = pg_schema_changed,
    .track = pg_track,
    .untrack = pg_untrack,
    .trigger_sql = pg_trigger_sql_of,
    .suppress = suppress,
    .fold = pg_fold,
    .needs_fold = pg_needs_fold,
    .start_relay = pg_start_relay,
    .complete_log = pg_complete_log,
    .log_top = pg_log_top,
    .pending = pg_pending,
    .page = pg_page,
    .snapshot_page = pg_snapshot_page,
    .settle = pg_settle,
    .settled = pg_settled,
    .position = pg_position,
    .judge = pg_judge,
    .floors = pg_floors,
    .purge = pg_purge,
    .heads_get = pg_heads_get,
    .head_change = pg_head_change,
    .log_change = pg_log_change,
    .agree = pg_agree,
    .merge = pg_merge,
    .retry_parked = pg_retry_parked,
    .raise_clock = pg_raise_clock,
    .stamp_now = pg_stamp_now,
    .wall_clock = pg_wall_clock,
    .stamp_again = pg_stamp_again,
    .heard = pg_heard,
    .heard_put = pg_heard_put,
    .peer_get = pg_peer_get,
    .peer_put = pg_peer_put,
    .other_peers = pg_other_peers,
    .reply_get = pg_reply_get,
    .reply_put = pg_reply_put,
    .snapshot_get = pg_snapshot_get,
    .snapshot_put = pg_snapshot_put,
    .forget_via = pg_forget_via,
    .offer = pg_offer,
    .snapshot_seen = pg_snapshot_seen,
    .snapshot_unseen = pg_snapshot_unseen,
    .client_put = pg_client_put,
    .client_get = pg_client_get,
    .client_forget = pg_client_forget,
    .clients = pg_clients,
    .safe_version = pg_safe_version,
    .state = pg_state,
    .lag = pg_lag,
    .doctor = pg_doctor,
    .conflict_add = pg_conflict_add,
    .conflicts = pg_conflicts,
    .parked_count = pg_parked_count,
    .parked = pg_parked,
    .scan = pg_scan,
    .look = pg_look,
    .restore = pg_restore,
    .execute = pg_execute,
    .signs = pg_signs,
    .has_news = pg_has_news,
    .subscription_get = pg_subscription_get,
    .subscription_put = pg_subscription_put,
    .subscription_drop = pg_subscription_drop,
    .subscriptions_expire = pg_subscriptions_expire,
};

static int busy_timeout(const csync_open_options *options)
{
    if (options->busy_timeout_ms == 0)
        return 5000;
    return options->busy_timeout_ms < 0 ? 0 : options->busy_timeout_ms;
}

static void ignore_notice(void *ctx, const char *text)
{
    (void)ctx;
    (void)text;
}

static int check_connection(cs_pg *b, csync_error *err)
{
    if (b->pq->PQstatus(b->conn) != CONNECTION_OK)
        return cs_fail(err, CSYNC_EDB, "there is no connection to PostgreSQL: %s",
                       b->pq->PQerrorMessage(b->conn));
    if (b->pq->PQserverVersion(b->conn) < 130000)
        return cs_fail(err, CSYNC_EUNSUPPORTED, "PostgreSQL 13 or newer is needed; this is %d",
                       b->pq->PQserverVersion(b->conn) / 10000);
    b->cancel = b->pq->PQgetCancel(b->conn);
    if (b->owned)
        b->pq->PQsetNoticeProcessor(b->conn, ignore_notice, NULL);
    return CSYNC_OK;
}

/* libpq's texts do not hold the password; the URL does, so it is never part of a message. */
static int connect_to(cs_pg *b, const char *url, csync_error *err)
{
    static const char scheme[] = "postgresql:";
    size_t n = sizeof scheme - 1;

    if (strncmp(url, scheme, n) == 0 && strncmp(url + n, "//", 2) != 0)
        url += n; /* keywords and values */
    b->owned = 1;
    b->conn = b->pq->PQconnectdb(url);
    return b->conn ? CSYNC_OK : cs_fail_nomem(err);
}

static int create(cs_pg **out, void *library, const csync_open_options *options, csync_error *err)
{
    cs_pg *b = cs_calloc(1, sizeof *b);
    int rc;

    if (!b)
        return cs_fail_nomem(err);
    rc = pg_libpq(library, &b->functions, err);
    if (rc != CSYNC_OK) {
        cs_free(b);
        return rc;
    }
    b->base.ops = &ops;
    b->pq = &b->functions;
    b->busy_ms = busy_timeout(options);
    b->tables_are_new = 1;
    *out = b;
    return CSYNC_OK;
}

static int finish(cs_backend **out, cs_pg *b, int rc, csync_error *err)
{
    if (rc == CSYNC_OK)
        rc = check_connection(b, err);
    if (rc == CSYNC_OK)
        *out = &b->base;
    else
        close_backend(&b->base);
    return rc;
}

int cs_postgres_open(cs_backend **out, const char *url, const csync_open_options *options,
                     csync_error *err)
{
    cs_pg *b = NULL;
    int rc = create(&b, NULL, options, err);

    *out = NULL;
    return rc == CSYNC_OK ? finish(out, b, connect_to(b, url, err), err) : rc;
}

int cs_postgres_attach(cs_backend **out, void *conn, void *library,
                       const csync_open_options *options, csync_error *err)
{
    cs_pg *b = NULL;
    int rc = create(&b, library, options, err);

    *out = NULL;
    if (rc != CSYNC_OK)
        return rc;
    b->conn = conn;
    return finish(out, b, CSYNC_OK, err);
}
