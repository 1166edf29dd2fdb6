/* test_threads.c - replicas and threads, csync_cancel from another one, and fork. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "refused.h"
#include "snapshot.h"

static const char schema[] = "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT)";

static csync *c, *peer;

static int setup(void **state)
{
    (void)state;
    c = replica_new(schema);
    peer = replica_new(schema);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    csync_close(c);
    csync_close(peer);
    return 0;
}

static void insert(csync *into, int from, int to)
{
    char sql[200];

    snprintf(sql, sizeof sql,
             "WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i+1 FROM n WHERE i<%d) "
             "INSERT INTO person SELECT i, 'name '||i FROM n",
             from, to);
    run(into, sql);
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static pthread_t thread(void *(*fn)(void *), void *arg)
{
    pthread_t t;

    assert_int_equal(pthread_create(&t, NULL, fn, arg), 0);
    return t;
}

/* ---- cancel ---- */

static atomic_int is_running, is_over;

static int announce(void *user_data, const csync_progress *progress)
{
    (void)user_data;
    (void)progress;
    atomic_store(&is_running, 1);
    sched_yield();
    return CSYNC_OK;
}

static void *cancel_when_running(void *arg)
{
    while (!atomic_load(&is_running))
        sched_yield();
    csync_cancel(arg);
    return NULL;
}

static void a_cancel_stops_a_long_sync_and_the_next_completes(void **state)
{
    csync_sync_options o = {.struct_size = sizeof o, .batch_size = 500, .on_progress = announce};
    csync_result r = {.struct_size = sizeof r};
    pthread_t t;

    (void)state;
    insert(peer, 1, 20000);
    atomic_store(&is_running, 0);
    t = thread(cancel_when_running, c);
    FAILS(CSYNC_ECANCELED, "cancel", csync_sync(c, peer, &o, &r, err));
    pthread_join(t, NULL);
    assert_int_equal(number(c, "SELECT count(*) FROM person") % 500, 0);
    assert_int_equal(number(c, "SELECT count(*) FROM person"), r.pulled);
    o.on_progress = NULL;
    OK(csync_sync(c, peer, &o, NULL, err));
    assert_equal(c, peer);
}

static void *cancel_after_100_ms(void *arg)
{
    pause_ms(100);
    csync_cancel(arg);
    return NULL;
}

static void a_cancel_stops_an_endless_statement(void **state)
{
    pthread_t t = thread(cancel_after_100_ms, c);

    (void)state;
    FAILS(CSYNC_ECANCELED, "cancel",
          csync_execute(
              c, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT count(*) FROM n",
              NULL, 0, NULL, NULL, NULL, err));
    pthread_join(t, NULL);
    assert_int_equal(number(c, "SELECT count(*) FROM person"), 0);
}

static void a_cancel_stops_waiting_for_another_writer(void **state)
{
    csync_open_options o = {.struct_size = sizeof o, .busy_timeout_ms = 4000};
    char path[] = "/tmp/csync-threads-XXXXXX";
    csync *one, *two;
    double begin;
    pthread_t t;

    (void)state;
    close(mkstemp(path));
    OK(csync_open(&one, path, &o, err));
    run(one, schema);
    OK(csync_open(&two, path, &o, err));
    run(one, "BEGIN IMMEDIATE");
    begin = seconds();
    t = thread(cancel_after_100_ms, two);
    FAILS(CSYNC_ECANCELED, "cancel", csync_track(two, "person", NULL, err));
    pthread_join(t, NULL);
    if (seconds() - begin > 2)
        fail_msg("the cancelled call went on for %.1f seconds", seconds() - begin);
    run(one, "COMMIT");
    OK(csync_track(two, "person", NULL, err));
    csync_close(one);
    csync_close(two);
    unlink(path);
}

static void *cancel_all_the_time(void *arg)
{
    while (!atomic_load(&is_over))
        csync_cancel(arg);
    return NULL;
}

