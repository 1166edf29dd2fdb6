/* merge.c - a batch's changes on their way into the database, row by row, each under a savepoint.
 *
 * A change that beats its row's head becomes the head, is logged, and its row is written: parents first, then
 * deletes, children first; what is refused is tried again, and parked in the end. A local writer may have written
 * the row meanwhile: his entry is visible once the row is ours, and then everything is decided again. */
#include <string.h>

#include "backend/postgres/postgres.h"
#include "base/mem.h"

typedef struct merge {
    cs_pg *b;
    cs_item *items;
    const cs_merge *how;
    size_t *order; /* items in the order in which they are written */
    size_t count;
    size_t *waiting; /* won, but refused so far */
    size_t n_waiting;
    size_t done;
} merge;

/* ---- one row ---- */

static void put_values(cs_pg *b, const cs_table *t, cs_buf *sql, cs_buf *text, const char **reason)
{
    const pg_table *p = t->prepared;
    int n = 0;

    cs_buf_puts(sql, "INSERT INTO ");
    cs_buf_puts(sql, p->name);
    cs_buf_puts(sql, " AS x(");
    for (size_t i = 0; i < t->count; i++) {
        if (!b->present[i])
            continue;
        cs_buf_puts(sql, n++ ? "," : "");
        cs_put_ident(sql, t->columns[i].name);
        pg_put_param(text, p->kinds[i], &b->cells[i], reason);
    }
    cs_buf_puts(sql, ") OVERRIDING SYSTEM VALUE VALUES(");
    for (int i = 1; i <= n; i++)
        cs_buf_printf(sql, "%s$%d", i > 1 ? "," : "", i);
}

/* Whether the columns that the change lacks hold more than their defaults. */
static void put_kept(cs_pg *b, const cs_table *t, cs_buf *sql)
{
    cs_buf_puts(sql, ",false");
    for (size_t i = 0; i < t->count; i++) {
        const cs_column *c = &t->columns[i];

        if (b->present[i] || c->key)
            continue;
        cs_buf_puts(sql, " OR x.");
        cs_put_ident(sql, c->name);
        cs_buf_printf(sql, "::text IS DISTINCT FROM ((%s)::%s)::text",
                      c->fallback ? c->fallback : "NULL", c->type);
    }
}

static void put_conflict(cs_pg *b, const cs_table *t, cs_buf *sql)
{
    int n = 0;

    cs_buf_puts(sql, ") ON CONFLICT(");
    cs_put_key_list(sql, t, "");
    cs_buf_puts(sql, ") DO ");
    for (size_t i = 0; i < t->count; i++) {
        const cs_column *c = &t->columns[i];

        if (!b->present[i] || c->key)
            continue;
        cs_buf_puts(sql, n++ ? "," : "UPDATE SET ");
        cs_put_ident(sql, c->name);
        cs_buf_puts(sql, "=excluded.");
        cs_put_ident(sql, c->name);
    }
    cs_buf_puts(sql, n ? "" : "NOTHING");
    cs_buf_puts(sql, " RETURNING ");
    cs_buf_puts(sql, ((pg_table *)t->prepared)->row_sql);
    put_kept(b, t, sql);
}

/* Leaves b->key and b->pk as they are. */
static int upsert(cs_pg *b, cs_table *t, const csync_change *change, const char **reason,
                  csync_error *err)
{
    cs_buf sql = {0}, text = {0};
    PGresult *r = NULL;
    int rc = pg_read_payload(b, t, change->payload, strlen(change->payload), err);

    if (rc == CSYNC_OK) {
        put_values(b, t, &sql, &text, reason);
        put_conflict(b, t, &sql);
        rc = cs_buf_check(&sql, err);
    }
    if (rc == CSYNC_OK)
        rc = cs_buf_check(&text, err);
    if (rc == CSYNC_OK && !*reason)
        rc = pg_run_cells(b, t, sql.data, &text, NULL, &r, err);
    if (rc == CSYNC_OK && r && pg_rows(b, r)) {
        int ours = pg_cell(b, r, 0, 1)[0] == 't';

        rc = pg_check_row(b, t, pg_cell(b, r, 0, 0), &ours, reason, err);
        if (rc == CSYNC_OK && ours && !*reason)
            rc = cs_row_list_add(&b->kept, t, change->pk, err);
    }
    pg_clear(b, r);
    cs_buf_free(&sql);
    cs_buf_free(&text);
    return rc;
}

