/* links: sqlite3 */
/* test_out_of_memory.c - each allocation of each call fails once: the call answers CSYNC_ENOMEM, nothing has
 * happened or all of it, nothing leaks, and the same call then succeeds on the same handle. */
#include <stdlib.h>
#include <unistd.h>

#include <sqlite3.h>

#include "snapshot.h"
#include "support.h"

/* ---- an allocator that fails when armed ---- */

static struct {
    long count, fail_at, live;
    int and_after, has_failed;
} mem;

static int is_to_fail(void)
{
    int fails =
        mem.fail_at && (++mem.count == mem.fail_at || (mem.and_after && mem.count > mem.fail_at));

    mem.has_failed |= fails;
    return fails;
}

static void *take(void *user_data, size_t size)
{
    void *p = is_to_fail() ? NULL : malloc(size);

    (void)user_data;
    mem.live += p != NULL;
    return p;
}

static void *retake(void *user_data, void *p, size_t size)
{
    (void)user_data;
    return is_to_fail() ? NULL : realloc(p, size);
}

static void give(void *user_data, void *p)
{
    (void)user_data;
    mem.live--;
    free(p);
}

static void arm(long n, int and_after)
{
    mem.count = 0;
    mem.fail_at = n;
    mem.and_after = and_after;
    mem.has_failed = 0;
}

static void disarm(void)
{
    mem.fail_at = 0;
}

static int hook(void **state)
{
    const csync_allocator a = {sizeof a, NULL, take, retake, give};

    (void)state;
    return csync_set_allocator(&a);
}

static int unhook(void **state)
{
    (void)state;
    return csync_set_allocator(NULL);
}

/* ---- two replicas with everything in them that a call may meet ---- */

static const char schema[] =
    "CREATE TABLE site(id INTEGER PRIMARY KEY, name TEXT UNIQUE);\n"
    "CREATE TABLE visit(id INTEGER PRIMARY KEY, site INTEGER REFERENCES site, note TEXT CHECK(note<>'bad'));\n"
    "CREATE TABLE person(id TEXT PRIMARY KEY, name TEXT, votes REAL) WITHOUT ROWID;\n"
    "INSERT INTO site VALUES(1,'A'),(2,'B');\n"
    "INSERT INTO visit VALUES(1,1,'x'),(2,1,'y'),(3,2,'z');\n"
    "INSERT INTO person VALUES('a','Ada',1.5),('b','Bob',2.5)";

/* Children before parents, a parent that never comes, a broken check, a freed name, a conflict, a parent that
 * goes while children stay, an unknown table and column. */
static const char page_json[] =
    "{\"changes\":["
    "{\"version\":1,\"tableName\":\"visit\",\"pkValue\":\"{\\\"id\\\":10}\",\"operation\":\"insert\","
    "\"payload\":\"{\\\"id\\\":10,\\\"site\\\":10,\\\"note\\\":\\\"n\\\"}\",\"origin\":\"gamma\","
    "\"timestamp\":\"2090-01-01T00:00:00.000Z\"},"
    "{\"version\":2,\"tableName\":\"site\",\"pkValue\":\"{\\\"id\\\":10}\",\"operation\":\"insert\","
    "\"payload\":\"{\\\"id\\\":10,\\\"name\\\":\\\"J\\\"}\",\"origin\":\"gamma\","
    "\"timestamp\":\"2090-01-01T00:00:00.000Z\"},"
    "{\"version\":3,\"tableName\":\"visit\",\"pkValue\":\"{\\\"id\\\":11}\",\"operation\":\"insert\","
    "\"payload\":\"{\\\"id\\\":11,\\\"site\\\":99}\",\"origin\":\"gamma\","
    "\"timestamp\":\"2090-01-01T00:00:00.000Z\"},"
    "{\"version\":4,\"tableName\":\"visit\",\"pkValue\":\"{\\\"id\\\":12}\",\"operation\":\"insert\","
    "\"payload\":\"{\\\"id\\\":12,\\\"site\\\":1,\\\"note\\\":\\\"bad\\\"}\",\"origin\":\"gamma\","
    "\"timestamp\":\"2090-01-01T00:00:00.000Z\"},"
    "{\"version\":5,\"tableName\":\"person\",\"pkValue\":\"{\\\"id\\\":\\\"a\\\"}\",\"operation\":\"update\","
    "\"payload\":\"{\\\"id\\\":\\\"a\\\",\\\"name\\\":\\\"theirs\\\",\\\"votes\\\":9}\",\"origin\":\"gamma\","
    "\"timestamp\":\"2090-01-01T00:00:00.000Z\"},"
    "{\"version\":6,\"tableName\":\"site\",\"pkValue\":\"{\\\"id\\\":1}\",\"operation\":\"delete\","
    "\"origin\":\"gamma\",\"timestamp\":\"2090-01-01T00:00:00.000Z\"},"
    "{\"version\":7,\"tableName\":\"nowhere\",\"pkValue\":\"{\\\"id\\\":1}\",\"operation\":\"insert\","
    "\"payload\":\"{\\\"id\\\":1}\",\"origin\":\"gamma\",\"timestamp\":\"2090-01-01T00:00:00.000Z\"},"
    "{\"version\":8,\"tableName\":\"site\",\"pkValue\":\"{\\\"id\\\":11}\",\"operation\":\"insert\","
    "\"payload\":\"{\\\"id\\\":11,\\\"name\\\":\\\"A\\\"}\",\"origin\":\"gamma\","
    "\"timestamp\":\"2090-01-01T00:00:00.000Z\"}"
    "],\"fromVersion\":0,\"toVersion\":8,\"hasMore\":false}";

