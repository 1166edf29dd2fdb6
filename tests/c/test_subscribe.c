/* links: sqlite3 */
/* test_subscribe.c - being told of changes: whoever makes them, from where, until when, and at what cost. */
#include "feed.h"

/* ---- what comes ---- */

static void changes_of_all_kinds_come_from_another_connection(void **state)
{
    (void)state;
    feed = subscribe(NULL, NULL);
    assert_string_equal(next(feed, 0), "");
    elsewhere("INSERT INTO note VALUES(1,'a')");
    assert_string_equal(next(feed, 5000), "note {\"id\":1} insert;");
    elsewhere("UPDATE note SET body='b'");
    assert_string_equal(next(feed, 5000), "note {\"id\":1} update;");
    elsewhere("DELETE FROM note");
    assert_string_equal(next(feed, 5000), "note {\"id\":1} delete;");
    elsewhere("INSERT INTO tag VALUES('x',1,0)");
    assert_string_equal(next(feed, 5000), "tag {\"a\":\"x\",\"b\":1} insert;");
    assert_string_equal(next(feed, 0), "");
}

static void the_descriptor_tells_of_a_commit_elsewhere(void **state)
{
    sqlite3 *db = outside();

    (void)state;
    feed = subscribe("note", NULL);
    settle(feed, 20);
    for (int i = 0; i < 20; i++) {
        on(db, "INSERT INTO note(body) VALUES('x')");
        assert_int_equal(is_readable(feed, 5000), 1);
        assert_string_not_equal(next(feed, 1000), "");
        settle(feed, 3);
    }
    sqlite3_close(db);
}

static void what_is_not_committed_does_not_come(void **state)
{
    sqlite3 *db = outside();

    (void)state;
    feed = subscribe(NULL, NULL);
    on(db, "BEGIN IMMEDIATE");
    on(db, "INSERT INTO note VALUES(1,'a')");
    assert_string_equal(next(feed, 50), "");
    on(db, "ROLLBACK");
    assert_string_equal(next(feed, 50), "");
    on(db, "BEGIN IMMEDIATE");
    on(db, "INSERT INTO note VALUES(2,'a')");
    on(db, "COMMIT");
    assert_string_equal(next(feed, 5000), "note {\"id\":2} insert;");
    sqlite3_close(db);
}

/* Spilled pages are in the file long before they count. */
static void a_large_transaction_comes_when_it_is_committed(void **state)
{
    sqlite3 *db = outside();

    (void)state;
    feed = subscribe("note", "{\"id\":7}");
    on(db, "PRAGMA cache_size=10");
    on(db, "BEGIN IMMEDIATE");
    on(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<5000) "
           "INSERT INTO note SELECT i, printf('%100d',i) FROM n");
    assert_string_equal(next(feed, 30), "");
    on(db, "COMMIT");
    assert_string_equal(next(feed, 5000), "note {\"id\":7} insert;");
    sqlite3_close(db);
}

static void writes_through_csync_come_too(void **state)
{
    (void)state;
    feed = subscribe(NULL, NULL);
    run(c, "INSERT INTO note VALUES(1,'a')");
    assert_string_equal(next(feed, 5000), "note {\"id\":1} insert;");
    OK(csync_suppress_begin(c, err));
    run(c, "INSERT INTO note VALUES(2,'a')");
    FAILS(CSYNC_EBUSY, "suppressed", csync_subscription_next(feed, 0, &(csync_batch *){NULL}, err));
    OK(csync_suppress_end(c, 1, err));
    assert_string_equal(next(feed, 20), "");
}

static void what_a_sync_brings_comes_with_its_origin(void **state)
{
    csync *peer = replica_new("CREATE TABLE note(id INTEGER PRIMARY KEY, body)");
    csync_batch *batch = NULL;
    csync_state st = {.struct_size = sizeof st};

    (void)state;
    feed = subscribe("note", NULL);
    run(peer, "INSERT INTO note VALUES(5,'theirs')");
    OK(csync_get_state(peer, &st, err));
    sync_all(c, peer);
    OK(csync_subscription_next(feed, 5000, &batch, err));
    assert_int_equal(csync_batch_count(batch), 1);
    assert_string_equal(csync_batch_at(batch, 0)->origin, st.origin);
    csync_batch_free(batch);
    csync_close(peer);
}

