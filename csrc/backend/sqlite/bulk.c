/* bulk.c - many changes in one statement.
 *
 * Half of what a row costs is the beginning and the end of its statement. So upserts of one table go
 * SQ_BULK at a time: one statement takes their heads, another writes their rows. Where one of them needs a
 * look of its own, all is undone, and the caller goes change by change. */
#include "backend/sqlite/sqlite.h"

#include <string.h>

/* Rowids that are at most so far apart are taken to be on the same page or the next. */
enum { NEIGHBOURS = 8 };

/* The statements, with parameters for SQ_BULK changes. */
typedef struct bulk {
    sqlite3_stmt *heads, *rows;
    int head_params, row_params; /* of one change */
    const cs_change *last; /* the one bound before ... */
    int64_t last_rowid; /* ... and its key, where that is the rowid */
} bulk;

static int prepare(cs_sqlite *b, cs_table *t, bulk *k, csync_error *err)
{
    int rc = sq_table_stmt(b, t, SQT_HEADS_TAKE, &k->heads, err);

    k->head_params = (int)t->key_count + SQ_HEAD_PARAMS;
    k->row_params = (int)t->count;
    return rc == CSYNC_OK ? sq_table_stmt(b, t, SQT_ROWS_PUT, &k->rows, err) : rc;
}

/* SQLite copies every page that it may have to restore, which is dear where each row has a page of its own.
 * New rows in order of key stand at the end of the table; others must be neighbours. */
static int is_near(const cs_sqlite *b, const cs_table *t, const bulk *k, const cs_change *c)
{
    const cs_change *last = k->last;

    if (!last)
        return 1;
    if (t->rowid_key && b->key[0].integer > k->last_rowid &&
        (uint64_t)b->key[0].integer - (uint64_t)k->last_rowid <= NEIGHBOURS)
        return 1;
    return c->pub.operation == CSYNC_INSERT &&
           (c->pk_len > last->pk_len ||
            (c->pk_len == last->pk_len && memcmp(c->pub.pk, last->pub.pk, c->pk_len) > 0));
}

/* Binds change `i`. *fits 0: it is malformed, no whole row of this table, not to be held, or far from the one before. */
static int bind_change(cs_sqlite *b, const cs_item *item, const cs_merge *how, bulk *k, int i,
                       int *fits, csync_error *err)
{
    const cs_change *c = item->change;
    const cs_table *t = item->table;
    csync_error why = CSYNC_ERROR_INIT;
    int rc = sq_read_key(b, t, c->pub.pk, c->pk_len, &why);

    *fits = rc == CSYNC_OK && is_near(b, t, k, c);
    if (*fits) {
        rc = sq_read_payload(b, t, c->pub.payload, c->payload_len, &why);
        *fits = rc == CSYNC_OK && sq_is_whole(b, t) && !sq_misfit(b, t);
    }
    if (rc == CSYNC_EINVAL || rc == CSYNC_ESCHEMA || (rc == CSYNC_OK && !*fits))
        return CSYNC_OK;
    if (rc != CSYNC_OK) {
        cs_error_copy(err, &why);
        return rc;
    }
    k->last = c;
    k->last_rowid = b->key[0].integer;
    for (size_t n = 0; n < t->count; n++)
        sq_bind_passing(b, k->rows, i * k->row_params + (int)n + 1, &b->cells[n]);
    return sq_bind_head(b, k->heads, i * k->head_params, item, how,
                        how->relay ? b->next_version + i : 0, err);
}

/* *done 0: a change did not beat its head, or a row was refused. */
static int write_all(cs_sqlite *b, cs_table *t, const bulk *k, int *done, csync_error *err)
{
    SQ_API(b);
    const char *reason = NULL;
    int rc = sq_put_rows(b, t, k->heads, &reason, err);

    *done = rc == CSYNC_OK && !reason && sqlite3_changes(b->db) == SQ_BULK;
    if (*done) {
        rc = sq_put_rows(b, t, k->rows, &reason, err);
        *done = rc == CSYNC_OK && !reason && sqlite3_changes(b->db) == SQ_BULK;
    }
    return rc;
}

int sq_bulk(cs_sqlite *b, const cs_item *items, const size_t *order, const cs_merge *how, int *done,
            csync_error *err)
{
    cs_table *t = items[order[0]].table;
    csync_error why = CSYNC_ERROR_INIT;
    bulk k = {.last = NULL};
    int fits = 1;
    int rc = prepare(b, t, &k, &why);

    *done = 0;
    if (rc == CSYNC_EDB) /* the application's connection may have narrower limits (sqlite3_limit) */
        return CSYNC_OK;
    if (rc != CSYNC_OK)
        cs_error_copy(err, &why);
    for (int i = 0; rc == CSYNC_OK && fits && i < SQ_BULK; i++)
        rc = bind_change(b, &items[order[i]], how, &k, i, &fits, err);
    if (rc == CSYNC_OK && fits)
        rc = sq_attempt(b, err);
    if (rc != CSYNC_OK || !fits)
        return rc;
    rc = write_all(b, t, &k, done, &why);
    if (rc != CSYNC_OK)
        cs_error_copy(err, &why);
    return rc == CSYNC_OK ? sq_attempt_end(b, !*done, err) : rc;
}
