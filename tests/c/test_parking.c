/* test_parking.c - a change that wins but cannot enter its table: it is kept, listed with its reason, passed on, and it
 * enters as soon as it can, on every replica alike. Three replicas in a row: `left` and `right` meet only through
 * `middle`. */
#include "support.h"

typedef struct row_of_three {
    csync *left, *middle, *right;
} row_of_three;

static row_of_three three(const char *schema)
{
    return (row_of_three){replica_new(schema), replica_new(schema), replica_new(schema)};
}

static void settle(const row_of_three *r)
{
    for (int i = 0; i < 3; i++) {
        sync_all(r->left, r->middle);
        sync_all(r->right, r->middle);
    }
}

static void close_all(const row_of_three *r)
{
    csync_close(r->left);
    csync_close(r->middle);
    csync_close(r->right);
}

/* The replica's clock is so many seconds ahead: less than a peer minds. */
static void ahead(csync *c, int seconds)
{
    char sql[128];

    snprintf(sql, sizeof sql,
             "UPDATE _sync_session SET clock=strftime('%%Y-%%m-%%dT%%H:%%M:%%fZ','now','+%d seconds')",
             seconds);
    run(c, sql);
}

/* The parked rows and why: "{"id":1} unique, ..." in order of key. */
static void assert_parked(csync *c, const char *expected)
{
    const char *have =
        text(c, "SELECT coalesce(group_concat(pk_value || ' ' || reason, ', '), '') FROM "
                "(SELECT * FROM _sync_parked ORDER BY table_name, pk_value)");

    assert_string_equal(have, expected);
}

static void assert_rows(csync *c, const char *sql, const char *expected)
{
    char query[512];

    snprintf(query, sizeof query, "SELECT coalesce(group_concat(x, ', '), '') FROM (%s)", sql);
    assert_string_equal(text(c, query), expected);
}

static void all_parked(const row_of_three *r, const char *expected)
{
    assert_parked(r->left, expected);
    assert_parked(r->middle, expected);
    assert_parked(r->right, expected);
}

static void all_rows(const row_of_three *r, const char *sql, const char *expected)
{
    assert_rows(r->left, sql, expected);
    assert_rows(r->middle, sql, expected);
    assert_rows(r->right, sql, expected);
    assert_equal(r->left, r->middle);
    assert_equal(r->right, r->middle);
}

/* csync_parked names the row's reason. */
static void assert_listed(csync *c, const char *reason)
{
    char part[64], *json = NULL;

    snprintf(part, sizeof part, "\"reason\":\"%s\"", reason);
    OK(csync_parked(c, &json, err));
    if (!strstr(json, part))
        fail_msg("%s lacks %s", json, part);
    csync_free(json);
}

/* ---- a parent that is missing ---- */

static const char family[] =
    "CREATE TABLE p(id INTEGER PRIMARY KEY, v);\n"
    "CREATE TABLE c(id INTEGER PRIMARY KEY, p INTEGER NOT NULL REFERENCES p, v)";
static const char children[] = "SELECT id||':'||p||':'||v x FROM c ORDER BY id";

static void a_child_waits_for_its_parent_on_every_replica(void **state)
{
    row_of_three r = three(family);

    (void)state;
    run(r.left, "INSERT INTO p VALUES(1,'p')");
    settle(&r);
    run(r.left, "INSERT INTO c VALUES(1,1,'c')");
    run(r.right, "DELETE FROM p");
    settle(&r);
    all_parked(&r, "{\"id\":1} foreign key");
    all_rows(&r, children, "");
    assert_listed(r.middle, "foreign key");
    run(r.right, "INSERT INTO p VALUES(1,'again')");
    settle(&r);
    all_parked(&r, "");
    all_rows(&r, children, "1:1:c");
    close_all(&r);
}

