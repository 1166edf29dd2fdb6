/* test_callbacks.c - what callbacks do: call csync, close, cancel, fail, answer nonsense. */
#include <stdlib.h>
#include <unistd.h>

#include "refused.h"
#include "snapshot.h"

static const char schema[] = "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT)";

/* What a test's callback does, once, and on which replica. */
typedef struct act {
    csync *c;
    void (*on_call)(struct act *a);
    csync_session *session; /* for those that need one */
    int calls;
    int answer; /* of the callback */
} act;

static void play(act *a)
{
    if (!a->calls++ && a->on_call)
        a->on_call(a);
}

static int on_row(void *user_data, int columns, const char *const *names, const csync_value *values)
{
    act *a = user_data;

    (void)columns;
    (void)names;
    (void)values;
    play(a);
    return a->answer;
}

static int on_conflict(void *user_data, const csync_change *local, const csync_change *remote,
                       const csync_change *base, csync_decision *decision)
{
    act *a = user_data;

    (void)local;
    (void)remote;
    (void)base;
    play(a);
    decision->kind = CSYNC_TAKE_REMOTE;
    return a->answer;
}

static int on_progress(void *user_data, const csync_progress *progress)
{
    act *a = user_data;

    (void)progress;
    play(a);
    return a->answer;
}

/* ---- two replicas with one conflict, and the calls that have callbacks ---- */

static csync *c, *peer;

static int setup(void **state)
{
    (void)state;
    c = replica_new(schema);
    peer = replica_new(schema);
    run(c, "INSERT INTO person VALUES(1,'Ada')");
    sync_all(c, peer);
    run(peer, "UPDATE person SET name='theirs' WHERE id=1");
    run(peer, "INSERT INTO person VALUES(2,'Bob')");
    run(c, "UPDATE person SET name='ours' WHERE id=1");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    csync_close(c);
    csync_close(peer);
    return 0;
}

static int select_rows(act *a, csync_error *err)
{
    return csync_execute(c, "SELECT 1 UNION ALL SELECT 2", NULL, 0, on_row, a, NULL, err);
}

static int sync_with_resolver(act *a, csync_error *err)
{
    csync_sync_options o = {
        .struct_size = sizeof o, .strategy = CSYNC_CUSTOM, .on_conflict = on_conflict, .user_data = a};

    return csync_sync(c, peer, &o, NULL, err);
}

static int sync_with_progress(act *a, csync_error *err)
{
    csync_sync_options o = {.struct_size = sizeof o, .on_progress = on_progress, .user_data = a};

    return csync_sync(c, peer, &o, NULL, err);
}

static int apply_with_resolver(act *a, csync_error *err)
{
    csync_sync_options o = {
        .struct_size = sizeof o, .strategy = CSYNC_CUSTOM, .on_conflict = on_conflict, .user_data = a};
    csync_batch_info nobodys = {.struct_size = sizeof nobodys};
    csync_batch *page = NULL;
    int rc;

    OK(csync_changes(peer, NULL, &page, err));
    OK(csync_batch_set_info(page, &nobodys, err)); /* no push, which would have to continue a position */
    rc = csync_apply(c, page, &o, NULL, NULL, err);
    csync_batch_free(page);
    return rc;
}

typedef int (*call_fn)(act *a, csync_error *err);
static const call_fn calls[] = {select_rows, apply_with_resolver, sync_with_resolver,
                                sync_with_progress};
enum { CALLS = sizeof calls / sizeof *calls };

/* ---- calling csync ---- */

