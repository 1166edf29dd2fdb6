/* changes.c - a batch's changes enter the tables: what is refused, what is in conflict, what is merged, and the
 * decisions that become changes of this replica. */
#include "sync/changes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/rules.h"

int cs_known_version(csync *c, const cs_position *position, int64_t *version, csync_error *err)
{
    cs_verdict verdict = CS_FALSE;
    int rc = c->backend->ops->judge(c->backend, position, &verdict, err);

    *version = verdict == CS_GOOD || verdict == CS_TRIMMED ? position->version : 0;
    return rc;
}

static int retry_passes(const csync_sync_options *options)
{
    if (options->max_retry_passes == 0)
        return 3;
    return options->max_retry_passes < 0 ? 0 : options->max_retry_passes;
}

static int make_items(cs_changes *w, csync_error *err)
{
    const csync_batch *batch = w->batch;
    cs_table *last = NULL;

    w->count = batch->count;
    w->items = cs_calloc(w->count + 1, sizeof *w->items);
    if (!w->items)
        return cs_fail_nomem(err);
    for (size_t i = 0; i < w->count; i++) {
        const cs_change *change = &batch->items[i];

        if (!last || strcmp(last->name, change->pub.table) != 0)
            last = cs_backend_table(w->replica->backend, change->pub.table, change->table_len);
        w->items[i].change = change;
        w->items[i].table = last;
        w->items[i].local = !CS_RULE(STAMP);
    }
    return CSYNC_OK;
}

/* ---- what is refused ---- */

/* 1 when whoever pushes made the change itself. */
static int is_pushers(const cs_changes *w, const cs_item *item)
{
    return !w->pulling && w->batch->origin && strcmp(item->change->pub.origin, w->batch->origin) == 0;
}

/* 1 when whoever pushes answers for the change: it made it itself, or before its file was copied. */
static int is_authors(const cs_changes *w, const cs_item *item)
{
    return is_pushers(w, item) || (!w->pulling && w->batch->copied_from && CS_RULE(LINEAGE) &&
                                   cs_lineage_made(w->batch->copied_from, &item->change->pub));
}

static int fail_ahead(const cs_item *item, int64_t now, csync_error *err)
{
    char time[CS_TIME_SIZE];

    cs_time_format(now, time);
    if (cs_error_writable(err)) {
        snprintf(err->expected, sizeof err->expected, "%s", time);
        snprintf(err->actual, sizeof err->actual, "%s", item->change->pub.timestamp);
    }
    return cs_fail(err, CSYNC_ECLOCK,
                   "replica %s stamps its changes with %s where it is %s here: set its clock",
                   item->change->pub.origin, item->change->pub.timestamp, time);
}

/* Whoever edits a row that has such a stamp already must be allowed to go beyond it; also where the row is not known
 * here, because it came to him from elsewhere. */
static int check_ahead(cs_changes *w, cs_item *item, int64_t now, csync_error *err)
{
    cs_backend *b = w->replica->backend;
    char text[CS_STAMP_SIZE];
    cs_stamp base;
    int rc;

    if (cs_change_base(&item->change->pub, &base, text) && base.ts + CS_DRIFT_MS >= item->change->ts)
        return CSYNC_OK;
    rc = b->ops->heads_get(b, item, 1, err);

    if (rc != CSYNC_OK || item->status ||
        (item->head.found && item->head.stamp.ts + CS_DRIFT_MS >= item->change->ts))
        return rc;
    return fail_ahead(item, now, err);
}