/* As its head does: it is no other change for having been parked. */
static void a_decision_that_waits_has_the_seq_of_its_head(void **state)
{
    row_of_three r = three(family);
    csync_sync_options keep = {.struct_size = sizeof keep, .strategy = CSYNC_CLIENT_WINS};

    (void)state;
    run(r.left, "INSERT INTO p VALUES(1,'p'),(2,'q')");
    run(r.left, "INSERT INTO c VALUES(3,1,'c')");
    settle(&r);
    ahead(r.middle, 30);
    run(r.middle, "UPDATE c SET p=2");
    run(r.middle, "DELETE FROM p WHERE id=1");
    run(r.left, "UPDATE c SET v='kept'");
    OK(csync_sync(r.left, r.middle, &keep, NULL, err));
    assert_parked(r.left, "{\"id\":3} foreign key");
    assert_int_equal(number(r.left, "SELECT count(*) FROM _sync_parked WHERE seq=0"), 0);
    close_all(&r);
}

/* The relay does not have the parent table's row when the child passes through it. */
static void a_relay_passes_on_the_child_that_it_cannot_hold(void **state)
{
    row_of_three r = three(family);

    (void)state;
    run(r.middle, "DROP TABLE c");
    run(r.left, "INSERT INTO p VALUES(1,'p')");
    run(r.left, "INSERT INTO c VALUES(1,1,'c')");
    settle(&r);
    assert_rows(r.right, children, "1:1:c");
    assert_parked(r.middle, "{\"id\":1} unknown table");
    run(r.right, "UPDATE c SET v='edited'");
    settle(&r);
    assert_rows(r.left, children, "1:1:edited");
    run(r.middle, "CREATE TABLE c(id INTEGER PRIMARY KEY, p INTEGER NOT NULL REFERENCES p, v)");
    settle(&r);
    all_parked(&r, "");
    all_rows(&r, children, "1:1:edited");
    close_all(&r);
}

/* ---- UNIQUE ---- */

static const char mail[] = "CREATE TABLE mail(id INTEGER PRIMARY KEY, a TEXT UNIQUE)";
static const char mails[] = "SELECT id||a x FROM mail ORDER BY id";

static void of_three_rows_with_one_value_the_latest_is_visible(void **state)
{
    row_of_three r = three(mail);

    (void)state;
    ahead(r.left, 30);
    ahead(r.middle, 90);
    ahead(r.right, 60);
    run(r.left, "INSERT INTO mail VALUES(1,'x')");
    run(r.middle, "INSERT INTO mail VALUES(2,'x')");
    run(r.right, "INSERT INTO mail VALUES(3,'x')");
    settle(&r);
    all_rows(&r, mails, "2x");
    all_parked(&r, "{\"id\":1} unique, {\"id\":3} unique");
    assert_listed(r.left, "unique");
    run(r.left, "DELETE FROM mail WHERE id=2");
    settle(&r);
    all_rows(&r, mails, "3x");
    all_parked(&r, "{\"id\":1} unique");
    run(r.middle, "UPDATE mail SET a='y' WHERE id=3");
    settle(&r);
    all_rows(&r, mails, "1x, 3y");
    all_parked(&r, "");
    close_all(&r);
}

static void rows_that_swap_their_values_arrive_swapped(void **state)
{
    row_of_three r = three(mail);
    csync_sync_options one = {.struct_size = sizeof one, .batch_size = 1};

    (void)state;
    run(r.left, "INSERT INTO mail VALUES(1,'x'),(2,'y'),(3,'z')");
    settle(&r);
    run(r.left, "UPDATE mail SET a='-' WHERE id=1");
    run(r.left, "UPDATE mail SET a='x' WHERE id=2");
    run(r.left, "UPDATE mail SET a='y' WHERE id=1");
    OK(csync_sync(r.left, r.middle, &one, NULL, err));
    settle(&r);
    all_rows(&r, mails, "1y, 2x, 3z");
    run(r.left, "UPDATE mail SET a='-' WHERE id=1"); /* a ring of three */
    run(r.left, "UPDATE mail SET a='y' WHERE id=3");
    run(r.left, "UPDATE mail SET a='z' WHERE id=2");
    run(r.left, "UPDATE mail SET a='x' WHERE id=1");
    settle(&r);
    all_rows(&r, mails, "1x, 2z, 3y");
    all_parked(&r, "");
    close_all(&r);
}