static void try_tables_and_reports(act *a)
{
    csync_state st = {.struct_size = sizeof st};
    char hex[CSYNC_HASH_SIZE], *json = NULL;

    REFUSED(CSYNC_EBUSY, "its own callback", csync_get_state(a->c, &st, err));
    REFUSED(CSYNC_EBUSY, "its own callback", csync_track(a->c, "person", NULL, err));
    REFUSED(CSYNC_EBUSY, "its own callback", csync_untrack(a->c, "person", err));
    REFUSED(CSYNC_EBUSY, "its own callback", csync_tables(a->c, &json, err));
    REFUSED(CSYNC_EBUSY, "its own callback", csync_trigger_sql(a->c, "person", 0, &json, err));
    REFUSED(CSYNC_EBUSY, "its own callback", csync_parked(a->c, &json, err));
    REFUSED(CSYNC_EBUSY, "its own callback", csync_conflicts(a->c, 0, 0, &json, err));
    REFUSED(CSYNC_EBUSY, "its own callback", csync_hash(a->c, hex, err));
    REFUSED(CSYNC_EBUSY, "its own callback",
            csync_execute(a->c, "SELECT 1", NULL, 0, NULL, NULL, NULL, err));
    REFUSED(CSYNC_EBUSY, "its own callback", csync_suppress_begin(a->c, err));
    REFUSED(CSYNC_EBUSY, "its own callback", csync_suppress_end(a->c, 1, err));
}

static int fetch_nothing(void *user_data, const csync_fetch *fetch, csync_batch **out,
                         csync_error *err)
{
    (void)user_data;
    (void)fetch;
    return csync_batch_new(out, err);
}

static void try_syncs_and_sessions(act *a)
{
    csync_remote remote = {.struct_size = sizeof remote, .fetch = fetch_nothing};
    csync_sync_options pull = {.struct_size = sizeof pull, .direction = CSYNC_PULL};
    csync_step step = {.struct_size = sizeof step};
    csync *third = replica_new(schema);
    csync_session *s = NULL;
    csync_batch *b = NULL;

    OK(csync_batch_new(&b, err));
    REFUSED(CSYNC_EBUSY, "its own callback", csync_changes(a->c, NULL, &(csync_batch *){0}, err));
    REFUSED(CSYNC_EBUSY, "its own callback", csync_apply(a->c, b, NULL, NULL, NULL, err));
    REFUSED(CSYNC_EBUSY, "its own callback", csync_sync(a->c, third, NULL, NULL, err));
    REFUSED(CSYNC_EBUSY, "its own callback", csync_sync(third, a->c, NULL, NULL, err));
    REFUSED(CSYNC_EBUSY, "its own callback", csync_sync_remote(a->c, &remote, &pull, NULL, err));
    REFUSED(CSYNC_EBUSY, "its own callback", csync_session_new(&s, a->c, "x", NULL, err));
    REFUSED(CSYNC_EBUSY, "its own callback", csync_session_next(a->session, &step, err));
    REFUSED(CSYNC_EBUSY, "its own callback", csync_session_page(a->session, b, err));
    REFUSED(CSYNC_EBUSY, "its own callback", csync_session_outcome(a->session, NULL, err));
    csync_batch_free(b);
    csync_close(third);
}

static void call_everything(act *a)
{
    try_tables_and_reports(a);
    try_syncs_and_sessions(a);
}

static void a_call_on_its_own_replica_is_busy(void **state)
{
    (void)state;
    for (int i = 0; i < CALLS; i++) {
        act a = {.c = c, .on_call = call_everything};

        OK(csync_session_new(&a.session, c, "other", NULL, err));
        OK(calls[i](&a, err));
        assert_true(a.calls > 0);
        csync_session_free(a.session);
        teardown(state);
        setup(state);
    }
}

static void call_another_replica(act *a)
{
    csync *third = replica_new(schema);

    (void)a;
    run(third, "INSERT INTO person VALUES(7,'Gus')");
    assert_int_equal(number(third, "SELECT count(*) FROM person"), 1);
    csync_close(third);
}

static void a_call_on_another_replica_is_fine(void **state)
{
    (void)state;
    for (int i = 0; i < CALLS; i++) {
        act a = {.on_call = call_another_replica};

        OK(calls[i](&a, err));
        assert_true(a.calls > 0);
        teardown(state);
        setup(state);
    }
}

