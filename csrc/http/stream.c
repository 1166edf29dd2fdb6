/* stream.c - a stream of server-sent events, from its request to its end. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "base/text.h"
#include "base/watch.h"
#include "codec/canonical.h"
#include "codec/scan.h"
#include "http/hub.h"

/* ---- what a stream sends ---- */

static void put_event(cs_stream *s, const char *name, int64_t version, const char *more)
{
    cs_buf_printf(&s->own, "id: %lld\nevent: %s\ndata: {\"version\":%lld%s}\n\n",
                  (long long)version, name, (long long)version, more);
}

static void go_to_end(cs_stream *s)
{
    s->place = s->topic->end;
    put_event(s, "resync", s->hub->version, "");
}

static size_t copy(char *out, size_t room, const char *from, size_t len, size_t *sent)
{
    size_t n = len - *sent < room ? len - *sent : room;

    memcpy(out, from + *sent, n);
    *sent += n;
    return n;
}

static size_t copy_own(cs_stream *s, char *out, size_t room)
{
    size_t n = copy(out, room, s->own.data, s->own.len, &s->own_sent);

    if (s->own_sent == s->own.len) {
        cs_buf_free(&s->own);
        s->own = (cs_buf){0};
        s->own_sent = 0;
    }
    return n;
}

static size_t copy_frame(cs_stream *s, char *out, size_t room)
{
    size_t n = copy(out, room, s->current->data, s->current->len, &s->current_sent);

    if (s->current_sent == s->current->len) {
        cs_frame_release(s->current);
        s->current = NULL;
    }
    return n;
}

/* Finds the next thing to send; 0: there is none. */
static int advance(cs_stream *s)
{
    cs_topic *t = s->topic;

    if (s->own.len || s->current)
        return 1;
    if (s->is_ended)
        return 0;
    if (s->place < t->first) {
        go_to_end(s);
    } else if (s->place < t->end) {
        s->current = t->ring[s->place++ % RING];
        s->current->references++;
        s->current_sent = 0;
    } else if (s->beats) {
        s->beats = 0;
        cs_buf_puts(&s->own, ":\n\n");
    } else {
        return 0;
    }
    return 1;
}

static ssize_t fill(void *cls, uint64_t at, char *out, size_t room)
{
    cs_stream *s = cls;
    const cs_mhd *mhd = &s->hub->server->mhd;
    ssize_t result;
    size_t n = 0;

    (void)at;
    pthread_mutex_lock(&s->hub->lock);
    while (n < room && advance(s) && !s->own.failed)
        n += s->current ? copy_frame(s, out + n, room - n) : copy_own(s, out + n, room - n);
    result = (ssize_t)n;
    if (n) {
        s->sent_at = cs_monotonic_ms();
        cs_client_allow(s->client, STALL_MS);
    } else if (s->is_ended || s->own.failed) {
        result = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        s->is_suspended = 1;
        cs_client_allow(s->client, 0);
        mhd->MHD_suspend_connection(s->connection);
    }
    pthread_mutex_unlock(&s->hub->lock);
    return result;
}

void cs_stream_wake(cs_stream *s)
{
    if (!s->is_suspended)
        return;
    s->is_suspended = 0;
    s->hub->server->mhd.MHD_resume_connection(s->connection);
}

/* ---- the end of a stream ---- */

typedef struct forgetting {
    cs_job job; /* first */
    char id[CS_UUID_SIZE];
} forgetting;

static int forget(cs_job *job, csync *replica)
{
    forgetting *f = (forgetting *)job;

    if (replica)
        (void)csync_unsubscribe(replica, f->id, NULL);
    cs_free(f);
    return CSYNC_OK;
}

/* Where it cannot be done now the row stays until it expires. */
static void forget_later(cs_stream *s)
{
    forgetting *f = cs_calloc(1, sizeof *f);

    if (!f)
        return;
    f->job.run = forget;
    cs_text_copy(f->id, sizeof f->id, s->id);
    if (cs_pool_add(s->hub->served->writes, &f->job, 1) != 0)
        cs_free(f);
}

