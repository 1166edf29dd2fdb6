/* stream.c - server-sent events.
 *
 * A change is written once, as a frame, into the ring of each topic that it belongs to. A stream has its place in the ring
 * and, while it sends a frame, a reference to it; so a client that never reads holds nothing. When the ring has gone
 * past its place it gets one event "resync" in place of what it missed. Everything is under the hub's lock, which
 * comes before libmicrohttpd's. */
#include "http/stream.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/uuid.h"
#include "base/watch.h"
#include "codec/canonical.h"
#include "codec/scan.h"
#include "codec/wire.h"

enum {
    RING = 1024, /* frames of a topic */
    RING_BYTES = 1 << 20,
    BACKLOG_BYTES = 64 << 10, /* of a stream that resumes; beyond: resync */
    BACKLOG_PAGES = 20,
    COALESCE_MS = 10,
    BEAT_MS = 20000,
    STALL_MS = 60000, /* a client that reads nothing for so long is cut */
    LIFE_MS = 12 * 3600 * 1000,
    KEPT_MS =
        24 * 3600 * 1000, /* in _sync_subscriptions, which outlives the stream only after a crash */
    RETRY_MS = 1000,
    SEND_BUFFER = 64 << 10 /* what the kernel holds for a stream that nobody reads */
};

typedef struct frame {
    int references;
    size_t len;
    char data[];
} frame;

typedef struct topic {
    struct topic *next;
    char *table, *pk; /* pk canonical; NULL: every table, every row */
    frame *ring[RING];
    uint64_t first, end; /* the frames that there are: first <= i < end, at ring[i % RING] */
    size_t bytes;
    cs_stream *streams;
} topic;

struct cs_stream {
    cs_hub *hub;
    topic *topic;
    cs_stream *next, **link; /* in its topic; link NULL: in none */
    cs_client *client;
    struct MHD_Connection *connection;
    char id[CS_UUID_SIZE];
    char owner[CSYNC_HASH_SIZE]; /* of the token; "": nobody's */
    int64_t expires; /* of the token */
    cs_buf own; /* what goes out before frames: the stream's own events */
    size_t own_sent;
    frame *current;
    size_t current_sent;
    uint64_t place;
    int64_t from; /* the version that the feed stood at when it joined */
    int64_t born, sent_at;
    int is_suspended, is_ended, beats;
};

struct cs_hub {
    csync_server *server;
    cs_served *served;
    char *url;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t wake;
    topic *topics;
    int count; /* streams */
    int64_t version; /* published up to here */
    int is_ending;
    pthread_mutex_t opening; /* of is_started; taken before the other */
    int is_started;
    pthread_t feed;
    csync *replica; /* the feed's */
    csync_subscription *subscription;
};

/* ---- frames and topics ---- */

static void release(frame *f)
{
    if (f && --f->references == 0)
        cs_free(f);
}

static void drop_first(topic *t)
{
    frame *f = t->ring[t->first % RING];

    t->bytes -= f->len;
    t->ring[t->first++ % RING] = NULL;
    release(f);
}

/* NULL frame: there was no memory for it, and whoever follows the topic has missed something. */
static void publish(topic *t, frame *f)
{
    if (!f) {
        while (t->first < t->end)
            drop_first(t);
        t->first = ++t->end;
        return;
    }
    while (t->end - t->first == RING || (t->first < t->end && t->bytes + f->len > RING_BYTES))
        drop_first(t);
    f->references++;
    t->bytes += f->len;
    t->ring[t->end++ % RING] = f;
}

static void put_change(cs_buf *b, const csync_change *change)
{
    cs_buf_printf(b, "id: %lld\nevent: change\ndata: ", (long long)change->version);
    cs_change_write(b, change);
    cs_buf_puts(b, "\n\n");
}

/* NULL: out of memory. With one reference. */
static frame *frame_of(const csync_change *change)
{
    cs_buf b = {0};
    frame *f = NULL;

    put_change(&b, change);
    if (!b.failed)
        f = cs_malloc(sizeof *f + b.len);
    if (f) {
        f->references = 1;
        f->len = b.len;
        memcpy(f->data, b.data, b.len);
    }
    cs_buf_free(&b);
    return f;
}

