/* heard.c - who has heard of deletes that are forgotten. */
#include "sync/heard.h"

#include <string.h>

#include "base/rules.h"
#include "base/text.h"
#include "codec/heard.h"

/* ---- saying it ---- */

/* Peers under a name that is no origin nobody else knows. */
static int say(void *ctx, const cs_heard *heard, csync_error *err)
{
    (void)err;
    if (cs_origin_check(heard->origin, NULL) == CSYNC_OK)
        cs_heard_put(ctx, heard);
    return CSYNC_OK;
}

int cs_heard_say(csync *c, csync_batch *batch, csync_error *err)
{
    cs_buf list = {0};
    int rc = c->backend->ops->heard(c->backend, say, &list, err);

    if (list.len)
        cs_buf_puts(&list, "]");
    if (rc == CSYNC_OK)
        rc = cs_buf_check(&list, err);
    if (rc == CSYNC_OK && list.len)
        rc = cs_batch_text(batch, list.data, &batch->heard, err);
    cs_buf_free(&list);
    return rc;
}

/* ---- asking for it ---- */

typedef struct asking {
    const csync_batch *batch;
    const cs_heard *about;
    int heard;
    int64_t *ts;
} asking;

static int compare(void *ctx, const cs_heard *heard, csync_error *err)
{
    asking *a = ctx;

    (void)err;
    a->heard |= strcmp(heard->origin, a->about->origin) == 0 && heard->version >= a->about->version;
    return CSYNC_OK;
}

/* a->heard: the batch's maker has heard of a->about. */
static int ask_maker(asking *a, csync_error *err)
{
    const csync_batch *batch = a->batch;

    a->heard = batch->origin && strcmp(batch->origin, a->about->origin) == 0;
    return batch->heard ? cs_heard_each(batch->heard, compare, a, err) : CSYNC_OK;
}

static int suspect(void *ctx, const cs_heard *heard, csync_error *err)
{
    asking *a = ctx;
    int rc;

    if (heard->ts <= *a->ts)
        return CSYNC_OK;
    a->about = heard;
    rc = ask_maker(a, err);
    if (rc == CSYNC_OK && !a->heard)
        *a->ts = heard->ts;
    return rc;
}

int cs_heard_suspect(csync *c, const csync_batch *batch, int64_t *ts, csync_error *err)
{
    asking a = {.batch = batch, .ts = ts};

    return CS_RULE(INHERIT) ? c->backend->ops->heard(c->backend, suspect, &a, err) : CSYNC_OK;
}

/* ---- snapshots ---- */

static int raise(void *ctx, const cs_heard *heard, csync_error *err)
{
    int64_t *ts = ctx;

    (void)err;
    if (heard->ts > *ts)
        *ts = heard->ts;
    return CSYNC_OK;
}

int cs_heard_floor(const csync_batch *batch, int64_t *ts, csync_error *err)
{
    if (batch->floor)
        (void)cs_time_parse(batch->floor, strlen(batch->floor), ts);
    return batch->heard ? cs_heard_each(batch->heard, raise, ts, err) : CSYNC_OK;
}

/* What was heard in a log is in this replica's own, or forgotten here by its own rules. */
static int inherit(void *ctx, const cs_heard *heard, csync_error *err)
{
    csync *c = ctx;
    asking a = {.about = heard};
    int rc;

    if (!heard->ts || strcmp(heard->origin, c->backend->origin) == 0)
        return CSYNC_OK;
    rc = c->backend->ops->heard(c->backend, compare, &a, err);
    return rc == CSYNC_OK && !a.heard ? c->backend->ops->heard_put(c->backend, heard, err) : rc;
}

int cs_heard_inherit(csync *c, const csync_batch *page, int64_t at, csync_error *err)
{
    cs_heard maker = {.version = at};
    int rc = CSYNC_OK;

    if (page->floor && page->origin) {
        cs_text_copy(maker.origin, sizeof maker.origin, page->origin);
        (void)cs_time_parse(page->floor, strlen(page->floor), &maker.ts);
        rc = c->backend->ops->heard_put(c->backend, &maker, err);
    }
    return rc == CSYNC_OK && page->heard ? cs_heard_each(page->heard, inherit, c, err) : rc;
}