static void a_table_or_a_record_is_all_that_comes(void **state)
{
    csync_subscription *row = subscribe("tag", "{\"b\": 2, \"a\": \"x\"}");

    (void)state;
    feed = subscribe("note", NULL);
    elsewhere(
        "INSERT INTO note VALUES(1,0); INSERT INTO tag VALUES('x',1,0),('x',2,0),('y',2,0); "
        "INSERT INTO note VALUES(2,0); UPDATE tag SET v=1 WHERE b=1; INSERT INTO plain VALUES(1)");
    assert_string_equal(next(feed, 5000), "note {\"id\":1} insert;note {\"id\":2} insert;");
    assert_string_equal(next(row, 5000), "tag {\"a\":\"x\",\"b\":2} insert;");
    elsewhere("DELETE FROM tag");
    assert_string_equal(next(row, 5000), "tag {\"a\":\"x\",\"b\":2} delete;");
    assert_string_equal(next(row, 0), "");
    assert_string_equal(next(feed, 0), "");
    assert_int_equal(csync_subscription_version(feed), csync_subscription_version(row));
    csync_subscription_close(row);
}

static void a_slow_subscriber_gets_each_row_once_in_order(void **state)
{
    csync_subscribe_options o = {.struct_size = sizeof o, .table = "note", .limit = 3};
    sqlite3 *db = outside();
    int64_t last = 0;
    int count = 0;
    csync_batch *batch = NULL;

    (void)state;
    OK(csync_subscribe(&feed, c, &o, err));
    on(db, "BEGIN; INSERT INTO note VALUES(1,0),(2,0),(3,0),(4,0),(5,0),(6,0),(7,0); COMMIT");
    for (int i = 0; i < 100; i++)
        on(db, "UPDATE note SET body=body+1 WHERE id=4");
    while (is_readable(feed, 1000) == 1) {
        OK(csync_subscription_next(feed, 0, &batch, err));
        if (!batch)
            break;
        assert_true(csync_batch_count(batch) <= 3);
        for (size_t i = 0; i < csync_batch_count(batch); i++, count++) {
            assert_true(csync_batch_at(batch, i)->version > last);
            last = csync_batch_at(batch, i)->version;
        }
        csync_batch_free(batch);
    }
    assert_int_equal(count, 7);
    assert_int_equal(csync_subscription_version(feed), last);
    sqlite3_close(db);
}

/* ---- where it begins ---- */

static void it_resumes_after_a_version(void **state)
{
    int64_t version;

    (void)state;
    elsewhere("INSERT INTO note VALUES(1,0)");
    feed = subscribe_after(0);
    assert_string_equal(next(feed, 0), "note {\"id\":1} insert;");
    version = csync_subscription_version(feed);
    csync_subscription_close(feed);
    csync_close(c);
    elsewhere("INSERT INTO note VALUES(2,0)");
    open_replica();
    feed = subscribe_after(version);
    assert_int_equal(is_readable(feed, 0), 1);
    assert_string_equal(next(feed, 0), "note {\"id\":2} insert;");
    csync_subscription_close(feed);
    feed = subscribe(NULL, NULL);
    assert_string_equal(next(feed, 0), "");
}

static void rows_from_before_track_come_to_who_reads_from_the_beginning(void **state)
{
    (void)state;
    elsewhere("CREATE TABLE old(id INTEGER PRIMARY KEY); INSERT INTO old VALUES(1),(2)");
    OK(csync_track(c, "old", NULL, err));
    feed = subscribe(NULL, NULL);
    assert_string_equal(next(feed, 0), "");
    csync_subscription_close(feed);
    feed = subscribe_after(0);
    assert_string_equal(next(feed, 0), "old {\"id\":1} insert;old {\"id\":2} insert;");
}

static void an_id_goes_on_after_what_was_handled(void **state)
{
    csync_subscribe_options other = {.struct_size = sizeof other, .id = "worker", .table = "note"};

    (void)state;
    feed = subscribe_as("worker");
    elsewhere("INSERT INTO note VALUES(1,0)");
    assert_string_equal(next(feed, 5000), "note {\"id\":1} insert;");
    elsewhere("INSERT INTO note VALUES(2,0)");
    assert_string_equal(next(feed, 5000), "note {\"id\":2} insert;"); /* so 1 was handled */
    csync_subscription_close(feed);
    elsewhere("INSERT INTO note VALUES(3,0)");
    feed = NULL;
    FAILS(CSYNC_EINVAL, "another table", csync_subscribe(&feed, c, &other, err));
    csync_close(c);
    open_replica();
    feed = subscribe_as("worker");
    assert_string_equal(next(feed, 0), "note {\"id\":2} insert;note {\"id\":3} insert;");
    assert_string_equal(next(feed, 0), "");
    csync_close(c); /* as a crash would: nobody closes the subscription first */
    csync_subscription_close(feed);
    open_replica();
    feed = subscribe_as("worker");
    assert_string_equal(next(feed, 0), "");
}

