/* links: sqlite3 */
/* test_subscribe_threads.c - subscriptions: who waits while others work, how a wait ends; misuse; no memory. */
#include <pthread.h>

#include "failing_malloc.h"
#include "feed.h"

/* ---- threads ---- */

typedef struct waiter {
    pthread_t thread;
    csync_subscription *s;
    int rc;
    char message[100];
    size_t count;
} waiter;

static void *wait_for_ever(void *arg)
{
    waiter *w = arg;
    csync_error e = CSYNC_ERROR_INIT;
    csync_batch *batch = NULL;

    w->rc = csync_subscription_next(w->s, -1, &batch, &e);
    snprintf(w->message, sizeof w->message, "%.90s", e.message);
    w->count = csync_batch_count(batch);
    csync_batch_free(batch);
    return NULL;
}

static void start(waiter *w, csync_subscription *s)
{
    *w = (waiter){.s = s};
    assert_int_equal(pthread_create(&w->thread, NULL, wait_for_ever, w), 0);
    pause_ms(30);
}

/* On a busy machine the thread may take its time to get there. */
static void await_busy(csync_subscription *s)
{
    double until = now_ms() + 10000;
    csync_batch *batch = NULL;

    while (csync_subscription_next(s, 0, &batch, NULL) == CSYNC_OK && now_ms() < until)
        pause_ms(5);
}

static void join_within(waiter *w, int ms)
{
    double before = now_ms();

    pthread_join(w->thread, NULL);
    assert_true(now_ms() - before < ms);
}

static void while_one_waits_others_use_the_replica(void **state)
{
    waiter w;

    (void)state;
    feed = subscribe("note", NULL);
    start(&w, feed);
    await_busy(feed);
    FAILS(CSYNC_EBUSY, "another thread",
          csync_subscription_next(feed, 0, &(csync_batch *){NULL}, err));
    assert_int_equal(number(c, "SELECT count(*) FROM note"), 0);
    OK(csync_hash(c, (char[CSYNC_HASH_SIZE]){0}, err));
    run(c, "INSERT INTO note VALUES(1,'a')");
    join_within(&w, 3000);
    assert_int_equal(w.rc, CSYNC_OK);
    assert_int_equal(w.count, 1);
}

static void a_cancel_ends_every_wait(void **state)
{
    csync_subscription *other = subscribe("tag", NULL);
    waiter a, b;

    (void)state;
    feed = subscribe("note", NULL);
    start(&a, feed);
    start(&b, other);
    csync_cancel(c);
    join_within(&a, 3000);
    join_within(&b, 3000);
    assert_int_equal(a.rc, CSYNC_ECANCELED);
    assert_int_equal(b.rc, CSYNC_ECANCELED);
    csync_subscription_close(other);
    elsewhere("INSERT INTO note VALUES(1,0)"); /* and it goes on */
    assert_string_equal(next(feed, 5000), "note {\"id\":1} insert;");
}

static void closing_the_replica_ends_a_wait(void **state)
{
    waiter w;

    (void)state;
    feed = subscribe("note", NULL);
    start(&w, feed);
    csync_close(c);
    c = NULL;
    join_within(&w, 3000);
    assert_int_equal(w.rc, CSYNC_EMISUSE);
    assert_string_equal(w.message, "the replica is closed");
    FAILS(CSYNC_EMISUSE, "the replica is closed",
          csync_subscription_next(feed, 0, &(csync_batch *){NULL}, err));
}

static void closing_the_subscription_ends_its_wait(void **state)
{
    waiter w;

    (void)state;
    start(&w, subscribe("note", NULL));
    csync_subscription_close(w.s);
    join_within(&w, 3000);
    assert_int_equal(w.rc, CSYNC_EMISUSE);
    assert_string_equal(w.message, "the subscription is closed");
    assert_int_equal(number(c, "SELECT count(*) FROM _sync_subscriptions"), 0);
}

static void a_wake_ends_one_wait(void **state)
{
    waiter w;

    (void)state;
    feed = subscribe("note", NULL);
    start(&w, feed);
    csync_subscription_wake(feed);
    join_within(&w, 3000);
    assert_int_equal(w.rc, CSYNC_OK);
    assert_int_equal(w.count, 0);
    csync_subscription_wake(feed);
    assert_string_equal(next(feed, -1), "");
    csync_subscription_wake(NULL);
}

enum { WRITERS = 3, EACH = 60 };

