/* page.c - pages of this replica's log and of its snapshot: for whoever asks, and for a push. */
#include "sync/page.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/rules.h"
#include "base/uuid.h"
#include "codec/text_list.h"
#include "codec/wire.h"
#include "model/epoch.h"
#include "sync/apply.h"
#include "sync/heard.h"

/* A client that stays where it is is noted so often. */
#define SILENCE_MS 3600000

static int start_relay(csync *c, void *ctx, csync_error *err)
{
    (void)ctx;
    return c->backend->ops->start_relay(c->backend, err);
}

static int settle(csync *c, void *ctx, csync_error *err)
{
    (void)ctx;
    return c->backend->ops->settle(c->backend, err);
}

/* A batch read again after the log was completed starts afresh. */
static int renew(csync_batch **batch, csync_error *err)
{
    cs_batch_destroy(*batch);
    *batch = cs_batch_create();
    return *batch ? CSYNC_OK : cs_fail_nomem(err);
}

/* Runs `work` in a read transaction of a log that has an epoch of this handle. */
static int read_settled(csync *c, cs_work work, void *ctx, const int *settled, csync_error *err)
{
    int rc = cs_replica_read(c, work, ctx, err);

    while (rc == CSYNC_OK && !*settled) { /* another process may forget the epoch at once */
        rc = cs_replica_write(c, settle, NULL, err);
        if (rc == CSYNC_OK)
            rc = cs_replica_read(c, work, ctx, err);
    }
    return rc;
}

static int put_position(csync_batch *batch, const cs_position *from, const cs_position *to,
                        csync_error *err)
{
    int rc = cs_batch_text(batch, cs_position_epoch(from), &batch->from_epoch, err);

    batch->from_version = from->version;
    return rc == CSYNC_OK ? cs_batch_text(batch, cs_position_epoch(to), &batch->epoch, err) : rc;
}

static int put_peer(csync_batch *batch, const cs_position *peer, csync_error *err)
{
    batch->has_peer = 1;
    batch->peer_version = peer->version;
    return cs_batch_text(batch, cs_position_epoch(peer), &batch->peer_epoch, err);
}

static int finish(csync *c, csync_batch *batch, csync_error *err)
{
    int rc = cs_batch_text(batch, c->backend->origin, &batch->origin, err);

    return rc == CSYNC_OK ? cs_batch_hash(batch, batch->hash, err) : rc;
}

/* ---- serving ---- */

typedef struct serving {
    const csync_fetch *fetch;
    cs_page_request request;
    csync_batch *batch;
    cs_buf next;
    cs_peer peer; /* whoever asks, and for how long it was not heard of */
    cs_contact contact;
    int settled;
} serving;

/* What was read of every table has what may be read now. */
static int is_in_scope(const serving *s, const cs_position *position)
{
    uint32_t mark = cs_position_scope(position);

    return !mark || mark == cs_scope_mark(&s->request.scope);
}

/* Whether the log leads on from where the reader stands. */
static int check_position(csync *c, const serving *s, csync_error *err)
{
    cs_backend *b = c->backend;
    cs_position position = cs_position_make(s->fetch->since, s->fetch->epoch);
    cs_verdict verdict;
    cs_floors floors;
    int rc = b->ops->judge(b, &position, &verdict, err);

    if (rc == CSYNC_OK)
        rc = b->ops->floors(b, &floors, err);
    if (rc == CSYNC_OK && verdict == CS_GOOD && !is_in_scope(s, &position))
        return cs_backend_other_tables(b, position.version, err);
    if (rc != CSYNC_OK || verdict == CS_GOOD)
        return rc;
    if (verdict == CS_FALSE)
        return cs_fail(err, CSYNC_EINVAL, "version %lld with epoch \"%.64s\" is no position of a log",
                       (long long)s->fetch->since, s->fetch->epoch);
    if (verdict == CS_FORKED)
        return cs_fail(err, CSYNC_EFULLRESYNC,
                       "the log of replica %s never had version %lld as it was read: it was restored "
                       "from a backup; a full resync is needed",
                       b->origin, (long long)s->fetch->since);
    if (cs_error_writable(err)) {
        err->version = floors.log;
        snprintf(err->actual, sizeof err->actual, "%lld", (long long)s->fetch->since);
        snprintf(err->expected, sizeof err->expected, "%lld", (long long)floors.log);
    }
    return cs_fail(err, CSYNC_EFULLRESYNC,
                   "the log of replica %s begins after version %lld, which is beyond version %lld; "
                   "a full resync is needed",
                   b->origin, (long long)floors.log, (long long)s->fetch->since);
}