/* A garbage collector frees when it likes. */
static void free_session_then_call(act *a)
{
    csync_session_free(a->session);
    a->session = NULL;
    REFUSED(CSYNC_EBUSY, "its own callback",
            csync_execute(a->c, "SELECT 1", NULL, 0, NULL, NULL, NULL, err));
}

static void a_session_may_be_freed_in_a_callback(void **state)
{
    (void)state;
    for (int i = 0; i < CALLS; i++) {
        act a = {.c = c, .on_call = free_session_then_call};

        OK(csync_session_new(&a.session, c, "other", NULL, err));
        OK(calls[i](&a, err));
        teardown(state);
        setup(state);
    }
}

/* ---- closing ---- */

static void close_it(act *a)
{
    csync_close(a->c);
    csync_close(a->c);
    FAILS(CSYNC_EBUSY, "its own callback",
          csync_execute(a->c, "SELECT 1", NULL, 0, NULL, NULL, NULL, err));
}

/* The call goes on to its end; what it did is in the file. */
static void a_close_waits_for_the_outermost_call(void **state)
{
    char path[] = "/tmp/csync-callbacks-XXXXXX";

    (void)state;
    for (int i = 0; i < CALLS; i++) {
        act a = {.on_call = close_it};
        csync_step step = {.struct_size = sizeof step};

        csync_close(c);
        close(mkstemp(path));
        OK(csync_open(&c, path, NULL, err));
        run(c, schema);
        run(c, "INSERT INTO person VALUES(1,'ours')");
        OK(csync_track(c, "person", NULL, err));
        OK(csync_session_new(&a.session, c, "other", NULL, err));
        a.c = c;
        OK(calls[i](&a, err));
        assert_true(a.calls > 0);
        FAILS(CSYNC_EMISUSE, "closed", csync_session_next(a.session, &step, err));
        csync_session_free(a.session);
        OK(csync_open(&c, path, NULL, err));
        if (i > 0)
            assert_int_equal(number(c, "SELECT count(*) FROM person"), 2);
        unlink(path);
        memcpy(path + strlen(path) - 6, "XXXXXX", 6);
        teardown(state);
        setup(state);
    }
}

/* ---- cancelling ---- */

static void cancel_it(act *a)
{
    csync_cancel(a->c);
}

static void a_cancel_in_a_callback_stops_the_call(void **state)
{
    (void)state;
    OK(csync_hash(c, (char[CSYNC_HASH_SIZE]){0}, err));
    for (int i = 0; i < CALLS; i++) {
        act a = {.c = c, .on_call = cancel_it};
        char *before = snapshot(c, SNAPSHOT_EXACT);

        FAILS(CSYNC_ECANCELED, "cancel", calls[i](&a, err));
        if (calls[i] != sync_with_progress)
            assert_unchanged(c, before);
        else
            free(before);
        OK(csync_hash(c, (char[CSYNC_HASH_SIZE]){0}, err));
    }
    sync_all(c, peer);
    assert_equal(c, peer);
}

static int fetch_and_play(void *user_data, const csync_fetch *fetch, csync_batch **out,
                          csync_error *err)
{
    play(user_data);
    return csync_changes(peer, fetch, out, err);
}

static int send_and_play(void *user_data, const csync_batch *batch, csync_outcome **out,
                         csync_error *err)
{
    play(user_data);
    return csync_apply(peer, batch, NULL, out, NULL, err);
}

/* While the peer is asked no call of csync's own runs, but the sync does. */
static void a_cancel_during_fetch_or_send_stops_the_sync(void **state)
{
    act a = {.c = c, .on_call = cancel_it};
    csync_remote remote = {
        .struct_size = sizeof remote, .user_data = &a, .fetch = fetch_and_play, .send = send_and_play};
    csync_sync_options o = {.struct_size = sizeof o, .direction = CSYNC_PULL};

    (void)state;
    FAILS(CSYNC_ECANCELED, "cancel", csync_sync_remote(c, &remote, &o, NULL, err));
    assert_int_equal(number(c, "SELECT count(*) FROM person"), 1);
    OK(csync_sync_remote(c, &remote, &o, NULL, err));
    a.calls = 0;
    o.direction = CSYNC_PUSH;
    run(c, "INSERT INTO person VALUES(3,'Cy')");
    FAILS(CSYNC_ECANCELED, "cancel", csync_sync_remote(c, &remote, &o, NULL, err));
    OK(csync_sync_remote(c, &remote, &o, NULL, err));
    assert_equal(c, peer);
}

