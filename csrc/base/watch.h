/* watch.h - waiting for writes to files, for a signal of this process, or for a moment, all behind one descriptor
 * that poll, epoll and their kind can wait for. No thread, and nothing happens while nothing happens. */
#ifndef CS_WATCH_H
#define CS_WATCH_H
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { CS_WATCH_FILES = 2 };

typedef struct cs_watch {
    int fd; /* readable when something has happened since cs_watch_clear */
    int events; /* of the files; -1: none of them exists */
    int timer;
    char *paths[CS_WATCH_FILES]; /* NULL: none */
    int ids[CS_WATCH_FILES]; /* -1: not there yet */
} cs_watch;

#define CS_WATCH_NONE                                                                              \
    {                                                                                              \
        -1, -1, -1, {NULL, NULL},                                                                  \
        {                                                                                          \
            -1, -1                                                                                 \
        }                                                                                          \
    }

/* A signal that any number of watches can share, and that any thread can send. -1 with err. */
int cs_signal_create(csync_error *err);
void cs_signal_send(int signal); /* -1 is fine */
void cs_signal_destroy(int signal);

/* Watches the files for content that is written (not read); paths may be NULL, files may come later. `w` is
 * CS_WATCH_NONE. */
int cs_watch_open(cs_watch *w, const char *const paths[CS_WATCH_FILES], int signal, csync_error *err);
/* Also after a failed cs_watch_open. */
void cs_watch_close(cs_watch *w);

enum { CS_WATCH_WRITTEN = 1, CS_WATCH_ALARM = 2, CS_WATCH_SIGNAL = 4 };
/* What has happened since the last time. */
int cs_watch_clear(cs_watch *w);
/* 1: something has happened; 0: `timeout_ms` (-1: for ever) is over; -1: a signal handler ran. */
int cs_watch_wait(cs_watch *w, int timeout_ms);
/* Makes CS_WATCH_ALARM happen once, `ms` from now; replaces an earlier alarm. */
void cs_watch_alarm(cs_watch *w, int64_t ms);

int64_t cs_monotonic_ms(void);
#endif
