/* victims.c - rows that leave their table because another row does, or must. Their heads go to _sync_parked, and so do
 * the rows that refer to them: a child is visible only if its parent is. */
#include <string.h>

#include "backend/postgres/postgres.h"

static const char no_parent[] = "the row that it refers to is not there";

/* SELECT of the keys of `child`'s rows that refer through `fk` to the row of `t` with key $1... */
static void children_sql(cs_buf *s, const cs_table *t, const cs_table *child, const cs_foreign_key *fk)
{
    const pg_table *parent = t->prepared, *p = child->prepared;

    cs_buf_printf(s, "SELECT %s FROM %s p JOIN %s x ON ", p->key_sql, parent->name, p->name);
    for (size_t i = 0; i < fk->count; i++) {
        cs_buf_puts(s, i ? " AND p." : "p.");
        cs_put_ident(s, fk->parent_columns[i]);
        cs_buf_puts(s, "=x.");
        cs_put_ident(s, fk->columns[i]);
    }
    for (size_t i = 0; i < t->key_count; i++) {
        cs_buf_puts(s, i ? " AND p." : " WHERE p.");
        cs_put_ident(s, t->columns[t->key[i]].name);
        cs_buf_printf(s, "=$%zu", i + 1);
    }
}

int pg_collect_through(cs_backend *base, cs_table *t, cs_table *child, const cs_foreign_key *fk,
                       cs_row_list *out, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    PGresult *r = NULL;
    cs_buf sql = {0};
    int rc;

    children_sql(&sql, t, child, fk);
    rc = cs_buf_check(&sql, err);
    if (rc == CSYNC_OK)
        rc = pg_run_key(b, t, sql.data, &r, err);
    for (int i = 0, n = rc == CSYNC_OK ? pg_rows(b, r) : 0; rc == CSYNC_OK && i < n; i++)
        rc = cs_row_list_add(out, child, pg_cell(b, r, i, 0), err);
    pg_clear(b, r);
    cs_buf_free(&sql);
    return rc;
}

/* Adds the rows that refer to the row in b->key. */
static int collect_children(cs_pg *b, cs_table *t, int all, cs_row_list *out, csync_error *err)
{
    return cs_row_list_children(&b->base, t, all, pg_collect_through, out, err);
}

/* *leaves 0: the row was never captured and has no head, or is parked already. A row whose head deletes it is on its
 * way out anyway and needs no entry. */
static int park_head(cs_pg *b, const cs_row_name *one, const char *reason, const char *message,
                     int *leaves, csync_error *err)
{
    char timestamp[CS_TIME_SIZE];
    csync_change c = {.struct_size = sizeof c, .operation = CSYNC_UPDATE, .table = one->table->name};
    cs_buf payload = {0};
    cs_head head;
    int64_t id = 0;
    int found = 0;
    int rc = pg_head_get(b, one->table, &head, &id, err);

    *leaves = rc == CSYNC_OK && head.found && !id;
    if (!*leaves || head.deleted)
        return rc;
    rc = pg_row_payload(b, one->table, &payload, &found, err);
    cs_time_format(head.stamp.ts, timestamp);
    c.pk = one->pk;
    c.payload = payload.data;
    c.origin = head.stamp.origin;
    c.timestamp = timestamp;
    c.seq = head.stamp.seq;
    *leaves = found;
    if (rc == CSYNC_OK && found)
        rc = pg_park_add(b, &c, b->pk.data, reason, message, &id, err);
    if (rc == CSYNC_OK && found)
        rc = pg_head_set_parked(b, one->table, id, err);
    cs_buf_free(&payload);
    return rc;
}

/* Parks the heads of the rows in `from`, and of all rows below them. `gone` gets them, parents first. */
static int park_heads(cs_pg *b, cs_row_list *from, const char *reason, const char *message,
                      cs_row_list *gone, csync_error *err)
{
    size_t first = from->count;
    int rc = CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && i < from->count; i++) {
        cs_row_name one = from->list[i];
        const char *ignored;
        int leaves = 0;

        if (cs_row_list_has(gone, gone->count, &one))
            continue;
        rc = pg_read_key(b, one.table, one.pk, &ignored, err);
        if (rc == CSYNC_OK)
            rc = i < first ? park_head(b, &one, reason, message, &leaves, err)
                           : park_head(b, &one, "foreign key", no_parent, &leaves, err);
        if (rc == CSYNC_OK && leaves)
            rc = cs_row_list_add(gone, one.table, one.pk, err);
        if (rc == CSYNC_OK && leaves)
            rc = collect_children(b, one.table, 1, from, err);
    }
    return rc;
}

/* *holds 1: a foreign key of an untracked table would do something to its rows. */
static int is_held(cs_pg *b, const cs_table *t, int *holds, csync_error *err)
{
    pg_args a = {.count = 0};
    int64_t one;

    pg_text(&a, ((pg_table *)t->prepared)->name);
    return pg_query_int(
        b,
        "SELECT 1 FROM pg_constraint k JOIN pg_class c ON c.oid=k.conrelid JOIN pg_namespace n "
        "ON n.oid=c.relnamespace WHERE k.contype='f' AND k.confrelid=$1::regclass AND "
        "k.confdeltype IN ('c','n','d') AND NOT EXISTS(SELECT 1 FROM csync._sync_tables t "
        "WHERE t.name=CASE n.nspname WHEN 'public' THEN c.relname ELSE "
        "n.nspname||'.'||c.relname END) LIMIT 1",
        &a, &one, holds, err);
}

