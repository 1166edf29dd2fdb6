/* vanished.c - rows that are gone though no trigger has said so.
 *
 * INSERT OR REPLACE and UPDATE OR REPLACE delete the rows that are in their way on a UNIQUE index, and SQLite
 * runs no delete trigger for those unless the connection has recursive_triggers on. What they leave behind is a
 * live head without a row. Looking every head up would cost more than the sync: two counts say whether there
 * can be one, and only if they have moved against each other are the heads looked up. */
#include <string.h>

#include "backend/sqlite/sqlite.h"
#include "model/stamp.h"

/* ---- looking for them ---- */

static void put_heads(cs_buf *s, const cs_table *t)
{
    cs_buf_printf(s, "main._sync_rows_%lld", (long long)t->id);
}

/* Heads that should have a row and have none. What a suppressed write has taken away is meant to be missing. */
static void put_vanished(cs_buf *s, const cs_table *t)
{
    cs_buf_printf(s, " WHERE NOT state&%d AND NOT parked AND NOT EXISTS(SELECT 1 FROM main.",
                  SQ_DELETED | SQ_HIDDEN);
    cs_put_ident(s, t->name);
    for (size_t i = 0; i < t->key_count; i++) {
        const cs_column *c = &t->columns[t->key[i]];

        cs_buf_puts(s, i ? " AND r." : " r WHERE r.");
        cs_put_ident(s, c->name);
        cs_buf_printf(s, "=h.k%zu COLLATE ", i + 1);
        cs_put_ident(s, c->collation);
    }
    cs_buf_puts(s, ")");
}

static int prepare(cs_sqlite *b, cs_buf *sql, sqlite3_stmt **stmt, csync_error *err)
{
    int rc = cs_buf_check(sql, err);

    *stmt = NULL;
    if (rc == CSYNC_OK)
        rc = sq_prepare(b, sql->data, stmt, err);
    cs_buf_free(sql);
    return rc;
}

/* ---- logging their deletes ---- */

/* When the row went at the earliest: with the first write of this replica's own to the table after `version`.
 * An edit that somebody else made later still wins. *ts 0: there was no such write. */
static int first_write(cs_sqlite *b, const cs_table *t, int64_t version, int64_t *ts, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_LOG_FIRST, &stmt, err);

    *ts = 0;
    if (rc != CSYNC_OK)
        return rc;
    sqlite3_bind_int64(stmt, 1, version);
    sq_bind_text(b, stmt, 2, t->name);
    rc = sq_step(b, stmt, err);
    if (rc == 1) {
        const char *timestamp = sq_column_text(b, stmt, 0);

        if (cs_time_parse(timestamp, strlen(timestamp), ts) != 0)
            *ts = 0;
    }
    sqlite3_reset(stmt);
    return rc < 0 ? rc : CSYNC_OK;
}

/* The key at hand: its delete is stamped above the head, so that it wins everywhere. */
static int log_delete(cs_sqlite *b, cs_table *t, const char *pk, int64_t folded, csync_error *err)
{
    char timestamp[CS_TIME_SIZE];
    cs_head head;
    int64_t ts = 0;
    int rc = sq_read_key(b, t, pk, strlen(pk), err);

    if (rc == CSYNC_OK)
        rc = sq_head_get(b, t, &head, NULL, err);
    if (rc == CSYNC_OK)
        rc = first_write(b, t, head.version > folded ? head.version : folded, &ts, err);
    if (rc == CSYNC_OK && !ts)
        rc = sq_stamp_now(&b->base, &ts, err);
    if (rc != CSYNC_OK)
        return rc;
    if (ts <= head.stamp.ts)
        ts = head.stamp.ts + 1;
    cs_time_format(ts, timestamp);
    return sq_log_local(b, t, pk, "delete", timestamp, err);
}

int sq_log_vanished(cs_sqlite *b, cs_table *t, int64_t folded, int64_t *count, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt = NULL;
    cs_buf sql = {0}, pk = {0};
    int rc;

    cs_buf_puts(&sql, "SELECT ");
    for (size_t i = 0; i < t->key_count; i++)
        cs_buf_printf(&sql, "%sk%zu", i ? "," : "", i + 1);
    cs_buf_puts(&sql, " FROM ");
    put_heads(&sql, t);
    cs_buf_puts(&sql, " h");
    put_vanished(&sql, t);
    rc = prepare(b, &sql, &stmt, err);
    while (rc == CSYNC_OK && (rc = sq_step(b, stmt, err)) == 1) {
        cs_buf_clear(&pk);
        sq_put_key(b, stmt, 0, t, &pk);
        rc = cs_buf_check(&pk, err);
        if (rc == CSYNC_OK)
            rc = log_delete(b, t, pk.data, folded, err);
        ++*count;
    }
    sqlite3_finalize(stmt);
    cs_buf_free(&pk);
    return rc;
}