static void *write_some(void *arg)
{
    int from = *(int *)arg;
    sqlite3 *db = outside();

    for (int i = 0; i < EACH; i++) {
        char sql[100];

        snprintf(sql, sizeof sql, "INSERT INTO note VALUES(%d,0)", from + i);
        on(db, sql);
    }
    sqlite3_close(db);
    return NULL;
}

static void nothing_is_missed_under_many_writers(void **state)
{
    pthread_t threads[WRITERS];
    int from[WRITERS];
    char seen[WRITERS * 1000] = {0};
    size_t count = 0;
    double until = now_ms() + 60000;

    (void)state;
    feed = subscribe("note", NULL);
    for (int i = 0; i < WRITERS; i++) {
        from[i] = i * 1000;
        assert_int_equal(pthread_create(&threads[i], NULL, write_some, &from[i]), 0);
    }
    while (count < WRITERS * EACH && now_ms() < until) {
        csync_batch *batch = NULL;

        OK(csync_subscription_next(feed, 5000, &batch, err));
        for (size_t i = 0; i < csync_batch_count(batch); i++) {
            int id = atoi(csync_batch_at(batch, i)->pk + 6);

            count += !seen[id];
            seen[id] = 1;
        }
        csync_batch_free(batch);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(count, WRITERS * EACH);
}

/* ---- a slow disk: the file is written long before the commit can be seen, and then nothing more is ---- */

static sqlite3_vfs slow_vfs;
static sqlite3_io_methods slow_methods[2]; /* of databases; of other files */
static int (*real_sync)(sqlite3_file *, int);
static int (*real_open)(sqlite3_vfs *, const char *, sqlite3_file *, int, int *);

static int slow_sync(sqlite3_file *file, int flags)
{
    pause_ms(150);
    return real_sync(file, flags);
}

static int slow_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    sqlite3_io_methods *methods = &slow_methods[!(flags & SQLITE_OPEN_MAIN_DB)];
    int rc = real_open(vfs, name, file, flags, out);

    if (rc != SQLITE_OK)
        return rc;
    *methods = *file->pMethods;
    real_sync = methods->xSync;
    methods->xSync = slow_sync;
    file->pMethods = methods;
    return rc;
}

static sqlite3 *outside_on_a_slow_disk(void)
{
    sqlite3 *db = NULL;

    slow_vfs = *sqlite3_vfs_find(NULL);
    real_open = slow_vfs.xOpen;
    slow_vfs.xOpen = slow_open;
    slow_vfs.zName = "slow";
    slow_vfs.pNext = NULL;
    assert_int_equal(sqlite3_vfs_register(&slow_vfs, 0), SQLITE_OK);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, "slow"), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    on(db, "PRAGMA synchronous=FULL");
    return db;
}

static void *insert_one(void *arg)
{
    on(arg, "INSERT INTO note VALUES(1,0)");
    return NULL;
}

static void a_commit_that_waits_for_its_disk_comes_all_the_same(void **state)
{
    sqlite3 *db = outside_on_a_slow_disk();
    pthread_t writer;

    (void)state;
    feed = subscribe("note", NULL);
    assert_string_equal(next(feed, 50), "");
    assert_int_equal(pthread_create(&writer, NULL, insert_one, db), 0);
    assert_string_equal(next(feed, 5000), "note {\"id\":1} insert;");
    pthread_join(writer, NULL);
    sqlite3_close(db);
    sqlite3_vfs_unregister(&slow_vfs);
}

/* ---- misuse and memory ---- */

