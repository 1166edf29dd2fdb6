/* answer.c - what a peer says of the changes that were pushed to it. */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "model/outcome.h"
#include "sync/apply.h"
#include "sync/changes.h"

typedef struct answering {
    cs_answer *a;
    cs_peer peer;
    csync_result result;
    csync_batch *rows; /* the peer's rows that this replica has to decide on */
} answering;

/* The peer's row beat ours: it is taken at once, and who lost is kept. No position covers it, so nothing would tell
 * that the peer has lost it in a restore: it is logged, and offered to all, also to the peer. */
static int take_winner(csync *c, answering *w, cs_table *t, const csync_change *lost,
                       const cs_change *winner, csync_error *err)
{
    cs_backend *b = c->backend;
    cs_item item = {.change = winner, .table = t};
    cs_merge how = {.agreed = 1, .relay = 1, .passes = 3};
    cs_conflict conflict = {0,        NULL, cs_strategy_name(CSYNC_LAST_WRITE_WINS),
                            "remote", lost, &winner->pub};
    /* before the merge: what a row keeps in a column that the winner lacks is a change that beats it */
    int rc = b->ops->raise_clock(b, winner->ts + 1, err);

    if (rc == CSYNC_OK)
        rc = b->ops->merge(b, &item, 1, &how, err);
    if (rc != CSYNC_OK)
        return rc;
    if (item.status == CSYNC_LOST) /* edited here meanwhile; that edit saw neither */
        return b->ops->agree(b, t, &winner->pub, err);
    if (item.status != CSYNC_APPLIED && item.status != CSYNC_PARKED)
        return CSYNC_OK;
    w->result.conflicts++;
    return b->ops->conflict_add(b, &conflict, err);
}

static int take_entry(csync *c, answering *w, size_t i, csync_error *err)
{
    const csync_outcome *o = w->a->outcome;
    const csync_change *change = &w->a->batch->items[i].pub;
    const cs_outcome_item *entry = o ? &o->items[i] : NULL;
    cs_table *t = cs_backend_table(c->backend, change->table, strlen(change->table));

    switch (entry ? entry->status : CSYNC_APPLIED) {
    case CSYNC_CONFLICT:
        return entry->winner >= 0 ? cs_batch_append(w->rows, &o->winners->items[entry->winner].pub,
                                                    o->winners->items[entry->winner].ts, err)
                                  : CSYNC_OK;
    case CSYNC_LOST:
        w->result.lost++;
        return t && entry->winner >= 0
                   ? take_winner(c, w, t, change, &o->winners->items[entry->winner], err)
                   : CSYNC_OK;
    case CSYNC_REJECTED:
        w->result.rejected++;
        cs_log(CSYNC_LOG_WARNING, "the peer refused a change to table \"%s\": %s", change->table,
               entry->reason);
        return CSYNC_OK;
    case CSYNC_DUPLICATE:
        w->result.duplicates++;
        break;
    default:
        w->result.pushed++;
    }
    return t ? c->backend->ops->agree(c->backend, t, change, err) : CSYNC_OK;
}

static int check_answer(const cs_answer *a, csync_error *err)
{
    const csync_outcome *o = a->outcome;

    if (!o || o->count == 0)
        return CSYNC_OK;
    if (o->count != a->batch->count)
        return cs_fail(err, CSYNC_EPROTO, "the peer answered %zu outcomes for %zu changes",
                       o->count, a->batch->count);
    for (size_t i = 0; i < o->count; i++) {
        const csync_change *sent = &a->batch->items[i].pub, *winner;
        int same = 0, rc;

        if (o->items[i].winner < 0)
            continue;
        if (o->winners->items[o->items[i].winner].ts >= CS_STAMP_END)
            return cs_fail(err, CSYNC_EPROTO,
                           "the peer answered row %.100s of table \"%s\" with a timestamp that "
                           "leaves no room for later edits",
                           sent->pk, sent->table);
        winner = &o->winners->items[o->items[i].winner].pub;
        rc = cs_change_same_row(winner, sent, &same, err);
        if (rc == CSYNC_OK && !same)
            rc = cs_fail(err, CSYNC_EPROTO,
                         "the peer answered row %.100s of table \"%s\" for row %.100s of \"%s\"",
                         winner->pk, winner->table, sent->pk, sent->table);
        if (rc != CSYNC_OK)
            return rc;
    }
    return CSYNC_OK;
}

