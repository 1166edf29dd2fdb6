/* test_api_values.c - every public function with values that are malformed or out of range. */
#include <stdlib.h>

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
    REFUSED(CSYNC_EFULLRESYNC, "never had version", csync_changes(c, &f, &out, err));
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
    remote.send =
        (int (*)(void *, const csync_batch *, csync_outcome **, csync_error *))(void (*)(void))never;
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
#define WRONG(field, value, part)                                                                  \
    x = change(1);                                                                                 \
    x.field = value;                                                                               \
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
    assert_int_equal(
        csync_execute(c, "INSERT INTO person VALUES(1,'')", NULL, 0, NULL, NULL, NULL, &e),
        CSYNC_EDB);
    assert_int_equal(e.native_code, 1555);
}

#define ON_C(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_C(track_refuses_what_cannot_be_tracked),
        ON_C(changes_refuses_numbers_out_of_range),
        ON_C(sync_options_out_of_range_are_refused_everywhere),
        ON_C(apply_refuses_its_own_changes_and_a_wrong_hash),
        ON_C(a_batch_refuses_malformed_changes_and_info),
        ON_C(resolve_refuses_what_is_no_pair),
        ON_C(reports_and_hashes_refuse_wrong_values),
        ON_C(execute_refuses_malformed_statements),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
