/* feed.c - the feed of a database, which one thread reads for all its streams, and the hub that holds them. */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/watch.h"
#include "http/hub.h"

/* ---- the feed ---- */

/* Frames that all have read are given up, so that an idle topic holds none. */
static void flush(cs_topic *t)
{
    uint64_t least = t->end;

    for (cs_stream *s = t->streams; s; s = s->next) {
        if (s->place < t->end)
            cs_stream_wake(s);
        if (s->place < least)
            least = s->place;
    }
    while (t->first < least)
        cs_topic_drop_first(t);
}

static void flush_all(cs_hub *hub)
{
    for (cs_topic *t = hub->topics; t; t = t->next)
        flush(t);
}

static void publish_batch(cs_hub *hub, const csync_batch *batch)
{
    for (size_t i = 0; i < csync_batch_count(batch); i++) {
        const csync_change *change = csync_batch_at(batch, i);
        cs_frame *f = cs_frame_of(change);

        for (cs_topic *t = hub->topics; t; t = t->next)
            if (cs_topic_takes(t, change))
                cs_topic_publish(t, f);
        cs_frame_release(f);
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
    for (cs_topic *t = hub->topics; t; t = t->next)
        cs_topic_publish(t, NULL);
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
int cs_feed_start(cs_hub *hub, csync_error *err)
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
        cs_stream_say_bye(s);
    } else if (now - s->sent_at >= BEAT_MS && s->is_suspended) {
        s->beats = 1;
        cs_stream_wake(s);
    }
}

void cs_hub_beat(cs_hub *hub)
{
    const int64_t now = cs_monotonic_ms(), today = cs_time_now();

    pthread_mutex_lock(&hub->lock);
    for (cs_topic *t = hub->topics; t; t = t->next)
        for (cs_stream *s = t->streams; s; s = s->next)
            beat(s, now, today);
    pthread_mutex_unlock(&hub->lock);
}

void cs_hub_end_streams(cs_hub *hub)
{
    pthread_mutex_lock(&hub->lock);
    for (cs_topic *t = hub->topics; t; t = t->next)
        for (cs_stream *s = t->streams; s; s = s->next)
            cs_stream_say_bye(s);
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
