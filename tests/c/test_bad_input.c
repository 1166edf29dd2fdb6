/* test_bad_input.c - what a hostile peer may send: it is refused with a code and a text, or parked, and the
 * database is what it was. Nothing that it says becomes SQL. */
#include <stdlib.h>

#include "refused.h"
#include "snapshot.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char schema[] =
    "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT UNIQUE, at BLOB);\n"
    "CREATE TABLE tag(a TEXT, b INTEGER, note TEXT, PRIMARY KEY(a,b)) WITHOUT ROWID;\n"
    "INSERT INTO person VALUES(1,'Ada',x'00'),(2,'Bob',NULL);\n"
    "INSERT INTO tag VALUES('x',1,'n')";
static const char secrets[] = "CREATE TABLE secret(id INTEGER PRIMARY KEY, name TEXT);\n"
                              "INSERT INTO secret VALUES(1,'Eve');\n"
                              "CREATE VIEW seen AS SELECT * FROM person";

static csync *c; /* of the test that runs; the replica "victim" */
static char hash[CSYNC_HASH_SIZE];
static int64_t objects;

/* Logged changes and heads are up to date, and pages are served: reading changes nothing any more. */
static void settle(csync *replica)
{
    csync_batch *page = NULL;

    OK(csync_changes(replica, NULL, &page, err));
    csync_batch_free(page);
}

static int setup(void **state)
{
    csync_open_options o = {.struct_size = sizeof o, .origin = "victim"};

    (void)state;
    OK(csync_open(&c, ":memory:", &o, err));
    run(c, schema);
    OK(csync_track(c, "person", NULL, err));
    OK(csync_track(c, "tag", NULL, err));
    run(c, secrets);
    run(c, "INSERT INTO person VALUES(3,'Cyd',1.5)");
    settle(c);
    OK(csync_hash(c, hash, err));
    objects = number(c, "SELECT count(*) FROM sqlite_master");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    csync_close(c);
    return 0;
}

/* No statement of a stranger's ran: schema, tracked tables and the untracked one are what they were. */
static void assert_contained(void)
{
    char now[CSYNC_HASH_SIZE];

    OK(csync_hash(c, now, err));
    assert_string_equal(now, hash);
    assert_string_equal(text(c, "SELECT group_concat(id||name) FROM secret"), "1Eve");
    assert_int_equal(number(c, "SELECT count(*) FROM sqlite_master WHERE name='seen'"), 1);
    assert_int_equal(number(c, "SELECT sync_active FROM _sync_session"), 0);
    assert_int_equal(number(c, "SELECT count(*) FROM _sync_tables"), 2);
    assert_int_equal(number(c, "SELECT count(*) FROM sqlite_master"), objects);
    assert_string_equal(text(c, "SELECT value FROM _sync_state WHERE key='origin_id'"), "victim");
}

static csync_batch *read_batch(const char *json)
{
    csync_batch *batch = NULL;

    OK(csync_batch_from_json(&batch, json, strlen(json), err));
    return batch;
}

/* ---- JSON that is no batch ---- */

#define STAMP "2025-01-01T00:00:00.000Z"
#define K9 "{\\\"id\\\":9}"
#define P9 "{\\\"id\\\":9,\\\"name\\\":\\\"Z\\\"}"
#define CHANGE(table, pk, payload, origin, timestamp)                                              \
    "{\"changes\":[{\"version\":1,\"tableName\":\"" table "\",\"pkValue\":\"" pk                   \
    "\",\"operation\":\"insert\",\"payload\":\"" payload "\",\"origin\":\"" origin                 \
    "\",\"timestamp\":\"" timestamp "\",\"seq\":1}]}"
#define AT(timestamp) CHANGE("person", K9, P9, "mallory", timestamp)
#define BAD_TIME "timestamp: this is no RFC 3339 time from 1970 to 9999"
#define BAD_ORIGIN "origin: not 1 to 64 characters of A-Z a-z 0-9 _ . -"

