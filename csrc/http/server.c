/* server.c - starting and stopping the HTTP server. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/options.h"
#include "base/text.h"
#include "base/watch.h"
#include "http/config.h"
#include "http/file.h"
#include "http/server.h"
#include "http/stream.h"

enum { PATIENCE_MS = 10000 }; /* for requests that run when the server is stopped */

/* ---- shared state ---- */

cs_settings *cs_settings_take(csync_server *server)
{
    cs_settings *settings;

    pthread_mutex_lock(&server->lock);
    settings = server->settings;
    settings->references++;
    pthread_mutex_unlock(&server->lock);
    return settings;
}

void cs_server_hold(csync_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->busy++;
    pthread_mutex_unlock(&server->lock);
}

void cs_server_release(csync_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->busy--;
    pthread_cond_broadcast(&server->wake);
    pthread_mutex_unlock(&server->lock);
}

void cs_settings_drop(csync_server *server, cs_settings *settings)
{
    int left = 1;

    if (!settings)
        return;
    pthread_mutex_lock(&server->lock);
    left = --settings->references;
    pthread_mutex_unlock(&server->lock);
    if (left)
        return;
    csync_api_free(settings->api);
    cs_free(settings);
}

/* One write a line, so that lines stay whole. */
void cs_server_log(const csync_server *server, const char *format, ...)
{
    char text[600], line[640], now[CS_TIME_SIZE];
    va_list args;
    int len;

    if (!server->options.log_fd)
        return;
    va_start(args, format);
    cs_text_format(text, sizeof text, format, args);
    va_end(args);
    cs_time_format(cs_time_now(), now);
    len = snprintf(line, sizeof line, "%s %s\n", now, text);
    if (write(server->options.log_fd, line, (size_t)len) < 0)
        cs_log(CSYNC_LOG_WARNING, "the server's log cannot be written");
}

/* ---- options ---- */

static int or_default(int value, int otherwise)
{
    return value ? value : otherwise;
}

static int max_connections(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
        limit.rlim_cur / 2 > 4096)
        return 4096;
    return (int)(limit.rlim_cur / 2);
}

static int check_options(const csync_server_options *o, csync_error *err)
{
    const int numbers[] = {o->readers,         o->queue,     o->max_connections,
                           o->max_per_address, o->header_ms, o->max_streams,
                           o->idle_ms,         o->body_ms,   o->log_fd};

    if (!o->databases || !o->database_count)
        return cs_fail(err, CSYNC_EINVAL, "the server has no database");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i] < 0)
            return cs_fail(err, CSYNC_EINVAL, "a number of the server's options is negative");
    if (o->rate < -1 || o->max_body < 0)
        return cs_fail(err, CSYNC_EINVAL, "rate or max_body is negative");
    if (!o->tls_cert != !o->tls_key)
        return cs_fail(err, CSYNC_EINVAL, "TLS needs both a certificate and its key");
    if ((o->grant_count && !o->grants) || (o->origin_count && !o->origins))
        return cs_fail(err, CSYNC_EMISUSE, "grants or origins is NULL");
    return CSYNC_OK;
}

static void fill_defaults(csync_server_options *o)
{
    o->max_body = o->max_body ? o->max_body : INT64_C(16) << 20;
    o->readers = or_default(o->readers, 2);
    o->queue = or_default(o->queue, 64);
    o->max_connections = or_default(o->max_connections, max_connections());
    o->max_per_address = or_default(o->max_per_address, 256);
    o->max_streams = or_default(o->max_streams, o->max_connections);
    o->rate = or_default(o->rate, 500);
    o->header_ms = or_default(o->header_ms, 10000);
    o->body_ms = or_default(o->body_ms, 10000);
    o->idle_ms = or_default(o->idle_ms, 60000);
}

