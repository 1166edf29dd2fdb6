/* database.c - a replica's database as its application and the oracle see it, whether it is SQLite or PostgreSQL.
 *
 * SQL is the same for both wherever it can be: csync's tables are in the search path of the application's
 * connection, and $1 is the first parameter in both. */
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

/* ---- statements ---- */

int replica_sql(replica *r, const char *sql)
{
    int rc;

    if (r->postgres)
        return postgres_sql(r, sql);
    rc = sqlite3_exec(r->app, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? SQL_DONE : (rc & 0xff) == SQLITE_CONSTRAINT ? SQL_REFUSED : SQL_FAILED;
}

const char *replica_why(replica *r)
{
    return r->postgres ? postgres_why(r) : sqlite3_errmsg(r->app);
}

int replica_in_transaction(replica *r)
{
    return r->postgres ? postgres_in_transaction(r) : !sqlite3_get_autocommit(r->app);
}

/* ---- questions ---- */

static void ask_sqlite(world *w, replica *r, sqlite3_stmt **kept, const char *sql,
                       const char *param, rows *out)
{
    out->stmt = kept ? *kept : NULL;
    out->kept = kept != NULL;
    if (!out->stmt && sqlite3_prepare_v2(r->app, sql, -1, &out->stmt, NULL) != SQLITE_OK)
        finding(w, "error", "replica %d: %s: %s", r->index, sql, sqlite3_errmsg(r->app));
    if (kept)
        *kept = out->stmt;
    if (param)
        sqlite3_bind_text(out->stmt, 1, param, -1, SQLITE_TRANSIENT);
}

rows ask(world *w, replica *r, sqlite3_stmt **kept, const char *sql, const char *param)
{
    rows out = {.at = -1};

    if (r->postgres)
        out.result = postgres_ask(w, r, sql, param);
    else
        ask_sqlite(w, r, kept, sql, param, &out);
    return out;
}

int next_row(rows *q)
{
    if (q->stmt)
        return sqlite3_step(q->stmt) == SQLITE_ROW;
    return q->result && ++q->at < PQntuples(q->result);
}

const char *row_text(rows *q, int column)
{
    const char *out;

    if (q->stmt)
        out = (const char *)sqlite3_column_text(q->stmt, column);
    else
        out = PQgetisnull(q->result, q->at, column) ? NULL : PQgetvalue(q->result, q->at, column);
    return out;
}

int64_t row_number(rows *q, int column)
{
    const char *text = row_text(q, column);

    return text ? strtoll(text, NULL, 10) : 0;
}

int row_columns(rows *q)
{
    return q->stmt ? sqlite3_column_count(q->stmt) : PQnfields(q->result);
}

const char *row_column_name(rows *q, int column)
{
    return q->stmt ? sqlite3_column_name(q->stmt, column) : PQfname(q->result, column);
}

void end_rows(rows *q)
{
    if (q->stmt && q->kept)
        sqlite3_reset(q->stmt);
    else if (q->stmt)
        sqlite3_finalize(q->stmt);
    PQclear(q->result);
    q->stmt = NULL;
    q->result = NULL;
}

int64_t ask_number(world *w, replica *r, const char *sql)
{
    rows q = ask(w, r, NULL, sql, NULL);
    int64_t out = next_row(&q) ? row_number(&q, 0) : -1;

    end_rows(&q);
    return out;
}
