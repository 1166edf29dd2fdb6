/* test_api_misuse.c - every public function, called as it must not be: the code, a telling message, and a
 * database that nothing happened to. What callbacks may do is in test_callbacks.c. */
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

#include "refused.h"
#include "snapshot.h"

static const char schema[] = "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT UNIQUE);\n"
                             "INSERT INTO person VALUES(1,'Ada'),(2,'Bob')";

/* A replica with nothing left to do: its heads are up to date, and it serves pages. */
static csync *settled(void)
{
    csync *c = replica_new(schema);
    csync_batch *page = NULL;

    OK(csync_changes(c, NULL, &page, err));
    csync_batch_free(page);
    return c;
}

static csync *c; /* of the test that runs */
static char *before;

static int setup(void **state)
{
    (void)state;
    c = settled();
    before = snapshot(c, SNAPSHOT_EXACT);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_unchanged(c, before);
    csync_close(c);
    return 0;
}

static csync_batch *batch(void)
{
    csync_batch *b = NULL;

    OK(csync_batch_new(&b, err));
    return b;
}

static csync_change change(int64_t version)
{
    csync_change x = {.struct_size = sizeof x,
                      .version = version,
                      .operation = CSYNC_INSERT,
                      .table = "person",
                      .pk = "{\"id\":9}",
                      .payload = "{\"id\":9,\"name\":\"Zed\"}",
                      .origin = "tester",
                      .timestamp = "2030-01-01T00:00:00.000Z",
                      .seq = version};

    return x;
}

static csync_batch *one_change(void)
{
    csync_batch *b = batch();
    csync_change x = change(1);

    OK(csync_batch_add(b, &x, err));
    return b;
}

static csync_session *session(csync *on)
{
    csync_session *s = NULL;

    OK(csync_session_new(&s, on, "peer", NULL, err));
    return s;
}

/* ---- opening ---- */

static void open_refuses_null_and_what_is_no_database(void **state)
{
    csync *out = GARBAGE;

    (void)state;
    REFUSED(CSYNC_EMISUSE, "out", csync_open(NULL, ":memory:", NULL, err));
    REFUSED(CSYNC_EMISUSE, "url", csync_open(&out, NULL, NULL, err));
    assert_null(out);
    REFUSED(CSYNC_EINVAL, "empty", csync_open(&out, "", NULL, err));
    REFUSED(CSYNC_EDB, "PostgreSQL", csync_open(&out, "postgresql://127.0.0.1:1/db", NULL, err));
    REFUSED(CSYNC_EDB, "/nowhere/x.db", csync_open(&out, "/nowhere/x.db", NULL, err));
    REFUSED(CSYNC_EDB, "cannot open", csync_open(&out, "sqlite:/tmp", NULL, err));
    out = GARBAGE;
    REFUSED(CSYNC_EDB, "not a database", csync_open(&out, "/proc/self/exe", NULL, err));
    assert_null(out);
}

static void open_refuses_an_origin_that_is_malformed_or_another(void **state)
{
    static const char *const bad[] = {
        "", "two words", "\xc3\xa4", "a/b",
        "0123456789012345678901234567890123456789012345678901234567890123x"};
    char path[] = "/tmp/csync-misuse-XXXXXX";
    csync_open_options o = {.struct_size = sizeof o};
    csync *out = GARBAGE;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        o.origin = bad[i];
        REFUSED(CSYNC_EINVAL, "origin", csync_open(&out, ":memory:", &o, err));
        assert_null(out);
    }
    close(mkstemp(path));
    o.origin = "first";
    OK(csync_open(&out, path, &o, err));
    csync_close(out);
    o.origin = "second";
    REFUSED(CSYNC_EINVAL, "first, not second", csync_open(&out, path, &o, err));
    assert_null(out);
    unlink(path);
}

