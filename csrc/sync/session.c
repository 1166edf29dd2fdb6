/* session.c - pull, then push, batch by batch. Positions are committed with the data, so a session can be
 * dropped at any point and begun again.
 *
 * Where the peer's log does not lead on from our position: push what is pending, so that the peer has it, then
 * merge a snapshot of the peer's, then go on from there. */
#include "sync/session.h"

#include <string.h>

#include "base/mem.h"
#include "base/rules.h"
#include "model/outcome.h"
#include "sync/apply.h"
#include "sync/page.h"

enum phase { PULLING, SNAPSHOT, PUSHING, DONE };

/* An empty batch moves the peer's position past entries that it need not see; it is worth a send only when
 * there are many. */
#define WORTH_A_SEND 1000
/* How often a page or push may miss the position before that is the peer's fault. */
#define MAX_MISSES 16
/* Changes that a page may hold. */
#define MAX_PAGE 10000
/* How often a session may begin a snapshot, or stamp its changes again. */
#define MAX_DETOURS 3

struct csync_session {
    csync *replica;
    char *peer;
    csync_sync_options options;
    enum phase phase;
    int asked; /* a step is out that has not been answered */
    csync_fetch fetch; /* its texts are in the two below */
    cs_position position;
    cs_snapshot snapshot;
    cs_push push; /* its batch is that of a SEND */
    int resyncing; /* the pending changes are pushed first, then comes the snapshot */
    int restart; /* the next snapshot begins anew */
    int misses, resyncs, restamps;
    csync_result result;
    int64_t repaired; /* the replica's count when the session began */
    int64_t done, done_bytes; /* changes of complete batches in this phase */
    const csync_batch *page; /* while it is applied */
    csync_progress progress;
};

static void start_phase(csync_session *s, enum phase phase)
{
    s->phase = phase;
    s->misses = 0;
    s->done = s->done_bytes = 0;
    s->progress.phase = phase == PUSHING ? CSYNC_PUSHING : CSYNC_PULLING;
    s->progress.changes = s->progress.bytes = s->progress.total = 0;
}

int cs_session_create(csync_session **out, csync *c, const char *peer,
                      const csync_sync_options *options, csync_error *err)
{
    csync_session *s;
    int rc = cs_sync_options_check(options, err);

    if (rc == CSYNC_OK && options->table_count)
        rc = cs_fail(err, CSYNC_EUNSUPPORTED, "tables are for csync_apply; a sync is of every table");
    if (rc == CSYNC_OK)
        rc = cs_peer_check(peer, err);
    if (rc == CSYNC_OK && strcmp(peer, c->backend->origin) == 0)
        rc = cs_fail(err, CSYNC_EINVAL,
                     "a replica cannot sync with itself; a copied file is the same replica");
    if (rc != CSYNC_OK)
        return rc;
    s = cs_calloc(1, sizeof *s);
    if (!s || !(s->peer = cs_strdup(peer))) {
        cs_free(s);
        return cs_fail_nomem(err);
    }
    s->options = *options;
    s->replica = c;
    s->push.peer = s->peer;
    s->push.options = &s->options;
    s->repaired = c->repaired;
    s->result.struct_size = sizeof s->result;
    s->progress.struct_size = sizeof s->progress;
    start_phase(s, options->direction == CSYNC_PUSH ? PUSHING : PULLING);
    cs_replica_retain(c);
    *out = s;
    return CSYNC_OK;
}

csync *cs_session_replica(const csync_session *s)
{
    return s->replica;
}

csync_result cs_session_result(const csync_session *s)
{
    csync_result result = s->result;

    result.repaired = s->replica->repaired - s->repaired;
    return result;
}

void cs_session_destroy(csync_session *s)
{
    if (!s)
        return;
    cs_batch_destroy(s->push.batch);
    cs_buf_free(&s->push.cursor);
    cs_buf_free(&s->push.next);
    cs_buf_free(&s->snapshot.cursor);
    cs_replica_release(s->replica);
    cs_free(s->peer);
    cs_free(s);
}

/* ---- progress ---- */

