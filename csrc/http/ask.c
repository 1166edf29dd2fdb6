/* ask.c - a request from its first line to its end. Everything here but the job runs on libmicrohttpd's thread. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/watch.h"
#include "http/server.h"
#include "http/stream.h"

/* How long an answer may take: so much, and a second more for each KiB. */
enum { SEND_MS = 30000 };
/* Bytes of bodies that are held at a time, of all requests. */
#define HELD_MAX (256L << 20)

/* ---- beginning and end ---- */

void *cs_ask_begin(void *cls, const char *uri, struct MHD_Connection *connection)
{
    csync_server *server = cls;
    const union MHD_ConnectionInfo *info =
        server->mhd.MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    cs_client *client = info ? info->socket_context : NULL;
    cs_ask *ask = client ? cs_calloc(1, sizeof *ask) : NULL;

    if (!ask || !(ask->target = cs_strdup(uri))) {
        cs_free(ask);
        return NULL;
    }
    ask->server = server;
    ask->client = client;
    ask->connection = connection;
    ask->began = cs_monotonic_ms();
    ask->since = -1;
    cs_client_allow(client, server->options.header_ms);
    atomic_fetch_add(&server->requests, 1);
    cs_server_hold(server);
    return ask;
}

/* No query, no token: only what is no secret. */
static void log_ask(const cs_ask *ask)
{
    const cs_grant *grant = ask->x.grant;

    cs_server_log(ask->server, "%s %.10s %.120s %s %d %zu %lldms %s", ask->client->address,
                  ask->is_seen ? ask->request.method : "-", ask->target,
                  ask->served ? ask->served->name : "-", ask->status, ask->sent,
                  (long long)(cs_monotonic_ms() - ask->began),
                  grant && grant->client[0] ? grant->client : "-");
}

/* The name, the method and the target stay, for the log. */
void cs_ask_shed(cs_ask *ask)
{
    atomic_fetch_sub(&ask->server->held, (long)ask->held);
    ask->held = 0;
    cs_buf_free(&ask->body);
    cs_reply_destroy(ask->x.reply);
    ask->x.reply = NULL;
    ask->headers = NULL;
    ask->request.headers = NULL;
    ask->request.header_count = ask->x.param_count = 0;
    ask->origin = NULL;
    cs_arena_free(&ask->x.texts);
}

static void destroy(cs_ask *ask)
{
    csync_server *server = ask->server;

    cs_stream_drop(ask->stream);
    cs_ask_shed(ask);
    cs_settings_drop(server, ask->settings);
    cs_free(ask->target);
    cs_free(ask);
    cs_server_release(server);
}

void cs_ask_end(void *cls, struct MHD_Connection *connection, void **state,
                enum MHD_RequestTerminationCode why)
{
    cs_ask *ask = *state;

    (void)cls, (void)connection, (void)why;
    *state = NULL;
    if (!ask)
        return;
    if (ask->status >= 400 || !ask->status)
        atomic_fetch_add(&ask->server->refused, 1);
    ask->target[strcspn(ask->target, "?")] = 0;
    log_ask(ask);
    cs_client_allow(ask->client, ask->server->options.idle_ms);
    destroy(ask);
}

/* ---- answering ---- */

static void free_reply(void *reply)
{
    cs_reply_destroy(reply);
}

void cs_ask_add_headers(cs_ask *ask, struct MHD_Response *response)
{
    const cs_mhd *mhd = &ask->server->mhd;

    if (ask->origin) {
        mhd->MHD_add_response_header(response, "Access-Control-Allow-Origin", ask->origin);
        mhd->MHD_add_response_header(response, "Access-Control-Expose-Headers", "Retry-After");
        mhd->MHD_add_response_header(response, "Vary", "Origin");
    }
    if (ask->must_close || atomic_load(&ask->client->is_old) || atomic_load(&ask->server->is_ending))
        mhd->MHD_add_response_header(response, "Connection", "close");
}

/* A reply that memory did not suffice for closes the connection: the client asks again. */
enum MHD_Result cs_ask_answer(cs_ask *ask)
{
    const cs_mhd *mhd = &ask->server->mhd;
    cs_reply *reply = ask->x.reply;
    struct MHD_Response *response;
    enum MHD_Result queued;

