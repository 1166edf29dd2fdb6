/* hash.c - the hash of all tracked tables: table by table in order of name, row by row in order of key. */
#include "sync/hash.h"

#include <string.h>

#include "codec/sha256.h"
#include "sync/form.h"

typedef struct hashing {
    cs_sha256 *sha;
    cs_form form;
    cs_buf row;
    csync *replica;
    int64_t rows;
} hashing;

static int hash_row(void *ctx, const cs_value *values, size_t count, csync_error *err)
{
    hashing *h = ctx;
    int rc;

    (void)count;
    cs_buf_clear(&h->row);
    cs_form_put(&h->form, values, &h->row);
    cs_buf_putc(&h->row, '\n');
    rc = cs_buf_check(&h->row, err);
    if (rc == CSYNC_OK)
        cs_sha256_update(h->sha, h->row.data, h->row.len);
    return rc == CSYNC_OK && ++h->rows % 1000 == 0 ? cs_replica_cancelled(h->replica, err) : rc;
}

static int hash_table(hashing *h, const cs_table *t, csync_error *err)
{
    cs_backend *b = h->replica->backend;
    int rc = cs_form_open(&h->form, t, 0, err);

    cs_sha256_update(h->sha, t->name, strlen(t->name));
    cs_sha256_update(h->sha, "\n", 1);
    if (rc == CSYNC_OK)
        rc = b->ops->scan(b, t, hash_row, h, err);
    cs_form_close(&h->form);
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