static csync *c, *peer;
static csync_batch *page;

static csync *replica(const char *origin)
{
    csync_open_options o = {.struct_size = sizeof o, .origin = origin};
    csync *made = NULL;

    OK(csync_open(&made, ":memory:", &o, err));
    run(made, schema);
    run(made, "CREATE TABLE extra(id INTEGER PRIMARY KEY, v)");
    run(made, "INSERT INTO extra VALUES(1,'e'),(2,x'00ff')");
    OK(csync_track(made, "site", NULL, err));
    OK(csync_track(made, "visit", NULL, err));
    OK(csync_track(made, "person", NULL, err));
    return made;
}

static void build(int with_peer)
{
    c = replica("alpha");
    run(c, "UPDATE person SET name='ours' WHERE id='a'");
    OK(csync_batch_from_json(&page, page_json, sizeof page_json - 1, err));
    run(c, "DELETE FROM visit WHERE id=3");
    OK(csync_register_client(c, "reader", number(c, "SELECT max(version) FROM _sync_log"), err));
    peer = NULL;
    if (!with_peer)
        return;
    peer = replica("beta");
    OK(csync_apply(peer, page, NULL, NULL, NULL, err));
    run(peer, "INSERT INTO visit VALUES(20,2,'q')");
    run(c, "INSERT INTO visit VALUES(30,2,'r')");
}

static void unbuild(void)
{
    csync_batch_free(page);
    csync_close(c);
    csync_close(peer);
    assert_int_equal(mem.live, 0);
}

/* ---- the calls ---- */

static int track(csync_error *err)
{
    return csync_track(c, "extra", NULL, err);
}

static int track_by_keys(csync_error *err)
{
    csync_track_options o = {.struct_size = sizeof o, .capture = CSYNC_CAPTURE_KEYS};

    return csync_track(c, "person", &o, err);
}

static int untrack(csync_error *err)
{
    return csync_untrack(c, "visit", err);
}

static int text_of(int (*fn)(csync *, char **, csync_error *), csync_error *err)
{
    char *json = NULL;
    int rc = fn(c, &json, err);

    if (rc != CSYNC_OK)
        assert_null(json);
    csync_free(json);
    return rc;
}

static int tables(csync_error *err)
{
    return text_of(csync_tables, err);
}

static int parked(csync_error *err)
{
    return text_of(csync_parked, err);
}

static int list_conflicts(csync *on, char **json, csync_error *err)
{
    return csync_conflicts(on, 0, 0, json, err);
}

static int conflicts(csync_error *err)
{
    return text_of(list_conflicts, err);
}

static int list_triggers(csync *on, char **json, csync_error *err)
{
    return csync_trigger_sql(on, "extra", CSYNC_CAPTURE_KEYS, json, err);
}

static int trigger_sql(csync_error *err)
{
    return text_of(list_triggers, err);
}

