/* test_verify.c - two replicas are compared: the rows that differ are named, and wrong ones healed. */
#include "snapshot.h"
#include "support.h"

#include <stdlib.h>

static const char person[] = "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, votes REAL)";

/* Writes that no trigger sees, and no head knows of. */
static void corrupt(csync *c, const char *sql)
{
    OK(csync_suppress_begin(c, err));
    run(c, sql);
    OK(csync_suppress_end(c, 1, err));
}

static csync_verify_options options(int repair)
{
    return (csync_verify_options){.struct_size = sizeof(csync_verify_options), .repair = repair};
}

/* The report; valid until the next call. */
static const char *verify(csync *c, csync *peer, int repair)
{
    static char *report;
    csync_verify_options o = options(repair);

    csync_free(report);
    OK(csync_verify(c, peer, &o, &report, err));
    return report;
}

static void assert_has(const char *report, const char *part)
{
    if (!strstr(report, part))
        fail_msg("\"%s\" lacks \"%s\"", report, part);
}

static int64_t count_in(const char *report, const char *name)
{
    const char *at = strstr(report, name);

    assert_non_null(at);
    return strtoll(at + strlen(name), NULL, 10);
}

static int64_t count_of(const char *report, const char *part)
{
    int64_t n = 0;

    while ((report = strstr(report, part)) != NULL) {
        report += strlen(part);
        n++;
    }
    return n;
}

static void close_both(csync *a, csync *b)
{
    csync_close(a);
    csync_close(b);
}

/* Two replicas in step, of `schema` and what `fill` puts in. */
static void make_pair(const char *schema, const char *fill, csync **a, csync **b)
{
    *a = replica_new(schema);
    *b = replica_new(schema);
    run(*a, fill);
    sync_all(*a, *b);
    assert_equal(*a, *b);
}

#define FILL "INSERT INTO person VALUES(1,'Ada',1.5),(2,'Bob',2.5),(3,'Cy',-0.0),(4,'Dee',NULL)"

static void equal_replicas_are_equal_after_one_question(void **state)
{
    csync *a, *b;
    const char *report;

    (void)state;
    make_pair(person, FILL, &a, &b);
    report = verify(a, b, 0);
    assert_has(report,
               "{\"equal\":true,\"tables\":[{\"table\":\"person\",\"rows\":4,\"peerRows\":4,"
               "\"differs\":0,\"missingHere\":0,\"missingThere\":0,\"note\":\"\"}],\"rows\":[]");
    assert_has(report, "\"found\":0,\"repaired\":0,\"compared\":{\"rounds\":1,");
    close_both(a, b);
}

static void rows_changed_behind_csync_are_named_with_their_stamps(void **state)
{
    csync *a, *b;
    const char *report;

    (void)state;
    make_pair(person, FILL, &a, &b);
    corrupt(a, "UPDATE person SET name='Eve' WHERE id=2");
    corrupt(a, "DELETE FROM person WHERE id=3");
    corrupt(a, "INSERT INTO person VALUES(9,'ghost',0)");
    corrupt(b, "DELETE FROM person WHERE id=4");
    report = verify(a, b, 0);
    assert_has(report, "\"equal\":false");
    assert_has(report, "\"differs\":1,\"missingHere\":1,\"missingThere\":2");
    assert_has(report,
               "\"pk\":\"{\\\"id\\\":2}\",\"kind\":\"differs\",\"local\":{\"head\":\"live\",\"ti");
    assert_has(report, "\"pk\":\"{\\\"id\\\":3}\",\"kind\":\"missing here\"");
    assert_has(report, "\"kind\":\"missing there\",\"local\":{\"head\":\"none\"},\"remote\":{\"head\":"
                       "\"none\"},\"explained\":\"not captured\"");
    assert_int_equal(count_of(report, "\"explained\":\"wrong there\""), 1);
    assert_int_equal(count_of(report, "\"explained\":\"\""), 2);
    assert_has(report, "\"found\":4,\"repaired\":0");
    close_both(a, b);
}

static char *tables_of_csync(csync *c)
{
    return snapshot(c, SNAPSHOT_EXACT);
}

