/* head.c - the winning change of each row, and the rows themselves. */
#include <string.h>

#include "backend/postgres/postgres.h"
#include "base/mem.h"
#include "codec/canonical.h"

static int keep_origin(cs_pg *b, const char *text, const char **out, csync_error *err)
{
    for (size_t i = b->origin_count; i > 0; i--) {
        *out = b->origins[i - 1];
        if (strcmp(*out, text) == 0)
            return CSYNC_OK;
    }
    if (cs_grow(&b->origins, &b->origin_cap, b->origin_count + 1, sizeof *b->origins) != CSYNC_OK ||
        !(b->origins[b->origin_count] = cs_strdup(text)))
        return cs_fail_nomem(err);
    *out = b->origins[b->origin_count++];
    return CSYNC_OK;
}

void pg_forget_origins(cs_pg *b)
{
    for (size_t i = 0; i < b->origin_count; i++)
        cs_free(b->origins[i]);
    cs_free(b->origins);
}

static int read_head(cs_pg *b, const PGresult *r, int row, cs_head *out, int64_t *parked,
                     csync_error *err)
{
    int64_t state = pg_cell_int(b, r, row, 4);
    const char *base = pg_cell(b, r, row, 8);
    int rc = keep_origin(b, pg_cell(b, r, row, 2), &out->stamp.origin, err);

    out->found = 1;
    out->version = pg_cell_int(b, r, row, 0);
    out->via = pg_cell_int(b, r, row, 10);
    out->own = strcmp(pg_cell(b, r, row, 2), b->base.origin) == 0 ||
               (out->version > 0 && out->version <= b->base.copied_at && !out->via);
    out->stamp.ts = pg_cell_int(b, r, row, 1);
    out->stamp.seq = pg_cell_int(b, r, row, 3);
    out->deleted = (state & PG_DELETED) != 0;
    out->agreed = (state & PG_AGREED) != 0;
    out->parked = pg_cell_int(b, r, row, 5) != 0;
    out->base_version = pg_cell_int(b, r, row, 6);
    out->has_base = base != NULL;
    if (parked)
        *parked = pg_cell_int(b, r, row, 5);
    if (rc == CSYNC_OK && base) {
        out->base.ts = pg_cell_int(b, r, row, 7);
        out->base.seq = pg_cell_int(b, r, row, 9);
        rc = keep_origin(b, base, &out->base.origin, err);
    }
    return rc;
}

int pg_head_get(cs_pg *b, const cs_table *t, cs_head *out, int64_t *parked, csync_error *err)
{
    pg_args a = {.count = 0};
    PGresult *r;
    int rc;

    memset(out, 0, sizeof *out);
    if (parked)
        *parked = 0;
    pg_int(&a, t->id);
    pg_text(&a, b->pk.data);
    rc = pg_run(
        b,
        "SELECT version,ts,origin,seq,state,parked,base_version,base_ts,base_origin,base_seq,via FROM "
        "csync._sync_rows WHERE table_id=$1 AND pk=$2",
        &a, &r, err);
    if (rc == CSYNC_OK && pg_rows(b, r))
        rc = read_head(b, r, 0, out, parked, err);
    pg_clear(b, r);
    return rc;
}

int pg_head_set_parked(cs_pg *b, const cs_table *t, int64_t parked, csync_error *err)
{
    pg_args a = {.count = 0};

    pg_int(&a, t->id);
    pg_text(&a, b->pk.data);
    pg_int(&a, parked);
    return pg_run(b, "UPDATE csync._sync_rows SET parked=$3 WHERE table_id=$1 AND pk=$2", &a, NULL,
                  err);
}

/* One look-up for each row, whatever the planner thinks of the tables: csync's grow faster than their statistics. */
static const char heads_sql[] =
    "SELECT r.version,r.ts,r.origin,r.seq,r.state,r.parked,r.base_version,r.base_ts,r.base_origin,"
    "r.base_seq,r.via,u.n,l.payload FROM unnest($1::bigint[],$2::text[]) WITH ORDINALITY u(t,k,n) JOIN "
    "LATERAL (SELECT * FROM csync._sync_rows h WHERE h.table_id=u.t AND h.pk=u.k LIMIT 1) r ON true LEFT "
    "JOIN LATERAL (SELECT e.payload FROM csync._sync_log e WHERE e.version=r.version LIMIT 1) l ON $3::bool";