static int put_floor(csync *c, csync_batch *batch, csync_error *err)
{
    char text[CS_TIME_SIZE];
    cs_floors floors;
    int rc = c->backend->ops->floors(c->backend, &floors, err);

    if (rc != CSYNC_OK || !floors.tombstones)
        return rc;
    cs_time_format(floors.tombstone_ts, text);
    return cs_batch_text(batch, text, &batch->floor, err);
}

static int read_log(csync *c, serving *s, csync_error *err)
{
    cs_backend *b = c->backend;
    cs_position from = cs_position_make(s->fetch->since, s->fetch->epoch), to;
    int rc = check_position(c, s, err);

    if (rc == CSYNC_OK)
        rc = b->ops->page(b, &s->request, s->batch, err);
    if (rc == CSYNC_OK)
        rc = b->ops->position(b, &to, err);
    if (rc != CSYNC_OK)
        return rc;
    cs_position_set_scope(&to, cs_scope_mark(&s->request.scope));
    return put_position(s->batch, &from, &to, err);
}

/* Where the log no longer leads on from the snapshot's beginning its first pages may be of another database. */
static int check_beginning(csync *c, const serving *s, csync_error *err)
{
    cs_position begun = cs_batch_to(s->batch);
    cs_verdict verdict;
    int rc = c->backend->ops->judge(c->backend, &begun, &verdict, err);

    if (rc != CSYNC_OK || verdict == CS_GOOD || !*s->fetch->cursor)
        return rc;
    if (cs_error_writable(err))
        err->version = 0;
    return cs_fail(
        err, CSYNC_EFULLRESYNC,
        "the log of replica %s does not lead on from where the snapshot began; it begins anew",
        c->backend->origin);
}

static int put_tables(csync *c, const cs_scope *scope, csync_batch *batch, csync_error *err)
{
    cs_buf list = {0};
    int rc;

    for (size_t i = 0; i < c->backend->table_count; i++)
        if (cs_scope_has(scope, c->backend->tables[i]->name))
            cs_text_list_add(&list, c->backend->tables[i]->name);
    cs_buf_puts(&list, list.len ? "]" : "[]");
    rc = cs_buf_check(&list, err);
    if (rc == CSYNC_OK)
        rc = cs_batch_text(batch, list.data, &batch->tables, err);
    cs_buf_free(&list);
    return rc;
}

static int read_snapshot(csync *c, serving *s, csync_error *err)
{
    cs_backend *b = c->backend;
    int rc = b->ops->snapshot_page(b, &s->request, s->batch, &s->next, err);

    if (rc == CSYNC_OK)
        rc = check_beginning(c, s, err);
    if (rc == CSYNC_OK && !s->batch->has_more)
        rc = put_tables(c, &s->request.scope, s->batch, err);
    if (rc == CSYNC_OK)
        rc = cs_batch_text(s->batch, s->fetch->cursor, &s->batch->from_cursor, err);
    return rc == CSYNC_OK
               ? cs_batch_text(s->batch, s->next.data ? s->next.data : "", &s->batch->cursor, err)
               : rc;
}