static void a_repair_heals_exactly_and_leaves_log_and_heads(void **state)
{
    csync *a, *b;
    char *before, *after;
    const char *report;

    (void)state;
    make_pair(person, FILL, &a, &b);
    run(a, "DELETE FROM person WHERE id=1");
    sync_all(a, b);
    verify(a, b, 1);
    before = tables_of_csync(a);
    corrupt(a, "UPDATE person SET name='Eve', votes=7 WHERE id=2");
    corrupt(a, "DELETE FROM person WHERE id=3");
    corrupt(a, "INSERT INTO person VALUES(1,'undead',0)");
    report = verify(a, b, 1);
    assert_has(report, "\"found\":3,\"repaired\":3");
    assert_int_equal(count_of(report, "\"repaired\":true,\"reason\":\"\""), 3);
    after = tables_of_csync(a);
    assert_string_equal(before, after);
    assert_has(verify(a, b, 0), "\"equal\":true");
    free(before);
    free(after);
    close_both(a, b);
}

static void edits_not_yet_synced_are_pending_and_left_alone(void **state)
{
    csync *a, *b;
    const char *report;

    (void)state;
    make_pair(person, FILL, &a, &b);
    run(a, "UPDATE person SET name='mine' WHERE id=1");
    run(a, "INSERT INTO person VALUES(10,'new here',1)");
    run(b, "INSERT INTO person VALUES(11,'new there',1)");
    run(b, "DELETE FROM person WHERE id=2");
    report = verify(a, b, 1);
    assert_has(report, "\"found\":4,\"repaired\":0");
    assert_int_equal(count_of(report, "\"explained\":\"pending sync\""), 4);
    assert_string_equal(text(a, "SELECT group_concat(id||name) FROM person"),
                        "1mine,2Bob,3Cy,4Dee,10new here");
    sync_all(a, b);
    assert_has(verify(a, b, 0), "\"equal\":true");
    close_both(a, b);
}

static void one_wrong_row_of_fifty_thousand_costs_few_bytes(void **state)
{
    csync *a, *b;
    const char *report;

    (void)state;
    make_pair(person,
              "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<50000) "
              "INSERT INTO person SELECT i,'name '||i,i/7.0 FROM n",
              &a, &b);
    corrupt(a, "UPDATE person SET votes=-1 WHERE id=31415");
    report = verify(a, b, 1);
    assert_has(report, "\"pk\":\"{\\\"id\\\":31415}\",\"kind\":\"differs\"");
    assert_has(report, "\"found\":1,\"repaired\":1");
    assert_true(count_in(report, "\"rounds\":") <= 6);
    assert_true(count_in(report, "\"bytes\":") < 10000);
    assert_has(verify(a, b, 0), "\"equal\":true");
    close_both(a, b);
}

static void all_rows_may_be_gone(void **state)
{
    csync *a, *b;
    const char *report;

    (void)state;
    make_pair(person,
              "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2500) "
              "INSERT INTO person SELECT i,'name '||i,i/7.0 FROM n",
              &a, &b);
    corrupt(a, "DELETE FROM person");
    report = verify(a, b, 1);
    assert_has(report, "\"missingHere\":2500");
    assert_has(report, "\"found\":2500,\"repaired\":2500");
    assert_int_equal(count_of(report, "\"kind\":"), 1000);
    assert_equal(a, b);
    close_both(a, b);
}