static int report(csync_session *s, csync_error *err)
{
    int rc = cs_replica_cancelled(s->replica, err);

    if (rc != CSYNC_OK || !s->options.on_progress)
        return rc;
    if (s->options.on_progress(s->options.user_data, &s->progress) != CSYNC_OK)
        return cs_fail(err, CSYNC_ECALLBACK, "the progress callback stopped the sync");
    return CSYNC_OK;
}

/* Within a batch, about where it is. */
static int tick(void *ctx, int64_t changes, csync_error *err)
{
    csync_session *s = ctx;

    if (changes > (int64_t)s->page->count)
        changes = (int64_t)s->page->count; /* decisions come on top */
    s->progress.changes = s->done + changes;
    s->progress.bytes = s->done_bytes + (int64_t)s->page->bytes * changes / (int64_t)s->page->count;
    return report(s, err);
}

static int advance(csync_session *s, const csync_batch *batch, csync_error *err)
{
    s->progress.changes = s->done += (int64_t)batch->count;
    s->progress.bytes = s->done_bytes += (int64_t)batch->bytes;
    return report(s, err);
}

static int missed(csync_session *s, csync_error *err)
{
    if (++s->misses <= MAX_MISSES)
        return CSYNC_OK;
    return cs_fail(err, CSYNC_EPROTO,
                   "peer \"%.100s\" does not answer from the position that was asked for", s->peer);
}

/* ---- pull ---- */

/* A snapshot that was begun is gone on with, also by another process. */
static int read_position(csync *c, void *ctx, csync_error *err)
{
    csync_session *s = ctx;
    cs_peer peer;
    int rc = c->backend->ops->peer_get(c->backend, s->peer, &peer, err);

    s->position = peer.pulled;
    cs_buf_clear(&s->snapshot.cursor);
    s->snapshot.number = 0;
    if (rc == CSYNC_OK && peer.id)
        rc = c->backend->ops->snapshot_get(c->backend, peer.id, &s->snapshot, err);
    return rc;
}

static void ask_log(csync_session *s)
{
    s->fetch.since = s->position.version;
    s->fetch.epoch = cs_position_epoch(&s->position);
    s->fetch.cursor = NULL;
}

/* Whoever reads a snapshot has nothing of the log that it could say. */
static void ask_snapshot(csync_session *s)
{
    s->fetch.since = 0;
    s->fetch.epoch = NULL;
    s->fetch.cursor = s->snapshot.number ? s->snapshot.cursor.data : "";
}

static int forget_snapshot(csync *c, void *ctx, csync_error *err)
{
    csync_session *s = ctx;
    cs_snapshot none = {.number = 0};
    cs_peer peer;
    int rc = c->backend->ops->peer_get(c->backend, s->peer, &peer, err);

    s->restart = 0;
    return rc == CSYNC_OK && peer.id ? c->backend->ops->snapshot_put(c->backend, peer.id, &none, err)
                                     : rc;
}

static int prepare_fetch(csync_session *s, csync_error *err)
{
    int rc = s->restart ? cs_replica_write(s->replica, forget_snapshot, s, err) : CSYNC_OK;

    if (rc == CSYNC_OK)
        rc = cs_replica_read(s->replica, read_position, s, err);
    if (rc == CSYNC_OK && s->phase == PULLING && s->snapshot.number)
        start_phase(s, SNAPSHOT);
    return rc;
}

static int ask_page(csync_session *s, csync_step *step, csync_error *err)
{
    int rc = s->asked ? CSYNC_OK : prepare_fetch(s, err);

    if (rc != CSYNC_OK)
        return rc;
    s->fetch.struct_size = sizeof s->fetch;
    s->fetch.limit = cs_batch_size(&s->options);
    s->fetch.max_bytes = cs_batch_bytes(&s->options);
    s->fetch.origin = s->replica->backend->origin;
    if (s->phase == SNAPSHOT)
        ask_snapshot(s);
    else
        ask_log(s);
    s->asked = 1;
    step->kind = s->phase == SNAPSHOT ? CSYNC_STEP_SNAPSHOT : CSYNC_STEP_FETCH;
    step->fetch = s->fetch;
    return CSYNC_OK;
}

