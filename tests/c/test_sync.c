/* test_sync.c - two and more replicas, written apart and brought together. */
#include "support.h"

static const char person[] = "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, votes INTEGER)";

static void inserts_updates_and_deletes_travel_both_ways(void **state)
{
    csync *a = replica_new(person), *b = replica_new(person);
    csync_result r;

    (void)state;
    run(a, "INSERT INTO person VALUES(1,'Ada',1),(2,'Bob',2)");
    run(b, "INSERT INTO person VALUES(3,'Cy',3)");
    r = sync_all(a, b);
    assert_int_equal(r.pulled, 1);
    assert_int_equal(r.pushed, 2);
    assert_equal(a, b);
    run(a, "UPDATE person SET name='Ada L.' WHERE id=1");
    run(b, "DELETE FROM person WHERE id=2");
    sync_all(a, b);
    assert_equal(a, b);
    assert_string_equal(text(b, "SELECT group_concat(id||name) FROM person"), "1Ada L.,3Cy");
    csync_close(a);
    csync_close(b);
}

static void a_second_sync_moves_nothing(void **state)
{
    csync *a = replica_new(person), *b = replica_new(person);
    csync_result r;

    (void)state;
    run(a, "INSERT INTO person VALUES(1,'Ada',1)");
    run(b, "INSERT INTO person VALUES(2,'Bob',1)");
    sync_all(a, b);
    sync_all(b, a);
    for (int i = 0; i < 3; i++) {
        r = sync_all(i % 2 ? a : b, i % 2 ? b : a);
        assert_int_equal(r.pulled + r.pushed + r.lost + r.conflicts, 0);
    }
    csync_close(a);
    csync_close(b);
}

static void rows_from_before_track_take_part(void **state)
{
    csync *a, *b = replica_new(person);

    (void)state;
    OK(csync_open(&a, ":memory:", NULL, err));
    run(a, person);
    run(a, "INSERT INTO person VALUES(1,'Ada',1),(2,'Bob',2)");
    OK(csync_track(a, "person", NULL, err));
    sync_all(b, a);
    assert_equal(a, b);
    assert_int_equal(number(b, "SELECT count(*) FROM person"), 2);
    csync_close(a);
    csync_close(b);
}

static void a_relay_passes_changes_on_without_echo(void **state)
{
    csync *a = replica_new(person), *b = replica_new(person), *c = replica_new(person);
    csync_result r;

    (void)state;
    run(a, "INSERT INTO person VALUES(1,'Ada',1)");
    sync_all(b, a);
    sync_all(c, b);
    assert_equal(a, c);
    run(c, "UPDATE person SET votes=9 WHERE id=1");
    sync_all(c, b);
    sync_all(b, a);
    assert_int_equal(number(a, "SELECT votes FROM person"), 9);
    sync_all(c, b);
    r = sync_all(b, a);
    assert_int_equal(r.pulled + r.pushed, 0);
    assert_int_equal(number(a, "SELECT count(*) FROM _sync_log"), 2);
    csync_close(a);
    csync_close(b);
    csync_close(c);
}

static void the_later_edit_wins_on_both_sides(void **state)
{
    csync *a = replica_new(person), *b = replica_new(person);
    csync_result r;

    (void)state;
    run(a, "INSERT INTO person VALUES(1,'Ada',1)");
    sync_all(a, b);
    run(a, "UPDATE person SET name='older' WHERE id=1");
    run(b, "UPDATE _sync_session SET clock='2090-01-01T00:00:00.000Z'");
    run(b, "UPDATE person SET name='newer' WHERE id=1");
    r = sync_all(a, b);
    assert_int_equal(r.conflicts, 1);
    assert_string_equal(text(a, "SELECT name FROM person"), "newer");
    assert_equal(a, b);
    assert_string_equal(text(a, "SELECT loser_payload FROM _sync_conflicts"),
                        "{\"id\":1,\"name\":\"older\",\"votes\":1}");
    csync_close(a);
    csync_close(b);
}

static csync_result sync_by(csync *a, csync *b, int strategy, csync_conflict_fn fn)
{
    csync_sync_options o = {.struct_size = sizeof o, .strategy = strategy, .on_conflict = fn};
    csync_result r = {.struct_size = sizeof r};

    OK(csync_sync(a, b, &o, &r, err));
    return r;
}

static void conflict_between(csync *a, csync *b)
{
    run(a, "INSERT INTO person VALUES(1,'Ada',10)");
    sync_all(a, b);
    run(b, "UPDATE person SET name='peer', votes=votes+1 WHERE id=1");
    run(a, "UPDATE person SET name='mine', votes=votes+5 WHERE id=1");
}