static void a_cancel_without_a_call_does_nothing(void **state)
{
    (void)state;
    csync_cancel(c);
    sync_all(c, peer);
    csync_cancel(c);
    csync_cancel(peer);
    sync_all(c, peer);
    assert_equal(c, peer);
}

/* ---- failing ---- */

static void a_callback_that_fails_stops_the_call_without_a_trace(void **state)
{
    (void)state;
    OK(csync_hash(c, (char[CSYNC_HASH_SIZE]){0}, err));
    for (int i = 0; i < CALLS; i++) {
        act a = {.answer = i % 2 ? CSYNC_ECALLBACK : 42};
        char *before = snapshot(c, SNAPSHOT_EXACT);

        FAILS(CSYNC_ECALLBACK, "callback", calls[i](&a, err));
        assert_int_equal(a.calls, 1);
        if (calls[i] != sync_with_progress)
            assert_unchanged(c, before);
        else
            free(before);
        OK(csync_hash(c, (char[CSYNC_HASH_SIZE]){0}, err));
    }
    sync_all(c, peer);
    assert_equal(c, peer);
}

static void a_row_callback_that_fails_undoes_the_statement(void **state)
{
    static const char *const writes[] = {"INSERT INTO person VALUES(8,'Hal'),(9,'Ira') RETURNING id",
                                         "UPDATE person SET name='x' RETURNING id",
                                         "DELETE FROM person RETURNING id"};

    (void)state;
    OK(csync_hash(c, (char[CSYNC_HASH_SIZE]){0}, err));
    for (int i = 0; i < 3; i++) {
        act a = {.answer = CSYNC_ECALLBACK};
        char *before = snapshot(c, SNAPSHOT_EXACT);
        int64_t changes = 16;

        FAILS(CSYNC_ECALLBACK, "row callback",
              csync_execute(c, writes[i], NULL, 0, on_row, &a, &changes, err));
        assert_int_equal(changes, 0);
        assert_unchanged(c, before);
    }
}

/* ---- answers that are none ---- */

static int nonsense;

static int answer_nonsense(void *user_data, const csync_change *local, const csync_change *remote,
                           const csync_change *base, csync_decision *d)
{
    static const char *const payloads[] = {NULL,
                                           "",
                                           "no json",
                                           "[1]",
                                           "{\"id\":1,\"name\":\"x\"} ,",
                                           "{\"id\":2,\"name\":\"another row\"}",
                                           "{\"id\":1,\"colour\":\"unknown column\"}"};

    (void)user_data;
    (void)local;
    (void)remote;
    (void)base;
    d->kind = nonsense < 3 ? (int[]){0, 5, -1}[nonsense] : CSYNC_MERGE;
    if (nonsense > 3) {
        const char *payload = payloads[nonsense - 3];

        d->payload = csync_malloc(strlen(payload) + 1);
        memcpy(d->payload, payload, strlen(payload) + 1);
    }
    return CSYNC_OK;
}

static void a_decision_that_is_none_is_refused(void **state)
{
    csync_sync_options o = {
        .struct_size = sizeof o, .strategy = CSYNC_CUSTOM, .on_conflict = answer_nonsense};
    int rc;

    (void)state;
    OK(csync_hash(c, (char[CSYNC_HASH_SIZE]){0}, err));
    for (nonsense = 0; nonsense < 10; nonsense++) {
        csync_error e = CSYNC_ERROR_INIT;
        char *before = snapshot(c, SNAPSHOT_EXACT);

        rc = csync_sync(c, peer, &o, NULL, &e);
        if (rc != CSYNC_EMISUSE && rc != CSYNC_EINVAL)
            fail_msg("nonsense %d was answered with %s (%s)", nonsense, csync_code_name(rc),
                     e.message);
        if (!strstr(e.message, "person") && !strstr(e.message, "callback"))
            fail_msg("nonsense %d: \"%s\" does not say what is wrong with whom", nonsense, e.message);
        assert_unchanged(c, before);
    }
    sync_all(c, peer);
    assert_equal(c, peer);
}