static const struct {
    const char *json, *part;
} no_batches[] = {
    {"", "ends too early"},
    {"null", "an object is needed"},
    {"[]", "an object is needed"},
    {"{\"changes\":[", "ends too early"},
    {"{\"changes\":[]", "ends too early"},
    {"{\"changes\":[]}x", "something follows"},
    {"\xEF\xBB\xBF{\"changes\":[]}", "an object is needed"},
    {"{\"changes\":[],\"changes\":[]}", "twice"},
    {"{\"changes\":{}}", "an array is needed"},
    {"{\"changes\":[null]}", "an object is needed"},
    {"{\"changes\":[{}]}", "tableName: missing"},
    {"{\"fromVersion\":0,\"toVersion\":1}", "\"changes\" is missing"},
    {"{\"changes\":[],\"fromVersion\":9,\"toVersion\":8}", "toVersion is below fromVersion"},
    {"{\"changes\":[],\"fromVersion\":-1,\"toVersion\":8}",
     "no integer from 0 to 9223372036854775807"},
    {"{\"changes\":[],\"fromVersion\":0,\"toVersion\":9223372036854775808}",
     "toVersion: this is no integer"},
    {"{\"changes\":[],\"fromVersion\":0,\"toVersion\":1e3}", "toVersion: this is no integer"},
    {"{\"changes\":[],\"fromVersion\":0,\"toVersion\":\"1\"}", "toVersion: this is no number"},
    {"{\"changes\":[],\"hash\":\"abc\"}", "hash: this is no SHA-256 in hex"},
    {"{\"changes\":[],\"origin\":\"\"}", BAD_ORIGIN},
    {"{\"changes\":[],\"origin\":\"a b\"}", BAD_ORIGIN},
    {"{\"changes\":[],\"origin\":\"a'; DROP TABLE person; --\"}", BAD_ORIGIN},
    {"{\"changes\":[],\"origin\":\"victim\\u0000\"}", "origin: the text holds a NUL"},
    {"{\"changes\":[],\"origin\":\"\xD1\x80\"}", BAD_ORIGIN},
    {AT("0000-01-01T00:00:00.000Z"), BAD_TIME},
    {AT("10000-01-01T00:00:00.000Z"), BAD_TIME},
    {AT("2024-02-30T00:00:00.000Z"), BAD_TIME},
    {AT("2024-01-01T00:00:00.000"), BAD_TIME},
    {AT("1969-12-31T23:59:59.999Z"), BAD_TIME},
    {AT("9999-12-31T23:59:59.999-23:59"), BAD_TIME},
    {AT("now'; DROP TABLE person; --"), BAD_TIME},
    {CHANGE("person", "1", P9, "m", STAMP), "pkValue: a JSON object is needed"},
    {CHANGE("person", "{}", P9, "m", STAMP), "pkValue: the object is empty"},
    {CHANGE("person", "{\\\"id\\\":9", P9, "m", STAMP), "pkValue: the text ends too early"},
    {CHANGE("person", "{\\\"id\\\":9,\\\"id\\\":9}", P9, "m", STAMP),
     "pkValue: a name is there twice"},
    {CHANGE("person", K9, "[]", "m", STAMP), "payload: a JSON object is needed"},
    {CHANGE("person", K9, "{\\\"id\\\":NaN}", "m", STAMP), "payload: this is no JSON value"},
    {CHANGE("", K9, P9, "m", STAMP), "tableName: the text is empty"},
    {CHANGE("per\\u0000son", K9, P9, "m", STAMP), "tableName: the text holds a NUL"},
    {CHANGE("\\ud800", K9, P9, "m", STAMP), "tableName: half of a surrogate pair"},
    {CHANGE("\xC0\xAF", K9, P9, "m", STAMP), "tableName: invalid UTF-8"},
    {CHANGE("person", K9, P9, "", STAMP), "origin: the text is empty"},
    {CHANGE("person", K9, P9, "a\\\"b", STAMP), "origin"},
};

static void json_that_is_no_batch_is_refused(void **state)
{
    char *before = snapshot(c, SNAPSHOT_EXACT);

    (void)state;
    for (size_t i = 0; i < COUNT(no_batches); i++) {
        csync_batch *batch = GARBAGE;
        const char *json = no_batches[i].json;

        REFUSED(CSYNC_EINVAL, no_batches[i].part,
                csync_batch_from_json(&batch, json, strlen(json), err));
        assert_null(batch);
    }
    assert_unchanged(c, before);
}