/* The log goes on behind the snapshot. */
static void end_pull(csync_session *s)
{
    if (s->phase == SNAPSHOT)
        start_phase(s, PULLING);
    else
        start_phase(s, s->options.direction == CSYNC_PULL ? DONE : PUSHING);
}

/* A page was asked for, is another replica's, and is no larger than a page may be. */
static int check_page(const csync_session *s, const csync_batch *page, csync_error *err)
{
    if ((s->phase != PULLING && s->phase != SNAPSHOT) || !s->asked)
        return cs_fail(err, CSYNC_EMISUSE, "the session has not asked for a page");
    if (page->origin && strcmp(page->origin, s->replica->backend->origin) == 0)
        return cs_fail(err, CSYNC_EINVAL, "peer \"%.100s\" is this very replica", s->peer);
    if (page->count > MAX_PAGE) /* an old answer may be larger than what is asked for now */
        return cs_fail(err, CSYNC_EPROTO,
                       "peer \"%.100s\" sent %zu changes, more than the %d of a page", s->peer,
                       page->count, MAX_PAGE);
    return CSYNC_OK;
}

static int is_stuck(const csync_session *s, const csync_batch *page, const cs_apply *a)
{
    if (s->phase == SNAPSHOT)
        return page->has_more && strcmp(page->cursor ? page->cursor : "", s->fetch.cursor) == 0;
    return page->has_more && a->position.version <= s->fetch.since;
}

static int after_page(csync_session *s, const csync_batch *page, const cs_apply *a, csync_error *err)
{
    int more = page->has_info ? page->has_more : page->count >= (size_t)s->fetch.limit;
    int rc;

    if (is_stuck(s, page, a))
        return cs_fail(err, CSYNC_EPROTO,
                       "peer \"%.100s\" says there is more after version %lld but sent nothing",
                       s->peer, (long long)a->position.version);
    if (s->phase == SNAPSHOT && !more)
        s->result.resyncs++;
    rc = advance(s, page, err);
    if (rc == CSYNC_OK && !more)
        end_pull(s);
    return rc;
}

int cs_session_page(csync_session *s, const csync_batch *page, csync_error *err)
{
    cs_apply a = {.batch = page,
                  .peer = s->peer,
                  .pulling = 1,
                  .options = &s->options,
                  .tick = tick,
                  .ctx = s,
                  .result = &s->result};
    int rc = check_page(s, page, err);

    if (rc != CSYNC_OK)
        return rc;
    s->page = page;
    if ((page->from_cursor != NULL) != (s->phase == SNAPSHOT)) /* of the other kind: asked for before */
        a.dropped = 1;
    else
        rc = cs_apply_batch(s->replica, &a, err);
    if (rc != CSYNC_OK)
        return rc;
    s->asked = 0;
    return a.dropped ? missed(s, err) : after_page(s, page, &a, err);
}

/* ---- push ---- */

static int worth_sending(const csync_batch *batch)
{
    return batch->count > 0 || batch->has_more ||
           batch->to_version - batch->from_version >= WORTH_A_SEND;
}

static void end_push(csync_session *s)
{
    if (!s->resyncing) {
        start_phase(s, DONE);
        return;
    }
    s->resyncing = 0;
    start_phase(s, SNAPSHOT);
}

/* A session that would push but has nothing to: what is deleted before the next one must not be forgotten before it. */
static int count_peer(csync *c, void *ctx, csync_error *err)
{
    const csync_session *s = ctx;
    cs_peer peer;
    int rc = c->backend->ops->peer_get(c->backend, s->peer, &peer, err);

    return rc == CSYNC_OK
               ? c->backend->ops->client_put(c->backend, s->peer, peer.pushed.version, 1, err)
               : rc;
}

/* A peer that is given every row will have the log, but not have heard of the deletes that are forgotten. What it has is
 * read again from the beginning: it may have such a row, from where its log was read already. This is kept before the
 * first batch goes out: its answer may never come. */