static void keys_of_every_kind_are_compared_and_repaired(void **state)
{
    static const char schema[] =
        "CREATE TABLE t(k TEXT PRIMARY KEY, v);\n"
        "CREATE TABLE c(b INTEGER, a TEXT, v, PRIMARY KEY(a,b)) WITHOUT ROWID;\n"
        "CREATE TABLE x(k BLOB PRIMARY KEY, v);\n"
        "CREATE TABLE r(k REAL PRIMARY KEY, v);\n"
        "CREATE TABLE n(k TEXT COLLATE NOCASE PRIMARY KEY, v)";
    static const char fill[] = "INSERT INTO t VALUES('a\"b\\c',1),('',2),('\xC3\xA4',x'00ff');\n"
                               "INSERT INTO c VALUES(1,'x',1),(2,'x',2),(1,'y',9007199254740993);\n"
                               "INSERT INTO x VALUES(x'00',1),(x'',2),('text',3),(1,4),(2.5,5);\n"
                               "INSERT INTO r VALUES(1,1),(1e20,2),(0.1,3);\n"
                               "INSERT INTO n VALUES('Alpha',1),('beta',2)";
    static const char *const tables[] = {"t", "c", "x", "r", "n"};
    csync *a, *b;

    (void)state;
    make_pair(schema, fill, &a, &b);
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        char sql[64];
        int64_t rows;
        const char *report;

        snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", tables[i]);
        rows = number(a, sql);
        snprintf(sql, sizeof sql, "UPDATE %s SET v='wrong'", tables[i]);
        corrupt(a, sql);
        report = verify(a, b, 1);
        assert_int_equal(count_of(report, "\"kind\":\"differs\""), rows);
        assert_equal(a, b);
        snprintf(sql, sizeof sql, "DELETE FROM %s", tables[i]);
        corrupt(a, sql);
        report = verify(a, b, 1);
        assert_int_equal(count_of(report, "\"kind\":\"missing here\""), rows);
        assert_equal(a, b);
    }
    close_both(a, b);
}

static void a_key_in_another_spelling_is_one_row(void **state)
{
    csync *a, *b;
    const char *report;

    (void)state;
    make_pair("CREATE TABLE n(k TEXT COLLATE NOCASE PRIMARY KEY, v)",
              "INSERT INTO n VALUES('Key',1)", &a, &b);
    corrupt(a, "UPDATE n SET k='kEY'");
    report = verify(a, b, 1);
    assert_has(report, "\"pk\":\"{\\\"k\\\":\\\"Key\\\"}\",\"kind\":\"differs\"");
    assert_has(report, "\"found\":1,\"repaired\":1");
    assert_string_equal(text(a, "SELECT k FROM n"), "Key");
    close_both(a, b);
}

static void the_order_of_columns_does_not_matter(void **state)
{
    csync *a = replica_new("CREATE TABLE t(a TEXT, b TEXT, v INTEGER, PRIMARY KEY(a,b))");
    csync *b = replica_new("CREATE TABLE t(v INTEGER, b TEXT, a TEXT, PRIMARY KEY(b,a))");

    (void)state;
    run(a, "INSERT INTO t VALUES('x','y',1),('p','q',2)");
    sync_all(a, b);
    assert_has(verify(a, b, 0), "\"equal\":true");
    corrupt(b, "UPDATE t SET v=5 WHERE a='x'");
    assert_has(verify(b, a, 1), "\"found\":1,\"repaired\":1");
    assert_equal(a, b);
    close_both(a, b);
}

static void other_tables_and_columns_are_named_and_not_compared(void **state)
{
    csync *a = replica_new("CREATE TABLE only_a(id INTEGER PRIMARY KEY);\n"
                           "CREATE TABLE wide(id INTEGER PRIMARY KEY, v, w)");
    csync *b = replica_new("CREATE TABLE only_b(id INTEGER PRIMARY KEY);\n"
                           "CREATE TABLE wide(id INTEGER PRIMARY KEY, v)");
    const char *report;

    (void)state;
    run(a, "INSERT INTO wide VALUES(1,2,3)");
    report = verify(a, b, 1);
    assert_has(report, "{\"table\":\"only_a\",\"rows\":0,\"peerRows\":null,");
    assert_has(report, "\"note\":\"tracked here only\"");
    assert_has(report, "\"note\":\"tracked there only\"");
    assert_has(report, "\"note\":\"other columns\"");
    assert_has(report, "\"rows\":[],\"found\":0");
    close_both(a, b);
}

static const char family[] =
    "CREATE TABLE parent(id INTEGER PRIMARY KEY, name TEXT UNIQUE);\n"
    "CREATE TABLE child(id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parent ON DELETE CASCADE, v)";

