/* test_foreign_keys.c - rows that need each other, in any order, and what happens when they cannot have it. */
#include "support.h"

static const char tree[] =
    "CREATE TABLE site(id INTEGER PRIMARY KEY, name TEXT UNIQUE);\n"
    "CREATE TABLE a_visit(id INTEGER PRIMARY KEY, site_id INTEGER NOT NULL REFERENCES site(id), "
    "note TEXT CHECK(note <> 'bad'));\n"
    "CREATE TABLE photo(id INTEGER PRIMARY KEY, visit_id INTEGER REFERENCES a_visit)";

static void add(csync_batch *b, int64_t version, int op, const char *table, const char *pk,
                const char *payload)
{
    csync_change c = {.struct_size = sizeof c,
                      .version = version,
                      .operation = op,
                      .table = table,
                      .pk = pk,
                      .payload = payload,
                      .origin = "tester",
                      .timestamp = "2030-01-01T00:00:00.000Z",
                      .seq = version};

    OK(csync_batch_add(b, &c, err));
}

static csync_result apply(csync *c, csync_batch *b)
{
    csync_result r = {.struct_size = sizeof r};

    OK(csync_apply(c, b, NULL, NULL, &r, err));
    csync_batch_free(b);
    return r;
}

static csync_batch *batch(void)
{
    csync_batch *b = NULL;

    OK(csync_batch_new(&b, err));
    return b;
}

static void children_before_parents_in_one_batch_enter(void **state)
{
    csync *c = replica_new(tree);
    csync_batch *b = batch();
    csync_result r;

    (void)state;
    add(b, 1, CSYNC_INSERT, "photo", "{\"id\":1}", "{\"id\":1,\"visit_id\":1}");
    add(b, 2, CSYNC_INSERT, "a_visit", "{\"id\":1}", "{\"id\":1,\"site_id\":1,\"note\":\"x\"}");
    add(b, 3, CSYNC_INSERT, "site", "{\"id\":1}", "{\"id\":1,\"name\":\"A\"}");
    r = apply(c, b);
    assert_int_equal(r.pulled, 3);
    assert_int_equal(number(c, "SELECT count(*) FROM photo JOIN a_visit v ON v.id=visit_id"), 1);
    csync_close(c);
}

static void a_child_is_parked_until_its_parent_comes(void **state)
{
    csync *c = replica_new(tree), *relay = replica_new(tree);
    csync_batch *b = batch();
    csync_result r;

    (void)state;
    add(b, 1, CSYNC_INSERT, "photo", "{\"id\":1}", "{\"id\":1,\"visit_id\":1}");
    add(b, 2, CSYNC_INSERT, "a_visit", "{\"id\":1}", "{\"id\":1,\"site_id\":1,\"note\":\"x\"}");
    r = apply(c, b);
    assert_int_equal(r.parked, 2);
    assert_int_equal(number(c, "SELECT count(*) FROM a_visit"), 0);
    assert_string_equal(text(c, "SELECT reason FROM _sync_parked"), "foreign key");
    sync_all(relay, c);
    assert_int_equal(number(relay, "SELECT count(*) FROM _sync_parked"), 2);
    b = batch();
    add(b, 3, CSYNC_INSERT, "site", "{\"id\":1}", "{\"id\":1,\"name\":\"A\"}");
    apply(c, b);
    assert_int_equal(number(c, "SELECT count(*) FROM photo"), 1);
    assert_int_equal(number(c, "SELECT count(*) FROM _sync_parked"), 0);
    sync_all(relay, c);
    assert_int_equal(number(relay, "SELECT count(*) FROM photo"), 1);
    assert_equal(c, relay);
    csync_close(c);
    csync_close(relay);
}

static void a_local_parent_lets_a_parked_child_in(void **state)
{
    csync *c = replica_new(tree), *d = replica_new(tree);
    csync_batch *b = batch();

    (void)state;
    add(b, 1, CSYNC_INSERT, "a_visit", "{\"id\":1}", "{\"id\":1,\"site_id\":1,\"note\":\"x\"}");
    assert_int_equal(apply(c, b).parked, 1);
    run(c, "INSERT INTO site VALUES(1,'here')");
    sync_all(c, d);
    assert_int_equal(number(d, "SELECT count(*) FROM a_visit"), 1);
    sync_all(c, d);
    assert_equal(c, d);
    csync_close(c);
    csync_close(d);
}