/* Rows of list[i] have i + 1 in column 11. Items whose table is NULL or whose key no row can have are passed over. */
static int find_heads(cs_pg *b, cs_item *const *list, size_t count, int payloads, PGresult **out,
                      csync_error *err)
{
    cs_buf tables = {0}, keys = {0};
    pg_args a = {.count = 0};
    int rc = CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && i < count; i++) {
        csync_error why = CSYNC_ERROR_INIT;
        const char *reason = NULL;

        rc = pg_read_key(b, list[i]->table, list[i]->change->pub.pk, &reason, &why);
        pg_array_add_int(&tables, list[i]->table->id);
        pg_array_add(&keys, rc == CSYNC_OK && !reason ? b->pk.data : NULL);
        if (rc == CSYNC_EINVAL) {
            cs_item_refuse(list[i], CSYNC_REJECTED, "malformed", why.message);
            rc = CSYNC_OK;
        } else if (rc != CSYNC_OK) {
            cs_error_copy(err, &why);
        }
    }
    pg_text(&a, pg_array_text(&tables));
    pg_text(&a, pg_array_text(&keys));
    pg_text(&a, payloads ? "true" : "false");
    if (rc == CSYNC_OK && (!a.values[0] || !a.values[1]))
        rc = cs_fail_nomem(err);
    if (rc == CSYNC_OK)
        rc = pg_run(b, heads_sql, &a, out, err);
    cs_buf_free(&tables);
    cs_buf_free(&keys);
    return rc;
}

int pg_heads_get(cs_backend *base, cs_item *items, size_t count, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    cs_item **list = cs_calloc(count + 1, sizeof *list);
    PGresult *r = NULL;
    size_t n = 0;
    int rc = list ? CSYNC_OK : cs_fail_nomem(err);

    for (size_t i = 0; rc == CSYNC_OK && i < count; i++) {
        if (!items[i].table || items[i].status)
            continue;
        memset(&items[i].head, 0, sizeof items[i].head);
        list[n++] = &items[i];
    }
    if (rc == CSYNC_OK && n)
        rc = find_heads(b, list, n, 0, &r, err);
    for (int i = 0; rc == CSYNC_OK && r && i < pg_rows(b, r); i++)
        rc = read_head(b, r, i, &list[pg_cell_int(b, r, i, 11) - 1]->head, NULL, err);
    pg_clear(b, r);
    cs_free(list);
    return rc;
}

/* The head is this very change: what is logged of it, byte for byte. */
static int is_head(const cs_item *item, const cs_head *head, const char *payload)
{
    if (item->change->pub.operation == CSYNC_DELETE || head->deleted)
        return item->change->pub.operation == CSYNC_DELETE && head->deleted;
    return payload && item->change->pub.payload && strcmp(payload, item->change->pub.payload) == 0;
}

int pg_heads_compare(cs_pg *b, cs_item *const *list, size_t count, csync_error *err)
{
    PGresult *r = NULL;
    int rc = find_heads(b, list, count, 1, &r, err);

    for (int i = 0; rc == CSYNC_OK && i < pg_rows(b, r); i++) {
        cs_item *item = list[pg_cell_int(b, r, i, 11) - 1];
        cs_stamp mine = cs_change_stamp(item->change);
        cs_head head = {.found = 0};
        int order;

        rc = read_head(b, r, i, &head, NULL, err);
        order = rc == CSYNC_OK ? cs_stamp_compare(&mine, &head.stamp) : 0;
        if (rc == CSYNC_OK && order < 0)
            item->status = CSYNC_LOST;
        else if (rc == CSYNC_OK && order == 0 && is_head(item, &head, pg_cell(b, r, i, 12)))
            item->status = CSYNC_DUPLICATE;
    }
    pg_clear(b, r);
    return rc;
}

