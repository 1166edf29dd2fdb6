/* lag.c - the transactions that hold the log back, and the test that their locks are seen. */
#include "backend/postgres/postgres.h"

/* A prepared transaction has no process; which one it is its lock on its own id says. */
static const char lag_sql[] =
    "SELECT coalesce(m.pid,0),coalesce(a.usename,p.owner),coalesce(a.application_name,p.gid),"
    "CASE WHEN m.pid IS NULL THEN 'prepared' ELSE a.state END,"
    "coalesce(floor(extract(epoch FROM clock_timestamp()-coalesce(a.xact_start,p.prepared)))::bigint,-1),"
    "m.mark,csync._sync_last()-m.mark FROM csync._sync_marks m LEFT JOIN pg_stat_activity a ON a.pid=m.pid "
    "LEFT JOIN pg_locks x ON m.pid IS NULL AND x.pid IS NULL AND x.locktype='transactionid' AND "
    "x.virtualtransaction=m.virtualtransaction LEFT JOIN pg_prepared_xacts p ON p.transaction=x.transactionid "
    "WHERE m.mark<csync._sync_last() ORDER BY m.mark,m.pid";

int pg_lag(cs_backend *base, cs_holder_visit visit, void *ctx, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    PGresult *r;
    int rc = pg_run(b, lag_sql, NULL, &r, err);

    for (int i = 0, n = rc == CSYNC_OK ? pg_rows(b, r) : 0; rc == CSYNC_OK && i < n; i++) {
        cs_holder h = {.pid = pg_cell_int(b, r, i, 0),
                       .user = pg_cell(b, r, i, 1),
                       .application = pg_cell(b, r, i, 2),
                       .state = pg_cell(b, r, i, 3),
                       .seconds = pg_cell_int(b, r, i, 4),
                       .version = pg_cell_int(b, r, i, 5),
                       .waiting = pg_cell_int(b, r, i, 6)};

        rc = visit(ctx, &h, err);
    }
    pg_clear(b, r);
    return rc;
}

/* As another session would see it: that the lock is there, and what it says. */
int pg_lock_test(cs_pg *b, csync_error *err)
{
    int64_t seen = 0;
    int rc = pg_enter_log(b, err);

    if (rc == CSYNC_OK)
        rc = pg_query_int(b,
                          "SELECT count(*) FROM csync._sync_marks WHERE pid=pg_backend_pid() AND "
                          "mark=current_setting('csync.lo')::bigint",
                          NULL, &seen, NULL, err);
    if (rc == CSYNC_OK && seen != 1)
        rc = cs_fail(err, CSYNC_EUNSUPPORTED,
                     "this server does not show its advisory locks in pg_locks; commits would be "
                     "skipped");
    return rc;
}