static void open_sqlite_refuses_null(void **state)
{
    csync *out = GARBAGE;
    int not_null;

    (void)state;
    REFUSED(CSYNC_EMISUSE, "out", csync_open_sqlite(NULL, &not_null, NULL, NULL, err));
    REFUSED(CSYNC_EMISUSE, "db", csync_open_sqlite(&out, NULL, NULL, NULL, err));
    assert_null(out);
}

static void bind_refuses_what_has_no_sqlite(void **state)
{
    void *math = dlopen("libm.so.6", RTLD_NOW);

    (void)state;
    OK(csync_bind_sqlite(NULL, err));
    REFUSED(CSYNC_EUNSUPPORTED, "SQLite", csync_bind_sqlite(math, err));
    dlclose(math);
    OK(csync_bind_sqlite(NULL, err));
}

/* A second copy is one from another file; this program links none, so the copy resolves to itself. */
static void bind_refuses_a_second_copy_of_sqlite(void **state)
{
    char path[] = "/tmp/csync-sqlite-XXXXXX", command[512];
    void *first = dlopen("libsqlite3.so.0", RTLD_NOW | RTLD_NOLOAD), *second;
    Dl_info where;

    (void)state;
    if (!first || !dladdr(dlsym(first, "sqlite3_open"), &where)) {
        print_message("SKIPPED: the bound SQLite is in no file that can be copied\n");
        skip();
    }
    close(mkstemp(path));
    snprintf(command, sizeof command, "cp '%s' %s", where.dli_fname, path);
    assert_int_equal(system(command), 0);
    second = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    unlink(path);
    assert_non_null(second);
    REFUSED(CSYNC_EUNSUPPORTED, "another copy", csync_bind_sqlite(second, err));
    OK(csync_bind_sqlite(first, err));
    dlclose(first); /* the second stays: what it has allocated is reachable only through it */
}

static void close_free_and_cancel_take_null(void **state)
{
    (void)state;
    csync_close(NULL);
    csync_cancel(NULL);
    csync_free(NULL);
    csync_batch_free(NULL);
    csync_outcome_free(NULL);
    csync_session_free(NULL);
    csync_cancel(c);
    OK(csync_execute(c, "SELECT 1", NULL, 0, NULL, NULL, NULL, err));
}

/* ---- NULL ---- */

static void every_call_refuses_a_null_replica(void **state)
{
    csync_state st = {.struct_size = sizeof st};
    csync_remote remote = {.struct_size = sizeof remote};
    csync_batch *b = batch(), *page = GARBAGE;
    csync_outcome *outcome = GARBAGE;
    csync_session *s = GARBAGE;
    char hex[CSYNC_HASH_SIZE], *text_out = GARBAGE;

    (void)state;
    REFUSED(CSYNC_EMISUSE, "replica", csync_get_state(NULL, &st, err));
    REFUSED(CSYNC_EMISUSE, "replica", csync_track(NULL, "person", NULL, err));
    REFUSED(CSYNC_EMISUSE, "replica", csync_untrack(NULL, "person", err));
    REFUSED(CSYNC_EMISUSE, "replica", csync_tables(NULL, &text_out, err));
    REFUSED(CSYNC_EMISUSE, "replica", csync_trigger_sql(NULL, "person", 0, &text_out, err));
    REFUSED(CSYNC_EMISUSE, "replica", csync_parked(NULL, &text_out, err));
    REFUSED(CSYNC_EMISUSE, "replica", csync_conflicts(NULL, 0, 0, &text_out, err));
    REFUSED(CSYNC_EMISUSE, "replica", csync_hash(NULL, hex, err));
    REFUSED(CSYNC_EMISUSE, "replica", csync_changes(NULL, NULL, &page, err));
    REFUSED(CSYNC_EMISUSE, "replica", csync_apply(NULL, b, NULL, &outcome, NULL, err));
    REFUSED(CSYNC_EMISUSE, "replica", csync_sync(NULL, c, NULL, NULL, err));
    REFUSED(CSYNC_EMISUSE, "peer", csync_sync(c, NULL, NULL, NULL, err));
    REFUSED(CSYNC_EMISUSE, "replica", csync_sync_remote(NULL, &remote, NULL, NULL, err));
    REFUSED(CSYNC_EMISUSE, "remote", csync_sync_remote(c, NULL, NULL, NULL, err));
    REFUSED(CSYNC_EMISUSE, "replica", csync_session_new(&s, NULL, "peer", NULL, err));
    REFUSED(CSYNC_EMISUSE, "replica",
            csync_execute(NULL, "SELECT 1", NULL, 0, NULL, NULL, NULL, err));
    REFUSED(CSYNC_EMISUSE, "replica", csync_suppress_begin(NULL, err));
    REFUSED(CSYNC_EMISUSE, "replica", csync_suppress_end(NULL, 1, err));
    csync_batch_free(b);
}

