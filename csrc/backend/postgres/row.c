/* row.c - writing a row, under a savepoint: what cannot be written leaves nothing behind and says why. */
#include <string.h>

#include "backend/postgres/postgres.h"

void pg_put_insert(cs_pg *b, const cs_table *t, cs_buf *sql)
{
    int n = 0;

    cs_buf_printf(sql, "INSERT INTO %s AS x(", ((pg_table *)t->prepared)->name);
    for (size_t i = 0; i < t->count; i++) {
        if (!b->present[i])
            continue;
        cs_buf_puts(sql, n++ ? "," : "");
        cs_put_ident(sql, t->columns[i].name);
    }
    cs_buf_puts(sql, ") OVERRIDING SYSTEM VALUE");
}

void pg_note_sequences(cs_pg *b, const cs_table *t)
{
    const pg_table *p = t->prepared;

    for (size_t i = 0; p->has_sequence && i < t->count; i++)
        if (p->columns[i].sequence && b->present[i] && b->cells[i].type == CS_INT &&
            b->cells[i].integer > p->columns[i].top)
            p->columns[i].top = b->cells[i].integer;
}

static void put_values(cs_pg *b, const cs_table *t, cs_buf *sql, cs_buf *text, const char **reason)
{
    const pg_table *p = t->prepared;
    int n = 0;

    pg_put_insert(b, t, sql);
    for (size_t i = 0; i < t->count; i++) {
        if (!b->present[i])
            continue;
        n++;
        pg_put_param(text, p->kinds[i], &b->cells[i], reason);
    }
    cs_buf_puts(sql, " VALUES(");
    for (int i = 1; i <= n; i++)
        cs_buf_printf(sql, "%s$%d", i > 1 ? "," : "", i);
}

void pg_put_kept(cs_pg *b, const cs_table *t, cs_buf *sql)
{
    cs_buf_puts(sql, "(false");
    for (size_t i = 0; i < t->count; i++) {
        const cs_column *c = &t->columns[i];

        if (b->present[i] || c->key)
            continue;
        cs_buf_puts(sql, " OR x.");
        cs_put_ident(sql, c->name);
        cs_buf_printf(sql, "::text IS DISTINCT FROM ((%s)::%s)::text",
                      c->fallback ? c->fallback : "NULL", c->type);
    }
    cs_buf_puts(sql, ")");
}

void pg_put_conflict(cs_pg *b, const cs_table *t, cs_buf *sql)
{
    int n = 0;

    cs_buf_puts(sql, " ON CONFLICT(");
    cs_put_key_list(sql, t, "");
    cs_buf_puts(sql, ") DO ");
    for (size_t i = 0; i < t->count; i++) {
        const cs_column *c = &t->columns[i];

        if (!b->present[i] || c->key)
            continue;
        cs_buf_puts(sql, n++ ? "," : "UPDATE SET ");
        cs_put_ident(sql, c->name);
        cs_buf_puts(sql, "=excluded.");
        cs_put_ident(sql, c->name);
    }
    cs_buf_puts(sql, n ? "" : "NOTHING");
}