static int copy_origins(csync_server *server, const csync_server_options *o, csync_error *err)
{
    server->origins = cs_calloc(o->origin_count + 1, sizeof *server->origins);
    if (!server->origins)
        return cs_fail_nomem(err);
    for (size_t i = 0; i < o->origin_count; i++) {
        if (!o->origins[i] || strcmp(o->origins[i], "*") == 0)
            return cs_fail(err, CSYNC_EINVAL, "origins are exact; there is no *");
        if (!(server->origins[i] = cs_strdup(o->origins[i])))
            return cs_fail_nomem(err);
    }
    return CSYNC_OK;
}

static int copy_files(csync_server *server, const csync_server_options *o, csync_error *err)
{
    server->tokens = cs_strdup(o->tokens);
    server->cert = cs_strdup(o->tls_cert);
    server->key = cs_strdup(o->tls_key);
    if ((o->tokens && !server->tokens) || (o->tls_cert && !server->cert) ||
        (o->tls_key && !server->key))
        return cs_fail_nomem(err);
    return CSYNC_OK;
}

static int is_safe(const csync_server *server, int is_loopback, csync_error *err)
{
    const csync_server_options *o = &server->options;

    if (is_loopback)
        return CSYNC_OK;
    if (!o->grant_count && !server->tokens)
        return cs_fail(err, CSYNC_EINVAL,
                       "other machines can reach this address: it needs tokens (csync token add)");
    if (!o->tls_key && !o->behind_proxy)
        return cs_fail(err, CSYNC_EINVAL,
                       "other machines can reach this address: it needs a "
                       "certificate, or a proxy that has one (behind_proxy)");
    return CSYNC_OK;
}

/* ---- names and grants ---- */

/* The texts of the grants stay those of `from`. */
static int copy_grants(csync_api *to, const csync_api *from, csync_error *err)
{
    to->grants = cs_calloc(from->grant_count + 1, sizeof *to->grants);
    if (!to->grants)
        return cs_fail_nomem(err);
    if (from->grant_count)
        memcpy(to->grants, from->grants, from->grant_count * sizeof *to->grants);
    to->grant_count = from->grant_count;
    return CSYNC_OK;
}

static int make_fixed(csync_server *server, const csync_server_options *o, csync_error *err)
{
    const csync_api_options options = {.struct_size = sizeof options, .max_body = o->max_body};
    int rc = csync_api_new(&server->fixed, &options, err);

    for (size_t i = 0; rc == CSYNC_OK && i < o->database_count; i++) {
        const csync_served *d = &o->databases[i];

        if (!d->name || !d->url)
            rc = cs_fail(err, CSYNC_EMISUSE, "a database's name or url is NULL");
        else if (strcmp(d->url, ":memory:") == 0 || strcmp(d->url, "sqlite::memory:") == 0)
            rc = cs_fail(err, CSYNC_EINVAL, "a server needs a database that it can open again");
        else
            rc = cs_api_add(server->fixed, d->name, NULL, err);
    }
    for (size_t i = 0; rc == CSYNC_OK && i < o->grant_count; i++)
        rc = csync_api_grant(server->fixed, &o->grants[i], err);
    return rc;
}

/* A database that is withdrawn is not used: names are as at the start. */
static int make_api(csync_server *server, csync_api **out, csync_error *err)
{
    int rc = csync_api_new(out, &server->fixed->options, err);

    for (size_t i = 0; rc == CSYNC_OK && i < server->fixed->database_count; i++)
        rc = cs_api_add(*out, server->fixed->databases[i].name, NULL, err);
    if (rc == CSYNC_OK)
        rc = copy_grants(*out, server->fixed, err);
    if (rc == CSYNC_OK && server->tokens) {
        (*out)->is_guarded = 1;
        rc = cs_tokens_load(server->tokens, *out, err);
    }
    return rc;
}

static int make_settings(csync_server *server, cs_settings **out, csync_error *err)
{
    cs_settings *made = cs_calloc(1, sizeof *made);
    int rc = made ? make_api(server, &made->api, err) : cs_fail_nomem(err);

    *out = made;
    if (made)
        made->references = 1;
    return rc;
}

static void use_settings(csync_server *server, cs_settings *made)
{
    cs_settings *before;

    pthread_mutex_lock(&server->lock);
    before = server->settings;
    server->settings = made;
    pthread_mutex_unlock(&server->lock);
    cs_settings_drop(server, before);
}