/* A pull takes what its peer has accepted: a slow clock must not lock its owner out. */
static int check_clock(cs_changes *w, csync_error *err)
{
    cs_backend *b = w->replica->backend;
    int64_t now = 0;
    int rc = w->count ? b->ops->wall_clock(b, &now, err) : CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && i < w->count; i++) {
        int64_t ahead = w->items[i].change->ts - now;

        if (ahead <= CS_DRIFT_MS)
            continue;
        if (!is_authors(w, &w->items[i]) && w->items[i].change->ts >= CS_STAMP_END)
            cs_item_refuse(&w->items[i], CSYNC_REJECTED, "clock",
                           "its timestamp leaves no room for later edits");
        else if (is_authors(w, &w->items[i]))
            rc = check_ahead(w, &w->items[i], now, err);
        else if (w->pulling && ahead > w->result.ahead_ms)
            w->result.ahead_ms = ahead;
    }
    if (rc == CSYNC_OK && w->result.ahead_ms)
        cs_log(CSYNC_LOG_WARNING, "the peer has changes from %lld s in the future: a clock is wrong",
               (long long)(w->result.ahead_ms / 1000));
    return rc;
}

static int is_based_on(const cs_change *change, const cs_stamp *head)
{
    cs_stamp own = cs_change_stamp(change), base;
    char text[CS_STAMP_SIZE];

    if (cs_stamp_compare(&own, head) == 0)
        return 1;
    if (!cs_change_base(&change->pub, &base, text))
        return 0;
    /* a head below the base is one that a restore has brought back: the author has seen what replaced it; and a change
     * that was accepted before is its own base: stamps decide */
    return cs_stamp_compare(&base, head) >= 0 || cs_stamp_compare(&base, &own) == 0;
}

/* Compare and set: the author has to see the row first and decide. */
static int refuse_conflicts(cs_changes *w, csync_error *err)
{
    cs_backend *b = w->replica->backend;
    int rc = b->ops->heads_get(b, w->items, w->count, err);

    for (size_t i = 0; rc == CSYNC_OK && i < w->count; i++) {
        cs_item *item = &w->items[i];

        if (item->table && !item->status && item->head.found && is_authors(w, item) &&
            !is_based_on(item->change, &item->head.stamp))
            item->status = CSYNC_CONFLICT;
    }
    return rc;
}

/* ---- who loses to a push ---- */

/* 1 when the change replaces a head that its author had not seen. Where the head wins it is its author, the
 * pusher, who keeps that. */
static int overwrites(const cs_changes *w, const cs_item *item)
{
    cs_stamp own = cs_change_stamp(item->change), base;
    char text[CS_STAMP_SIZE];

    if (!item->table || item->status || !item->head.found || !is_authors(w, item) ||
        strcmp(item->head.stamp.origin, own.origin) == 0 ||
        cs_stamp_compare(&own, &item->head.stamp) <= 0)
        return 0;
    if (!cs_change_base(&item->change->pub, &base, text))
        return 1;
    return cs_stamp_compare(&item->head.stamp, &base) > 0;
}

static int keep_loser(cs_changes *w, const cs_item *item, csync_error *err)
{
    cs_backend *b = w->replica->backend;
    csync_batch *loser = cs_batch_create();
    cs_conflict conflict = {0,        NULL, cs_strategy_name(w->options->strategy),
                            "remote", NULL, &item->change->pub};
    int same = 0;
    int rc = loser ? b->ops->head_change(b, item, loser, err) : cs_fail_nomem(err);

    conflict.loser = cs_batch_get(loser, 0);
    if (rc == CSYNC_OK)
        rc = cs_change_same(conflict.loser, conflict.winner, &same, err);
    if (rc == CSYNC_OK && !same) {
        w->result.conflicts++;
        rc = b->ops->conflict_add(b, &conflict, err);
    }
    cs_batch_destroy(loser);
    return rc;
}

/* A pull meets its conflicts one by one; of a push, which goes by stamp alone, only who lost is kept. */
static int keep_losers(cs_changes *w, csync_error *err)
{
    cs_backend *b = w->replica->backend;
    int rc = b->ops->heads_get(b, w->items, w->count, err);

    for (size_t i = 0; rc == CSYNC_OK && i < w->count; i++)
        if (overwrites(w, &w->items[i]))
            rc = keep_loser(w, &w->items[i], err);
    return rc;
}

/* ---- rows that were deleted here, which is forgotten ---- */

/* No forgotten delete that matters here has a later timestamp; 0: none does. */
static int64_t old_ts(const cs_changes *w)
{
    return w->suspect_ts > w->forgotten_ts ? w->suspect_ts : w->forgotten_ts;
}

