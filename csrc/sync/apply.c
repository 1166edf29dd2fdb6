/* apply.c - a batch of somebody else's changes enters the replica, in one transaction: positions, changes,
 * decisions and the clock are committed together or not at all. */
#include "sync/apply.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "codec/wire.h"
#include "model/outcome.h"
#include "sync/conflict.h"

typedef struct work {
    cs_apply *a;
    cs_item *items;
    size_t count;
    cs_peer peer;
    cs_meeting meeting;
    int64_t parked_before, parked_after;
    csync_result result;
} work;

int cs_sync_options_check(const csync_sync_options *o, csync_error *err)
{
    if (o->direction < CSYNC_BOTH || o->direction > CSYNC_PUSH)
        return cs_fail(err, CSYNC_EINVAL, "%d is no direction", o->direction);
    if (o->batch_size < 0 || o->batch_size > 10000)
        return cs_fail(err, CSYNC_EINVAL, "batch_size is %d; it must be 1 to 10000", o->batch_size);
    if (o->max_retry_passes < -1 || o->max_retry_passes > 1000)
        return cs_fail(err, CSYNC_EINVAL,
                       "max_retry_passes is %d; it must be 1 to 1000, or -1 for none",
                       o->max_retry_passes);
    if (o->batch_bytes < 0)
        return cs_fail(err, CSYNC_EINVAL, "batch_bytes is negative");
    if (o->strategy < CSYNC_LAST_WRITE_WINS || o->strategy > CSYNC_CUSTOM)
        return cs_fail(err, CSYNC_EINVAL, "%d is no strategy", o->strategy);
    if (o->strategy == CSYNC_CUSTOM && !o->on_conflict)
        return cs_fail(err, CSYNC_EINVAL, "the custom strategy needs on_conflict");
    return CSYNC_OK;
}

int cs_batch_size(const csync_sync_options *options)
{
    return options->batch_size > 0 ? options->batch_size : 1000;
}

int64_t cs_batch_bytes(const csync_sync_options *options)
{
    return options->batch_bytes > 0 ? options->batch_bytes : INT64_C(4) << 20;
}

static int retry_passes(const csync_sync_options *options)
{
    if (options->max_retry_passes == 0)
        return 3;
    return options->max_retry_passes < 0 ? 0 : options->max_retry_passes;
}

static int check_hash(const csync_batch *batch, csync_error *err)
{
    char hex[CSYNC_HASH_SIZE];
    int rc;

    if (!batch->hash[0])
        return CSYNC_OK;
    rc = cs_batch_hash(batch, hex, err);
    return rc == CSYNC_OK ? cs_hash_verify(batch->hash, hex, err) : rc;
}

/* ---- positions ---- */

static int64_t last_version(const csync_batch *batch, int64_t from)
{
    int64_t top = from;

    for (size_t i = 0; i < batch->count; i++)
        if (batch->items[i].pub.version > top)
            top = batch->items[i].pub.version;
    return top;
}

/* A batch that does not continue exactly where this replica stands is dropped whole and asked for again:
 * changes between would be passed over for ever. */
static int check_position(csync *c, work *w, csync_error *err)
{
    cs_apply *a = w->a;
    int64_t *mine = a->pulling ? &w->peer.pulled : &w->peer.accepted;
    int rc = c->backend->ops->peer_get(c->backend, a->peer, &w->peer, err);

    if (rc != CSYNC_OK)
        return rc;
    a->dropped = a->batch->has_info && a->batch->from_version != *mine;
    if (!a->dropped)
        *mine = a->batch->has_info ? a->batch->to_version : last_version(a->batch, *mine);
    a->position = *mine;
    return CSYNC_OK;
}

static int store_position(csync *c, work *w, csync_error *err)
{
    return w->a->peer ? c->backend->ops->peer_put(c->backend, w->a->peer, &w->peer, err) : CSYNC_OK;
}

/* What is applied has to be in the log as soon as more than the one peer that it came from may ask. */
static int settle_relay(csync *c, work *w, csync_error *err)
{
    cs_backend *b = c->backend;
    int others = 1;
    int rc = CSYNC_OK;

    if (b->relay)
        return CSYNC_OK;
    if (w->a->peer && w->a->pulling)
        rc = b->ops->other_peers(b, w->a->peer, &others, err);
    return rc == CSYNC_OK && others ? b->ops->start_relay(b, err) : rc;
}

