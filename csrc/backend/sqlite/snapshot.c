/* snapshot.c - all heads, page by page, in order of table and key: read here for others, and what is kept while
 * another replica's is read.
 *
 * A cursor is "SCHEMA:VERSION.EPOCH:LENGTH:TABLEKEY": the position of the log when the snapshot began, and the
 * row that was sent last. Nothing else is kept on this side. When the schema has changed the order of the
 * tables may have too, and the snapshot begins anew. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/sqlite/sqlite.h"
#include "base/mem.h"

typedef struct place {
    cs_position at;
    const char *table; /* not terminated */
    size_t table_len; /* 0: behind all tables, among the changes that no table here can hold */
    const char *key; /* JSON, or the number of a parked change */
} place;

static int bad_cursor(csync_error *err)
{
    return cs_fail(err, CSYNC_EINVAL, "this is no cursor of a snapshot of this replica");
}

static int restart(cs_sqlite *b, csync_error *err)
{
    if (cs_error_writable(err))
        err->version = 0;
    return cs_fail(err, CSYNC_EFULLRESYNC,
                   "the tables of replica %s have changed; the snapshot begins anew", b->base.origin);
}

/* A number up to `stop`; NULL: there is none. */
static const char *read_number(const char *text, char stop, int64_t *out)
{
    char *end;

    if (*text < '0' || *text > '9')
        return NULL;
    *out = strtoll(text, &end, 10);
    return *end == stop ? end + 1 : NULL;
}

static int read_cursor(cs_sqlite *b, const char *cursor, place *out, csync_error *err)
{
    int64_t schema = 0, len = 0;
    const char *p = read_number(cursor, ':', &schema), *colon;
    char epoch[CS_EPOCH_SIZE];

    p = p ? read_number(p, '.', &out->at.version) : NULL;
    colon = p ? strchr(p, ':') : NULL;
    if (!colon || (size_t)(colon - p) >= sizeof epoch)
        return bad_cursor(err);
    memcpy(epoch, p, (size_t)(colon - p));
    epoch[colon - p] = 0;
    out->at = cs_position_make(out->at.version, epoch);
    p = read_number(colon + 1, ':', &len);
    if (!p || (uint64_t)len > strlen(p))
        return bad_cursor(err);
    out->table = p;
    out->table_len = (size_t)len;
    out->key = p + len;
    return schema == b->schema_version ? CSYNC_OK : restart(b, err);
}

static void write_cursor(cs_sqlite *b, cs_buf *out, const cs_position *at, const char *table,
                         const char *key)
{
    cs_buf_clear(out);
    cs_buf_printf(out, "%lld:%lld.%s:%zu:", (long long)b->schema_version, (long long)at->version,
                  at->epoch, strlen(table));
    cs_buf_puts(out, table);
    cs_buf_puts(out, key);
}

/* ---- serving ---- */

typedef struct reading {
    cs_sqlite *b;
    const cs_page_request *request;
    csync_batch *batch;
    cs_buf *next;
    place from;
    int full; /* there is more than the page takes */
    cs_buf pk, payload;
} reading;

static int is_full(const reading *r)
{
    return r->batch->count >= (size_t)r->request->limit ||
           (r->batch->count > 0 && r->batch->bytes >= r->request->max_bytes);
}

static int append(reading *r, const csync_change *c, int64_t ts, csync_error *err)
{
    int rc = cs_batch_append(r->batch, c, ts, err);

    if (rc == CSYNC_OK)
        write_cursor(r->b, r->next, &r->from.at, c->table, c->pk);
    return rc;
}

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
        rc = sq_head_get(b, t, &head, NULL, &parked, err);
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
    c.base = r->request->bases ? sq_base_text(&head, base) : NULL;
    return append(r, &c, head.stamp.ts, err);
}

static int read_table(reading *r, cs_table *t, const char *after, csync_error *err)
{
    cs_sqlite *b = r->b;
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_table_stmt(b, t, after ? SQT_HEADS_AFTER : SQT_HEADS_ALL, &stmt, err);

    if (rc == CSYNC_OK && after) {
        csync_error why = CSYNC_ERROR_INIT;

        rc = sq_read_key(b, t, after, strlen(after), &why);
        if (rc == CSYNC_EINVAL)
            return bad_cursor(err);
        if (rc != CSYNC_OK)
            cs_error_copy(err, &why);
        else
            for (size_t i = 0; i < t->key_count; i++)
                sq_bind_passing(b, stmt, (int)i + 1, &b->key[i]);
    }
    while (rc == CSYNC_OK && (rc = sq_step(b, stmt, err)) == 1) {
        r->full = is_full(r);
        rc = CSYNC_OK;
        if (r->full)
            break;
        rc = append_head(r, t, stmt, err);
    }
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
        rc = sq_head_get(b, t, &head, NULL, NULL, &why);
    if (rc != CSYNC_OK)
        cs_error_copy(err, &why);
    else
        *headless = !head.found;
    return rc;
}

