/* snapshot.c - all heads, page by page, in order of table and key (backend/serve.h), and what is kept while another
 * replica's are read. */
#include <string.h>

#include "backend/postgres/postgres.h"
#include "backend/serve.h"
#include "base/mem.h"

/* Columns: key, version, ts, origin, seq, state, payload (of the parked change, or of the log), base. */
static const char heads_sql[] =
    "SELECT r.pk,r.version,r.ts,r.origin,r.seq,r.state,CASE WHEN r.parked<>0 THEN p.payload ELSE l.payload "
    "END,CASE WHEN r.state&2<>0 THEN csync._sync_time(r.ts)||' '||r.origin||' '||r.seq WHEN r.base_origin "
    "IS NOT NULL THEN csync._sync_time(r.base_ts)||' '||r.base_origin||' '||r.base_seq END FROM "
    "csync._sync_rows r LEFT JOIN csync._sync_parked p ON p.id=r.parked LEFT JOIN csync._sync_log l ON "
    "l.version=r.version AND r.version<>0 WHERE r.table_id=$1 AND r.pk>$2 ORDER BY r.pk LIMIT $3";

/* A live head without a row is nobody's row. */
static int append_head(cs_serving *s, cs_table *t, const PGresult *rows, int i, const char *payload,
                       csync_error *err)
{
    cs_pg *b = (cs_pg *)s->b;
    char timestamp[CS_TIME_SIZE];
    csync_change c = {.struct_size = sizeof c, .table = t->name, .pk = pg_cell(b, rows, i, 0)};
    int deleted = (pg_cell_int(b, rows, i, 5) & PG_DELETED) != 0;
    int64_t ts = pg_cell_int(b, rows, i, 2);

    cs_time_format(ts, timestamp);
    c.version = pg_cell_int(b, rows, i, 1);
    c.operation = deleted ? CSYNC_DELETE : CSYNC_INSERT;
    if (!deleted)
        c.payload = pg_cell(b, rows, i, 6) ? pg_cell(b, rows, i, 6) : payload;
    c.origin = pg_cell(b, rows, i, 3);
    c.timestamp = timestamp;
    c.seq = pg_cell_int(b, rows, i, 4);
    c.base = s->request->bases ? pg_cell(b, rows, i, 7) : NULL;
    return deleted || c.payload ? cs_serve_row(s, &c, ts, 0, err) : CSYNC_OK;
}

static int append_heads(cs_serving *s, cs_table *t, const PGresult *rows, csync_error *err)
{
    cs_pg *b = (cs_pg *)s->b;
    int n = pg_rows(b, rows);
    pg_wanted *wanted = cs_calloc((size_t)n + 1, sizeof *wanted);
    int rc = wanted ? CSYNC_OK : cs_fail_nomem(err);

    for (int i = 0; rc == CSYNC_OK && i < n; i++) {
        int deleted = (pg_cell_int(b, rows, i, 5) & PG_DELETED) != 0;

        wanted[i].table = deleted || pg_cell(b, rows, i, 6) ? NULL : t;
        wanted[i].pk = pg_cell(b, rows, i, 0);
    }
    if (rc == CSYNC_OK)
        rc = pg_read_rows(b, wanted, (size_t)n, err);
    for (int i = 0; rc == CSYNC_OK && i < n && !s->full; i++)
        rc = append_head(s, t, rows, i, wanted[i].payload, err);
    pg_wanted_free(wanted, (size_t)n);
    return rc;
}

static int read_table(cs_serving *s, cs_table *t, const char *after, csync_error *err)
{
    cs_pg *b = (cs_pg *)s->b;
    int limit = s->request->limit + 1, n = limit;
    char *last = cs_strdup(after ? after : "");
    int rc = last ? CSYNC_OK : cs_fail_nomem(err);

    while (rc == CSYNC_OK && n == limit && !s->full) {
        pg_args a = {.count = 0};
        PGresult *rows;

        pg_int(&a, t->id);
        pg_text(&a, last);
        pg_int(&a, limit);
        rc = pg_run(b, heads_sql, &a, &rows, err);
        n = rc == CSYNC_OK ? pg_rows(b, rows) : 0;
        if (rc == CSYNC_OK)
            rc = append_heads(s, t, rows, err);
        if (rc == CSYNC_OK && n) {
            cs_free(last);
            last = cs_strdup(pg_cell(b, rows, n - 1, 0));
            rc = last ? CSYNC_OK : cs_fail_nomem(err);
        }
        pg_clear(b, rows);
    }
    cs_free(last);
    return rc;
}

/* Changes that no table here can hold have no head but are heads all the same. */
static int read_unknown(cs_serving *s, int64_t after, csync_error *err)
{
    cs_pg *b = (cs_pg *)s->b;
    pg_args a = {.count = 0};
    PGresult *rows;
    int rc;

    pg_int(&a, after);
    rc = pg_run(b,
                "SELECT id,table_name,pk_value,operation,payload,origin,timestamp,seq FROM "
                "csync._sync_parked p WHERE id>$1 AND NOT EXISTS(SELECT 1 FROM csync._sync_tables t WHERE "
                "t.name=p.table_name) ORDER BY id",
                &a, &rows, err);
    for (int i = 0, n = rc == CSYNC_OK ? pg_rows(b, rows) : 0; rc == CSYNC_OK && i < n && !s->full;
         i++) {
        csync_change c = {.struct_size = sizeof c, .table = pg_cell(b, rows, i, 1)};
        const char *operation = pg_cell(b, rows, i, 3);
        int64_t ts = 0;

        c.pk = pg_cell(b, rows, i, 2);
        c.operation = cs_operation_parse(operation, strlen(operation));
        c.payload = pg_cell(b, rows, i, 4);
        c.origin = pg_cell(b, rows, i, 5);
        c.timestamp = pg_cell(b, rows, i, 6);
        c.seq = pg_cell_int(b, rows, i, 7);
        (void)cs_time_parse(c.timestamp, strlen(c.timestamp), &ts);
        rc = cs_serve_row(s, &c, ts, pg_cell_int(b, rows, i, 0), err);
    }
    pg_clear(b, rows);
    return rc;
}

