/* links: sqlite3 */
/* test_out_of_memory_sync.c - each allocation of an opening, a sync, a resync, a session by hand and a repair fails once:
 * what is complete stays, and the next try completes the rest. */
#include <stdlib.h>
#include <unistd.h>

#include <sqlite3.h>

#include "memory_world.h"
#include "snapshot.h"
#include "support.h"

static void build_both(void)
{
    build(1);
}

static void a_sync_fails_cleanly_and_the_next_completes(void **state)
{
    (void)state;
    fail_each_of_a_sync(&(failing_sync){build_both, check_synced, 2, 1, "BEGIN IMMEDIATE"});
}

/* The peer has forgotten deletes that this replica has not heard of, and of which it edited one. */
static void fall_behind(void)
{
    csync_sync_options o = {.struct_size = sizeof o, .full_resync = -1};

    build(1);
    OK(sync_both(err));
    run(c, "UPDATE person SET votes=7 WHERE id='b'");
    run(c, "INSERT INTO visit VALUES(40,2,'s')");
    run(peer, "DELETE FROM person");
    run(peer, "DELETE FROM visit WHERE id=20");
    OK(csync_forget_client(peer, "alpha", err));
    OK(csync_register_client(peer, "reader", number(peer, "SELECT max(version) FROM _sync_log"), err));
    OK(csync_purge(peer, NULL, NULL, err));
    FAILS(CSYNC_EFULLRESYNC, "full resync", csync_sync(c, peer, &o, NULL, err));
}

static void check_resynced(void)
{
    csync_result r = {.struct_size = sizeof r};

    assert_equal(c, peer);
    assert_int_equal(number(c, "SELECT count(*) FROM person"), 0);
    assert_int_equal(number(peer, "SELECT count(*) FROM visit WHERE id=40"), 1);
    assert_int_equal(number(c, "SELECT count(*) FROM _sync_snapshots"), 0);
    OK(csync_sync(c, peer, NULL, &r, err));
    assert_int_equal(r.pulled + r.pushed + r.lost + r.conflicts + r.resyncs, 0);
}

static void a_resync_fails_cleanly_and_the_next_completes(void **state)
{
    (void)state;
    fail_each_of_a_sync(&(failing_sync){fall_behind, check_resynced, 8, 1, "BEGIN IMMEDIATE"});
}

/* ---- a session by hand: the call that failed is made again, and the session goes on ---- */

static long failing; /* the allocation of the session's own calls that is to fail */
static int failures; /* of calls */

static int step_fails_at_most_once(int rc, const csync_error *e)
{
    failures += rc != CSYNC_OK;
    if (rc != CSYNC_OK && (rc != CSYNC_ENOMEM || !failing_malloc.has_failed || failures > 1))
        fail_msg("allocation %ld failed, the answer was %s: %s", failing, csync_code_name(rc),
                 e->message);
    return rc != CSYNC_OK;
}

static void feed_page(csync_session *s, const csync_step *step)
{
    csync_error e = CSYNC_ERROR_INIT, why = CSYNC_ERROR_INIT;
    csync_batch *got = NULL;
    int rc, code;

    others_turn(1);
    code = csync_changes(peer, &step->fetch, &got, &why);
    others_turn(0);
    do
        rc = code == CSYNC_OK ? csync_session_page(s, got, &e) : csync_session_refused(s, &why, &e);
    while (step_fails_at_most_once(rc, &e));
    others_turn(1);
    csync_batch_free(got);
    others_turn(0);
}

static void feed_outcome(csync_session *s, const csync_step *step)
{
    csync_error e = CSYNC_ERROR_INIT, why = CSYNC_ERROR_INIT;
    csync_outcome *outcome = NULL;
    int rc, code;

    others_turn(1);
    code = csync_apply(peer, step->batch, NULL, &outcome, NULL, &why);
    others_turn(0);
    do
        rc = code == CSYNC_OK ? csync_session_outcome(s, outcome, &e)
                              : csync_session_refused(s, &why, &e);
    while (step_fails_at_most_once(rc, &e));
    csync_outcome_free(outcome);
}