static void parents_are_restored_before_their_children(void **state)
{
    csync *a, *b;

    (void)state;
    make_pair(family,
              "INSERT INTO parent VALUES(1,'p'),(2,'q');\n"
              "INSERT INTO child VALUES(1,1,'x'),(2,1,'y'),(3,2,'z')",
              &a, &b);
    corrupt(a, "DELETE FROM child");
    corrupt(a, "DELETE FROM parent");
    assert_has(verify(a, b, 1), "\"found\":5,\"repaired\":5");
    assert_equal(a, b);
    close_both(a, b);
}

static void no_repair_touches_another_row(void **state)
{
    csync *a, *b;
    int64_t top;

    (void)state;
    make_pair(family, "INSERT INTO parent VALUES(1,'p'),(2,'q')", &a, &b);
    run(a, "DELETE FROM parent WHERE id=2");
    sync_all(a, b);
    corrupt(a, "INSERT INTO parent VALUES(2,'undead')");
    run(a, "INSERT INTO child VALUES(7,2,'mine')");
    top = number(a, "SELECT max(version) FROM _sync_log");
    assert_has(verify(a, b, 1), "\"repaired\":false,\"reason\":\"other rows would change\"");
    assert_int_equal(number(a, "SELECT count(*) FROM child"), 1);
    assert_int_equal(number(a, "SELECT max(version) FROM _sync_log"), top);
    close_both(a, b);
}

static void a_repair_runs_the_triggers_of_the_application(void **state)
{
    csync *a, *b;

    (void)state;
    make_pair(person, FILL, &a, &b);
    run(a, "CREATE TABLE audit(id)");
    run(a,
        "CREATE TRIGGER audit_update AFTER UPDATE ON person BEGIN INSERT INTO audit VALUES(NEW.id); END");
    corrupt(a, "UPDATE person SET name='Eve' WHERE id=2");
    assert_has(verify(a, b, 1), "\"found\":1,\"repaired\":1");
    assert_int_equal(number(a, "SELECT count(*) FROM audit"), 2);
    assert_int_equal(number(a, "SELECT sync_active FROM _sync_session"), 0);
    assert_has(verify(a, b, 0), "\"equal\":true");
    run(a,
        "CREATE TRIGGER spoil AFTER UPDATE ON person BEGIN UPDATE person SET votes=0 WHERE id=NEW.id; END");
    corrupt(a, "DELETE FROM person WHERE id=1");
    corrupt(a, "UPDATE person SET name='Eve' WHERE id=2");
    assert_has(verify(a, b, 1), "\"repaired\":false,\"reason\":\"changed on the way in\"");
    assert_string_equal(text(a, "SELECT name FROM person WHERE id=2"), "Eve");
    assert_string_equal(text(a, "SELECT name FROM person WHERE id=1"), "Ada");
    close_both(a, b);
}

static void a_row_that_cannot_enter_says_why(void **state)
{
    csync *a, *b;

    (void)state;
    make_pair(family, "INSERT INTO parent VALUES(1,'p')", &a, &b);
    corrupt(a, "DELETE FROM parent");
    corrupt(a, "INSERT INTO parent VALUES(5,'p')");
    assert_has(verify(a, b, 1), "\"repaired\":false,\"reason\":\"unique\"");
    close_both(a, b);
}

static void parked_rows_are_explained(void **state)
{
    csync *a = replica_new(family), *b = replica_new(family);
    const char *report;

    (void)state;
    run(a, "PRAGMA foreign_keys=OFF");
    run(a, "INSERT INTO child VALUES(1,99,'orphan')");
    sync_all(b, a);
    report = verify(b, a, 1);
    assert_has(report, "\"kind\":\"missing here\",\"local\":{\"head\":\"parked\"");
    assert_has(report, "\"explained\":\"parked\",\"repaired\":false");
    close_both(a, b);
}

