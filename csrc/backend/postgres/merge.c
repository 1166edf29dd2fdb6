/* merge.c - a batch's changes on their way into the database: many at once (bulk.c) as long as nothing is the matter, else
 * row by row, each under a savepoint.
 *
 * A change that beats its row's head becomes the head, is logged, and its row is written: parents first, then
 * deletes, children first; what is refused is tried again, and parked in the end. A local writer may have written
 * the row meanwhile: his entry is visible once the row is ours, and then everything is decided again. */
#include <string.h>

#include "backend/postgres/postgres.h"
#include "base/mem.h"
#include "codec/canonical.h"
#include "codec/row.h"

enum { AFTER_FAULT = 8 };

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

/* ---- one change ---- */

static const char take_sql[] =
    PG_TAKE_HEAD "VALUES($1,$2,$3,$4,$5,$6,$7,$8)" PG_TAKE_CONFLICT "$9::int<>0 OR " PG_BEATS;

static int take_head(merge *m, cs_item *item, int64_t version, int force, int *won, csync_error *err)
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
    pg_int(&a, force);
    rc = pg_run(m->b, take_sql, &a, &r, err);
    *won = rc == CSYNC_OK && pg_affected(m->b, r) > 0;
    pg_clear(m->b, r);
    return rc;
}

/* A change that lacks columns of ours, or has others, comes from another schema. */
static int is_whole(merge *m, const cs_item *item, int *whole, csync_error *err)
{
    csync_error why = CSYNC_ERROR_INIT;
    int rc = pg_read_payload(m->b, item->table, item->change->pub.payload,
                             item->change->payload_len, &why);

    *whole = rc == CSYNC_OK && !memchr(m->b->present, 0, item->table->count);
    if (rc == CSYNC_ESCHEMA)
        return CSYNC_OK;
    if (rc != CSYNC_OK)
        cs_error_copy(err, &why);
    return rc;
}

/* The head's content as it came, where the log still has it: a column may have changed what the row holds. Else the
 * row. */
static int head_content(merge *m, const cs_item *item, const cs_head *head, cs_buf *out, int *found,
                        csync_error *err)
{
    csync_batch *logged = cs_batch_create();
    const csync_change *entry;
    int rc = logged ? CSYNC_OK : cs_fail_nomem(err);

    if (rc == CSYNC_OK && head->version)
        rc = pg_log_change(&m->b->base, head->version, logged, err);
    entry = cs_batch_get(logged, 0);
    *found = entry != NULL;
    if (entry)
        cs_buf_puts(out, entry->payload);
    if (rc == CSYNC_OK && !entry)
        rc = pg_row_payload(m->b, item->table, out, found, err);
    cs_batch_destroy(logged);
    return rc == CSYNC_OK ? cs_buf_check(out, err) : rc;
}

/* The change's content against the head's, both in canonical form. */
static int compare_content(void *ctx, const cs_item *item, const cs_head *head, int *order,
                           csync_error *err)
{
    merge *m = ctx;
    cs_buf ours = {0};
    int found = 0, whole = 0;
    int rc = is_whole(m, item, &whole, err);

    if (rc == CSYNC_OK && whole)
        rc = head_content(m, item, head, &ours, &found, err);
    if (rc == CSYNC_OK && found)
        rc = cs_canonical_order(item->change->pub.payload, item->change->payload_len, ours.data,
                                ours.len, order, err);
    cs_buf_free(&ours);
    return rc;
}

static int settle_loser(merge *m, cs_item *item, int64_t version, int *won, csync_error *err)
{
    cs_head head;
    int rc = pg_head_get(m->b, item->table, &head, NULL, err);

    if (rc == CSYNC_OK)
        rc = cs_item_settle(item, &head, compare_content, m, won, err);
    return rc == CSYNC_OK && *won ? take_head(m, item, version, 1, won, err) : rc;
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
        rc = take_head(m, item, *own, item->force, &won, err);
    if (rc == CSYNC_OK && !won)
        rc = settle_loser(m, item, *own, &won, err);
    if (rc == CSYNC_OK && !won)
        return CSYNC_OK;
    if (rc == CSYNC_OK)
        rc = pg_park_supersede(m->b, item->table, err);
    return rc == CSYNC_OK ? write_item(m, item, err) : rc;
}