int pg_snapshot_page(cs_backend *base, const cs_page_request *request, csync_batch *batch,
                     cs_buf *next, csync_error *err)
{
    cs_serving s = {.b = base,
                    .schema = ((cs_pg *)base)->schema,
                    .request = request,
                    .batch = batch,
                    .next = next,
                    .read_table = read_table,
                    .read_unknown = read_unknown};

    return cs_serve_page(&s, err);
}

/* ---- reading another replica's ---- */

int pg_snapshot_get(cs_backend *base, int64_t peer, cs_snapshot *out, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    pg_args a = {.count = 0};
    PGresult *r;
    int rc;

    out->number = 0;
    pg_int(&a, peer);
    rc = pg_run(
        b, "SELECT number,version,epoch,floor_ts,cursor FROM csync._sync_snapshots WHERE peer=$1",
        &a, &r, err);
    if (rc == CSYNC_OK && pg_rows(b, r)) {
        out->number = pg_cell_int(b, r, 0, 0);
        out->at = cs_position_make(pg_cell_int(b, r, 0, 1), pg_cell(b, r, 0, 2));
        out->floor_ts = pg_cell_int(b, r, 0, 3);
        cs_buf_puts(&out->cursor, pg_cell(b, r, 0, 4));
        rc = cs_buf_check(&out->cursor, err);
    }
    pg_clear(b, r);
    return rc;
}

int pg_snapshot_put(cs_backend *base, int64_t peer, cs_snapshot *s, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    pg_args a = {.count = 0};
    int rc = CSYNC_OK;

    if (s->number < 0) {
        rc = pg_state_int(b, "snapshots", &s->number, err);
        s->number++;
        if (rc == CSYNC_OK)
            rc = pg_state_put_int(b, "snapshots", s->number, err);
    }
    pg_int(&a, peer);
    if (rc != CSYNC_OK)
        return rc;
    if (!s->number)
        return pg_run(b, "DELETE FROM csync._sync_snapshots WHERE peer=$1", &a, NULL, err);
    pg_int(&a, s->number);
    pg_int(&a, s->at.version);
    pg_text(&a, s->at.epoch);
    pg_int(&a, s->floor_ts);
    pg_text(&a, s->cursor.data ? s->cursor.data : "");
    return pg_run(b,
                  "INSERT INTO csync._sync_snapshots(peer,number,version,epoch,floor_ts,cursor) "
                  "VALUES($1,$2,$3,$4,$5,$6) ON CONFLICT(peer) DO UPDATE SET number=excluded.number,"
                  "version=excluded.version,epoch=excluded.epoch,floor_ts=excluded.floor_ts,"
                  "cursor=excluded.cursor",
                  &a, NULL, err);
}

int pg_forget_via(cs_backend *base, int64_t peer, csync_error *err)
{
    pg_args a = {.count = 0};

    pg_int(&a, peer);
    return pg_run((cs_pg *)base, "UPDATE csync._sync_rows SET via=0,version=0 WHERE via=$1", &a,
                  NULL, err);
}

int pg_snapshot_seen(cs_backend *base, const cs_item *item, int64_t number, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    pg_args a = {.count = 0};
    const char *reason = NULL;
    int rc = pg_read_key(b, item->table, item->change->pub.pk, &reason, err);

    if (rc != CSYNC_OK || reason)
        return rc;
    pg_int(&a, item->table->id);
    pg_text(&a, b->pk.data);
    pg_int(&a, number);
    return pg_run(b, "UPDATE csync._sync_rows SET seen=$3 WHERE table_id=$1 AND pk=$2", &a, NULL,
                  err);
}

static int append_unseen(cs_pg *b, const cs_table *t, const cs_snapshot *s, size_t limit,
                         csync_batch *batch, csync_error *err)
{
    pg_args a = {.count = 0};
    PGresult *r;
    int rc;

    pg_int(&a, s->number);
    pg_int(&a, s->floor_ts);
    pg_text(&a, b->base.origin);
    pg_int(&a, (int64_t)(limit - batch->count));
    pg_int(&a, t->id);
    pg_int(&a, s->known);
    rc = pg_run(
        b,
        "SELECT pk FROM csync._sync_rows WHERE table_id=$5 AND seen<>$1 AND state&1=0 AND ts<=$2 "
        "AND (state&2<>0 OR base_origin IS NOT NULL OR origin<>$3 OR version BETWEEN 1 AND $6) "
        "LIMIT $4",
        &a, &r, err);
    for (int i = 0, n = rc == CSYNC_OK ? pg_rows(b, r) : 0; rc == CSYNC_OK && i < n; i++) {
        csync_change c = {.struct_size = sizeof c, .table = t->name, .pk = pg_cell(b, r, i, 0)};

        c.operation = CSYNC_DELETE;
        c.origin = b->base.origin;
        rc = cs_batch_append(batch, &c, 0, err);
    }
    pg_clear(b, r);
    return rc;
}

int pg_snapshot_unseen(cs_backend *base, const cs_snapshot *s, const unsigned char *served,
                       size_t limit, csync_batch *batch, csync_error *err)
{
    int rc = CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && i < base->table_count; i++)
        if (served[i] && batch->count < limit)
            rc = append_unseen((cs_pg *)base, base->tables[i], s, limit, batch, err);
    return rc;
}