static void server_wins_takes_the_peers_row(void **state)
{
    csync *a = replica_new(person), *b = replica_new(person);

    (void)state;
    conflict_between(a, b);
    assert_int_equal(sync_by(a, b, CSYNC_SERVER_WINS, NULL).conflicts, 1);
    assert_string_equal(text(a, "SELECT name FROM person"), "peer");
    assert_equal(a, b);
    csync_close(a);
    csync_close(b);
}

static void client_wins_keeps_this_replicas_row_and_pushes_it(void **state)
{
    csync *a = replica_new(person), *b = replica_new(person);

    (void)state;
    conflict_between(a, b);
    run(b, "UPDATE _sync_session SET clock='2090-01-01T00:00:00.000Z'");
    run(b, "UPDATE person SET name='peer' WHERE id=1");
    assert_int_equal(sync_by(a, b, CSYNC_CLIENT_WINS, NULL).conflicts, 1);
    assert_string_equal(text(b, "SELECT name FROM person"), "mine");
    assert_equal(a, b);
    csync_close(a);
    csync_close(b);
}

static int add_votes(void *user_data, const csync_change *local, const csync_change *remote,
                     const csync_change *base, csync_decision *d)
{
    static const char merged[] = "{\"id\":1,\"votes\":16}";

    (void)user_data;
    assert_non_null(strstr(local->payload, "\"votes\":15"));
    assert_non_null(strstr(remote->payload, "\"votes\":11"));
    assert_non_null(base);
    assert_non_null(strstr(base->payload, "\"votes\":10"));
    d->kind = CSYNC_MERGE;
    d->payload = csync_malloc(sizeof merged);
    memcpy(d->payload, merged, sizeof merged);
    return CSYNC_OK;
}

static void a_resolver_merges_and_sees_the_base(void **state)
{
    csync *a = replica_new(person), *b = replica_new(person);

    (void)state;
    conflict_between(a, b);
    assert_int_equal(sync_by(a, b, CSYNC_CUSTOM, add_votes).conflicts, 1);
    assert_int_equal(number(b, "SELECT votes FROM person"), 16);
    assert_string_equal(text(b, "SELECT name FROM person"), "mine");
    assert_equal(a, b);
    assert_int_equal(sync_by(a, b, CSYNC_CUSTOM, add_votes).conflicts, 0);
    csync_close(a);
    csync_close(b);
}

static int give_up(void *user_data, const csync_change *local, const csync_change *remote,
                   const csync_change *base, csync_decision *d)
{
    (void)local;
    (void)remote;
    (void)base;
    (void)d;
    FAILS(CSYNC_EBUSY, "its own callback", csync_track(user_data, "person", NULL, err));
    return CSYNC_ECALLBACK;
}

static void a_failing_resolver_rolls_the_batch_back(void **state)
{
    csync *a = replica_new(person), *b = replica_new(person);
    csync_sync_options o = {.struct_size = sizeof o, .strategy = CSYNC_CUSTOM, .on_conflict = give_up};

    (void)state;
    conflict_between(a, b);
    run(b, "INSERT INTO person VALUES(2,'Bob',1)");
    o.user_data = a;
    FAILS(CSYNC_ECALLBACK, "person", csync_sync(a, b, &o, NULL, err));
    assert_int_equal(number(a, "SELECT count(*) FROM person"), 1);
    assert_string_equal(text(a, "SELECT name FROM person"), "mine");
    sync_all(a, b);
    assert_equal(a, b);
    csync_close(a);
    csync_close(b);
}

static void a_later_delete_beats_an_update_and_an_update_a_delete(void **state)
{
    csync *a = replica_new(person), *b = replica_new(person);

    (void)state;
    run(a, "INSERT INTO person VALUES(1,'Ada',1),(2,'Bob',1)");
    sync_all(a, b);
    run(a, "UPDATE person SET name='x' WHERE id=1");
    run(a, "DELETE FROM person WHERE id=2");
    run(b, "UPDATE _sync_session SET clock='2090-01-01T00:00:00.000Z'");
    run(b, "DELETE FROM person WHERE id=1");
    run(b, "UPDATE person SET name='stays' WHERE id=2");
    sync_all(a, b);
    assert_equal(a, b);
    assert_string_equal(text(a, "SELECT group_concat(id||name) FROM person"), "2stays");
    csync_close(a);
    csync_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inserts_updates_and_deletes_travel_both_ways),
        cmocka_unit_test(a_second_sync_moves_nothing),
        cmocka_unit_test(rows_from_before_track_take_part),
        cmocka_unit_test(a_relay_passes_changes_on_without_echo),
        cmocka_unit_test(the_later_edit_wins_on_both_sides),
        cmocka_unit_test(server_wins_takes_the_peers_row),
        cmocka_unit_test(client_wins_keeps_this_replicas_row_and_pushes_it),
        cmocka_unit_test(a_resolver_merges_and_sees_the_base),
        cmocka_unit_test(a_failing_resolver_rolls_the_batch_back),
        cmocka_unit_test(a_later_delete_beats_an_update_and_an_update_a_delete),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
