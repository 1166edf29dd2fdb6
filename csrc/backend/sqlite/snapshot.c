/* snapshot.c - all heads, page by page, in order of table and key (backend/serve.h), and what is kept while another
 * replica's are read. */
#include <stdio.h>
#include <string.h>

#include "backend/serve.h"
#include "backend/sqlite/sqlite.h"

/* ---- serving ---- */

/* First member: what every backend has. */
typedef struct reading {
    cs_serving s;
    cs_sqlite *b;
    cs_buf pk, payload;
} reading;

/* The head whose key is the first columns of `stmt`. A live head without a row is nobody's row. */
static int append_head(reading *r, cs_table *t, sqlite3_stmt *stmt, csync_error *err)
{
    cs_sqlite *b = r->b;
    char timestamp[CS_TIME_SIZE], base[CS_STAMP_SIZE];
    csync_change c = {.struct_size = sizeof c, .table = t->name};
    cs_head head;
    int64_t parked = 0;
    int live = 0;
    int rc;

    cs_buf_clear(&r->pk);
    cs_buf_clear(&r->payload);
    rc = sq_head_key(b, t, stmt, &r->pk, err);
    if (rc == CSYNC_OK)
        rc = sq_read_key(b, t, r->pk.data, r->pk.len, err);
    if (rc == CSYNC_OK)
        rc = sq_head_get(b, t, &head, &parked, err);
    if (rc == CSYNC_OK)
        rc = sq_head_payload(b, t, &head, parked, &r->payload, &live, err);
    if (rc != CSYNC_OK || (!live && !head.deleted))
        return rc;
    cs_time_format(head.stamp.ts, timestamp);
    c.version = head.version;
    c.operation = live ? CSYNC_INSERT : CSYNC_DELETE;
    c.pk = r->pk.data;
    c.payload = live ? r->payload.data : NULL;
    c.origin = head.stamp.origin;
    c.timestamp = timestamp;
    c.seq = head.stamp.seq;
    c.base = r->s.request->bases ? sq_base_text(&head, base) : NULL;
    return cs_serve_row(&r->s, &c, head.stamp.ts, 0, err);
}

static int read_table(cs_serving *serving, cs_table *t, const char *after, csync_error *err)
{
    reading *r = (reading *)serving;
    cs_sqlite *b = r->b;
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_table_stmt(b, t, after ? SQT_HEADS_AFTER : SQT_HEADS_ALL, &stmt, err);

    if (rc == CSYNC_OK && after) {
        csync_error why = CSYNC_ERROR_INIT;

        rc = sq_read_key(b, t, after, strlen(after), &why);
        if (rc == CSYNC_EINVAL)
            return cs_serve_bad_cursor(err);
        if (rc != CSYNC_OK)
            cs_error_copy(err, &why);
        else
            for (size_t i = 0; i < t->key_count; i++)
                sq_bind_passing(b, stmt, (int)i + 1, &b->key[i]);
    }
    while (rc == CSYNC_OK && !r->s.full && (rc = sq_step(b, stmt, err)) == 1)
        rc = append_head(r, t, stmt, err);
    sqlite3_reset(stmt);
    return rc;
}

int sq_is_headless(cs_sqlite *b, const csync_change *parked, int *headless, csync_error *err)
{
    cs_table *t = cs_backend_table(&b->base, parked->table, strlen(parked->table));
    csync_error why = CSYNC_ERROR_INIT;
    cs_head head;
    int rc;

    *headless = 1;
    if (!t)
        return CSYNC_OK;
    rc = sq_read_key(b, t, parked->pk, strlen(parked->pk), &why);
    if (rc == CSYNC_EINVAL)
        return CSYNC_OK;
    if (rc == CSYNC_OK)
        rc = sq_head_get(b, t, &head, NULL, &why);
    if (rc != CSYNC_OK)
        cs_error_copy(err, &why);
    else
        *headless = !head.found;
    return rc;
}

/* Changes that no table here can hold have no head but are heads all the same. */
static int read_unknown(cs_serving *s, int64_t after, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)s->b;
    SQ_API(b);
    sqlite3_stmt *stmt;
    csync_change c;
    int rc = sq_fixed(b, SQ_PARK_AFTER, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_int(b, stmt, 1, after);
    while (rc == CSYNC_OK && !s->full && (rc = sq_step(b, stmt, err)) == 1) {
        int64_t ts = 0;
        int headless = 0;

        sq_read_parked(b, stmt, &c);
        rc = sq_is_headless(b, &c, &headless, err);
        if (rc != CSYNC_OK || !headless)
            continue;
        (void)cs_time_parse(c.timestamp, strlen(c.timestamp), &ts);
        rc = cs_serve_row(s, &c, ts, sqlite3_column_int64(stmt, 0), err);
    }
    sqlite3_reset(stmt);
    return rc;
}

