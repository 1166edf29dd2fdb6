/* apply.c - a batch of somebody else's changes enters the replica, in one transaction: positions, changes,
 * decisions and the clock are committed together or not at all. */
#include "sync/apply.h"

#include <string.h>

#include "base/mem.h"
#include "base/rules.h"
#include "codec/text_list.h"
#include "codec/wire.h"
#include "model/epoch.h"
#include "model/outcome.h"
#include "sync/changes.h"
#include "sync/heard.h"

#define UNSEEN_AT_ONCE 1000

typedef struct work {
    cs_apply *a;
    cs_peer peer;
    cs_position next; /* where the batch leads to */
    int stale; /* it was dropped because its maker has heard of more deletes since it was made */
    cs_snapshot snapshot; /* the batch is a page of it */
    cs_changes changes;
    csync_outcome *outcome;
    int repeated; /* the answer is the one of the first time */
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
    if (o->full_resync < -1 || o->full_resync > 0)
        return cs_fail(err, CSYNC_EINVAL, "full_resync is %d; it must be 0 or -1", o->full_resync);
    return cs_scope_check(&(cs_scope){o->tables, o->table_count}, err);
}

int cs_batch_size(const csync_sync_options *options)
{
    return options->batch_size > 0 ? options->batch_size : 1000;
}

int64_t cs_batch_bytes(const csync_sync_options *options)
{
    return options->batch_bytes > 0 ? options->batch_bytes : INT64_C(4) << 20;
}

static int check_hash(const csync_batch *batch, csync_error *err)
{
    char hex[CSYNC_HASH_SIZE];
    int rc;

    if (!batch->hash[0] || !CS_RULE(HASH))
        return CSYNC_OK;
    rc = cs_batch_hash(batch, hex, err);
    return rc == CSYNC_OK ? cs_hash_verify(batch->hash, hex, err) : rc;
}