static int hash(csync_error *err)
{
    char hex[CSYNC_HASH_SIZE];

    return csync_hash(c, hex, err);
}

static int digest(csync_error *err)
{
    static const char *const requests[] = {
        "{}", "{\"table\":\"site\",\"prefixes\":[\"\"],\"digits\":2}",
        "{\"table\":\"person\",\"prefixes\":[\"\"]}",
        "{\"table\":\"visit\",\"keys\":[\"{\\\"id\\\":1}\"],\"payload\":true}"};
    int rc = CSYNC_OK;

    for (int i = 0; rc == CSYNC_OK && i < 4; i++) {
        char *answer = NULL;

        rc = csync_digest(c, requests[i], &answer, err);
        assert_int_equal(answer != NULL, rc == CSYNC_OK);
        csync_free(answer);
    }
    return rc;
}

static int get_state(csync_error *err)
{
    csync_state st = {.struct_size = sizeof st};

    return csync_get_state(c, &st, err);
}

static int changes(csync_error *err)
{
    csync_batch *out = NULL;
    int rc = csync_changes(c, NULL, &out, err);

    if (rc != CSYNC_OK)
        assert_null(out);
    csync_batch_free(out);
    return rc;
}

static int apply(csync_error *err)
{
    csync_outcome *o = NULL;
    int rc = csync_apply(c, page, NULL, &o, NULL, err);

    if (rc != CSYNC_OK)
        assert_null(o);
    csync_outcome_free(o);
    return rc;
}

/* Merges persons. Its own allocation does not fail: what a callback does is its own business. */
static int merge(void *user_data, const csync_change *local, const csync_change *remote,
                 const csync_change *base, csync_decision *d)
{
    static const char merged[] = "{\"id\":\"a\",\"name\":\"both\"}";
    long n = mem.fail_at;

    (void)user_data;
    (void)remote;
    (void)base;
    d->kind = CSYNC_TAKE_REMOTE;
    if (strcmp(local->table, "person") != 0)
        return CSYNC_OK;
    mem.fail_at = 0;
    d->kind = CSYNC_MERGE;
    d->payload = csync_malloc(sizeof merged);
    memcpy(d->payload, merged, sizeof merged);
    mem.fail_at = n;
    return CSYNC_OK;
}

static int apply_with_resolver(csync_error *err)
{
    csync_sync_options o = {.struct_size = sizeof o, .strategy = CSYNC_CUSTOM, .on_conflict = merge};
    csync_result r = {.struct_size = sizeof r};

    return csync_apply(c, page, &o, NULL, &r, err);
}

static int drop_row(void *user_data, int columns, const char *const *names, const csync_value *values)
{
    (void)user_data;
    (void)columns;
    (void)names;
    (void)values;
    return CSYNC_OK;
}

static int execute(csync_error *err)
{
    csync_value v[2] = {{.type = CSYNC_TEXT, .data = "new", .length = 3},
                        {.type = CSYNC_INTEGER, .integer = 1}};

    return csync_execute(c, "UPDATE visit SET note=?1 WHERE site=?2 RETURNING *", v, 2, drop_row,
                         NULL, NULL, err);
}

static int suppressed(csync_error *err)
{
    int rc = csync_suppress_begin(c, err);

    if (rc == CSYNC_OK)
        rc = csync_execute(c, "UPDATE person SET votes=0", NULL, 0, NULL, NULL, NULL, err);
    if (rc == CSYNC_OK)
        return csync_suppress_end(c, 1, err);
    (void)csync_suppress_end(c, 0, NULL);
    return rc;
}

static int sync_both(csync_error *err)
{
    csync_sync_options o = {.struct_size = sizeof o, .strategy = CSYNC_CUSTOM, .on_conflict = merge};

    return csync_sync(c, peer, &o, NULL, err);
}

/* ---- clients, snapshots, pushes ---- */

static int register_client(csync_error *err)
{
    return csync_register_client(c, "tablet", 1, err);
}

static int forget_client(csync_error *err)
{
    return csync_forget_client(c, "reader", err);
}

static int list_clients(csync *on, char **json, csync_error *err)
{
    return csync_clients(on, 0, json, err);
}

static int clients(csync_error *err)
{
    int64_t version;
    int rc = csync_safe_version(c, 0, &version, err);

    return rc == CSYNC_OK ? text_of(list_clients, err) : rc;
}