static void json_that_is_nested_without_end_is_refused(void **state)
{
    enum { DEPTH = 100000 };
    static const char start[] = "{\"changes\":[],\"x\":";
    char *json = malloc(sizeof start + DEPTH), *before = snapshot(c, SNAPSHOT_EXACT);
    csync_batch *batch = GARBAGE;

    (void)state;
    memcpy(json, start, sizeof start - 1);
    memset(json + sizeof start - 1, '[', DEPTH);
    REFUSED(CSYNC_EINVAL, "deep", csync_batch_from_json(&batch, json, sizeof start - 1 + DEPTH, err));
    assert_null(batch);
    free(json);
    assert_unchanged(c, before);
}

/* ---- changes that are well-formed and mean harm ---- */

#define PARKED_TABLE CSYNC_PARKED, "unknown table"
#define PARKED_COLUMN CSYNC_PARKED, "has no column \""
#define MALFORMED CSYNC_REJECTED, "malformed: "

static const struct {
    const char *json;
    int status;
    const char *reason;
} harmful[] = {
    {CHANGE("_sync_log", K9, P9, "mallory", STAMP), PARKED_TABLE},
    {CHANGE("_sync_state", "{\\\"key\\\":\\\"origin_id\\\"}",
            "{\\\"key\\\":\\\"origin_id\\\",\\\"value\\\":\\\"mallory\\\"}", "mallory", STAMP),
     PARKED_TABLE},
    {CHANGE("_sync_rows_1", K9, P9, "mallory", STAMP), PARKED_TABLE},
    {CHANGE("sqlite_master", K9, P9, "mallory", STAMP), PARKED_TABLE},
    {CHANGE("sqlite_schema", K9, P9, "mallory", STAMP), PARKED_TABLE},
    {CHANGE("sqlite_sequence", K9, P9, "mallory", STAMP), PARKED_TABLE},
    {CHANGE("main.person", K9, P9, "mallory", STAMP), PARKED_TABLE},
    {CHANGE("temp.person", K9, P9, "mallory", STAMP), PARKED_TABLE},
    {CHANGE("secret", "{\\\"id\\\":1}", "{\\\"id\\\":1,\\\"name\\\":\\\"Z\\\"}", "mallory", STAMP),
     PARKED_TABLE},
    {CHANGE("seen", K9, P9, "mallory", STAMP), PARKED_TABLE},
    {CHANGE("PERSON", K9, P9, "mallory", STAMP), PARKED_TABLE},
    {CHANGE("person ", K9, P9, "mallory", STAMP), PARKED_TABLE},
    {CHANGE("person; DROP TABLE secret", K9, P9, "mallory", STAMP), PARKED_TABLE},
    {CHANGE("person\\\"; DROP TABLE secret; --", K9, P9, "mallory", STAMP), PARKED_TABLE},
    {CHANGE("person' OR '1'='1", K9, P9, "mallory", STAMP), PARKED_TABLE},
    {CHANGE("[person]", K9, P9, "mallory", STAMP), PARKED_TABLE},
    {CHANGE("`person`", K9, P9, "mallory", STAMP), PARKED_TABLE},
    {CHANGE("%s%n", K9, P9, "mallory", STAMP), PARKED_TABLE},
    {CHANGE("\xD1\x80"
            "erson",
            K9, P9, "mallory", STAMP),
     PARKED_TABLE}, /* a Cyrillic p */
    {CHANGE("\xEF\xBD\x90"
            "erson",
            K9, P9, "mallory", STAMP),
     PARKED_TABLE}, /* a wide p */
    {CHANGE("person", K9, "{\\\"id\\\":9,\\\"name\\\\\\\"=1; DROP TABLE secret; --\\\":1}", "m1",
            STAMP),
     PARKED_COLUMN},
    {CHANGE("person", K9, "{\\\"id\\\":9,\\\"NAME\\\":\\\"Z\\\"}", "m2", STAMP), PARKED_COLUMN},
    {CHANGE("person", K9, "{\\\"id\\\":9,\\\"rowid\\\":1}", "m3", STAMP), PARKED_COLUMN},
    {CHANGE("person", "{\\\"id\\\":9,\\\"name\\\":1}", P9, "mallory", STAMP),
     MALFORMED "\"name\" in the key"},
    {CHANGE("person", "{\\\"nid\\\":9}", P9, "mallory", STAMP), MALFORMED "\"nid\" in the key"},
    {CHANGE("person", "{\\\"id\\\\\\\"=1 OR 1=1 --\\\":9}", P9, "mallory", STAMP), MALFORMED},
    {CHANGE("person", "{\\\"id\\\":null}", P9, "mallory", STAMP), MALFORMED "\"id\" in the key"},
    {CHANGE("person", "{\\\"id\\\":\\\"1 OR 1=1\\\"}", P9, "mallory", STAMP),
     MALFORMED "payload and key"},
    {CHANGE("person", "{\\\"id\\\":{\\\"x\\\":1}}", P9, "mallory", STAMP),
     MALFORMED "payload and key"},
    {CHANGE("person", "{\\\"id\\\":1.5}", P9, "mallory", STAMP), MALFORMED "payload and key"},
    {CHANGE("person", "{\\\"id\\\":9223372036854775808}", P9, "mallory", STAMP),
     MALFORMED "payload and key"},
    {CHANGE("person", "{\\\"id\\\":1}", P9, "mallory", STAMP), MALFORMED "payload and key"},
    {CHANGE("tag", "{\\\"a\\\":\\\"x\\\"}", "{\\\"a\\\":\\\"x\\\"}", "mallory", STAMP),
     MALFORMED "the key of table \"tag\" lacks a column"},
    {CHANGE("tag", "{\\\"a\\\":\\\"x\\\",\\\"b\\\":null}", "{\\\"a\\\":\\\"x\\\"}", "mallory", STAMP),
     MALFORMED "\"b\" in the key"},
};