static void a_trimmed_log_asks_for_a_full_resync(void **state)
{
    csync_subscribe_options o = {.struct_size = sizeof o, .resume = 1};
    csync_error e = CSYNC_ERROR_INIT;
    csync_batch *batch = NULL;

    (void)state;
    elsewhere("INSERT INTO note VALUES(1,0),(2,0),(3,0)");
    feed = subscribe_after(1);
    OK(csync_register_client(c, "reader", 3, err));
    OK(csync_purge(c, NULL, NULL, err));
    assert_int_equal(csync_subscription_next(feed, 0, &batch, &e), CSYNC_EFULLRESYNC);
    assert_int_equal(e.version, 2);
    csync_subscription_close(feed);
    o.since = 2;
    OK(csync_subscribe(&feed, c, &o, err));
    assert_string_equal(next(feed, 0), "note {\"id\":3} insert;");
}

/* ---- the table ---- */

static void a_subscription_has_a_row_until_it_is_closed(void **state)
{
    csync_subscription *row = subscribe("note", "{ \"id\": 1 }");

    (void)state;
    feed = subscribe(NULL, NULL);
    assert_string_equal(
        text(c, "SELECT group_concat(subscription_type||' '||table_name||' '||ifnull(filter,'-'), ';') "
                "FROM (SELECT * FROM _sync_subscriptions ORDER BY subscription_type)"),
        "record note {\"id\":1};table * -");
    assert_int_equal(number(c, "SELECT count(*) FROM _sync_subscriptions, _sync_state "
                               "WHERE key='origin_id' AND value=origin_id AND created_at<expires_at"),
                     2);
    csync_subscription_close(row);
    assert_string_equal(text(c, "SELECT subscription_id FROM _sync_subscriptions"),
                        csync_subscription_id(feed));
}

static void an_expired_one_goes_when_another_is_made(void **state)
{
    csync_subscribe_options o = {.struct_size = sizeof o, .id = "old", .expires_ms = 40};
    csync_subscription *old = NULL;

    (void)state;
    OK(csync_subscribe(&old, c, &o, err));
    pause_ms(60);
    feed = subscribe(NULL, NULL);
    assert_int_equal(number(c, "SELECT count(*) FROM _sync_subscriptions"), 1);
    elsewhere("INSERT INTO note VALUES(1,0)"); /* it lives on, and is remembered again */
    assert_string_equal(next(old, 5000), "note {\"id\":1} insert;");
    assert_string_equal(next(old, 0), "");
    assert_int_equal(number(c, "SELECT count(*) FROM _sync_subscriptions"), 2);
    csync_subscription_close(old);
}

/* ---- silence ---- */

static void reading_does_not_make_it_readable(void **state)
{
    int times = 0;

    (void)state;
    feed = subscribe(NULL, NULL);
    settle(feed, 100);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(number(c, "SELECT count(*) FROM note"), 0);
        OK(csync_hash(c, (char[CSYNC_HASH_SIZE]){0}, err));
        elsewhere("BEGIN; SELECT * FROM note; COMMIT");
        times += is_readable(feed, 0);
        assert_string_equal(next(feed, 0), "");
    }
    assert_true(times <= 4); /* the last looks after the event of its own making */
}

static void a_checkpoint_brings_nothing_and_stops_nothing(void **state)
{
    sqlite3 *db = outside();

    (void)state;
    feed = subscribe(NULL, NULL);
    on(db, "INSERT INTO note VALUES(1,0)");
    assert_string_equal(next(feed, 5000), "note {\"id\":1} insert;");
    on(db, "PRAGMA wal_checkpoint(TRUNCATE)");
    assert_string_equal(next(feed, 50), "");
    on(db, "INSERT INTO note VALUES(2,0)");
    assert_string_equal(next(feed, 5000), "note {\"id\":2} insert;");
    sqlite3_close(db);
}

static void a_change_of_the_journal_mode_loses_nothing(void **state)
{
    (void)state;
    csync_close(c);
    elsewhere("PRAGMA journal_mode=DELETE");
    open_replica();
    feed = subscribe(NULL, NULL);
    settle(feed, 20);
    elsewhere("PRAGMA journal_mode=WAL");
    elsewhere("INSERT INTO note VALUES(1,0)");
    assert_string_equal(next(feed, 5000), "note {\"id\":1} insert;");
    elsewhere("INSERT INTO note VALUES(2,0)");
    assert_string_equal(next(feed, 5000), "note {\"id\":2} insert;");
}

static void silence_costs_neither_time_nor_writes(void **state)
{
    double cpu;
    int64_t version;

    (void)state;
    feed = subscribe(NULL, NULL);
    assert_string_equal(next(feed, 100), "");
    version = number(c, "PRAGMA data_version");
    cpu = cpu_ms();
    assert_string_equal(next(feed, 1500), "");
    assert_true(cpu_ms() - cpu < 15);
    assert_int_equal(number(c, "PRAGMA data_version"), version);
}

