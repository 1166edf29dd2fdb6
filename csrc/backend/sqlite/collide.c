/* collide.c - rows of different keys that exclude each other through a UNIQUE index.
 *
 * Heads keep both; the higher stamp is visible and the lower is parked, on every replica alike. It comes back
 * when the other leaves. (Deleting the loser, or refusing the newcomer, was simulated: both diverge or
 * lose values; see docs/architecture.md.) */
#include <string.h>

#include "backend/sqlite/sqlite.h"
#include "base/rules.h"

/* SELECT of the keys of the other rows that have the same values in the index. */
static void collision_sql(cs_buf *s, const cs_table *t, const cs_unique *u)
{
    cs_buf_puts(s, "SELECT ");
    cs_put_key_list(s, t, "");
    cs_buf_puts(s, " FROM main.");
    cs_put_ident(s, t->name);
    for (size_t i = 0; i < u->count; i++) {
        cs_buf_puts(s, i ? " AND " : " WHERE ");
        cs_put_ident(s, t->columns[u->columns[i]].name);
        cs_buf_printf(s, "=?%zu COLLATE ", t->key_count + i + 1);
        cs_put_ident(s, u->collations[i]);
    }
    cs_buf_puts(s, " AND NOT(");
    for (size_t i = 0; i < t->key_count; i++) {
        const cs_column *c = &t->columns[t->key[i]];

        cs_buf_puts(s, i ? " AND " : "");
        cs_put_ident(s, c->name);
        cs_buf_printf(s, "=?%zu COLLATE ", i + 1);
        cs_put_ident(s, c->collation);
    }
    cs_buf_puts(s, ")");
}

static int collect_index(cs_sqlite *b, cs_table *t, const cs_unique *u, cs_row_list *out,
                         csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt = NULL;
    cs_buf sql = {0};
    int at;
    int rc;

    for (size_t i = 0; i < u->count; i++)
        if (!b->present[u->columns[i]])
            return CSYNC_OK; /* the column keeps what it has: the index cannot be the one */
    collision_sql(&sql, t, u);
    rc = cs_buf_check(&sql, err);
    if (rc == CSYNC_OK)
        rc = sq_prepare(b, sql.data, &stmt, err);
    cs_buf_free(&sql);
    if (rc == CSYNC_OK) {
        at = sq_bind_key(b, stmt, t);
        for (size_t i = 0; i < u->count; i++)
            sq_bind(b, stmt, at + (int)i, &b->cells[u->columns[i]]);
        rc = sq_victims_collect(b, stmt, t, out, err);
    }
    sqlite3_finalize(stmt);
    return rc;
}

/* *lower 1: every listed row has a lower stamp. A row without a head was never captured and is older. */
static int all_lower(cs_sqlite *b, cs_table *t, const cs_row_list *v, const cs_stamp *stamp,
                     int *lower, csync_error *err)
{
    *lower = v->count > 0;
    for (size_t i = 0; i < v->count && *lower; i++) {
        cs_head head;
        int rc = sq_read_key(b, t, v->list[i].pk, strlen(v->list[i].pk), err);

        if (rc == CSYNC_OK)
            rc = sq_head_get(b, t, &head, NULL, err);
        if (rc != CSYNC_OK)
            return rc;
        *lower = head.found && cs_stamp_compare(&head.stamp, stamp) < 0;
    }
    return CSYNC_OK;
}

/* ---- indexes on expressions, partial indexes ---- */

static void replace_sql(cs_buf *s, const cs_table *t)
{
    cs_buf_puts(s, "INSERT OR REPLACE INTO main.");
    cs_put_ident(s, t->name);
    for (size_t i = 0; i < t->count; i++) {
        cs_buf_puts(s, i ? "," : "(");
        cs_put_ident(s, t->columns[i].name);
    }
    for (size_t i = 0; i < t->count; i++)
        cs_buf_printf(s, "%s?%zu", i ? "," : ") VALUES(", i + 1);
    cs_buf_puts(s, ")");
}

static int replace_row(cs_sqlite *b, cs_table *t, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt = NULL;
    cs_buf sql = {0};
    int rc;

    replace_sql(&sql, t);
    rc = cs_buf_check(&sql, err);
    if (rc == CSYNC_OK)
        rc = sq_prepare(b, sql.data, &stmt, err);
    cs_buf_free(&sql);
    for (size_t i = 0; rc == CSYNC_OK && i < t->count; i++)
        sq_bind(b, stmt, (int)i + 1, &b->cells[i]);
    if (rc == CSYNC_OK)
        rc = sq_run(b, stmt, err);
    sqlite3_finalize(stmt);
    return rc;
}

/* The keys of the other rows whose deletes the log has after `version`. */
static int collect_logged(cs_sqlite *b, cs_table *t, int64_t version, cs_row_list *out,
                          csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_LOG_DELETED, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sqlite3_bind_int64(stmt, 1, version);
    sq_bind_text(b, stmt, 2, t->name);
    while ((rc = sq_step(b, stmt, err)) == 1) {
        const char *pk = sq_column_text(b, stmt, 0);

        rc = sq_is_key(b, t, pk) ? CSYNC_OK : cs_row_list_add(out, t, pk, err);
        if (rc != CSYNC_OK)
            break;
    }
    sqlite3_reset(stmt);
    return rc;
}

