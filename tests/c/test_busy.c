/* links: sqlite3 */
/* test_busy.c - other connections to the same file, and the application's own connection under csync. */
#include <sqlite3.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "refused.h"
#include "snapshot.h"

static const char schema[] =
    "CREATE TABLE site(id INTEGER PRIMARY KEY, name TEXT);"
    "CREATE TABLE visit(id INTEGER PRIMARY KEY, site INTEGER REFERENCES site)";

static char path[] = "/tmp/csync-busy-XXXXXX";
static sqlite3 *app; /* the application's connection to the file */

static void sql(sqlite3 *db, const char *text)
{
    char *message = NULL;

    if (sqlite3_exec(db, text, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", text, message);
}

static int64_t count(sqlite3 *db, const char *query)
{
    sqlite3_stmt *stmt;
    int64_t n;

    assert_int_equal(sqlite3_prepare_v2(db, query, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return n;
}

static int setup(void **state)
{
    (void)state;
    memcpy(path + strlen(path) - 6, "XXXXXX", 6);
    close(mkstemp(path));
    assert_int_equal(sqlite3_open(path, &app), SQLITE_OK);
    sql(app, schema);
    return 0;
}

static int teardown(void **state)
{
    char name[sizeof path + 8];

    (void)state;
    assert_int_equal(sqlite3_close(app), SQLITE_OK);
    unlink(path);
    snprintf(name, sizeof name, "%s-wal", path);
    unlink(name);
    snprintf(name, sizeof name, "%s-shm", path);
    unlink(name);
    return 0;
}

static csync *open_with_timeout(int ms)
{
    csync_open_options o = {.struct_size = sizeof o, .busy_timeout_ms = ms};
    csync *c = NULL;

    OK(csync_open(&c, path, &o, err));
    OK(csync_track(c, "site", NULL, err));
    OK(csync_track(c, "visit", NULL, err));
    return c;
}

static csync *on_app(void)
{
    csync *c = NULL;

    OK(csync_open_sqlite(&c, app, NULL, NULL, err));
    OK(csync_track(c, "site", NULL, err));
    OK(csync_track(c, "visit", NULL, err));
    return c;
}

static csync *other(void)
{
    csync *c = NULL;
    static const char lines[] =
        "CREATE TABLE site(id INTEGER PRIMARY KEY, name TEXT);\n"
        "CREATE TABLE visit(id INTEGER PRIMARY KEY, site INTEGER REFERENCES site)";

    c = replica_new(lines);
    return c;
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- another writer ---- */

static csync_batch *one_change(void)
{
    csync_change x = {.struct_size = sizeof x,
                      .version = 1,
                      .operation = CSYNC_INSERT,
                      .table = "site",
                      .pk = "{\"id\":9}",
                      .payload = "{\"id\":9,\"name\":\"Zed\"}",
                      .origin = "tester",
                      .timestamp = "2030-01-01T00:00:00.000Z",
                      .seq = 1};
    csync_batch *b = NULL;

    OK(csync_batch_new(&b, err));
    OK(csync_batch_add(b, &x, err));
    return b;
}

static void refuse_every_writer(csync *c, csync *peer, const csync_batch *b)
{
    csync_batch *out = NULL;
    csync_session *s = NULL;

    REFUSED(CSYNC_EBUSY, "another connection", csync_apply(c, b, NULL, NULL, NULL, err));
    REFUSED(CSYNC_EBUSY, "another connection", csync_untrack(c, "site", err));
    REFUSED(CSYNC_EBUSY, "another connection", csync_changes(c, NULL, &out, err));
    REFUSED(CSYNC_EBUSY, "another connection", csync_sync(c, peer, NULL, NULL, err));
    REFUSED(CSYNC_EBUSY, "another connection", csync_suppress_begin(c, err));
    REFUSED(CSYNC_EBUSY, "",
            csync_execute(c, "INSERT INTO site VALUES(5,'x')", NULL, 0, NULL, NULL, NULL, err));
    OK(csync_session_new(&s, c, "peer", NULL, err));
    csync_session_free(s);
    assert_null(out);
}

static void a_held_write_lock_is_busy_and_nothing_has_changed(void **state)
{
    csync *c = open_with_timeout(-1), *peer = other();
    csync_batch *b = one_change();
    csync_error e = CSYNC_ERROR_INIT;
    char *before;

    (void)state;
    run(peer, "INSERT INTO site VALUES(20,'there')");
    sql(app, "INSERT INTO site VALUES(1,'here')");
    before = snapshot(c, SNAPSHOT_EXACT);
    sql(app, "BEGIN IMMEDIATE");
    refuse_every_writer(c, peer, b);
    assert_int_equal(csync_apply(c, b, NULL, NULL, NULL, &e), CSYNC_EBUSY);
    assert_int_equal(e.native_code & 0xff, SQLITE_BUSY);
    assert_unchanged(c, before);
    sql(app, "COMMIT");
    OK(csync_apply(c, b, NULL, NULL, NULL, err));
    sync_all(c, peer);
    assert_equal(c, peer);
    assert_int_equal(count(app, "SELECT count(*) FROM site"), 3);
    csync_batch_free(b);
    csync_close(c);
    csync_close(peer);
}

static void an_exclusive_lock_is_busy_for_readers_too(void **state)
{
    csync *c = open_with_timeout(-1);
    csync_state st = {.struct_size = sizeof st};
    char hex[CSYNC_HASH_SIZE], *json = NULL;

    (void)state;
    sql(app, "BEGIN EXCLUSIVE");
    REFUSED(CSYNC_EBUSY, "", csync_hash(c, hex, err));
    REFUSED(CSYNC_EBUSY, "", csync_tables(c, &json, err));
    REFUSED(CSYNC_EBUSY, "", csync_parked(c, &json, err));
    REFUSED(CSYNC_EBUSY, "", csync_conflicts(c, 0, 0, &json, err));
    REFUSED(CSYNC_EBUSY, "", csync_get_state(c, &st, err));
    REFUSED(CSYNC_EBUSY, "", csync_trigger_sql(c, "site", 0, &json, err));
    sql(app, "ROLLBACK");
    OK(csync_hash(c, hex, err));
    csync_close(c);
}

static void the_timeout_is_waited_for(void **state)
{
    csync *c = open_with_timeout(300);
    csync_batch *b = one_change();
    double begin;

    (void)state;
    sql(app, "BEGIN IMMEDIATE");
    begin = seconds();
    FAILS(CSYNC_EBUSY, "another connection", csync_apply(c, b, NULL, NULL, NULL, err));
    assert_true(seconds() - begin >= 0.25);
    assert_true(seconds() - begin < 5);
    sql(app, "COMMIT");
    OK(csync_apply(c, b, NULL, NULL, NULL, err));
    csync_batch_free(b);
    csync_close(c);
}

static void opening_a_replica_again_waits_for_nobody(void **state)
{
    csync_open_options o = {.struct_size = sizeof o, .busy_timeout_ms = -1};
    csync *c = open_with_timeout(-1), *again = NULL, *fresh = (csync *)16;

    (void)state;
    sql(app, "BEGIN IMMEDIATE");
    OK(csync_open(&again, path, &o, err));
    csync_close(again);
    csync_close(c);
    sql(app, "COMMIT");
    sql(app, "DROP TABLE _sync_conflicts");
    sql(app, "BEGIN IMMEDIATE");
    REFUSED(CSYNC_EBUSY, "", csync_open(&fresh, path, &o, err));
    assert_null(fresh);
    sql(app, "COMMIT");
    OK(csync_open(&fresh, path, &o, err));
    csync_close(fresh);
}

static void a_reader_in_wal_mode_is_in_nobodys_way(void **state)
{
    csync *c, *peer = other();

    (void)state;
    sql(app, "PRAGMA journal_mode=WAL");
    c = open_with_timeout(-1);
    run(peer, "INSERT INTO site VALUES(20,'there')");
    sql(app, "BEGIN");
    assert_int_equal(count(app, "SELECT count(*) FROM site"), 0);
    sync_all(c, peer);
    assert_int_equal(count(app, "SELECT count(*) FROM site"), 0);
    sql(app, "COMMIT");
    assert_int_equal(count(app, "SELECT count(*) FROM site"), 1);
    csync_close(c);
    csync_close(peer);
}

/* ---- the application's own connection ---- */

static void an_open_transaction_of_the_application_is_busy(void **state)
{
    csync *c, *peer = other(), *early = (csync *)16;
    csync_batch *b = one_change();
    csync_state st = {.struct_size = sizeof st};
    char hex[CSYNC_HASH_SIZE];

    (void)state;
    sql(app, "BEGIN");
    REFUSED(CSYNC_EBUSY, "open transaction", csync_open_sqlite(&early, app, NULL, NULL, err));
    assert_null(early);
    sql(app, "COMMIT");
    c = on_app();
    for (int immediate = 0; immediate <= 1; immediate++) {
        sql(app, immediate ? "BEGIN IMMEDIATE" : "BEGIN");
        sql(app, "INSERT INTO site VALUES(77,'open')");
        REFUSED(CSYNC_EBUSY, "open transaction", csync_apply(c, b, NULL, NULL, NULL, err));
        REFUSED(CSYNC_EBUSY, "open transaction", csync_sync(c, peer, NULL, NULL, err));
        REFUSED(CSYNC_EBUSY, "open transaction", csync_hash(c, hex, err));
        REFUSED(CSYNC_EBUSY, "open transaction", csync_get_state(c, &st, err));
        REFUSED(CSYNC_EBUSY, "open transaction", csync_suppress_begin(c, err));
        assert_int_equal(sqlite3_get_autocommit(app), 0);
        assert_int_equal(count(app, "SELECT count(*) FROM site"), 1);
        sql(app, "ROLLBACK");
    }
    OK(csync_apply(c, b, NULL, NULL, NULL, err));
    assert_int_equal(count(app, "SELECT count(*) FROM site"), 1);
    csync_batch_free(b);
    csync_close(c);
    csync_close(peer);
}

static void work_is_seen_by_both_at_once(void **state)
{
    csync *c = on_app(), *peer = other();

    (void)state;
    sql(app, "INSERT INTO site VALUES(1,'here')");
    run(peer, "INSERT INTO site VALUES(2,'there')");
    sync_all(c, peer);
    assert_int_equal(count(app, "SELECT count(*) FROM site"), 2);
    assert_int_equal(sqlite3_get_autocommit(app), 1);
    sql(app, "DELETE FROM site WHERE id=2");
    sync_all(c, peer);
    assert_equal(c, peer);
    assert_int_equal(number(peer, "SELECT count(*) FROM site"), 1);
    csync_close(c);
    csync_close(peer);
}

static void foreign_keys_are_as_the_application_has_them(void **state)
{
    static const char *const settings[] = {"PRAGMA foreign_keys=OFF", "PRAGMA foreign_keys=ON"};

    (void)state;
    for (int on = 0; on <= 1; on++) {
        csync_open_options o = {.struct_size = sizeof o, .foreign_keys = on ? -1 : 0};
        csync *c = NULL, *peer = other();

        sql(app, settings[on]);
        OK(csync_open_sqlite(&c, app, NULL, &o, err));
        OK(csync_track(c, "site", NULL, err));
        OK(csync_track(c, "visit", NULL, err));
        run(peer, "PRAGMA foreign_keys=OFF");
        run(peer, on ? "INSERT INTO visit VALUES(2,99)" : "INSERT INTO visit VALUES(1,98)");
        sync_all(c, peer);
        assert_int_equal(count(app, "PRAGMA foreign_keys"), on);
        assert_int_equal(count(app, "SELECT count(*) FROM visit"), 1);
        assert_int_equal(count(app, "SELECT count(*) FROM _sync_parked"), on);
        csync_close(c);
        csync_close(peer);
    }
}

static int is_trigger_enabled(sqlite3 *db)
{
    int on = -1;

    assert_int_equal(sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, -1, &on), SQLITE_OK);
    return on;
}

static void triggers_stay_enabled(void **state)
{
    csync *c = on_app(), *peer = other();
    csync_sync_options o = {.struct_size = sizeof o, .strategy = 0};
    csync_batch *b = one_change();

    (void)state;
    run(peer, "INSERT INTO site VALUES(2,'there')");
    sync_all(c, peer);
    assert_int_equal(is_trigger_enabled(app), 1);
    OK(csync_apply(c, b, &o, NULL, NULL, err));
    assert_int_equal(is_trigger_enabled(app), 1);
    OK(csync_suppress_begin(c, err));
    run(c, "INSERT INTO site VALUES(3,'silent')");
    OK(csync_suppress_end(c, 1, err));
    assert_int_equal(is_trigger_enabled(app), 1);
    sql(app, "INSERT INTO site VALUES(4,'captured')");
    assert_int_equal(count(app, "SELECT count(*) FROM _sync_log WHERE pk_value='{\"id\":4}'"), 1);
    assert_int_equal(count(app, "SELECT count(*) FROM _sync_log WHERE pk_value='{\"id\":3}'"), 0);
    csync_batch_free(b);
    csync_close(c);
    assert_int_equal(is_trigger_enabled(app), 1);
    csync_close(peer);
}

static void the_applications_own_triggers_fire(void **state)
{
    csync *c, *peer = other();

    (void)state;
    sql(app, "CREATE TABLE audit(what)");
    sql(app,
        "CREATE TRIGGER note AFTER INSERT ON site BEGIN INSERT INTO audit VALUES(NEW.name); END");
    c = on_app();
    run(peer, "INSERT INTO site VALUES(2,'there')");
    sync_all(c, peer);
    assert_int_equal(count(app, "SELECT count(*) FROM audit WHERE what='there'"), 1);
    csync_close(c);
    c = open_with_timeout(0);
    run(peer, "INSERT INTO site VALUES(3,'more')");
    sync_all(c, peer);
    assert_int_equal(count(app, "SELECT count(*) FROM audit WHERE what='more'"), 1);
    assert_int_equal(count(app, "SELECT sync_active FROM _sync_session"), 0);
    csync_close(c);
    csync_close(peer);
}

static void a_temporary_trigger_fires_too(void **state)
{
    csync *c = on_app(), *peer = other();

    (void)state;
    sql(app, "CREATE TEMP TABLE audit(what)");
    sql(app,
        "CREATE TEMP TRIGGER note AFTER INSERT ON main.site BEGIN INSERT INTO audit VALUES(NEW.name); END");
    run(peer, "INSERT INTO site VALUES(2,'there')");
    sync_all(c, peer);
    assert_int_equal(count(app, "SELECT count(*) FROM audit"), 1);
    csync_close(c);
    csync_close(peer);
}

/* csync leaves the connection without a statement: sqlite3_close would refuse to close it. */
static void closing_leaves_the_connection_as_it_was(void **state)
{
    csync *c = on_app(), *peer = other();
    csync_session *s = NULL;
    csync_step step = {.struct_size = sizeof step};

    (void)state;
    OK(csync_session_new(&s, c, "peer", NULL, err));
    OK(csync_session_next(s, &step, err));
    sync_all(c, peer);
    csync_close(c);
    assert_null(sqlite3_next_stmt(app, NULL));
    FAILS(CSYNC_EMISUSE, "closed", csync_session_next(s, &step, err));
    csync_session_free(s);
    sql(app, "INSERT INTO site VALUES(4,'captured without csync')");
    c = on_app();
    sync_all(c, peer);
    assert_equal(c, peer);
    csync_close(c);
    assert_null(sqlite3_next_stmt(app, NULL));
    csync_close(peer);
}

/* A suppressed transaction that is open when the replica is closed is rolled back. */
static void closing_rolls_the_suppressed_transaction_back(void **state)
{
    csync *c = on_app();

    (void)state;
    OK(csync_suppress_begin(c, err));
    run(c, "INSERT INTO site VALUES(1,'silent')");
    csync_close(c);
    assert_int_equal(sqlite3_get_autocommit(app), 1);
    assert_int_equal(count(app, "SELECT count(*) FROM site"), 0);
    assert_int_equal(count(app, "SELECT sync_active FROM _sync_session"), 0);
}

static void a_statement_that_the_application_is_reading_does_not_matter(void **state)
{
    csync *c, *peer = other();
    sqlite3_stmt *stmt;

    (void)state;
    sql(app, "INSERT INTO site VALUES(1,'a'),(2,'b')");
    c = on_app();
    assert_int_equal(sqlite3_prepare_v2(app, "SELECT id FROM site", -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    sync_all(c, peer);
    assert_equal(c, peer);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(stmt, 0), 2);
    sqlite3_finalize(stmt);
    csync_close(c);
    csync_close(peer);
}

static void a_read_only_connection_is_refused(void **state)
{
    sqlite3 *reader;
    csync *c = (csync *)16;

    (void)state;
    assert_int_equal(sqlite3_open_v2(path, &reader, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    REFUSED(CSYNC_EDB, "readonly", csync_open_sqlite(&c, reader, NULL, NULL, err));
    assert_null(c);
    assert_int_equal(sqlite3_close(reader), SQLITE_OK);
}

#define ON_FILE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_FILE(a_held_write_lock_is_busy_and_nothing_has_changed),
        ON_FILE(an_exclusive_lock_is_busy_for_readers_too),
        ON_FILE(the_timeout_is_waited_for),
        ON_FILE(opening_a_replica_again_waits_for_nobody),
        ON_FILE(a_reader_in_wal_mode_is_in_nobodys_way),
        ON_FILE(an_open_transaction_of_the_application_is_busy),
        ON_FILE(work_is_seen_by_both_at_once),
        ON_FILE(foreign_keys_are_as_the_application_has_them),
        ON_FILE(triggers_stay_enabled),
        ON_FILE(the_applications_own_triggers_fire),
        ON_FILE(a_temporary_trigger_fires_too),
        ON_FILE(closing_leaves_the_connection_as_it_was),
        ON_FILE(closing_rolls_the_suppressed_transaction_back),
        ON_FILE(a_statement_that_the_application_is_reading_does_not_matter),
        ON_FILE(a_read_only_connection_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
