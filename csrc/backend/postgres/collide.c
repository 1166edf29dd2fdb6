/* collide.c - rows that stand in another's way: through a UNIQUE index, an exclusion constraint, or by referring to a row
 * that is to go.
 *
 * Of rows of different keys that exclude each other heads keep both; the higher stamp is visible and the lower is
 * parked, on every replica alike. It comes back when the other leaves. */
#include <string.h>

#include "backend/postgres/postgres.h"

enum { MAX_INDEXES = 64 };

/* The index that was violated: its expressions, each with the operator by which it excludes, and its predicate ("":
 * none). */
typedef struct unique_index {
    PGresult *columns;
    const char *where;
    int count;
} unique_index;

/* What the catalogue has of the index; the operator of an exclusion constraint, else equality. */
#define INDEX_SQL(nulls)                                                                           \
    "SELECT pg_get_indexdef(i.indexrelid,k,true),"                                                 \
    "coalesce(pg_get_expr(i.indpred,i.indrelid,true),''),"                                         \
    "coalesce((SELECT format('OPERATOR(%I.%s)',n.nspname,o.oprname) FROM pg_constraint c JOIN "    \
    "pg_operator o ON o.oid=c.conexclop[k] JOIN pg_namespace n ON n.oid=o.oprnamespace WHERE "     \
    "c.conindid=i.indexrelid AND c.contype='x')," nulls ") FROM pg_index i CROSS JOIN LATERAL "    \
    "generate_series(1,i.indnkeyatts) k WHERE i.indexrelid=to_regclass($1) AND (i.indisunique "    \
    "OR i.indisexclusion) ORDER BY k"

static int read_index(cs_pg *b, unique_index *u, csync_error *err)
{
    static const char before_15[] = INDEX_SQL("'='");
    static const char since_15[] =
        INDEX_SQL("CASE WHEN i.indnullsnotdistinct THEN 'IS NOT DISTINCT FROM' ELSE '=' END");
    pg_args a = {.count = 0};
    int rc = cs_buf_check(&b->constraint, err);

    if (rc != CSYNC_OK || !b->constraint.len)
        return rc;
    pg_text(&a, b->constraint.data);
    rc = pg_run(b, b->pq->PQserverVersion(b->conn) < 150000 ? before_15 : since_15, &a, &u->columns,
                err);
    u->count = rc == CSYNC_OK ? pg_rows(b, u->columns) : 0;
    u->where = u->count ? pg_cell(b, u->columns, 0, 1) : "";
    return rc;
}

/* The index's expressions as e0, e1... of the rows x of `from`. */
static void put_side(cs_pg *b, cs_buf *s, const unique_index *u, const char *key, const char *from)
{
    cs_buf_printf(s, "(SELECT %s AS k", key);
    for (int i = 0; i < u->count; i++)
        cs_buf_printf(s, ",%s AS e%d", pg_cell(b, u->columns, i, 0), i);
    cs_buf_printf(s, " FROM %s x%s%s)", from, *u->where ? " WHERE " : "", u->where);
}

/* The row that wants to enter. A column that it does not have is NULL, which collides with nothing. */
static void put_candidate(cs_pg *b, const cs_table *t, cs_buf *from, cs_buf *text)
{
    const pg_table *p = t->prepared;
    const char *ignored = NULL;
    int n = 0;

    cs_buf_puts(from, "(SELECT ");
    for (size_t i = 0; i < t->count; i++) {
        cs_buf_puts(from, i ? "," : "");
        if (b->present[i]) {
            cs_buf_printf(from, "$%d", ++n);
            pg_put_param(text, p->kinds[i], &b->cells[i], &ignored);
        } else {
            cs_buf_puts(from, "NULL");
        }
        cs_buf_printf(from, "::%s AS ", t->columns[i].type);
        cs_put_ident(from, t->columns[i].name);
    }
    cs_buf_puts(from, ")");
}

static void put_collisions(cs_pg *b, const cs_table *t, const unique_index *u,
                           const char *candidate, cs_buf *sql)
{
    const pg_table *p = t->prepared;
    int n = 0;

    for (size_t i = 0; i < t->count; i++)
        n += b->present[i];
    cs_buf_puts(sql, "SELECT o.k FROM ");
    put_side(b, sql, u, p->key_sql, p->name);
    cs_buf_puts(sql, " o JOIN ");
    put_side(b, sql, u, "1", candidate);
    cs_buf_puts(sql, " n ON ");
    for (int i = 0; i < u->count; i++)
        cs_buf_printf(sql, "%so.e%d %s n.e%d", i ? " AND " : "", i, pg_cell(b, u->columns, i, 2), i);
    cs_buf_printf(sql, " WHERE o.k<>$%d", n + 1);
}

