/* head.c - the winning change of each row. */
#include <string.h>

#include "backend/sqlite/sqlite.h"

static int read_stamp(cs_sqlite *b, sqlite3_stmt *stmt, int at, cs_stamp *out, csync_error *err)
{
    SQ_API(b);

    out->ts = sqlite3_column_int64(stmt, at);
    out->seq = sqlite3_column_int64(stmt, at + 2);
    return sq_origin_text(b, sqlite3_column_int64(stmt, at + 1), &out->origin, err);
}

/* Columns as SQT_HEAD_GET gives them. */
static int read_head(cs_sqlite *b, sqlite3_stmt *stmt, cs_head *out, csync_error *err)
{
    SQ_API(b);
    int64_t state = sqlite3_column_int64(stmt, 4);
    int rc;

    out->found = 1;
    out->version = sqlite3_column_int64(stmt, 0);
    out->deleted = (state & SQ_DELETED) != 0;
    out->agreed = (state & SQ_AGREED) != 0;
    out->via = sqlite3_column_int64(stmt, 5);
    out->own = sqlite3_column_int64(stmt, 2) == b->me ||
               (out->version > 0 && out->version <= b->base.copied_at && !out->via);
    out->parked = sqlite3_column_int64(stmt, 6) != 0;
    out->base_version = sqlite3_column_int64(stmt, 7);
    out->has_base = sqlite3_column_int64(stmt, 9) != 0;
    rc = read_stamp(b, stmt, 1, &out->stamp, err);
    if (rc == CSYNC_OK && out->has_base)
        rc = read_stamp(b, stmt, 8, &out->base, err);
    return rc;
}

int sq_head_get(cs_sqlite *b, cs_table *t, cs_head *out, int64_t *parked, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_table_stmt(b, t, SQT_HEAD_GET, &stmt, err);

    memset(out, 0, sizeof *out);
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_key(b, stmt, t);
    rc = sq_step(b, stmt, err);
    if (rc == 1) {
        if (parked)
            *parked = sqlite3_column_int64(stmt, 6);
        rc = read_head(b, stmt, out, err);
    }
    sqlite3_reset(stmt);
    return rc;
}

int sq_head_set_parked(cs_sqlite *b, cs_table *t, int64_t parked, csync_error *err)
{
    sqlite3_stmt *stmt;
    int rc = sq_table_stmt(b, t, SQT_HEAD_PARK, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_int(b, stmt, sq_bind_key(b, stmt, t), parked);
    return sq_run(b, stmt, err);
}

int sq_bind_head(cs_sqlite *b, sqlite3_stmt *stmt, int skip, const cs_item *item,
                 const cs_merge *how, int64_t version, csync_error *err)
{
    SQ_API(b);
    const cs_change *c = item->change;
    int state = (c->pub.operation == CSYNC_DELETE ? SQ_DELETED : 0) |
                (how->agreed && !item->local ? SQ_AGREED : 0);
    int at = skip + (int)item->table->key_count + 1;
    int64_t origin = 0;
    int rc = sq_origin_id(b, c->pub.origin, &origin, err);

    for (size_t i = 0; i < item->table->key_count; i++)
        sq_bind_passing(b, stmt, skip + (int)i + 1, &b->key[i]);
    sqlite3_bind_int64(stmt, at, version);
    sqlite3_bind_int64(stmt, at + 1, c->ts);
    sqlite3_bind_int64(stmt, at + 2, origin);
    sqlite3_bind_int64(stmt, at + 3, item->local ? version : c->pub.seq);
    sqlite3_bind_int64(stmt, at + 4, state);
    sqlite3_bind_int64(stmt, at + 5, item->local ? 0 : how->via);
    return rc;
}

int sq_heads_get(cs_backend *base, cs_item *items, size_t count, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;

    for (size_t i = 0; i < count; i++) {
        cs_item *item = &items[i];
        csync_error why = CSYNC_ERROR_INIT;
        int rc;

        if (!item->table || item->status)
            continue;
        rc = sq_read_key(b, item->table, item->change->pub.pk, item->change->pk_len, &why);
        if (rc == CSYNC_EINVAL) {
            cs_item_refuse(item, CSYNC_REJECTED, "malformed", why.message);
            continue;
        }
        if (rc == CSYNC_OK)
            rc = sq_head_get(b, item->table, &item->head, NULL, &why);
        if (rc != CSYNC_OK) {
            cs_error_copy(err, &why);
            return rc;
        }
    }
    return CSYNC_OK;
}

int sq_agree(cs_backend *base, cs_table *table, const csync_change *change, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    sqlite3_stmt *stmt;
    int64_t origin = 0, ts = 0;
    int at;
    int rc = sq_read_key(b, table, change->pk, strlen(change->pk), err);

    if (rc == CSYNC_OK)
        rc = sq_origin_id(b, change->origin, &origin, err);
    if (rc == CSYNC_OK)
        rc = sq_table_stmt(b, table, SQT_HEAD_AGREE, &stmt, err);
    if (rc != CSYNC_OK)
        return rc;
    if (cs_time_parse(change->timestamp, strlen(change->timestamp), &ts) != 0)
        return cs_fail(err, CSYNC_EINVAL, "\"%.40s\" is no timestamp", change->timestamp);
    at = sq_bind_key(b, stmt, table);
    sq_bind_int(b, stmt, at, ts);
    sq_bind_int(b, stmt, at + 1, origin);
    sq_bind_int(b, stmt, at + 2, change->seq);
    return sq_run(b, stmt, err);
}

/* ---- a head as a change ---- */

static int parked_payload(cs_sqlite *b, int64_t id, cs_buf *out, csync_error *err)
{
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_PARK_GET, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_int(b, stmt, 1, id);
    rc = sq_step(b, stmt, err);
    if (rc == 1) {
        const char *payload = sq_column_text(b, stmt, 4);

        cs_buf_puts(out, payload ? payload : "");
        rc = cs_buf_check(out, err);
    } else if (rc == 0) {
        rc = cs_fail(err, CSYNC_EDB, "csync's tables are damaged: parked change %lld is missing",
                     (long long)id);
    }
    SQ_API(b);
    sqlite3_reset(stmt);
    return rc;
}

const char *sq_base_text(const cs_head *head, char text[CS_STAMP_SIZE])
{
    if (!head->agreed && !head->has_base)
        return NULL;
    cs_stamp_format(head->agreed ? &head->stamp : &head->base, text);
    return text;
}

int sq_head_payload(cs_sqlite *b, cs_table *t, const cs_head *head, int64_t parked, cs_buf *out,
                    int *live, csync_error *err)
{
    *live = 0;
    if (head->deleted)
        return CSYNC_OK;
    if (!parked)
        return sq_row_payload(b, t, out, live, err);
    *live = 1;
    return parked_payload(b, parked, out, err);
}

int sq_head_change(cs_backend *base, const cs_item *item, csync_batch *batch, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    cs_buf payload = {0};
    cs_head head = {0};
    int64_t parked = 0;
    int live = 0;
    int rc = sq_read_key(b, item->table, item->change->pub.pk, item->change->pk_len, err);

    if (rc == CSYNC_OK)
        rc = sq_head_get(b, item->table, &head, &parked, err);
    if (rc == CSYNC_OK && head.found)
        rc = sq_head_payload(b, item->table, &head, parked, &payload, &live, err);
    if (rc == CSYNC_OK)
        rc = cs_batch_add_head(batch, item, &head, live ? payload.data : NULL, err);
    cs_buf_free(&payload);
    return rc;
}