static void leave_topic(cs_stream *s)
{
    cs_hub *hub = s->hub;

    pthread_mutex_lock(&hub->lock);
    if (s->link) {
        *s->link = s->next;
        if (s->next)
            s->next->link = s->link;
        hub->count--;
        if (!s->topic->streams)
            cs_topic_drop(hub, s->topic);
    }
    cs_frame_release(s->current);
    pthread_mutex_unlock(&hub->lock);
}

void cs_stream_drop(cs_stream *s)
{
    csync_server *server = s ? s->hub->server : NULL;

    if (!s)
        return;
    leave_topic(s);
    if (s->has_row)
        forget_later(s);
    cs_buf_free(&s->own);
    cs_free(s);
    cs_server_release(server);
}

static void free_stream(void *stream)
{
    cs_stream_drop(stream);
}

void cs_stream_say_bye(cs_stream *s)
{
    if (s->is_ended)
        return;
    s->is_ended = 1;
    cs_buf_puts(&s->own, "event: bye\ndata: {}\n\n");
    cs_stream_wake(s);
}

/* ---- opening a stream, in three steps ---- */

static int join(cs_stream *s, const char *table, const char *pk, const cs_scope *scope,
                csync_error *err)
{
    cs_hub *hub = s->hub;
    int rc = CSYNC_OK;

    pthread_mutex_lock(&hub->lock);
    s->topic = cs_topic_find(hub, table, pk, scope);
    if (hub->is_ending)
        rc = cs_fail(err, CSYNC_EBUSY, "the server is stopping");
    else if (!s->topic)
        rc = cs_fail_nomem(err);
    if (rc == CSYNC_OK) {
        s->next = s->topic->streams;
        s->link = &s->topic->streams;
        if (s->next)
            s->next->link = &s->next;
        s->topic->streams = s;
        s->place = s->topic->end;
        s->from = hub->version;
        hub->count++;
    } else if (s->topic && !s->topic->streams) {
        cs_topic_drop(hub, s->topic);
    }
    pthread_mutex_unlock(&hub->lock);
    return rc;
}

static int canonical_pk(const char *pk, char **out, csync_error *err)
{
    cs_buf b = {0};
    int rc = CSYNC_OK;

    *out = NULL;
    if (!pk)
        return CSYNC_OK;
    rc = cs_canonical_json(&b, pk, strlen(pk), err);
    if (rc == CSYNC_OK && !(*out = cs_buf_take(&b, err)))
        rc = CSYNC_ENOMEM;
    cs_buf_free(&b);
    return rc;
}

/* csync_subscribe checks what is followed and writes the row; the feed does the rest. */
static int enrol(cs_ask *ask, csync *replica, csync_error *err)
{
    cs_stream *s = ask->stream;
    const char *table = cs_exchange_param(&ask->x, "tableName");
    const char *pk = cs_exchange_param(&ask->x, "pkValue");
    csync_subscribe_options o = {
        .struct_size = sizeof o, .table = table, .pk = pk, .id = s->id, .expires_ms = KEPT_MS};
    csync_subscription *subscription = NULL;
    char *canonical = NULL;
    int rc = csync_subscribe(&subscription, replica, &o, err);

    csync_subscription_close(subscription);
    s->has_row = rc == CSYNC_OK;
    pthread_mutex_lock(&s->hub->opening);
    if (rc == CSYNC_OK)
        rc = cs_feed_start(s->hub, err);
    pthread_mutex_unlock(&s->hub->opening);
    if (rc == CSYNC_OK)
        rc = canonical_pk(pk, &canonical, err);
    if (rc == CSYNC_OK)
        rc = join(s, table, canonical, cs_exchange_scope(&ask->x), err);
    cs_free(canonical);
    return rc;
}

