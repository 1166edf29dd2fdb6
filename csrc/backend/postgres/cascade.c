/* cascade.c - what ON UPDATE of a foreign key does to other rows, where an applied change gives a row another value that they
 * refer to. (A key that changes is a delete and an insert, so such a value is one of a UNIQUE column.)
 *
 * It is this replica's own doing and becomes a change of its own, or the replicas would stay different. It is not captured
 * when it happens: where the same batch, or one before, has a change of such a row, its head says all of it already. So the rows are
 * noted with their heads, and those whose head is still the same when the merge ends are logged. */
#include <stdlib.h>
#include <string.h>

#include "backend/postgres/postgres.h"
#include "base/mem.h"

struct pg_moved {
    cs_row_name row;
    int has_head;
    cs_stamp stamp; /* of its head */
};

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

static int note(cs_pg *b, const cs_row_name *row, csync_error *err)
{
    pg_moved one = {.row = {row->table, NULL}};
    const char *ignored;
    cs_head head;
    int rc = pg_read_key(b, row->table, row->pk, &ignored, err);

    if (rc == CSYNC_OK)
        rc = pg_head_get(b, row->table, &head, NULL, err);
    if (rc != CSYNC_OK)
        return rc;
    one.has_head = head.found;
    one.stamp = head.stamp;
    one.row.pk = cs_strdup(row->pk);
    if (!one.row.pk ||
        cs_grow(&b->moved, &b->moved_cap, b->moved_count + 1, sizeof *b->moved) != CSYNC_OK) {
        cs_free(one.row.pk);
        return cs_fail_nomem(err);
    }
    b->moved[b->moved_count++] = one;
    return CSYNC_OK;
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
        rc = note(b, &m->rows.list[i], err);
    return rc == CSYNC_OK ? pg_read_key(b, t, pk, &ignored, err) : rc;
}

void pg_moving_free(pg_moving *m)
{
    cs_free(m->before);
    cs_row_list_free(&m->rows);
}

pg_own_mark pg_own_rows(const cs_pg *b)
{
    return (pg_own_mark){.kept = b->kept.count, .moved = b->moved_count};
}

void pg_own_rows_cut(cs_pg *b, pg_own_mark mark)
{
    cs_row_list_cut(&b->kept, mark.kept);
    while (b->moved_count > mark.moved)
        cs_free(b->moved[--b->moved_count].row.pk);
}

static int by_row(const void *a, const void *b)
{
    const cs_row_name *x = &((const pg_moved *)a)->row, *y = &((const pg_moved *)b)->row;

    return x->table->id != y->table->id
               ? (x->table->id > y->table->id) - (x->table->id < y->table->id)
               : strcmp(x->pk, y->pk);
}

/* *logged 0: the row's head has changed since, and says what the row is. */
static int log_moved(cs_pg *b, const pg_moved *one, int *logged, csync_error *err)
{
    const char *ignored;
    cs_buf row = {0};
    int found = 0;
    cs_head head;
    int rc = pg_read_key(b, one->row.table, one->row.pk, &ignored, err);

    *logged = 0;
    if (rc == CSYNC_OK)
        rc = pg_head_get(b, one->row.table, &head, NULL, err);
    if (rc != CSYNC_OK || head.parked || head.found != one->has_head ||
        (head.found && cs_stamp_compare(&head.stamp, &one->stamp) != 0))
        return rc;
    rc = pg_row_payload(b, one->row.table, &row, &found, err);
    cs_buf_free(&row);
    *logged = rc == CSYNC_OK && (found || (head.found && !head.deleted));
    return *logged ? pg_log_own(b, one->row.table, found ? CSYNC_UPDATE : CSYNC_DELETE, err) : rc;
}

int pg_log_moved(cs_pg *b, csync_error *err)
{
    int rc = CSYNC_OK, logged = 0;

    if (b->moved_count)
        qsort(b->moved, b->moved_count, sizeof *b->moved, by_row);
    for (size_t i = 0; rc == CSYNC_OK && i < b->moved_count; i++)
        if (!logged || by_row(&b->moved[i - 1], &b->moved[i]) != 0)
            rc = log_moved(b, &b->moved[i], &logged, err);
    return rc;
}
