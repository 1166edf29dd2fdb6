/* hub.h - what the feed of a database and its streams share.
 *
 * A change is written once, as a frame, into the ring of each topic that it belongs to. A stream has its place in the ring
 * and, while it sends a frame, a reference to it; so a client that never reads holds nothing. When the ring has gone
 * past its place it gets one event "resync" in place of what it missed. Everything is under the hub's lock, which
 * comes before libmicrohttpd's. */
#ifndef CS_HUB_H
#define CS_HUB_H
#include "base/uuid.h"
#include "http/stream.h"

enum {
    RING = 1024, /* frames of a topic */
    RING_BYTES = 1 << 20,
    BACKLOG_BYTES = 64 << 10, /* of a stream that resumes; beyond: resync */
    BACKLOG_PAGES = 20,
    BLOCK_BYTES =
        1024, /* that are sent at a time where a response has no chunks, which are made elsewhere */
    COALESCE_MS = 10,
    BEAT_MS = 20000,
    STALL_MS = 60000, /* a client that reads nothing for so long is cut */
    LIFE_MS = 12 * 3600 * 1000,
    KEPT_MS =
        24 * 3600 * 1000, /* in _sync_subscriptions, which outlives the stream only after a crash */
    RETRY_MS = 1000,
    SEND_BUFFER = 64 << 10 /* what the kernel holds for a stream that nobody reads */
};

typedef struct cs_frame {
    int references;
    size_t len;
    char data[];
} cs_frame;

typedef struct cs_topic {
    struct cs_topic *next;
    char *table, *pk; /* pk canonical; NULL: every table, every row */
    cs_scope scope; /* of `table` NULL: which tables */
    cs_arena texts; /* of the scope */
    cs_frame **ring; /* RING of them while there are any; else NULL */
    uint64_t first, end; /* the frames that there are: first <= i < end, at ring[i % RING] */
    size_t bytes;
    cs_stream *streams;
} cs_topic;

struct cs_stream {
    cs_hub *hub;
    cs_topic *topic;
    cs_stream *next, **link; /* in its topic; link NULL: in none */
    cs_client *client;
    struct MHD_Connection *connection;
    char id[CS_UUID_SIZE];
    char owner[CSYNC_HASH_SIZE]; /* of the token; "": nobody's */
    int64_t expires; /* of the token */
    cs_buf own; /* what goes out before frames: the stream's own events */
    size_t own_sent;
    cs_frame *current;
    size_t current_sent;
    uint64_t place;
    int64_t from; /* the version that the feed stood at when it joined */
    int64_t born, sent_at;
    int has_row; /* in _sync_subscriptions */
    int is_suspended, is_ended, beats;
};

struct cs_hub {
    csync_server *server;
    cs_served *served;
    char *url;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t wake;
    cs_topic *topics;
    int count; /* streams */
    int64_t version; /* published up to here */
    int is_ending;
    pthread_mutex_t opening; /* of is_started; taken before the other */
    int is_started;
    pthread_t feed;
    csync *replica; /* the feed's */
    csync_subscription *subscription;
};

/* ring.c, under the lock */
void cs_frame_release(cs_frame *frame); /* NULL is fine */
/* With one reference; NULL: out of memory. */
cs_frame *cs_frame_of(const csync_change *change);
/* NULL frame: there was no memory for it, and whoever follows the topic has missed something. */
void cs_topic_publish(cs_topic *topic, cs_frame *frame);
void cs_topic_drop_first(cs_topic *topic);
/* The topic, new if need be; `scope` counts where `table` is NULL. NULL: out of memory. */
cs_topic *cs_topic_find(cs_hub *hub, const char *table, const char *pk, const cs_scope *scope);
void cs_topic_drop(cs_hub *hub, cs_topic *topic);
/* Any thread. */
void cs_event_put_change(cs_buf *out, const csync_change *change);
int cs_topic_takes(const cs_topic *topic, const csync_change *change);

/* stream.c, under the lock */
void cs_stream_wake(cs_stream *stream);
void cs_stream_say_bye(cs_stream *stream); /* and ends it */

/* feed.c */
/* Under hub->opening. */
int cs_feed_start(cs_hub *hub, csync_error *err);
#endif