static void the_number_of_rows_reported_can_be_limited(void **state)
{
    csync_verify_options o = options(1);
    csync *a, *b;
    char *report;

    (void)state;
    make_pair(person, FILL, &a, &b);
    corrupt(a, "UPDATE person SET name='Eve'");
    o.limit = 2;
    OK(csync_verify(a, b, &o, &report, err));
    assert_int_equal(count_of(report, "\"kind\":"), 2);
    assert_has(report, "\"found\":4,\"repaired\":4");
    csync_free(report);
    assert_equal(a, b);
    close_both(a, b);
}

/* ---- digests ---- */

static void malformed_requests_name_the_fault(void **state)
{
    static const struct {
        const char *json, *part;
        int code;
    } bad[] = {
        {"", "digest request, byte 0: the text ends too early", CSYNC_EINVAL},
        {"[]", "an object is needed here", CSYNC_EINVAL},
        {"{\"table\":\"person\"}", "go together", CSYNC_EINVAL},
        {"{\"prefixes\":[\"\"]}", "go together", CSYNC_EINVAL},
        {"{\"table\":\"person\",\"prefixes\":[]}", "the list of prefixes, keys or tables is empty",
         CSYNC_EINVAL},
        {"{\"table\":\"person\",\"prefixes\":[\"G\"]}", "lower-case hex", CSYNC_EINVAL},
        {"{\"table\":\"person\",\"prefixes\":[\"A\"]}", "lower-case hex", CSYNC_EINVAL},
        {"{\"table\":\"person\",\"prefixes\":[\"0123456789abcde\"]}", "at most 14", CSYNC_EINVAL},
        {"{\"table\":\"person\",\"prefixes\":[\"1\",\"22\"]}", "equally long", CSYNC_EINVAL},
        {"{\"table\":\"person\",\"prefixes\":[\"2\",\"1\"]}", "ascend", CSYNC_EINVAL},
        {"{\"table\":\"person\",\"prefixes\":[\"1\",\"1\"]}", "ascend", CSYNC_EINVAL},
        {"{\"table\":\"person\",\"prefixes\":[\"\"],\"digits\":3}", "digits is 1 or 2", CSYNC_EINVAL},
        {"{\"table\":\"person\",\"prefixes\":[\"\"],\"digits\":-1}", "no integer", CSYNC_EINVAL},
        {"{\"table\":\"person\",\"prefixes\":[\"1\"],\"keys\":[\"{}\"]}", "exclude", CSYNC_EINVAL},
        {"{\"table\":\"person\",\"keys\":[1]}", "a string is needed", CSYNC_EINVAL},
        {"{\"table\":\"person\",\"keys\":[\"no\"]}", "JSON object", CSYNC_EINVAL},
        {"{\"table\":\"person\",\"keys\":[\"{\\\"x\\\":1}\"]}", "no key column", CSYNC_EINVAL},
        {"{\"table\":\"person\",\"keys\":[\"{}\"]}", "lacks a column", CSYNC_EINVAL},
        {"{\"table\":\"person\",\"keys\":[\"{}\"],\"payload\":1}", "no JSON value", CSYNC_EINVAL},
        {"{\"table\":\"nowhere\",\"prefixes\":[\"\"]}", "\"nowhere\" is not tracked", CSYNC_ENOTFOUND},
        {"{} x", "something follows", CSYNC_EINVAL},
    };
    csync *a = replica_new(person);
    char *answer;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        FAILS(bad[i].code, bad[i].part, csync_digest(a, bad[i].json, &answer, err));
        assert_null(answer);
    }
    FAILS(CSYNC_EMISUSE, "NULL", csync_digest(a, NULL, &answer, err));
    FAILS(CSYNC_EMISUSE, "NULL", csync_digest(a, "{}", NULL, err));
    FAILS(CSYNC_EMISUSE, "NULL", csync_digest(NULL, "{}", &answer, err));
    csync_close(a);
}

static void too_large_an_answer_is_refused_before_it_is_made(void **state)
{
    char json[32768], *answer;
    size_t n;
    csync *a = replica_new(person);

    (void)state;
    n = (size_t)snprintf(json, sizeof json, "{\"table\":\"person\",\"digits\":2,\"prefixes\":[");
    for (int i = 0; i < 1025; i++)
        n += (size_t)snprintf(json + n, sizeof json - n, "%s\"%03x\"", i ? "," : "", i);
    snprintf(json + n, sizeof json - n, "]}");
    FAILS(CSYNC_EINVAL, "more than 262144 buckets", csync_digest(a, json, &answer, err));
    csync_close(a);
}