static int is_of(const char *table, const char *pk, const csync_change *change)
{
    int order = 0;

    if (table && strcmp(table, change->table) != 0)
        return 0;
    return !pk ||
           cs_canonical_order(pk, strlen(pk), change->pk, strlen(change->pk), &order, NULL) !=
               CSYNC_OK ||
           order == 0;
}

static int is_same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void free_topic(topic *t)
{
    while (t->first < t->end)
        drop_first(t);
    cs_free(t->table);
    cs_free(t->pk);
    cs_free(t);
}

/* The topic, new if need be. NULL: out of memory. */
static topic *find_topic(cs_hub *hub, const char *table, const char *pk)
{
    topic *t = hub->topics;

    while (t && !(is_same(t->table, table) && is_same(t->pk, pk)))
        t = t->next;
    if (t)
        return t;
    t = cs_calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->table = cs_strdup(table);
    t->pk = cs_strdup(pk);
    if ((table && !t->table) || (pk && !t->pk)) {
        free_topic(t);
        return NULL;
    }
    t->next = hub->topics;
    hub->topics = t;
    return t;
}

static void drop_topic(cs_hub *hub, topic *t)
{
    topic **p = &hub->topics;

    while (*p != t)
        p = &(*p)->next;
    *p = t->next;
    free_topic(t);
}

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
        release(s->current);
        s->current = NULL;
    }
    return n;
}

/* Finds the next thing to send; 0: there is none. */
static int advance(cs_stream *s)
{
    topic *t = s->topic;

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
    size_t n = 0;

    (void)at;
    pthread_mutex_lock(&s->hub->lock);
    while (n < room && advance(s) && !s->own.failed)
        n += s->current ? copy_frame(s, out + n, room - n) : copy_own(s, out + n, room - n);
    if (n) {
        s->sent_at = cs_monotonic_ms();
        cs_client_allow(s->client, STALL_MS);
    } else if (!s->is_ended && !s->own.failed) {
        s->is_suspended = 1;
        cs_client_allow(s->client, 0);
        mhd->MHD_suspend_connection(s->connection);
    }
    pthread_mutex_unlock(&s->hub->lock);
    if (!n && (s->is_ended || s->own.failed))
        return MHD_CONTENT_READER_END_OF_STREAM;
    return (ssize_t)n;
}

static void wake(cs_stream *s)
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
            drop_topic(hub, s->topic);
    }
    release(s->current);
    pthread_mutex_unlock(&hub->lock);
}

void cs_stream_drop(cs_stream *s)
{
    if (!s)
        return;
    leave_topic(s);
    if (s->id[0])
        forget_later(s);
    cs_buf_free(&s->own);
    cs_free(s);
}

static void free_stream(void *stream)
{
    cs_stream_drop(stream);
}

static void end(cs_stream *s)
{
    if (s->is_ended)
        return;
    s->is_ended = 1;
    cs_buf_puts(&s->own, "event: bye\ndata: {}\n\n");
    wake(s);
}

/* ---- the feed ---- */

/* Frames that all have read are given up, so that an idle topic holds none. */
static void flush(topic *t)
{
    uint64_t least = t->end;

    for (cs_stream *s = t->streams; s; s = s->next) {
        if (s->place < t->end)
            wake(s);
        if (s->place < least)
            least = s->place;
    }
    while (t->first < least)
        drop_first(t);
}

static void flush_all(cs_hub *hub)
{
    for (topic *t = hub->topics; t; t = t->next)
        flush(t);
}

static void publish_batch(cs_hub *hub, const csync_batch *batch)
{
    for (size_t i = 0; i < csync_batch_count(batch); i++) {
        const csync_change *change = csync_batch_at(batch, i);
        frame *f = frame_of(change);

        for (topic *t = hub->topics; t; t = t->next)
            if (is_of(t->table, t->pk, change))
                publish(t, f);
        release(f);
    }
}

static void close_feed(cs_hub *hub)
{
    csync_subscription *s;

    pthread_mutex_lock(&hub->lock);
    s = hub->subscription;
    hub->subscription = NULL;
    pthread_mutex_unlock(&hub->lock);
    csync_subscription_close(s);
    csync_close(hub->replica);
    hub->replica = NULL;
}