/* A peer that is new gets its number now: heads remember where they came from. */
static int settle_peer(csync *c, work *w, csync_error *err)
{
    return w->a->peer && !w->peer.id ? store_position(c, w, err) : CSYNC_OK;
}

/* ---- changes ---- */

static int make_items(csync *c, work *w, csync_error *err)
{
    const csync_batch *batch = w->a->batch;
    cs_table *last = NULL;

    w->count = batch->count;
    w->items = cs_calloc(w->count + 1, sizeof *w->items);
    if (!w->items)
        return cs_fail_nomem(err);
    for (size_t i = 0; i < w->count; i++) {
        const cs_change *change = &batch->items[i];

        if (!last || strcmp(last->name, change->pub.table) != 0)
            last = cs_backend_table(c->backend, change->pub.table, change->table_len);
        w->items[i].change = change;
        w->items[i].table = last;
    }
    return CSYNC_OK;
}

static int raise_clock(csync *c, work *w, csync_error *err)
{
    int64_t top = -1;

    for (size_t i = 0; i < w->count; i++)
        if (w->items[i].status != CSYNC_REJECTED && w->items[i].change->ts > top)
            top = w->items[i].change->ts;
    return top >= 0 ? c->backend->ops->raise_clock(c->backend, top + 1, err) : CSYNC_OK;
}

static int meet_conflicts(csync *c, work *w, csync_error *err)
{
    cs_backend *b = c->backend;
    int pending = 0;
    int rc;

    if (!w->a->pulling && w->a->options->strategy == CSYNC_LAST_WRITE_WINS)
        return CSYNC_OK;
    rc = b->ops->pending(b, w->a->peer ? w->peer.pushed : 0, &pending, err);
    if (rc != CSYNC_OK || !pending)
        return rc;
    w->meeting.replica = c;
    w->meeting.options = w->a->options;
    w->meeting.decisions = cs_batch_create();
    if (!w->meeting.decisions)
        return cs_fail_nomem(err);
    return cs_conflicts_meet(&w->meeting, w->items, w->count, err);
}

static void merge_settings(const csync *c, const work *w, cs_merge *out)
{
    memset(out, 0, sizeof *out);
    out->via = w->a->peer ? w->peer.id : 0;
    out->agreed = w->a->pulling;
    out->relay = c->backend->relay;
    out->more = w->a->pulling && w->a->batch->has_more;
    out->passes = retry_passes(w->a->options);
    out->tick = w->a->tick;
    out->ctx = w->a->ctx;
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

static int stamp_decision(csync *c, csync_batch *d, size_t i, csync_error *err)
{
    int64_t now = 0;
    int rc = c->backend->ops->stamp_now(c->backend, &now, err);

    if (rc == CSYNC_OK && cs_batch_set_time(d, &d->items[i], now) != CSYNC_OK)
        rc = cs_fail_nomem(err);
    return rc;
}

/* Decisions become changes of this replica, stamped above both sides; the remote change is their base. */
static int write_decisions(csync *c, work *w, csync_error *err)
{
    cs_backend *b = c->backend;
    csync_batch *d = w->meeting.decisions;
    cs_item *items = cs_calloc(d->count + 1, sizeof *items);
    cs_merge how;
    int rc = items ? CSYNC_OK : cs_fail_nomem(err);

    merge_settings(c, w, &how);
    for (size_t i = 0; rc == CSYNC_OK && i < d->count; i++) {
        const cs_item *about = &w->items[w->meeting.decided[i]];

        rc = stamp_decision(c, d, i, err);
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
static int agree_on_own(csync *c, work *w, csync_error *err)
{
    cs_backend *b = c->backend;
    int rc = CSYNC_OK;

    for (size_t i = 0; w->a->pulling && rc == CSYNC_OK && i < w->count; i++) {
        const cs_item *item = &w->items[i];

        if (item->table && (item->status == CSYNC_DUPLICATE || item->status == CSYNC_LOST) &&
            strcmp(item->change->pub.origin, b->origin) == 0)
            rc = b->ops->agree(b, item->table, &item->change->pub, err);
    }
    return rc;
}

/* ---- results ---- */

/* What was parked by an earlier batch and entered now counts as pulled now. */
static void count_results(work *w)
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
        default:
            r->rejected++;
            cs_log(CSYNC_LOG_WARNING, "a change to table \"%s\" was refused: %s",
                   w->items[i].change->pub.table, w->items[i].message);
        }
    }
    if (w->parked_before + parked > w->parked_after)
        r->pulled += w->parked_before + parked - w->parked_after;
    r->parked = w->parked_after;
    r->conflicts += w->meeting.conflicts;
    r->batches++;
    r->bytes += (int64_t)w->a->batch->bytes;
}