/* An unknown row that is not newer than `ts`. */
static int is_old(const cs_item *item, int64_t ts)
{
    return item->table && !item->status && !item->head.found && item->change->pub.payload &&
           item->change->ts <= ts;
}

/* This replica has had the change from its author, whom it has not heard from since: the author need not know that, and
 * gives what it takes for its own news to others. After a restore the author counts its changes anew, with later
 * timestamps. */
static int was_taken(const cs_item *item, const cs_peer *author)
{
    return author->id && item->change->pub.seq > 0 && item->change->pub.seq <= author->heard &&
           item->change->ts <= author->heard_ts && CS_RULE(TAKEN);
}

/* A new row of whoever pushes was never here. */
static int mark_forgotten(cs_changes *w, csync_error *err)
{
    cs_backend *b = w->replica->backend;
    const char *last = NULL;
    cs_peer author;
    int rc = CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && i < w->count; i++) {
        cs_item *item = &w->items[i];
        const char *origin = item->change->pub.origin;

        item->forgotten =
            is_old(item, w->suspect_ts) && !(is_pushers(w, item) && !item->change->pub.base);
        if (item->forgotten || !is_old(item, w->forgotten_ts) ||
            (w->batch->origin && strcmp(origin, w->batch->origin) == 0))
            continue;
        if (!last || strcmp(last, origin) != 0)
            rc = b->ops->peer_get(b, origin, &author, err);
        last = origin;
        item->forgotten = rc == CSYNC_OK && was_taken(item, &author);
    }
    return rc;
}

static int add_delete(csync_batch *deletes, const csync_change *of, const char *origin,
                      csync_error *err)
{
    csync_change c = *of;

    c.operation = CSYNC_DELETE;
    c.payload = c.base = NULL;
    c.origin = origin;
    c.version = c.seq = 0;
    return cs_batch_append(deletes, &c, 0, err);
}

static void merge_settings(const cs_changes *w, cs_merge *out)
{
    memset(out, 0, sizeof *out);
    out->via = w->peer && !w->answering ? w->peer->id : 0;
    out->agreed = w->pulling;
    out->relay = (w->replica->backend->relay || w->answering) && CS_RULE(RELAY);
    out->more = w->more;
    out->passes = retry_passes(w->options);
    out->tick = w->tick;
    out->ctx = w->ctx;
}

/* Merges deletes of this replica's own, stamped now. */
static int merge_deletes(cs_changes *w, csync_batch *deletes, csync_error *err)
{
    cs_backend *b = w->replica->backend;
    cs_merge how;
    cs_item *items = cs_calloc(deletes->count + 1, sizeof *items);
    int64_t now = 0;
    int rc = items ? b->ops->stamp_now(b, &now, err) : cs_fail_nomem(err);

    for (size_t i = 0; rc == CSYNC_OK && i < deletes->count; i++) {
        cs_change *c = &deletes->items[i];

        items[i].change = c;
        items[i].table = cs_backend_table(b, c->pub.table, c->table_len);
        items[i].force = items[i].local = 1;
        if (cs_batch_set_time(deletes, c, now) != CSYNC_OK)
            rc = cs_fail_nomem(err);
    }
    merge_settings(w, &how);
    if (rc == CSYNC_OK)
        rc = b->ops->merge(b, items, deletes->count, &how, err);
    cs_free(items);
    return rc;
}

static int audit_forgotten(cs_changes *w, const csync_change *loser, const csync_change *winner,
                           csync_error *err)
{
    cs_backend *b = w->replica->backend;
    cs_conflict conflict = {0, NULL, "forgotten delete", "deleted", loser, winner};

    w->result.conflicts++;
    return b->ops->conflict_add(b, &conflict, err);
}