/* What local writers did meanwhile becomes heads. A resolver's decision counts only for the edit that it saw: a later one
 * is measured by its stamp. */
static int fold_edits(merge *m, cs_item *item, csync_error *err)
{
    cs_head head;
    int rc = pg_fold(&m->b->base, err);

    if (rc != CSYNC_OK || !item->force || item->local)
        return rc;
    rc = pg_head_get(m->b, item->table, &head, NULL, err);
    if (rc == CSYNC_OK && cs_stamp_compare(&head.stamp, &item->head.stamp) != 0)
        item->force = 0;
    return rc;
}

/* A loser's log entry is undone with it. */
static int decide_item(merge *m, cs_item *item, csync_error *err)
{
    int64_t seen = 0, own = 0, newer = 0;
    size_t own_rows = m->b->own_count;
    int rc = newer_edit(m, item, 0, &seen, err), again = 1;

    if (rc == CSYNC_OK && seen) /* it may have been made since the log was folded */
        rc = fold_edits(m, item, err);
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
        if (again || item->status == CSYNC_LOST || item->status == CSYNC_DUPLICATE) {
            pg_own_cut(m->b, own_rows);
            rc = pg_exec(m->b, "ROLLBACK TO SAVEPOINT csync_item", err);
        }
        if (rc == CSYNC_OK)
            rc = pg_exec(m->b, "RELEASE SAVEPOINT csync_item", err);
        if (again && rc == CSYNC_OK) {
            seen = newer;
            item->status = 0;
            rc = fold_edits(m, item, err);
        }
    }
    return rc;
}

static int tick(merge *m, size_t n, csync_error *err)
{
    size_t before = m->done;

    m->done += n;
    if (m->how->tick && m->done / 64 != before / 64)
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
    return rc == CSYNC_OK ? tick(m, 1, err) : rc;
}

/* ---- many at once ---- */

/* Changes that did not beat their heads. Where the stamps are equal the contents decide, unless they are the same. */
static int settle_losers(merge *m, size_t from, size_t count, csync_error *err)
{
    cs_item **losers = cs_calloc(count, sizeof *losers);
    size_t n = 0;
    int rc = losers ? CSYNC_OK : cs_fail_nomem(err);

    for (size_t i = from; rc == CSYNC_OK && i < from + count; i++)
        if (!m->items[m->order[i]].status)
            losers[n++] = &m->items[m->order[i]];
    if (rc == CSYNC_OK && n)
        rc = pg_heads_compare(m->b, losers, n, err);
    for (size_t i = from; rc == CSYNC_OK && n && i < from + count; i++)
        if (!m->items[m->order[i]].status)
            rc = merge_item(m, m->order[i], err);
    cs_free(losers);
    return rc;
}

/* Where a statement fails the search for the change at fault begins: by halves, and after it with few at a time, for where
 * one is there are more. */
static int merge_all(merge *m, csync_error *err)
{
    size_t limit = m->count, faulty = 0, tried = 0; /* one of those before `faulty` is at fault */
    int rc = CSYNC_OK, done;

    for (size_t i = 0; rc == CSYNC_OK && i < m->count; i += tried) {
        size_t left = m->count - i, n = left < limit ? left : limit;

        if (faulty > i)
            n = (faulty - i + 1) / 2;
        done = 0;
        tried = 0;
        if (n > 1 && faulty != i + 1)
            rc = pg_bulk(m->b, m->items, m->order + i, n, m->how, 0, &tried, &done, err);
        if (rc != CSYNC_OK)
            return rc;
        if (done) {
            limit = 2 * n;
            rc = settle_losers(m, i, tried, err);
            if (rc == CSYNC_OK)
                rc = tick(m, tried, err);
        } else if (tried > 1) {
            faulty = i + tried;
            tried = 0;
        } else {
            limit = AFTER_FAULT;
            tried = 1;
            rc = merge_item(m, m->order[i], err);
        }
    }
    return rc;
}

