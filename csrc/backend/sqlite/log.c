/* log.c - the log: its entries, and completing it for others to read. */
#include <string.h>

#include "backend/sqlite/sqlite.h"
#include "base/mem.h"

int sq_log_top(cs_backend *base, int64_t *version, csync_error *err)
{
    return sq_fixed_int((cs_sqlite *)base, SQ_LOG_TOP, version, err);
}

/* Rows from before track whose heads are not in the log yet. */
static int has_unlogged(cs_sqlite *b, int *found, csync_error *err)
{
    int64_t unlogged = 0;
    int rc = sq_state_int(b, "unlogged", &unlogged, err);

    *found = unlogged != 0;
    return rc;
}

int sq_pending(cs_backend *base, int64_t since, int *found, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    sqlite3_stmt *stmt;
    int64_t top = 0;
    int rc = sq_log_top(base, &top, err);

    *found = 0;
    if (rc == CSYNC_OK && since < b->base.copied_at) {
        *found = 1;
        return CSYNC_OK;
    }
    if (rc == CSYNC_OK)
        rc = sq_fixed(b, SQ_LOG_PENDING, &stmt, err);
    if (rc != CSYNC_OK)
        return rc;
    if (since >= b->foreign_from && since < b->foreign_to) /* else a long pull is quadratic */
        sqlite3_bind_int64(stmt, 1, b->foreign_to);
    else
        sqlite3_bind_int64(stmt, 1, since);
    sq_bind_text(b, stmt, 2, base->origin);
    rc = sq_step(b, stmt, err);
    *found = rc == 1;
    sqlite3_reset(stmt);
    if (rc == 0) {
        b->foreign_from = since;
        b->foreign_to = top;
        rc = has_unlogged(b, found, err);
    }
    return rc < 0 ? rc : CSYNC_OK;
}

int sq_log_append(cs_sqlite *b, int64_t version, const csync_change *change, int64_t seq,
                  csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_LOG_APPEND, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sqlite3_bind_int64(stmt, 1, version);
    sq_bind_text(b, stmt, 2, change->table);
    sq_bind_text(b, stmt, 3, change->pk);
    sq_bind_text(b, stmt, 4, cs_operation_name(change->operation));
    sq_bind_text(b, stmt, 5, change->payload);
    sq_bind_text(b, stmt, 6, change->origin);
    sq_bind_text(b, stmt, 7, change->timestamp);
    sqlite3_bind_int64(stmt, 8, seq);
    return sq_run(b, stmt, err);
}

int sq_log_local(cs_sqlite *b, const cs_table *t, const char *pk, const char *operation,
                 const char *timestamp, csync_error *err)
{
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_LOG_LOCAL, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, t->name);
    sq_bind_text(b, stmt, 2, pk);
    sq_bind_text(b, stmt, 3, operation);
    sq_bind_text(b, stmt, 4, timestamp);
    return sq_run(b, stmt, err);
}

/* ---- completing the log ---- */

static int next_version(cs_sqlite *b, int64_t *out, csync_error *err)
{
    int rc = sq_log_top(&b->base, out, err);

    ++*out;
    return rc;
}

/* 'a' or 'A', 1 or 1.0: the payload spells it as the row does. Leaves the key in b->key. */
static int spell_key(cs_sqlite *b, cs_table *t, cs_buf *pk, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *row;
    int rc = cs_buf_check(pk, err);

    if (rc == CSYNC_OK)
        rc = sq_read_key(b, t, pk->data, pk->len, err);
    if (rc == CSYNC_OK)
        rc = sq_table_stmt(b, t, SQT_ROW_GET, &row, err);
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_key(b, row, t);
    rc = sq_step(b, row, err);
    if (rc == 1) {
        cs_buf_clear(pk);
        sq_put_key_of_row(b, row, t, pk);
        rc = cs_buf_check(pk, err);
    }
    sqlite3_reset(row);
    return rc;
}

int sq_head_key(cs_sqlite *b, cs_table *t, sqlite3_stmt *head, cs_buf *pk, csync_error *err)
{
    sq_put_key(b, head, 0, t, pk);
    return spell_key(b, t, pk, err);
}

/* The head at `stmt` (SQT_HEAD_UNLOGGED) gets the log entry `version`; its row is read when it is sent. */
static int log_head(cs_sqlite *b, cs_table *t, sqlite3_stmt *stmt, int64_t version, csync_error *err)
{
    SQ_API(b);
    csync_change change = {.struct_size = sizeof change, .table = t->name};
    char timestamp[CS_TIME_SIZE];
    int n = (int)t->key_count;
    cs_buf pk = {0};
    sqlite3_stmt *put;
    int rc;

    rc = sq_head_key(b, t, stmt, &pk, err);
    cs_time_format(sqlite3_column_int64(stmt, n), timestamp);
    change.timestamp = timestamp;
    change.operation = sqlite3_column_int64(stmt, n + 3) & SQ_DELETED ? CSYNC_DELETE : CSYNC_INSERT;
    change.pk = pk.data;
    if (rc == CSYNC_OK)
        rc = sq_origin_text(b, sqlite3_column_int64(stmt, n + 1), &change.origin, err);
    if (rc == CSYNC_OK)
        rc = sq_log_append(b, version, &change, sqlite3_column_int64(stmt, n + 2), err);
    if (rc == CSYNC_OK)
        rc = sq_read_key(b, t, pk.data, pk.len, err);
    if (rc == CSYNC_OK)
        rc = sq_table_stmt(b, t, SQT_HEAD_VERSION, &put, err);
    if (rc == CSYNC_OK) {
        sq_bind_int(b, put, sq_bind_key(b, put, t), version);
        rc = sq_run(b, put, err);
    }
    cs_buf_free(&pk);
    return rc;
}