static int delete_forgotten(cs_changes *w, csync_error *err)
{
    cs_backend *b = w->replica->backend;
    csync_batch *deletes = cs_batch_create();
    size_t n = 0;
    int rc = deletes ? b->ops->raise_clock(b, old_ts(w) + 1, err) : cs_fail_nomem(err);

    for (size_t i = 0; rc == CSYNC_OK && i < w->count; i++)
        if (w->items[i].forgotten)
            rc = add_delete(deletes, &w->items[i].change->pub, b->origin, err);
    if (rc == CSYNC_OK && deletes->count)
        rc = merge_deletes(w, deletes, err);
    for (size_t i = 0; rc == CSYNC_OK && i < w->count; i++) {
        if (!w->items[i].forgotten)
            continue;
        w->items[i].status = CSYNC_LOST;
        rc = audit_forgotten(w, &w->items[i].change->pub, &deletes->items[n++].pub, err);
        if (rc == CSYNC_OK && w->pulling) /* the delete has seen the peer's row */
            rc = b->ops->agree(b, w->items[i].table, &w->items[i].change->pub, err);
    }
    cs_batch_destroy(deletes);
    return rc;
}

static int meet_forgotten(cs_changes *w, csync_error *err)
{
    cs_backend *b = w->replica->backend;
    int any = 0, rc = CSYNC_OK;

    for (size_t i = 0; i < w->count; i++)
        any |= w->items[i].change->ts <= old_ts(w);
    if (any)
        rc = b->ops->heads_get(b, w->items, w->count, err);
    if (rc == CSYNC_OK && any)
        rc = mark_forgotten(w, err);
    return rc == CSYNC_OK && any ? delete_forgotten(w, err) : rc;
}

int cs_changes_delete(cs_changes *w, csync_batch *about, csync_error *err)
{
    cs_backend *b = w->replica->backend;
    csync_batch *losers = cs_batch_create();
    int rc = losers ? CSYNC_OK : cs_fail_nomem(err);

    for (size_t i = 0; rc == CSYNC_OK && i < about->count; i++) {
        const cs_change *c = &about->items[i];
        cs_item item = {.change = c, .table = cs_backend_table(b, c->pub.table, c->table_len)};

        rc = b->ops->head_change(b, &item, losers, err);
    }
    if (rc == CSYNC_OK)
        rc = merge_deletes(w, about, err);
    for (size_t i = 0; rc == CSYNC_OK && i < about->count; i++)
        rc = audit_forgotten(w, &losers->items[i].pub, &about->items[i].pub, err);
    cs_batch_destroy(losers);
    return rc;
}

/* ---- conflicts and the merge ---- */

static int raise_clock(cs_changes *w, csync_error *err)
{
    int64_t top = -1;

    for (size_t i = 0; i < w->count; i++)
        if (w->items[i].status != CSYNC_REJECTED && w->items[i].change->ts > top)
            top = w->items[i].change->ts;
    return top >= 0 ? w->replica->backend->ops->raise_clock(w->replica->backend, top + 1, err)
                    : CSYNC_OK;
}

/* A version that the peer has of another log, from before a restore, says nothing of this one. */
static int find_pending(const cs_changes *w, int *pending, csync_error *err)
{
    cs_backend *b = w->replica->backend;
    cs_floors floors;
    int64_t known = 0;
    int rc = w->peer ? cs_known_version(w->replica, &w->peer->pushed, &known, err) : CSYNC_OK;

    *pending = w->answering;
    if (w->peer && !CS_RULE(PENDING))
        known = w->peer->pushed.version;
    if (rc == CSYNC_OK)
        rc = b->ops->floors(b, &floors, err);
    if (rc != CSYNC_OK || *pending)
        return rc;
    *pending =
        floors.log >
        known; /* a purge has dropped entries that the peer may not have: it was restored, or this replica was */
    return *pending ? CSYNC_OK : b->ops->pending(b, known, pending, err);
}

static int meet_conflicts(cs_changes *w, csync_error *err)
{
    int pending = 0;
    int rc;

    if (!w->pulling && w->options->strategy == CSYNC_LAST_WRITE_WINS)
        return CSYNC_OK;
    rc = find_pending(w, &pending, err);
    if (rc != CSYNC_OK || !pending)
        return rc;
    w->meeting.replica = w->replica;
    w->meeting.options = w->options;
    w->meeting.decisions = cs_batch_create();
    if (!w->meeting.decisions)
        return cs_fail_nomem(err);
    return cs_conflicts_meet(&w->meeting, w->items, w->count, err);
}