static void cycles_and_self_references_enter(void **state)
{
    static const char schema[] =
        "CREATE TABLE emp(id INTEGER PRIMARY KEY, boss INTEGER REFERENCES emp(id), dep INTEGER REFERENCES dep(id));\n"
        "CREATE TABLE dep(id INTEGER PRIMARY KEY, head INTEGER REFERENCES emp(id))";
    csync *a = replica_new(schema), *b = replica_new(schema), *c = replica_new(schema);
    csync_sync_options one = {.struct_size = sizeof one, .batch_size = 1};

    (void)state;
    run(a, "BEGIN;\nPRAGMA defer_foreign_keys=ON;\nINSERT INTO emp VALUES(1,2,1),(2,3,1),(3,1,1);\n"
           "INSERT INTO dep VALUES(1,3);\nCOMMIT");
    sync_all(a, b);
    assert_equal(a, b);
    assert_int_equal(number(b, "SELECT count(*) FROM emp"), 3);
    OK(csync_sync(c, a, &one, NULL, err));
    assert_equal(a, c);
    assert_int_equal(number(c, "SELECT count(*) FROM _sync_parked"), 0);
    csync_close(a);
    csync_close(b);
    csync_close(c);
}

static void a_deleted_parents_children_are_parked_and_return_with_it(void **state)
{
    csync *a = replica_new(tree), *b = replica_new(tree);

    (void)state;
    run(a, "INSERT INTO site VALUES(1,'A')");
    sync_all(a, b);
    run(b, "INSERT INTO a_visit VALUES(1,1,'x')");
    run(b, "INSERT INTO photo VALUES(1,1)");
    run(a, "DELETE FROM site WHERE id=1");
    sync_all(b, a);
    sync_all(b, a);
    assert_equal(a, b);
    assert_int_equal(number(a, "SELECT count(*) FROM _sync_parked"), 2);
    assert_int_equal(number(b, "SELECT count(*) FROM _sync_parked"), 2);
    assert_int_equal(number(b, "SELECT count(*) FROM a_visit"), 0);
    run(a, "INSERT INTO site VALUES(1,'A again')");
    sync_all(b, a);
    sync_all(b, a);
    assert_equal(a, b);
    assert_int_equal(number(a, "SELECT count(*) FROM photo"), 1);
    assert_int_equal(number(b, "SELECT count(*) FROM photo"), 1);
    csync_close(a);
    csync_close(b);
}

static void what_a_cascade_deletes_is_logged_as_this_replicas_own(void **state)
{
    static const char schema[] =
        "CREATE TABLE p(id INTEGER PRIMARY KEY);\n"
        "CREATE TABLE c(id INTEGER PRIMARY KEY, p INTEGER REFERENCES p ON DELETE CASCADE);\n"
        "CREATE TABLE n(id INTEGER PRIMARY KEY, p INTEGER REFERENCES p ON DELETE SET NULL)";
    csync *a = replica_new(schema), *b = replica_new(schema), *third = replica_new(schema);

    (void)state;
    run(a, "INSERT INTO p VALUES(1)");
    sync_all(a, b);
    run(b, "INSERT INTO c VALUES(1,1)");
    run(b, "INSERT INTO n VALUES(1,1)");
    sync_all(third, b);
    run(a, "DELETE FROM p");
    sync_all(b, a);
    assert_int_equal(number(b, "SELECT count(*) FROM c"), 0);
    assert_string_equal(text(b, "SELECT p FROM n"), "");
    sync_all(third, b);
    sync_all(b, a);
    assert_equal(a, b);
    assert_equal(third, b);
    csync_close(a);
    csync_close(b);
    csync_close(third);
}

static void a_key_change_with_cascading_children_arrives_whole(void **state)
{
    static const char schema[] =
        "CREATE TABLE p(id INTEGER PRIMARY KEY, t TEXT);\n"
        "CREATE TABLE c(id INTEGER PRIMARY KEY, p INTEGER REFERENCES p ON UPDATE CASCADE ON DELETE CASCADE)";
    csync *a = replica_new(schema), *b = replica_new(schema), *c = replica_new(schema);
    csync_sync_options one = {.struct_size = sizeof one, .batch_size = 1};

    (void)state;
    run(a, "INSERT INTO p VALUES(3,'x')");
    run(a, "INSERT INTO c VALUES(1,3),(2,3)");
    sync_all(a, b);
    sync_all(a, c);
    run(a, "UPDATE p SET id=5 WHERE id=3");
    sync_all(a, b);
    assert_equal(a, b);
    assert_int_equal(number(b, "SELECT count(*) FROM c WHERE p=5"), 2);
    for (int i = 0; i < 2; i++)
        OK(csync_sync(a, c, &one, NULL, err));
    assert_equal(a, c);
    assert_int_equal(number(c, "SELECT count(*) FROM c WHERE p=5"), 2);
    csync_close(a);
    csync_close(b);
    csync_close(c);
}

static void a_unique_value_freed_in_the_same_batch_is_taken(void **state)
{
    csync *a = replica_new(tree), *b = replica_new(tree);

    (void)state;
    run(a, "INSERT INTO site VALUES(1,'A')");
    sync_all(a, b);
    run(a, "DELETE FROM site WHERE id=1");
    run(a, "INSERT INTO site VALUES(2,'A')");
    sync_all(a, b);
    assert_equal(a, b);
    csync_close(a);
    csync_close(b);
}

