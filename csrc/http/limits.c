/* limits.c - connections and requests that are too many or too slow.
 *
 * libmicrohttpd's own timeout begins again with each byte, so the watchman keeps deadlines that bytes do not move. */
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "base/text.h"
#include "base/watch.h"
#include "http/server.h"
#include "http/stream.h"

/* ---- connections ---- */

void cs_client_allow(cs_client *client, int64_t ms)
{
    atomic_store(&client->deadline, ms ? cs_monotonic_ms() + ms : 0);
}

static void enter(csync_server *server, cs_client *client)
{
    int same = 0;

    pthread_mutex_lock(&server->lock);
    for (const cs_client *c = server->clients; c; c = c->next)
        same += strcmp(c->address, client->address) == 0;
    client->is_extra = same >= server->options.max_per_address && !server->options.behind_proxy;
    client->next = server->clients;
    client->link = &server->clients;
    if (client->next)
        client->next->link = &client->next;
    server->clients = client;
    server->client_count++;
    pthread_mutex_unlock(&server->lock);
}

/* Under the lock the socket is still open, so the watchman cuts no other's. */
static void leave(csync_server *server, cs_client *client)
{
    if (!client)
        return;
    pthread_mutex_lock(&server->lock);
    *client->link = client->next;
    if (client->next)
        client->next->link = client->link;
    server->client_count--;
    pthread_mutex_unlock(&server->lock);
    cs_free(client);
}

void cs_client_notify(void *cls, struct MHD_Connection *connection, void **context,
                      enum MHD_ConnectionNotificationCode code)
{
    csync_server *server = cls;
    const union MHD_ConnectionInfo *info;
    cs_client *client;

    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        leave(server, *context);
        *context = NULL;
        return;
    }
    client = *context = cs_calloc(1, sizeof *client);
    if (!client)
        return; /* its requests are refused */
    info = server->mhd.MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    client->fd = info ? info->connect_fd : -1;
    info = server->mhd.MHD_get_connection_info(connection, MHD_CONNECTION_INFO_DAEMON);
    client->daemon = info ? info->daemon : NULL;
    info = server->mhd.MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    cs_address_of(info ? info->client_addr : NULL, client->address, &client->is_local);
    cs_client_allow(client, server->options.header_ms);
    enter(server, client);
}

/* ---- requests ---- */

static uint64_t hash_of(const char *text)
{
    uint64_t hash = 14695981039346656037u;

    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 1099511628211u;
    return hash | 1;
}

/* The last address of the last header: what stands before it the client may have written itself. */
static const char *forwarded_for(const cs_ask *ask)
{
    const char *value = NULL, *comma;

    for (size_t i = 0; i < ask->request.header_count; i++)
        if (strcasecmp(ask->headers[i].name, "X-Forwarded-For") == 0)
            value = ask->headers[i].value;
    comma = value ? strrchr(value, ',') : NULL;
    return comma ? comma + 1 + strspn(comma + 1, " ") : value;
}

static uint64_t key_of(const cs_ask *ask)
{
    const char *given = ask->server->options.behind_proxy ? forwarded_for(ask) : NULL;

    return hash_of(given ? given : ask->client->address);
}

/* A place in the table is given to whoever comes: the worst that a collision does is to forget a client. */
int cs_ask_is_too_fast(cs_ask *ask)
{
    csync_server *server = ask->server;
    const double rate = server->options.rate;
    const int64_t now = cs_monotonic_ms();
    uint64_t key = key_of(ask);
    cs_bucket *b = &server->buckets[key % CS_BUCKETS];

    if (rate < 0)
        return 0;
    if (b->key != key)
        *b = (cs_bucket){key, now, 2 * rate};
    b->left += (double)(now - b->at) * rate / 1000;
    b->at = now;
    if (b->left > 2 * rate)
        b->left = 2 * rate;
    if (b->left < 1)
        return 1;
    b->left -= 1;
    return 0;
}

/* ---- the watchman ---- */

/* With a reset: a peer that does not read would keep a closed connection open. */
static void cut(csync_server *server, cs_client *client)
{
    static const struct linger at_once = {1, 0};

    setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    shutdown(client->fd, SHUT_RDWR);
    cs_client_allow(client, 0);
    atomic_fetch_add(&server->cut, 1);
}

static void cut_slow(csync_server *server)
{
    const int64_t now = cs_monotonic_ms();

    for (cs_client *c = server->clients; c; c = c->next) {
        int64_t deadline = atomic_load(&c->deadline);

        if (deadline && deadline < now)
            cut(server, c);
    }
}

void *cs_server_watch(void *arg)
{
    csync_server *server = arg;
    int every = server->options.header_ms / 4;

    every = every > 1000 ? 1000 : every < 20 ? 20 : every;
    pthread_mutex_lock(&server->lock);
    while (!server->is_stopping) {
        cs_condition_wait(&server->wake, &server->lock, every);
        cut_slow(server);
        pthread_mutex_unlock(&server->lock);
        for (size_t i = 0; i < server->served_count; i++)
            cs_hub_beat(server->served[i].hub);
        cs_daemon_end_retired(server);
        pthread_mutex_lock(&server->lock);
    }
    pthread_mutex_unlock(&server->lock);
    return NULL;
}