/* A decision that is no row of the table is the callback's fault, and the batch's end. */
static int check_decided(const cs_item *item, csync_error *err)
{
    if (item->status == CSYNC_APPLIED ||
        (item->status == CSYNC_PARKED && strcmp(item->reason, "unknown column") != 0))
        return CSYNC_OK;
    return cs_fail(err, CSYNC_EMISUSE, "the conflict callback's row for table \"%s\" is refused: %s",
                   item->table->name, item->message);
}

static int stamp_decision(cs_backend *b, csync_batch *d, size_t i, csync_error *err)
{
    int64_t now = 0;
    int rc = b->ops->stamp_now(b, &now, err);

    if (rc == CSYNC_OK && cs_batch_set_time(d, &d->items[i], now) != CSYNC_OK)
        rc = cs_fail_nomem(err);
    return rc;
}

/* Decisions become changes of this replica, stamped above both sides; the remote change is their base. */
static int write_decisions(cs_changes *w, csync_error *err)
{
    cs_backend *b = w->replica->backend;
    csync_batch *d = w->meeting.decisions;
    cs_item *items = cs_calloc(d->count + 1, sizeof *items);
    cs_merge how;
    int rc = items ? CSYNC_OK : cs_fail_nomem(err);

    merge_settings(w, &how);
    for (size_t i = 0; rc == CSYNC_OK && i < d->count; i++) {
        const cs_item *about = &w->items[w->meeting.decided[i]];

        rc = stamp_decision(b, d, i, err);
        items[i].change = &d->items[i];
        items[i].table = about->table;
        items[i].force = items[i].local = 1;
        if (rc == CSYNC_OK)
            rc = cs_conflict_decided(&w->meeting, about, &d->items[i].pub, err);
    }
    if (rc == CSYNC_OK)
        rc = b->ops->merge(b, items, d->count, &how, err);
    for (size_t i = 0; rc == CSYNC_OK && i < d->count; i++) {
        const cs_item *about = &w->items[w->meeting.decided[i]];

        rc = check_decided(&items[i], err);
        if (rc == CSYNC_OK)
            rc = b->ops->agree(b, about->table, &about->change->pub, err);
    }
    cs_free(items);
    return rc;
}

/* Our own change comes back from a peer that we pull from: the peer has it. */
static int agree_on_own(cs_changes *w, csync_error *err)
{
    cs_backend *b = w->replica->backend;
    int rc = CSYNC_OK;

    for (size_t i = 0; w->pulling && rc == CSYNC_OK && i < w->count; i++) {
        const cs_item *item = &w->items[i];

        if (item->table && (item->status == CSYNC_DUPLICATE || item->status == CSYNC_LOST) &&
            cs_backend_made(b, &item->change->pub))
            rc = b->ops->agree(b, item->table, &item->change->pub, err);
    }
    return rc;
}

/* ---- what a peer has lost ---- */

/* *lost 1: the peer brings a change which this replica's head beats, and has had that head: it has lost it, most likely
 * a delete that it has forgotten. Fills `now`. */
static int find_lost(cs_changes *w, const cs_item *item, int64_t known, cs_item *now, int *lost,
                     csync_error *err)
{
    cs_backend *b = w->replica->backend;
    const cs_head *head = &now->head;
    int rc;

    *lost = 0;
    if (!item->table || item->status != CSYNC_LOST)
        return CSYNC_OK;
    *now = (cs_item){.change = item->change, .table = item->table};
    rc = b->ops->heads_get(b, now, 1, err);
    *lost = rc == CSYNC_OK && head->found && !head->parked &&
            (head->via == w->peer->id || head->version <= known);
    return rc;
}

static int compare_versions(const void *a, const void *b)
{
    int64_t left = ((const cs_item *)a)->head.version, right = ((const cs_item *)b)->head.version;

    return (left > right) - (left < right);
}

