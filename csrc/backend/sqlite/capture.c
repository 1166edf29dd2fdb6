/* capture.c - rows that no trigger has logged: those that were there before track, and those that may have
 * changed while the triggers were gone. */
#include <string.h>

#include "backend/sqlite/sqlite.h"
#include "codec/canonical.h"

/* Rows that were there before take part as changes older than any edit (stamp 0): a device that joins with an
 * old copy must not override what others wrote since. They get log entries when somebody asks for them, in
 * an order that foreign keys like. */
int sq_backfill(cs_sqlite *b, cs_table *t, csync_error *err)
{
    SQ_API(b);
    cs_buf sql = {0};
    int rc;

    cs_buf_printf(&sql, "INSERT INTO main._sync_rows_%lld(", (long long)t->id);
    for (size_t i = 0; i < t->key_count; i++)
        cs_buf_printf(&sql, "k%zu,", i + 1);
    cs_buf_puts(&sql, "version,ts,origin,seq,state,via) SELECT ");
    cs_put_key_list(&sql, t, "");
    cs_buf_printf(&sql, ",0,0,%lld,0,0,0 FROM main.", (long long)b->me);
    cs_put_ident(&sql, t->name);
    rc = sq_exec_buf(b, &sql, err);
    if (rc == CSYNC_OK && sqlite3_changes(b->db) > 0)
        rc = sq_state_put_text(b, "unlogged", "1", err);
    return rc;
}

/* ---- after triggers were lost ---- */

static int append_now(cs_sqlite *b, const cs_table *t, const char *pk, const char *operation,
                      csync_error *err)
{
    char timestamp[CS_TIME_SIZE];
    int64_t now = 0;
    int rc = sq_stamp_now(&b->base, &now, err);

    cs_time_format(now, timestamp);
    return rc == CSYNC_OK ? sq_log_local(b, t, pk, operation, timestamp, err) : rc;
}

/* 1 when the log holds exactly this content for the head. */
static int logged_same(cs_sqlite *b, const cs_head *head, const cs_buf *row, csync_error *err)
{
    csync_batch *batch = cs_batch_create();
    const csync_change *entry;
    int order = 1;
    int rc = batch ? sq_log_change(&b->base, head->version, batch, err) : cs_fail_nomem(err);

    entry = cs_batch_get(batch, 0);
    if (rc == CSYNC_OK && entry && entry->payload)
        rc = cs_canonical_order(entry->payload, strlen(entry->payload), row->data, row->len, &order,
                                err);
    cs_batch_destroy(batch);
    return rc != CSYNC_OK ? rc : order == 0;
}

/* The row at `stmt` (SQT_ROW_SCAN): logged as changed unless the log proves that it is not. */
static int recapture_row(cs_sqlite *b, cs_table *t, sqlite3_stmt *stmt, csync_error *err)
{
    cs_buf pk = {0}, row = {0};
    cs_head head;
    int rc, same = 0;

    sq_put_row(b, stmt, 0, t, &row);
    sq_put_key_of_row(b, stmt, t, &pk);
    rc = cs_buf_check(&row, err);
    if (rc == CSYNC_OK)
        rc = cs_buf_check(&pk, err);
    if (rc == CSYNC_OK)
        rc = sq_read_key(b, t, pk.data, pk.len, err);
    if (rc == CSYNC_OK)
        rc = sq_head_get(b, t, &head, NULL, err);
    if (rc == CSYNC_OK && head.found && !head.deleted && head.version)
        rc = same = logged_same(b, &head, &row, err);
    if (rc >= 0)
        rc = same ? CSYNC_OK : append_now(b, t, pk.data, head.found ? "update" : "insert", err);
    cs_buf_free(&pk);
    cs_buf_free(&row);
    return rc;
}

int sq_recapture(cs_sqlite *b, cs_table *t, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int64_t folded = 0, gone = 0;
    int rc = sq_fold(&b->base, err);

    if (rc == CSYNC_OK)
        rc = sq_log_top(&b->base, &folded, err);
    if (rc == CSYNC_OK)
        rc = sq_table_stmt(b, t, SQT_ROW_SCAN, &stmt, err);
    if (rc != CSYNC_OK)
        return rc;
    while ((rc = sq_step(b, stmt, err)) == 1 && (rc = recapture_row(b, t, stmt, err)) == CSYNC_OK)
        ;
    sqlite3_reset(stmt);
    return rc == CSYNC_OK ? sq_log_vanished(b, t, folded, &gone, err) : rc;
}