static int put_backlog(cs_stream *s, const csync_batch *page)
{
    for (size_t i = 0; i < csync_batch_count(page); i++) {
        const csync_change *change = csync_batch_at(page, i);

        if (change->version <= s->from && cs_topic_takes(s->topic, change))
            cs_event_put_change(&s->own, change);
    }
    return s->own.len <= BACKLOG_BYTES;
}

/* What happened between the event that the client saw last and the place in the ring. Whatever is too much for that, or not
 * there any more, is a resync. */
static int read_backlog(cs_ask *ask, csync *replica, csync_error *err)
{
    cs_stream *s = ask->stream;
    csync_fetch fetch = {.struct_size = sizeof fetch, .since = ask->since, .limit = 1000};
    int pages = 0, has_more = fetch.since != s->from, rc = CSYNC_OK;

    while (rc == CSYNC_OK && has_more && pages++ < BACKLOG_PAGES) {
        csync_batch_info info = {.struct_size = sizeof info};
        csync_batch *page = NULL;

        rc = csync_changes(replica, &fetch, &page, err);
        if (rc == CSYNC_OK)
            rc = csync_batch_get_info(page, &info);
        fetch.since = info.to_version;
        has_more = info.has_more && fetch.since < s->from;
        if (rc == CSYNC_OK && !put_backlog(s, page))
            pages = BACKLOG_PAGES, has_more = 1;
        csync_batch_free(page);
    }
    if (rc == CSYNC_OK && !has_more)
        return CSYNC_OK;
    if (rc != CSYNC_OK && rc != CSYNC_EFULLRESYNC && rc != CSYNC_EINVAL)
        return rc;
    cs_buf_clear(&s->own);
    put_event(s, "resync", s->from, "");
    return CSYNC_OK;
}

static int greet(cs_ask *ask, csync *replica, csync_error *err)
{
    cs_stream *s = ask->stream;
    cs_buf rest = {0};
    int rc = ask->since >= 0 ? read_backlog(ask, replica, err) : CSYNC_OK;
    char more[64];

    if (rc != CSYNC_OK)
        return rc;
    rest = s->own;
    s->own = (cs_buf){0};
    snprintf(more, sizeof more, ",\"subscriptionId\":\"%s\"", s->id);
    cs_buf_puts(&s->own, "retry: 2000\n");
    put_event(s, "connected", ask->since >= 0 ? ask->since : s->from, more);
    if (rest.len)
        cs_buf_put(&s->own, rest.data, rest.len);
    rc = rest.failed ? rest.failed : CSYNC_OK;
    cs_buf_free(&rest);
    return rc == CSYNC_OK ? cs_buf_check(&s->own, err) : cs_fail_nomem(err);
}

static void give_up(cs_ask *ask, const csync_error *why)
{
    cs_ask_fail(ask, why);
    cs_stream_drop(ask->stream);
    ask->stream = NULL;
}

static int greet_stream(cs_job *job, csync *replica)
{
    cs_ask *ask = (cs_ask *)job;
    csync_error why = CSYNC_ERROR_INIT;
    int rc = replica ? greet(ask, replica, &why) : cs_fail(&why, CSYNC_EBUSY, "no database");

    if (rc != CSYNC_OK)
        give_up(ask, &why);
    cs_ask_resume(ask);
    return rc;
}

/* Writes with the writer, then reads with a reader. */
static int enrol_stream(cs_job *job, csync *replica)
{
    cs_ask *ask = (cs_ask *)job;
    csync_error why = CSYNC_ERROR_INIT;
    int rc = replica ? enrol(ask, replica, &why) : cs_fail(&why, CSYNC_EBUSY, "no database");

    if (rc == CSYNC_OK) {
        ask->job.run = greet_stream;
        if (cs_pool_add(ask->served->reads, job, 1) == 0)
            return rc;
        cs_fail(&why, CSYNC_EBUSY, "the server is stopping");
    }
    give_up(ask, &why);
    cs_ask_resume(ask);
    return rc;
}

