/* test_api_misuse.c - every public function, called as it must not be: the code, a telling message, and a
 * database that nothing happened to. What callbacks may do is in test_callbacks.c. */
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

#include "snapshot.h"
#include "support.h"

/* Refused with and without a csync_error. */
#define REFUSED(code_, part, call)                                                                       \
    do {                                                                                                 \
        FAILS(code_, part, call);                                                                        \
        {                                                                                                \
            csync_error *err = NULL;                                                                     \
            assert_string_equal(csync_code_name(call), csync_code_name(code_));                          \
        }                                                                                                \
    } while (0)

#define GARBAGE ((void *)16) /* what an out pointer holds before a call */

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
    csync_change x = {.struct_size = sizeof x, .version = version, .operation = CSYNC_INSERT,
                      .table = "person", .pk = "{\"id\":9}", .payload = "{\"id\":9,\"name\":\"Zed\"}",
                      .origin = "tester", .timestamp = "2030-01-01T00:00:00.000Z", .seq = version};

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
    REFUSED(CSYNC_EUNSUPPORTED, "PostgreSQL", csync_open(&out, "postgresql://host/db", NULL, err));
    REFUSED(CSYNC_EDB, "/nowhere/x.db", csync_open(&out, "/nowhere/x.db", NULL, err));
    REFUSED(CSYNC_EDB, "cannot open", csync_open(&out, "sqlite:/tmp", NULL, err));
    out = GARBAGE;
    REFUSED(CSYNC_EDB, "not a database", csync_open(&out, "/proc/self/exe", NULL, err));
    assert_null(out);
}