/* The entry of a delete that was captured after `before`. */
static int forget_entry(cs_pg *b, const cs_table *t, int64_t before, csync_error *err)
{
    pg_args a = {.count = 0};

    pg_int(&a, before);
    pg_text(&a, t->name);
    pg_text(&a, b->pk.data);
    return pg_run(
        b,
        "DELETE FROM csync._sync_log WHERE version=(SELECT max(version) FROM csync._sync_log "
        "WHERE version>$1 AND table_name=$2 AND pk_value=$3 AND operation='delete' AND origin "
        "IS NULL)",
        &a, NULL, err);
}

/* What foreign keys do to other rows is captured as this replica's own changes; the delete itself is not. */
static int delete_row(cs_pg *b, cs_table *t, csync_error *err)
{
    cs_buf sql = {0};
    PGresult *r = NULL;
    int64_t before = 0;
    int rc = t->acts_on_delete ? pg_last_version(b, &before, err) : CSYNC_OK;

    cs_buf_puts(&sql, "DELETE FROM ");
    cs_buf_puts(&sql, ((pg_table *)t->prepared)->name);
    cs_buf_puts(&sql, " x");
    pg_put_key_where(&sql, t);
    if (rc == CSYNC_OK)
        rc = cs_buf_check(&sql, err);
    if (rc == CSYNC_OK && t->acts_on_delete)
        rc = pg_exec(b, "SELECT set_config('csync.sync_active','',true)", err);
    if (rc == CSYNC_OK)
        rc = pg_run_key(b, t, sql.data, &r, err);
    if (rc == CSYNC_OK && t->acts_on_delete)
        rc = pg_exec(b, "SELECT set_config('csync.sync_active','1',true)", err);
    if (rc == CSYNC_OK && t->acts_on_delete && pg_affected(b, r))
        rc = forget_entry(b, t, before, err);
    pg_clear(b, r);
    cs_buf_free(&sql);
    return rc;
}

int pg_write_row(cs_pg *b, cs_table *t, const csync_change *change, const char **reason,
                 csync_error *err)
{
    csync_error why = CSYNC_ERROR_INIT;
    int rc = pg_savepoint(b, err), end;

    *reason = NULL;
    if (rc != CSYNC_OK)
        return rc;
    b->sqlstate[0] = 0;
    rc = change->operation == CSYNC_DELETE ? delete_row(b, t, &why)
                                           : upsert(b, t, change, reason, &why);
    if (rc == CSYNC_ESCHEMA)
        *reason = "unknown column";
    else if (rc == CSYNC_EDB)
        *reason = pg_reason(b);
    if (why.code != CSYNC_OK)
        cs_error_copy(err, &why);
    if (rc != CSYNC_OK && !*reason)
        return rc;
    if (why.code == CSYNC_OK && *reason)
        (void)cs_fail(err, CSYNC_EDB, "a column cannot hold its value as it is");
    end = pg_savepoint_end(b, *reason != NULL, err);
    return end;
}

/* ---- one change ---- */

static const char take_sql[] =
    "INSERT INTO csync._sync_rows AS r(table_id,pk,version,ts,origin,seq,state,via) "
    "VALUES($1,$2,$3,$4,$5,$6,$7,$8) ON CONFLICT(table_id,pk) DO UPDATE SET version=excluded.version,"
    "ts=excluded.ts,origin=excluded.origin,seq=excluded.seq,state=excluded.state,via=excluded.via,"
    "base_version=0,base_ts=0,base_origin=NULL,base_seq=0 WHERE $9::int<>0 OR "
    "(excluded.ts,excluded.origin,excluded.seq)>(r.ts,r.origin,r.seq)";