static int read_page(csync *c, void *ctx, csync_error *err)
{
    serving *s = ctx;
    cs_backend *b = c->backend;
    int rc = b->ops->settled(b, &s->settled, err);

    if (rc != CSYNC_OK || !s->settled)
        return rc;
    rc = renew(&s->batch, err);
    if (rc == CSYNC_OK)
        rc = s->fetch->cursor ? read_snapshot(c, s, err) : read_log(c, s, err);
    if (rc == CSYNC_OK && s->fetch->origin)
        rc = b->ops->peer_get(b, s->fetch->origin, &s->peer, err);
    if (rc == CSYNC_OK && s->fetch->origin)
        rc = b->ops->client_get(b, s->fetch->origin, &s->contact, err);
    if (rc == CSYNC_OK && s->fetch->origin)
        rc = put_peer(s->batch, &s->peer.pulled, err);
    if (rc == CSYNC_OK)
        rc = cs_heard_say(c, s->batch, err);
    return rc == CSYNC_OK ? put_floor(c, s->batch, err) : rc;
}

/* What the asker has of this log is what it says now: it may have been restored from a backup. Whoever reads a
 * snapshot has nothing of it, but will need the epoch that the snapshot began in. */
static cs_position asked_from(const serving *s)
{
    return cs_position_make(s->fetch->since, s->fetch->cursor ? s->batch->epoch : s->fetch->epoch);
}

static int acknowledge(csync *c, void *ctx, csync_error *err)
{
    serving *s = ctx;
    cs_backend *b = c->backend;
    int rc = b->ops->peer_get(b, s->fetch->origin, &s->peer, err);

    s->peer.pushed = asked_from(s);
    if (rc == CSYNC_OK)
        rc = b->ops->peer_put(b, s->fetch->origin, &s->peer, err);
    return rc == CSYNC_OK ? b->ops->client_put(b, s->fetch->origin, s->fetch->since, 0, err) : rc;
}

/* The page is right whether or not it is noted who has read it; what is not noted is not forgotten. */
static void note_reader(csync *c, serving *s)
{
    cs_position now = asked_from(s);
    csync_error why = CSYNC_ERROR_INIT;

    if (!s->fetch->origin ||
        (cs_position_same(&now, &s->peer.pushed) && s->contact.silence_ms < SILENCE_MS))
        return;
    if (cs_replica_write_unchecked(c, acknowledge, s, &why) != CSYNC_OK)
        cs_log(CSYNC_LOG_INFO, "it could not be noted how far client %s is: %s", s->fetch->origin,
               why.message);
}

int cs_page_serve(csync *c, const csync_fetch *fetch, csync_batch **out, csync_error *err)
{
    csync_sync_options limits = {.batch_size = fetch->limit, .batch_bytes = fetch->max_bytes};
    serving s = {.fetch = fetch};
    int rc = c->backend->relay ? CSYNC_OK : cs_replica_write(c, start_relay, NULL, err);

    s.request.since = fetch->since;
    s.request.cursor = fetch->cursor;
    s.request.scope = (cs_scope){fetch->tables, fetch->table_count};
    s.request.limit = cs_batch_size(&limits);
    s.request.max_bytes = (size_t)cs_batch_bytes(&limits);
    if (rc == CSYNC_OK)
        rc = read_settled(c, read_page, &s, &s.settled, err);
    if (rc == CSYNC_OK)
        rc = finish(c, s.batch, err);
    if (rc == CSYNC_OK) {
        note_reader(c, &s);
        *out = s.batch;
        s.batch = NULL;
    }
    cs_batch_destroy(s.batch);
    cs_buf_free(&s.next);
    return rc;
}

/* ---- pushing ---- */

typedef struct pushing {
    cs_push *push;
    cs_page_request request;
    int settled;
} pushing;

/* A second peer needs what was applied from the first, so from now on it is all in the log; the only one
 * needs the rows from before track. */
static int settle_log(csync *c, void *ctx, csync_error *err)
{
    cs_backend *b = c->backend;
    int others = 0;
    int rc = b->ops->other_peers(b, ctx, &others, err);

    if (rc != CSYNC_OK)
        return rc;
    return others ? b->ops->start_relay(b, err) : b->ops->complete_log(b, 0, err);
}

/* All heads, without what the peer is known to have: it may have lost even what came from it. The position
 * moves with the last batch. */