static int check_tables(const cs_apply *a, csync_error *err)
{
    const cs_scope scope = {a->options->tables, a->options->table_count};

    for (size_t i = 0; i < a->batch->count; i++)
        if (!cs_scope_has(&scope, a->batch->items[i].pub.table))
            return cs_fail(err, CSYNC_EAUTH,
                           "table \"%.100s\" is not among those that may be written",
                           a->batch->items[i].pub.table);
    return CSYNC_OK;
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
 * changes between would be passed over for ever. A peer that knows no epochs is known by its version alone. */
static int continues(const csync_batch *batch, const cs_position *mine)
{
    cs_position from = cs_batch_from(batch);

    if (!batch->has_info || !CS_RULE(CONTINUE))
        return 1;
    return batch->epoch ? cs_position_same(&from, mine) : from.version == mine->version;
}

static int is_snapshot(const work *w)
{
    return w->a->pulling && w->a->batch->from_cursor != NULL;
}

/* A page of a snapshot continues the one before, or begins it. */
static int check_snapshot(csync *c, work *w, csync_error *err)
{
    const csync_batch *batch = w->a->batch;
    cs_snapshot *s = &w->snapshot;
    int rc = w->peer.id ? c->backend->ops->snapshot_get(c->backend, w->peer.id, s, err) : CSYNC_OK;

    if (rc != CSYNC_OK)
        return rc;
    w->a->dropped = strcmp(batch->from_cursor, s->number ? s->cursor.data : "") != 0;
    if (w->a->dropped || s->number)
        return CSYNC_OK;
    s->number = -1;
    s->at = cs_batch_to(batch);
    return cs_heard_floor(batch, &s->floor_ts, err);
}

static int check_position(csync *c, work *w, csync_error *err)
{
    const csync_batch *batch = w->a->batch;

    w->next = w->peer.pulled;
    if (is_snapshot(w))
        return check_snapshot(c, w, err);
    w->a->dropped = !continues(batch, &w->peer.pulled);
    if (batch->has_info)
        w->next = cs_batch_to(batch);
    else
        w->next.version = last_version(batch, w->peer.pulled.version);
    return CSYNC_OK;
}

static uint32_t mark_of(const csync_sync_options *o)
{
    const cs_scope scope = {o->tables, o->table_count};

    return cs_scope_mark(&scope);
}

/* Whoever read other tables than it may write now has not heard of the deletes in these. */
static int heard_version(csync *c, const work *w, const cs_position *position, int64_t *version,
                         csync_error *err)
{
    uint32_t mark = cs_position_scope(position);

    *version = 0;
    return mark && mark != mark_of(w->a->options) ? CSYNC_OK
                                                  : cs_known_version(c, position, version, err);
}

/* Deletes that are forgotten here must not be undone by somebody who never heard of them. A batch that was made
 * before its maker heard of them, which it has since, is dropped and made again. */
static int check_fresh(csync *c, work *w, csync_error *err)
{
    const csync_batch *batch = w->a->batch;
    cs_position said = batch->has_peer ? cs_batch_peer(batch) : w->peer.pushed;
    int64_t knew = 0, knows = 0;
    int fresh;
    cs_floors floors;
    int rc = c->backend->ops->floors(c->backend, &floors, err);

    if (rc == CSYNC_OK)
        rc = cs_heard_suspect(c, batch, &w->changes.suspect_ts, err);
    if (rc != CSYNC_OK || !floors.tombstones)
        return rc;
    if (!is_snapshot(w))
        w->changes.forgotten_ts = floors.tombstone_ts;
    rc = heard_version(c, w, &said, &knew, err);
    if (rc == CSYNC_OK)
        rc = heard_version(c, w, &w->peer.pushed, &knows, err);
    fresh = knew >= floors.tombstones && !w->peer.unheard;
    if (!fresh && floors.tombstone_ts > w->changes.suspect_ts)
        w->changes.suspect_ts = floors.tombstone_ts;
    w->stale = !fresh && !w->peer.unheard && knows >= floors.tombstones;
    w->a->dropped |= w->stale;
    return rc;
}

static int store_peer(csync *c, work *w, csync_error *err)
{
    return c->backend->ops->peer_put(c->backend, w->a->peer, &w->peer, err);
}

/* What the maker says of how far it has our log is the newest word on it. */
static int take_word(csync *c, work *w, csync_error *err)
{
    cs_position said = cs_batch_peer(w->a->batch);

    if (!w->a->batch->has_peer || cs_position_same(&said, &w->peer.pushed))
        return CSYNC_OK;
    w->peer.pushed = said;
    return said.version ? c->backend->ops->client_put(c->backend, w->a->peer, said.version, 0, err)
                        : CSYNC_OK;
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
    return w->a->peer && !w->peer.id ? store_peer(c, w, err) : CSYNC_OK;
}

/* Whoever is given every row stands further on in the log, but has not heard of the deletes between. */
static void note_heard(work *w)
{
    const csync_batch *batch = w->a->batch;
    cs_peer *peer = &w->peer;
    int leads_on = peer->pulled.version == 0 || peer->pulled.version == peer->heard;

    peer->asked |= w->a->pulling;
    if (cs_position_scope(&w->next)) /* nor has whoever is given some tables only */
        return;
    if (is_snapshot(w) ? !batch->has_more : leads_on && !batch->cursor)
        peer->heard = w->next.version;
    for (size_t i = 0; batch->origin && i < batch->count; i++)
        if (batch->items[i].ts > peer->heard_ts &&
            strcmp(batch->items[i].pub.origin, batch->origin) == 0)
            peer->heard_ts = batch->items[i].ts;
}

/* The position moves with the last page of a snapshot, and stops before the first conflict of a push. */
static void move_position(work *w)
{
    int64_t first = INT64_MAX;

    for (size_t i = 0; i < w->changes.count; i++)
        if (w->changes.items[i].status == CSYNC_CONFLICT &&
            w->changes.items[i].change->pub.version < first)
            first = w->changes.items[i].change->pub.version;
    if (first != INT64_MAX && CS_RULE(STOP_AT_CONFLICT)) {
        if (w->a->batch->cursor || first <= w->peer.pulled.version)
            w->next = w->peer.pulled;
        else
            w->next.version = first - 1;
    }
    if (is_snapshot(w) && !w->a->batch->has_more)
        w->next = w->snapshot.at;
    note_heard(w);
    w->peer.pulled = w->next;
}

/* ---- snapshots ---- */

/* Which rows the snapshot has matters only where its maker may have forgotten deletes. */
static int mark_seen(csync *c, work *w, csync_error *err)
{
    cs_backend *b = c->backend;
    int rc = CSYNC_OK;

    for (size_t i = 0; w->snapshot.floor_ts && rc == CSYNC_OK && i < w->changes.count; i++) {
        const cs_item *item = &w->changes.items[i];

        if (item->table && item->status != CSYNC_REJECTED)
            rc = b->ops->snapshot_seen(b, item, w->snapshot.number, err);
    }
    return rc;
}

/* served[i] 1: the snapshot is of table i too. What it lacks of another table nobody has deleted. */
static int find_served(csync *c, const work *w, unsigned char *served, csync_error *err)
{
    const char *list = w->a->batch->tables;
    int rc = CSYNC_OK, has = 0;

    for (size_t i = 0; list && rc == CSYNC_OK && i < c->backend->table_count; i++) {
        rc = cs_text_list_has(list, c->backend->tables[i]->name, &has, err);
        served[i] = (unsigned char)has;
    }
    return rc;
}

static int delete_unseen_of(csync *c, work *w, const unsigned char *served, csync_error *err)
{
    int rc = CSYNC_OK;
    size_t found = UNSEEN_AT_ONCE;

    while (rc == CSYNC_OK && found == UNSEEN_AT_ONCE) {
        csync_batch *unseen = cs_batch_create();

        rc = unseen ? c->backend->ops->snapshot_unseen(c->backend, &w->snapshot, served,
                                                       UNSEEN_AT_ONCE, unseen, err)
                    : cs_fail_nomem(err);
        found = unseen ? unseen->count : 0;
        if (rc == CSYNC_OK && found)
            rc = cs_changes_delete(&w->changes, unseen, err);
        cs_batch_destroy(unseen);
    }
    return rc;
}

/* Old rows that a peer once had and that are not in the snapshot were deleted there. */
static int delete_unseen(csync *c, work *w, csync_error *err)
{
    unsigned char *served;
    int rc;

    if (!w->snapshot.floor_ts || !CS_RULE(UNSEEN))
        return CSYNC_OK;
    served = cs_calloc(c->backend->table_count + 1, 1);
    if (!served)
        return cs_fail_nomem(err);
    rc = cs_known_version(c, &w->peer.pushed, &w->snapshot.known, err);
    if (rc == CSYNC_OK)
        rc = find_served(c, w, served, err);
    if (rc == CSYNC_OK)
        rc = delete_unseen_of(c, w, served, err);
    cs_free(served);
    return rc;
}

static int begin_snapshot(csync *c, work *w, csync_error *err)
{
    cs_backend *b = c->backend;
    int rc = CSYNC_OK;

    if (!is_snapshot(w))
        return CSYNC_OK;
    if (w->snapshot.floor_ts) /* what is written from now on is newer than what the peer has forgotten */
        rc = b->ops->raise_clock(b, w->snapshot.floor_ts + 1, err);
    return rc == CSYNC_OK && w->snapshot.number < 0
               ? b->ops->snapshot_put(b, w->peer.id, &w->snapshot, err)
               : rc;
}

static int go_on_snapshot(csync *c, work *w, csync_error *err)
{
    cs_snapshot *s = &w->snapshot;
    int rc;

    if (!is_snapshot(w))
        return CSYNC_OK;
    rc = mark_seen(c, w, err);
    if (rc == CSYNC_OK && !w->a->batch->has_more) {
        rc = delete_unseen(c, w, err);
        if (rc == CSYNC_OK)
            rc = cs_heard_inherit(c, w->a->batch, s->at.version, err);
        s->number = 0;
    }
    cs_buf_clear(&s->cursor);
    cs_buf_puts(&s->cursor, w->a->batch->cursor ? w->a->batch->cursor : "");
    if (rc == CSYNC_OK)
        rc = cs_buf_check(&s->cursor, err);
    return rc == CSYNC_OK ? c->backend->ops->snapshot_put(c->backend, w->peer.id, s, err) : rc;
}

/* ---- the answer ---- */

static int add_outcome(csync *c, work *w, const cs_item *item, csync_error *err)
{
    csync_batch *winner = NULL;
    cs_buf reason = {0};
    int rc = CSYNC_OK;

    if (item->status == CSYNC_PARKED || item->status == CSYNC_REJECTED)
        cs_buf_printf(&reason, "%s: %s", item->reason, item->message);
    if (cs_buf_check(&reason, err) != CSYNC_OK)
        return CSYNC_ENOMEM;
    if ((item->status == CSYNC_LOST || item->status == CSYNC_CONFLICT) && item->table) {
        winner = cs_batch_create();
        rc = winner ? c->backend->ops->head_change(c->backend, item, winner, err)
                    : cs_fail_nomem(err);
    }
    if (rc == CSYNC_OK)
        rc = cs_outcome_add(w->outcome, item->status, reason.data, cs_batch_get(winner, 0), err);
    cs_buf_free(&reason);
    cs_batch_destroy(winner);
    return rc;
}

static int fill_outcome(csync *c, work *w, csync_error *err)
{
    int rc;

    if (!w->a->outcome)
        return CSYNC_OK;
    w->outcome = cs_outcome_create();
    rc = w->outcome ? cs_outcome_stand(w->outcome, &w->peer.pulled, err) : cs_fail_nomem(err);
    for (size_t i = 0; !w->a->dropped && rc == CSYNC_OK && i < w->changes.count; i++)
        rc = add_outcome(c, w, &w->changes.items[i], err);
    return rc;
}

/* The push's idempotency key and what it is about: whoever has but one key for all pushes must not lose any. */
static int put_key(const csync_batch *batch, cs_buf *out, csync_error *err)
{
    char hex[CSYNC_HASH_SIZE];
    int rc = cs_batch_hash(batch, hex, err);

    cs_buf_puts(out, batch->key);
    cs_buf_putc(out, ' ');
    cs_buf_puts(out, hex);
    return rc == CSYNC_OK ? cs_buf_check(out, err) : rc;
}

/* A push that comes again because its answer was lost gets the answer, also when it was not the last word. */
static int repeat_answer(csync *c, work *w, csync_error *err)
{
    cs_backend *b = c->backend;
    cs_buf reply = {0}, key = {0};
    int rc = CSYNC_OK;

    if (w->a->pulling || !w->a->batch->key || !w->peer.id)
        return CSYNC_OK;
    rc = put_key(w->a->batch, &key, err);
    if (rc == CSYNC_OK)
        rc = b->ops->reply_get(b, w->peer.id, key.data, &reply, &w->repeated, err);
    if (rc == CSYNC_OK && w->repeated && w->a->outcome)
        rc = cs_outcome_read(&w->outcome, reply.data, reply.len, err);
    cs_buf_free(&key);
    cs_buf_free(&reply);
    return rc;
}

static int keep_answer(csync *c, work *w, csync_error *err)
{
    cs_buf reply = {0}, key = {0};
    int rc;

    if (w->a->pulling || !w->a->batch->key || !w->outcome)
        return CSYNC_OK;
    cs_outcome_write(&reply, w->outcome);
    rc = cs_buf_check(&reply, err);
    if (rc == CSYNC_OK)
        rc = put_key(w->a->batch, &key, err);
    if (rc == CSYNC_OK)
        rc = c->backend->ops->reply_put(c->backend, w->peer.id, key.data, reply.data, err);
    cs_buf_free(&key);
    cs_buf_free(&reply);
    return rc;
}

/* ---- the transaction ---- */

/* 1: the batch is to be applied. */
static int receive(csync *c, work *w, csync_error *err)
{
    cs_backend *b = c->backend;
    int rc = b->ops->settle(b, err);

    if (rc == CSYNC_OK)
        rc = b->ops->peer_get(b, w->a->peer, &w->peer, err);
    if (rc == CSYNC_OK)
        rc = repeat_answer(c, w, err);
    if (rc != CSYNC_OK || w->repeated)
        return rc;
    rc = check_position(c, w, err);
    if (rc == CSYNC_OK && !w->a->dropped)
        rc = check_fresh(c, w, err);
    if (rc == CSYNC_OK && (!w->a->dropped || w->stale))
        rc = take_word(c, w, err);
    if (rc == CSYNC_OK && w->stale && w->peer.id)
        rc = store_peer(c, w, err);
    return rc != CSYNC_OK ? rc : !w->a->dropped;
}

static int enter_changes(csync *c, work *w, csync_error *err)
{
    cs_changes *changes = &w->changes;

    changes->replica = c;
    changes->batch = w->a->batch;
    changes->options = w->a->options;
    changes->peer = w->a->peer ? &w->peer : NULL;
    changes->pulling = w->a->pulling;
    changes->more = w->a->pulling && w->a->batch->has_more;
    changes->tick = w->a->tick;
    changes->ctx = w->a->ctx;
    return cs_changes_enter(changes, err);
}

/* Nothing was written because of it, and no clock was moved. */
static int is_known(const cs_item *item)
{
    if (item->status == CSYNC_CONFLICT)
        return item->head.found && item->head.stamp.ts >= item->change->ts;
    return (item->status == CSYNC_DUPLICATE || item->status == CSYNC_LOST) && !item->forgotten;
}

/* Whoever may push his own changes alone brings others' in good faith: the rows that answers to his pushes gave him. */
static int check_authors(const work *w, csync_error *err)
{
    const char *only = w->a->options->only_origin;

    for (size_t i = 0; only && i < w->changes.count; i++) {
        const cs_item *item = &w->changes.items[i];

        if (strcmp(item->change->pub.origin, only) != 0 && !is_known(item))
            return cs_fail(err, CSYNC_EAUTH, "a change of %.100s may not be pushed by %.100s",
                           item->change->pub.origin, only);
    }
    return CSYNC_OK;
}

/* What must not be: a crash after this would lose the batch. */
static int position_first(csync *c, work *w, csync_error *err)
{
    cs_backend *b = c->backend;
    int rc;

    move_position(w);
    rc = w->a->peer ? store_peer(c, w, err) : CSYNC_OK;
    if (rc == CSYNC_OK)
        rc = b->ops->commit(b, err);
    return rc == CSYNC_OK ? b->ops->begin(b, 1, err) : rc;
}

static int apply_changes(csync *c, work *w, csync_error *err)
{
    cs_backend *b = c->backend;
    int rc = CS_RULE(SAME_TX) ? CSYNC_OK : position_first(c, w, err);

    if (rc == CSYNC_OK)
        rc = b->ops->suppress(b, 1, err);
    if (rc == CSYNC_OK)
        rc = b->ops->fold(b, err);
    if (rc == CSYNC_OK)
        rc = settle_relay(c, w, err);
    if (rc == CSYNC_OK)
        rc = settle_peer(c, w, err);
    if (rc == CSYNC_OK)
        rc = begin_snapshot(c, w, err);
    if (rc == CSYNC_OK)
        rc = enter_changes(c, w, err);
    if (rc == CSYNC_OK)
        rc = check_authors(w, err);
    if (rc == CSYNC_OK)
        rc = go_on_snapshot(c, w, err);
    if (rc == CSYNC_OK)
        rc = b->ops->parked_count(b, &w->changes.result.parked, err);
    if (rc == CSYNC_OK)
        move_position(w);
    w->peer.unheard &= w->a->batch->has_more;
    if (rc == CSYNC_OK && w->a->peer)
        rc = store_peer(c, w, err);
    if (rc == CSYNC_OK)
        rc = fill_outcome(c, w, err);
    if (rc == CSYNC_OK && w->a->peer)
        rc = keep_answer(c, w, err);
    return rc == CSYNC_OK ? b->ops->suppress(b, 0, err) : rc;
}

static int apply_in_transaction(csync *c, void *ctx, csync_error *err)
{
    work *w = ctx;
    int rc = 1;

    if (w->a->peer)
        rc = receive(c, w, err);
    if (rc == 1)
        rc = apply_changes(c, w, err);
    else if (rc == CSYNC_OK && !w->repeated)
        rc = fill_outcome(c, w, err);
    w->a->position = w->peer.pulled;
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
    to->resyncs += from->resyncs;
    if (to->ahead_ms < from->ahead_ms)
        to->ahead_ms = from->ahead_ms;
}

int cs_apply_batch(csync *c, cs_apply *a, csync_error *err)
{
    work w = {.a = a};
    int rc = check_tables(a, err);

    a->dropped = 0;
    if (rc == CSYNC_OK)
        rc = check_hash(a->batch, err);
    if (rc == CSYNC_OK)
        rc = cs_replica_write(c, apply_in_transaction, &w, err);
    if (rc == CSYNC_OK && !a->dropped && !w.repeated)
        cs_result_add(a->result, &w.changes.result);
    if (rc == CSYNC_OK && a->outcome) {
        *a->outcome = w.outcome;
        w.outcome = NULL;
    }
    cs_outcome_destroy(w.outcome);
    cs_changes_free(&w.changes);
    cs_buf_free(&w.snapshot.cursor);
    return rc;
}