static int answer_of_remote;

static int fail_to_fetch(void *user_data, const csync_fetch *fetch, csync_batch **out,
                         csync_error *err)
{
    (void)user_data;
    (void)fetch;
    (void)err;
    OK(csync_batch_new(out, err));
    return answer_of_remote;
}

static int fetch_null(void *user_data, const csync_fetch *fetch, csync_batch **out, csync_error *err)
{
    (void)user_data;
    (void)fetch;
    (void)out;
    (void)err;
    return CSYNC_OK;
}

static void a_remote_that_fails_gives_its_code(void **state)
{
    csync_remote remote = {.struct_size = sizeof remote, .fetch = fail_to_fetch};
    csync_sync_options o = {.struct_size = sizeof o, .direction = CSYNC_PULL};

    (void)state;
    for (answer_of_remote = CSYNC_ERROR; answer_of_remote >= CSYNC_EUNSUPPORTED; answer_of_remote--)
        FAILS(answer_of_remote, "", csync_sync_remote(c, &remote, &o, NULL, err));
    remote.fetch = fetch_null;
    FAILS(CSYNC_EMISUSE, "page", csync_sync_remote(c, &remote, &o, NULL, err));
}

/* Every function returns CSYNC_OK or a code of the list. */
static void a_remote_that_answers_no_code_is_a_failed_callback(void **state)
{
    csync_remote remote = {.struct_size = sizeof remote, .fetch = fail_to_fetch};
    csync_sync_options o = {.struct_size = sizeof o, .direction = CSYNC_PULL};

    (void)state;
    answer_of_remote = 42;
    FAILS(CSYNC_ECALLBACK, "", csync_sync_remote(c, &remote, &o, NULL, err));
    answer_of_remote = -1000;
    FAILS(CSYNC_ECALLBACK, "", csync_sync_remote(c, &remote, &o, NULL, err));
}

/* ---- the log ---- */

static int logged;

static void keep_log(void *user_data, int level, const char *message)
{
    assert_ptr_equal(user_data, &logged);
    assert_true(level >= CSYNC_LOG_WARNING && level <= CSYNC_LOG_ERROR);
    assert_null(strchr(message, '\n'));
    logged++;
}

static void the_log_gets_what_is_as_grave_as_wanted(void **state)
{
    (void)state;
    csync_set_log(keep_log, &logged, CSYNC_LOG_WARNING);
    run(c, "DROP TRIGGER person_sync_insert");
    sync_all(c, peer);
    assert_true(logged > 0);
    csync_set_log(NULL, NULL, 0);
    logged = 0;
    run(c, "DROP TRIGGER person_sync_insert");
    sync_all(c, peer);
    assert_int_equal(logged, 0);
}

#define ON_C(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_C(a_call_on_its_own_replica_is_busy),
        ON_C(a_call_on_another_replica_is_fine),
        ON_C(a_session_may_be_freed_in_a_callback),
        ON_C(a_cancel_in_a_callback_stops_the_call),
        ON_C(a_cancel_during_fetch_or_send_stops_the_sync),
        ON_C(a_cancel_without_a_call_does_nothing),
        ON_C(a_callback_that_fails_stops_the_call_without_a_trace),
        ON_C(a_row_callback_that_fails_undoes_the_statement),
        ON_C(a_decision_that_is_none_is_refused),
        ON_C(a_remote_that_fails_gives_its_code),
        ON_C(a_remote_that_answers_no_code_is_a_failed_callback),
        ON_C(the_log_gets_what_is_as_grave_as_wanted),
        ON_C(a_close_waits_for_the_outermost_call),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
