/* rows.c - the rows of many keys in one statement: reading them, deleting them. */
#include <string.h>

#include "backend/postgres/postgres.h"
#include "base/mem.h"

/* Keys of one table: an array for each column of the key. */
typedef struct keys {
    cs_table *table;
    cs_buf *columns;
    size_t *at; /* where in the caller's list the elements are from */
    size_t count;
} keys;

static int keys_init(keys *k, cs_table *t, size_t most, csync_error *err)
{
    memset(k, 0, sizeof *k);
    k->table = t;
    k->columns = cs_calloc(t->key_count, sizeof *k->columns);
    k->at = cs_calloc(most, sizeof *k->at);
    return k->columns && k->at ? CSYNC_OK : cs_fail_nomem(err);
}

static void keys_free(keys *k)
{
    for (size_t i = 0; k->columns && i < k->table->key_count; i++)
        cs_buf_free(&k->columns[i]);
    cs_free(k->columns);
    cs_free(k->at);
}

/* A key that no row can have is left out. */
static int keys_add(cs_pg *b, keys *k, const char *pk, size_t at, csync_error *err)
{
    const pg_table *p = k->table->prepared;
    const char *reason = NULL;
    cs_buf text = {0};
    size_t from = 0;
    int rc = pg_read_key(b, k->table, pk, &reason, err);

    for (size_t i = 0; rc == CSYNC_OK && i < k->table->key_count; i++)
        pg_put_param(&text, p->kinds[k->table->key[i]], &b->key[i], &reason);
    if (rc == CSYNC_OK)
        rc = cs_buf_check(&text, err);
    for (size_t i = 0; rc == CSYNC_OK && !reason && i < k->table->key_count; i++) {
        pg_array_add(&k->columns[i], text.data + from);
        from += strlen(text.data + from) + 1;
    }
    if (rc == CSYNC_OK && !reason)
        k->at[k->count++] = at;
    cs_buf_free(&text);
    return rc;
}

/* The keys as u, with their numbers; their parameters begin behind `first`. */
static void put_keys(const keys *k, size_t first, cs_buf *sql)
{
    const cs_table *t = k->table;
    const pg_table *p = t->prepared;

    cs_buf_puts(sql, "unnest(");
    for (size_t i = 0; i < t->key_count; i++)
        cs_buf_printf(sql, "%s$%zu::%s[]", i ? "," : "", first + i + 1,
                      pg_param_type(p->kinds[t->key[i]]));
    cs_buf_puts(sql, ") WITH ORDINALITY u(");
    for (size_t i = 0; i < t->key_count; i++)
        cs_buf_printf(sql, "c%zu,", i);
    cs_buf_puts(sql, "n)");
}

/* The row x is that of u. */
static void put_match(const keys *k, cs_buf *sql)
{
    const cs_table *t = k->table;
    const pg_table *p = t->prepared;

    for (size_t i = 0; i < t->key_count; i++) {
        size_t column = t->key[i];

        cs_buf_puts(sql, i ? " AND x." : " WHERE x.");
        cs_put_ident(sql, t->columns[column].name);
        cs_buf_printf(sql, "=u.c%zu", i);
        if (p->kinds[column] >= PG_OTHER)
            cs_buf_printf(sql, "::%s", p->columns[column].cast);
    }
}

static int run_keys(cs_pg *b, cs_buf *sql, keys *list, size_t count, PGresult **out, csync_error *err)
{
    size_t n = 0, at = 0;
    const char **params;
    int rc = cs_buf_check(sql, err);

    for (size_t i = 0; i < count; i++)
        n += list[i].table->key_count;
    params = cs_calloc(n + 1, sizeof *params);
    if (rc == CSYNC_OK && !params)
        rc = cs_fail_nomem(err);
    for (size_t i = 0; rc == CSYNC_OK && i < count; i++)
        for (size_t c = 0; rc == CSYNC_OK && c < list[i].table->key_count; c++) {
            params[at] = pg_array_text(&list[i].columns[c]);
            rc = params[at++] ? CSYNC_OK : cs_fail_nomem(err);
        }
    if (rc == CSYNC_OK)
        rc = pg_run_many(b, sql->data, params, (int)n, out, err);
    cs_free(params);
    return rc;
}