/* Leaves b->key and b->pk as they are. */
static int upsert(cs_pg *b, cs_table *t, const csync_change *change, const char **reason,
                  csync_error *err)
{
    const pg_table *p = t->prepared;
    cs_buf sql = {0}, text = {0};
    PGresult *r = NULL;
    pg_moving moving;
    int rc = pg_moving_begin(b, t, change->pk, &moving, err);

    if (rc == CSYNC_OK)
        rc = pg_read_payload(b, t, change->payload, strlen(change->payload), err);
    if (rc == CSYNC_OK) {
        pg_note_sequences(b, t);
        put_values(b, t, &sql, &text, reason);
        cs_buf_puts(&sql, ")");
        pg_put_conflict(b, t, &sql);
        cs_buf_printf(&sql, " RETURNING %s,", p->row_sql);
        pg_put_kept(b, t, &sql);
        cs_buf_printf(&sql, ",%s", p->moving_sql ? p->moving_sql : "NULL");
        rc = cs_buf_check(&sql, err);
    }
    if (rc == CSYNC_OK)
        rc = cs_buf_check(&text, err);
    if (rc == CSYNC_OK && !*reason)
        rc = pg_run_cells(b, t, sql.data, &text, NULL, &r, err);
    if (rc == CSYNC_OK && r && pg_rows(b, r)) {
        int ours = pg_cell(b, r, 0, 1)[0] == 't';

        rc = pg_check_row(b, t, pg_cell(b, r, 0, 0), &ours, reason, err);
        if (rc == CSYNC_OK && ours && !*reason)
            rc = pg_own_add(b, t, change->pk, err);
        if (rc == CSYNC_OK && !*reason)
            rc = pg_moving_end(b, t, change->pk, &moving, pg_cell(b, r, 0, 2), err);
    }
    pg_moving_free(&moving);
    pg_clear(b, r);
    cs_buf_free(&sql);
    cs_buf_free(&text);
    return rc;
}

/* The entry of a delete that was captured after `before`. */
static int forget_entry(cs_pg *b, const cs_table *t, int64_t before, csync_error *err)
{
    pg_args a = {.count = 0};

    pg_int(&a, before);
    pg_text(&a, t->name);
    pg_text(&a, b->pk.data);
    return pg_run(
        b,
        "DELETE FROM csync._sync_log WHERE version=(SELECT max(version) FROM csync._sync_log "
        "WHERE version>$1 AND table_name=$2 AND pk_value=$3 AND operation='delete' AND origin "
        "IS NULL)",
        &a, NULL, err);
}

/* What foreign keys do to other rows is captured as this replica's own changes; the delete itself is not. */
static int delete_row(cs_pg *b, cs_table *t, csync_error *err)
{
    cs_buf sql = {0};
    PGresult *r = NULL;
    int64_t before = 0;
    int rc = t->acts_on_delete ? pg_last_version(b, &before, err) : CSYNC_OK;

    cs_buf_puts(&sql, "DELETE FROM ");
    cs_buf_puts(&sql, ((pg_table *)t->prepared)->name);
    cs_buf_puts(&sql, " x");
    pg_put_key_where(&sql, t);
    if (rc == CSYNC_OK)
        rc = cs_buf_check(&sql, err);
    if (rc == CSYNC_OK && t->acts_on_delete)
        rc = pg_exec(b, "SELECT set_config('csync.sync_active','',true)", err);
    if (rc == CSYNC_OK)
        rc = pg_run_key(b, t, sql.data, &r, err);
    if (rc == CSYNC_OK && t->acts_on_delete)
        rc = pg_exec(b, "SELECT set_config('csync.sync_active','1',true)", err);
    if (rc == CSYNC_OK && t->acts_on_delete && pg_affected(b, r))
        rc = forget_entry(b, t, before, err);
    pg_clear(b, r);
    cs_buf_free(&sql);
    return rc;
}

int pg_write_row(cs_pg *b, cs_table *t, const csync_change *change, const char **reason,
                 csync_error *err)
{
    csync_error why = CSYNC_ERROR_INIT;
    size_t own = b->own_count;
    int rc = pg_savepoint(b, err), end;

    *reason = NULL;
    if (rc != CSYNC_OK)
        return rc;
    b->sqlstate[0] = 0;
    rc = change->operation == CSYNC_DELETE ? delete_row(b, t, &why)
                                           : upsert(b, t, change, reason, &why);
    if (rc == CSYNC_ESCHEMA)
        *reason = "unknown column";
    else if (rc == CSYNC_EDB)
        *reason = pg_reason(b);
    if (why.code != CSYNC_OK)
        cs_error_copy(err, &why);
    if (rc != CSYNC_OK && !*reason)
        return rc;
    if (why.code == CSYNC_OK && *reason)
        (void)cs_fail(err, CSYNC_EDB, "a column cannot hold its value as it is");
    if (*reason)
        pg_own_cut(b, own);
    end = pg_savepoint_end(b, *reason != NULL, err);
    return end;
}