/* Changes that no table here can hold have no head but are heads all the same. */
static int read_unknown(reading *r, int64_t after, csync_error *err)
{
    cs_sqlite *b = r->b;
    SQ_API(b);
    sqlite3_stmt *stmt;
    csync_change c;
    char id[32];
    int rc = sq_fixed(b, SQ_PARK_AFTER, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_int(b, stmt, 1, after);
    while (rc == CSYNC_OK && (rc = sq_step(b, stmt, err)) == 1) {
        int64_t ts = 0;
        int headless = 0;

        sq_read_parked(b, stmt, &c);
        rc = sq_is_headless(b, &c, &headless, err);
        if (rc != CSYNC_OK)
            break;
        if (!headless)
            continue;
        r->full = is_full(r);
        if (r->full)
            break;
        (void)cs_time_parse(c.timestamp, strlen(c.timestamp), &ts);
        rc = append(r, &c, ts, err);
        snprintf(id, sizeof id, "%lld", (long long)sqlite3_column_int64(stmt, 0));
        write_cursor(b, r->next, &r->from.at, "", id);
    }
    sqlite3_reset(stmt);
    return rc;
}

static int by_rank_and_name(const void *x, const void *y)
{
    const cs_table *a = *(cs_table *const *)x, *b = *(cs_table *const *)y;

    return a->rank != b->rank ? a->rank - b->rank : strcmp(a->name, b->name);
}

static int is_table(const cs_table *t, const place *from)
{
    return strlen(t->name) == from->table_len && memcmp(t->name, from->table, from->table_len) == 0;
}

static int read_tables(reading *r, csync_error *err)
{
    size_t n = r->b->base.table_count, i = 0;
    cs_table **order = cs_calloc(n + 1, sizeof(cs_table *));
    const char *after = *r->request->cursor ? r->from.key : NULL;
    int rc = CSYNC_OK;

    if (!order)
        return cs_fail_nomem(err);
    if (n)
        memcpy(order, r->b->base.tables, n * sizeof(cs_table *));
    qsort(order, n, sizeof(cs_table *), by_rank_and_name);
    while (after && i < n && !is_table(order[i], &r->from))
        i++;
    if (after && i == n)
        rc = bad_cursor(err);
    for (; rc == CSYNC_OK && i < n && !r->full; i++, after = NULL)
        rc = read_table(r, order[i], after, err);
    cs_free(order);
    return rc == CSYNC_OK && !r->full ? read_unknown(r, 0, err) : rc;
}

static int read_page(reading *r, csync_error *err)
{
    int64_t id = 0;

    if (!*r->request->cursor || r->from.table_len)
        return read_tables(r, err);
    return read_number(r->from.key, 0, &id) ? read_unknown(r, id, err) : bad_cursor(err);
}

int sq_snapshot_page(cs_backend *base, const cs_page_request *request, csync_batch *batch,
                     cs_buf *next, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    reading r = {.b = b, .request = request, .batch = batch, .next = next};
    int rc = *request->cursor ? read_cursor(b, request->cursor, &r.from, err)
                              : sq_position(base, &r.from.at, err);

    if (rc == CSYNC_OK)
        rc = read_page(&r, err);
    cs_buf_free(&r.pk);
    cs_buf_free(&r.payload);
    if (rc != CSYNC_OK)
        return rc;
    if (!r.full)
        cs_buf_clear(next);
    batch->has_info = 1;
    batch->has_more = r.full;
    batch->from_version = batch->to_version = r.from.at.version;
    rc = cs_batch_text(batch, r.from.at.epoch, &batch->epoch, err);
    return rc == CSYNC_OK ? cs_buf_check(next, err) : rc;
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

        cs_buf_printf(&sql, "UPDATE main._sync_rows_%lld SET via=0 WHERE via=%lld",
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