/* Each side moves its own row onto the other's value. */
static void rows_swapped_by_two_replicas_end_alike(void **state)
{
    row_of_three r = three(mail);

    (void)state;
    run(r.left, "INSERT INTO mail VALUES(1,'x'),(2,'y')");
    settle(&r);
    ahead(r.left, 30);
    ahead(r.right, 60);
    run(r.left, "DELETE FROM mail WHERE id=2");
    run(r.left, "UPDATE mail SET a='y' WHERE id=1");
    run(r.right, "DELETE FROM mail WHERE id=1");
    run(r.right, "UPDATE mail SET a='x' WHERE id=2");
    settle(&r);
    all_rows(&r, mails, "2x");
    all_parked(&r, "");
    close_all(&r);
}

/* What comes for row 3 first has to wait for row 1, whose new value drives out the old state of row 3. */
static void a_row_that_waits_while_its_old_state_is_evicted_is_parked_no_more(void **state)
{
    row_of_three r = three(mail);

    (void)state;
    ahead(r.left, 30);
    run(r.left, "INSERT INTO mail VALUES(3,'x')");
    ahead(r.left, 90);
    run(r.left, "INSERT INTO mail VALUES(1,'z')");
    ahead(r.right, 10);
    run(r.right, "INSERT INTO mail VALUES(3,'z')");
    ahead(r.right, 60);
    run(r.right, "INSERT INTO mail VALUES(1,'x')");
    OK(csync_sync(r.right, r.left, NULL, NULL, err));
    assert_rows(r.right, mails, "1z, 3x");
    settle(&r);
    all_rows(&r, mails, "1z, 3x");
    all_parked(&r, "");
    close_all(&r);
}

/* Both are stamped in the same millisecond by the same replica: what was decided comes after what was edited. */
static void a_decision_drives_out_what_was_edited_just_before(void **state)
{
    row_of_three r = three(mail);
    csync_sync_options pull = {.struct_size = sizeof pull, .direction = CSYNC_PULL};
    csync_sync_options keep = {.struct_size = sizeof keep, .strategy = CSYNC_CLIENT_WINS};

    (void)state;
    ahead(r.left, 30);
    run(r.left, "INSERT INTO mail VALUES(3,'x')");
    ahead(r.middle, 60);
    run(r.middle, "INSERT INTO mail VALUES(2,'x')");
    OK(csync_sync(r.left, r.middle, &pull, NULL, err));
    assert_parked(r.left, "{\"id\":3} unique");
    ahead(r.right, 90);
    run(r.right, "INSERT INTO mail VALUES(3,'other')");
    sync_all(r.right, r.middle);
    ahead(r.left, 120);
    run(r.left, "UPDATE mail SET a='x' WHERE id=2");
    OK(csync_sync(r.left, r.middle, &keep, NULL, err));
    assert_rows(r.left, mails, "3x");
    settle(&r);
    all_rows(&r, mails, "3x");
    all_parked(&r, "{\"id\":2} unique");
    close_all(&r);
}

/* 1 loses to 2 and 2 to 3, so 1 is visible after all: 2 is in nobody's way. */
static void a_chain_of_collisions_hides_no_more_than_it_must(void **state)
{
    row_of_three r = three("CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, b UNIQUE)");
    static const char ids[] = "SELECT id x FROM t ORDER BY id";

    (void)state;
    ahead(r.left, 30);
    ahead(r.middle, 60);
    ahead(r.right, 90);
    run(r.left, "INSERT INTO t VALUES(1,'x',1)");
    run(r.middle, "INSERT INTO t VALUES(2,'x',2)");
    run(r.right, "INSERT INTO t VALUES(3,'y',2)");
    settle(&r);
    all_rows(&r, ids, "1, 3");
    all_parked(&r, "{\"id\":2} unique");
    run(r.left, "DELETE FROM t WHERE id=3");
    settle(&r);
    all_rows(&r, ids, "2");
    all_parked(&r, "{\"id\":1} unique");
    close_all(&r);
}

