/* hash.c - the hash of all tracked tables: table by table in order of name, row by row in order of key. */
#include "sync/hash.h"

#include <string.h>

#include "base/mem.h"
#include "codec/canonical.h"
#include "codec/sha256.h"

/* A row's members go in canonical order, which is settled once per table. */
typedef struct hashing {
    cs_sha256 *sha;
    const cs_table *table;
    size_t *order;
    cs_buf *names; /* `"name":` of each column, by its place in the order */
    cs_buf row;
    csync *replica;
    int64_t rows;
} hashing;

static int compare_columns(const cs_table *t, size_t a, size_t b)
{
    const char *x = t->columns[a].name, *y = t->columns[b].name;

    return cs_canonical_compare(x, strlen(x), y, strlen(y));
}

/* By insertion: a table has few columns, and this is done once. */
static void sort_columns(const cs_table *t, size_t *order)
{
    for (size_t i = 0; i < t->count; i++) {
        size_t at = i;

        for (; at > 0 && compare_columns(t, i, order[at - 1]) < 0; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

static int hash_row(void *ctx, const cs_value *values, size_t count, csync_error *err)
{
    hashing *h = ctx;
    int rc;

    cs_buf_clear(&h->row);
    for (size_t i = 0; i < count; i++) {
        cs_buf_putc(&h->row, i ? ',' : '{');
        cs_buf_put(&h->row, h->names[i].data, h->names[i].len);
        cs_canonical_value(&h->row, &values[h->order[i]]);
    }
    cs_buf_put(&h->row, "}\n", 2);
    rc = cs_buf_check(&h->row, err);
    if (rc == CSYNC_OK)
        cs_sha256_update(h->sha, h->row.data, h->row.len);
    return rc == CSYNC_OK && ++h->rows % 1000 == 0 ? cs_replica_cancelled(h->replica, err) : rc;
}

static int prepare(hashing *h, const cs_table *t, csync_error *err)
{
    h->table = t;
    h->order = cs_calloc(t->count, sizeof *h->order);
    h->names = cs_calloc(t->count, sizeof *h->names);
    if (!h->order || !h->names)
        return cs_fail_nomem(err);
    sort_columns(t, h->order);
    for (size_t i = 0; i < t->count; i++) {
        const char *name = t->columns[h->order[i]].name;

        cs_put_string(&h->names[i], name, strlen(name));
        cs_buf_putc(&h->names[i], ':');
        if (cs_buf_check(&h->names[i], err) != CSYNC_OK)
            return CSYNC_ENOMEM;
    }
    return CSYNC_OK;
}

static void unprepare(hashing *h)
{
    for (size_t i = 0; h->names && i < h->table->count; i++)
        cs_buf_free(&h->names[i]);
    cs_free(h->names);
    cs_free(h->order);
    h->names = NULL;
    h->order = NULL;
}

static int hash_table(hashing *h, const cs_table *t, csync_error *err)
{
    cs_backend *b = h->replica->backend;
    int rc = prepare(h, t, err);

    cs_sha256_update(h->sha, t->name, strlen(t->name));
    cs_sha256_update(h->sha, "\n", 1);
    if (rc == CSYNC_OK)
        rc = b->ops->scan(b, t, hash_row, h, err);
    unprepare(h);
    return rc;
}

static int hash_tables(csync *c, void *ctx, csync_error *err)
{
    hashing *h = ctx;
    int rc = CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && i < c->backend->table_count; i++)
        rc = hash_table(h, c->backend->tables[i], err);
    return rc;
}

int cs_database_hash(csync *c, char hex[CSYNC_HASH_SIZE], csync_error *err)
{
    hashing h = {.replica = c};
    int rc = cs_sha256_new(&h.sha, err);

    if (rc == CSYNC_OK)
        rc = cs_replica_read(c, hash_tables, &h, err);
    if (rc == CSYNC_OK)
        rc = cs_sha256_final(h.sha, hex, err);
    cs_buf_free(&h.row);
    cs_sha256_free(h.sha);
    return rc;
}