/* ---- reading ---- */

/* Each key is looked up by the index (LATERAL, LIMIT): what is not known of a new table suggests to read all of it. */
static int ask(cs_pg *b, keys *k, PGresult **out, csync_error *err)
{
    const pg_table *p = k->table->prepared;
    cs_buf sql = {0};
    int rc;

    cs_buf_puts(&sql, "SELECT u.n,r.row FROM ");
    put_keys(k, 0, &sql);
    cs_buf_printf(&sql, " CROSS JOIN LATERAL (SELECT %s AS row FROM %s x", p->row_sql, p->name);
    put_match(k, &sql);
    cs_buf_puts(&sql, " LIMIT 1) r");
    rc = run_keys(b, &sql, k, 1, out, err);
    cs_buf_free(&sql);
    return rc;
}

static int read_table(cs_pg *b, cs_table *t, pg_wanted *list, size_t count, csync_error *err)
{
    PGresult *r = NULL;
    keys k;
    int rc = keys_init(&k, t, count, err);

    for (size_t i = 0; rc == CSYNC_OK && i < count; i++)
        if (list[i].table == t)
            rc = keys_add(b, &k, list[i].pk, i, err);
    if (rc == CSYNC_OK && k.count)
        rc = ask(b, &k, &r, err);
    for (int i = 0; rc == CSYNC_OK && r && i < pg_rows(b, r); i++) {
        pg_wanted *one = &list[k.at[pg_cell_int(b, r, i, 0) - 1]];

        one->payload = cs_strdup(pg_cell(b, r, i, 1));
        rc = one->payload ? CSYNC_OK : cs_fail_nomem(err);
    }
    pg_clear(b, r);
    keys_free(&k);
    return rc;
}

static int wants_any(const pg_wanted *list, size_t count, const cs_table *t)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].table == t)
            return 1;
    return 0;
}

int pg_read_rows(cs_pg *b, pg_wanted *list, size_t count, csync_error *err)
{
    int rc = CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && i < b->base.table_count; i++)
        if (wants_any(list, count, b->base.tables[i]))
            rc = read_table(b, b->base.tables[i], list, count, err);
    return rc;
}

void pg_wanted_free(pg_wanted *list, size_t count)
{
    for (size_t i = 0; list && i < count; i++)
        cs_free(list[i].payload);
    cs_free(list);
}

/* ---- deleting ---- */

static int add_table(cs_pg *b, cs_table *t, const cs_row_list *rows, keys *k, csync_error *err)
{
    int rc = keys_init(k, t, rows->count, err);

    for (size_t i = 0; rc == CSYNC_OK && i < rows->count; i++)
        if (rows->list[i].table == t)
            rc = keys_add(b, k, rows->list[i].pk, i, err);
    return rc;
}

static void put_delete(const keys *k, size_t number, size_t first, cs_buf *sql)
{
    cs_buf_printf(sql, "%s d%zu AS (DELETE FROM %s x USING ", number ? "," : "WITH", number,
                  ((pg_table *)k->table->prepared)->name);
    put_keys(k, first, sql);
    put_match(k, sql);
    cs_buf_puts(sql, ")");
}

int pg_delete_rows(cs_pg *b, const cs_row_list *rows, csync_error *err)
{
    keys *list = cs_calloc(b->base.table_count + 1, sizeof *list);
    size_t count = 0, first = 0;
    cs_buf sql = {0};
    int rc = list ? CSYNC_OK : cs_fail_nomem(err);

    for (size_t i = 0; rc == CSYNC_OK && i < b->base.table_count; i++) {
        cs_table *t = b->base.tables[i];

        if (!cs_row_list_has_table(rows, t))
            continue;
        rc = add_table(b, t, rows, &list[count], err);
        put_delete(&list[count], count, first, &sql);
        first += t->key_count;
        count++;
    }
    cs_buf_puts(&sql, " SELECT 1");
    if (rc == CSYNC_OK && count)
        rc = run_keys(b, &sql, list, count, NULL, err);
    for (size_t i = 0; i < count; i++)
        keys_free(&list[i]);
    cs_free(list);
    cs_buf_free(&sql);
    return rc;
}