static int purge(csync_error *err)
{
    return csync_purge(c, NULL, NULL, err);
}

static int snapshot_page(csync_error *err)
{
    csync_fetch fetch = {.struct_size = sizeof fetch, .cursor = "", .limit = 3};
    csync_batch *out = NULL, *next = NULL;
    csync_batch_info info = {.struct_size = sizeof info};
    int rc = csync_changes(c, &fetch, &out, err);

    if (rc == CSYNC_OK)
        rc = csync_batch_get_info(out, &info);
    fetch.cursor = info.cursor;
    if (rc == CSYNC_OK)
        rc = csync_changes(c, &fetch, &next, err);
    csync_batch_free(out);
    csync_batch_free(next);
    return rc;
}

/* With a key, a claim of where its maker stands, a row that it has seen and one that it has not. */
static int push(csync_error *err)
{
    static const char json[] =
        "{\"changes\":["
        "{\"version\":1,\"tableName\":\"site\",\"pkValue\":\"{\\\"id\\\":50}\",\"operation\":\"insert\","
        "\"payload\":\"{\\\"id\\\":50,\\\"name\\\":\\\"N\\\"}\",\"origin\":\"reader\","
        "\"timestamp\":\"2025-01-01T00:00:00.000Z\",\"seq\":1},"
        "{\"version\":2,\"tableName\":\"site\",\"pkValue\":\"{\\\"id\\\":2}\",\"operation\":\"delete\","
        "\"origin\":\"reader\",\"timestamp\":\"2025-01-01T00:00:00.000Z\",\"seq\":2}"
        "],\"fromVersion\":0,\"toVersion\":2,\"origin\":\"reader\",\"compare\":true,"
        "\"idempotencyKey\":\"k\",\"peerVersion\":1}";
    csync_batch *batch = NULL;
    csync_outcome *o = NULL;
    int rc = csync_batch_from_json(&batch, json, sizeof json - 1, err);

    if (rc == CSYNC_OK)
        rc = csync_apply(c, batch, NULL, &o, NULL, err);
    csync_outcome_free(o);
    csync_batch_free(batch);
    return rc;
}

/* ---- failing them ---- */

typedef int (*call_fn)(csync_error *err);
typedef struct world {
    call_fn call;
    char *before, *after;
    int used; /* tries since it was built */
} world;

/* 1 when the world is as before. */
static int check_failure(const world *w, int rc, const csync_error *e, long n)
{
    char *now = snapshot(c, SNAPSHOT_TIMELESS);
    int is_before = strcmp(now, w->before) == 0, is_after = strcmp(now, w->after) == 0;

    free(now);
    if (rc == CSYNC_ENOMEM && !mem.has_failed)
        fail_msg("allocation %ld: out of memory without a failed allocation", n);
    if (rc != CSYNC_OK && rc != CSYNC_ENOMEM)
        fail_msg("allocation %ld failed, the answer was %s: %s", n, csync_code_name(rc), e->message);
    assert_int_equal(e->code, rc);
    if (rc == CSYNC_OK ? !is_after : !is_before && !is_after)
        fail_msg("allocation %ld failed (%s): the database is neither as before nor as after", n,
                 csync_code_name(rc));
    run(c, "BEGIN IMMEDIATE;\nROLLBACK");
    return rc != CSYNC_OK && is_before;
}

static void succeed_now(const world *w, long n)
{
    char *now;

    OK(w->call(err));
    now = snapshot(c, SNAPSHOT_TIMELESS);
    if (strcmp(now, w->after) != 0)
        fail_msg("allocation %ld failed: the second try has another result", n);
    free(now);
}

/* Returns 1 while there was such an allocation. A handle outlives a few failures; then the call succeeds on
 * it, and nothing of it may be left. */
static int fail_once(world *w, long n, int and_after)
{
    csync_error e = CSYNC_ERROR_INIT;
    int rc, has_failed;

    if (!w->used++)
        build(0);
    arm(n, and_after);
    rc = w->call(&e);
    has_failed = mem.has_failed;
    disarm();
    if (!check_failure(w, rc, &e, n) || w->used == 10) {
        if (rc != CSYNC_OK)
            succeed_now(w, n);
        unbuild();
        w->used = 0;
    }
    return has_failed;
}