/* The status and reason of the only change. */
static void apply_one(const char *json, int status, const char *reason)
{
    csync_outcome_entry entry = {.struct_size = sizeof entry};
    csync_batch *batch = read_batch(json);
    csync_outcome *outcome = NULL;

    OK(csync_apply(c, batch, NULL, &outcome, NULL, err));
    assert_int_equal(csync_outcome_count(outcome), 1);
    assert_int_equal(csync_outcome_at(outcome, 0, &entry), CSYNC_OK);
    if (entry.status != status || !strstr(entry.reason, reason))
        fail_msg("%s: status %d, \"%s\"", json, entry.status, entry.reason);
    csync_outcome_free(outcome);
    csync_batch_free(batch);
}

static void harmful_names_and_keys_are_parked_or_rejected(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(harmful); i++) {
        apply_one(harmful[i].json, harmful[i].status, harmful[i].reason);
        assert_contained();
    }
    settle(c); /* what is parked is tried again */
    assert_contained();
}

static void what_a_value_says_is_a_value(void **state)
{
    (void)state;
    apply_one(CHANGE("person", K9, "{\\\"id\\\":9,\\\"name\\\":\\\"'); DROP TABLE secret; --\\\"}",
                     "mallory", STAMP),
              CSYNC_APPLIED, "");
    assert_string_equal(text(c, "SELECT name FROM person WHERE id=9"), "'); DROP TABLE secret; --");
    apply_one(CHANGE("tag", "{\\\"a\\\":\\\"x' OR 1=1 --\\\",\\\"b\\\":1}",
                     "{\\\"a\\\":\\\"x' OR 1=1 --\\\",\\\"b\\\":1,\\\"note\\\":null}", "mallory",
                     STAMP),
              CSYNC_APPLIED, "");
    assert_int_equal(number(c, "SELECT count(*) FROM tag"), 2);
    run(c, "DELETE FROM person WHERE id=9");
    run(c, "DELETE FROM tag WHERE a<>'x'");
    assert_contained();
}

