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

static int collect_index(cs_sqlite *b, cs_table *t, const cs_unique *u, sq_victims *out,
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
static int all_lower(cs_sqlite *b, cs_table *t, const sq_victims *v, const cs_stamp *stamp,
                     int *lower, csync_error *err)
{
    *lower = v->count > 0;
    for (size_t i = 0; i < v->count && *lower; i++) {
        cs_head head;
        int rc = sq_read_key(b, t, v->list[i].pk, strlen(v->list[i].pk), err);

        if (rc == CSYNC_OK)
            rc = sq_head_get(b, t, &head, NULL, NULL, err);
        if (rc != CSYNC_OK)
            return rc;
        *lower = head.found && cs_stamp_compare(&head.stamp, stamp) < 0;
    }
    return CSYNC_OK;
}

/* Parks the rows in the way if all of them have lower stamps. b->key and b->cells hold the row. */
static int evict(cs_sqlite *b, cs_table *t, const cs_stamp *stamp, int *evicted, csync_error *err)
{
    sq_victims v = {NULL, 0, 0};
    int rc = CSYNC_OK;

    *evicted = 0;
    for (size_t i = 0; rc == CSYNC_OK && i < t->unique_count; i++)
        rc = collect_index(b, t, &t->uniques[i], &v, err);
    if (rc == CSYNC_OK)
        rc = all_lower(b, t, &v, stamp, evicted, err);
    *evicted = *evicted && CS_RULE(PARK_EVICT);
    if (rc == CSYNC_OK && *evicted)
        rc = sq_victims_park(b, &v, "unique", "a later row holds the same unique value", err);
    sq_victims_free(&v);
    return rc;
}

int sq_enter_row(cs_sqlite *b, cs_table *t, const csync_change *change, const char **reason,
                 csync_error *err)
{
    cs_stamp stamp = {0, change->origin, change->seq};
    csync_error why = CSYNC_ERROR_INIT;
    int evicted = 0;
    int rc = sq_write_row(b, t, change, reason, err);

    if (rc != CSYNC_OK || !*reason || strcmp(*reason, "unique") != 0)
        return rc;
    if (cs_time_parse(change->timestamp, strlen(change->timestamp), &stamp.ts) != 0)
        return CSYNC_OK;
    rc = evict(b, t, &stamp, &evicted, &why);
    if (rc == CSYNC_OK && evicted) {
        rc = sq_read_key(b, t, change->pk, strlen(change->pk), err);
        if (rc == CSYNC_OK)
            rc = sq_write_row(b, t, change, reason, err);
    } else if (rc != CSYNC_OK) {
        cs_error_copy(err, &why);
    }
    return rc;
}