static void fail_each(call_fn call)
{
    world w = {.call = call};

    build(0);
    w.before = snapshot(c, SNAPSHOT_TIMELESS);
    OK(call(err));
    w.after = snapshot(c, SNAPSHOT_TIMELESS);
    unbuild();
    for (long n = 1; fail_once(&w, n, 0); n++)
        ;
    for (long n = 1; fail_once(&w, n, 1); n += 3)
        ;
    free(w.before);
    free(w.after);
}

#define FAILS_CLEANLY(call)                                                                        \
    static void call##_fails_cleanly(void **state)                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        fail_each(call);                                                                           \
    }

FAILS_CLEANLY(track)
FAILS_CLEANLY(track_by_keys)
FAILS_CLEANLY(untrack)
FAILS_CLEANLY(tables)
FAILS_CLEANLY(parked)
FAILS_CLEANLY(conflicts)
FAILS_CLEANLY(trigger_sql)
FAILS_CLEANLY(hash)
FAILS_CLEANLY(digest)
FAILS_CLEANLY(get_state)
FAILS_CLEANLY(changes)
FAILS_CLEANLY(apply)
FAILS_CLEANLY(apply_with_resolver)
FAILS_CLEANLY(execute)
FAILS_CLEANLY(suppressed)
FAILS_CLEANLY(register_client)
FAILS_CLEANLY(forget_client)
FAILS_CLEANLY(clients)
FAILS_CLEANLY(purge)
FAILS_CLEANLY(snapshot_page)
FAILS_CLEANLY(push)

/* The reports again, with something to report. */
static void reports_of_full_tables_fail_cleanly(void **state)
{
    static const call_fn calls[] = {parked, conflicts, tables, hash, changes};
    csync_error e = CSYNC_ERROR_INIT;

    (void)state;
    build(0);
    OK(apply_with_resolver(err));
    OK(changes(err));
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        char *before = snapshot(c, SNAPSHOT_EXACT);
        int rc = CSYNC_ENOMEM;

        for (long n = 1; mem.has_failed || n == 1; n++) {
            arm(n, 0);
            rc = calls[i](&e);
            disarm();
            assert_true(rc == CSYNC_OK || rc == CSYNC_ENOMEM);
        }
        assert_int_equal(rc, CSYNC_OK);
        assert_unchanged(c, before);
    }
    unbuild();
}

/* Both hold the same, and a further sync would move nothing. */
static void check_synced(void)
{
    csync_result r = {.struct_size = sizeof r};

    assert_equal(c, peer);
    assert_string_equal(text(c, "SELECT name FROM person WHERE id='a'"), "both");
    assert_int_equal(number(c, "SELECT count(*) FROM _sync_parked"),
                     number(peer, "SELECT count(*) FROM _sync_parked"));
    OK(csync_sync(c, peer, NULL, &r, err));
    assert_int_equal(r.pulled + r.pushed + r.lost + r.conflicts, 0);
}

/* Batches that are complete stay, so there are states between. Some allocations fail in a first sync, the rest
 * in those that continue it: each in a world of its own would take too long. */
static void fail_each_of_a_sync(void (*prepare)(void), void (*check)(void), long tries)
{
    int has_failed = 1;

    for (long n = 1; has_failed; n += tries) {
        build(1);
        if (prepare)
            prepare();
        for (long m = n; m < n + tries; m++) {
            csync_error e = CSYNC_ERROR_INIT;
            int rc;

            arm(m, 0);
            rc = sync_both(&e);
            has_failed = mem.has_failed;
            disarm();
            if (rc != CSYNC_OK && rc != CSYNC_ENOMEM)
                fail_msg("allocation %ld failed, the answer was %s: %s", m, csync_code_name(rc),
                         e.message);
            run(c, "BEGIN IMMEDIATE;\nROLLBACK");
            run(peer, "BEGIN IMMEDIATE;\nROLLBACK");
        }
        OK(sync_both(err));
        check();
        unbuild();
    }
}

static void a_sync_fails_cleanly_and_the_next_completes(void **state)
{
    (void)state;
    fail_each_of_a_sync(NULL, check_synced, 2);
}

