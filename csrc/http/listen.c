/* listen.c - addresses. */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/text.h"
#include "http/server.h"

enum { BACKLOG = 511 };

static int is_loopback4(uint32_t address)
{
    return ntohl(address) >> 24 == 127;
}

/* An IPv4 address in an IPv6 socket is shown, and counted, as what it is. */
void cs_address_of(const void *sockaddr, char out[CS_ADDRESS_SIZE], int *is_local)
{
    const struct sockaddr *address = sockaddr;
    const struct sockaddr_in *four = sockaddr;
    const struct sockaddr_in6 *six = sockaddr;
    uint32_t inner;

    *is_local = 0;
    cs_text_copy(out, CS_ADDRESS_SIZE, "?");
    if (address && address->sa_family == AF_INET) {
        *is_local = is_loopback4(four->sin_addr.s_addr);
        inet_ntop(AF_INET, &four->sin_addr, out, CS_ADDRESS_SIZE);
    } else if (address && address->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
        memcpy(&inner, &six->sin6_addr.s6_addr[12], sizeof inner);
        *is_local = is_loopback4(inner);
        inet_ntop(AF_INET, &inner, out, CS_ADDRESS_SIZE);
    } else if (address && address->sa_family == AF_INET6) {
        *is_local = IN6_IS_ADDR_LOOPBACK(&six->sin6_addr);
        inet_ntop(AF_INET6, &six->sin6_addr, out, CS_ADDRESS_SIZE);
    }
}

/* "HOST:PORT", "[::1]:PORT". */
static int split(const char *listen, char host[CS_ADDRESS_SIZE], char port[8], csync_error *err)
{
    const char *colon = strrchr(listen, ':');
    size_t len = colon ? (size_t)(colon - listen) : 0;
    size_t digits = colon ? strspn(colon + 1, "0123456789") : 0;

    if (len >= 2 && listen[0] == '[' && listen[len - 1] == ']')
        listen++, len -= 2;
    if (!len || len >= CS_ADDRESS_SIZE || !digits || digits > 5 || colon[1 + digits])
        return cs_fail(err, CSYNC_EINVAL, "listen is no HOST:PORT, as in 127.0.0.1:5000");
    memcpy(host, listen, len);
    host[len] = 0;
    cs_text_copy(port, 8, colon + 1);
    return CSYNC_OK;
}

static int bind_to(csync_server *server, const struct addrinfo *info)
{
    const int on = 1;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(fd, info->ai_addr, info->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        close(fd);
        return -1;
    }
    server->listener = fd;
    return 0;
}

static void name_url(csync_server *server, int *is_loopback)
{
    struct sockaddr_in6 bound;
    socklen_t size = sizeof bound;
    char address[CS_ADDRESS_SIZE];

    memset(&bound, 0, sizeof bound);
    getsockname(server->listener, (struct sockaddr *)&bound, &size);
    cs_address_of(&bound, address, is_loopback);
    server->port = ntohs(bound.sin6_port); /* at the same place in both families */
    snprintf(server->url, sizeof server->url, strchr(address, ':') ? "%s://[%s]:%d" : "%s://%s:%d",
             server->options.tls_key ? "https" : "http", address, server->port);
}

int cs_server_listen(csync_server *server, const char *listen, int *is_loopback, csync_error *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    char host[CS_ADDRESS_SIZE], port[8];
    int rc = split(listen, host, port, err);

    if (rc != CSYNC_OK)
        return rc;
    if (getaddrinfo(host, port, &hints, &found) != 0 || !found)
        return cs_fail(err, CSYNC_EINVAL, "listen: \"%s\" is no address of this machine", host);
    if (bind_to(server, found) != 0)
        rc = cs_fail(err, CSYNC_ENET, "cannot listen on %s: %m", listen);
    else
        name_url(server, is_loopback);
    freeaddrinfo(found);
    return rc;
}
