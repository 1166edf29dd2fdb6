/* merge.c - a batch's changes on their way into the database.
 *
 * A change that beats its row's head becomes the head, is logged, and its row is written: parents first,
 * then deletes, children first. Rows that a foreign key refuses are tried again, at last with the keys
 * deferred (cycles, self references); what still cannot be written is parked, which takes its old row out
 * of the table, so that what is visible depends on the heads alone. */
#include <string.h>

#include "backend/sqlite/sqlite.h"
#include "base/mem.h"
#include "base/rules.h"
#include "codec/canonical.h"

#define MANY_PARKED 500

typedef struct merge {
    cs_sqlite *b;
    cs_item *items;
    const cs_merge *how;
    size_t *order; /* items in the order in which they are written */
    size_t count;
    size_t *waiting; /* won, but refused so far */
    size_t n_waiting;
    size_t *saved; /* room for a copy of waiting */
    size_t singly; /* changes of `order` before this one go singly */
    size_t setback; /* how many did after the last bulk that failed */
    size_t done;
    int decoded; /* the payload of the change at hand is in b->cells */
} merge;

static int tick(merge *m, csync_error *err)
{
    return m->how->tick && ++m->done % 64 == 0 ? m->how->tick(m->how->ctx, (int64_t)m->done, err)
                                               : CSYNC_OK;
}

/* ---- taking the head ---- */

static int take_head(merge *m, cs_item *item, int force, int *won, csync_error *err)
{
    cs_sqlite *b = m->b;
    SQ_API(b);
    int logged = item->local || m->how->relay;
    sqlite3_stmt *stmt;
    int rc = sq_table_stmt(b, item->table, force ? SQT_HEAD_FORCE : SQT_HEAD_TAKE, &stmt, err);

    if (rc == CSYNC_OK)
        rc = sq_bind_head(b, stmt, 0, item, m->how, logged ? b->next_version : 0, err);
    if (rc == CSYNC_OK)
        rc = sq_run(b, stmt, err);
    *won = rc == CSYNC_OK && sqlite3_changes(b->db) > 0;
    return rc;
}

/* The head's content as it came, where the log still has it: a column of another type may have changed what
 * the row holds. Else the row. *found 0: neither. */
static int head_content(merge *m, const cs_item *item, const cs_head *head, cs_buf *out, int *found,
                        csync_error *err)
{
    csync_batch *logged = cs_batch_create();
    const csync_change *entry;
    int rc = logged ? CSYNC_OK : cs_fail_nomem(err);

    *found = 0;
    if (rc == CSYNC_OK && head->version)
        rc = sq_log_change(&m->b->base, head->version, logged, err);
    entry = cs_batch_get(logged, 0);
    if (rc == CSYNC_OK && entry && entry->payload) {
        *found = 1;
        cs_buf_puts(out, entry->payload);
        rc = cs_buf_check(out, err);
    } else if (rc == CSYNC_OK) {
        rc = sq_row_payload(m->b, item->table, out, found, err);
    }
    cs_batch_destroy(logged);
    return rc;
}

/* Both in canonical form. A change that was not decoded, lacks columns of ours or has others comes from another schema and
 * is the same change all the same. */
static int compare_content(void *ctx, const cs_item *item, const cs_head *head, int *order,
                           csync_error *err)
{
    merge *m = ctx;
    cs_buf ours = {0};
    int found = 0;
    int rc;

    if (!m->decoded || !sq_is_whole(m->b, item->table))
        return CSYNC_OK;
    rc = head_content(m, item, head, &ours, &found, err);
    if (rc == CSYNC_OK && found)
        rc = cs_canonical_order(item->change->pub.payload, item->change->payload_len, ours.data,
                                ours.len, order, err);
    cs_buf_free(&ours);
    return rc;
}

static int settle_loser(merge *m, cs_item *item, int *won, csync_error *err)
{
    cs_head head;
    int rc = sq_head_get(m->b, item->table, &head, NULL, err);

    if (rc == CSYNC_OK)
        rc = cs_item_settle(item, &head, compare_content, m, won, err);
    return rc == CSYNC_OK && *won ? take_head(m, item, 1, won, err) : rc;
}

static int log_winner(merge *m, cs_item *item, csync_error *err)
{
    cs_sqlite *b = m->b;
    int rc;

    if (!item->local && !m->how->relay)
        return CSYNC_OK;
    rc = sq_log_append(b, b->next_version, &item->change->pub,
                       item->local ? b->next_version : item->change->pub.seq, err);
    b->next_version++;
    return rc;
}

/* ---- one change ---- */