static void every_call_refuses_null_where_a_result_or_name_belongs(void **state)
{
    csync_session *s = GARBAGE;
    csync_outcome *outcome = GARBAGE;
    char *sql = GARBAGE;

    (void)state;
    REFUSED(CSYNC_EMISUSE, "NULL", csync_get_state(c, NULL, err));
    REFUSED(CSYNC_EMISUSE, "table", csync_track(c, NULL, NULL, err));
    REFUSED(CSYNC_EMISUSE, "table", csync_untrack(c, NULL, err));
    REFUSED(CSYNC_EMISUSE, "json", csync_tables(c, NULL, err));
    REFUSED(CSYNC_EMISUSE, "table", csync_trigger_sql(c, NULL, 0, &sql, err));
    REFUSED(CSYNC_EMISUSE, "sql", csync_trigger_sql(c, "person", 0, NULL, err));
    REFUSED(CSYNC_EMISUSE, "json", csync_parked(c, NULL, err));
    REFUSED(CSYNC_EMISUSE, "json", csync_conflicts(c, 0, 0, NULL, err));
    REFUSED(CSYNC_EMISUSE, "hex", csync_hash(c, NULL, err));
    REFUSED(CSYNC_EMISUSE, "out", csync_changes(c, NULL, NULL, err));
    REFUSED(CSYNC_EMISUSE, "batch", csync_apply(c, NULL, NULL, &outcome, NULL, err));
    assert_null(outcome);
    REFUSED(CSYNC_EMISUSE, "out", csync_session_new(NULL, c, "peer", NULL, err));
    REFUSED(CSYNC_EMISUSE, "peer", csync_session_new(&s, c, NULL, NULL, err));
    REFUSED(CSYNC_EMISUSE, "sql", csync_execute(c, NULL, NULL, 0, NULL, NULL, NULL, err));
    REFUSED(CSYNC_EMISUSE, "params", csync_execute(c, "SELECT ?1", NULL, 1, NULL, NULL, NULL, err));
}