/* ---- databases ---- */

/* One writer: SQLite has only one, and two would wait for each other. PostgreSQL takes all there are. */
static int serve(csync_server *server, const csync_served *from, csync_error *err)
{
    const csync_server_options *o = &server->options;
    const int is_postgres = strncmp(from->url, "postgresql:", 11) == 0;
    cs_served *served = &server->served[server->served_count++];

    served->name = cs_strdup(from->name);
    if (!served->name)
        return cs_fail_nomem(err);
    served->writes = cs_pool_open(from->url, is_postgres ? 2 + o->readers : 1, o->queue, err);
    if (!served->writes)
        return err->code;
    served->reads = is_postgres ? served->writes : cs_pool_open(from->url, o->readers, o->queue, err);
    if (!served->reads)
        return err->code;
    served->hub = cs_hub_create(server, served, from->url, err);
    return served->hub ? CSYNC_OK : err->code;
}

static int serve_all(csync_server *server, const csync_server_options *o, csync_error *err)
{
    int rc = CSYNC_OK;

    server->served = cs_calloc(o->database_count, sizeof *server->served);
    if (!server->served)
        return cs_fail_nomem(err);
    for (size_t i = 0; rc == CSYNC_OK && i < o->database_count; i++)
        rc = serve(server, &o->databases[i], err);
    return rc;
}

static int start_watchman(csync_server *server, csync_error *err)
{
    server->has_watchman = cs_thread_start(&server->watchman, cs_server_watch, server) == 0;
    return server->has_watchman ? CSYNC_OK : cs_fail(err, CSYNC_ERROR, "a thread cannot be started");
}

static int start(csync_server *server, const csync_server_options *o, csync_error *err)
{
    int is_loopback = 0;
    int rc = cs_mhd_open(&server->mhd, err);

    server->buckets = cs_calloc(CS_BUCKETS, sizeof *server->buckets);
    if (rc == CSYNC_OK && !server->buckets)
        rc = cs_fail_nomem(err);
    if (rc == CSYNC_OK)
        rc = copy_origins(server, o, err);
    if (rc == CSYNC_OK)
        rc = copy_files(server, o, err);
    if (rc == CSYNC_OK)
        rc = make_fixed(server, o, err);
    if (rc == CSYNC_OK)
        rc = make_settings(server, &server->settings, err);
    if (rc == CSYNC_OK)
        rc = cs_server_listen(server, o->listen ? o->listen : "127.0.0.1:5000", &is_loopback, err);
    if (rc == CSYNC_OK)
        rc = is_safe(server, is_loopback, err);
    if (rc == CSYNC_OK)
        rc = serve_all(server, o, err);
    if (rc == CSYNC_OK)
        rc = cs_daemon_start(server, err);
    return rc == CSYNC_OK ? start_watchman(server, err) : rc;
}

/* Options point to what is the caller's. */
static void keep_numbers(csync_server_options *o)
{
    o->listen = o->tokens = o->tls_cert = o->tls_key = o->config = NULL;
    o->databases = NULL;
    o->grants = NULL;
    o->origins = NULL;
}

static int create(csync_server **out, csync_server_options *o, csync_error *err)
{
    csync_server *server;
    int rc = check_options(o, err);

    if (rc != CSYNC_OK)
        return rc;
    fill_defaults(o);
    server = cs_calloc(1, sizeof *server);
    if (!server)
        return cs_fail_nomem(err);
    server->options = *o;
    server->listener = -1;
    pthread_mutex_init(&server->lock, NULL);
    pthread_mutex_init(&server->reloading, NULL);
    cs_condition_init(&server->wake);
    rc = start(server, o, err);
    if (rc == CSYNC_OK) {
        keep_numbers(&server->options);
        *out = server;
    } else {
        csync_server_stop(server);
    }
    return rc;
}