/* An older change that the peer has cannot make an agreed head less agreed. */
int pg_agree(cs_backend *base, cs_table *t, const csync_change *change, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    pg_args a = {.count = 0};
    const char *reason = NULL;
    int64_t ts = 0;
    int rc = pg_read_key(b, t, change->pk, &reason, err);

    if (rc != CSYNC_OK || reason)
        return rc;
    if (cs_time_parse(change->timestamp, strlen(change->timestamp), &ts) != 0)
        return cs_fail(err, CSYNC_EINVAL, "\"%.40s\" is no timestamp", change->timestamp);
    pg_int(&a, t->id);
    pg_text(&a, b->pk.data);
    pg_int(&a, ts);
    pg_text(&a, change->origin);
    pg_int(&a, change->seq);
    return pg_run(
        b,
        "UPDATE csync._sync_rows r SET state=CASE WHEN x.same THEN state|2 ELSE state END,"
        "base_version=0,base_ts=CASE WHEN x.none THEN 0 ELSE $3 END,"
        "base_origin=CASE WHEN x.none THEN NULL ELSE $4 END,"
        "base_seq=CASE WHEN x.none THEN 0 ELSE $5 END FROM (SELECT h.table_id,h.pk,"
        "(h.ts,h.origin,h.seq)=($3::bigint,$4::text,$5::bigint) AS same,"
        "h.state&2<>0 OR (h.ts,h.origin,h.seq)=($3::bigint,$4::text,$5::bigint) AS none FROM "
        "csync._sync_rows h WHERE h.table_id=$1 AND h.pk=$2) x WHERE r.table_id=x.table_id AND "
        "r.pk=x.pk",
        &a, NULL, err);
}

/* ---- rows ---- */

int pg_row_payload(cs_pg *b, const cs_table *t, cs_buf *out, int *found, csync_error *err)
{
    const pg_table *p = t->prepared;
    PGresult *r = NULL;
    cs_buf sql = {0};
    int rc;

    cs_buf_puts(&sql, "SELECT ");
    cs_buf_puts(&sql, p->row_sql);
    cs_buf_puts(&sql, " FROM ");
    cs_buf_puts(&sql, p->name);
    cs_buf_puts(&sql, " x");
    pg_put_key_where(&sql, t);
    rc = cs_buf_check(&sql, err);
    if (rc == CSYNC_OK)
        rc = pg_run_key(b, t, sql.data, &r, err);
    *found = rc == CSYNC_OK && pg_rows(b, r) > 0;
    if (*found) {
        cs_buf_puts(out, pg_cell(b, r, 0, 0));
        rc = cs_buf_check(out, err);
    }
    pg_clear(b, r);
    cs_buf_free(&sql);
    return rc;
}

static int head_payload(cs_pg *b, const cs_table *t, const cs_head *head, int64_t parked,
                        cs_buf *out, int *live, csync_error *err)
{
    pg_args a = {.count = 0};
    PGresult *r;
    int rc;

    *live = 0;
    if (head->deleted)
        return CSYNC_OK;
    if (!parked)
        return pg_row_payload(b, t, out, live, err);
    pg_int(&a, parked);
    rc = pg_run(b, "SELECT payload FROM csync._sync_parked WHERE id=$1", &a, &r, err);
    *live = rc == CSYNC_OK && pg_rows(b, r) && pg_cell(b, r, 0, 0);
    if (*live)
        cs_buf_puts(out, pg_cell(b, r, 0, 0));
    pg_clear(b, r);
    return rc == CSYNC_OK ? cs_buf_check(out, err) : rc;
}

int pg_head_change(cs_backend *base, const cs_item *item, csync_batch *batch, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    const char *reason = NULL;
    cs_buf payload = {0};
    cs_head head = {0};
    int64_t parked = 0;
    int live = 0;
    int rc = pg_read_key(b, item->table, item->change->pub.pk, &reason, err);

    if (rc == CSYNC_OK)
        rc = pg_head_get(b, item->table, &head, &parked, err);
    if (rc == CSYNC_OK && head.found)
        rc = head_payload(b, item->table, &head, parked, &payload, &live, err);
    if (rc == CSYNC_OK)
        rc = cs_batch_add_head(batch, item, &head, live ? payload.data : NULL, err);
    cs_buf_free(&payload);
    return rc;
}