    if (!reply || !reply->pub.status)
        return MHD_NO;
    response = mhd->MHD_create_response_from_buffer_with_free_callback_cls(
        reply->pub.body_length, (void *)(uintptr_t)reply->pub.body, free_reply, reply);
    if (!response)
        return MHD_NO;
    ask->x.reply = NULL; /* the response's */
    ask->status = reply->pub.status;
    ask->sent = reply->pub.body_length;
    for (size_t i = 0; i < reply->pub.header_count; i++)
        mhd->MHD_add_response_header(response, reply->headers[i].name, reply->headers[i].value);
    cs_ask_add_headers(ask, response);
    cs_client_allow(ask->client, SEND_MS + (int64_t)ask->sent);
    atomic_fetch_add(&ask->server->bytes, (long)ask->sent);
    queued = mhd->MHD_queue_response(ask->connection, (unsigned)ask->status, response);
    mhd->MHD_destroy_response(response);
    return queued;
}

/* The body, if there is one, is not read any more. */
static enum MHD_Result refuse(cs_ask *ask, int status, const char *type, const char *detail)
{
    int rc = CSYNC_OK;

    ask->must_close = 1;
    if (!ask->x.reply)
        ask->x.reply = cs_reply_create();
    if (!ask->x.reply)
        return MHD_NO;
    if (status == 429 || status == 503)
        rc = cs_reply_header(ask->x.reply, "Retry-After", "1", NULL);
    if (rc == CSYNC_OK)
        rc = cs_reply_problem(ask->x.reply, status, type, detail, NULL, NULL);
    return rc == CSYNC_OK ? cs_ask_answer(ask) : MHD_NO;
}

/* ---- the job ---- */

void cs_ask_resume(cs_ask *ask)
{
    ask->state = CS_ASK_ANSWERED;
    ask->server->mhd.MHD_resume_connection(ask->connection);
}

void cs_ask_fail(cs_ask *ask, const csync_error *why)
{
    if (why->code == CSYNC_EDB || why->code == CSYNC_ERROR)
        cs_server_log(ask->server, "error in %s: %s", ask->served->name, why->message);
    if (why->code == CSYNC_ENOMEM || cs_reply_failure(ask->x.reply, why, NULL) != CSYNC_OK)
        ask->x.reply->pub.status = 0;
}

static int run(cs_job *job, csync *replica)
{
    cs_ask *ask = (cs_ask *)job;
    csync_error why = CSYNC_ERROR_INIT;
    cs_database database = {.replica = replica};
    int rc = CSYNC_EBUSY;

    ask->x.database = &database;
    if (replica)
        rc = cs_exchange_answer(&ask->x, ask->route, &why);
    else
        cs_fail(&why, rc, "the database cannot be opened");
    if (rc != CSYNC_OK)
        cs_ask_fail(ask, &why);
    ask->x.database = NULL;
    cs_ask_resume(ask);
    return rc;
}

/* Suspended before the job is there: the worker may be faster than this thread. */
int cs_ask_give(cs_ask *ask, cs_pool *pool, int (*job)(cs_job *job, csync *replica))
{
    csync_error busy = CSYNC_ERROR_INIT;

    ask->job.run = job;
    ask->state = CS_ASK_WAITING;
    ask->server->mhd.MHD_suspend_connection(ask->connection);
    if (cs_pool_add(pool, &ask->job, 0) == 0)
        return MHD_YES;
    cs_fail(&busy, CSYNC_EBUSY, "too many requests wait for the database");
    cs_ask_fail(ask, &busy);
    cs_stream_drop(ask->stream);
    ask->stream = NULL;
    cs_ask_resume(ask);
    return MHD_YES;
}

/* ---- reading ---- */

/* CORS, by exact origin. */
static void find_origin(cs_ask *ask)
{
    const char *origin = cs_ask_header(ask, "Origin");

    for (char **known = ask->server->origins; origin && known && *known; known++)
        if (strcmp(*known, origin) == 0)
            ask->origin = origin;
}