static void run_session(void)
{
    csync_sync_options o = {.struct_size = sizeof o, .strategy = CSYNC_CUSTOM, .on_conflict = merge};
    csync_error e = CSYNC_ERROR_INIT;
    csync_session *s = NULL;
    csync_step step = {.struct_size = sizeof step};
    int rc;

    do
        rc = csync_session_new(&s, c, "beta", &o, &e);
    while (step_fails_at_most_once(rc, &e));
    do {
        do
            rc = csync_session_next(s, &step, &e);
        while (step_fails_at_most_once(rc, &e));
        if (step.kind == CSYNC_STEP_SEND)
            feed_outcome(s, &step);
        else if (step.kind != CSYNC_STEP_DONE)
            feed_page(s, &step);
    } while (step.kind != CSYNC_STEP_DONE);
    csync_session_free(s);
}

static void fail_each_of_a_session(void (*make)(void), void (*check)(void), long stride)
{
    int has_failed = 1;

    for (failing = 1; has_failed; failing += stride) {
        make();
        failures = 0;
        arm(failing, 0);
        run_session();
        has_failed = failing_malloc.has_failed;
        disarm();
        OK(sync_both(err));
        check();
        unbuild();
    }
}

static void a_session_goes_on_with_the_call_that_failed(void **state)
{
    (void)state;
    fail_each_of_a_session(build_both, check_synced, 3);
    fail_each_of_a_session(fall_behind, check_resynced, 5);
}

static int ask_peer(void *user_data, const char *request, char **answer, csync_error *err)
{
    return csync_digest(user_data, request, answer, err);
}

static int verify_and_repair(int by_remote, char **report, csync_error *err)
{
    csync_remote remote = {.struct_size = sizeof remote, .user_data = peer, .digest = ask_peer};
    csync_verify_options o = {.struct_size = sizeof o, .repair = 1};

    return by_remote ? csync_verify_remote(c, &remote, &o, report, err)
                     : csync_verify(c, peer, &o, report, err);
}

/* Wrong rows, missing rows, and one that no head knows of. */
static void spoil(void)
{
    OK(csync_suppress_begin(c, err));
    run(c, "UPDATE person SET votes=99 WHERE id='b'");
    run(c, "DELETE FROM site WHERE id BETWEEN 200 AND 210");
    run(c, "INSERT OR IGNORE INTO visit VALUES(77,2,'ghost')");
    OK(csync_suppress_end(c, 1, err));
}

static void a_repair_fails_cleanly_and_the_next_completes(void **state)
{
    (void)state;
    build(1);
    run(c, "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i+1 FROM n WHERE i<300) "
           "INSERT INTO site SELECT i, 'name '||i FROM n");
    OK(sync_both(err));
    for (int by_remote = 0; by_remote <= 1; by_remote++) {
        int has_failed = 1;

        for (long n = 1; has_failed; n++) {
            csync_error e = CSYNC_ERROR_INIT;
            char *report = NULL;
            int rc;

            spoil();
            arm(n, 0);
            rc = verify_and_repair(by_remote, &report, &e);
            has_failed = failing_malloc.has_failed;
            disarm();
            if (rc != CSYNC_OK && rc != CSYNC_ENOMEM)
                fail_msg("allocation %ld failed, the answer was %s: %s", n, csync_code_name(rc),
                         e.message);
            assert_int_equal(report != NULL, rc == CSYNC_OK);
            csync_free(report);
            run(c, "BEGIN IMMEDIATE;\nROLLBACK");
        }
        assert_int_equal(number(c, "SELECT count(*) FROM site WHERE id BETWEEN 200 AND 210"), 11);
        assert_int_equal(number(c, "SELECT votes FROM person WHERE id='b'"),
                         number(peer, "SELECT votes FROM person WHERE id='b'"));
    }
    unbuild();
}