static void states_are_answered_in_the_order_of_the_keys(void **state)
{
    csync *a = replica_new(person);
    char *answer;

    (void)state;
    run(a, "INSERT INTO person VALUES(1,'Ada',1),(2,'Bob',2);\nDELETE FROM person WHERE id=2");
    OK(csync_digest(a,
                    "{\"table\":\"person\",\"keys\":[\"{\\\"id\\\":2}\",\"{\\\"id\\\":7}\","
                    "\"{\\\"id\\\":1}\"],\"payload\":true,\"unknown\":[1,{}]}",
                    &answer, err));
    assert_has(answer, "{\"states\":[{\"head\":\"deleted\",\"timestamp\":");
    assert_has(answer, "},{\"head\":\"none\"},{\"head\":\"live\",");
    assert_has(answer,
               "\"payload\":\"{\\\"id\\\":1,\\\"name\\\":\\\"Ada\\\",\\\"votes\\\":1.0}\"}]}");
    csync_free(answer);
    csync_close(a);
}

/* ---- remotes ---- */

typedef struct script {
    csync *peer; /* answers, when `answers` has ended */
    const char *const *answers;
    int rc;
} script;

static int answer_by_script(void *user_data, const char *request, char **answer, csync_error *err)
{
    script *s = user_data;

    if (s->rc)
        return s->rc;
    if (!s->answers || !*s->answers)
        return s->peer ? csync_digest(s->peer, request, answer, err) : CSYNC_OK;
    *answer = csync_malloc(strlen(*s->answers) + 1);
    memcpy(*answer, *s->answers, strlen(*s->answers) + 1);
    s->answers++;
    return CSYNC_OK;
}

static int verify_by(csync *c, script *s, char **report, csync_error *err)
{
    csync_remote remote = {.struct_size = sizeof remote, .user_data = s, .digest = answer_by_script};
    csync_verify_options o = options(1);

    return csync_verify_remote(c, &remote, &o, report, err);
}

static void a_remote_is_compared_through_its_digest_function(void **state)
{
    csync_remote without = {.struct_size = sizeof without};
    script s = {NULL, NULL, 0};
    csync *a, *b;
    char *report;

    (void)state;
    make_pair(person, FILL, &a, &b);
    corrupt(a, "UPDATE person SET name='Eve' WHERE id=2");
    s.peer = b;
    OK(verify_by(a, &s, &report, err));
    assert_has(report, "\"found\":1,\"repaired\":1");
    csync_free(report);
    FAILS(CSYNC_EUNSUPPORTED, "no digest function",
          csync_verify_remote(a, &without, NULL, &report, err));
    without.struct_size = offsetof(csync_remote, digest); /* compiled against an older header */
    without.digest = answer_by_script;
    FAILS(CSYNC_EUNSUPPORTED, "no digest function",
          csync_verify_remote(a, &without, NULL, &report, err));
    s.rc = CSYNC_ENET;
    FAILS(CSYNC_ENET, "digest", verify_by(a, &s, &report, err));
    s.rc = 17;
    FAILS(CSYNC_ECALLBACK, "17", verify_by(a, &s, &report, err));
    close_both(a, b);
}

#define ZEROES "00000000000000000000000000000000"
#define TABLES_WITH(shape)                                                                         \
    "{\"tables\":[{\"table\":\"person\",\"rows\":4,\"digest\":\"" ZEROES ZEROES                    \
    "\",\"shape\":\"" shape "\"}]}"

static char *answer_to(csync *c, const char *request)
{
    char *answer;

    OK(csync_digest(c, request, &answer, err));
    return answer;
}