static enum MHD_Result answer_preflight(cs_ask *ask)
{
    static const char *const headers[][2] = {
        {"Access-Control-Allow-Methods", "GET, POST, DELETE"},
        {"Access-Control-Allow-Headers",
         "Authorization, Content-Type, Content-Encoding, Last-Event-ID"},
        {"Access-Control-Max-Age", "600"}};
    int rc = CSYNC_OK;

    ask->x.reply = cs_reply_create();
    if (!ask->x.reply)
        return MHD_NO;
    for (size_t i = 0; rc == CSYNC_OK && i < sizeof headers / sizeof *headers; i++)
        rc = cs_reply_header(ask->x.reply, headers[i][0], headers[i][1], NULL);
    ask->x.reply->pub.status = rc == CSYNC_OK ? 204 : 0;
    return cs_ask_answer(ask);
}

static int is_own_name(const char *host)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t len = strlen(names[i]);

        if (strncasecmp(host, names[i], len) == 0 && (!host[len] || host[len] == ':'))
            return 1;
    }
    return 0;
}

/* The server's own page: an Origin is a scheme, "://" and what Host says. */
static int is_own_page(const cs_ask *ask)
{
    const char *origin = cs_ask_header(ask, "Origin"), *host = strstr(origin, "://");

    return host && strcasecmp(host + 3, cs_ask_header(ask, "Host")) == 0;
}

/* Without tokens a page in the user's browser must not pass for the user: neither one that sends its requests here, nor one
 * whose host name has been made to mean this machine. */
static int is_page(const cs_ask *ask)
{
    const csync_api *api = ask->settings->api;

    if (api->grant_count || api->is_guarded)
        return 0;
    if (!is_own_name(cs_ask_header(ask, "Host")))
        return 1;
    return cs_ask_header(ask, "Origin") && !ask->origin && !is_own_page(ask);
}

/* Which of the server's databases the exchange has found. */
static void find_served(cs_ask *ask)
{
    const cs_exchange *x = &ask->x;

    if (x->database)
        ask->served = &ask->server->served[x->database - x->api->databases];
}

/* Everything that can be said without a body. */
static enum MHD_Result check(cs_ask *ask)
{
    csync_error why = CSYNC_ERROR_INIT;
    int rc = cs_exchange_find(&ask->x, &ask->route, &why);

    find_served(ask);
    if (rc == CSYNC_ENOMEM)
        return MHD_NO;
    if (rc != CSYNC_OK && cs_reply_failure(ask->x.reply, &why, NULL) != CSYNC_OK)
        return MHD_NO;
    if (!ask->route || rc != CSYNC_OK) {
        ask->must_close = strcmp(ask->request.method, "POST") == 0;
        return cs_ask_answer(ask);
    }
    if (ask->route->kind == CS_WRITES &&
        cs_pool_waiting(ask->served->writes) >= ask->server->options.queue)
        return refuse(ask, 503, "busy", "too many requests wait for the database");
    cs_client_allow(ask->client, ask->server->options.body_ms);
    return MHD_YES;
}

static enum MHD_Result open_exchange(cs_ask *ask)
{
    csync_server *server = ask->server;

    ask->settings = cs_settings_take(server);
    ask->request.local = ask->client->is_local && !server->options.behind_proxy;
    ask->x.api = ask->settings->api;
    ask->x.request = &ask->request;
    ask->x.reply = cs_reply_create();
    if (!ask->x.reply)
        return MHD_NO;
    if (is_page(ask))
        return refuse(ask, 403, "forbidden", "the request comes from another site's page");
    return check(ask);
}

static void split_target(cs_ask *ask, const char *method)
{
    size_t len = strcspn(ask->target, "?");

    ask->request =
        (csync_request){.struct_size = sizeof ask->request, .method = method, .path = ask->target};
    if (ask->target[len]) {
        ask->target[len] = 0;
        ask->request.query = ask->target + len + 1;
    }
}

static enum MHD_Result first(cs_ask *ask, const char *method, const char *version)
{
    const char *detail = NULL;
    int status;