static int add_outcome(csync *c, work *w, const cs_item *item, csync_error *err)
{
    csync_batch *winner = NULL;
    cs_buf reason = {0};
    int rc = CSYNC_OK;

    if (item->status == CSYNC_PARKED || item->status == CSYNC_REJECTED)
        cs_buf_printf(&reason, "%s: %s", item->reason, item->message);
    if (cs_buf_check(&reason, err) != CSYNC_OK)
        return CSYNC_ENOMEM;
    if (item->status == CSYNC_LOST && item->table) {
        winner = cs_batch_create();
        rc = winner ? c->backend->ops->head_change(c->backend, item, winner, err)
                    : cs_fail_nomem(err);
    }
    if (rc == CSYNC_OK)
        rc = cs_outcome_add(w->a->outcome, item->status, reason.data, cs_batch_get(winner, 0), err);
    cs_buf_free(&reason);
    cs_batch_destroy(winner);
    return rc;
}

static int fill_outcome(csync *c, work *w, csync_error *err)
{
    int rc = CSYNC_OK;

    if (!w->a->outcome)
        return CSYNC_OK;
    w->a->outcome->position = w->a->position;
    for (size_t i = 0; !w->a->dropped && rc == CSYNC_OK && i < w->count; i++)
        rc = add_outcome(c, w, &w->items[i], err);
    return rc;
}

/* ---- the transaction ---- */

static int merge_all(csync *c, work *w, csync_error *err)
{
    cs_backend *b = c->backend;
    cs_merge how;
    int rc = make_items(c, w, err);

    if (rc == CSYNC_OK)
        rc = meet_conflicts(c, w, err);
    merge_settings(c, w, &how);
    if (rc == CSYNC_OK)
        rc = raise_clock(c, w, err);
    if (rc == CSYNC_OK)
        rc = b->ops->parked_count(b, &w->parked_before, err);
    if (rc == CSYNC_OK)
        rc = b->ops->merge(b, w->items, w->count, &how, err);
    if (rc == CSYNC_OK)
        rc = b->ops->parked_count(b, &w->parked_after, err);
    if (rc == CSYNC_OK)
        rc = agree_on_own(c, w, err);
    if (rc == CSYNC_OK && w->meeting.decisions && w->meeting.decisions->count)
        rc = write_decisions(c, w, err);
    return rc;
}

static int apply_in_transaction(csync *c, void *ctx, csync_error *err)
{
    work *w = ctx;
    cs_backend *b = c->backend;
    int rc = w->a->peer ? check_position(c, w, err) : CSYNC_OK;

    if (rc != CSYNC_OK || w->a->dropped)
        return rc == CSYNC_OK ? fill_outcome(c, w, err) : rc;
    rc = b->ops->suppress(b, 1, err);
    if (rc == CSYNC_OK)
        rc = b->ops->fold(b, err);
    if (rc == CSYNC_OK)
        rc = settle_relay(c, w, err);
    if (rc == CSYNC_OK)
        rc = settle_peer(c, w, err);
    if (rc == CSYNC_OK)
        rc = merge_all(c, w, err);
    if (rc == CSYNC_OK)
        rc = store_position(c, w, err);
    if (rc == CSYNC_OK)
        rc = fill_outcome(c, w, err);
    if (rc == CSYNC_OK)
        rc = b->ops->suppress(b, 0, err);
    if (rc == CSYNC_OK)
        count_results(w);
    return rc;
}

void cs_result_add(csync_result *to, const csync_result *from)
{
    to->pulled += from->pulled;
    to->pushed += from->pushed;
    to->duplicates += from->duplicates;
    to->lost += from->lost;
    to->conflicts += from->conflicts;
    to->parked = from->parked;
    to->rejected += from->rejected;
    to->batches += from->batches;
    to->bytes += from->bytes;
}

int cs_apply_batch(csync *c, cs_apply *a, csync_error *err)
{
    work w = {.a = a};
    int rc = check_hash(a->batch, err);

    a->dropped = 0;
    a->position = 0;
    if (rc == CSYNC_OK)
        rc = cs_replica_write(c, apply_in_transaction, &w, err);
    if (rc == CSYNC_OK && !a->dropped)
        cs_result_add(a->result, &w.result);
    cs_batch_destroy(w.meeting.decisions);
    cs_free(w.meeting.decided);
    cs_free(w.items);
    return rc;
}