static void malformed_answers_are_a_breach_of_protocol(void **state)
{
    csync *a = replica_new(person);
    char *tables = answer_to(a, "{}"), wrong[400];
    const char *bad[][4] = {
        {"nonsense", NULL},
        {"{}", NULL},
        {"{\"tables\":{}}", NULL},
        {"{\"tables\":[{\"table\":\"person\"}]}", NULL},
        {"{\"tables\":[],\"tables\":[]}", NULL},
        {TABLES_WITH("zz"), NULL},
        {wrong, "{\"rows\":[]}", NULL},
        {wrong, "{\"rows\":{\"{}\":\"12\"}}", NULL},
        {wrong, "{\"rows\":{\"no JSON\":\"" ZEROES "\"}}", NULL},
        {wrong, "{\"rows\":{\"{\\\"id\\\":1}\":\"" ZEROES "\"}}", "{\"states\":[]}", NULL},
        {wrong, "{\"rows\":{\"{\\\"id\\\":1}\":\"" ZEROES "\"}}", "{\"states\":[{\"head\":\"x\"}]}",
         NULL},
        {wrong, "{\"rows\":{\"{\\\"id\\\":1}\":\"" ZEROES "\"}}",
         "{\"states\":[{\"head\":\"live\"}]}", NULL},
        {wrong, "{\"rows\":{\"{\\\"id\\\":1}\":\"" ZEROES "\"}}",
         "{\"states\":[{\"head\":\"none\"},{\"head\":\"none\"}]}", NULL},
    };
    char *report;

    (void)state;
    /* the shape is ours, the digest is not, so that rows are asked for next */
    snprintf(wrong, sizeof wrong, "%s", tables);
    memcpy(strstr(wrong, "\"rows\":0"), "\"rows\":1", 8);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        script s = {NULL, bad[i], 0};

        FAILS(CSYNC_EPROTO, "", verify_by(a, &s, &report, err));
        assert_null(report);
    }
    csync_free(tables);
    csync_close(a);
}

static void a_bucket_that_was_not_asked_for_is_a_breach_of_protocol(void **state)
{
    csync *a, *b;
    char *report, *tables;
    const char *answers[] = {NULL, "{\"buckets\":{\"100\":\"0123456789abcdef\"}}", NULL};
    script s = {NULL, answers, 0};

    (void)state;
    make_pair(person,
              "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<100) "
              "INSERT INTO person SELECT i,'',0 FROM n",
              &a, &b);
    corrupt(b, "DELETE FROM person WHERE id=1");
    answers[0] = tables = answer_to(b, "{}");
    FAILS(CSYNC_EPROTO, "not asked for", verify_by(a, &s, &report, err));
    csync_free(tables);
    close_both(a, b);
}

/* Between the questions the peer's row is replaced by one that does not fit the table. */
static void a_row_that_does_not_fit_is_a_breach_of_protocol(void **state)
{
    csync *a, *b;
    const char *answers[5] = {NULL};
    script s = {NULL, answers, 0};
    char *report, *state_json, payload[1024], *made[3];

    (void)state;
    make_pair(person, FILL, &a, &b);
    corrupt(a, "UPDATE person SET name='Eve' WHERE id=2");
    answers[0] = made[0] = answer_to(b, "{}");
    answers[1] = made[1] = answer_to(b, "{\"table\":\"person\",\"prefixes\":[\"\"]}");
    answers[2] = made[2] = answer_to(b, "{\"table\":\"person\",\"keys\":[\"{\\\"id\\\":2}\"]}");
    state_json = made[2];
    snprintf(payload, sizeof payload, "%.*s,\"payload\":\"{\\\"id\\\":3}\"}]}",
             (int)(strlen(state_json) - 3), state_json);
    answers[3] = payload;
    FAILS(CSYNC_EPROTO, "does not fit", verify_by(a, &s, &report, err));
    assert_string_equal(text(a, "SELECT name FROM person WHERE id=2"), "Eve");
    for (int i = 0; i < 3; i++)
        csync_free(made[i]);
    close_both(a, b);
}

/* ---- the rest of the contract ---- */

static int stop_at_once(void *user_data, const csync_progress *progress)
{
    assert_int_equal(progress->phase, CSYNC_VERIFYING);
    if (user_data)
        csync_cancel(user_data);
    return user_data ? CSYNC_OK : CSYNC_ECALLBACK;
}