static void batches_and_outcomes_refuse_null(void **state)
{
    csync_batch *b = one_change(), *out = GARBAGE;
    csync_change x = change(2);
    csync_batch_info info = {.struct_size = sizeof info};
    csync_outcome *o = NULL;
    csync_outcome_entry e = {.struct_size = sizeof e};
    char hex[CSYNC_HASH_SIZE], *json = GARBAGE;
    size_t length = 16;

    (void)state;
    REFUSED(CSYNC_EMISUSE, "out", csync_batch_new(NULL, err));
    REFUSED(CSYNC_EMISUSE, "batch", csync_batch_add(NULL, &x, err));
    REFUSED(CSYNC_EMISUSE, "change", csync_batch_add(b, NULL, err));
    REFUSED(CSYNC_EMISUSE, "batch", csync_batch_set_info(NULL, &info, err));
    REFUSED(CSYNC_EMISUSE, "info", csync_batch_set_info(b, NULL, err));
    REFUSED(CSYNC_EMISUSE, "batch", csync_batch_hash(NULL, hex, err));
    REFUSED(CSYNC_EMISUSE, "hex", csync_batch_hash(b, NULL, err));
    REFUSED(CSYNC_EMISUSE, "batch", csync_batch_to_json(NULL, &json, &length, err));
    assert_null(json);
    assert_int_equal(length, 0);
    REFUSED(CSYNC_EMISUSE, "json", csync_batch_to_json(b, NULL, NULL, err));
    REFUSED(CSYNC_EMISUSE, "out", csync_batch_from_json(NULL, "{}", 2, err));
    REFUSED(CSYNC_EMISUSE, "json", csync_batch_from_json(&out, NULL, 2, err));
    assert_null(out);
    assert_int_equal(csync_batch_count(NULL), 0);
    assert_null(csync_batch_at(NULL, 0));
    assert_null(csync_batch_at(b, 1));
    assert_null(csync_batch_at(b, SIZE_MAX));
    assert_int_equal(csync_batch_get_info(NULL, &info), CSYNC_EMISUSE);
    assert_int_equal(csync_batch_get_info(b, NULL), CSYNC_EMISUSE);
    REFUSED(CSYNC_EMISUSE, "outcome", csync_outcome_to_json(NULL, &json, err));
    REFUSED(CSYNC_EMISUSE, "json", csync_outcome_from_json(&o, NULL, 0, err));
    REFUSED(CSYNC_EMISUSE, "out", csync_outcome_from_json(NULL, "{}", 2, err));
    assert_int_equal(csync_outcome_count(NULL), 0);
    assert_int_equal(csync_outcome_position(NULL), 0);
    assert_int_equal(csync_outcome_at(NULL, 0, &e), CSYNC_EMISUSE);
    csync_batch_free(b);
}

static void the_entry_past_an_outcomes_end_is_not_found(void **state)
{
    static const char json[] = "{\"position\":1,\"outcomes\":[{\"status\":\"applied\"}]}";
    csync_outcome_entry e = {.struct_size = sizeof e};
    csync_outcome *o = NULL;

    (void)state;
    OK(csync_outcome_from_json(&o, json, strlen(json), err));
    assert_int_equal(csync_outcome_at(o, 0, &e), CSYNC_OK);
    assert_int_equal(e.status, CSYNC_APPLIED);
    assert_string_equal(e.reason, "");
    assert_null(e.winner);
    assert_int_equal(csync_outcome_at(o, 1, &e), CSYNC_ENOTFOUND);
    assert_int_equal(csync_outcome_at(o, 0, NULL), CSYNC_EMISUSE);
    csync_outcome_free(o);
}

static void results_are_null_after_a_failure(void **state)
{
    csync_fetch wrong = {.struct_size = sizeof wrong, .since = -1};
    csync_sync_options bad = {.struct_size = sizeof bad, .direction = 7};
    csync_batch *page = GARBAGE, *b = one_change();
    csync_session *s = GARBAGE;
    csync_outcome *o = GARBAGE;
    char *json = GARBAGE;

    (void)state;
    REFUSED(CSYNC_EINVAL, "since", csync_changes(c, &wrong, &page, err));
    assert_null(page);
    REFUSED(CSYNC_EINVAL, "direction", csync_session_new(&s, c, "peer", &bad, err));
    assert_null(s);
    REFUSED(CSYNC_EINVAL, "negative", csync_conflicts(c, -1, 0, &json, err));
    assert_null(json);
    json = GARBAGE;
    REFUSED(CSYNC_ENOTFOUND, "nowhere", csync_trigger_sql(c, "nowhere", 0, &json, err));
    assert_null(json);
    bad.struct_size = 0;
    REFUSED(CSYNC_EMISUSE, "struct_size", csync_apply(c, b, &bad, &o, NULL, err));
    assert_null(o);
    csync_batch_free(b);
}

