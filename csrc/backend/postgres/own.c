/* own.c - rows that an apply has made into what no other replica can make of its changes, or all would stay different: they
 * become changes of this replica.
 *
 * They are noted with their heads, and logged when the merge ends, where the head is still the same: else a later change
 * of the batch has written the row, and says what it is. An entry as new as the merge would beat edits elsewhere that
 * this change has lost to. */
#include <stdlib.h>
#include <string.h>

#include "backend/postgres/postgres.h"
#include "base/mem.h"

struct pg_own {
    cs_row_name row;
    int has_head;
    cs_stamp stamp; /* of its head */
};

int pg_own_add(cs_pg *b, cs_table *t, const char *pk, csync_error *err)
{
    pg_own one = {.row = {t, NULL}};
    const char *ignored;
    cs_head head;
    int rc = pg_read_key(b, t, pk, &ignored, err);

    if (rc == CSYNC_OK)
        rc = pg_head_get(b, t, &head, NULL, err);
    if (rc != CSYNC_OK)
        return rc;
    one.has_head = head.found;
    one.stamp = head.stamp;
    one.row.pk = cs_strdup(pk);
    if (!one.row.pk || cs_grow(&b->own, &b->own_cap, b->own_count + 1, sizeof *b->own) != CSYNC_OK) {
        cs_free(one.row.pk);
        return cs_fail_nomem(err);
    }
    b->own[b->own_count++] = one;
    return CSYNC_OK;
}

int pg_own_has_other(const cs_pg *b, const cs_table *t, const char *pk)
{
    for (size_t i = 0; i < b->own_count; i++)
        if (b->own[i].row.table != t || strcmp(b->own[i].row.pk, pk) != 0)
            return 1;
    return 0;
}

void pg_own_cut(cs_pg *b, size_t count)
{
    while (b->own_count > count)
        cs_free(b->own[--b->own_count].row.pk);
}

static int by_row(const void *a, const void *b)
{
    const cs_row_name *x = &((const pg_own *)a)->row, *y = &((const pg_own *)b)->row;

    return x->table->id != y->table->id
               ? (x->table->id > y->table->id) - (x->table->id < y->table->id)
               : strcmp(x->pk, y->pk);
}

/* Without payload: the row is read when it is sent. */
static int log_entry(cs_pg *b, const cs_table *t, int operation, csync_error *err)
{
    csync_change c = {.struct_size = sizeof c, .operation = operation, .table = t->name};
    char timestamp[CS_TIME_SIZE];
    int64_t now = 0, version;
    int rc = pg_stamp_now(&b->base, &now, err);

    cs_time_format(now, timestamp);
    c.pk = b->pk.data;
    c.timestamp = timestamp;
    return rc == CSYNC_OK ? pg_log_append(b, &c, 1, &version, err) : rc;
}

/* *logged 0: the row's head has changed since, or the row is parked. */
static int log_row(cs_pg *b, const pg_own *one, int *logged, csync_error *err)
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
    return *logged ? log_entry(b, one->row.table, found ? CSYNC_UPDATE : CSYNC_DELETE, err) : rc;
}

int pg_own_log(cs_pg *b, csync_error *err)
{
    int rc = CSYNC_OK, logged = 0;

    if (!b->own_count)
        return CSYNC_OK;
    qsort(b->own, b->own_count, sizeof *b->own, by_row); /* a row may have been noted more than once */
    for (size_t i = 0; rc == CSYNC_OK && i < b->own_count; i++)
        if (!logged || by_row(&b->own[i - 1], &b->own[i]) != 0)
            rc = log_row(b, &b->own[i], &logged, err);
    pg_own_cut(b, 0);
    return rc == CSYNC_OK ? pg_fold(&b->base, err) : rc;
}