/* The peer has forgotten deletes that this replica has not heard of, and of which it edited one. */
static void fall_behind(void)
{
    csync_sync_options o = {.struct_size = sizeof o, .full_resync = -1};

    OK(sync_both(err));
    run(c, "UPDATE person SET votes=7 WHERE id='b'");
    run(c, "INSERT INTO visit VALUES(40,2,'s')");
    run(peer, "DELETE FROM person");
    run(peer, "DELETE FROM visit WHERE id=20");
    OK(csync_forget_client(peer, "alpha", err));
    OK(csync_register_client(peer, "reader", number(peer, "SELECT max(version) FROM _sync_log"), err));
    OK(csync_purge(peer, NULL, NULL, err));
    FAILS(CSYNC_EFULLRESYNC, "full resync", csync_sync(c, peer, &o, NULL, err));
}

static void check_resynced(void)
{
    csync_result r = {.struct_size = sizeof r};

    assert_equal(c, peer);
    assert_int_equal(number(c, "SELECT count(*) FROM person"), 0);
    assert_int_equal(number(peer, "SELECT count(*) FROM visit WHERE id=40"), 1);
    assert_int_equal(number(c, "SELECT count(*) FROM _sync_snapshots"), 0);
    OK(csync_sync(c, peer, NULL, &r, err));
    assert_int_equal(r.pulled + r.pushed + r.lost + r.conflicts + r.resyncs, 0);
}

static void a_resync_fails_cleanly_and_the_next_completes(void **state)
{
    (void)state;
    fail_each_of_a_sync(fall_behind, check_resynced, 8);
}

/* ---- a session by hand: the call that failed is made again, and the session goes on ---- */

static long failing; /* the allocation of the session's own calls that is to fail */
static int failures; /* of calls */

/* What the host and the peer do meanwhile does not count. */
static void others_turn(int begins)
{
    mem.fail_at = begins ? 0 : failing;
}

static int step_fails_at_most_once(int rc, const csync_error *e)
{
    failures += rc != CSYNC_OK;
    if (rc != CSYNC_OK && (rc != CSYNC_ENOMEM || !mem.has_failed || failures > 1))
        fail_msg("allocation %ld failed, the answer was %s: %s", failing, csync_code_name(rc),
                 e->message);
    return rc != CSYNC_OK;
}

static void feed_page(csync_session *s, const csync_step *step)
{
    csync_error e = CSYNC_ERROR_INIT, why = CSYNC_ERROR_INIT;
    csync_batch *got = NULL;
    int rc, code;

    others_turn(1);
    code = csync_changes(peer, &step->fetch, &got, &why);
    others_turn(0);
    do
        rc = code == CSYNC_OK ? csync_session_page(s, got, &e) : csync_session_refused(s, &why, &e);
    while (step_fails_at_most_once(rc, &e));
    others_turn(1);
    csync_batch_free(got);
    others_turn(0);
}

static void feed_outcome(csync_session *s, const csync_step *step)
{
    csync_error e = CSYNC_ERROR_INIT, why = CSYNC_ERROR_INIT;
    csync_outcome *outcome = NULL;
    int rc, code;

    others_turn(1);
    code = csync_apply(peer, step->batch, NULL, &outcome, NULL, &why);
    others_turn(0);
    do
        rc = code == CSYNC_OK ? csync_session_outcome(s, outcome, &e)
                              : csync_session_refused(s, &why, &e);
    while (step_fails_at_most_once(rc, &e));
    csync_outcome_free(outcome);
}

static void run_session(void)
{
    csync_sync_options o = {.struct_size = sizeof o, .strategy = CSYNC_CUSTOM, .on_conflict = merge};
    csync_error e = CSYNC_ERROR_INIT;
    csync_session *s = NULL;
    csync_step step = {.struct_size = sizeof step};
    int rc;

    do
        rc = csync_session_new(&s, c, "beta", &o, &e);
    while (step_fails_at_most_once(rc, &e));
    do {
        do
            rc = csync_session_next(s, &step, &e);
        while (step_fails_at_most_once(rc, &e));
        if (step.kind == CSYNC_STEP_SEND)
            feed_outcome(s, &step);
        else if (step.kind != CSYNC_STEP_DONE)
            feed_page(s, &step);
    } while (step.kind != CSYNC_STEP_DONE);
    csync_session_free(s);
}

