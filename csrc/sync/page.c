/* page.c - pages of this replica's log: for whoever asks, and for a push. */
#include "sync/page.h"

#include <string.h>

#include "codec/wire.h"
#include "sync/apply.h"

typedef struct reading {
    cs_page_request request;
    const char *peer; /* of a push; NULL: serving */
    csync_batch *batch;
    int64_t top;
} reading;

static int start_relay(csync *c, void *ctx, csync_error *err)
{
    (void)ctx;
    return c->backend->ops->start_relay(c->backend, err);
}

/* A batch read again after the log was completed starts afresh. */
static int renew(csync_batch **batch, csync_error *err)
{
    cs_batch_destroy(*batch);
    *batch = cs_batch_create();
    return *batch ? CSYNC_OK : cs_fail_nomem(err);
}

static int read_page(csync *c, void *ctx, csync_error *err)
{
    reading *r = ctx;
    cs_backend *b = c->backend;
    cs_peer peer;
    int rc = renew(&r->batch, err);

    if (rc == CSYNC_OK && r->peer) {
        rc = b->ops->peer_get(b, r->peer, &peer, err);
        r->request.since = peer.pushed;
        r->request.skip_via = peer.id;
    }
    if (rc == CSYNC_OK)
        rc = b->ops->page(b, &r->request, r->batch, err);
    return rc == CSYNC_OK ? b->ops->log_top(b, &r->top, err) : rc;
}

static int finish(csync *c, csync_batch *batch, csync_error *err)
{
    batch->origin = cs_arena_copy(&batch->arena, c->backend->origin, strlen(c->backend->origin));
    if (!batch->origin)
        return cs_fail_nomem(err);
    return cs_batch_hash(batch, batch->hash, err);
}

static int run(csync *c, reading *r, csync_batch **out, csync_error *err)
{
    int rc = cs_replica_read(c, read_page, r, err);

    if (rc == CSYNC_OK)
        rc = finish(c, r->batch, err);
    if (rc == CSYNC_OK) {
        *out = r->batch;
        r->batch = NULL;
    }
    cs_batch_destroy(r->batch);
    return rc;
}

int cs_page_serve(csync *c, const csync_fetch *fetch, csync_batch **out, csync_error *err)
{
    csync_sync_options limits = {.batch_size = fetch->limit, .batch_bytes = fetch->max_bytes};
    reading r = {.peer = NULL};
    int rc = c->backend->relay ? CSYNC_OK : cs_replica_write(c, start_relay, NULL, err);

    r.request.since = fetch->since;
    r.request.limit = cs_batch_size(&limits);
    r.request.max_bytes = (size_t)cs_batch_bytes(&limits);
    return rc == CSYNC_OK ? run(c, &r, out, err) : rc;
}

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

int cs_page_push(csync *c, const char *peer, const csync_sync_options *options, csync_batch **out,
                 int64_t *top, csync_error *err)
{
    reading r = {.peer = peer};
    int rc = c->backend->relay ? CSYNC_OK : cs_replica_write(c, settle_log, (void *)peer, err);

    r.request.limit = cs_batch_size(options);
    r.request.max_bytes = (size_t)cs_batch_bytes(options);
    if (rc == CSYNC_OK)
        rc = run(c, &r, out, err);
    *top = r.top;
    return rc;
}