static void opening_fails_cleanly(void **state)
{
    char path[] = "/tmp/csync-memory-XXXXXX";
    csync_open_options o = {.struct_size = sizeof o, .origin = "alpha"};
    int has_failed = 1;

    (void)state;
    for (int with_tables = 0; with_tables <= 1; with_tables++) {
        for (long n = 1; has_failed; n++) {
            csync_error e = CSYNC_ERROR_INIT;
            csync *made = NULL;
            int rc;

            if (!with_tables) {
                memcpy(path + sizeof path - 7, "XXXXXX", 6);
                close(mkstemp(path));
            }
            arm(n, 0);
            rc = csync_open(&made, path, &o, &e);
            has_failed = failing_malloc.has_failed;
            disarm();
            assert_true(rc == CSYNC_OK || (rc == CSYNC_ENOMEM && has_failed && !made));
            csync_close(made);
            assert_int_equal(failing_malloc.live, 0);
            OK(csync_open(&made, path, &o, err));
            assert_string_equal(text(made, "SELECT value FROM _sync_state WHERE key='origin_id'"),
                                "alpha");
            if (!with_tables && !has_failed) {
                run(made, memory_schema);
                OK(csync_track(made, "site", NULL, err));
            } else if (!with_tables) {
                unlink(path);
            }
            csync_close(made);
        }
        has_failed = 1;
    }
    unlink(path);
    assert_int_equal(failing_malloc.live, 0);
}

static void opening_on_a_live_connection_fails_cleanly(void **state)
{
    csync_open_options o = {.struct_size = sizeof o, .origin = "alpha"};
    int has_failed = 1;

    (void)state;
    for (long n = 1; has_failed; n++) {
        csync_error e = CSYNC_ERROR_INIT;
        csync *made = NULL;
        sqlite3 *db = NULL;
        int rc;

        assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
        arm(n, 0);
        rc = csync_open_sqlite(&made, db, NULL, &o, &e);
        has_failed = failing_malloc.has_failed;
        disarm();
        assert_true(rc == CSYNC_OK || (rc == CSYNC_ENOMEM && has_failed && !made));
        csync_close(made);
        assert_int_equal(failing_malloc.live, 0);
        OK(csync_open_sqlite(&made, db, NULL, &o, err));
        run(made, memory_schema);
        csync_close(made);
        assert_int_equal(sqlite3_close(db), SQLITE_OK);
    }
}

/* ---- a cancel at each progress report: the batch that is open does not happen ---- */

static long ticks, cancel_at;

static int tick(void *user_data, const csync_progress *progress)
{
    (void)progress;
    if (++ticks == cancel_at)
        csync_cancel(user_data);
    return CSYNC_OK;
}

static void a_cancel_at_each_report_leaves_whole_batches(void **state)
{
    static const char many[] =
        "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i+1 FROM n WHERE i<700) "
        "INSERT INTO site SELECT i, 'name '||i FROM n";

    (void)state;
    for (cancel_at = 1;; cancel_at++) {
        csync *a = memory_replica("alpha"), *b = memory_replica("beta");
        csync_sync_options o = {
            .struct_size = sizeof o, .batch_size = 150, .on_progress = tick, .user_data = a};
        int rc;

        run(b, many);
        ticks = 0;
        rc = csync_sync(a, b, &o, NULL, NULL);
        if (ticks < cancel_at) {
            assert_int_equal(rc, CSYNC_OK);
            csync_close(a);
            csync_close(b);
            break;
        }
        assert_true(rc == CSYNC_ECANCELED || rc == CSYNC_OK);
        run(a, "BEGIN IMMEDIATE;\nROLLBACK");
        sync_all(a, b);
        assert_equal(a, b);
        csync_close(a);
        csync_close(b);
    }
    assert_true(cancel_at > 8);
    assert_int_equal(failing_malloc.live, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening_fails_cleanly),
        cmocka_unit_test(opening_on_a_live_connection_fails_cleanly),
        cmocka_unit_test(a_sync_fails_cleanly_and_the_next_completes),
        cmocka_unit_test(a_resync_fails_cleanly_and_the_next_completes),
        cmocka_unit_test(a_session_goes_on_with_the_call_that_failed),
        cmocka_unit_test(a_repair_fails_cleanly_and_the_next_completes),
        cmocka_unit_test(a_cancel_at_each_report_leaves_whole_batches),
    };

    return cmocka_run_group_tests(tests, memory_hook, memory_unhook);
}