/* The scan is sorted, so SQLite reads it to the end before the first row: updating heads is safe. */
static int log_heads(cs_sqlite *b, cs_table *t, int all, int64_t *version, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_table_stmt(b, t, SQT_HEAD_UNLOGGED, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sqlite3_bind_int(stmt, 1, all);
    while ((rc = sq_step(b, stmt, err)) == 1 && (rc = log_head(b, t, stmt, *version, err)) == CSYNC_OK)
        ++*version;
    sqlite3_reset(stmt);
    return rc;
}

/* Tables in order of rank: whoever reads the log finds parents first. */
static int log_all_heads(cs_sqlite *b, int all, int64_t *version, csync_error *err)
{
    cs_table **order;
    int rc = cs_backend_ranked(&b->base, &order, err);

    for (size_t i = 0; rc == CSYNC_OK && i < b->base.table_count; i++)
        rc = log_heads(b, order[i], all, version, err);
    cs_free(order);
    return rc;
}

/* Changes that no table here can hold are heads too, without an entry in a heads table. */
static int log_unknown(cs_sqlite *b, int64_t *version, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    csync_change change;
    int headless = 0;
    int rc = sq_fixed(b, SQ_PARK_LIST, &stmt, err);

    while (rc == CSYNC_OK && (rc = sq_step(b, stmt, err)) == 1) {
        sq_read_parked(b, stmt, &change);
        rc = sq_is_headless(b, &change, &headless, err);
        if (rc == CSYNC_OK && headless)
            rc = sq_log_append(b, (*version)++, &change, change.seq, err);
    }
    sqlite3_reset(stmt);
    return rc;
}

int sq_offer(cs_backend *base, const cs_item *item, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    const cs_head *head = &item->head;
    csync_change change = {.struct_size = sizeof change, .table = item->table->name};
    char timestamp[CS_TIME_SIZE];
    cs_buf pk = {0};
    sqlite3_stmt *put;
    int64_t version = 0;
    int rc = next_version(b, &version, err);

    cs_buf_puts(&pk, item->change->pub.pk);
    if (rc == CSYNC_OK)
        rc = spell_key(b, item->table, &pk, err);
    cs_time_format(head->stamp.ts, timestamp);
    change.pk = pk.data;
    change.operation = head->deleted ? CSYNC_DELETE : CSYNC_INSERT;
    change.origin = head->stamp.origin;
    change.timestamp = timestamp;
    if (rc == CSYNC_OK)
        rc = sq_log_append(b, version, &change, head->stamp.seq, err);
    if (rc == CSYNC_OK)
        rc = sq_table_stmt(b, item->table, SQT_HEAD_OFFER, &put, err);
    if (rc == CSYNC_OK) {
        sq_bind_int(b, put, sq_bind_key(b, put, item->table), version);
        rc = sq_run(b, put, err);
    }
    cs_buf_free(&pk);
    return rc;
}

int sq_complete_log(cs_backend *base, int all, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    int64_t version = 0;
    int unlogged = 0;
    int rc = has_unlogged(b, &unlogged, err);

    if (rc != CSYNC_OK || (!unlogged && !all))
        return rc;
    rc = sq_fold(base, err);
    if (rc == CSYNC_OK)
        rc = next_version(b, &version, err);
    if (rc == CSYNC_OK)
        rc = log_all_heads(b, all, &version, err);
    if (rc == CSYNC_OK && all && !base->relay)
        rc = log_unknown(b, &version, err);
    if (rc == CSYNC_OK)
        rc = sq_state_put_int(b, "folded_version", version - 1, err);
    return rc == CSYNC_OK ? sq_state_put_text(b, "unlogged", "0", err) : rc;
}

int sq_start_relay(cs_backend *base, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    int rc;

    if (base->relay)
        return CSYNC_OK;
    rc = sq_complete_log(base, 1, err);
    if (rc == CSYNC_OK)
        rc = sq_state_put_text(b, "relay", "1", err);
    base->relay = rc == CSYNC_OK;
    return rc;
}

/* ---- entries ---- */

/* Text that is not UTF-8 went into the log as it was: no JSON, and no change that could be passed on. */
static int is_exact(const csync_change *c)
{
    return cs_utf8_valid(c->pk, strlen(c->pk)) && cs_utf8_valid(c->payload, strlen(c->payload));
}

int sq_log_change(cs_backend *base, int64_t version, csync_batch *batch, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    csync_change c = {.struct_size = sizeof c, .version = version};
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_LOG_ENTRY, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sqlite3_bind_int64(stmt, 1, version);
    rc = sq_step(b, stmt, err);
    if (rc == 1 && sqlite3_column_type(stmt, 4) == SQLITE_NULL) {
        rc = CSYNC_OK;
    } else if (rc == 1) {
        const char *operation = sq_column_text(b, stmt, 3), *origin = sq_column_text(b, stmt, 5);

        c.table = sq_column_text(b, stmt, 1);
        c.pk = sq_column_text(b, stmt, 2);
        c.operation = cs_operation_parse(operation, strlen(operation));
        c.payload = sq_column_text(b, stmt, 4);
        c.origin = origin ? origin : base->origin;
        c.timestamp = sq_column_text(b, stmt, 6);
        c.seq = origin ? sqlite3_column_int64(stmt, 7) : version;
        rc = is_exact(&c) ? cs_batch_add(batch, &c, err) : CSYNC_OK;
    }
    sqlite3_reset(stmt);
    return rc;
}