int sq_snapshot_page(cs_backend *base, const cs_page_request *request, csync_batch *batch,
                     cs_buf *next, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    char schema[32];
    reading r = {.s = {.b = base,
                       .schema = schema,
                       .request = request,
                       .batch = batch,
                       .next = next,
                       .read_table = read_table,
                       .read_unknown = read_unknown},
                 .b = b};
    int rc;

    snprintf(schema, sizeof schema, "%lld", (long long)b->schema_version);
    rc = cs_serve_page(&r.s, err);
    cs_buf_free(&r.pk);
    cs_buf_free(&r.payload);
    return rc;
}

/* ---- reading another replica's ---- */

int sq_snapshot_get(cs_backend *base, int64_t peer, cs_snapshot *out, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_SNAPSHOT_GET, &stmt, err);

    out->number = 0;
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_int(b, stmt, 1, peer);
    rc = sq_step(b, stmt, err);
    if (rc == 1) {
        out->number = sqlite3_column_int64(stmt, 0);
        out->at = cs_position_make(sqlite3_column_int64(stmt, 1), sq_column_text(b, stmt, 2));
        out->floor_ts = sqlite3_column_int64(stmt, 3);
        cs_buf_puts(&out->cursor, sq_column_text(b, stmt, 4));
        rc = cs_buf_check(&out->cursor, err);
    }
    sqlite3_reset(stmt);
    return rc;
}

static int store(cs_sqlite *b, int64_t peer, const cs_snapshot *s, csync_error *err)
{
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_SNAPSHOT_PUT, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_int(b, stmt, 1, peer);
    sq_bind_int(b, stmt, 2, s->number);
    sq_bind_int(b, stmt, 3, s->at.version);
    sq_bind_text(b, stmt, 4, s->at.epoch);
    sq_bind_int(b, stmt, 5, s->floor_ts);
    sq_bind_text(b, stmt, 6, s->cursor.data ? s->cursor.data : "");
    return sq_run(b, stmt, err);
}

int sq_snapshot_put(cs_backend *base, int64_t peer, cs_snapshot *s, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    sqlite3_stmt *stmt;
    int rc = CSYNC_OK;

    if (s->number < 0) {
        rc = sq_state_int(b, "snapshots", &s->number, err);
        s->number++;
        if (rc == CSYNC_OK)
            rc = sq_state_put_int(b, "snapshots", s->number, err);
    }
    if (rc != CSYNC_OK || s->number)
        return rc == CSYNC_OK ? store(b, peer, s, err) : rc;
    rc = sq_fixed(b, SQ_SNAPSHOT_DROP, &stmt, err);
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_int(b, stmt, 1, peer);
    return sq_run(b, stmt, err);
}

int sq_forget_via(cs_backend *base, int64_t peer, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    int rc = CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && i < base->table_count; i++) {
        cs_buf sql = {0};

        cs_buf_printf(&sql, "UPDATE main._sync_rows_%lld SET via=0,version=0 WHERE via=%lld",
                      (long long)base->tables[i]->id, (long long)peer);
        rc = sq_exec_buf(b, &sql, err);
    }
    return rc;
}

int sq_snapshot_seen(cs_backend *base, const cs_item *item, int64_t number, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    sqlite3_stmt *stmt;
    int rc = sq_read_key(b, item->table, item->change->pub.pk, item->change->pk_len, err);

    if (rc == CSYNC_OK)
        rc = sq_table_stmt(b, item->table, SQT_HEAD_SEEN, &stmt, err);
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_int(b, stmt, sq_bind_key(b, stmt, item->table), number);
    return sq_run(b, stmt, err);
}

static int append_unseen(cs_sqlite *b, cs_table *t, sqlite3_stmt *stmt, csync_batch *batch,
                         csync_error *err)
{
    csync_change c = {.struct_size = sizeof c, .table = t->name, .operation = CSYNC_DELETE};
    cs_buf pk = {0};
    int rc = sq_head_key(b, t, stmt, &pk, err);

    c.pk = pk.data;
    c.origin = b->base.origin;
    if (rc == CSYNC_OK)
        rc = cs_batch_append(batch, &c, 0, err);
    cs_buf_free(&pk);
    return rc;
}

int sq_snapshot_unseen(cs_backend *base, const cs_snapshot *snapshot, const unsigned char *served,
                       size_t limit, csync_batch *batch, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && i < base->table_count; i++) {
        cs_table *t = base->tables[i];

        if (!served[i])
            continue;
        rc = sq_table_stmt(b, t, SQT_HEADS_UNSEEN, &stmt, err);
        if (rc != CSYNC_OK)
            return rc;
        sq_bind_int(b, stmt, 1, snapshot->number);
        sq_bind_int(b, stmt, 2, snapshot->floor_ts);
        sq_bind_int(b, stmt, 3, b->me);
        sq_bind_int(b, stmt, 4, snapshot->known);
        while (rc == CSYNC_OK && batch->count < limit && (rc = sq_step(b, stmt, err)) == 1)
            rc = append_unseen(b, t, stmt, batch, err);
        sqlite3_reset(stmt);
    }
    return rc;
}