static int take_head(merge *m, cs_item *item, int64_t version, int *won, csync_error *err)
{
    const cs_change *c = item->change;
    int state = (c->pub.operation == CSYNC_DELETE ? PG_DELETED : 0) |
                (m->how->agreed && !item->local ? PG_AGREED : 0);
    pg_args a = {.count = 0};
    PGresult *r;
    int rc;

    pg_int(&a, item->table->id);
    pg_text(&a, m->b->pk.data);
    pg_int(&a, version);
    pg_int(&a, c->ts);
    pg_text(&a, c->pub.origin);
    pg_int(&a, item->local ? version : c->pub.seq);
    pg_int(&a, state);
    pg_int(&a, item->local ? 0 : m->how->via);
    pg_int(&a, item->force);
    rc = pg_run(m->b, take_sql, &a, &r, err);
    *won = rc == CSYNC_OK && pg_affected(m->b, r) > 0;
    pg_clear(m->b, r);
    return rc;
}

static int settle_loser(merge *m, cs_item *item, csync_error *err)
{
    cs_stamp mine = cs_change_stamp(item->change);
    cs_head head;
    int rc = pg_head_get(m->b, item->table, &head, NULL, err);

    if (rc == CSYNC_OK)
        item->status = cs_stamp_compare(&mine, &head.stamp) == 0 ? CSYNC_DUPLICATE : CSYNC_LOST;
    return rc;
}

/* The newest entry that a local writer has made for the row at hand since the log was folded; 0: none. */
static int newer_edit(merge *m, const cs_item *item, int64_t own, int64_t *version, csync_error *err)
{
    pg_args a = {.count = 0};

    pg_text(&a, m->b->pk.data);
    pg_text(&a, item->table->name);
    pg_int(&a, m->b->top);
    pg_int(&a, own);
    return pg_query_int(m->b,
                        "SELECT max(version) FROM csync._sync_log WHERE pk_value=$1 AND table_name=$2 AND "
                        "version>$3 AND version<>$4 AND origin IS NULL",
                        &a, version, NULL, err);
}

static int write_item(merge *m, cs_item *item, csync_error *err)
{
    csync_error why = CSYNC_ERROR_INIT;
    const char *reason = NULL;
    int rc = pg_enter_row(m->b, item->table, &item->change->pub, &reason, &why);

    if (rc != CSYNC_OK) {
        cs_error_copy(err, &why);
        return rc;
    }
    if (reason)
        cs_item_refuse(item, CSYNC_PARKED, reason, why.message);
    else
        item->status = CSYNC_APPLIED;
    return CSYNC_OK;
}

/* Head, log entry and row; *own is the entry's version. */
static int enter_item(merge *m, cs_item *item, int64_t *own, csync_error *err)
{
    int logged = item->local || m->how->relay, won = 0;
    csync_change entry = item->change->pub;
    int rc = CSYNC_OK;

    *own = 0;
    entry.pk = m->b->pk.data;
    if (logged)
        rc = pg_log_append(m->b, &entry, item->local, own, err);
    if (rc == CSYNC_OK)
        rc = take_head(m, item, *own, &won, err);
    if (rc == CSYNC_OK && !won)
        return settle_loser(m, item, err);
    if (rc == CSYNC_OK)
        rc = pg_park_supersede(m->b, item->table, err);
    return rc == CSYNC_OK ? write_item(m, item, err) : rc;
}