/* Whatever comes twice in a batch, in whatever order, ends as if it came apart. */
static void one_stamp_for_two_contents_ends_alike_in_any_order(void **state)
{
    static const char row[] =
        "{\"version\":1,\"tableName\":\"person\",\"pkValue\":\"" K9
        "\",\"operation\":\"insert\",\"payload\":\"{\\\"id\\\":9,\\\"name\\\":\\\"%s\\\","
        "\\\"at\\\":null}\",\"origin\":\"mallory\",\"timestamp\":\"" STAMP "\",\"seq\":1}";
    static const char *const orders[2][2] = {{"one", "two"}, {"two", "one"}};

    (void)state;
    for (int i = 0; i < 2; i++) {
        char first[400], second[400], json[900];
        csync_batch *batch;
        csync *fresh = replica_new(schema);

        snprintf(first, sizeof first, row, orders[i][0]);
        snprintf(second, sizeof second, row, orders[i][1]);
        snprintf(json, sizeof json, "{\"changes\":[%s,%s]}", first, second);
        batch = read_batch(json);
        OK(csync_apply(fresh, batch, NULL, NULL, NULL, err));
        assert_string_equal(text(fresh, "SELECT name FROM person WHERE id=9"), "two");
        csync_batch_free(batch);
        csync_close(fresh);
    }
}

/* ---- batches that lie about themselves ---- */

#define LIE "\"hash\":\"00000000000000000000000000000000000000000000000000000000000000ff\""
#define ROW                                                                                        \
    "{\"version\":1,\"tableName\":\"person\",\"pkValue\":\"" K9                                    \
    "\",\"operation\":\"insert\",\"payload\":\"" P9                                                \
    "\",\"origin\":\"mallory\",\"timestamp\":\"" STAMP "\",\"seq\":1}"
#define PAGE(rest) "{\"changes\":[" ROW "]," rest "}"

static const struct {
    const char *json;
    int code;
    const char *part;
} lies[] = {
    {PAGE(LIE), CSYNC_EHASH, "as expected"},
    {PAGE("\"fromVersion\":0,\"toVersion\":1,\"hasMore\":false,\"origin\":\"mallory\"," LIE),
     CSYNC_EHASH, "as expected"},
    {PAGE("\"fromVersion\":0,\"toVersion\":1,\"hasMore\":false,\"origin\":\"victim\""),
     CSYNC_EINVAL, "this very replica"},
};

static void a_push_that_lies_is_refused(void **state)
{
    char *before = snapshot(c, SNAPSHOT_EXACT);

    (void)state;
    for (size_t i = 0; i < COUNT(lies); i++) {
        csync_batch *batch = read_batch(lies[i].json);
        csync_outcome *outcome = GARBAGE;

        REFUSED(lies[i].code, lies[i].part, csync_apply(c, batch, NULL, &outcome, NULL, err));
        assert_null(outcome);
        csync_batch_free(batch);
    }
    assert_unchanged(c, before);
}

static csync_session *asked(int direction)
{
    csync_sync_options o = {.struct_size = sizeof o, .direction = direction};
    csync_step step = {.struct_size = sizeof step};
    csync_session *s = NULL;

    OK(csync_session_new(&s, c, "mallory", &o, err));
    OK(csync_session_next(s, &step, err));
    assert_int_equal(step.kind, direction == CSYNC_PULL ? CSYNC_STEP_FETCH : CSYNC_STEP_SEND);
    return s;
}

static void a_page_that_lies_is_refused(void **state)
{
    char *before = snapshot(c, SNAPSHOT_EXACT);
    csync_session *s = asked(CSYNC_PULL);

    (void)state;
    for (size_t i = 0; i < COUNT(lies); i++) {
        csync_batch *page = read_batch(lies[i].json);

        REFUSED(lies[i].code, lies[i].part, csync_session_page(s, page, err));
        csync_batch_free(page);
    }
    csync_session_free(s);
    assert_unchanged(c, before);
}

/* A page that starts elsewhere is dropped whole, whatever it claims. */
static void a_page_from_the_future_moves_nothing(void **state)
{
    char *before = snapshot(c, SNAPSHOT_EXACT);
    csync_session *s = asked(CSYNC_PULL);
    csync_batch *page = read_batch(PAGE(
        "\"fromVersion\":9223372036854775806,\"toVersion\":9223372036854775807,\"hasMore\":true"));

    (void)state;
    OK(csync_session_page(s, page, err));
    csync_batch_free(page);
    csync_session_free(s);
    assert_unchanged(c, before);
}

/* ---- answers to a push ---- */

#define ANSWER(status, rest, position)                                                             \
    "{\"outcomes\":[{\"status\":\"" status "\"" rest "}],\"position\":" position "}"

static csync_outcome *read_outcome(const char *json)
{
    csync_outcome *outcome = NULL;

    OK(csync_outcome_from_json(&outcome, json, strlen(json), err));
    return outcome;
}