static int has_conflict(const csync_outcome *o)
{
    for (size_t i = 0; o && i < o->count; i++)
        if (o->items[i].status == CSYNC_CONFLICT)
            return 1;
    return 0;
}

/* Of a log that it does not say which it was the peer can have no more than there is; and what it took moves
 * it on. (Of another log's, before this replica or the peer was restored, it may say anything.) */
static int check_claim(csync *c, const answering *w, csync_error *err)
{
    const csync_batch *batch = w->a->batch;
    cs_verdict verdict = CS_GOOD;
    int64_t top = 0, claim = w->a->position.version;
    int rc = c->backend->ops->log_top(c->backend, &top, err);

    if (rc == CSYNC_OK)
        rc = c->backend->ops->judge(c->backend, &w->a->position, &verdict, err);
    if (rc != CSYNC_OK || !w->a->outcome)
        return rc;
    if (top < batch->to_version)
        top = batch->to_version;
    if (w->a->position.epoch[0] ? verdict != CS_FALSE
                                : claim <= top && !(w->a->taken && batch->count && !batch->cursor &&
                                                    claim <= batch->from_version && !w->a->conflicts))
        return CSYNC_OK;
    return cs_fail(err, CSYNC_EPROTO,
                   "the peer answered position %lld to a push of versions %lld to %lld",
                   (long long)claim, (long long)batch->from_version, (long long)batch->to_version);
}

/* Where the peer's row was another than the change's base, this replica decides as if it had pulled it. */
static int decide(csync *c, answering *w, csync_error *err)
{
    cs_changes changes = {.replica = c,
                          .batch = w->rows,
                          .options = w->a->options,
                          .peer = &w->peer,
                          .pulling = 1,
                          .answering = 1};
    int rc = w->rows->count ? cs_changes_enter(&changes, err) : CSYNC_OK;

    if (rc == CSYNC_OK && w->rows->count) {
        cs_result_add(&w->result, &changes.result);
        w->result.batches--; /* they came with the answer */
    }
    cs_changes_free(&changes);
    return rc;
}

static int take_answer(csync *c, answering *w, csync_error *err)
{
    cs_backend *b = c->backend;
    int rc = b->ops->suppress(b, 1, err);

    if (rc == CSYNC_OK)
        rc = b->ops->fold(b, err);
    if (rc == CSYNC_OK && !w->peer.id)
        rc = b->ops->peer_put(b, w->a->peer, &w->peer, err);
    for (size_t i = 0; w->a->taken && rc == CSYNC_OK && i < w->a->batch->count; i++)
        rc = take_entry(c, w, i, err);
    if (rc == CSYNC_OK)
        rc = decide(c, w, err);
    w->peer.pushed = w->a->position;
    if (rc == CSYNC_OK)
        rc = b->ops->peer_put(b, w->a->peer, &w->peer, err);
    if (rc == CSYNC_OK && w->peer.pushed.version)
        rc = b->ops->client_put(b, w->a->peer, w->peer.pushed.version, 1, err);
    if (rc == CSYNC_OK)
        rc = b->ops->parked_count(b, &w->result.parked, err);
    return rc == CSYNC_OK ? b->ops->suppress(b, 0, err) : rc;
}

static int answer_in_transaction(csync *c, void *ctx, csync_error *err)
{
    answering *w = ctx;
    const csync_outcome *o = w->a->outcome;
    int rc = c->backend->ops->settle(c->backend, err);

    if (rc == CSYNC_OK)
        rc = c->backend->ops->peer_get(c->backend, w->a->peer, &w->peer, err);
    w->a->taken = !o || o->count == w->a->batch->count;
    w->a->conflicts = has_conflict(o);
    w->a->position = o ? cs_position_make(o->position, o->epoch) : cs_batch_to(w->a->batch);
    if (rc == CSYNC_OK)
        rc = check_claim(c, w, err);
    if (rc == CSYNC_OK)
        rc = take_answer(c, w, err);
    w->result.batches += w->a->taken;
    w->result.bytes += w->a->taken ? (int64_t)w->a->batch->bytes : 0;
    return rc;
}

int cs_apply_answer(csync *c, cs_answer *a, csync_error *err)
{
    answering w = {.a = a, .rows = cs_batch_create()};
    int rc = w.rows ? check_answer(a, err) : cs_fail_nomem(err);

    if (rc == CSYNC_OK)
        rc = cs_replica_write(c, answer_in_transaction, &w, err);
    if (rc == CSYNC_OK)
        cs_result_add(a->result, &w.result);
    cs_batch_destroy(w.rows);
    return rc;
}