/* Both replicas made a row with the same unique value: the later one is visible everywhere. */
static void of_rows_that_collide_the_later_is_visible_on_both_sides(void **state)
{
    csync *a = replica_new(tree), *b = replica_new(tree), *c = replica_new(tree);

    (void)state;
    run(a, "INSERT INTO site VALUES(1,'same')");
    run(a, "INSERT INTO a_visit VALUES(1,1,'of the loser')");
    run(b, "UPDATE _sync_session SET clock='2090-01-01T00:00:00.000Z'");
    run(b, "INSERT INTO site VALUES(2,'same')");
    sync_all(a, b);
    sync_all(c, b);
    assert_equal(a, b);
    assert_equal(b, c);
    assert_int_equal(number(a, "SELECT id FROM site"), 2);
    assert_int_equal(number(b, "SELECT count(*) FROM _sync_parked"), 2);
    run(a, "UPDATE site SET name='other' WHERE id=2");
    for (int i = 0; i < 2; i++) {
        sync_all(a, b);
        sync_all(c, b);
    }
    assert_equal(a, b);
    assert_equal(b, c);
    assert_int_equal(number(c, "SELECT count(*) FROM site"), 2);
    assert_int_equal(number(b, "SELECT count(*) FROM a_visit"), 1);
    assert_int_equal(number(a, "SELECT count(*) FROM _sync_parked"), 0);
    csync_close(a);
    csync_close(b);
    csync_close(c);
}

static void what_a_check_refuses_is_parked_with_its_reason(void **state)
{
    csync *c = replica_new(tree), *d;
    csync_batch *b = batch();
    csync_outcome *o = NULL;
    csync_outcome_entry e = {.struct_size = sizeof e};
    char *json = NULL;

    (void)state;
    run(c, "INSERT INTO site VALUES(1,'A')");
    add(b, 1, CSYNC_INSERT, "a_visit", "{\"id\":1}", "{\"id\":1,\"site_id\":1,\"note\":\"bad\"}");
    add(b, 2, CSYNC_INSERT, "a_visit", "{\"id\":2}", "{\"id\":2,\"note\":\"no site\"}");
    add(b, 3, CSYNC_INSERT, "a_visit", "{\"id\":3}", "{\"id\":3,\"site_id\":1,\"colour\":1}");
    add(b, 4, CSYNC_INSERT, "nowhere", "{\"id\":3}", "{\"id\":3}");
    add(b, 5, CSYNC_INSERT, "a_visit", "{\"id\":\"five\"}", "{\"id\":\"five\",\"site_id\":1}");
    add(b, 6, CSYNC_INSERT, "a_visit", "{\"id\":6}", "{\"id\":7,\"site_id\":1}");
    add(b, 7, CSYNC_INSERT, "a_visit", "{\"nokey\":6}", "{\"id\":7,\"site_id\":1}");
    OK(csync_apply(c, b, NULL, &o, NULL, err));
    assert_int_equal(csync_outcome_count(o), 7);
    const char *reasons[] = {"check", "not null",  "unknown column", "unknown table",
                             "type",  "malformed", "malformed"};
    for (size_t i = 0; i < 7; i++) {
        OK(csync_outcome_at(o, i, &e));
        assert_int_equal(e.status, i < 5 ? CSYNC_PARKED : CSYNC_REJECTED);
        if (strncmp(e.reason, reasons[i], strlen(reasons[i])) != 0)
            fail_msg("%zu: %s", i, e.reason);
    }
    OK(csync_parked(c, &json, err));
    assert_non_null(strstr(json, "\"reason\":\"not null\""));
    csync_free(json);
    csync_outcome_free(o);
    csync_batch_free(b);
    run(c, "CREATE TABLE nowhere(id INTEGER PRIMARY KEY)");
    OK(csync_track(c, "nowhere", NULL, err));
    assert_int_equal(number(c, "SELECT count(*) FROM nowhere"), 1);
    run(c, "ALTER TABLE a_visit ADD COLUMN colour INTEGER");
    d = replica_new(tree);
    sync_all(c, d);
    assert_int_equal(number(c, "SELECT colour FROM a_visit WHERE id=3"), 1);
    csync_close(c);
    csync_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(children_before_parents_in_one_batch_enter),
        cmocka_unit_test(a_child_is_parked_until_its_parent_comes),
        cmocka_unit_test(a_local_parent_lets_a_parked_child_in),
        cmocka_unit_test(cycles_and_self_references_enter),
        cmocka_unit_test(a_deleted_parents_children_are_parked_and_return_with_it),
        cmocka_unit_test(what_a_cascade_deletes_is_logged_as_this_replicas_own),
        cmocka_unit_test(a_key_change_with_cascading_children_arrives_whole),
        cmocka_unit_test(a_unique_value_freed_in_the_same_batch_is_taken),
        cmocka_unit_test(of_rows_that_collide_the_later_is_visible_on_both_sides),
        cmocka_unit_test(what_a_check_refuses_is_parked_with_its_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