static void results_are_null_after_a_call_that_could_not_begin(void **state)
{
    csync_batch *page = GARBAGE, *b = one_change();
    csync_session *s = GARBAGE;
    csync_outcome *o = GARBAGE;
    char *tables = GARBAGE, *parked = GARBAGE, *conflicts = GARBAGE, *sql = GARBAGE;

    (void)state;
    run(c, "BEGIN");
    REFUSED(CSYNC_EBUSY, "open transaction", csync_tables(c, &tables, err));
    REFUSED(CSYNC_EBUSY, "open transaction", csync_parked(c, &parked, err));
    REFUSED(CSYNC_EBUSY, "open transaction", csync_conflicts(c, 0, 0, &conflicts, err));
    REFUSED(CSYNC_EBUSY, "open transaction", csync_trigger_sql(c, "person", 0, &sql, err));
    REFUSED(CSYNC_EBUSY, "open transaction", csync_changes(c, NULL, &page, err));
    REFUSED(CSYNC_EBUSY, "open transaction", csync_apply(c, b, NULL, &o, NULL, err));
    run(c, "ROLLBACK");
    assert_null(tables);
    assert_null(parked);
    assert_null(conflicts);
    assert_null(sql);
    assert_null(page);
    assert_null(o);
    REFUSED(CSYNC_EMISUSE, "replica", csync_session_new(&s, NULL, "peer", NULL, err));
    assert_null(s);
    csync_batch_free(b);
}

/* ---- sessions ---- */

static int never(void *user_data, const csync_fetch *fetch, csync_batch **out, csync_error *err)
{
    (void)user_data;
    (void)fetch;
    (void)out;
    (void)err;
    fail_msg("nothing should have been asked for");
    return CSYNC_ERROR;
}

static void a_session_refuses_names_that_are_none(void **state)
{
    char name[514], own[CSYNC_ORIGIN_SIZE];
    csync_session *s = GARBAGE;

    (void)state;
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    REFUSED(CSYNC_EINVAL, "peer's name", csync_session_new(&s, c, "", NULL, err));
    REFUSED(CSYNC_EINVAL, "peer's name", csync_session_new(&s, c, name, NULL, err));
    assert_null(s);
    snprintf(own, sizeof own, "%s", text(c, "SELECT value FROM _sync_state WHERE key='origin_id'"));
    REFUSED(CSYNC_EINVAL, "itself", csync_session_new(&s, c, own, NULL, err));
    REFUSED(CSYNC_EINVAL, "itself", csync_sync(c, c, NULL, NULL, err));
}

static void a_remote_needs_the_functions_of_its_direction(void **state)
{
    csync_remote remote = {.struct_size = sizeof remote};
    csync_sync_options o = {.struct_size = sizeof o, .direction = CSYNC_PULL};

    (void)state;
    REFUSED(CSYNC_EMISUSE, "fetch", csync_sync_remote(c, &remote, &o, NULL, err));
    REFUSED(CSYNC_EMISUSE, "fetch", csync_sync_remote(c, &remote, NULL, NULL, err));
    o.direction = CSYNC_PUSH;
    REFUSED(CSYNC_EMISUSE, "send", csync_sync_remote(c, &remote, &o, NULL, err));
    remote.fetch = never;
    REFUSED(CSYNC_EMISUSE, "send", csync_sync_remote(c, &remote, NULL, NULL, err));
    remote.name = "";
    o.direction = CSYNC_PULL;
    REFUSED(CSYNC_EINVAL, "peer's name", csync_sync_remote(c, &remote, &o, NULL, err));
}

