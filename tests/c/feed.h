/* feed.h - what the tests of subscriptions share: a replica in a file, and other programs that write to it. Only for
 * programs that link sqlite3. */
#ifndef FEED_H
#define FEED_H
#include <poll.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "support.h"

static char dir[64], path[128];
static csync *c;
static csync_subscription *feed;

/* ---- a replica in a file, and another program's connection to it ---- */

static inline void remove_files(void)
{
    char command[200];

    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    assert_int_equal(system(command), 0);
}

static inline sqlite3 *outside(void)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    return db;
}

static inline void on(sqlite3 *db, const char *sql)
{
    char *message = NULL;

    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", sql, message);
}

/* As another program would: its own connection, opened and closed. */
static inline void elsewhere(const char *sql)
{
    sqlite3 *db = outside();

    on(db, sql);
    sqlite3_close(db);
}

static inline void open_replica(void)
{
    OK(csync_open(&c, path, NULL, err));
}

static inline int setup_mode(const char *mode)
{
    char sql[100];

    snprintf(dir, sizeof dir, "/tmp/csync-subscribe-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/a.db", dir);
    snprintf(sql, sizeof sql, "PRAGMA journal_mode=%s", mode);
    elsewhere(sql);
    elsewhere("CREATE TABLE note(id INTEGER PRIMARY KEY, body); CREATE TABLE tag(a TEXT, b INTEGER, "
              "v, PRIMARY KEY(a,b)) WITHOUT ROWID; CREATE TABLE plain(x)");
    open_replica();
    OK(csync_track(c, "note", NULL, err));
    OK(csync_track(c, "tag", NULL, err));
    feed = NULL;
    return 0;
}

static inline int setup_wal(void **state)
{
    (void)state;
    return setup_mode("WAL");
}

static inline int setup_rollback(void **state)
{
    (void)state;
    return setup_mode("DELETE");
}

static inline int teardown(void **state)
{
    (void)state;
    csync_subscription_close(feed);
    csync_close(c);
    c = NULL;
    remove_files();
    return 0;
}

static inline csync_subscription *subscribe(const char *table, const char *pk)
{
    csync_subscribe_options o = {.struct_size = sizeof o, .table = table, .pk = pk};
    csync_subscription *s = NULL;

    OK(csync_subscribe(&s, c, &o, err));
    return s;
}

static inline csync_subscription *subscribe_after(int64_t version)
{
    csync_subscribe_options o = {.struct_size = sizeof o, .resume = 1, .since = version};
    csync_subscription *s = NULL;

    OK(csync_subscribe(&s, c, &o, err));
    return s;
}

static inline csync_subscription *subscribe_as(const char *id)
{
    csync_subscribe_options o = {.struct_size = sizeof o, .id = id};
    csync_subscription *s = NULL;

    OK(csync_subscribe(&s, c, &o, err));
    return s;
}

/* The next batch as "table pk operation;..." within the time; "" for none. Valid until the next call. */
static inline const char *next(csync_subscription *s, int timeout_ms)
{
    static char out[8192];
    csync_batch *batch = NULL;
    size_t at = 0;

    out[0] = 0;
    OK(csync_subscription_next(s, timeout_ms, &batch, err));
    for (size_t i = 0; i < csync_batch_count(batch); i++) {
        const csync_change *change = csync_batch_at(batch, i);
        static const char *const names[] = {"", "insert", "update", "delete"};

        at += (size_t)snprintf(out + at, sizeof out - at, "%s %s %s;", change->table, change->pk,
                               names[change->operation]);
        assert_true(at < sizeof out);
    }
    if (batch)
        assert_true(csync_batch_count(batch) > 0);
    csync_batch_free(batch);
    return out;
}

static inline int is_readable(csync_subscription *s, int timeout_ms)
{
    struct pollfd p = {.fd = csync_subscription_fd(s), .events = POLLIN};

    return poll(&p, 1, timeout_ms);
}

/* Takes the looks after the last event away. */
static inline void settle(csync_subscription *s, int ms)
{
    while (is_readable(s, ms))
        assert_string_equal(next(s, 0), "");
}

static inline double cpu_ms(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e3 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e3;
}

static inline double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

#define IN_BOTH(test)                                                                              \
    {#test " (WAL)", test, setup_wal, teardown, NULL},                                             \
    {                                                                                              \
#test " (rollback)", test, setup_rollback, teardown, NULL                                  \
    }
#define IN_WAL(test) cmocka_unit_test_setup_teardown(test, setup_wal, teardown)
#endif