static void the_loser_of_a_collision_takes_its_children_along_and_back(void **state)
{
    row_of_three r =
        three("CREATE TABLE p(id INTEGER PRIMARY KEY, u UNIQUE);\n"
              "CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p ON DELETE CASCADE)");
    static const char ids[] = "SELECT id x FROM c ORDER BY id";

    (void)state;
    ahead(r.left, 30);
    ahead(r.right, 60);
    run(r.left, "INSERT INTO p VALUES(1,'x')");
    run(r.left, "INSERT INTO c VALUES(10,1),(11,1)");
    run(r.right, "INSERT INTO p VALUES(2,'x')");
    run(r.right, "INSERT INTO c VALUES(20,2)");
    settle(&r);
    all_rows(&r, ids, "20");
    all_parked(&r, "{\"id\":10} foreign key, {\"id\":11} foreign key, {\"id\":1} unique");
    run(r.middle, "UPDATE p SET u='z' WHERE id=2");
    settle(&r);
    all_rows(&r, ids, "10, 11, 20");
    all_parked(&r, "");
    close_all(&r);
}

/* ---- CHECK and NOT NULL: rules that not every replica has ---- */

static const char lax[] = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";
static const char ids_and_values[] = "SELECT id||':'||coalesce(v,'NULL') x FROM t ORDER BY id";

/* SQLite's way to change what ALTER TABLE cannot. */
static void rebuild(csync *c, const char *columns)
{
    char sql[512];

    snprintf(sql, sizeof sql,
             "CREATE TABLE new_t(%s);\nINSERT INTO new_t SELECT * FROM t;\nDROP TABLE t;\n"
             "ALTER TABLE new_t RENAME TO t",
             columns);
    run(c, sql);
}

/* The middle one has the rule and the outer ones have not. */
static void a_rule_of_the_relay(const char *strict, const char *reason)
{
    row_of_three r = {replica_new(lax), replica_new(strict), replica_new(lax)};
    char parked[64];

    run(r.left, "INSERT INTO t VALUES(1,7)");
    settle(&r);
    run(r.left, "UPDATE t SET v=NULL");
    run(r.left, "INSERT INTO t VALUES(2,NULL),(3,8)");
    settle(&r);
    snprintf(parked, sizeof parked, "{\"id\":1} %s, {\"id\":2} %s", reason, reason);
    assert_parked(r.middle, parked);
    assert_listed(r.middle, reason);
    assert_rows(r.middle, ids_and_values, "3:8");
    assert_rows(r.right, ids_and_values, "1:NULL, 2:NULL, 3:8");
    assert_parked(r.right, "");
    run(r.right, "UPDATE t SET v=5 WHERE id=2"); /* what the relay can hold again enters */
    settle(&r);
    assert_rows(r.middle, ids_and_values, "2:5, 3:8");
    rebuild(r.middle, "id INTEGER PRIMARY KEY, v");
    settle(&r);
    all_parked(&r, "");
    all_rows(&r, ids_and_values, "1:NULL, 2:5, 3:8");
    close_all(&r);
}

static void what_a_check_refuses_enters_when_the_check_goes(void **state)
{
    (void)state;
    a_rule_of_the_relay("CREATE TABLE t(id INTEGER PRIMARY KEY, v CHECK(coalesce(v,0)>0))", "check");
}

static void what_not_null_refuses_enters_when_it_goes(void **state)
{
    (void)state;
    a_rule_of_the_relay("CREATE TABLE t(id INTEGER PRIMARY KEY, v NOT NULL)", "not null");
}

/* ---- types ---- */