/* A row that not even REPLACE can write is no failure. */
static int replace_and_collect(cs_sqlite *b, cs_table *t, cs_row_list *out, csync_error *err)
{
    csync_error why = CSYNC_ERROR_INIT;
    int64_t before = 0;
    int rc = sq_log_top(&b->base, &before, err);

    if (rc != CSYNC_OK)
        return rc;
    rc = replace_row(b, t, &why);
    if (rc == CSYNC_OK)
        rc = collect_logged(b, t, before, out, &why);
    if (rc != CSYNC_OK && rc != CSYNC_EDB)
        cs_error_copy(err, &why);
    return rc == CSYNC_EDB ? CSYNC_OK : rc;
}

/* With recursive_triggers on, REPLACE runs the delete triggers of the rows that it evicts. */
static int with_triggers(cs_sqlite *b, cs_table *t, cs_row_list *out, csync_error *err)
{
    int64_t recursive = 0;
    int rc = sq_query_int(b, "PRAGMA recursive_triggers", &recursive, err), off;

    if (rc == CSYNC_OK && !recursive)
        rc = sq_exec(b, "PRAGMA recursive_triggers=ON", err);
    if (rc == CSYNC_OK)
        rc = sq_capture(b, 1, err);
    if (rc == CSYNC_OK)
        rc = replace_and_collect(b, t, out, err);
    off = sq_capture(b, 0, rc == CSYNC_OK ? err : NULL);
    if (!recursive && off == CSYNC_OK)
        off = sq_exec(b, "PRAGMA recursive_triggers=OFF", rc == CSYNC_OK ? err : NULL);
    return rc == CSYNC_OK ? off : rc;
}

/* What such an index says of a row only SQLite knows: REPLACE is tried, its log is read, and all of it is undone. A
 * cascade within the table would be taken for an eviction. */
static int collect_by_trial(cs_sqlite *b, cs_table *t, cs_row_list *out, csync_error *err)
{
    int rc;

    if (!sq_is_whole(b, t) || t->in_cycle)
        return CSYNC_OK;
    rc = sq_attempt(b, err);
    if (rc == CSYNC_OK)
        rc = with_triggers(b, t, out, err);
    return rc == CSYNC_OK ? sq_attempt_end(b, 1, err) : rc;
}

/* ---- who goes ---- */

static int collect(cs_sqlite *b, cs_table *t, cs_row_list *out, csync_error *err)
{
    int rc = CSYNC_OK;

    if ((size_t)t->evicts > t->unique_count)
        rc = collect_by_trial(b, t, out, err);
    if (out->count)
        return rc;
    for (size_t i = 0; rc == CSYNC_OK && i < t->unique_count; i++)
        rc = collect_index(b, t, &t->uniques[i], out, err);
    return rc;
}

/* Parks the rows in the way if all of them have lower stamps; else *message says which one stays. b->key and b->cells
 * hold the row. */
static int evict(cs_sqlite *b, cs_table *t, const csync_change *change, const cs_stamp *stamp,
                 int *evicted, cs_buf *message, csync_error *err)
{
    static const char text[] = "row %s holds the same unique value and is later";
    cs_row_list v = {NULL, 0, 0};
    int rc = collect(b, t, &v, err);

    *evicted = 0;
    if (rc == CSYNC_OK)
        rc = all_lower(b, t, &v, stamp, evicted, err);
    *evicted = *evicted && CS_RULE(PARK_EVICT);
    if (rc == CSYNC_OK && v.count)
        cs_buf_printf(message, text, *evicted ? change->pk : v.list[0].pk);
    if (rc == CSYNC_OK)
        rc = cs_buf_check(message, err);
    if (rc == CSYNC_OK && *evicted)
        rc = sq_victims_park(b, &v, "unique", message->data, err);
    cs_row_list_free(&v);
    return rc;
}

int sq_enter_row(cs_sqlite *b, cs_table *t, const csync_change *change, const char **reason,
                 csync_error *err)
{
    cs_head head = {.found = 0}; /* its stamp: a decision has none of its own until it is logged */
    csync_error why = CSYNC_ERROR_INIT;
    cs_buf message = {0};
    int evicted = 0;
    int rc = sq_write_row(b, t, change, reason, err);

    if (rc != CSYNC_OK || !*reason || strcmp(*reason, "unique") != 0)
        return rc;
    rc = sq_head_get(b, t, &head, NULL, err);
    if (rc != CSYNC_OK || !head.found)
        return rc;
    rc = evict(b, t, change, &head.stamp, &evicted, &message, &why);
    if (rc == CSYNC_OK && evicted) {
        rc = sq_read_key(b, t, change->pk, strlen(change->pk), err);
        if (rc == CSYNC_OK)
            rc = sq_write_row(b, t, change, reason, err);
    } else if (rc != CSYNC_OK) {
        cs_error_copy(err, &why);
    } else if (message.len) {
        (void)cs_fail(err, CSYNC_EDB, "%s", message.data);
    }
    cs_buf_free(&message);
    return rc;
}
