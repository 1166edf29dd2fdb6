/* test_out_of_memory.c - each allocation of each call fails once: the call answers CSYNC_ENOMEM, nothing has
 * happened or all of it, nothing leaks, and the same call then succeeds on the same handle. */
#include <stdlib.h>

#include "memory_world.h"
#include "snapshot.h"
#include "support.h"

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
    if (rc == CSYNC_ENOMEM && !failing_malloc.has_failed)
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
    has_failed = failing_malloc.has_failed;
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

        for (long n = 1; failing_malloc.has_failed || n == 1; n++) {
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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };

    return cmocka_run_group_tests(tests, memory_hook, memory_unhook);
}