static void open_refuses_an_origin_that_is_malformed_or_another(void **state)
{
    static const char *const bad[] = {"", "two words", "\xc3\xa4", "a/b",
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
    dlclose(second);
    dlclose(first);
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
    REFUSED(CSYNC_EMISUSE, "replica", csync_execute(NULL, "SELECT 1", NULL, 0, NULL, NULL, NULL, err));
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

/* ---- values ---- */

static void track_refuses_what_cannot_be_tracked(void **state)
{
    csync_track_options o = {.struct_size = sizeof o, .capture = 3};
    csync *d = settled();
    csync_error e = CSYNC_ERROR_INIT;
    char *sql = NULL, *untouched;

    (void)state;
    run(d, "CREATE TABLE nokey(a);\nCREATE VIEW v AS SELECT * FROM person;\n"
           "CREATE TABLE half(a TEXT PRIMARY KEY);\nINSERT INTO half VALUES(NULL);\n"
           "CREATE TABLE auto(id INTEGER PRIMARY KEY AUTOINCREMENT);\n"
           "CREATE VIRTUAL TABLE near USING rtree(id,a,b)");
    OK(csync_hash(d, (char[CSYNC_HASH_SIZE]){0}, err));
    untouched = snapshot(d, SNAPSHOT_EXACT);
    REFUSED(CSYNC_EINVAL, "3", csync_track(d, "person", &o, err));
    REFUSED(CSYNC_EINVAL, "-1", csync_trigger_sql(d, "person", -1, &sql, err));
    REFUSED(CSYNC_ENOTFOUND, "nowhere", csync_track(d, "nowhere", NULL, err));
    REFUSED(CSYNC_ENOTFOUND, "", csync_track(d, "", NULL, err));
    REFUSED(CSYNC_ENOTFOUND, "PERSON", csync_track(d, "PERSON", NULL, err));
    REFUSED(CSYNC_ENOTFOUND, "\"; DROP", csync_track(d, "\"; DROP TABLE person; --", NULL, err));
    REFUSED(CSYNC_ESCHEMA, "primary key", csync_track(d, "nokey", NULL, err));
    REFUSED(CSYNC_ESCHEMA, "view", csync_track(d, "v", NULL, err));
    REFUSED(CSYNC_ESCHEMA, "virtual", csync_track(d, "near", NULL, err));
    REFUSED(CSYNC_ESCHEMA, "NULL in their primary key", csync_track(d, "half", NULL, err));
    REFUSED(CSYNC_ESCHEMA, "_sync_log", csync_track(d, "_sync_log", NULL, err));
    REFUSED(CSYNC_ESCHEMA, "sqlite_sequence", csync_track(d, "sqlite_sequence", NULL, err));
    REFUSED(CSYNC_ENOTFOUND, "not tracked", csync_untrack(d, "nokey", err));
    REFUSED(CSYNC_ENOTFOUND, "not tracked", csync_untrack(d, "", err));
    REFUSED(CSYNC_ENOTFOUND, "nowhere", csync_trigger_sql(d, "nowhere", 0, &sql, err));
    assert_int_equal(csync_track(d, "nokey", NULL, &e), CSYNC_ESCHEMA);
    assert_string_equal(e.table, "nokey");
    assert_unchanged(d, untouched);
    csync_close(d);
}

static void changes_refuses_numbers_out_of_range(void **state)
{
    csync_fetch f = {.struct_size = sizeof f, .since = -1};
    csync_batch *out = NULL;

    (void)state;
    REFUSED(CSYNC_EINVAL, "since", csync_changes(c, &f, &out, err));
    f.since = INT64_MIN;
    REFUSED(CSYNC_EINVAL, "since", csync_changes(c, &f, &out, err));
    f.since = 0;
    f.limit = -1;
    REFUSED(CSYNC_EINVAL, "limit is -1", csync_changes(c, &f, &out, err));
    f.limit = 10001;
    REFUSED(CSYNC_EINVAL, "limit is 10001", csync_changes(c, &f, &out, err));
    f.limit = 0;
    f.max_bytes = -1;
    REFUSED(CSYNC_EINVAL, "max_bytes", csync_changes(c, &f, &out, err));
    f.max_bytes = 0;
    f.since = INT64_MAX;
    OK(csync_changes(c, &f, &out, err));
    assert_int_equal(csync_batch_count(out), 0);
    csync_batch_free(out);
}

static int never(void *user_data, const csync_fetch *fetch, csync_batch **out, csync_error *err)
{
    (void)user_data;
    (void)fetch;
    (void)out;
    (void)err;
    fail_msg("nothing should have been asked for");
    return CSYNC_ERROR;
}

/* The same options are wrong wherever options are given. */
static void refuse_options(const csync_sync_options *o, const char *part)
{
    csync_remote remote = {.struct_size = sizeof remote, .fetch = never};
    csync *d = replica_new(schema);
    csync_batch *b = one_change();
    csync_session *s = NULL;

    REFUSED(CSYNC_EINVAL, part, csync_session_new(&s, c, "peer", o, err));
    REFUSED(CSYNC_EINVAL, part, csync_sync(c, d, o, NULL, err));
    REFUSED(CSYNC_EINVAL, part, csync_apply(c, b, o, NULL, NULL, err));
    remote.send = (int (*)(void *, const csync_batch *, csync_outcome **, csync_error *))(void (*)(void))never;
    REFUSED(CSYNC_EINVAL, part, csync_sync_remote(c, &remote, o, NULL, err));
    csync_batch_free(b);
    csync_close(d);
}

static void sync_options_out_of_range_are_refused_everywhere(void **state)
{
    csync_sync_options o = {.struct_size = sizeof o};

    (void)state;
    o.strategy = CSYNC_CUSTOM;
    refuse_options(&o, "on_conflict");
    o.strategy = 4;
    refuse_options(&o, "strategy");
    o.strategy = -1;
    refuse_options(&o, "strategy");
    o.strategy = 0;
    o.direction = 3;
    refuse_options(&o, "direction");
    o.direction = -1;
    refuse_options(&o, "direction");
    o.direction = 0;
    o.batch_size = -1;
    refuse_options(&o, "batch_size");
    o.batch_size = 10001;
    refuse_options(&o, "batch_size");
    o.batch_size = 0;
    o.batch_bytes = -1;
    refuse_options(&o, "batch_bytes");
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

static void apply_refuses_its_own_changes_and_a_wrong_hash(void **state)
{
    csync_batch *b = one_change();
    csync_batch_info info = {.struct_size = sizeof info, .to_version = 1};
    csync_outcome *o = GARBAGE;
    csync_error e = CSYNC_ERROR_INIT;

    (void)state;
    info.origin = text(c, "SELECT value FROM _sync_state WHERE key='origin_id'");
    OK(csync_batch_set_info(b, &info, err));
    REFUSED(CSYNC_EINVAL, "this very replica", csync_apply(c, b, NULL, &o, NULL, err));
    info.origin = NULL;
    memset(info.hash, 'A', CSYNC_HASH_SIZE - 1);
    OK(csync_batch_set_info(b, &info, err));
    REFUSED(CSYNC_EHASH, "hash", csync_apply(c, b, NULL, &o, NULL, err));
    assert_null(o);
    assert_int_equal(csync_apply(c, b, NULL, NULL, NULL, &e), CSYNC_EHASH);
    assert_int_equal(strlen(e.expected), 64);
    assert_int_equal(strlen(e.actual), 64);
    csync_batch_free(b);
}

static void a_batch_refuses_malformed_changes_and_info(void **state)
{
    csync_batch *b = batch();
    csync_change x;
    csync_batch_info info = {.struct_size = sizeof info, .from_version = 2, .to_version = 1};

    (void)state;
#define WRONG(field, value, part)                                                                        \
    x = change(1);                                                                                       \
    x.field = value;                                                                                     \
    REFUSED(CSYNC_EINVAL, part, csync_batch_add(b, &x, err));
    WRONG(operation, 0, "operation")
    WRONG(operation, 4, "operation")
    WRONG(table, NULL, "table")
    WRONG(table, "", "table")
    WRONG(table, "\xff", "UTF-8")
    WRONG(pk, NULL, "pk")
    WRONG(pk, "", "pk")
    WRONG(pk, "{}", "pk")
    WRONG(pk, "[1]", "pk")
    WRONG(payload, NULL, "payload")
    WRONG(payload, "{", "payload")
    WRONG(origin, NULL, "origin")
    WRONG(origin, "a b", "origin")
    WRONG(timestamp, NULL, "timestamp")
    WRONG(timestamp, "yesterday", "yesterday")
    WRONG(version, -1, "version")
    WRONG(seq, -1, "seq")
#undef WRONG
    assert_int_equal(csync_batch_count(b), 0);
    REFUSED(CSYNC_EINVAL, "no range", csync_batch_set_info(b, &info, err));
    info = (csync_batch_info){.struct_size = sizeof info, .from_version = -1};
    REFUSED(CSYNC_EINVAL, "no range", csync_batch_set_info(b, &info, err));
    info = (csync_batch_info){.struct_size = sizeof info, .origin = "a b"};
    REFUSED(CSYNC_EINVAL, "origin", csync_batch_set_info(b, &info, err));
    info = (csync_batch_info){.struct_size = sizeof info, .hash = "12"};
    REFUSED(CSYNC_EINVAL, "hash", csync_batch_set_info(b, &info, err));
    csync_batch_free(b);
}

static void resolve_refuses_what_is_no_pair(void **state)
{
    csync_change x = change(1), y = change(2), bad = change(3), other = change(4);
    int decision = 16;

    (void)state;
    REFUSED(CSYNC_EMISUSE, "NULL", csync_resolve(NULL, &y, 0, &decision, err));
    assert_int_equal(decision, 0);
    REFUSED(CSYNC_EMISUSE, "NULL", csync_resolve(&x, NULL, 0, &decision, err));
    REFUSED(CSYNC_EMISUSE, "NULL", csync_resolve(&x, &y, 0, NULL, err));
    REFUSED(CSYNC_EINVAL, "callback", csync_resolve(&x, &y, CSYNC_CUSTOM, &decision, err));
    REFUSED(CSYNC_EINVAL, "-1", csync_resolve(&x, &y, -1, &decision, err));
    REFUSED(CSYNC_EINVAL, "4", csync_resolve(&x, &y, 4, &decision, err));
    other.pk = "{\"id\":10}";
    REFUSED(CSYNC_EINVAL, "different rows", csync_resolve(&x, &other, 0, &decision, err));
    bad.timestamp = "never";
    REFUSED(CSYNC_EINVAL, "never", csync_resolve(&x, &bad, 0, &decision, err));
    REFUSED(CSYNC_EINVAL, "never", csync_resolve(&bad, &x, CSYNC_SERVER_WINS, &decision, err));
    bad = change(3);
    bad.operation = 9;
    REFUSED(CSYNC_EINVAL, "operation", csync_resolve(&x, &bad, 0, &decision, err));
    bad = change(3);
    bad.payload = "no json";
    REFUSED(CSYNC_EINVAL, "", csync_resolve(&x, &bad, 0, &decision, err));
    bad.payload = NULL;
    REFUSED(CSYNC_EINVAL, "payload", csync_resolve(&x, &bad, 0, &decision, err));
    assert_int_equal(decision, 0);
}

static void reports_and_hashes_refuse_wrong_values(void **state)
{
    csync_error e = CSYNC_ERROR_INIT;
    char *json = NULL;

    (void)state;
    REFUSED(CSYNC_EINVAL, "since_id", csync_conflicts(c, -1, 0, &json, err));
    REFUSED(CSYNC_EINVAL, "limit", csync_conflicts(c, 0, -1, &json, err));
    REFUSED(CSYNC_EMISUSE, "expected", csync_verify_hash(NULL, "ab", err));
    REFUSED(CSYNC_EMISUSE, "actual", csync_verify_hash("ab", NULL, err));
    REFUSED(CSYNC_EHASH, "not ab as expected", csync_verify_hash("ab", "cd", err));
    assert_int_equal(csync_verify_hash("ab", "AB", NULL), CSYNC_OK);
    assert_int_equal(csync_verify_hash("ab", "abc", &e), CSYNC_EHASH);
    assert_string_equal(e.expected, "ab");
    assert_string_equal(e.actual, "abc");
    REFUSED(CSYNC_EMISUSE, "json", csync_canonical_json(NULL, 0, &json, err));
    REFUSED(CSYNC_EMISUSE, "out", csync_canonical_json("1", 1, NULL, err));
    json = GARBAGE;
    REFUSED(CSYNC_EINVAL, "", csync_canonical_json("{", 1, &json, err));
    assert_null(json);
    assert_int_equal(csync_set_allocator(&(csync_allocator){.struct_size = sizeof(csync_allocator)}),
                     CSYNC_EMISUSE);
    assert_null(csync_malloc(SIZE_MAX));
}

static void execute_refuses_malformed_statements(void **state)
{
    static const char too_long[] = "x";
    csync_value v[2] = {{.type = CSYNC_INTEGER, .integer = 7}, {.type = CSYNC_INTEGER, .integer = 8}};
    csync_error e = CSYNC_ERROR_INIT;
    int64_t changes = 16;

    (void)state;
#define EXECUTE(sql, params, count) csync_execute(c, sql, params, count, NULL, NULL, &changes, err)
    REFUSED(CSYNC_EINVAL, "empty", EXECUTE("", NULL, 0));
    REFUSED(CSYNC_EINVAL, "empty", EXECUTE(" -- only a remark", NULL, 0));
    REFUSED(CSYNC_EINVAL, "only one", EXECUTE("DELETE FROM person; DELETE FROM person", NULL, 0));
    REFUSED(CSYNC_EINVAL, "1 parameters", EXECUTE("DELETE FROM person WHERE id=?1", NULL, 0));
    REFUSED(CSYNC_EINVAL, "2 were given", EXECUTE("DELETE FROM person WHERE id=?1", v, 2));
    v[0].type = 5;
    REFUSED(CSYNC_EINVAL, "parameter 1", EXECUTE("DELETE FROM person WHERE id<>?1", v, 1));
    v[0].type = -1;
    REFUSED(CSYNC_EINVAL, "parameter 1", EXECUTE("DELETE FROM person WHERE id<>?1", v, 1));
    v[0] = (csync_value){.type = CSYNC_TEXT, .length = 3};
    REFUSED(CSYNC_EINVAL, "parameter 1", EXECUTE("UPDATE person SET name=?1", v, 1));
    v[0] = (csync_value){.type = CSYNC_TEXT, .data = too_long, .length = (size_t)1 << 31};
    REFUSED(CSYNC_EINVAL, "", EXECUTE("UPDATE person SET name=?1 WHERE id=1", v, 1));
    REFUSED(CSYNC_EDB, "syntax error", EXECUTE("DELETE person", NULL, 0));
    REFUSED(CSYNC_EDB, "no such table", EXECUTE("DELETE FROM nobody", NULL, 0));
    REFUSED(CSYNC_EDB, "UNIQUE", EXECUTE("INSERT INTO person VALUES(3,'Cy'),(4,'Ada')", NULL, 0));
    assert_int_equal(changes, 0);
#undef EXECUTE
    assert_int_equal(csync_execute(c, "INSERT INTO person VALUES(1,'')", NULL, 0, NULL, NULL, NULL, &e), CSYNC_EDB);
    assert_int_equal(e.native_code, 1555);
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
        ON_C(track_refuses_what_cannot_be_tracked),
        ON_C(changes_refuses_numbers_out_of_range),
        ON_C(sync_options_out_of_range_are_refused_everywhere),
        ON_C(a_session_refuses_names_that_are_none),
        ON_C(a_remote_needs_the_functions_of_its_direction),
        ON_C(sessions_refuse_null_and_answers_out_of_turn),
        ON_C(a_session_of_a_closed_replica_answers_misuse),
        ON_C(apply_refuses_its_own_changes_and_a_wrong_hash),
        ON_C(a_batch_refuses_malformed_changes_and_info),
        ON_C(resolve_refuses_what_is_no_pair),
        ON_C(reports_and_hashes_refuse_wrong_values),
        ON_C(execute_refuses_malformed_statements),
        ON_C(suppression_is_begun_and_ended_in_turn),
        ON_C(a_statement_cannot_end_the_suppressed_transaction),
        ON_C(closing_rolls_a_suppressed_transaction_back),
        ON_C(an_error_without_its_size_is_left_alone),
        ON_C(a_success_clears_the_error_of_before),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