static void fail_each_of_a_session(void (*prepare)(void), void (*check)(void), long stride)
{
    int has_failed = 1;

    for (failing = 1; has_failed; failing += stride) {
        build(1);
        if (prepare)
            prepare();
        failures = 0;
        arm(failing, 0);
        run_session();
        has_failed = mem.has_failed;
        disarm();
        OK(sync_both(err));
        check();
        unbuild();
    }
}

static void a_session_goes_on_with_the_call_that_failed(void **state)
{
    (void)state;
    fail_each_of_a_session(NULL, check_synced, 3);
    fail_each_of_a_session(fall_behind, check_resynced, 5);
}

static int ask_peer(void *user_data, const char *request, char **answer, csync_error *err)
{
    return csync_digest(user_data, request, answer, err);
}

static int verify_and_repair(int by_remote, char **report, csync_error *err)
{
    csync_remote remote = {.struct_size = sizeof remote, .user_data = peer, .digest = ask_peer};
    csync_verify_options o = {.struct_size = sizeof o, .repair = 1};

    return by_remote ? csync_verify_remote(c, &remote, &o, report, err)
                     : csync_verify(c, peer, &o, report, err);
}

/* Wrong rows, missing rows, and one that no head knows of. */
static void spoil(void)
{
    OK(csync_suppress_begin(c, err));
    run(c, "UPDATE person SET votes=99 WHERE id='b'");
    run(c, "DELETE FROM site WHERE id BETWEEN 200 AND 210");
    run(c, "INSERT OR IGNORE INTO visit VALUES(77,2,'ghost')");
    OK(csync_suppress_end(c, 1, err));
}

static void a_repair_fails_cleanly_and_the_next_completes(void **state)
{
    (void)state;
    build(1);
    run(c, "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i+1 FROM n WHERE i<300) "
           "INSERT INTO site SELECT i, 'name '||i FROM n");
    OK(sync_both(err));
    for (int by_remote = 0; by_remote <= 1; by_remote++) {
        int has_failed = 1;

        for (long n = 1; has_failed; n++) {
            csync_error e = CSYNC_ERROR_INIT;
            char *report = NULL;
            int rc;

            spoil();
            arm(n, 0);
            rc = verify_and_repair(by_remote, &report, &e);
            has_failed = mem.has_failed;
            disarm();
            if (rc != CSYNC_OK && rc != CSYNC_ENOMEM)
                fail_msg("allocation %ld failed, the answer was %s: %s", n, csync_code_name(rc),
                         e.message);
            assert_int_equal(report != NULL, rc == CSYNC_OK);
            csync_free(report);
            run(c, "BEGIN IMMEDIATE;\nROLLBACK");
        }
        assert_int_equal(number(c, "SELECT count(*) FROM site WHERE id BETWEEN 200 AND 210"), 11);
        assert_int_equal(number(c, "SELECT votes FROM person WHERE id='b'"),
                         number(peer, "SELECT votes FROM person WHERE id='b'"));
    }
    unbuild();
}

static void opening_fails_cleanly(void **state)
{
    char path[] = "/tmp/csync-memory-XXXXXX";
    csync_open_options o = {.struct_size = sizeof o, .origin = "alpha"};
    int has_failed = 1;

    (void)state;
    for (int with_tables = 0; with_tables <= 1; with_tables++) {
        for (long n = 1; has_failed; n++) {
            csync_error e = CSYNC_ERROR_INIT;
            csync *made = NULL;
            int rc;

            if (!with_tables) {
                memcpy(path + sizeof path - 7, "XXXXXX", 6);
                close(mkstemp(path));
            }
            arm(n, 0);
            rc = csync_open(&made, path, &o, &e);
            has_failed = mem.has_failed;
            disarm();
            assert_true(rc == CSYNC_OK || (rc == CSYNC_ENOMEM && has_failed && !made));
            csync_close(made);
            assert_int_equal(mem.live, 0);
            OK(csync_open(&made, path, &o, err));
            assert_string_equal(text(made, "SELECT value FROM _sync_state WHERE key='origin_id'"),
                                "alpha");
            if (!with_tables && !has_failed) {
                run(made, schema);
                OK(csync_track(made, "site", NULL, err));
            } else if (!with_tables) {
                unlink(path);
            }
            csync_close(made);
        }
        has_failed = 1;
    }
    unlink(path);
    assert_int_equal(mem.live, 0);
}