static void what_a_strict_column_refuses_enters_when_it_takes_it(void **state)
{
    row_of_three r = {replica_new(lax),
                      replica_new("CREATE TABLE t(id INTEGER PRIMARY KEY, v INTEGER) STRICT"),
                      replica_new(lax)};

    (void)state;
    run(r.left, "INSERT INTO t VALUES(1,7),(2,8)");
    settle(&r);
    run(r.left, "UPDATE t SET v='seven' WHERE id=1");
    settle(&r);
    assert_parked(r.middle, "{\"id\":1} type");
    assert_listed(r.middle, "type");
    assert_rows(r.middle, ids_and_values, "2:8");
    assert_rows(r.right, ids_and_values, "1:seven, 2:8");
    rebuild(r.middle, "id INTEGER PRIMARY KEY, v ANY");
    settle(&r);
    all_parked(&r, "");
    assert_rows(r.middle, ids_and_values, "1:seven, 2:8");
    close_all(&r);
}

static void a_text_as_integer_key_enters_when_the_key_takes_texts(void **state)
{
    static const char texts[] = "CREATE TABLE t(id TEXT PRIMARY KEY NOT NULL, v)";
    row_of_three r = {replica_new(texts), replica_new(lax), replica_new(texts)};

    (void)state;
    run(r.left, "INSERT INTO t VALUES('one',1)");
    settle(&r);
    assert_parked(r.middle, "{\"id\":\"one\"} type");
    assert_rows(r.right, ids_and_values, "one:1");
    run(r.right, "UPDATE t SET v=2");
    settle(&r);
    assert_rows(r.left, ids_and_values, "one:2");
    assert_parked(r.middle, "{\"id\":\"one\"} type");
    rebuild(r.middle, "id TEXT PRIMARY KEY NOT NULL, v");
    settle(&r);
    all_parked(&r, "");
    all_rows(&r, ids_and_values, "one:2");
    run(r.right, "DELETE FROM t");
    settle(&r);
    all_rows(&r, ids_and_values, "");
    close_all(&r);
}

/* ---- a column that one side has first ---- */

static const char values_and_dues[] =
    "SELECT id||':'||v||':'||coalesce(due,'NULL') x FROM t ORDER BY id";

static void a_new_column_reaches_the_older_side_when_it_has_it(void **state)
{
    row_of_three r = three(lax);

    (void)state;
    run(r.left, "INSERT INTO t VALUES(1,'a'),(2,'b')");
    settle(&r);
    run(r.left, "ALTER TABLE t ADD COLUMN due");
    run(r.right, "ALTER TABLE t ADD COLUMN due");
    run(r.left, "UPDATE t SET due='today' WHERE id=1");
    run(r.right, "INSERT INTO t VALUES(3,'c','late')");
    settle(&r);
    assert_parked(r.middle, "{\"id\":1} unknown column, {\"id\":3} unknown column");
    assert_listed(r.middle, "unknown column");
    assert_rows(r.left, values_and_dues, "1:a:today, 2:b:NULL, 3:c:late");
    assert_rows(r.right, values_and_dues, "1:a:today, 2:b:NULL, 3:c:late");
    run(r.middle, "ALTER TABLE t ADD COLUMN due");
    settle(&r);
    all_parked(&r, "");
    all_rows(&r, values_and_dues, "1:a:today, 2:b:NULL, 3:c:late");
    close_all(&r);
}

static void an_edit_of_the_older_side_leaves_the_new_column_alone(void **state)
{
    row_of_three r = three(lax);

    (void)state;
    run(r.left, "INSERT INTO t VALUES(1,'a'),(2,'b')");
    settle(&r);
    for (int i = 0; i < 2; i++) {
        csync *c = i ? r.right : r.left;

        run(c, "ALTER TABLE t ADD COLUMN due DEFAULT 'never'");
    }
    run(r.left, "UPDATE t SET due='today' WHERE id=1");
    sync_all(r.left, r.right);
    ahead(r.middle, 30);
    run(r.middle, "UPDATE t SET v='older side' WHERE id=1");
    sync_all(r.left, r.middle);
    sync_all(r.right, r.middle);
    assert_rows(r.left, values_and_dues, "1:older side:today, 2:b:never");
    assert_rows(r.right, values_and_dues, "1:older side:today, 2:b:never");
    run(r.middle, "ALTER TABLE t ADD COLUMN due DEFAULT 'never'");
    settle(&r);
    all_parked(&r, "");
    all_rows(&r, values_and_dues, "1:older side:today, 2:b:never");
    close_all(&r);
}

