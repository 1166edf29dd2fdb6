/* links: sqlite3 - fuzz_server.c - bytes to a running server, over a socket: its reader of requests, what it refuses in front of
 * it (strict.c), the query, Last-Event-ID and the streams' beginning. What is answered well was well-formed. */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "csync.h"

/* libmicrohttpd does not always see that a client has stopped sending: our deadlines then end the connection. */
enum { ANSWER = 64 << 10, PATIENCE = 200, DEADLINE_MS = 40 };

/* In memory: a busy disk is no hanging server. */
static char folder[] = "/dev/shm/csync-fuzz-XXXXXX", path[64];
static csync *replica;
static csync_server *server;
static struct sockaddr_in address = {.sin_family = AF_INET};

static void must(int is_true)
{
    if (!is_true)
        __builtin_trap();
}

static void execute(const char *sql)
{
    must(csync_execute(replica, sql, NULL, 0, NULL, NULL, NULL, NULL) == CSYNC_OK);
}

/* ---- the server -------------------------------------------------------------------------------------- */

/* The server ends with the process: here OpenSSL may have put its things away already. */
static void remove_world(void)
{
    static const char *const ends[] = {"", "-wal", "-shm"};

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char name[80];

        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        (void)unlink(name);
    }
    (void)rmdir(folder);
}

static void make_world(void)
{
    csync_served served = {"main", path};
    csync_server_options options = {.struct_size = sizeof options,
                                    .listen = "127.0.0.1:0",
                                    .databases = &served,
                                    .database_count = 1,
                                    .rate = -1,
                                    .header_ms = DEADLINE_MS,
                                    .body_ms = DEADLINE_MS,
                                    .idle_ms = DEADLINE_MS,
                                    .max_per_address = 4096};

    must(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/main.db", folder);
    must(csync_open(&replica, path, NULL, NULL) == CSYNC_OK);
    execute("PRAGMA synchronous=OFF");
    execute("CREATE TABLE note(id INTEGER PRIMARY KEY, body, votes INTEGER)");
    must(csync_track(replica, "note", NULL, NULL) == CSYNC_OK);
    execute("INSERT INTO note VALUES (1, 'a', 1), (2, x'00ff', NULL)");
    must(csync_server_start(&server, &options, NULL) == CSYNC_OK);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)strtol(strrchr(csync_server_url(server), ':') + 1, NULL, 10));
    atexit(remove_world);
}

/* ---- one connection ---------------------------------------------------------------------------------- */

static int connect_to_server(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    must(fd >= 0);
    must(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

/* The server may have answered and closed before all is sent. */
static void send_all(int fd, const uint8_t *data, size_t size)
{
    while (size) {
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL);

        if (n <= 0)
            break;
        data += n;
        size -= (size_t)n;
    }
    (void)shutdown(fd, SHUT_WR);
}

static int is_stream(const char *answer)
{
    return strstr(answer, "\r\nContent-Type: text/event-stream\r\n") != NULL;
}

/* In many short waits: a machine that stood still as a whole is no hanging server. */
static int has_more(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};

    for (int i = 0; i < PATIENCE; i++)
        if (poll(&p, 1, 100) == 1)
            return 1;
    return 0;
}

/* What comes until the server closes or a stream begins; NUL behind it. It has to come to an end. */
static size_t receive(int fd, char *answer)
{
    size_t len = 0;

    while (len < ANSWER - 1) {
        ssize_t n;

        must(has_more(fd));
        n = recv(fd, answer + len, ANSWER - 1 - len, 0);
        if (n <= 0)
            break;
        len += (size_t)n;
        answer[len] = 0;
        if (is_stream(answer))
            break;
    }
    answer[len] = 0;
    return len;
}

/* With a reset, so that the server learns at its next write that nobody is there. */
static void hang_up(int fd)
{
    static const struct linger at_once = {1, 0};

    must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
    (void)close(fd);
}

/* ---- what a request is (RFC 9112), read without regard to how the server reads it --------------------- */