static void what_is_not_subscribed_to_costs_no_writes(void **state)
{
    csync_subscribe_options o = {.struct_size = sizeof o, .id = "worker", .table = "tag"};
    int64_t version;

    (void)state;
    OK(csync_subscribe(&feed, c, &o, err));
    assert_string_equal(next(feed, 0), "");
    elsewhere("INSERT INTO note VALUES(1,0)");
    assert_string_equal(next(feed, 0), "");
    version = csync_subscription_version(feed);
    assert_true(version > 0);
    assert_string_equal(next(feed, 20), "");
    assert_int_equal(number(c, "SELECT version FROM _sync_subscriptions"), 0);
    csync_subscription_close(feed);
    feed = NULL;
    assert_int_equal(number(c, "SELECT version FROM _sync_subscriptions"), version);
}

static void a_writer_that_is_long_at_work_is_no_failure(void **state)
{
    sqlite3 *db = outside();
    double before = now_ms(), cpu = cpu_ms();

    (void)state;
    feed = subscribe(NULL, NULL);
    elsewhere("INSERT INTO note VALUES(1,0)"); /* to be folded */
    on(db, "BEGIN EXCLUSIVE");
    assert_string_equal(next(feed, 0), "");
    assert_string_equal(next(feed, 300), "");
    assert_true(now_ms() - before < 2000 && cpu_ms() - cpu < 200);
    on(db, "COMMIT");
    assert_string_equal(next(feed, 5000), "note {\"id\":1} insert;");
    sqlite3_close(db);
}

/* ---- in memory ---- */

static void a_replica_in_memory_sees_its_own_calls(void **state)
{
    csync *m = replica_new("CREATE TABLE note(id INTEGER PRIMARY KEY, body)");
    csync_subscription *s = NULL;

    (void)state;
    OK(csync_subscribe(&s, m, NULL, err));
    settle(s, 200);
    run(m, "INSERT INTO note VALUES(1,'a')");
    assert_int_equal(is_readable(s, 0), 1);
    assert_string_equal(next(s, 0), "note {\"id\":1} insert;");
    assert_string_equal(next(s, 0), "");
    assert_int_equal(is_readable(s, 100), 0);
    csync_close(m);
    assert_int_equal(is_readable(s, 0), 1);
    FAILS(CSYNC_EMISUSE, "closed", csync_subscription_next(s, -1, &(csync_batch *){NULL}, err));
    csync_subscription_close(s);
}

static void a_live_connection_in_memory_is_seen_at_the_next_call(void **state)
{
    csync *m = NULL;
    csync_subscription *s = NULL;
    sqlite3 *db = NULL;

    (void)state;
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    on(db, "CREATE TABLE note(id INTEGER PRIMARY KEY, body)");
    OK(csync_open_sqlite(&m, db, NULL, NULL, err));
    OK(csync_track(m, "note", NULL, err));
    OK(csync_subscribe(&s, m, NULL, err));
    on(db, "INSERT INTO note VALUES(1,'a')");
    assert_string_equal(next(s, 0), "note {\"id\":1} insert;");
    on(db, "BEGIN");
    FAILS(CSYNC_EBUSY, "open transaction",
          csync_subscription_next(s, 0, &(csync_batch *){NULL}, err));
    on(db, "COMMIT");
    csync_subscription_close(s);
    csync_close(m);
    sqlite3_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_BOTH(changes_of_all_kinds_come_from_another_connection),
        IN_BOTH(the_descriptor_tells_of_a_commit_elsewhere),
        IN_BOTH(what_is_not_committed_does_not_come),
        IN_BOTH(a_large_transaction_comes_when_it_is_committed),
        IN_BOTH(writes_through_csync_come_too),
        IN_BOTH(what_a_sync_brings_comes_with_its_origin),
        IN_WAL(a_table_or_a_record_is_all_that_comes),
        IN_WAL(a_slow_subscriber_gets_each_row_once_in_order),
        IN_WAL(it_resumes_after_a_version),
        IN_WAL(rows_from_before_track_come_to_who_reads_from_the_beginning),
        IN_WAL(an_id_goes_on_after_what_was_handled),
        IN_WAL(a_trimmed_log_asks_for_a_full_resync),
        IN_WAL(a_subscription_has_a_row_until_it_is_closed),
        IN_WAL(an_expired_one_goes_when_another_is_made),
        IN_BOTH(reading_does_not_make_it_readable),
        IN_WAL(a_checkpoint_brings_nothing_and_stops_nothing),
        IN_WAL(a_change_of_the_journal_mode_loses_nothing),
        IN_BOTH(silence_costs_neither_time_nor_writes),
        IN_WAL(what_is_not_subscribed_to_costs_no_writes),
        IN_BOTH(a_writer_that_is_long_at_work_is_no_failure),
        cmocka_unit_test(a_replica_in_memory_sees_its_own_calls),
        cmocka_unit_test(a_live_connection_in_memory_is_seen_at_the_next_call),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