/* What it keeps in its column becomes a change that has to beat the winner. */
static void a_row_from_the_answer_to_a_push_leaves_the_new_column_alone(void **state)
{
    csync_sync_options push = {.struct_size = sizeof push, .direction = CSYNC_PUSH};
    csync_result result = {.struct_size = sizeof result};
    row_of_three r = three(lax);

    (void)state;
    run(r.left, "INSERT INTO t VALUES(1,'a')");
    settle(&r);
    run(r.left, "ALTER TABLE t ADD COLUMN due");
    run(r.right, "ALTER TABLE t ADD COLUMN due");
    ahead(r.middle, 30);
    run(r.middle, "UPDATE t SET v='older side'");
    run(r.left, "UPDATE t SET v='newer side',due='today'");
    OK(csync_sync(r.left, r.middle, &push, &result, err));
    assert_int_equal(result.lost, 1);
    OK(csync_sync(r.left, r.middle, &push, &result, err));
    assert_int_equal(result.lost, 0);
    settle(&r);
    assert_rows(r.left, values_and_dues, "1:older side:today");
    assert_rows(r.right, values_and_dues, "1:older side:today");
    run(r.middle, "ALTER TABLE t ADD COLUMN due");
    settle(&r);
    all_rows(&r, values_and_dues, "1:older side:today");
    close_all(&r);
}

/* Only who holds something of his own in the column has anything to tell. */
static void an_edit_of_the_older_side_is_no_news_where_the_column_holds_its_default(void **state)
{
    row_of_three r = three(lax);
    static const char own[] = "SELECT count(*) x FROM _sync_log WHERE origin IS NULL";

    (void)state;
    run(r.middle, "INSERT INTO t VALUES(1,'a')");
    settle(&r);
    run(r.left, "ALTER TABLE t ADD COLUMN due DEFAULT 'never'");
    run(r.left, "ALTER TABLE t ADD COLUMN word DEFAULT plain");
    run(r.right, "ALTER TABLE t ADD COLUMN due");
    run(r.middle, "UPDATE t SET v='older side'");
    sync_all(r.left, r.middle);
    sync_all(r.right, r.middle);
    assert_rows(r.right, own, "0");
    assert_rows(r.left, own, "1"); /* a bare word is no expression: what it stands for is not known */
    close_all(&r);
}

static void a_row_that_the_older_side_made_gets_the_columns_default(void **state)
{
    row_of_three r = three(lax);

    (void)state;
    run(r.left, "ALTER TABLE t ADD COLUMN due DEFAULT 'never'");
    run(r.middle, "INSERT INTO t VALUES(1,'a')");
    settle(&r);
    assert_rows(r.left, values_and_dues, "1:a:never");
    assert_parked(r.left, "");
    run(r.left, "UPDATE t SET due='today'");
    settle(&r);
    run(r.middle, "ALTER TABLE t ADD COLUMN due DEFAULT 'never'");
    run(r.right, "ALTER TABLE t ADD COLUMN due DEFAULT 'never'");
    settle(&r);
    all_parked(&r, "");
    all_rows(&r, values_and_dues, "1:a:today");
    close_all(&r);
}

/* ---- a table that one side does not have, or does not track ---- */

static void a_table_that_is_not_tracked_yet_gets_its_rows_with_track(void **state)
{
    row_of_three r = three(lax);

    (void)state;
    OK(csync_untrack(r.middle, "t", err));
    run(r.left, "INSERT INTO t VALUES(1,'a'),(2,'b')");
    settle(&r);
    assert_parked(r.middle, "{\"id\":1} unknown table, {\"id\":2} unknown table");
    assert_listed(r.middle, "unknown table");
    assert_rows(r.right, ids_and_values, "1:a, 2:b");
    run(r.right, "UPDATE t SET v='A' WHERE id=1");
    run(r.right, "DELETE FROM t WHERE id=2");
    settle(&r);
    assert_rows(r.left, ids_and_values, "1:A");
    assert_rows(r.middle, ids_and_values, "");
    OK(csync_track(r.middle, "t", NULL, err));
    settle(&r);
    all_parked(&r, "");
    all_rows(&r, ids_and_values, "1:A");
    close_all(&r);
}