static int write_item(merge *m, size_t index, int decoded, csync_error *err)
{
    cs_sqlite *b = m->b;
    cs_item *item = &m->items[index];
    csync_error why = CSYNC_ERROR_INIT;
    const char *reason = NULL;
    int rc = sq_drop_acted(b, item->table, &why);

    if (rc == CSYNC_OK && decoded)
        rc = sq_put_cells(b, item->table, &reason, &why);
    if (rc == CSYNC_OK && (!decoded || (reason && strcmp(reason, "unique") == 0)))
        rc = sq_enter_row(b, item->table, &item->change->pub, &reason, &why);
    if (rc != CSYNC_OK) {
        cs_error_copy(err, &why);
        return rc;
    }
    if (reason) {
        cs_item_refuse(item, CSYNC_PARKED, reason, why.message);
        return CSYNC_OK;
    }
    item->status = CSYNC_APPLIED;
    return CSYNC_OK;
}

/* Decodes key and payload. A malformed change is rejected; a column that we do not have is no fault. */
static int decode(merge *m, cs_item *item, const char **reason, csync_error *why)
{
    const cs_change *c = item->change;
    int rc = sq_read_key(m->b, item->table, c->pub.pk, c->pk_len, why);

    *reason = NULL;
    if (rc == CSYNC_OK && c->pub.operation != CSYNC_DELETE)
        rc = sq_read_payload(m->b, item->table, c->pub.payload, c->payload_len, why);
    if (rc == CSYNC_ESCHEMA) {
        *reason = "unknown column";
        return CSYNC_OK;
    }
    if (rc == CSYNC_EINVAL) {
        cs_item_refuse(item, CSYNC_REJECTED, "malformed", why->message);
        return CSYNC_OK;
    }
    return rc;
}

static int merge_item(merge *m, size_t index, csync_error *err)
{
    cs_item *item = &m->items[index];
    csync_error why = CSYNC_ERROR_INIT;
    const char *reason = NULL;
    int won = 0;
    int rc = decode(m, item, &reason, &why);

    if (rc != CSYNC_OK)
        cs_error_copy(err, &why);
    if (rc != CSYNC_OK || item->status)
        return rc;
    m->decoded = !reason;
    rc = take_head(m, item, item->force || !CS_RULE(BEATS), &won, err);
    if (rc == CSYNC_EDB && (m->b->native & 0xff) == SQLITE_MISMATCH) {
        item->table = NULL; /* a text as key of an INTEGER PRIMARY KEY: no row here can have it */
        item->reason = "type";
        return CSYNC_OK;
    }
    if (rc == CSYNC_OK && !won)
        rc = settle_loser(m, item, &won, err);
    if (rc != CSYNC_OK || !won)
        return rc;
    if (m->b->any_parked)
        rc = sq_park_supersede(m->b, item->table, err);
    if (rc == CSYNC_OK)
        rc = log_winner(m, item, err);
    if (rc != CSYNC_OK)
        return rc;
    if (item->change->pub.operation == CSYNC_DELETE)
        return write_item(m, index, 0, err);
    if (reason)
        cs_item_refuse(item, CSYNC_PARKED, reason, why.message);
    else
        rc = write_item(m, index, 1, err);
    if (rc == CSYNC_OK && item->status == CSYNC_PARKED)
        m->waiting[m->n_waiting++] = index;
    return rc;
}

/* ---- many at once ---- */

/* What foreign keys do to other rows has to be captured statement by statement. */
static int may_bulk(const merge *m, const cs_item *item)
{
    const cs_table *t = item->table;

    return !item->force && !item->local && item->change->pub.operation != CSYNC_DELETE &&
           t->count <= SQ_BULK_COLUMNS && !(t->acts_on_update && m->b->foreign_keys);
}

/* How many changes from `from` on one statement can take, at most SQ_BULK. */
static size_t bulk_length(const merge *m, size_t from, size_t to)
{
    const cs_item *first = &m->items[m->order[from]];
    size_t n = 0;

    while (n < SQ_BULK && from + n < to && m->items[m->order[from + n]].table == first->table &&
           may_bulk(m, &m->items[m->order[from + n]]))
        n++;
    return n;
}

/* *done: how many changes have gone. Where it fails, the next ones go singly, more of them each time. */
static int merge_bulk(merge *m, size_t from, size_t to, size_t *done, csync_error *err)
{
    int alone = m->b->any_parked || m->b->acted || m->b->deferred || from < m->singly;
    size_t n = alone ? 0 : bulk_length(m, from, to);
    int written = 0;
    int rc =
        n == SQ_BULK ? sq_bulk(m->b, m->items, m->order + from, m->how, &written, err) : CSYNC_OK;

    *done = written ? n : 0;
    for (size_t i = from; rc == CSYNC_OK && i < from + *done; i++) {
        rc = log_winner(m, &m->items[m->order[i]], err);
        m->items[m->order[i]].status = CSYNC_APPLIED;
    }
    if (n == SQ_BULK && !written) {
        m->setback = m->setback ? 2 * m->setback : SQ_BULK;
        m->singly = from + m->setback;
    } else if (!written && m->singly < from + n) {
        m->singly = from + n;
    }
    return rc;
}

