/* daemon.c - libmicrohttpd's daemon, and the one that takes its place when there is another certificate.
 *
 * A daemon keeps its certificate for life. So the next one is started on the same listening socket, and the one before
 * accepts nobody any more: its answers close their connections, silent ones are cut by their deadlines, and the watchman
 * ends it when the last is gone. */
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"
#include "base/watch.h"
#include "http/file.h"
#include "http/server.h"

enum {
    POOL_BYTES = 16 << 10, /* of a connection: what its headers may be together */
    PEM_MAX = 1 << 20,
    SETTLE_MS = 1000, /* until whoever a daemon accepted last is among the clients */
    STRICT_SINCE = 0x01000000 /* libmicrohttpd reads headers in another way from here on */
};

/* ---- the certificate ---- */

typedef struct pem {
    cs_buf cert, key;
    char hash[CSYNC_HASH_SIZE]; /* of both */
} pem;

static void free_pem(pem *p)
{
    if (p->key.data)
        explicit_bzero(p->key.data, p->key.len);
    cs_buf_free(&p->cert);
    cs_buf_free(&p->key);
}

/* Without TLS there is nothing to read, and it is always the same. */
static int read_pem(const csync_server *server, pem *p, csync_error *err)
{
    char hashes[2 * CSYNC_HASH_SIZE] = "";
    int rc;

    if (!server->key)
        return CSYNC_OK;
    rc = cs_file_read(server->cert, PEM_MAX, &p->cert, err);
    if (rc == CSYNC_OK)
        rc = cs_file_read(server->key, PEM_MAX, &p->key, err);
    if (rc == CSYNC_OK)
        rc = cs_token_hash(p->cert.data, hashes, err);
    if (rc == CSYNC_OK)
        rc = cs_token_hash(p->key.data, hashes + CSYNC_HASH_SIZE - 1, err);
    return rc == CSYNC_OK ? cs_token_hash(hashes, p->hash, err) : rc;
}

/* ---- starting ---- */

static unsigned layout_of(const char *version)
{
    unsigned parts[3] = {0, 0, 0};

    for (size_t i = 0; *version && i < 3; version++) {
        if (*version == '.')
            i++;
        else if (*version >= '0' && *version <= '9' && i < 3)
            parts[i] = parts[i] * 10 + (unsigned)(*version - '0');
    }
    return parts[0] << 24 | parts[1] << 16 | (parts[2] / 10) << 12 | (parts[2] % 10) << 8;
}

static void say_nothing(void *cls, const char *format, va_list args)
{
    (void)cls, (void)format, (void)args;
}

/* A daemon that cannot be started may have closed its socket or not; by now the number may be another file's. */
static void close_if_ours(const csync_server *server, int fd)
{
    struct stat here, there;

    if (fstat(fd, &here) == 0 && fstat(server->listener, &there) == 0 &&
        here.st_dev == there.st_dev && here.st_ino == there.st_ino)
        close(fd);
}

/* Each daemon has a descriptor of its own for the socket. */
static int start(csync_server *server, const pem *p, cs_daemon *out, csync_error *err)
{
    const csync_server_options *o = &server->options;
    const char *key = p->key.data;
    const struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)p->cert.data},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, "NORMAL:-VERS-TLS1.0:-VERS-TLS1.1"},
        {MHD_OPTION_END, 0, NULL}};
    const unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_ALLOW_SUSPEND_RESUME |
                           MHD_USE_ERROR_LOG | (key ? MHD_USE_TLS : 0);

    out->fd = fcntl(server->listener, F_DUPFD_CLOEXEC, 3);
    if (out->fd < 0)
        return cs_fail(err, CSYNC_ERROR, "the server cannot be started: %m");
    out->daemon = server->mhd.MHD_start_daemon(
        flags, 0, NULL, NULL, cs_ask_handle, server, MHD_OPTION_EXTERNAL_LOGGER, say_nothing, NULL,
        MHD_OPTION_LISTEN_SOCKET, out->fd, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)o->max_connections, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)(o->idle_ms / 1000 + 60), MHD_OPTION_URI_LOG_CALLBACK, cs_ask_begin, server,
        MHD_OPTION_NOTIFY_COMPLETED, cs_ask_end, server, MHD_OPTION_NOTIFY_CONNECTION,
        cs_client_notify, server, MHD_OPTION_ARRAY, key ? tls : tls + 3, MHD_OPTION_END);
    if (out->daemon)
        return CSYNC_OK;
    close_if_ours(server, out->fd);
    return cs_fail(err, CSYNC_ERROR,
                   key ? "the server cannot be started with this certificate"
                       : "the server cannot be started");
}