/* ---- whether there can be one ---- */

/* How many rows there are more than live heads: without REPLACE it stays the same. SQLite counts a whole table, or a
 * whole index, by its pages. */
static int measure(cs_sqlite *b, const cs_table *t, int64_t *surplus, csync_error *err)
{
    cs_buf sql = {0};
    int rc;

    cs_buf_puts(&sql, "SELECT (SELECT count(*) FROM main.");
    cs_put_ident(&sql, t->name);
    cs_buf_puts(&sql, ")-(SELECT count(*) FROM ");
    put_heads(&sql, t);
    cs_buf_puts(&sql, ")+(SELECT count(*) FROM ");
    put_heads(&sql, t);
    cs_buf_printf(&sql, " WHERE " SQ_GONE ")");
    rc = cs_buf_check(&sql, err);
    if (rc == CSYNC_OK)
        rc = sq_query_int(b, sql.data, surplus, err);
    cs_buf_free(&sql);
    return rc;
}

/* *known 0: rows may have come or gone without a trace. */
static int last_surplus(cs_sqlite *b, const cs_table *t, int64_t *surplus, int *known,
                        csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_SURPLUS_GET, &stmt, err);

    *known = 0;
    if (rc != CSYNC_OK)
        return rc;
    sqlite3_bind_int64(stmt, 1, t->id);
    rc = sq_step(b, stmt, err);
    if (rc == 1) {
        *known = sqlite3_column_type(stmt, 0) != SQLITE_NULL;
        *surplus = sqlite3_column_int64(stmt, 0);
    }
    sqlite3_reset(stmt);
    return rc < 0 ? rc : CSYNC_OK;
}

static int store_surplus(cs_sqlite *b, const cs_table *t, const int64_t *surplus, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_SURPLUS_PUT, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sqlite3_bind_int64(stmt, 1, t->id);
    if (surplus)
        sqlite3_bind_int64(stmt, 2, *surplus);
    else
        sqlite3_bind_null(stmt, 2);
    return sq_run(b, stmt, err);
}

int sq_surplus_unknown(cs_sqlite *b, const cs_table *t, csync_error *err)
{
    return t->evicts ? store_surplus(b, t, NULL, err) : CSYNC_OK;
}

int sq_find_evicted(cs_sqlite *b, cs_table *t, int64_t folded, csync_error *err)
{
    int64_t before = 0, now = 0, gone = 0;
    int known = 0;
    int rc = last_surplus(b, t, &before, &known, err);

    if (rc == CSYNC_OK)
        rc = measure(b, t, &now, err);
    if (rc != CSYNC_OK || (known && now == before))
        return rc;
    rc = sq_log_vanished(b, t, folded, &gone, err);
    now += gone; /* their heads are about to be deletes */
    return rc == CSYNC_OK ? store_surplus(b, t, &now, err) : rc;
}

/* ---- suppressed writes ---- */

static int hide(cs_sqlite *b, const cs_table *t, csync_error *err)
{
    cs_buf sql = {0};

    cs_buf_puts(&sql, "UPDATE ");
    put_heads(&sql, t);
    cs_buf_printf(&sql, " AS h SET state=state|%d", SQ_HIDDEN);
    put_vanished(&sql, t);
    return sq_exec_buf(b, &sql, err);
}

/* A table that the suppressed transaction has dropped or given another key is the next one's matter. */
int sq_hide_vanished(cs_sqlite *b, csync_error *err)
{
    csync_error why = CSYNC_ERROR_INIT;
    int changed = 0;
    int rc = sq_schema_changed(&b->base, &changed, err);

    for (size_t i = 0; rc == CSYNC_OK && i < b->base.table_count; i++) {
        const cs_table *t = b->base.tables[i];

        rc = hide(b, t, &why);
        if (rc != CSYNC_OK && !(changed && rc == CSYNC_EDB))
            cs_error_copy(err, &why);
        else
            rc = sq_surplus_unknown(b, t, err);
    }
    return rc;
}
