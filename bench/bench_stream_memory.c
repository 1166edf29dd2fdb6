/* links: sqlite3 */
/* bench_stream_memory.c - what csync itself holds for an event stream that only waits, beside libmicrohttpd's own: bytes of
 * csync's allocator, with what malloc adds, for each of so many streams over one; the bar is 1 KiB.
 *
 * BENCH_SUBSCRIBERS: how many (200). What the whole process needs for one: bench_events.py. */
#include <arpa/inet.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "bench.h"

enum { BAR = 1024, MALLOC_HEAD = 8 };

static atomic_long held;

static void *count(void *p)
{
    if (p)
        atomic_fetch_add(&held, (long)malloc_usable_size(p) + MALLOC_HEAD);
    return p;
}

static void uncount(void *p)
{
    if (p)
        atomic_fetch_sub(&held, (long)malloc_usable_size(p) + MALLOC_HEAD);
}

static void *take(UNUSED void *user_data, size_t size)
{
    return count(malloc(size));
}

static void *resize(UNUSED void *user_data, void *p, size_t size)
{
    const size_t old = p ? malloc_usable_size(p) + MALLOC_HEAD : 0;
    void *grown = realloc(p, size);

    if (grown)
        atomic_fetch_sub(&held, (long)old);
    return count(grown);
}

static void give_back(UNUSED void *user_data, void *p)
{
    uncount(p);
    free(p);
}

static int connect_to(const char *url)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)strtol(strrchr(url, ':') + 1, NULL, 10));
    must(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0, url,
         "cannot be reached");
    return fd;
}

/* Returns when the server has greeted it; its end is the process's. */
static void open_stream(const char *url)
{
    static const char request[] = "GET /sync/subscribe HTTP/1.1\r\nHost: localhost\r\n\r\n";
    char answer[4096];
    size_t len = 0;
    int fd = connect_to(url);

    must(write(fd, request, sizeof request - 1) == (ssize_t)sizeof request - 1, "a request",
         "cannot be sent");
    while (!memmem(answer, len, "subscriptionId", 14)) {
        ssize_t n = read(fd, answer + len, sizeof answer - len);

        must(n > 0, "a stream", "did not begin");
        len += (size_t)n;
    }
}

/* What a stream does in its first moments is over a little later. */
static long settled(void)
{
    static const struct timespec moment = {0, 300000000};

    nanosleep(&moment, NULL);
    return atomic_load(&held);
}

static csync_server *start(const char *path)
{
    const csync_served served = {"main", path};
    const csync_server_options options = {.struct_size = sizeof options,
                                          .listen = "127.0.0.1:0",
                                          .databases = &served,
                                          .database_count = 1,
                                          .rate = -1,
                                          .max_connections = 20000,
                                          .max_streams = 20000,
                                          .max_per_address = 20000};
    csync_server *server = NULL;

    OK(csync_server_start(&server, &options, err));
    return server;
}

static void all_files(void)
{
    struct rlimit limit;

    must(getrlimit(RLIMIT_NOFILE, &limit) == 0, "the limit of files", "cannot be read");
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

int main(void)
{
    const csync_allocator counting = {
        .struct_size = sizeof counting, .malloc_fn = take, .realloc_fn = resize, .free_fn = give_back};
    const long streams = setting("BENCH_SUBSCRIBERS", 200);
    const char *path = fresh_path("streams");
    csync_server *server;
    long before, each;

    all_files();
    must(csync_set_allocator(&counting) == CSYNC_OK, "the allocator", "cannot be set");
    server = start(path);
    open_stream(csync_server_url(server));
    before = settled();
    for (long i = 0; i < streams; i++)
        open_stream(csync_server_url(server));
    each = (settled() - before) / streams;
    printf("%ld bytes of csync's for each of %ld streams that wait, %.2f of the bar\n", each,
           streams, (double)each / BAR);
    csync_server_stop(server);
    remove_path("streams");
    return 0;
}