static void a_comparison_can_be_stopped(void **state)
{
    csync_verify_options o = options(0);
    csync *a, *b;
    char *report;

    (void)state;
    make_pair(person, FILL, &a, &b);
    corrupt(a, "UPDATE person SET name='Eve'");
    o.on_progress = stop_at_once;
    FAILS(CSYNC_ECALLBACK, "stopped", csync_verify(a, b, &o, &report, err));
    o.user_data = a;
    FAILS(CSYNC_ECANCELED, "cancelled", csync_verify(a, b, &o, &report, err));
    assert_null(report);
    o.on_progress = NULL;
    OK(csync_verify(a, b, &o, &report, err));
    csync_free(report);
    close_both(a, b);
}

static void misuse_is_refused(void **state)
{
    csync_verify_options o = options(0);
    csync_remote remote = {.struct_size = sizeof remote};
    csync *a = replica_new(person), *b = replica_new(person);
    char *report;

    (void)state;
    FAILS(CSYNC_EMISUSE, "NULL", csync_verify(NULL, b, NULL, &report, err));
    FAILS(CSYNC_EMISUSE, "NULL", csync_verify(a, NULL, NULL, &report, err));
    FAILS(CSYNC_EMISUSE, "NULL", csync_verify(a, b, NULL, NULL, err));
    FAILS(CSYNC_EINVAL, "itself", csync_verify(a, a, NULL, &report, err));
    FAILS(CSYNC_EMISUSE, "NULL", csync_verify_remote(NULL, &remote, NULL, &report, err));
    FAILS(CSYNC_EMISUSE, "NULL", csync_verify_remote(a, NULL, NULL, &report, err));
    o.limit = -1;
    FAILS(CSYNC_EINVAL, "limit", csync_verify(a, b, &o, &report, err));
    OK(csync_verify(a, b, NULL, &report, err));
    csync_free(report);
    OK(csync_suppress_begin(a, err));
    FAILS(CSYNC_EBUSY, "suppressed", csync_verify(a, b, NULL, &report, err));
    OK(csync_suppress_end(a, 0, err));
    close_both(a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_replicas_are_equal_after_one_question),
        cmocka_unit_test(rows_changed_behind_csync_are_named_with_their_stamps),
        cmocka_unit_test(a_repair_heals_exactly_and_leaves_log_and_heads),
        cmocka_unit_test(edits_not_yet_synced_are_pending_and_left_alone),
        cmocka_unit_test(one_wrong_row_of_fifty_thousand_costs_few_bytes),
        cmocka_unit_test(all_rows_may_be_gone),
        cmocka_unit_test(keys_of_every_kind_are_compared_and_repaired),
        cmocka_unit_test(a_key_in_another_spelling_is_one_row),
        cmocka_unit_test(the_order_of_columns_does_not_matter),
        cmocka_unit_test(other_tables_and_columns_are_named_and_not_compared),
        cmocka_unit_test(parents_are_restored_before_their_children),
        cmocka_unit_test(no_repair_touches_another_row),
        cmocka_unit_test(a_repair_runs_the_triggers_of_the_application),
        cmocka_unit_test(a_row_that_cannot_enter_says_why),
        cmocka_unit_test(parked_rows_are_explained),
        cmocka_unit_test(the_number_of_rows_reported_can_be_limited),
        cmocka_unit_test(malformed_requests_name_the_fault),
        cmocka_unit_test(too_large_an_answer_is_refused_before_it_is_made),
        cmocka_unit_test(states_are_answered_in_the_order_of_the_keys),
        cmocka_unit_test(a_remote_is_compared_through_its_digest_function),
        cmocka_unit_test(malformed_answers_are_a_breach_of_protocol),
        cmocka_unit_test(a_bucket_that_was_not_asked_for_is_a_breach_of_protocol),
        cmocka_unit_test(a_row_that_does_not_fit_is_a_breach_of_protocol),
        cmocka_unit_test(a_comparison_can_be_stopped),
        cmocka_unit_test(misuse_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
