/* watch.c - Linux: an epoll set of inotify, eventfd and timerfd. */
#include "base/watch.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

static int fail(csync_error *err, const char *what)
{
    char text[128];
    const char *hint = errno == EMFILE ? "; see ulimit -n and fs.inotify.max_user_instances" : "";

    return cs_fail(err, CSYNC_ERROR, "%s: %s%s", what, strerror_r(errno, text, sizeof text), hint);
}

/* ---- signals ---- */

int cs_signal_create(csync_error *err)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (fd < 0)
        (void)fail(err, "cannot make an eventfd");
    return fd;
}

/* Nobody ever reads it: the watches are told of each write by its edge. */
void cs_signal_send(int signal)
{
    const uint64_t one = 1;

    if (signal >= 0 && write(signal, &one, sizeof one) < 0)
        return; /* full after 2^64 signals: it stays readable */
}

void cs_signal_destroy(int signal)
{
    if (signal >= 0)
        close(signal);
}

/* ---- files ---- */

/* A file that comes later is found at the next write to one of the others. */
static void find_files(cs_watch *w)
{
    for (int i = 0; i < CS_WATCH_FILES; i++)
        if (w->paths[i] && w->ids[i] < 0)
            w->ids[i] = inotify_add_watch(w->events, w->paths[i], IN_MODIFY);
}

static int add(cs_watch *w, int fd, uint32_t events, int tag, csync_error *err)
{
    struct epoll_event e = {.events = events, .data.u32 = (uint32_t)tag};

    return epoll_ctl(w->fd, EPOLL_CTL_ADD, fd, &e) == 0 ? CSYNC_OK
                                                        : fail(err, "cannot wait for an event");
}

static int open_files(cs_watch *w, const char *const paths[CS_WATCH_FILES], csync_error *err)
{
    int found = 0;

    for (int i = 0; i < CS_WATCH_FILES; i++) {
        if (paths[i] && !(w->paths[i] = cs_strdup(paths[i])))
            return cs_fail_nomem(err);
        found |= paths[i] && access(paths[i], F_OK) == 0;
    }
    if (!found)
        return CSYNC_OK;
    w->events = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (w->events < 0)
        return fail(err, "cannot watch the database's files");
    find_files(w);
    if (w->ids[0] < 0)
        return fail(err, "cannot watch the database's file");
    return add(w, w->events, EPOLLIN, CS_WATCH_WRITTEN, err);
}

int cs_watch_open(cs_watch *w, const char *const paths[CS_WATCH_FILES], int signal, csync_error *err)
{
    int rc;

    w->fd = epoll_create1(EPOLL_CLOEXEC);
    if (w->fd < 0)
        return fail(err, "cannot make an epoll set");
    w->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (w->timer < 0)
        return fail(err, "cannot make a timer");
    rc = add(w, w->timer, EPOLLIN, CS_WATCH_ALARM, err);
    if (rc == CSYNC_OK)
        rc = add(w, signal, EPOLLIN | EPOLLET, CS_WATCH_SIGNAL, err);
    return rc == CSYNC_OK ? open_files(w, paths, err) : rc;
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

void cs_watch_close(cs_watch *w)
{
    close_fd(w->fd);
    close_fd(w->events);
    close_fd(w->timer);
    for (int i = 0; i < CS_WATCH_FILES; i++)
        cs_free(w->paths[i]);
    *w = (cs_watch)CS_WATCH_NONE;
}

/* ---- events ---- */

/* A file that is gone is looked for again. */
static void forget_file(cs_watch *w, int id)
{
    for (int i = 0; i < CS_WATCH_FILES; i++)
        if (w->ids[i] == id)
            w->ids[i] = -1;
}

static void read_files(cs_watch *w)
{
    _Alignas(struct inotify_event) char buf[4096];
    ssize_t n;

    while ((n = read(w->events, buf, sizeof buf)) > 0)
        for (const char *at = buf; at < buf + n;) {
            const struct inotify_event *e = (const struct inotify_event *)at;

            if (e->mask & IN_IGNORED)
                forget_file(w, e->wd);
            at += sizeof *e + e->len;
        }
    find_files(w);
}

int cs_watch_clear(cs_watch *w)
{
    struct epoll_event events[3];
    int happened = 0;
    int n = epoll_wait(w->fd, events, 3, 0);
    uint64_t times;

    for (int i = 0; i < n; i++)
        happened |= (int)events[i].data.u32;
    if (happened & CS_WATCH_WRITTEN)
        read_files(w);
    if (happened & CS_WATCH_ALARM && read(w->timer, &times, sizeof times) < 0)
        happened &= ~CS_WATCH_ALARM; /* set anew in between */
    return happened;
}

/* Through poll, which takes no edge away: what there is stays to be cleared. */
int cs_watch_wait(cs_watch *w, int timeout_ms)
{
    struct pollfd p = {.fd = w->fd, .events = POLLIN};

    return poll(&p, 1, timeout_ms);
}

void cs_watch_alarm(cs_watch *w, int64_t ms)
{
    struct itimerspec at = {.it_value = {ms / 1000, ms % 1000 * 1000000 + 1}}; /* 0 would be never */

    (void)timerfd_settime(w->timer, 0, &at, NULL);
}

int64_t cs_monotonic_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