static void an_answer_that_lies_is_refused(void **state)
{
    static const struct {
        const char *json, *part;
    } answers[] = {
        {ANSWER("applied", "", "1"), "outcomes for"},
        {"{\"outcomes\":[],\"position\":9223372036854775807}",
         "answered position 9223372036854775807"},
    };
    csync_session *s = asked(CSYNC_PUSH);
    char *before = snapshot(c, SNAPSHOT_EXACT);

    (void)state;
    for (size_t i = 0; i < COUNT(answers); i++) {
        csync_outcome *outcome = read_outcome(answers[i].json);

        REFUSED(CSYNC_EPROTO, answers[i].part, csync_session_outcome(s, outcome, err));
        csync_outcome_free(outcome);
    }
    csync_session_free(s);
    assert_unchanged(c, before);
}

/* ---- positions, epochs and cursors that this log never gave out ---- */

#define EPOCH "0123456789abcdef"

static void a_question_from_nowhere_is_refused(void **state)
{
    static const struct {
        int64_t since;
        const char *epoch, *cursor;
        int code;
        const char *part;
    } questions[] = {
        {99, NULL, NULL, CSYNC_EFULLRESYNC, "never had version 99"},
        {INT64_MAX, NULL, NULL, CSYNC_EFULLRESYNC, "never had version 9223372036854775807"},
        {0, EPOCH ".1.00000000", NULL, CSYNC_EFULLRESYNC, "never had version 0"},
        {1, EPOCH ".99.12345678", NULL, CSYNC_EFULLRESYNC, "restored from a backup"},
        {1, EPOCH ".0.12345678", NULL, CSYNC_EINVAL, "is no position of a log"},
        {1, EPOCH ".-1.12345678", NULL, CSYNC_EINVAL, "is no position of a log"},
        {1, EPOCH ".1.123456789", NULL, CSYNC_EINVAL, "is no position of a log"},
        {1, "'; DROP TABLE secret; --", NULL, CSYNC_EINVAL, "is no position of a log"},
        {1, "\xD0\xB0", NULL, CSYNC_EINVAL, "is no position of a log"},
        {-1, NULL, NULL, CSYNC_EINVAL, "since is negative"},
        {0, NULL, "x", CSYNC_EINVAL, "no cursor of a snapshot"},
        {0, NULL, "1:2", CSYNC_EINVAL, "no cursor of a snapshot"},
        {0, NULL, "-1:-1.:0:", CSYNC_EINVAL, "no cursor of a snapshot"},
        {0, NULL, "1:1." EPOCH ":99999:person", CSYNC_EINVAL, "no cursor of a snapshot"},
        {0, NULL, "99999999999999999999:1." EPOCH ":6:person{}", CSYNC_EFULLRESYNC, "begins anew"},
        {0, NULL, "0:1." EPOCH ":6:person{\"id\":1}", CSYNC_EFULLRESYNC, "begins anew"},
    };
    char *before = snapshot(c, SNAPSHOT_EXACT);

    (void)state;
    for (size_t i = 0; i < COUNT(questions); i++) {
        csync_fetch fetch = {.struct_size = sizeof fetch,
                             .since = questions[i].since,
                             .epoch = questions[i].epoch,
                             .cursor = questions[i].cursor,
                             .origin = "mallory"};
        csync_batch *page = GARBAGE;

        REFUSED(questions[i].code, questions[i].part, csync_changes(c, &fetch, &page, err));
        assert_null(page);
    }
    assert_unchanged(c, before);
}

static void a_cursor_of_this_schema_that_names_no_row_is_refused(void **state)
{
    static const char *const places[] = {"6:secret{\"id\":1}",
                                         "6:person{\"id\":1",
                                         "6:person{\"id\":null}",
                                         "6:person[1]",
                                         "3:tag{\"a\":\"x\"}",
                                         "0:x",
                                         "0:",
                                         "6:person;DROP TABLE x"};
    int64_t schema_version = number(c, "PRAGMA schema_version");
    char *before = snapshot(c, SNAPSHOT_EXACT);

    (void)state;
    for (size_t i = 0; i < COUNT(places); i++) {
        char cursor[200];
        csync_fetch fetch = {.struct_size = sizeof fetch, .cursor = cursor};
        csync_batch *page = GARBAGE;

        snprintf(cursor, sizeof cursor, "%lld:1." EPOCH ":%s", (long long)schema_version, places[i]);
        REFUSED(CSYNC_EINVAL, "no cursor of a snapshot", csync_changes(c, &fetch, &page, err));
    }
    assert_unchanged(c, before);
}