/* Whenever it comes: each call is done or not done at all, and the handle works on. */
static void a_storm_of_cancels_breaks_nothing(void **state)
{
    csync_sync_options o = {.struct_size = sizeof o, .batch_size = 50};
    int rc = CSYNC_OK, done = 0;
    double end = seconds() + 1.5;
    pthread_t t;

    (void)state;
    atomic_store(&is_over, 0);
    t = thread(cancel_all_the_time, c);
    for (int i = 1; (rc == CSYNC_OK || rc == CSYNC_ECANCELED) && seconds() < end; i++) {
        char sql[80];

        snprintf(sql, sizeof sql, "INSERT INTO person VALUES(%d,'ours')", i);
        rc = csync_execute(c, sql, NULL, 0, NULL, NULL, NULL, NULL);
        done += rc == CSYNC_OK;
        insert(peer, 1000000 + 100 * i, 1000099 + 100 * i);
        if (rc == CSYNC_OK || rc == CSYNC_ECANCELED)
            rc = csync_sync(c, peer, &o, NULL, NULL);
    }
    atomic_store(&is_over, 1);
    pthread_join(t, NULL);
    if (rc != CSYNC_OK && rc != CSYNC_ECANCELED)
        fail_msg("a cancelled call answered %s", csync_code_name(rc));
    assert_int_equal(number(c, "SELECT count(*) FROM person WHERE id<1000000"), done);
    sync_all(c, peer);
    assert_equal(c, peer);
}

/* ---- two threads ---- */

static atomic_int in_callback, out_of_callback;

static int linger(void *user_data, int columns, const char *const *names, const csync_value *values)
{
    (void)user_data;
    (void)columns;
    (void)names;
    (void)values;
    atomic_store(&in_callback, 1);
    pause_ms(200);
    atomic_store(&out_of_callback, 1);
    return CSYNC_OK;
}

static void *call_meanwhile(void *arg)
{
    csync_state st = {.struct_size = sizeof st};
    int *rc = arg;

    while (!atomic_load(&in_callback))
        sched_yield();
    *rc = csync_get_state(c, &st, NULL);
    if (!atomic_load(&out_of_callback))
        *rc = 1;
    return NULL;
}

static void a_call_from_another_thread_waits(void **state)
{
    int rc = CSYNC_ERROR;
    pthread_t t;

    (void)state;
    atomic_store(&in_callback, 0);
    atomic_store(&out_of_callback, 0);
    t = thread(call_meanwhile, &rc);
    OK(csync_execute(c, "SELECT 1", NULL, 0, linger, NULL, NULL, err));
    pthread_join(t, NULL);
    assert_int_equal(rc, CSYNC_OK);
}

typedef struct work {
    csync *on, *with;
    int first, rounds, failures;
} work;

static void *write_and_sync(void *arg)
{
    work *w = arg;

    for (int i = 0; i < w->rounds; i++) {
        char sql[80];

        snprintf(sql, sizeof sql, "INSERT INTO person VALUES(%d,'x')", w->first + i);
        w->failures += csync_execute(w->on, sql, NULL, 0, NULL, NULL, NULL, NULL) != CSYNC_OK;
        w->failures += csync_sync(w->on, w->with, NULL, NULL, NULL) != CSYNC_OK;
    }
    return NULL;
}

static void two_threads_may_use_one_replica(void **state)
{
    csync *third = replica_new(schema);
    work one = {c, peer, 1000, 20, 0}, two = {c, third, 2000, 20, 0};
    pthread_t t = thread(write_and_sync, &one), u = thread(write_and_sync, &two);

    (void)state;
    pthread_join(t, NULL);
    pthread_join(u, NULL);
    assert_int_equal(one.failures + two.failures, 0);
    sync_all(c, peer);
    sync_all(c, third);
    sync_all(c, peer);
    assert_equal(c, peer);
    assert_equal(c, third);
    assert_int_equal(number(c, "SELECT count(*) FROM person"), 40);
    csync_close(third);
}

static void two_replicas_may_sync_with_each_other_at_once(void **state)
{
    work one = {c, peer, 1000, 20, 0}, two = {peer, c, 2000, 20, 0};
    pthread_t t = thread(write_and_sync, &one), u = thread(write_and_sync, &two);

    (void)state;
    pthread_join(t, NULL);
    pthread_join(u, NULL);
    assert_int_equal(one.failures + two.failures, 0);
    sync_all(c, peer);
    assert_equal(c, peer);
    assert_int_equal(number(c, "SELECT count(*) FROM person"), 40);
}