    ask->state = CS_ASK_READING;
    ask->is_seen = 1;
    cs_client_allow(ask->client, 0);
    split_target(ask, method);
    ask->is_old_http = strcmp(version, "HTTP/1.0") == 0;
    if (strcmp(version, "HTTP/1.1") != 0 && !ask->is_old_http)
        return refuse(ask, 505, "version", "this server speaks HTTP/1.1");
    status = cs_ask_read_headers(ask, version, &detail);
    if (status)
        return refuse(ask, status, status == 413 ? "too-large" : "malformed", detail);
    if (ask->client->is_extra)
        return refuse(ask, 429, "too-many-connections", "too many connections from this address");
    if (cs_ask_is_too_fast(ask))
        return refuse(ask, 429, "too-many-requests", "too many requests from this client");
    if (atomic_load(&ask->server->is_ending))
        return refuse(ask, 503, "stopping", "the server is stopping");
    find_origin(ask);
    if (ask->origin && strcmp(method, "OPTIONS") == 0)
        return answer_preflight(ask);
    return open_exchange(ask);
}

/* libmicrohttpd lets us answer at the end of a body only. What cannot be kept is read and dropped for a while, so that an
 * honest client learns why. */
static void keep(cs_ask *ask, const char *data, size_t n)
{
    csync_server *server = ask->server;

    if (ask->received > (size_t)server->options.max_body)
        ask->over = 413;
    else if (atomic_fetch_add(&server->held, (long)n) + (long)n > HELD_MAX)
        ask->over = 503;
    if (ask->over == 413)
        return;
    ask->held += n;
    if (!ask->over)
        cs_buf_put(&ask->body, data, n);
}

static enum MHD_Result take(cs_ask *ask, const char *data, size_t *size)
{
    const size_t n = *size;

    ask->received += n;
    if (!ask->over)
        keep(ask, data, n);
    if (ask->over)
        cs_buf_free(&ask->body);
    if (ask->body.failed || ask->received / 2 > (size_t)ask->server->options.max_body)
        return MHD_NO;
    ask->window += n;
    if (ask->window >= (size_t)ask->server->options.body_ms) {
        ask->window = 0;
        cs_client_allow(ask->client, ask->server->options.body_ms);
    }
    *size = 0;
    return MHD_YES;
}

static enum MHD_Result finish(cs_ask *ask)
{
    csync_error why = CSYNC_ERROR_INIT;

    cs_client_allow(ask->client, 0);
    if (ask->over == 413)
        return refuse(ask, 413, "too-large", "the body is larger than this server takes");
    if (ask->over)
        return refuse(ask, 503, "busy", "the server holds too many bodies at present");
    ask->request.body = ask->body.data ? ask->body.data : "";
    ask->request.body_length = ask->body.len;
    switch (ask->route->kind) {
    case CS_READS:
        return cs_ask_give(ask, ask->served->reads, run);
    case CS_WRITES:
        return cs_ask_give(ask, ask->served->writes, run);
    case CS_STREAMS:
        return cs_stream_open(ask);
    case CS_ENDS_STREAM:
        return cs_stream_end(ask) == 0 ? cs_ask_answer(ask)
                                       : refuse(ask, 404, "not-found", "there is no such stream");
    case CS_COUNTS:
        return cs_server_count(ask->server, ask->x.reply) == CSYNC_OK ? cs_ask_answer(ask) : MHD_NO;
    default:
        if (cs_exchange_answer(&ask->x, ask->route, &why) != CSYNC_OK)
            cs_ask_fail(ask, &why);
        return cs_ask_answer(ask);
    }
}

enum MHD_Result cs_ask_handle(void *cls, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *data,
                              size_t *size, void **state)
{
    cs_ask *ask = *state;

    (void)cls, (void)connection, (void)url;
    if (!ask)
        return MHD_NO;
    if (ask->state == CS_ASK_NEW)
        return first(ask, method, version);
    if (ask->state == CS_ASK_READING)
        return *size ? take(ask, data, size) : finish(ask);
    if (ask->state == CS_ASK_ANSWERED)
        return ask->stream ? cs_stream_begin(ask) : cs_ask_answer(ask);
    return MHD_YES;
}