static void a_client_beyond_the_log_is_refused(void **state)
{
    char *before = snapshot(c, SNAPSHOT_EXACT);

    (void)state;
    REFUSED(CSYNC_EINVAL, "is not in the log", csync_register_client(c, "mallory", 99, err));
    REFUSED(CSYNC_EINVAL, "is not in the log", csync_register_client(c, "mallory", -1, err));
    REFUSED(CSYNC_EINVAL, "1 to", csync_register_client(c, "", 0, err));
    REFUSED(CSYNC_EINVAL, "own", csync_register_client(c, "victim", 0, err));
    REFUSED(CSYNC_ENOTFOUND, "no client", csync_forget_client(c, "' OR 1=1 --", err));
    assert_unchanged(c, before);
}

/* Else the log would begin after its end, and nobody could ever read it again. */
static void who_claims_more_of_the_log_than_there_is_forgets_nothing_to_come(void **state)
{
    csync_purged purged = {.struct_size = sizeof purged};
    csync *reader = replica_new(schema);
    csync_batch *push =
        read_batch("{\"changes\":[],\"fromVersion\":0,\"toVersion\":1,\"origin\":\"mallory\","
                   "\"peerVersion\":9223372036854775807,\"peerEpoch\":\"" EPOCH
                   ".9223372036854775807.12345678\"}");
    int64_t safe = 0;

    (void)state;
    OK(csync_apply(c, push, NULL, NULL, NULL, err));
    csync_batch_free(push);
    OK(csync_safe_version(c, 0, &safe, err));
    assert_int_equal(safe, number(c, "SELECT max(version) FROM _sync_log"));
    OK(csync_purge(c, NULL, &purged, err));
    assert_int_equal(purged.version, safe);
    assert_contained();
    run(c, "INSERT INTO person VALUES(10,'later',NULL)");
    sync_all(reader, c);
    run(c, "INSERT INTO person VALUES(11,'latest',NULL)");
    sync_all(reader, c);
    assert_equal(reader, c);
    csync_close(reader);
}

/* ---- pushes that compare, and clocks ---- */

static void a_push_onto_a_row_that_it_has_not_seen_changes_nothing(void **state)
{
    static const char *const bases[] = {"null", "\"2025-01-01T00:00:00.000Z victim 1\"",
                                        "\"2025-01-01T00:00:00.000Z mallory 99\""};

    (void)state;
    for (size_t i = 0; i < COUNT(bases); i++) {
        csync_outcome_entry entry = {.struct_size = sizeof entry};
        csync_outcome *outcome = NULL;
        csync_batch *push;
        char json[700];

        snprintf(
            json, sizeof json,
            "{\"changes\":[{\"version\":1,\"tableName\":\"person\",\"pkValue\":\"{\\\"id\\\":3}\","
            "\"operation\":\"update\",\"payload\":\"{\\\"id\\\":3,\\\"name\\\":\\\"Z\\\"}\",\"origin\":"
            "\"mallory\",\"timestamp\":\"%s\",\"seq\":1,\"base\":%s}],\"fromVersion\":0,\"toVersion\":1,"
            "\"origin\":\"mallory\",\"compare\":true}",
            text(c, "SELECT strftime('%Y-%m-%dT%H:%M:%fZ','now','+1 second')"), bases[i]);
        push = read_batch(json);
        OK(csync_apply(c, push, NULL, &outcome, NULL, err));
        assert_int_equal(csync_outcome_at(outcome, 0, &entry), CSYNC_OK);
        assert_int_equal(entry.status, CSYNC_CONFLICT);
        assert_string_equal(entry.winner->origin, "victim");
        assert_int_equal(csync_outcome_position(outcome), 0);
        csync_outcome_free(outcome);
        csync_batch_free(push);
        assert_contained();
    }
}

