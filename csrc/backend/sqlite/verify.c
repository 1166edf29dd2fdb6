/* verify.c - what a row and its head are, and writing a row that its head says should be another. */
#include <string.h>

#include "backend/sqlite/sqlite.h"
#include "codec/canonical.h"

int sq_look(cs_backend *base, cs_table *t, const char *pk, cs_head *head, cs_row_visit visit,
            void *ctx, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_read_key(b, t, pk, strlen(pk), err);

    if (rc == CSYNC_OK)
        rc = sq_head_get(b, t, head, NULL, err);
    if (rc == CSYNC_OK)
        rc = sq_table_stmt(b, t, SQT_ROW_GET, &stmt, err);
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_key(b, stmt, t);
    rc = sq_step(b, stmt, err);
    if (rc == 1) {
        for (size_t i = 0; i < t->count; i++)
            sq_column(b, stmt, (int)i, &b->cells[i]);
        rc = visit(ctx, b->cells, t->count, err);
    }
    sqlite3_reset(stmt);
    return rc;
}

/* The statement that makes the row what the change says, bound. */
static int prepare_write(cs_sqlite *b, cs_table *t, const csync_change *change, sqlite3_stmt **stmt,
                         csync_error *err)
{
    int rc = sq_read_key(b, t, change->pk, strlen(change->pk), err);

    if (rc == CSYNC_OK && change->operation == CSYNC_DELETE) {
        rc = sq_table_stmt(b, t, SQT_ROW_DELETE, stmt, err);
        if (rc == CSYNC_OK)
            sq_bind_key(b, *stmt, t);
        return rc;
    }
    if (rc == CSYNC_OK)
        rc = sq_read_payload(b, t, change->payload, strlen(change->payload), err);
    if (rc == CSYNC_OK)
        rc = sq_is_whole(b, t) ? sq_table_stmt(b, t, SQT_ROW_PUT, stmt, err)
                               : sq_partial_put(b, t, stmt, err);
    for (size_t i = 0; rc == CSYNC_OK && i < t->count; i++)
        if (b->present[i])
            sq_bind(b, *stmt, (int)i + 1, &b->cells[i]);
    return rc;
}

/* The row is now what the change says: a column's type, or a trigger, may have made another of it. */
static int check_written(cs_sqlite *b, cs_table *t, const csync_change *change, const char **reason,
                         csync_error *err)
{
    cs_buf row = {0};
    int found = 0, order = 0;
    int rc = sq_row_payload(b, t, &row, &found, err);

    if (rc == CSYNC_OK && found && change->payload)
        rc = cs_canonical_order(row.data, row.len, change->payload, strlen(change->payload), &order,
                                err);
    if (found != (change->operation != CSYNC_DELETE) || order != 0)
        *reason = "changed on the way in";
    cs_buf_free(&row);
    return rc;
}

/* What foreign keys do to other rows would be captured by nobody, so it must not be. (What the application's
 * triggers do is as in an apply.) */
static int write_alone(cs_sqlite *b, cs_table *t, const csync_change *change, const char **reason,
                       csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt = NULL;
    int acts = change->operation == CSYNC_DELETE ? t->acts_on_delete : t->acts_on_update;
    int64_t before = sqlite3_total_changes(b->db);
    int rc = prepare_write(b, t, change, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    rc = sq_run(b, stmt, err);
    if (rc != CSYNC_OK)
        return sq_refused(b, rc, reason, err);
    if (acts && sqlite3_total_changes(b->db) - before > 1)
        *reason = "other rows would change";
    else if (sq_violated(b))
        *reason = "foreign key";
    else
        rc = check_written(b, t, change, reason, err);
    return rc;
}

static int show(cs_sqlite *b, cs_table *t, const csync_change *change, csync_error *err)
{
    sqlite3_stmt *stmt;
    int rc = sq_read_key(b, t, change->pk, strlen(change->pk), err);

    if (rc == CSYNC_OK)
        rc = sq_table_stmt(b, t, SQT_HEAD_SHOW, &stmt, err);
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_key(b, stmt, t);
    return sq_run(b, stmt, err);
}

int sq_restore(cs_backend *base, cs_table *t, const csync_change *change, const char **reason,
               csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    csync_error why = CSYNC_ERROR_INIT;
    int rc = sq_attempt(b, err);

    *reason = NULL;
    if (rc != CSYNC_OK)
        return rc;
    rc = write_alone(b, t, change, reason, &why);
    if (rc != CSYNC_OK) {
        cs_error_copy(err, &why);
        return rc;
    }
    rc = sq_attempt_end(b, *reason != NULL, err);
    if (rc != CSYNC_OK || *reason)
        return rc;
    sq_touch(t);
    return change->operation == CSYNC_DELETE ? CSYNC_OK : show(b, t, change, err);
}