int cs_daemon_start(csync_server *server, csync_error *err)
{
    pem p = {.hash = ""};
    int rc = CSYNC_OK;

    server->checks_layout = layout_of(server->mhd.MHD_get_version()) < STRICT_SINCE;
    if (server->key && server->mhd.MHD_is_feature_supported(MHD_FEATURE_TLS) != MHD_YES)
        rc = cs_fail(err, CSYNC_EUNSUPPORTED, "this libmicrohttpd was built without TLS");
    if (rc == CSYNC_OK)
        rc = read_pem(server, &p, err);
    if (rc == CSYNC_OK)
        rc = start(server, &p, &server->daemon, err);
    cs_text_copy(server->pem_hash, sizeof server->pem_hash, p.hash);
    free_pem(&p);
    return rc;
}

/* ---- another certificate ---- */

/* Who is connected to the old daemon asks the next time over a new connection. */
static void mark_clients(csync_server *server, const struct MHD_Daemon *old)
{
    for (cs_client *c = server->clients; c; c = c->next)
        if (c->daemon == old)
            atomic_store(&c->is_old, 1);
}

static void replace(csync_server *server, const cs_daemon *next, cs_retired *retired)
{
    retired->was = server->daemon;
    retired->since = cs_monotonic_ms();
    server->mhd.MHD_quiesce_daemon(server->daemon.daemon);
    server->daemon = *next;
    pthread_mutex_lock(&server->lock);
    retired->next = server->retired;
    server->retired = retired;
    mark_clients(server, retired->was.daemon);
    pthread_mutex_unlock(&server->lock);
}

int cs_daemon_renew(csync_server *server, csync_error *err)
{
    cs_retired *retired = NULL;
    cs_daemon next = {NULL, -1};
    pem p = {.hash = ""};
    int rc = read_pem(server, &p, err);

    if (rc == CSYNC_OK && strcmp(p.hash, server->pem_hash) != 0) {
        retired = cs_calloc(1, sizeof *retired);
        rc = retired ? start(server, &p, &next, err) : cs_fail_nomem(err);
        if (rc == CSYNC_OK) {
            replace(server, &next, retired);
            cs_text_copy(server->pem_hash, sizeof server->pem_hash, p.hash);
        } else {
            cs_free(retired);
        }
    }
    free_pem(&p);
    return rc;
}

/* ---- the end ---- */

static int is_empty(const csync_server *server, const cs_retired *retired)
{
    for (const cs_client *c = server->clients; c; c = c->next)
        if (c->daemon == retired->was.daemon)
            return 0;
    return retired->since + SETTLE_MS < cs_monotonic_ms();
}

/* One that nobody is connected to any more, off the list; NULL: none. */
static cs_retired *take_empty(csync_server *server)
{
    cs_retired *found, **p;

    pthread_mutex_lock(&server->lock);
    p = &server->retired;
    while (*p && !is_empty(server, *p))
        p = &(*p)->next;
    found = *p;
    if (found)
        *p = found->next;
    pthread_mutex_unlock(&server->lock);
    return found;
}

static void close_socket(cs_daemon *d)
{
    if (d->fd >= 0)
        close(d->fd);
    d->fd = -1;
}

static void stop(csync_server *server, cs_retired *retired)
{
    server->mhd.MHD_stop_daemon(retired->was.daemon);
    close_socket(&retired->was);
    cs_free(retired);
}

void cs_daemon_end_retired(csync_server *server)
{
    cs_retired *retired;

    while ((retired = take_empty(server)) != NULL)
        stop(server, retired);
}

void cs_daemon_refuse(csync_server *server)
{
    if (!server->daemon.daemon)
        return;
    server->mhd.MHD_quiesce_daemon(server->daemon.daemon);
    close_socket(&server->daemon);
    pthread_mutex_lock(&server->lock);
    for (cs_retired *r = server->retired; r; r = r->next)
        close_socket(&r->was);
    pthread_mutex_unlock(&server->lock);
}

void cs_daemon_stop(csync_server *server)
{
    while (server->retired) {
        cs_retired *retired = server->retired;

        server->retired = retired->next;
        stop(server, retired);
    }
    if (server->daemon.daemon)
        server->mhd.MHD_stop_daemon(server->daemon.daemon);
}