static int read_whole(csync *c, pushing *p, const cs_peer *peer, csync_error *err)
{
    cs_push *push = p->push;
    csync_batch *batch = push->batch;
    cs_position begun;
    int rc;

    p->request.cursor = push->cursor.data ? push->cursor.data : "";
    rc = c->backend->ops->snapshot_page(c->backend, &p->request, batch, &push->next, err);
    if (rc != CSYNC_OK)
        return rc;
    begun = cs_batch_to(batch);
    if (!*p->request.cursor)
        push->at = begun;
    batch->to_version = batch->has_more ? peer->pushed.version : push->at.version;
    return put_position(batch, &peer->pushed, batch->has_more ? &peer->pushed : &push->at, err);
}

static int read_tail(csync *c, pushing *p, const cs_peer *peer, csync_error *err)
{
    cs_backend *b = c->backend;
    cs_position to;
    int rc;

    p->request.since = peer->pushed.version;
    p->request.skip_via = peer->id;
    rc = b->ops->page(b, &p->request, p->push->batch, err);
    if (rc == CSYNC_OK)
        rc = b->ops->position(b, &to, err);
    return rc == CSYNC_OK ? put_position(p->push->batch, &peer->pushed, &to, err) : rc;
}

static int read_push(csync *c, void *ctx, csync_error *err)
{
    pushing *p = ctx;
    cs_push *push = p->push;
    cs_backend *b = c->backend;
    cs_contact contact = {0, 0};
    cs_verdict verdict;
    cs_peer peer;
    int rc = b->ops->settled(b, &p->settled, err);

    if (rc != CSYNC_OK || !p->settled)
        return rc;
    rc = renew(&push->batch, err);
    if (rc == CSYNC_OK)
        rc = b->ops->peer_get(b, push->peer, &peer, err);
    if (rc == CSYNC_OK)
        rc = b->ops->judge(b, &peer.pushed, &verdict, err);
    if (rc != CSYNC_OK)
        return rc;
    push->whole = (verdict != CS_GOOD || cs_position_scope(&peer.pushed)) && CS_RULE(WHOLE);
    rc = push->whole ? read_whole(c, p, &peer, err) : read_tail(c, p, &peer, err);
    if (rc == CSYNC_OK)
        rc = put_peer(push->batch, &peer.pulled, err);
    if (rc == CSYNC_OK)
        rc = cs_heard_say(c, push->batch, err);
    if (rc == CSYNC_OK && *b->copied_from)
        rc = cs_batch_text(push->batch, b->copied_from, &push->batch->copied_from, err);
    if (rc == CSYNC_OK)
        rc = b->ops->client_get(b, push->peer, &contact, err);
    push->counted = contact.goes_there;
    return rc == CSYNC_OK ? b->ops->log_top(b, &push->top, err) : rc;
}

static int put_key(csync_batch *batch, csync_error *err)
{
    char key[CS_UUID_SIZE];
    int rc = cs_uuid4(key, err);

    return rc == CSYNC_OK ? cs_batch_text(batch, key, &batch->key, err) : rc;
}

int cs_page_push(csync *c, cs_push *push, csync_error *err)
{
    pushing p = {.push = push};
    int rc = c->backend->relay ? CSYNC_OK : cs_replica_write(c, settle_log, (void *)push->peer, err);

    p.request.limit = cs_batch_size(push->options);
    p.request.max_bytes = (size_t)cs_batch_bytes(push->options);
    p.request.bases = 1;
    if (rc == CSYNC_OK)
        rc = read_settled(c, read_push, &p, &p.settled, err);
    if (rc == CSYNC_OK)
        rc = put_key(push->batch, err);
    if (rc == CSYNC_OK)
        rc = finish(c, push->batch, err);
    if (rc == CSYNC_OK) {
        push->batch->compare = push->options->strategy != CSYNC_LAST_WRITE_WINS && CS_RULE(COMPARE);
        return CSYNC_OK;
    }
    cs_batch_destroy(push->batch);
    push->batch = NULL;
    return rc;
}