static int note_unheard(csync *c, void *ctx, csync_error *err)
{
    const csync_session *s = ctx;
    cs_backend *b = c->backend;
    cs_floors floors;
    cs_peer peer;
    int rc = b->ops->floors(b, &floors, err);

    if (rc != CSYNC_OK || !floors.tombstones)
        return rc;
    rc = b->ops->peer_get(b, s->peer, &peer, err);
    peer.unheard = 1;
    peer.pulled = cs_position_make(0, NULL);
    return rc == CSYNC_OK ? b->ops->peer_put(b, s->peer, &peer, err) : rc;
}

static void drop_batch(csync_session *s)
{
    cs_batch_destroy(s->push.batch);
    s->push.batch = NULL;
}

static void begin_heads(csync_session *s)
{
    cs_buf_clear(&s->push.cursor);
    cs_buf_check(&s->push.cursor, NULL);
}

static int prepare_push(csync_session *s, csync_error *err)
{
    int rc = cs_page_push(s->replica, &s->push, err);
    csync_batch *batch;

    if (rc == CSYNC_EFULLRESYNC &&
        s->push.cursor.len) { /* the tables have changed since the last batch */
        begin_heads(s);
        cs_error_clear(err);
        rc = cs_page_push(s->replica, &s->push, err);
    }
    if (rc != CSYNC_OK)
        return rc;
    batch = s->push.batch;
    if (s->push.whole && !s->push.cursor.len)
        rc = cs_replica_write(s->replica, note_unheard, s, err);
    if (rc != CSYNC_OK)
        return rc;
    if (s->push.whole)
        return cs_batch_text(batch, s->push.next.data ? s->push.next.data : "", &batch->cursor, err);
    if (!s->progress.total)
        s->progress.total = s->push.top - batch->from_version;
    /* the log may end in entries that are passed over: the position covers them */
    if (!batch->has_more)
        batch->to_version = s->push.top;
    if (worth_sending(batch))
        return CSYNC_OK;
    drop_batch(s);
    end_push(s);
    return s->push.counted ? CSYNC_OK : cs_replica_write(s->replica, count_peer, s, err);
}

static int offer_batch(csync_session *s, csync_step *step, csync_error *err)
{
    int rc = s->push.batch ? CSYNC_OK : prepare_push(s, err);

    if (rc != CSYNC_OK || s->phase != PUSHING)
        return rc;
    s->asked = 1;
    step->kind = CSYNC_STEP_SEND;
    step->batch = s->push.batch;
    return CSYNC_OK;
}

/* All heads are pushed: the peer's position moves with the last batch. */
static int after_whole(csync_session *s, const cs_answer *a, csync_error *err)
{
    const csync_batch *batch = s->push.batch;
    cs_position to = cs_batch_to(batch), from = cs_batch_from(batch);

    if (batch->has_more && cs_position_same(&a->position, &from)) {
        cs_buf swap = s->push.cursor;

        s->push.cursor = s->push.next;
        s->push.next = swap;
        return advance(s, batch, err);
    }
    begin_heads(s);
    return cs_position_same(&a->position, &to) ? advance(s, batch, err) : missed(s, err);
}

static int after_outcome(csync_session *s, const cs_answer *a, csync_error *err)
{
    const csync_batch *batch = s->push.batch;
    int is_last = a->taken && !batch->has_more && a->position.version == batch->to_version;
    int rc;

    if (!a->taken) {
        begin_heads(s); /* the peer may be another than at the first batch */
        return missed(s, err);
    }
    if (s->push.whole)
        return after_whole(s, a, err);
    if (a->conflicts && a->position.version > batch->from_version)
        s->misses = 0; /* what is decided by now is not sent again: that ends */
    rc = a->position.version >= batch->to_version ? advance(s, batch, err) : missed(s, err);
    if (rc == CSYNC_OK && is_last)
        end_push(s);
    return rc;
}

int cs_session_outcome(csync_session *s, const csync_outcome *outcome, csync_error *err)
{
    cs_answer a = {.batch = s->push.batch,
                   .outcome = outcome,
                   .peer = s->peer,
                   .options = &s->options,
                   .result = &s->result};
    int rc;

    if (s->phase != PUSHING || !s->asked)
        return cs_fail(err, CSYNC_EMISUSE, "the session has not sent a batch");
    rc = cs_apply_answer(s->replica, &a, err);
    if (rc != CSYNC_OK)
        return rc;
    s->asked = 0;
    rc = after_outcome(s, &a, err);
    drop_batch(s);
    return rc;
}