/* The other rows that have the same in the index that was violated. */
static int collect(cs_pg *b, cs_table *t, const csync_change *change, cs_row_list *out,
                   csync_error *err)
{
    cs_buf sql = {0}, from = {0}, text = {0};
    unique_index u = {.columns = NULL};
    PGresult *r = NULL;
    int rc = read_index(b, &u, err);

    if (rc == CSYNC_OK)
        rc = pg_read_payload(b, t, change->payload, strlen(change->payload), err);
    if (rc == CSYNC_OK && u.count) {
        put_candidate(b, t, &from, &text);
        rc = cs_buf_check(&from, err);
        if (rc == CSYNC_OK)
            put_collisions(b, t, &u, from.data, &sql);
        if (rc == CSYNC_OK)
            rc = cs_buf_check(&sql, err);
        if (rc == CSYNC_OK)
            rc = cs_buf_check(&text, err);
        if (rc == CSYNC_OK)
            rc = pg_run_cells(b, t, sql.data, &text, b->pk.data, &r, err);
    }
    for (int i = 0, n = rc == CSYNC_OK && r ? pg_rows(b, r) : 0; rc == CSYNC_OK && i < n; i++)
        rc = cs_row_list_add(out, t, pg_cell(b, r, i, 0), err);
    pg_clear(b, r);
    pg_clear(b, u.columns);
    cs_buf_free(&sql);
    cs_buf_free(&from);
    cs_buf_free(&text);
    return rc;
}

static int all_lower(cs_pg *b, const cs_row_list *rows, const cs_stamp *stamp, int *lower,
                     csync_error *err)
{
    *lower = rows->count > 0;
    for (size_t i = 0; i < rows->count && *lower; i++) {
        const char *ignored;
        cs_head head;
        int rc = pg_read_key(b, rows->list[i].table, rows->list[i].pk, &ignored, err);

        if (rc == CSYNC_OK)
            rc = pg_head_get(b, rows->list[i].table, &head, NULL, err);
        if (rc != CSYNC_OK)
            return rc;
        *lower = head.found && cs_stamp_compare(&head.stamp, stamp) < 0;
    }
    return CSYNC_OK;
}

/* *evicted 1: the rows in the way are parked. Else *message says which one stays. */
static int evict(cs_pg *b, cs_table *t, const csync_change *change, const cs_stamp *stamp,
                 int *evicted, cs_buf *message, csync_error *err)
{
    static const char text[] = "row %s holds the same unique value and is later";
    cs_row_list rows = {NULL, 0, 0};
    int lower = 0;
    int rc = collect(b, t, change, &rows, err);

    *evicted = 0;
    if (rc == CSYNC_OK)
        rc = all_lower(b, &rows, stamp, &lower, err);
    cs_buf_clear(message);
    if (rc == CSYNC_OK && rows.count)
        cs_buf_printf(message, text, lower ? change->pk : rows.list[0].pk);
    if (rc == CSYNC_OK)
        rc = cs_buf_check(message, err);
    if (rc == CSYNC_OK && lower)
        rc = pg_victims_park(b, &rows, "unique", message->data, evicted, err);
    cs_row_list_free(&rows);
    return rc;
}

/* Index by index: all that stand in the way have to be lower, or nothing happens. */
static int make_room(cs_pg *b, cs_table *t, const csync_change *change, const char **reason,
                     csync_error *err)
{
    cs_head head = {.found = 0}; /* its stamp: a decision has none of its own until it is logged */
    csync_error why = CSYNC_ERROR_INIT;
    cs_buf message = {0};
    size_t own = b->own_count;
    int evicted = 1;
    int rc = pg_head_get(b, t, &head, NULL, err);

    if (rc != CSYNC_OK || !head.found)
        return rc;
    rc = pg_exec(b, "SAVEPOINT csync_room", err);
    for (int i = 0; rc == CSYNC_OK && evicted && *reason && i < MAX_INDEXES; i++) {
        const char *ignored;

        rc = evict(b, t, change, &head.stamp, &evicted, &message, err);
        if (rc == CSYNC_OK)
            rc = pg_read_key(b, t, change->pk, &ignored, err);
        if (rc == CSYNC_OK && evicted)
            rc = pg_write_row(b, t, change, reason, &why);
        if (rc != CSYNC_OK && why.code)
            cs_error_copy(err, &why);
        evicted &= *reason && strcmp(*reason, "unique") == 0;
    }
    if (*reason)
        pg_own_cut(b, own);
    if (rc == CSYNC_OK && *reason)
        rc = pg_exec(b, "ROLLBACK TO SAVEPOINT csync_room", err);
    if (rc == CSYNC_OK)
        rc = pg_exec(b, "RELEASE SAVEPOINT csync_room", err);
    if (rc == CSYNC_OK && *reason && message.len)
        (void)cs_fail(err, CSYNC_EDB, "%s", message.data);
    cs_buf_free(&message);
    return rc;
}

/* The row is gone everywhere. Rows that forbid it are parked; if an action of a foreign key is itself refused, all that
 * refer to it are. */
static int leave(cs_pg *b, cs_table *t, const csync_change *change, const char **reason,
                 csync_error *err)
{
    const char *ignored;
    int rc = CSYNC_OK;

    for (int all = 0; rc == CSYNC_OK && *reason && all < 2; all++) {
        rc = pg_read_key(b, t, change->pk, &ignored, err);
        if (rc == CSYNC_OK)
            rc = pg_park_children(b, t, all, err);
        if (rc == CSYNC_OK)
            rc = pg_read_key(b, t, change->pk, &ignored, err);
        if (rc == CSYNC_OK)
            rc = pg_write_row(b, t, change, reason, err);
    }
    return rc;
}

int pg_enter_row(cs_pg *b, cs_table *t, const csync_change *change, const char **reason,
                 csync_error *err)
{
    int rc = pg_write_row(b, t, change, reason, err);

    if (rc != CSYNC_OK || !*reason)
        return rc;
    if (change->operation == CSYNC_DELETE)
        return leave(b, t, change, reason, err);
    return strcmp(*reason, "unique") == 0 ? make_room(b, t, change, reason, err) : rc;
}