/* From the present end of the log on. */
static int open_feed(cs_hub *hub, csync_error *err)
{
    csync_subscription *s = NULL;
    int rc = csync_open(&hub->replica, hub->url, NULL, err);

    if (rc == CSYNC_OK)
        rc = csync_subscribe(&s, hub->replica, NULL, err);
    if (rc != CSYNC_OK) {
        csync_close(hub->replica);
        hub->replica = NULL;
        return rc;
    }
    pthread_mutex_lock(&hub->lock);
    hub->subscription = s;
    hub->version = csync_subscription_version(s);
    pthread_mutex_unlock(&hub->lock);
    return CSYNC_OK;
}

/* After a failure nobody knows what was missed: the log was trimmed, or the database was away. */
static void recover(cs_hub *hub)
{
    int rc = CSYNC_ERROR;

    close_feed(hub);
    pthread_mutex_lock(&hub->lock);
    while (!hub->is_ending && rc != CSYNC_OK) {
        cs_condition_wait(&hub->wake, &hub->lock, RETRY_MS);
        pthread_mutex_unlock(&hub->lock);
        rc = open_feed(hub, NULL);
        pthread_mutex_lock(&hub->lock);
    }
    for (topic *t = hub->topics; t; t = t->next)
        publish(t, NULL);
    flush_all(hub);
    pthread_mutex_unlock(&hub->lock);
}

static int is_ending(cs_hub *hub)
{
    int yes;

    pthread_mutex_lock(&hub->lock);
    yes = hub->is_ending;
    pthread_mutex_unlock(&hub->lock);
    return yes;
}

/* Takes over what has come; returns how long to wait for more until what was taken goes out. *due 0: nothing waits. */
static int take_in(cs_hub *hub, const csync_batch *batch, int64_t *due)
{
    int64_t now = cs_monotonic_ms();

    pthread_mutex_lock(&hub->lock);
    hub->version = csync_subscription_version(hub->subscription);
    if (batch) {
        publish_batch(hub, batch);
        *due = *due ? *due : now + COALESCE_MS;
    }
    if (*due && now >= *due) {
        flush_all(hub);
        *due = 0;
    }
    pthread_mutex_unlock(&hub->lock);
    return *due ? (int)(*due - now) : -1;
}

static void *feed(void *arg)
{
    cs_hub *hub = arg;
    csync_error why = CSYNC_ERROR_INIT;
    int64_t due = 0;
    int wait_ms = -1;

    while (!is_ending(hub)) {
        csync_batch *batch = NULL;
        int rc = csync_subscription_next(hub->subscription, wait_ms, &batch, &why);

        if (rc == CSYNC_OK) {
            wait_ms = take_in(hub, batch, &due);
        } else if (!is_ending(hub)) {
            cs_server_log(hub->server, "feed of %s: %s", hub->served->name, why.message);
            recover(hub);
            due = 0;
            wait_ms = -1;
        }
        csync_batch_free(batch);
    }
    return NULL;
}

/* The first stream starts it: until then nobody needs it. */
static int start_feed(cs_hub *hub, csync_error *err)
{
    int rc;

    if (hub->is_started)
        return CSYNC_OK;
    if (is_ending(hub))
        return cs_fail(err, CSYNC_EBUSY, "the server is stopping");
    rc = open_feed(hub, err);
    if (rc != CSYNC_OK)
        return rc;
    if (cs_thread_start(&hub->feed, feed, hub) != 0) {
        close_feed(hub);
        return cs_fail(err, CSYNC_EBUSY, "a thread of the server cannot be started");
    }
    hub->is_started = 1;
    return CSYNC_OK;
}

/* ---- opening a stream, in three steps ---- */

static int join(cs_stream *s, const char *table, const char *pk, csync_error *err)
{
    cs_hub *hub = s->hub;
    int rc = CSYNC_OK;

    pthread_mutex_lock(&hub->lock);
    s->topic = find_topic(hub, table, pk);
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
        drop_topic(hub, s->topic);
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
    pthread_mutex_lock(&s->hub->opening);
    if (rc == CSYNC_OK)
        rc = start_feed(s->hub, err);
    pthread_mutex_unlock(&s->hub->opening);
    if (rc == CSYNC_OK)
        rc = canonical_pk(pk, &canonical, err);
    if (rc == CSYNC_OK)
        rc = join(s, table, canonical, err);
    cs_free(canonical);
    return rc;
}

