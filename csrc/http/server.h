/* server.h - the HTTP server's parts.
 *
 * libmicrohttpd's thread reads requests, checks them and writes answers. It never touches a database: a request that needs
 * one is suspended, answered by a worker (pool.h), and resumed. A watchman's thread closes connections that are too slow. */
#ifndef CS_SERVER_H
#define CS_SERVER_H
#include <stdatomic.h>

#include "http/exchange.h"
#include "http/mhd.h"
#include "http/pool.h"

enum { CS_ASK_HEADERS = 64, CS_ADDRESS_SIZE = 64, CS_BUCKETS = 4096 };

/* Names and grants; replaced as a whole when the tokens are read again. */
typedef struct cs_settings {
    int references; /* under the server's lock */
    csync_api *api;
} cs_settings;

/* One connection. */
typedef struct cs_client {
    struct cs_client *next, **link;
    int fd;
    char address[CS_ADDRESS_SIZE]; /* without the port */
    int is_local;
    int is_extra; /* there are too many of this address */
    const struct MHD_Daemon *daemon; /* that accepted it */
    atomic_int is_old; /* it ends: there is another certificate */
    _Atomic int64_t deadline; /* when it is cut, in monotonic milliseconds; 0: not now */
} cs_client;

/* How many requests a client may still make. */
typedef struct cs_bucket {
    uint64_t key;
    int64_t at; /* when `left` was counted */
    double left;
} cs_bucket;

typedef struct cs_served {
    char *name;
    cs_pool *reads, *writes; /* the same on PostgreSQL */
    struct cs_hub *hub;
} cs_served;

typedef struct cs_daemon {
    struct MHD_Daemon *daemon; /* NULL: not started */
    int fd; /* of the listening socket, its own; -1: closed */
} cs_daemon;

/* A daemon that accepts nobody any more. */
typedef struct cs_retired {
    struct cs_retired *next;
    cs_daemon was;
    int64_t since; /* monotonic milliseconds */
} cs_retired;

typedef struct csync_server {
    cs_mhd mhd;
    csync_server_options options; /* numbers only, with the defaults filled in */
    char **origins; /* that CORS lets in */
    char *tokens; /* the file; NULL: none */
    char *cert, *key; /* PEM files; NULL: no TLS */
    char pem_hash[CSYNC_HASH_SIZE]; /* of what they held */
    pthread_mutex_t reloading; /* one at a time; taken before the lock */
    cs_daemon daemon; /* that accepts */
    int listener;
    char url[CS_ADDRESS_SIZE + 32];
    int port;
    int checks_layout; /* see strict.c */
    cs_served *served;
    size_t served_count;
    csync_api *fixed; /* names, and the grants of the options */
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    cs_settings *settings;
    cs_client *clients;
    int client_count;
    cs_retired *retired;
    int is_stopping; /* the watchman ends */
    int busy; /* requests and streams that are not over: a stream outlives its request for a moment */
    pthread_t watchman;
    int has_watchman;
    cs_bucket *buckets; /* libmicrohttpd's thread alone */
    atomic_int is_ending; /* no new work */
    atomic_long requests, refused, cut, bytes; /* counts for /metrics */
    atomic_long held; /* bytes of bodies in memory */
} csync_server;

enum { CS_ASK_NEW, CS_ASK_READING, CS_ASK_WAITING, CS_ASK_ANSWERED };

/* One request. */
typedef struct cs_ask {
    cs_job job; /* first */
    csync_server *server;
    cs_client *client;
    struct MHD_Connection *connection;
    cs_settings *settings;
    char *target; /* as it came; cut at '?' */
    csync_request request;
    csync_header *headers; /* in x.texts */
    cs_exchange x;
    const cs_route *route;
    cs_served *served;
    cs_buf body;
    int64_t began; /* monotonic milliseconds */
    size_t received, window; /* bytes of the body: all, and in this window */
    size_t held; /* of them counted in server->held */
    int over; /* the body cannot be kept: the status that says why */
    int state;
    int is_seen; /* its headers were complete */
    int status; /* that was answered */
    size_t sent;
    int must_close;
    int is_old_http; /* 1.0: knows no chunks */
    const char *origin; /* that CORS lets in; NULL: none */
    struct cs_stream *stream;
    int64_t since; /* of a stream: Last-Event-ID; -1: none */
} cs_ask;

/* strict.c - what libmicrohttpd lets pass and we do not */
/* Reads the headers into ask->headers. 0, or the status to refuse with; *detail says why. */
int cs_ask_read_headers(cs_ask *ask, const char *version, const char **detail);
/* NULL: not there. */
const char *cs_ask_header(const cs_ask *ask, const char *name);

/* ask.c - a request from its first line to its end */
void *cs_ask_begin(void *cls, const char *uri, struct MHD_Connection *connection);
enum MHD_Result cs_ask_handle(void *cls, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *data,
                              size_t *size, void **state);
void cs_ask_end(void *cls, struct MHD_Connection *connection, void **state,
                enum MHD_RequestTerminationCode why);
/* Nobody asks any more what the request said. */
void cs_ask_shed(cs_ask *ask);
/* From a worker: the answer is there. */
void cs_ask_resume(cs_ask *ask);

/* daemon.c */
int cs_daemon_start(csync_server *server, csync_error *err);
/* Where the PEM files hold another certificate than the daemon has, one that has it takes its place. Fails: all is as before. */
int cs_daemon_renew(csync_server *server, csync_error *err);
void cs_daemon_end_retired(csync_server *server); /* those that nobody is connected to any more */
void cs_daemon_refuse(csync_server *server); /* nobody is accepted any more */
void cs_daemon_stop(csync_server *server); /* no connection may be suspended */

/* limits.c - who connects, how often and how slowly */
void cs_client_notify(void *cls, struct MHD_Connection *connection, void **context,
                      enum MHD_ConnectionNotificationCode code);
void cs_client_allow(cs_client *client, int64_t ms); /* until it is cut; 0: for ever */
/* Whether the request is one too many. */
int cs_ask_is_too_fast(cs_ask *ask);
void *cs_server_watch(void *server); /* the watchman */

/* listen.c */
/* Binds "HOST:PORT"; fills listener, port and url. *is_loopback: only this machine can connect. */
int cs_server_listen(csync_server *server, const char *listen, int *is_loopback, csync_error *err);
/* "127.0.0.1" and its like. */
void cs_address_of(const void *sockaddr, char out[CS_ADDRESS_SIZE], int *is_local);

/* server.c */
/* The server does not stop (for as long as it is patient) before what was held is released. */
void cs_server_hold(csync_server *server);
void cs_server_release(csync_server *server);
cs_settings *cs_settings_take(csync_server *server);
void cs_settings_drop(csync_server *server, cs_settings *settings);
void cs_server_log(const csync_server *server, const char *format, ...) CS_PRINTF(2, 3);

/* metrics.c */
/* Answers GET /metrics. CSYNC_ENOMEM */
int cs_server_count(csync_server *server, cs_reply *reply);

/* tokens.c - the file of tokens */
/* Grants the API what the file's tokens may. */
int cs_tokens_load(const char *path, csync_api *api, csync_error *err);

#endif