int csync_server_start(csync_server **out, const csync_server_options *options, csync_error *err)
{
    csync_error why = CSYNC_ERROR_INIT;
    csync_batch *texts = NULL;
    csync_server_options o;
    int rc;

    cs_error_clear(err);
    if (out)
        *out = NULL;
    if (!out || !options)
        return cs_fail(err, CSYNC_EMISUSE, "out or options is NULL");
    rc = CS_OPTIONS_IN(&o, options, &why);
    if (rc == CSYNC_OK && o.config)
        rc = cs_config_load(&o, &texts, &why);
    if (rc == CSYNC_OK)
        rc = create(out, &o, &why);
    csync_batch_free(texts);
    if (rc != CSYNC_OK)
        cs_error_copy(err, &why);
    return rc;
}

const char *csync_server_url(const csync_server *server)
{
    return server ? server->url : NULL;
}

int csync_server_reload(csync_server *server, csync_error *err)
{
    cs_settings *made;
    int rc;

    cs_error_clear(err);
    if (!server)
        return cs_fail(err, CSYNC_EMISUSE, "server is NULL");
    pthread_mutex_lock(&server->reloading);
    rc = make_settings(server, &made, err);
    if (rc == CSYNC_OK)
        rc = cs_daemon_renew(server, err);
    if (rc == CSYNC_OK)
        use_settings(server, made);
    else
        cs_settings_drop(server, made);
    pthread_mutex_unlock(&server->reloading);
    for (size_t i = 0; rc == CSYNC_OK && i < server->served_count; i++)
        cs_hub_end_streams(server->served[i].hub);
    return rc;
}

/* ---- stopping ---- */

/* Nobody new. */
static void refuse_all(csync_server *server)
{
    atomic_store(&server->is_ending, 1);
    cs_daemon_refuse(server);
    if (server->listener >= 0)
        close(server->listener);
    for (size_t i = 0; i < server->served_count; i++)
        if (server->served[i].hub)
            cs_hub_refuse(server->served[i].hub);
}

static void wait_while_busy(csync_server *server, int64_t until)
{
    pthread_mutex_lock(&server->lock);
    while (server->busy && cs_monotonic_ms() < until)
        cs_condition_wait(&server->wake, &server->lock, 50);
    pthread_mutex_unlock(&server->lock);
}

static void end_pools(csync_server *server, int64_t until)
{
    for (size_t i = 0; i < server->served_count; i++) {
        cs_served *s = &server->served[i];
        int64_t left = until - cs_monotonic_ms();

        left = left > 0 ? left : 0;
        if (s->writes)
            cs_pool_end(s->writes, (int)left);
        if (s->reads && s->reads != s->writes)
            cs_pool_end(s->reads, (int)left);
    }
}

static void free_served(cs_served *s)
{
    cs_hub_free(s->hub);
    if (s->reads != s->writes)
        cs_pool_free(s->reads);
    cs_pool_free(s->writes);
    cs_free(s->name);
}

static void free_server(csync_server *server)
{
    for (size_t i = 0; i < server->served_count; i++)
        free_served(&server->served[i]);
    cs_settings_drop(server, server->settings);
    csync_api_free(server->fixed);
    for (char **origin = server->origins; origin && *origin; origin++)
        cs_free(*origin);
    cs_free(server->origins);
    cs_free(server->tokens);
    cs_free(server->cert);
    cs_free(server->key);
    cs_free(server->served);
    cs_free(server->buckets);
    pthread_cond_destroy(&server->wake);
    pthread_mutex_destroy(&server->lock);
    pthread_mutex_destroy(&server->reloading);
    cs_free(server);
}

/* The daemon may end only when no connection is suspended: so first the streams and the workers, which resume all. */
void csync_server_stop(csync_server *server)
{
    const int64_t until = cs_monotonic_ms() + PATIENCE_MS;

    if (!server)
        return;
    refuse_all(server);
    wait_while_busy(server, until);
    end_pools(server, until);
    pthread_mutex_lock(&server->lock);
    server->is_stopping = 1;
    pthread_cond_broadcast(&server->wake);
    pthread_mutex_unlock(&server->lock);
    if (server->has_watchman)
        pthread_join(server->watchman, NULL);
    cs_daemon_stop(server);
    free_server(server);
}