static void sessions_refuse_null_and_answers_out_of_turn(void **state)
{
    csync_session *s = session(c);
    csync_step step = {.struct_size = sizeof step};
    csync_result r = {.struct_size = sizeof r};
    csync_batch *b = batch();

    (void)state;
    REFUSED(CSYNC_EMISUSE, "session", csync_session_next(NULL, &step, err));
    REFUSED(CSYNC_EMISUSE, "NULL", csync_session_next(s, NULL, err));
    REFUSED(CSYNC_EMISUSE, "session", csync_session_page(NULL, b, err));
    REFUSED(CSYNC_EMISUSE, "session", csync_session_outcome(NULL, NULL, err));
    REFUSED(CSYNC_EMISUSE, "not asked", csync_session_page(s, b, err));
    REFUSED(CSYNC_EMISUSE, "not sent", csync_session_outcome(s, NULL, err));
    assert_int_equal(csync_session_result(NULL, &r), CSYNC_EMISUSE);
    assert_int_equal(csync_session_result(s, NULL), CSYNC_EMISUSE);
    OK(csync_session_next(s, &step, err));
    REFUSED(CSYNC_EMISUSE, "page", csync_session_page(s, NULL, err));
    REFUSED(CSYNC_EMISUSE, "not sent", csync_session_outcome(s, NULL, err));
    csync_batch_free(b);
    csync_session_free(s);
}

static void a_session_of_a_closed_replica_answers_misuse(void **state)
{
    csync *d = replica_new(schema);
    csync_session *s = session(d), *again = session(d);
    csync_step step = {.struct_size = sizeof step};
    csync_result r = {.struct_size = sizeof r};
    csync_batch *b = batch();

    (void)state;
    OK(csync_session_next(s, &step, err));
    csync_close(d);
    REFUSED(CSYNC_EMISUSE, "closed", csync_session_next(s, &step, err));
    REFUSED(CSYNC_EMISUSE, "closed", csync_session_page(s, b, err));
    REFUSED(CSYNC_EMISUSE, "closed", csync_session_outcome(s, NULL, err));
    assert_int_equal(csync_session_result(s, &r), CSYNC_OK);
    csync_batch_free(b);
    csync_session_free(s);
    REFUSED(CSYNC_EMISUSE, "closed", csync_session_next(again, &step, err));
    csync_session_free(again);
}

/* ---- suppression ---- */

static void suppression_is_begun_and_ended_in_turn(void **state)
{
    csync_state st = {.struct_size = sizeof st};
    csync_step step = {.struct_size = sizeof step};
    csync_session *s = session(c);
    char hex[CSYNC_HASH_SIZE];

    (void)state;
    REFUSED(CSYNC_EMISUSE, "no suppressed", csync_suppress_end(c, 1, err));
    run(c, "BEGIN");
    REFUSED(CSYNC_EBUSY, "open transaction", csync_suppress_begin(c, err));
    run(c, "ROLLBACK");
    OK(csync_suppress_begin(c, err));
    REFUSED(CSYNC_EMISUSE, "already", csync_suppress_begin(c, err));
    run(c, "DELETE FROM person");
    REFUSED(CSYNC_EBUSY, "suppressed", csync_get_state(c, &st, err));
    REFUSED(CSYNC_EBUSY, "suppressed", csync_track(c, "person", NULL, err));
    REFUSED(CSYNC_EBUSY, "suppressed", csync_untrack(c, "person", err));
    REFUSED(CSYNC_EBUSY, "suppressed", csync_hash(c, hex, err));
    REFUSED(CSYNC_EBUSY, "suppressed", csync_session_next(s, &step, err));
    OK(csync_suppress_end(c, 0, err));
    REFUSED(CSYNC_EMISUSE, "no suppressed", csync_suppress_end(c, 0, err));
    csync_session_free(s);
}

static void a_statement_cannot_end_the_suppressed_transaction(void **state)
{
    static const char *const ends[] = {"COMMIT", "ROLLBACK", "END TRANSACTION"};
    csync *d = settled();

    (void)state;
    run(d, "CREATE TRIGGER own AFTER INSERT ON person BEGIN SELECT 1; END");
    for (size_t i = 0; i < 3; i++) {
        OK(csync_suppress_begin(d, err));
        run(d, "INSERT INTO person VALUES(50,'silent')");
        if (csync_execute(d, ends[i], NULL, 0, NULL, NULL, NULL, NULL) == CSYNC_OK)
            fail_msg("%s ended the transaction of csync_suppress_begin", ends[i]);
        OK(csync_suppress_end(d, 0, err));
        assert_int_equal(number(d, "SELECT count(*) FROM person"), 2);
        assert_int_equal(number(d, "SELECT sync_active FROM _sync_session"), 0);
    }
    csync_close(d);
}