static int put_backlog(cs_stream *s, const csync_batch *page)
{
    for (size_t i = 0; i < csync_batch_count(page); i++) {
        const csync_change *change = csync_batch_at(page, i);

        if (change->version <= s->from && is_of(s->topic->table, s->topic->pk, change))
            put_change(&s->own, change);
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
        rc = read_since(ask, &why);
    if (rc == CSYNC_OK && !(s = ask->stream = cs_calloc(1, sizeof *s)))
        rc = cs_fail_nomem(&why);
    if (rc == CSYNC_OK) {
        s->hub = ask->served->hub;
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
        MHD_SIZE_UNKNOWN, 1024, fill, ask->stream, free_stream);
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
    return queued;
}

int cs_stream_end(cs_ask *ask)
{
    cs_hub *hub = ask->served->hub;
    const char *id = strrchr(ask->request.path, '/') + 1;
    const char *owner = ask->x.grant ? ask->x.grant->hash : "";
    int rc = -1;

    pthread_mutex_lock(&hub->lock);
    for (topic *t = hub->topics; t; t = t->next)
        for (cs_stream *s = t->streams; s; s = s->next)
            if (strcmp(s->id, id) == 0 && strcmp(s->owner, owner) == 0) {
                end(s);
                rc = 0;
            }
    pthread_mutex_unlock(&hub->lock);
    if (rc == 0)
        ask->x.reply->pub.status = 204;
    return rc;
}

/* ---- the hub ---- */

cs_hub *cs_hub_create(csync_server *server, cs_served *served, const char *url, csync_error *err)
{
    cs_hub *hub = cs_calloc(1, sizeof *hub);

    if (!hub || !(hub->url = cs_strdup(url))) {
        cs_free(hub);
        cs_fail_nomem(err);
        return NULL;
    }
    hub->server = server;
    hub->served = served;
    pthread_mutex_init(&hub->lock, NULL);
    pthread_mutex_init(&hub->opening, NULL);
    cs_condition_init(&hub->wake);
    return hub;
}

int cs_hub_count(cs_hub *hub)
{
    int count;

    pthread_mutex_lock(&hub->lock);
    count = hub->count;
    pthread_mutex_unlock(&hub->lock);
    return count;
}

static void beat(cs_stream *s, int64_t now, int64_t today)
{
    if (now - s->born > LIFE_MS || (s->expires && s->expires <= today)) {
        end(s);
    } else if (now - s->sent_at >= BEAT_MS && s->is_suspended) {
        s->beats = 1;
        wake(s);
    }
}

void cs_hub_beat(cs_hub *hub)
{
    const int64_t now = cs_monotonic_ms(), today = cs_time_now();

    pthread_mutex_lock(&hub->lock);
    for (topic *t = hub->topics; t; t = t->next)
        for (cs_stream *s = t->streams; s; s = s->next)
            beat(s, now, today);
    pthread_mutex_unlock(&hub->lock);
}

void cs_hub_end_streams(cs_hub *hub)
{
    pthread_mutex_lock(&hub->lock);
    for (topic *t = hub->topics; t; t = t->next)
        for (cs_stream *s = t->streams; s; s = s->next)
            end(s);
    pthread_mutex_unlock(&hub->lock);
}

void cs_hub_refuse(cs_hub *hub)
{
    pthread_mutex_lock(&hub->lock);
    hub->is_ending = 1;
    csync_subscription_wake(hub->subscription);
    pthread_cond_broadcast(&hub->wake);
    pthread_mutex_unlock(&hub->lock);
    cs_hub_end_streams(hub);
}

void cs_hub_free(cs_hub *hub)
{
    if (!hub)
        return;
    if (hub->is_started) {
        pthread_join(hub->feed, NULL);
        close_feed(hub);
    }
    pthread_cond_destroy(&hub->wake);
    pthread_mutex_destroy(&hub->lock);
    pthread_mutex_destroy(&hub->opening);
    cs_free(hub->url);
    cs_free(hub);
}