/* Gives a row of JSON as values in the table's column order. */
static int visit_row(cs_pg *b, const cs_table *t, const char *json, cs_row_visit visit, void *ctx,
                     csync_error *err)
{
    int rc = pg_read_payload(b, t, json, strlen(json), err);

    return rc == CSYNC_OK ? visit(ctx, b->cells, t->count, err) : rc;
}

#define SCAN_ROWS "1000"

/* Through a cursor: memory stays bounded whatever the table's size. */
int pg_scan(cs_backend *base, const cs_table *t, cs_row_visit visit, void *ctx, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    const pg_table *p = t->prepared;
    cs_buf sql = {0};
    int n = 1;
    int rc;

    cs_buf_puts(&sql, "DECLARE csync_scan NO SCROLL CURSOR FOR SELECT ");
    cs_buf_puts(&sql, p->row_sql);
    cs_buf_puts(&sql, " FROM ");
    cs_buf_puts(&sql, p->name);
    cs_buf_puts(&sql, " x ORDER BY ");
    cs_buf_puts(&sql, p->order_sql);
    rc = pg_exec_buf(b, &sql, err);
    while (rc == CSYNC_OK && n) {
        PGresult *r;

        rc = pg_run(b, "FETCH " SCAN_ROWS " FROM csync_scan", NULL, &r, err);
        n = rc == CSYNC_OK ? pg_rows(b, r) : 0;
        for (int i = 0; rc == CSYNC_OK && i < n; i++)
            rc = visit_row(b, t, pg_cell(b, r, i, 0), visit, ctx, err);
        pg_clear(b, r);
    }
    return rc == CSYNC_OK ? pg_exec(b, "CLOSE csync_scan", err) : rc;
}

int pg_look(cs_backend *base, cs_table *t, const char *pk, cs_head *head, cs_row_visit visit,
            void *ctx, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    const char *reason = NULL;
    cs_buf row = {0};
    int found = 0;
    int rc = pg_read_key(b, t, pk, &reason, err);

    memset(head, 0, sizeof *head);
    if (rc != CSYNC_OK || reason)
        return rc;
    rc = pg_head_get(b, t, head, NULL, err);
    if (rc == CSYNC_OK)
        rc = pg_row_payload(b, t, &row, &found, err);
    if (rc == CSYNC_OK && found)
        rc = visit_row(b, t, row.data, visit, ctx, err);
    cs_buf_free(&row);
    return rc;
}

/* What foreign keys would do to other rows nobody's head says, so it must not be. */
int pg_restore(cs_backend *base, cs_table *t, const csync_change *change, const char **reason,
               csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    int held = 0;
    int rc = pg_read_key(b, t, change->pk, reason, err);

    if (rc == CSYNC_OK && !*reason && change->operation == CSYNC_DELETE)
        rc = pg_is_referred_to(b, t, &held, err);
    if (held)
        *reason = "other rows would change";
    if (rc == CSYNC_OK && !*reason)
        rc = pg_read_key(b, t, change->pk, reason, err);
    if (rc != CSYNC_OK || *reason)
        return rc;
    rc = pg_exec(b, "SAVEPOINT csync_restore", err);
    if (rc == CSYNC_OK)
        rc = pg_write_row(b, t, change, reason, err);
    if (rc == CSYNC_OK && pg_own_has_other(b, t, change->pk)) {
        *reason = "other rows would change";
        rc = pg_exec(b, "ROLLBACK TO SAVEPOINT csync_restore", err);
    }
    pg_own_cut(b, 0); /* a repair logs nothing */
    return rc == CSYNC_OK ? pg_exec(b, "RELEASE SAVEPOINT csync_restore", err) : rc;
}