static int lacks_parent(const cs_item *item)
{
    return strcmp(item->reason, "foreign key") == 0 && item->change->pub.operation != CSYNC_DELETE;
}

/* A row that came in meanwhile may have evicted the row's old state. */
static int supersede(merge *m, const cs_item *item, csync_error *err)
{
    const char *reason;
    int rc = pg_read_key(m->b, item->table, item->change->pub.pk, &reason, err);

    return rc == CSYNC_OK ? pg_park_supersede(m->b, item->table, err) : rc;
}

/* Rows that were refused for want of each other enter at once, or not at all. */
static int enter_together(merge *m, csync_error *err)
{
    size_t *together = cs_calloc(m->n_waiting + 1, sizeof *together);
    size_t n = 0, left = 0, tried;
    int rc = together ? CSYNC_OK : cs_fail_nomem(err), done = 0;

    for (size_t i = 0; rc == CSYNC_OK && i < m->n_waiting; i++)
        if (lacks_parent(&m->items[m->waiting[i]]))
            together[n++] = m->waiting[i];
    for (size_t i = 0; rc == CSYNC_OK && n > 1 && i < n; i++)
        rc = supersede(m, &m->items[together[i]], err);
    if (rc == CSYNC_OK && n > 1)
        rc = pg_bulk(m->b, m->items, together, n, m->how, 1, &tried, &done, err);
    for (size_t i = 0; done && i < m->n_waiting; i++)
        if (m->items[m->waiting[i]].status == CSYNC_PARKED)
            m->waiting[left++] = m->waiting[i];
    if (done)
        m->n_waiting = left;
    cs_free(together);
    return rc;
}

/* ---- what was refused ---- */

static int retry_pass(merge *m, int *progress, csync_error *err)
{
    size_t left = 0;

    *progress = 0;
    for (size_t i = 0; i < m->n_waiting; i++) {
        size_t index = m->waiting[i];
        cs_item *item = &m->items[index];
        int rc = supersede(m, item, err);

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
static int advance_sequences(cs_pg *b, csync_error *err)
{
    cs_buf names = {0}, tops = {0};
    pg_args a = {.count = 0};
    int rc = CSYNC_OK;

    for (size_t i = 0; i < b->base.table_count; i++) {
        const cs_table *t = b->base.tables[i];
        const pg_table *p = t->prepared;

        for (size_t k = 0; p->has_sequence && k < t->count; k++) {
            if (p->columns[k].top < 1)
                continue;
            pg_array_add(&names, p->columns[k].sequence);
            pg_array_add_int(&tops, p->columns[k].top);
            p->columns[k].top = 0;
        }
    }
    if (names.len) {
        pg_text(&a, pg_array_text(&names));
        pg_text(&a, pg_array_text(&tops));
        rc = a.values[0] && a.values[1]
                 ? pg_run(b,
                          "SELECT setval(s::regclass,v) FROM unnest($1::text[],$2::bigint[]) u(s,v) WHERE "
                          "v>=coalesce(pg_sequence_last_value(s::regclass),1)",
                          &a, NULL, err)
                 : cs_fail_nomem(err);
    }
    cs_buf_free(&names);
    cs_buf_free(&tops);
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
    if (rc == CSYNC_OK)
        rc = merge_all(&m, err);
    if (rc == CSYNC_OK)
        rc = enter_together(&m, err);
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
        rc = advance_sequences(b, err);
    if (rc == CSYNC_OK)
        rc = pg_last_version(b, &after, err);
    if (rc == CSYNC_OK && after > before) /* what foreign keys did */
        rc = pg_fold(base, err);
    b->merging = 0;
    cs_free(m.order);
    return rc;
}