/* ---- what the peer refused ---- */

static int begin_resync(csync_session *s)
{
    if (s->options.full_resync < 0 || ++s->resyncs > MAX_DETOURS)
        return 0;
    if (s->phase == PULLING && s->options.direction == CSYNC_BOTH) {
        s->resyncing = 1;
        start_phase(s, PUSHING);
    } else {
        s->restart = s->phase == SNAPSHOT;
        start_phase(s, SNAPSHOT);
    }
    return 1;
}

/* Who says where its log begins has trimmed it and lost nothing. */
static int may_have_lost(const csync_error *why)
{
    return why->code == CSYNC_EFULLRESYNC && !why->expected[0] && CS_RULE(OFFER_AGAIN);
}

/* A peer that was restored from a backup may lack even what came from it: that is logged anew and pushed like
 * everything else, also where the peer's position in this log has passed it. */
static int offer_again(csync *c, void *ctx, csync_error *err)
{
    const csync_session *s = ctx;
    cs_backend *b = c->backend;
    cs_peer peer;
    int rc = b->ops->peer_get(b, s->peer, &peer, err);

    if (rc == CSYNC_OK && peer.id)
        rc = b->ops->forget_via(b, peer.id, err);
    if (rc != CSYNC_OK)
        return rc;
    return b->relay ? b->ops->complete_log(b, 1, err) : b->ops->start_relay(b, err);
}

typedef struct restamping {
    int64_t ts, count;
} restamping;

static int stamp_again(csync *c, void *ctx, csync_error *err)
{
    restamping *r = ctx;
    cs_backend *b = c->backend;
    int rc = b->ops->suppress(b, 1, err);

    if (rc == CSYNC_OK)
        rc = b->ops->fold(b, err);
    if (rc == CSYNC_OK)
        rc = b->ops->stamp_again(b, r->ts, &r->count, err);
    return rc == CSYNC_OK ? b->ops->suppress(b, 0, err) : rc;
}

/* *done 0: there was nothing to stamp again, or it has been often enough. */
static int correct_clock(csync_session *s, const csync_error *why, int *done, csync_error *err)
{
    restamping r = {0, 0};
    int rc;

    *done = 0;
    if (++s->restamps > MAX_DETOURS || cs_time_parse(why->expected, strlen(why->expected), &r.ts) != 0)
        return CSYNC_OK;
    rc = cs_replica_write(s->replica, stamp_again, &r, err);
    *done = r.count > 0;
    drop_batch(s);
    return rc;
}

int cs_session_refused(csync_session *s, const csync_error *why, csync_error *err)
{
    int rc = CSYNC_OK, goes_on = 0;

    if (!s->asked)
        return cs_fail(err, CSYNC_EMISUSE, "the session has not asked for anything");
    if (why->code == CSYNC_EFULLRESYNC && s->phase != PUSHING)
        goes_on = begin_resync(s);
    else if (why->code == CSYNC_ECLOCK && s->phase == PUSHING)
        rc = correct_clock(s, why, &goes_on, err);
    if (rc == CSYNC_OK && goes_on && may_have_lost(why))
        rc = cs_replica_write(s->replica, offer_again, s, err);
    if (rc != CSYNC_OK)
        return rc;
    if (goes_on) {
        s->asked = 0;
        return CSYNC_OK;
    }
    cs_error_copy(err, why);
    return why->code;
}

int cs_session_next(csync_session *s, csync_step *step, csync_error *err)
{
    int rc = CSYNC_OK;

    step->kind = CSYNC_STEP_DONE;
    step->batch = NULL;
    if (s->phase == PUSHING)
        rc = offer_batch(s, step, err);
    if (rc == CSYNC_OK && (s->phase == PULLING || s->phase == SNAPSHOT))
        rc = ask_page(s, step, err);
    return rc;
}