static int merge_range(merge *m, size_t from, size_t to, csync_error *err)
{
    size_t done;

    for (size_t i = from; i < to; i += done) {
        int rc = merge_bulk(m, i, to, &done, err);

        if (rc == CSYNC_OK && !done) {
            done = 1;
            rc = merge_item(m, m->order[i], err);
        }
        for (size_t n = 0; rc == CSYNC_OK && n < done; n++)
            rc = tick(m, err);
        if (rc != CSYNC_OK)
            return rc;
    }
    return CSYNC_OK;
}

/* ---- what was refused ---- */

/* Tries each waiting row again; *progress says whether one got in. */
static int retry_pass(merge *m, int *progress, csync_error *err)
{
    size_t left = 0;

    *progress = 0;
    for (size_t i = 0; i < m->n_waiting; i++) {
        size_t index = m->waiting[i];
        cs_item *item = &m->items[index];
        int rc = sq_read_key(m->b, item->table, item->change->pub.pk, item->change->pk_len, err);

        /* a row that came in meanwhile may have evicted its old state */
        if (rc == CSYNC_OK && m->b->any_parked)
            rc = sq_park_supersede(m->b, item->table, err);
        if (rc == CSYNC_OK)
            rc = write_item(m, index, 0, err);
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

static int retry(merge *m, csync_error *err)
{
    int progress = 1;
    int rc = CSYNC_OK;

    for (int pass = 0; rc == CSYNC_OK && progress && m->n_waiting && pass < m->how->passes; pass++)
        rc = retry_pass(m, &progress, err);
    return rc;
}

static int park_item(merge *m, cs_item *item, csync_error *err)
{
    int rc = sq_read_key(m->b, item->table, item->change->pub.pk, item->change->pk_len, err);

    return rc == CSYNC_OK
               ? sq_park(m->b, item->table, &item->change->pub, item->reason, item->message, err)
               : rc;
}

static int in_cycle(const merge *m)
{
    for (size_t i = 0; i < m->n_waiting; i++)
        if (m->items[m->waiting[i]].table->in_cycle)
            return 1;
    return 0;
}

/* All rows of a cycle are written before any is checked; those whose parent is missing all the same go out
 * again. Should that leave a key unsatisfied, the attempt is undone and all of them wait. */
static int write_cycle(merge *m, csync_error *err)
{
    size_t n = m->n_waiting;
    int progress, undo;
    int rc;

    if (!m->b->deferred || !in_cycle(m))
        return CSYNC_OK;
    rc = sq_attempt(m->b, err);
    if (rc != CSYNC_OK)
        return rc;
    m->b->lenient = 1;
    memcpy(m->saved, m->waiting, n * sizeof *m->saved);
    rc = retry_pass(m, &progress, err);
    m->b->lenient = 0;
    if (rc == CSYNC_OK && sq_violated(m->b))
        rc = sq_park_orphans(m->b, err);
    undo = rc != CSYNC_OK || sq_violated(m->b);
    if (undo) {
        memcpy(m->waiting, m->saved, n * sizeof *m->saved);
        m->n_waiting = n;
        for (size_t i = 0; i < n; i++)
            cs_item_refuse(&m->items[m->waiting[i]], CSYNC_PARKED, "foreign key",
                           "the row that it refers to is not there");
    }
    return rc == CSYNC_OK ? sq_attempt_end(m->b, undo, err) : rc;
}

static int park_waiting(merge *m, csync_error *err)
{
    int rc = CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && i < m->n_waiting; i++)
        rc = park_item(m, &m->items[m->waiting[i]], err);
    m->n_waiting = 0;
    return rc;
}

/* Deletes that were refused (rows of an untracked table refer to the row). */
static int park_deletes(merge *m, size_t from, csync_error *err)
{
    int rc = CSYNC_OK;

    for (size_t i = from; rc == CSYNC_OK && i < m->count; i++)
        if (m->items[m->order[i]].status == CSYNC_PARKED)
            rc = park_item(m, &m->items[m->order[i]], err);
    return rc;
}

/* Rows were parked and came back since; the outcome is what holds now. */
static int final_status(merge *m, csync_error *err)
{
    for (size_t i = 0; i < m->count; i++) {
        cs_item *item = &m->items[m->order[i]];
        cs_head head;
        int rc;

        if (!item->table || (item->status != CSYNC_PARKED && item->status != CSYNC_APPLIED))
            continue;
        rc = sq_read_key(m->b, item->table, item->change->pub.pk, item->change->pk_len, err);
        if (rc == CSYNC_OK)
            rc = sq_head_get(m->b, item->table, &head, NULL, err);
        if (rc != CSYNC_OK)
            return rc;
        if (item->status == CSYNC_APPLIED && head.parked)
            item->reason = "foreign key";
        item->status = head.parked ? CSYNC_PARKED : CSYNC_APPLIED;
    }
    return CSYNC_OK;
}

static int park_unknown(merge *m, size_t count, csync_error *err)
{
    for (size_t i = 0; i < count; i++) {
        cs_item *item = &m->items[i];
        int rc;

        if (item->table || item->status)
            continue;
        if (!item->reason)
            item->reason = "unknown table";
        rc = sq_park_unknown(m->b, item->change, item->reason, m->how->relay, &item->status, err);
        if (rc != CSYNC_OK)
            return rc;
    }
    return CSYNC_OK;
}

/* Trying thousands of parked rows after every batch of a long pull would cost more than the pull: they wait
 * for its last batch. */
static int retry_parked(merge *m, csync_error *err)
{
    int64_t parked = 0;
    int rc = m->how->more ? sq_parked_count(&m->b->base, &parked, err) : CSYNC_OK;

    return rc != CSYNC_OK || parked > MANY_PARKED ? rc : sq_unpark(m->b, err);
}

static int run(merge *m, size_t count, csync_error *err)
{
    size_t upserts = 0;
    int rc = cs_items_order(m->items, count, m->order, &m->count, err);

    while (upserts < m->count && m->items[m->order[upserts]].change->pub.operation != CSYNC_DELETE)
        upserts++;
    if (rc == CSYNC_OK)
        rc = merge_range(m, 0, upserts, err);
    if (rc == CSYNC_OK)
        rc = retry(m, err);
    if (rc == CSYNC_OK)
        rc = write_cycle(m, err);
    if (rc == CSYNC_OK)
        rc = park_waiting(m, err);
    if (rc == CSYNC_OK)
        rc = merge_range(m, upserts, m->count, err);
    if (rc == CSYNC_OK)
        rc = park_deletes(m, upserts, err);
    if (rc == CSYNC_OK)
        rc = park_unknown(m, count, err);
    if (rc == CSYNC_OK && m->b->any_parked)
        rc = retry_parked(m, err);
    return rc == CSYNC_OK && m->b->any_parked ? final_status(m, err) : rc;
}

/* Whether keys are checked late is settled once for the transaction, before its first write. */
static int settle_keys(cs_sqlite *b, csync_error *err)
{
    int64_t on = 0;
    int rc = sq_fixed_int(b, SQ_FOREIGN_KEYS, &on, err);

    b->foreign_keys = on != 0;
    b->deferred = b->lenient = 0;
    for (size_t i = 0; i < b->base.table_count; i++)
        b->deferred |=
            b->foreign_keys && (b->base.tables[i]->in_cycle || b->base.tables[i]->deferred);
    return rc == CSYNC_OK && b->deferred ? sq_exec(b, "PRAGMA defer_foreign_keys=ON", err) : rc;
}

int sq_merge_begin(cs_sqlite *b, csync_error *err)
{
    int rc = sq_log_top(&b->base, &b->merge_start, err);

    b->next_version = b->merge_start + 1;
    b->captured = b->acted = 0;
    if (rc == CSYNC_OK)
        rc = sq_any_parked(b, &b->any_parked, err);
    return rc == CSYNC_OK ? settle_keys(b, err) : rc;
}

int sq_merge(cs_backend *base, cs_item *items, size_t count, const cs_merge *how, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    merge m = {.b = b, .items = items, .how = how};
    int64_t top = 0;
    int rc = sq_merge_begin(b, err);

    if (rc != CSYNC_OK)
        return rc;
    m.order = cs_calloc(3 * count + 3, sizeof *m.order);
    if (!m.order)
        return cs_fail_nomem(err);
    m.waiting = m.order + count + 1;
    m.saved = m.waiting + count + 1;
    rc = run(&m, count, err);
    if (rc == CSYNC_OK && b->captured)
        rc = sq_fold_captured(b, err);
    else if (rc == CSYNC_OK && (rc = sq_log_top(base, &top, err)) == CSYNC_OK)
        rc = sq_state_put_int(b, "folded_version", top, err);
    cs_free(m.order);
    return rc;
}