/* ---- fork ---- */

/* The child's calls, in the child; the number of the first that was wrong. */
static int use_in_child(csync *parents, csync_session *s)
{
    csync_error e = CSYNC_ERROR_INIT;
    csync_state st = {.struct_size = sizeof st};
    csync_step step = {.struct_size = sizeof step};
    csync *own = NULL;

    alarm(4);
    if (csync_get_state(parents, &st, &e) != CSYNC_EMISUSE || !strstr(e.message, "fork"))
        return 1;
    if (csync_execute(parents, "DELETE FROM person", NULL, 0, NULL, NULL, NULL, NULL) != CSYNC_EMISUSE)
        return 2;
    if (s && csync_session_next(s, &step, NULL) != CSYNC_EMISUSE)
        return 3;
    csync_cancel(parents);
    csync_session_free(s);
    csync_close(parents);
    if (csync_open(&own, ":memory:", NULL, NULL) != CSYNC_OK)
        return 4;
    csync_close(own);
    return 0;
}

static void expect_child(pid_t child)
{
    int status;

    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status))
        fail_msg("the child ended with signal %d%s", WTERMSIG(status),
                 WTERMSIG(status) == SIGALRM ? ": a call hung" : "");
    assert_int_equal(WEXITSTATUS(status), 0);
}

static pid_t fork_and_use(csync *parents, csync_session *s)
{
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child == 0)
        _exit(use_in_child(parents, s));
    return child;
}

static void a_forked_child_is_refused_and_the_parent_goes_on(void **state)
{
    char path[] = "/tmp/csync-threads-XXXXXX";
    csync *d;
    csync_session *s;
    csync_step step = {.struct_size = sizeof step};

    (void)state;
    close(mkstemp(path));
    OK(csync_open(&d, path, NULL, err));
    run(d, schema);
    OK(csync_track(d, "person", NULL, err));
    insert(d, 1, 3);
    OK(csync_session_new(&s, d, "peer", NULL, err));
    expect_child(fork_and_use(d, s));
    OK(csync_session_next(s, &step, err));
    csync_session_free(s);
    insert(d, 4, 6);
    sync_all(d, peer);
    assert_int_equal(number(peer, "SELECT count(*) FROM person"), 6);
    assert_string_equal(text(d, "PRAGMA integrity_check"), "ok");
    csync_close(d);
    unlink(path);
}

static pid_t child_of_callback;

static int fork_in_callback(void *user_data, int columns, const char *const *names,
                            const csync_value *values)
{
    (void)columns;
    (void)names;
    (void)values;
    child_of_callback = fork_and_use(user_data, NULL);
    return CSYNC_OK;
}

static void a_child_forked_in_a_callback_is_refused(void **state)
{
    (void)state;
    OK(csync_execute(c, "SELECT 1", NULL, 0, fork_in_callback, c, NULL, err));
    expect_child(child_of_callback);
    insert(c, 1, 3);
}

static void *execute_slowly(void *arg)
{
    csync_execute(arg, "SELECT 1", NULL, 0, linger, NULL, NULL, NULL);
    return NULL;
}

/* The lock that the other thread holds is never released in the child. */
static void a_child_forked_during_another_threads_call_is_refused(void **state)
{
    pid_t child;
    pthread_t t;

    (void)state;
    atomic_store(&in_callback, 0);
    t = thread(execute_slowly, c);
    while (!atomic_load(&in_callback))
        sched_yield();
    child = fork_and_use(c, NULL);
    pthread_join(t, NULL);
    expect_child(child);
    insert(c, 1, 3);
}

#define ON_C(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_C(a_cancel_stops_a_long_sync_and_the_next_completes),
        ON_C(a_cancel_stops_an_endless_statement),
        ON_C(a_cancel_stops_waiting_for_another_writer),
        ON_C(a_storm_of_cancels_breaks_nothing),
        ON_C(a_call_from_another_thread_waits),
        ON_C(two_threads_may_use_one_replica),
        ON_C(two_replicas_may_sync_with_each_other_at_once),
        ON_C(a_forked_child_is_refused_and_the_parent_goes_on),
        ON_C(a_child_forked_in_a_callback_is_refused),
        ON_C(a_child_forked_during_another_threads_call_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