/* In the order that they had in the log: a child that was moved before its parent was deleted still is. */
static int offer(cs_backend *b, cs_item *lost, size_t count, csync_error *err)
{
    int rc = CSYNC_OK;

    qsort(lost, count, sizeof *lost, compare_versions);
    for (size_t i = 0; rc == CSYNC_OK && i < count; i++)
        rc = b->ops->offer(b, &lost[i], err);
    return rc == CSYNC_OK && count ? b->ops->fold(b, err) : rc;
}

static int offer_lost(cs_changes *w, csync_error *err)
{
    cs_item *lost;
    size_t count = 0;
    int64_t known = 0;
    int rc, is_lost;

    if (!w->peer || !w->pulling || !w->result.lost)
        return CSYNC_OK;
    lost = cs_calloc(w->count, sizeof *lost);
    rc = lost ? cs_known_version(w->replica, &w->peer->pushed, &known, err) : cs_fail_nomem(err);
    for (size_t i = 0; rc == CSYNC_OK && i < w->count; i++) {
        rc = find_lost(w, &w->items[i], known, &lost[count], &is_lost, err);
        count += rc == CSYNC_OK && is_lost;
    }
    if (rc == CSYNC_OK)
        rc = offer(w->replica->backend, lost, count, err);
    cs_free(lost);
    return rc;
}

/* ---- results ---- */

/* What was parked by an earlier batch and entered now counts as pulled now. */
static void count_results(cs_changes *w)
{
    csync_result *r = &w->result;
    int64_t parked = 0;

    for (size_t i = 0; i < w->count; i++) {
        switch (w->items[i].status) {
        case CSYNC_APPLIED:
            r->pulled++;
            break;
        case CSYNC_DUPLICATE:
            r->duplicates++;
            break;
        case CSYNC_LOST:
            r->lost++;
            break;
        case CSYNC_PARKED:
            parked++;
            break;
        case CSYNC_CONFLICT: /* its author decides */
            break;
        default:
            r->rejected++;
            cs_log(CSYNC_LOG_WARNING, "a change to table \"%s\" was refused: %s",
                   w->items[i].change->pub.table, w->items[i].message);
        }
    }
    if (w->parked_before + parked > w->parked_after)
        r->pulled += w->parked_before + parked - w->parked_after;
    r->conflicts += w->meeting.conflicts;
    r->batches++;
    r->bytes += (int64_t)w->batch->bytes;
}

int cs_changes_enter(cs_changes *w, csync_error *err)
{
    cs_backend *b = w->replica->backend;
    cs_merge how;
    int rc = make_items(w, err);

    if (rc == CSYNC_OK)
        rc = check_clock(w, err);
    if (rc == CSYNC_OK && !w->pulling && w->batch->compare)
        rc = refuse_conflicts(w, err);
    if (rc == CSYNC_OK && old_ts(w) && CS_RULE(TOMBSTONE_FLOOR))
        rc = meet_forgotten(w, err);
    if (rc == CSYNC_OK && !w->pulling && w->batch->origin)
        rc = keep_losers(w, err);
    if (rc == CSYNC_OK)
        rc = meet_conflicts(w, err);
    merge_settings(w, &how);
    if (rc == CSYNC_OK)
        rc = raise_clock(w, err);
    if (rc == CSYNC_OK)
        rc = b->ops->parked_count(b, &w->parked_before, err);
    if (rc == CSYNC_OK)
        rc = b->ops->merge(b, w->items, w->count, &how, err);
    if (rc == CSYNC_OK)
        rc = b->ops->parked_count(b, &w->parked_after, err);
    if (rc == CSYNC_OK)
        rc = agree_on_own(w, err);
    if (rc == CSYNC_OK)
        count_results(w);
    if (rc == CSYNC_OK)
        rc = offer_lost(w, err);
    if (rc == CSYNC_OK && w->meeting.decisions && w->meeting.decisions->count)
        rc = write_decisions(w, err);
    return rc;
}

void cs_changes_free(cs_changes *w)
{
    cs_batch_destroy(w->meeting.decisions);
    cs_free(w->meeting.decided);
    cs_free(w->items);
}