/* All at once: rows may refer to each other in a circle, and keys are checked when the statement ends. *held 1: one has to
 * stay. */
static int delete_rows(cs_pg *b, const cs_row_list *gone, int *held, csync_error *err)
{
    int rc = CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && !*held && i < b->base.table_count; i++)
        if (cs_row_list_has_table(gone, b->base.tables[i]))
            rc = is_held(b, b->base.tables[i], held, err);
    return rc == CSYNC_OK && !*held ? pg_delete_rows(b, gone, err) : rc;
}

int pg_is_referred_to(cs_pg *b, cs_table *t, int *is, csync_error *err)
{
    cs_row_list children = {NULL, 0, 0};
    int rc = collect_children(b, t, 1, &children, err);

    *is = children.count > 0;
    cs_row_list_free(&children);
    return rc == CSYNC_OK && !*is ? is_held(b, t, is, err) : rc;
}

int pg_victims_park(cs_pg *b, cs_row_list *rows, const char *reason, const char *message,
                    int *parked, csync_error *err)
{
    cs_row_list gone = {NULL, 0, 0};
    csync_error why = CSYNC_ERROR_INIT;
    int held = 0;
    int rc = pg_exec(b, "SAVEPOINT csync_victims", err);

    *parked = 0;
    if (rc != CSYNC_OK)
        return rc;
    rc = park_heads(b, rows, reason, message, &gone, &why);
    if (rc == CSYNC_OK)
        rc = delete_rows(b, &gone, &held, &why);
    if (rc == CSYNC_EDB && pg_reason(b)) {
        held = 1;
        rc = CSYNC_OK;
    }
    if (rc != CSYNC_OK)
        cs_error_copy(err, &why);
    else if (held)
        rc = pg_exec(b, "ROLLBACK TO SAVEPOINT csync_victims", err);
    if (rc == CSYNC_OK)
        rc = pg_exec(b, "RELEASE SAVEPOINT csync_victims", err);
    *parked = rc == CSYNC_OK && !held;
    cs_row_list_free(&gone);
    return rc;
}

static void orphans_sql(cs_buf *s, const cs_table *t, const cs_table *parent, const cs_foreign_key *fk)
{
    const pg_table *p = t->prepared;

    cs_buf_printf(s, "SELECT %s FROM %s x WHERE NOT EXISTS(SELECT 1 FROM %s p WHERE ", p->key_sql,
                  p->name, ((pg_table *)parent->prepared)->name);
    for (size_t i = 0; i < fk->count; i++) {
        cs_buf_puts(s, i ? " AND p." : "p.");
        cs_put_ident(s, fk->parent_columns[i]);
        cs_buf_puts(s, "=x.");
        cs_put_ident(s, fk->columns[i]);
    }
    cs_buf_putc(s, ')');
    for (size_t i = 0; i < fk->count; i++) {
        cs_buf_puts(s, " AND x.");
        cs_put_ident(s, fk->columns[i]);
        cs_buf_puts(s, " IS NOT NULL");
    }
}

static int collect_orphans(cs_pg *b, cs_table *t, const cs_foreign_key *fk, cs_row_list *out,
                           csync_error *err)
{
    cs_table *parent = cs_backend_table(&b->base, fk->parent, strlen(fk->parent));
    PGresult *r = NULL;
    cs_buf sql = {0};
    int rc;

    if (!parent)
        return CSYNC_OK;
    orphans_sql(&sql, t, parent, fk);
    rc = cs_buf_check(&sql, err);
    if (rc == CSYNC_OK)
        rc = pg_run(b, sql.data, NULL, &r, err);
    for (int i = 0, n = rc == CSYNC_OK ? pg_rows(b, r) : 0; rc == CSYNC_OK && i < n; i++)
        rc = cs_row_list_add(out, t, pg_cell(b, r, i, 0), err);
    pg_clear(b, r);
    cs_buf_free(&sql);
    return rc;
}

int pg_park_orphans(cs_pg *b, csync_error *err)
{
    cs_row_list orphans = {NULL, 0, 0};
    int parked, rc = CSYNC_OK;

    for (size_t i = 0; i < b->base.table_count; i++)
        for (size_t k = 0; rc == CSYNC_OK && k < b->base.tables[i]->fk_count; k++)
            rc = collect_orphans(b, b->base.tables[i], &b->base.tables[i]->fks[k], &orphans, err);
    if (rc == CSYNC_OK && orphans.count)
        rc = pg_victims_park(b, &orphans, "foreign key", no_parent, &parked, err);
    cs_row_list_free(&orphans);
    return rc;
}

int pg_park_children(cs_pg *b, cs_table *t, int all, csync_error *err)
{
    cs_row_list children = {NULL, 0, 0};
    int parked;
    int rc = collect_children(b, t, all, &children, err);

    if (rc == CSYNC_OK && children.count)
        rc = pg_victims_park(b, &children, "foreign key", no_parent, &parked, err);
    cs_row_list_free(&children);
    return rc;
}