/* ---- a parked row and what becomes of it meanwhile ---- */

static void a_parked_row_can_be_deleted_and_edited_elsewhere(void **state)
{
    row_of_three r = {replica_new(lax),
                      replica_new("CREATE TABLE t(id INTEGER PRIMARY KEY, v NOT NULL)"),
                      replica_new(lax)};

    (void)state;
    run(r.left, "INSERT INTO t VALUES(1,NULL),(2,NULL),(3,NULL)");
    settle(&r);
    run(r.right, "DELETE FROM t WHERE id=1");
    run(r.right, "UPDATE t SET v='now it can' WHERE id=2");
    run(r.middle, "INSERT INTO t VALUES(3,'made here meanwhile')");
    settle(&r);
    all_parked(&r, "");
    all_rows(&r, ids_and_values, "2:now it can, 3:made here meanwhile");
    close_all(&r);
}

static void a_key_that_changes_while_its_row_is_parked(void **state)
{
    row_of_three r = three(mail);

    (void)state;
    ahead(r.left, 30);
    ahead(r.right, 60);
    run(r.left, "INSERT INTO mail VALUES(1,'x')");
    run(r.right, "INSERT INTO mail VALUES(2,'x')");
    settle(&r);
    all_parked(&r, "{\"id\":1} unique");
    run(r.middle, "UPDATE mail SET id=5 WHERE id=2"); /* 2 leaves, and 5 takes its value at once */
    settle(&r);
    all_rows(&r, mails, "5x");
    all_parked(&r, "{\"id\":1} unique");
    run(r.middle,
        "UPDATE mail SET id=1 WHERE id=5"); /* and now it is the parked row's key that is taken */
    settle(&r);
    all_rows(&r, mails, "1x");
    all_parked(&r, "");
    close_all(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_waits_for_its_parent_on_every_replica),
        cmocka_unit_test(a_decision_that_waits_has_the_seq_of_its_head),
        cmocka_unit_test(a_relay_passes_on_the_child_that_it_cannot_hold),
        cmocka_unit_test(of_three_rows_with_one_value_the_latest_is_visible),
        cmocka_unit_test(rows_that_swap_their_values_arrive_swapped),
        cmocka_unit_test(rows_swapped_by_two_replicas_end_alike),
        cmocka_unit_test(a_row_that_waits_while_its_old_state_is_evicted_is_parked_no_more),
        cmocka_unit_test(a_decision_drives_out_what_was_edited_just_before),
        cmocka_unit_test(a_chain_of_collisions_hides_no_more_than_it_must),
        cmocka_unit_test(the_loser_of_a_collision_takes_its_children_along_and_back),
        cmocka_unit_test(what_a_check_refuses_enters_when_the_check_goes),
        cmocka_unit_test(what_not_null_refuses_enters_when_it_goes),
        cmocka_unit_test(what_a_strict_column_refuses_enters_when_it_takes_it),
        cmocka_unit_test(a_text_as_integer_key_enters_when_the_key_takes_texts),
        cmocka_unit_test(a_new_column_reaches_the_older_side_when_it_has_it),
        cmocka_unit_test(an_edit_of_the_older_side_leaves_the_new_column_alone),
        cmocka_unit_test(a_row_from_the_answer_to_a_push_leaves_the_new_column_alone),
        cmocka_unit_test(an_edit_of_the_older_side_is_no_news_where_the_column_holds_its_default),
        cmocka_unit_test(a_row_that_the_older_side_made_gets_the_columns_default),
        cmocka_unit_test(a_table_that_is_not_tracked_yet_gets_its_rows_with_track),
        cmocka_unit_test(a_parked_row_can_be_deleted_and_edited_elsewhere),
        cmocka_unit_test(a_key_that_changes_while_its_row_is_parked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