static void wrong_arguments_are_refused(void **state)
{
    csync_subscribe_options o = {.struct_size = sizeof o};
    csync_batch *batch = NULL;

    (void)state;
    FAILS(CSYNC_EMISUSE, "NULL", csync_subscribe(&feed, NULL, NULL, err));
    FAILS(CSYNC_EMISUSE, "out is NULL", csync_subscribe(NULL, c, NULL, err));
    o.pk = "{\"id\":1}";
    FAILS(CSYNC_EINVAL, "needs the table", csync_subscribe(&feed, c, &o, err));
    o.table = "plain";
    FAILS(CSYNC_ENOTFOUND, "plain", csync_subscribe(&feed, c, &o, err));
    o.table = "tag";
    FAILS(CSYNC_EINVAL, "\"id\" is no key column", csync_subscribe(&feed, c, &o, err));
    o.pk = "{\"a\":1}";
    FAILS(CSYNC_EINVAL, "lacks a key column", csync_subscribe(&feed, c, &o, err));
    o.pk = "nonsense";
    FAILS(CSYNC_EINVAL, "", csync_subscribe(&feed, c, &o, err));
    o = (csync_subscribe_options){.struct_size = sizeof o, .since = 1};
    FAILS(CSYNC_EINVAL, "resume", csync_subscribe(&feed, c, &o, err));
    o.resume = 1;
    o.since = 1000;
    FAILS(CSYNC_EINVAL, "1000", csync_subscribe(&feed, c, &o, err));
    o = (csync_subscribe_options){.struct_size = sizeof o, .limit = 10001};
    FAILS(CSYNC_EINVAL, "limit", csync_subscribe(&feed, c, &o, err));
    o = (csync_subscribe_options){.struct_size = sizeof o, .id = ""};
    FAILS(CSYNC_EINVAL, "id", csync_subscribe(&feed, c, &o, err));
    o = (csync_subscribe_options){.struct_size = sizeof o, .expires_ms = -1};
    FAILS(CSYNC_EINVAL, "expires_ms", csync_subscribe(&feed, c, &o, err));
    assert_int_equal(number(c, "SELECT count(*) FROM _sync_subscriptions"), 0);
    FAILS(CSYNC_EMISUSE, "NULL", csync_subscription_next(NULL, 0, &batch, err));
    feed = subscribe(NULL, NULL);
    FAILS(CSYNC_EMISUSE, "NULL", csync_subscription_next(feed, 0, NULL, err));
    FAILS(CSYNC_EINVAL, "-2", csync_subscription_next(feed, -2, &batch, err));
    assert_int_equal(csync_subscription_fd(NULL), -1);
    assert_null(csync_subscription_id(NULL));
    assert_int_equal(csync_subscription_version(NULL), 0);
    csync_subscription_close(NULL);
}

static int take_all(void *ctx)
{
    csync_subscribe_options o = {
        .struct_size = sizeof o, .table = "note", .pk = "{\"id\":1}", .resume = 1, .id = "worker"};
    csync_subscription *s = NULL;
    csync_batch *batch = NULL;
    csync *mine = NULL;
    int rc;

    (void)ctx;
    rc = csync_open(&mine, path, NULL, NULL);
    if (rc == CSYNC_OK)
        rc = csync_subscribe(&s, mine, &o, NULL);
    if (rc == CSYNC_OK)
        rc = csync_subscription_next(s, 0, &batch, NULL);
    if (rc == CSYNC_OK) {
        assert_int_equal(csync_batch_count(batch), 1);
        csync_batch_free(batch);
        rc = csync_subscription_next(s, 0, &batch, NULL);
    }
    csync_subscription_close(s);
    csync_close(mine);
    return rc;
}

static void each_failed_allocation_is_reported(void **state)
{
    (void)state;
    elsewhere("INSERT INTO note VALUES(1,'a'),(2,'b')");
    failing_malloc_each(take_all, NULL, FAILING_MAY_RECOVER);
}

/* Position and descriptor are as if the call had not been. */
static void a_failed_next_loses_nothing(void **state)
{
    (void)state;
    elsewhere("INSERT INTO note VALUES(1,'a')");
    for (long n = 1;; n++) {
        csync_subscription *s = subscribe_after(0);
        csync_batch *batch = NULL;
        int rc;

        failing_malloc_begin(n, 0);
        rc = csync_subscription_next(s, 0, &batch, NULL);
        csync_batch_free(batch);
        csync_set_allocator(NULL);
        if (rc == CSYNC_OK) {
            csync_subscription_close(s);
            break;
        }
        assert_int_equal(rc, CSYNC_ENOMEM);
        assert_int_equal(is_readable(s, 0), 1);
        assert_string_equal(next(s, 0), "note {\"id\":1} insert;");
        csync_subscription_close(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_BOTH(while_one_waits_others_use_the_replica),
        IN_WAL(a_cancel_ends_every_wait),
        IN_WAL(closing_the_replica_ends_a_wait),
        IN_WAL(closing_the_subscription_ends_its_wait),
        IN_WAL(a_wake_ends_one_wait),
        IN_BOTH(a_commit_that_waits_for_its_disk_comes_all_the_same),
        IN_BOTH(nothing_is_missed_under_many_writers),
        IN_WAL(wrong_arguments_are_refused),
        IN_WAL(each_failed_allocation_is_reported),
        IN_WAL(a_failed_next_loses_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
