/* cascade.c - what ON UPDATE of a foreign key does to other rows, where an applied change gives a row another value that they
 * refer to. (A key that changes is a delete and an insert, so such a value is one of a UNIQUE column.)
 *
 * It is this replica's own doing, so the rows become changes of its own (own.c). It is not captured when it happens: the same batch may
 * have a change of such a row, which says all of it already. */
#include <string.h>

#include "backend/postgres/postgres.h"
#include "base/mem.h"

static int is_key(const cs_table *t, const char *column)
{
    for (size_t i = 0; i < t->key_count; i++)
        if (strcmp(t->columns[t->key[i]].name, column) == 0)
            return 1;
    return 0;
}

/* Whether an upsert of a row of `parent` may change rows that refer to it so. */
static int moves(const cs_table *parent, const cs_foreign_key *fk)
{
    int is_unique = 0;

    for (size_t i = 0; i < fk->count; i++)
        is_unique |= !is_key(parent, fk->parent_columns[i]);
    return is_unique && strcmp(fk->parent, parent->name) == 0 && fk->on_update != CS_FK_NO_ACTION &&
           fk->on_update != CS_FK_RESTRICT;
}

int pg_describe_moving(cs_pg *b, cs_table *t, csync_error *err)
{
    pg_table *p = t->prepared;
    cs_buf sql = {0};
    int rc;

    for (size_t i = 0; t->acts_on_update && i < b->base.table_count; i++)
        for (size_t k = 0; k < b->base.tables[i]->fk_count; k++) {
            const cs_foreign_key *fk = &b->base.tables[i]->fks[k];

            for (size_t c = 0; moves(t, fk) && c < fk->count; c++) {
                cs_buf_puts(&sql, sql.len ? ",x." : "ROW(x.");
                cs_put_ident(&sql, fk->parent_columns[c]);
            }
        }
    if (sql.len)
        cs_buf_puts(&sql, ")::text");
    rc = cs_buf_check(&sql, err);
    if (rc == CSYNC_OK && sql.len) {
        p->moving_sql = cs_buf_take(&sql, err);
        rc = p->moving_sql ? CSYNC_OK : CSYNC_ENOMEM;
    }
    cs_buf_free(&sql);
    return rc;
}

static int collect_moving(cs_backend *base, cs_table *t, cs_table *child, const cs_foreign_key *fk,
                          cs_row_list *out, csync_error *err)
{
    return moves(t, fk) ? pg_collect_through(base, t, child, fk, out, err) : CSYNC_OK;
}

/* Adds the rows that follow the row in b->key, and those that follow them. */
static int collect(cs_pg *b, cs_table *t, cs_row_list *rows, csync_error *err)
{
    size_t next = rows->count;
    int rc = cs_row_list_children(&b->base, t, 1, collect_moving, rows, err);

    for (; rc == CSYNC_OK && next < rows->count; next++) {
        const cs_row_name one = rows->list[next];
        const char *ignored;

        if (!((pg_table *)one.table->prepared)->moving_sql || cs_row_list_has(rows, next, &one))
            continue;
        rc = pg_read_key(b, one.table, one.pk, &ignored, err);
        if (rc == CSYNC_OK)
            rc = cs_row_list_children(&b->base, one.table, 1, collect_moving, rows, err);
    }
    return rc;
}

int pg_moving_begin(cs_pg *b, cs_table *t, const char *pk, pg_moving *m, csync_error *err)
{
    const pg_table *p = t->prepared;
    const char *ignored;
    PGresult *r = NULL;
    cs_buf sql = {0};
    int rc;

    memset(m, 0, sizeof *m);
    if (!p->moving_sql)
        return CSYNC_OK;
    cs_buf_printf(&sql, "SELECT %s FROM %s x", p->moving_sql, p->name);
    pg_put_key_where(&sql, t);
    cs_buf_puts(&sql, " FOR UPDATE"); /* or somebody might still come to refer to it */
    rc = cs_buf_check(&sql, err);
    if (rc == CSYNC_OK)
        rc = pg_run_key(b, t, sql.data, &r, err);
    if (rc == CSYNC_OK && pg_rows(b, r)) {
        m->before = cs_strdup(pg_cell(b, r, 0, 0));
        rc = m->before ? collect(b, t, &m->rows, err) : cs_fail_nomem(err);
    }
    if (rc == CSYNC_OK)
        rc = pg_read_key(b, t, pk, &ignored, err);
    pg_clear(b, r);
    cs_buf_free(&sql);
    return rc;
}

int pg_moving_end(cs_pg *b, cs_table *t, const char *pk, pg_moving *m, const char *after,
                  csync_error *err)
{
    const char *ignored;
    int rc;

    if (!m->before || !after || strcmp(m->before, after) == 0)
        return CSYNC_OK;
    rc = collect(b, t, &m->rows, err); /* where the value is part of their keys, they have others now */
    for (size_t i = 0; rc == CSYNC_OK && i < m->rows.count; i++)
        rc = pg_own_add(b, m->rows.list[i].table, m->rows.list[i].pk, err);
    return rc == CSYNC_OK ? pg_read_key(b, t, pk, &ignored, err) : rc;
}

void pg_moving_free(pg_moving *m)
{
    cs_free(m->before);
    cs_row_list_free(&m->rows);
}