/* A loser's log entry is undone with it. */
static int decide_item(merge *m, cs_item *item, csync_error *err)
{
    int64_t seen = 0, own = 0, newer = 0;
    int rc = newer_edit(m, item, 0, &seen, err), again = 1;

    while (rc == CSYNC_OK && again) {
        again = 0;
        rc = pg_exec(m->b, "SAVEPOINT csync_item", err);
        if (rc == CSYNC_OK)
            rc = enter_item(m, item, &own, err);
        if (rc == CSYNC_OK)
            rc = newer_edit(m, item, own, &newer, err);
        if (rc != CSYNC_OK)
            return rc;
        again = newer > seen;
        if (again || item->status == CSYNC_LOST || item->status == CSYNC_DUPLICATE)
            rc = pg_exec(m->b, "ROLLBACK TO SAVEPOINT csync_item", err);
        if (rc == CSYNC_OK)
            rc = pg_exec(m->b, "RELEASE SAVEPOINT csync_item", err);
        if (again && rc == CSYNC_OK) {
            seen = newer;
            item->status = 0;
            rc = pg_fold(&m->b->base, err);
        }
    }
    return rc;
}

static int tick(merge *m, csync_error *err)
{
    if (m->how->tick && ++m->done % 64 == 0)
        return m->how->tick(m->how->ctx, (int64_t)m->done, err);
    return CSYNC_OK;
}

static int merge_item(merge *m, size_t index, csync_error *err)
{
    cs_item *item = &m->items[index];
    const cs_change *c = item->change;
    csync_error why = CSYNC_ERROR_INIT;
    const char *reason = NULL;
    int rc = pg_read_key(m->b, item->table, c->pub.pk, &reason, &why);

    if (rc == CSYNC_OK && !reason && c->pub.operation != CSYNC_DELETE)
        rc = cs_row_check(c->pub.payload, c->payload_len, 1, &why);
    if (rc == CSYNC_EINVAL) {
        cs_item_refuse(item, CSYNC_REJECTED, "malformed", why.message);
        return CSYNC_OK;
    }
    if (rc != CSYNC_OK) {
        cs_error_copy(err, &why);
        return rc;
    }
    if (reason) { /* a text as key of an integer column: no row here can have it */
        item->table = NULL;
        item->reason = reason;
        return CSYNC_OK;
    }
    rc = decide_item(m, item, err);
    if (rc == CSYNC_OK && item->status == CSYNC_PARKED)
        m->waiting[m->n_waiting++] = index;
    return rc == CSYNC_OK ? tick(m, err) : rc;
}

/* ---- what was refused ---- */

static int retry_pass(merge *m, int *progress, csync_error *err)
{
    size_t left = 0;

    *progress = 0;
    for (size_t i = 0; i < m->n_waiting; i++) {
        size_t index = m->waiting[i];
        cs_item *item = &m->items[index];
        const char *reason;
        int rc = pg_read_key(m->b, item->table, item->change->pub.pk, &reason, err);

        if (rc == CSYNC_OK) /* a row that came in meanwhile may have evicted its old state */
            rc = pg_park_supersede(m->b, item->table, err);
        if (rc == CSYNC_OK)
            rc = write_item(m, item, err);
        if (rc != CSYNC_OK)
            return rc;
        if (item->status == CSYNC_PARKED)
            m->waiting[left++] = index;
        else
            *progress = 1;
    }
    m->n_waiting = left;
    return CSYNC_OK;
}

static int park_waiting(merge *m, csync_error *err)
{
    int rc = CSYNC_OK, progress = 1;

    for (int pass = 0; rc == CSYNC_OK && progress && m->n_waiting && pass < m->how->passes; pass++)
        rc = retry_pass(m, &progress, err);
    for (size_t i = 0; rc == CSYNC_OK && i < m->n_waiting; i++) {
        cs_item *item = &m->items[m->waiting[i]];
        const char *reason;

        rc = pg_read_key(m->b, item->table, item->change->pub.pk, &reason, err);
        if (rc == CSYNC_OK)
            rc = pg_park(m->b, item->table, &item->change->pub, item->reason, item->message, err);
    }
    return rc;
}

static int park_unknown(merge *m, size_t count, csync_error *err)
{
    int rc = CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && i < count; i++) {
        cs_item *item = &m->items[i];

        if (!item->table && !item->status)
            rc = pg_park_unknown(m->b, item->change, item->reason ? item->reason : "unknown table",
                                 m->how->relay, &item->status, err);
    }
    return rc;
}