typedef struct span {
    const char *at;
    size_t len;
} span;

/* The line off the front of *rest, without its CRLF. 0: there is none. */
static int take_line(span *rest, span *line)
{
    const char *end = memmem(rest->at, rest->len, "\r\n", 2);

    if (!end)
        return 0;
    *line = (span){rest->at, (size_t)(end - rest->at)};
    rest->at = end + 2;
    rest->len -= line->len + 2;
    return 1;
}

/* libmicrohttpd before 1.0 takes NUL LF for CR LF and leaves no trace of it (strict.c), so neither do we see it. */
static void forgive(char *text, size_t len)
{
    for (char *p = text; len && (p = memmem(p, len - (size_t)(p - text), "\0\n", 2)) != NULL;)
        *p = '\r';
}

static int has_only(span text, unsigned char first, unsigned char last, const char *also)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.at[i];

        if ((c < first || c > last) && !(c && strchr(also, c)))
            return 0;
    }
    return 1;
}

/* METHOD SP TARGET SP HTTP/1.x */
static int is_request_line(span line)
{
    const char *target = memchr(line.at, ' ', line.len), *version;

    if (!target || target == line.at)
        return 0;
    target++;
    version = memchr(target, ' ', (size_t)(line.at + line.len - target));
    return version && version > target && line.at + line.len - version == 9 &&
           memcmp(version, " HTTP/1.", 8) == 0 && (version[8] == '0' || version[8] == '1') &&
           has_only((span){target, (size_t)(version - target)}, 0x21, 0x7e, "");
}

static int is_named(span line, const char *name)
{
    size_t len = strlen(name);

    return line.len > len && line.at[len] == ':' && strncasecmp(line.at, name, len) == 0;
}

static int is_header_line(span line)
{
    const char *colon = memchr(line.at, ':', line.len);
    span name, value;

    if (!colon || colon == line.at)
        return 0;
    name = (span){line.at, (size_t)(colon - line.at)};
    value = (span){colon + 1, line.len - name.len - 1};
    for (const char *c = "()<>@,;:\\\"/[]?={} \t"; *c; c++)
        if (memchr(name.at, *c, name.len))
            return 0;
    if (memchr(value.at, 0x7f, value.len))
        return 0;
    return has_only(name, 0x21, 0x7e, "") && has_only(value, 0x20, 0xff, "\t");
}

/* Whether everybody reads it as the same request. Empty lines in front of one are nothing, and to libmicrohttpd before 1.0
 * a line there that begins with NUL is empty. */
static int is_well_formed(span rest)
{
    int hosts = 0, lengths = 0, codings = 0;
    span line;

    do
        if (!take_line(&rest, &line))
            return 0;
    while (!line.len || !line.at[0]);
    if (!is_request_line(line))
        return 0;
    while (take_line(&rest, &line) && line.len) {
        if (!is_header_line(line))
            return 0;
        hosts += is_named(line, "Host");
        lengths += is_named(line, "Content-Length");
        codings += is_named(line, "Transfer-Encoding");
    }
    return !line.len && hosts == 1 && lengths + codings <= 1;
}

static void check(const uint8_t *data, size_t size, const char *answer, size_t len)
{
    char *text;

    if (!len)
        return;
    must(len > 12 && memcmp(answer, "HTTP/1.", 7) == 0);
    if (answer[9] != '2')
        return;
    text = malloc(size);
    must(text != NULL);
    memcpy(text, data, size);
    forgive(text, size);
    must(is_well_formed((span){text, size}));
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char answer[ANSWER];
    size_t len;
    int fd;

    if (!server)
        make_world();
    fd = connect_to_server();
    send_all(fd, data, size);
    len = receive(fd, answer);
    check(data, size, answer, len);
    hang_up(fd);
    if (is_stream(answer)) /* the server learns that nobody reads it when it has something to send */
        execute("UPDATE note SET votes = votes + 1 WHERE id = 1");
    return 0;
}