static int check_count(cs_ask *ask, csync_error *err)
{
    if (cs_hub_count(ask->served->hub) < ask->server->options.max_streams)
        return CSYNC_OK;
    return cs_fail(err, CSYNC_EBUSY, "there are too many streams");
}

/* Last-Event-ID is what a browser sends after it was cut off; fromVersion is for others. */
static int read_since(cs_ask *ask, csync_error *err)
{
    const char *id = cs_ask_header(ask, "Last-Event-ID");
    size_t digits = id ? strspn(id, "0123456789") : 0;

    if (!id)
        return cs_exchange_count(&ask->x, "fromVersion", -1, &ask->since, err);
    if (digits && !id[digits] && cs_int_parse(id, digits, &ask->since) == 0)
        return CSYNC_OK;
    return cs_fail(err, CSYNC_EINVAL, "Last-Event-ID is no version");
}

enum MHD_Result cs_stream_open(cs_ask *ask)
{
    csync_error why = CSYNC_ERROR_INIT;
    cs_stream *s = NULL;
    int rc = check_count(ask, &why);

    if (rc == CSYNC_OK)
        rc = cs_exchange_may_see(&ask->x, cs_exchange_param(&ask->x, "tableName"), &why);
    if (rc == CSYNC_OK)
        rc = read_since(ask, &why);
    if (rc == CSYNC_OK && !(s = ask->stream = cs_calloc(1, sizeof *s)))
        rc = cs_fail_nomem(&why);
    if (rc == CSYNC_OK) {
        s->hub = ask->served->hub;
        cs_server_hold(ask->server);
        rc = cs_uuid4(s->id, &why);
    }
    if (rc != CSYNC_OK) {
        give_up(ask, &why);
        return cs_ask_answer(ask);
    }
    s->client = ask->client;
    s->connection = ask->connection;
    s->born = s->sent_at = cs_monotonic_ms();
    if (ask->x.grant) {
        cs_text_copy(s->owner, sizeof s->owner, ask->x.grant->hash);
        s->expires = ask->x.grant->expires;
    }
    return cs_ask_give(ask, ask->served->writes, enrol_stream);
}

enum MHD_Result cs_stream_begin(cs_ask *ask)
{
    const int buffer = SEND_BUFFER;
    const cs_mhd *mhd = &ask->server->mhd;
    struct MHD_Response *response = mhd->MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, ask->is_old_http ? BLOCK_BYTES : 1, fill, ask->stream, free_stream);
    enum MHD_Result queued;

    if (!response)
        return MHD_NO;
    ask->stream = NULL; /* the response's */
    ask->status = 200;
    mhd->MHD_add_response_header(response, "Content-Type", "text/event-stream");
    mhd->MHD_add_response_header(response, "Cache-Control", "no-store");
    mhd->MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    mhd->MHD_add_response_header(response, "X-Accel-Buffering", "no");
    ask->must_close = 1;
    cs_ask_add_headers(ask, response);
    cs_client_allow(ask->client, STALL_MS);
    setsockopt(ask->client->fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    queued = mhd->MHD_queue_response(ask->connection, 200, response);
    mhd->MHD_destroy_response(response);
    cs_ask_shed(ask); /* there may be thousands that only wait */
    return queued;
}

int cs_stream_end(cs_ask *ask)
{
    cs_hub *hub = ask->served->hub;
    const char *id = strrchr(ask->request.path, '/') + 1;
    const char *owner = ask->x.grant ? ask->x.grant->hash : "";
    int rc = -1;

    pthread_mutex_lock(&hub->lock);
    for (cs_topic *t = hub->topics; t; t = t->next)
        for (cs_stream *s = t->streams; s; s = s->next)
            if (strcmp(s->id, id) == 0 && strcmp(s->owner, owner) == 0) {
                cs_stream_say_bye(s);
                rc = 0;
            }
    pthread_mutex_unlock(&hub->lock);
    if (rc == 0)
        ask->x.reply->pub.status = 204;
    return rc;
}