/* Rows that were parked may have come in since; the outcome is what holds now. */
static int final_status(merge *m, csync_error *err)
{
    int rc = CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && i < m->count; i++) {
        cs_item *item = &m->items[m->order[i]];
        const char *reason;
        cs_head head;

        if (!item->table || (item->status != CSYNC_PARKED && item->status != CSYNC_APPLIED))
            continue;
        rc = pg_read_key(m->b, item->table, item->change->pub.pk, &reason, err);
        if (rc == CSYNC_OK)
            rc = pg_head_get(m->b, item->table, &head, NULL, err);
        if (rc == CSYNC_OK && item->status == CSYNC_APPLIED && head.parked)
            item->reason = "foreign key";
        if (rc == CSYNC_OK)
            item->status = head.parked ? CSYNC_PARKED : CSYNC_APPLIED;
    }
    return rc;
}

/* The next default of a serial or identity column is above what was written. */
static int advance_sequences(merge *m, csync_error *err)
{
    int rc = CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && i < m->b->base.table_count; i++) {
        const cs_table *t = m->b->base.tables[i];
        const pg_table *p = t->prepared;
        int used = 0;

        for (size_t k = 0; k < m->count && p->has_sequence; k++)
            used |= m->items[m->order[k]].table == t && m->items[m->order[k]].status == CSYNC_APPLIED;
        for (size_t k = 0; rc == CSYNC_OK && used && k < t->count; k++) {
            cs_buf sql = {0};

            if (p->kinds[k] != PG_INT)
                continue;
            cs_buf_puts(&sql, "SELECT setval(s,m) FROM (SELECT pg_get_serial_sequence(");
            cs_put_literal(&sql, p->name);
            cs_buf_puts(&sql, ",");
            cs_put_literal(&sql, t->columns[k].name);
            cs_buf_puts(&sql, ") s,max(");
            cs_put_ident(&sql, t->columns[k].name);
            cs_buf_printf(&sql,
                          ") m FROM %s) x WHERE s IS NOT NULL AND m>=coalesce("
                          "pg_sequence_last_value(s::regclass),1)",
                          p->name);
            rc = pg_exec_buf(m->b, &sql, err);
        }
    }
    return rc;
}

int pg_merge(cs_backend *base, cs_item *items, size_t count, const cs_merge *how, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    merge m = {.b = b, .items = items, .how = how};
    int64_t before = 0, after = 0;
    int parked = 0;
    int rc = pg_last_version(b, &before, err);

    m.order = cs_calloc(2 * count + 2, sizeof *m.order);
    if (!m.order)
        return cs_fail_nomem(err);
    m.waiting = m.order + count + 1;
    b->merging = 1;
    if (rc == CSYNC_OK)
        rc = pg_check_now(b, err);
    if (rc == CSYNC_OK)
        rc = cs_items_order(items, count, m.order, &m.count, err);
    for (size_t i = 0; rc == CSYNC_OK && i < m.count; i++)
        rc = merge_item(&m, m.order[i], err);
    if (rc == CSYNC_OK)
        rc = park_waiting(&m, err);
    if (rc == CSYNC_OK)
        rc = park_unknown(&m, count, err);
    if (rc == CSYNC_OK)
        rc = pg_retry_parked(base, err);
    if (rc == CSYNC_OK)
        rc = pg_any_parked(b, &parked, err);
    if (rc == CSYNC_OK && parked)
        rc = final_status(&m, err);
    if (rc == CSYNC_OK)
        rc = advance_sequences(&m, err);
    if (rc == CSYNC_OK)
        rc = pg_last_version(b, &after, err);
    if (rc == CSYNC_OK && after > before) /* what foreign keys did */
        rc = pg_fold(base, err);
    b->merging = 0;
    cs_free(m.order);
    return rc;
}