static void a_push_from_the_future_is_refused(void **state)
{
    static const char *const times[] = {"9999-12-31T23:59:59.999Z", "2099-01-01T00:00:00.000Z"};
    char *before = snapshot(c, SNAPSHOT_EXACT);

    (void)state;
    for (size_t i = 0; i < COUNT(times); i++) {
        csync_error e = CSYNC_ERROR_INIT;
        char json[700];
        csync_batch *push;

        snprintf(json, sizeof json,
                 "{\"changes\":[{\"version\":1,\"tableName\":\"person\",\"pkValue\":\"" K9
                 "\",\"operation\":\"insert\",\"payload\":\"" P9
                 "\",\"origin\":\"mallory\",\"timestamp\":\"%s\",\"seq\":1}],\"fromVersion\":0,"
                 "\"toVersion\":1,\"origin\":\"mallory\"}",
                 times[i]);
        push = read_batch(json);
        REFUSED(CSYNC_ECLOCK, "set its clock", csync_apply(c, push, NULL, NULL, NULL, err));
        assert_int_equal(csync_apply(c, push, NULL, NULL, NULL, &e), CSYNC_ECLOCK);
        assert_string_equal(e.actual, times[i]);
        csync_batch_free(push);
    }
    assert_unchanged(c, before);
}

/* ---- pages that are too large ---- */

static void a_page_of_more_changes_than_anybody_may_ask_for_is_refused(void **state)
{
    csync_session *s = asked(CSYNC_PULL);
    char *before = snapshot(c, SNAPSHOT_EXACT);
    csync_batch *page = read_batch(PAGE("\"fromVersion\":0,\"toVersion\":20000,\"hasMore\":false"));
    const csync_change *change = csync_batch_at(page, 0);

    (void)state;
    while (csync_batch_count(page) <= 10000) {
        csync_change again = *change;

        OK(csync_batch_add(page, &again, err));
        change = csync_batch_at(page, 0);
    }
    REFUSED(CSYNC_EPROTO, "10001 changes", csync_session_page(s, page, err));
    csync_batch_free(page);
    csync_session_free(s);
    assert_unchanged(c, before);
}

/* ---- times ---- */

/* A clock at the end of time would stand still: later edits would win or lose by their origins alone. */
static void a_stamp_at_the_end_of_time_is_refused_and_leaves_the_clock_alone(void **state)
{
    (void)state;
    apply_one(CHANGE("person", K9, P9, "mallory", "9999-12-31T23:59:59.999Z"), CSYNC_REJECTED,
              "no room for later edits");
    apply_one(CHANGE("person", K9, P9, "mallory", "8999-12-31T23:59:59.999Z"), CSYNC_APPLIED, "");
    run(c, "UPDATE person SET name='mine' WHERE id=9");
    settle(c);
    assert_string_equal(text(c, "SELECT timestamp FROM _sync_log ORDER BY version DESC"),
                        "9000-01-01T00:00:00.000Z");
    apply_one(CHANGE("person", K9, P9, "mallory", "8999-12-31T23:59:59.999Z"), CSYNC_LOST, "");
    assert_string_equal(text(c, "SELECT name FROM person WHERE id=9"), "mine");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(json_that_is_no_batch_is_refused),
        TEST(json_that_is_nested_without_end_is_refused),
        TEST(harmful_names_and_keys_are_parked_or_rejected),
        TEST(what_a_value_says_is_a_value),
        TEST(one_stamp_for_two_contents_ends_alike_in_any_order),
        TEST(a_push_that_lies_is_refused),
        TEST(a_page_that_lies_is_refused),
        TEST(a_page_from_the_future_moves_nothing),
        TEST(an_answer_that_lies_is_refused),
        TEST(a_question_from_nowhere_is_refused),
        TEST(a_cursor_of_this_schema_that_names_no_row_is_refused),
        TEST(a_client_beyond_the_log_is_refused),
        TEST(who_claims_more_of_the_log_than_there_is_forgets_nothing_to_come),
        TEST(a_push_onto_a_row_that_it_has_not_seen_changes_nothing),
        TEST(a_push_from_the_future_is_refused),
        TEST(a_page_of_more_changes_than_anybody_may_ask_for_is_refused),
        TEST(a_stamp_at_the_end_of_time_is_refused_and_leaves_the_clock_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