static void closing_rolls_a_suppressed_transaction_back(void **state)
{
    char path[] = "/tmp/csync-misuse-XXXXXX";
    csync *d = NULL;

    (void)state;
    close(mkstemp(path));
    OK(csync_open(&d, path, NULL, err));
    run(d, schema);
    OK(csync_suppress_begin(d, err));
    run(d, "DELETE FROM person");
    csync_close(d);
    OK(csync_open(&d, path, NULL, err));
    assert_int_equal(number(d, "SELECT count(*) FROM person"), 2);
    csync_close(d);
    unlink(path);
}

/* ---- csync_error ---- */

/* A struct_size that was never set: nothing may be written, there may be nothing behind it. */
static void an_error_without_its_size_is_left_alone(void **state)
{
    struct {
        size_t struct_size;
        unsigned char rest[sizeof(csync_error) - sizeof(size_t)];
    } theirs, copy;
    csync_error *err = (csync_error *)&theirs;

    (void)state;
    for (size_t size = 0; size <= 16; size += 8) {
        memset(&theirs, 0x5a, sizeof theirs);
        theirs.struct_size = size;
        copy = theirs;
        assert_int_equal(csync_execute(c, "nonsense", NULL, 0, NULL, NULL, NULL, err), CSYNC_EDB);
        assert_memory_equal(&theirs, &copy, sizeof copy);
        assert_int_equal(csync_track(c, "nowhere", NULL, err), CSYNC_ENOTFOUND);
        assert_memory_equal(&theirs, &copy, sizeof copy);
        assert_int_equal(csync_verify_hash("ab", "cd", err), CSYNC_EHASH);
        assert_memory_equal(&theirs, &copy, sizeof copy);
    }
}

static void a_success_clears_the_error_of_before(void **state)
{
    csync_error e = CSYNC_ERROR_INIT;

    (void)state;
    assert_int_equal(csync_track(c, "nowhere", NULL, &e), CSYNC_ENOTFOUND);
    assert_int_equal(csync_execute(c, "SELECT 1", NULL, 0, NULL, NULL, NULL, &e), CSYNC_OK);
    assert_int_equal(e.code, CSYNC_OK);
    assert_string_equal(e.message, "");
    assert_string_equal(e.table, "");
}

#define ON_C(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_C(open_refuses_null_and_what_is_no_database),
        ON_C(open_refuses_an_origin_that_is_malformed_or_another),
        ON_C(open_sqlite_refuses_null),
        ON_C(bind_refuses_what_has_no_sqlite),
        ON_C(bind_refuses_a_second_copy_of_sqlite),
        ON_C(close_free_and_cancel_take_null),
        ON_C(every_call_refuses_a_null_replica),
        ON_C(every_call_refuses_null_where_a_result_or_name_belongs),
        ON_C(batches_and_outcomes_refuse_null),
        ON_C(the_entry_past_an_outcomes_end_is_not_found),
        ON_C(results_are_null_after_a_failure),
        ON_C(results_are_null_after_a_call_that_could_not_begin),
        ON_C(a_session_refuses_names_that_are_none),
        ON_C(a_remote_needs_the_functions_of_its_direction),
        ON_C(sessions_refuse_null_and_answers_out_of_turn),
        ON_C(a_session_of_a_closed_replica_answers_misuse),
        ON_C(suppression_is_begun_and_ended_in_turn),
        ON_C(a_statement_cannot_end_the_suppressed_transaction),
        ON_C(closing_rolls_a_suppressed_transaction_back),
        ON_C(an_error_without_its_size_is_left_alone),
        ON_C(a_success_clears_the_error_of_before),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