static void opening_on_a_live_connection_fails_cleanly(void **state)
{
    csync_open_options o = {.struct_size = sizeof o, .origin = "alpha"};
    int has_failed = 1;

    (void)state;
    for (long n = 1; has_failed; n++) {
        csync_error e = CSYNC_ERROR_INIT;
        csync *made = NULL;
        sqlite3 *db = NULL;
        int rc;

        assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
        arm(n, 0);
        rc = csync_open_sqlite(&made, db, NULL, &o, &e);
        has_failed = mem.has_failed;
        disarm();
        assert_true(rc == CSYNC_OK || (rc == CSYNC_ENOMEM && has_failed && !made));
        csync_close(made);
        assert_int_equal(mem.live, 0);
        OK(csync_open_sqlite(&made, db, NULL, &o, err));
        run(made, schema);
        csync_close(made);
        assert_int_equal(sqlite3_close(db), SQLITE_OK);
    }
}

/* ---- a cancel at each progress report: the batch that is open does not happen ---- */

static long ticks, cancel_at;

static int tick(void *user_data, const csync_progress *progress)
{
    (void)progress;
    if (++ticks == cancel_at)
        csync_cancel(user_data);
    return CSYNC_OK;
}

static void a_cancel_at_each_report_leaves_whole_batches(void **state)
{
    static const char many[] =
        "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i+1 FROM n WHERE i<700) "
        "INSERT INTO site SELECT i, 'name '||i FROM n";

    (void)state;
    for (cancel_at = 1;; cancel_at++) {
        csync *a = replica("alpha"), *b = replica("beta");
        csync_sync_options o = {
            .struct_size = sizeof o, .batch_size = 150, .on_progress = tick, .user_data = a};
        int rc;

        run(b, many);
        ticks = 0;
        rc = csync_sync(a, b, &o, NULL, NULL);
        if (ticks < cancel_at) {
            assert_int_equal(rc, CSYNC_OK);
            csync_close(a);
            csync_close(b);
            break;
        }
        assert_true(rc == CSYNC_ECANCELED || rc == CSYNC_OK);
        run(a, "BEGIN IMMEDIATE;\nROLLBACK");
        sync_all(a, b);
        assert_equal(a, b);
        csync_close(a);
        csync_close(b);
    }
    assert_true(cancel_at > 8);
    assert_int_equal(mem.live, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening_fails_cleanly),
        cmocka_unit_test(opening_on_a_live_connection_fails_cleanly),
        cmocka_unit_test(track_fails_cleanly),
        cmocka_unit_test(track_by_keys_fails_cleanly),
        cmocka_unit_test(untrack_fails_cleanly),
        cmocka_unit_test(tables_fails_cleanly),
        cmocka_unit_test(parked_fails_cleanly),
        cmocka_unit_test(conflicts_fails_cleanly),
        cmocka_unit_test(trigger_sql_fails_cleanly),
        cmocka_unit_test(hash_fails_cleanly),
        cmocka_unit_test(digest_fails_cleanly),
        cmocka_unit_test(get_state_fails_cleanly),
        cmocka_unit_test(changes_fails_cleanly),
        cmocka_unit_test(apply_fails_cleanly),
        cmocka_unit_test(apply_with_resolver_fails_cleanly),
        cmocka_unit_test(execute_fails_cleanly),
        cmocka_unit_test(suppressed_fails_cleanly),
        cmocka_unit_test(register_client_fails_cleanly),
        cmocka_unit_test(forget_client_fails_cleanly),
        cmocka_unit_test(clients_fails_cleanly),
        cmocka_unit_test(purge_fails_cleanly),
        cmocka_unit_test(snapshot_page_fails_cleanly),
        cmocka_unit_test(push_fails_cleanly),
        cmocka_unit_test(reports_of_full_tables_fail_cleanly),
        cmocka_unit_test(a_sync_fails_cleanly_and_the_next_completes),
        cmocka_unit_test(a_resync_fails_cleanly_and_the_next_completes),
        cmocka_unit_test(a_session_goes_on_with_the_call_that_failed),
        cmocka_unit_test(a_repair_fails_cleanly_and_the_next_completes),
        cmocka_unit_test(a_cancel_at_each_report_leaves_whole_batches),
    };

    return cmocka_run_group_tests(tests, hook, unhook);
}
