/* session.c - pull, then push, batch by batch. Positions are committed with the data, so a session can be
 * dropped at any point and begun again. */
#include "sync/session.h"

#include <string.h>

#include "base/mem.h"
#include "model/outcome.h"
#include "sync/apply.h"
#include "sync/page.h"

enum phase { PULLING, PUSHING, DONE };

/* An empty batch moves the peer's position past entries that it need not see; it is worth a send only when
 * there are many. */
#define WORTH_A_SEND 1000
/* How often a page or push may miss the position before that is the peer's fault. */
#define MAX_MISSES 16

struct csync_session {
    csync *replica;
    char *peer;
    csync_sync_options options;
    enum phase phase;
    int asked; /* a step is out that has not been answered */
    csync_fetch fetch;
    csync_batch *batch; /* of a SEND */
    int misses;
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
    s->progress.phase = phase == PULLING ? CSYNC_PULLING : CSYNC_PUSHING;
    s->progress.changes = s->progress.bytes = s->progress.total = 0;
}

int cs_session_create(csync_session **out, csync *c, const char *peer,
                      const csync_sync_options *options, csync_error *err)
{
    csync_session *s;
    int rc = cs_sync_options_check(options, err);

    if (rc == CSYNC_OK && (!*peer || strlen(peer) > 512))
        rc = cs_fail(err, CSYNC_EINVAL, "a peer's name must have 1 to 512 bytes");
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
    cs_batch_destroy(s->batch);
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

static int read_position(csync *c, void *ctx, csync_error *err)
{
    csync_session *s = ctx;
    cs_peer peer;
    int rc = c->backend->ops->peer_get(c->backend, s->peer, &peer, err);

    s->fetch.since = peer.pulled;
    return rc;
}

static int ask_page(csync_session *s, csync_step *step, csync_error *err)
{
    int rc = s->asked ? CSYNC_OK : cs_replica_read(s->replica, read_position, s, err);

    if (rc != CSYNC_OK)
        return rc;
    s->fetch.struct_size = sizeof s->fetch;
    s->fetch.limit = cs_batch_size(&s->options);
    s->fetch.max_bytes = cs_batch_bytes(&s->options);
    s->asked = 1;
    step->kind = CSYNC_STEP_FETCH;
    step->fetch = s->fetch;
    return CSYNC_OK;
}

static void end_pull(csync_session *s)
{
    start_phase(s, s->options.direction == CSYNC_PULL ? DONE : PUSHING);
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
    int more, rc;

    if (s->phase != PULLING || !s->asked)
        return cs_fail(err, CSYNC_EMISUSE, "the session has not asked for a page");
    if (page->origin && strcmp(page->origin, s->replica->backend->origin) == 0)
        return cs_fail(err, CSYNC_EINVAL, "peer \"%.100s\" is this very replica", s->peer);
    s->page = page;
    rc = cs_apply_batch(s->replica, &a, err);
    if (rc != CSYNC_OK)
        return rc;
    s->asked = 0;
    if (a.dropped)
        return missed(s, err);
    more = page->has_info ? page->has_more : page->count >= (size_t)s->fetch.limit;
    if (more && a.position == s->fetch.since)
        return cs_fail(err, CSYNC_EPROTO,
                       "peer \"%.100s\" says there is more after version %lld but sent nothing",
                       s->peer, (long long)a.position);
    rc = advance(s, page, err);
    if (rc == CSYNC_OK && !more)
        end_pull(s);
    return rc;
}

/* ---- push ---- */

static int worth_sending(const csync_batch *batch)
{
    return batch->count > 0 || batch->has_more ||
           batch->to_version - batch->from_version >= WORTH_A_SEND;
}

static int prepare_push(csync_session *s, csync_error *err)
{
    int64_t top = 0;
    int rc = cs_page_push(s->replica, s->peer, &s->options, &s->batch, &top, err);

    if (rc != CSYNC_OK)
        return rc;
    if (!s->progress.total)
        s->progress.total = top - s->batch->from_version;
    /* the log may end in entries that are passed over: the position covers them */
    if (!s->batch->has_more)
        s->batch->to_version = top;
    if (!worth_sending(s->batch)) {
        cs_batch_destroy(s->batch);
        s->batch = NULL;
        start_phase(s, DONE);
    }
    return CSYNC_OK;
}

static int offer_batch(csync_session *s, csync_step *step, csync_error *err)
{
    int rc = s->batch ? CSYNC_OK : prepare_push(s, err);

    if (rc != CSYNC_OK || s->phase == DONE)
        return rc;
    s->asked = 1;
    step->kind = CSYNC_STEP_SEND;
    step->batch = s->batch;
    return CSYNC_OK;
}

int cs_session_outcome(csync_session *s, const csync_outcome *outcome, csync_error *err)
{
    cs_answer a = {.batch = s->batch, .outcome = outcome, .peer = s->peer, .result = &s->result};
    int rc, taken;

    if (s->phase != PUSHING || !s->asked)
        return cs_fail(err, CSYNC_EMISUSE, "the session has not sent a batch");
    taken = !outcome || outcome->count == s->batch->count;
    rc = cs_apply_answer(s->replica, &a, err);
    if (rc != CSYNC_OK)
        return rc;
    s->asked = 0;
    rc = taken && a.position >= s->batch->to_version ? advance(s, s->batch, err) : missed(s, err);
    if (rc == CSYNC_OK && taken && !s->batch->has_more && a.position == s->batch->to_version)
        start_phase(s, DONE);
    cs_batch_destroy(s->batch);
    s->batch = NULL;
    return rc;
}

int cs_session_next(csync_session *s, csync_step *step, csync_error *err)
{
    int rc = CSYNC_OK;

    step->kind = CSYNC_STEP_DONE;
    step->batch = NULL;
    if (s->phase == PULLING)
        return ask_page(s, step, err);
    if (s->phase == PUSHING)
        rc = offer_batch(s, step, err);
    return rc;
}
