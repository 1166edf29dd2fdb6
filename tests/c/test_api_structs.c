/* test_api_structs.c - struct_size: not set, of an older client, of a newer one. */
#include <stdlib.h>

#include "refused.h"

static const char schema[] = "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT)";

static csync *c, *peer; /* of the test that runs */

static int setup(void **state)
{
    (void)state;
    c = replica_new(schema);
    peer = replica_new(schema);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    csync_close(c);
    csync_close(peer);
    return 0;
}

typedef int (*call_fn)(void *s, csync_error *err);

/* As large as it says and not a byte more, so that ASan sees what is touched beyond. */
static void *sized(const void *proto, size_t proto_size, size_t size)
{
    char *s = calloc(1, size);

    memcpy(s, proto, size < proto_size ? size : proto_size);
    memcpy(s, &size, sizeof size);
    return s;
}

static void refuse_absurd_sizes(call_fn call, const void *proto, size_t proto_size)
{
    static const size_t sizes[] = {0, 4, 4097, SIZE_MAX};
    char *s = sized(proto, proto_size, proto_size);

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        memcpy(s, &sizes[i], sizeof sizes[i]);
        REFUSED(CSYNC_EMISUSE, "struct_size", call(s, err));
    }
    free(s);
}

static void accept(call_fn call, const void *proto, size_t proto_size, size_t size)
{
    void *s = sized(proto, proto_size, size);

    OK(call(s, err));
    free(s);
}

/* A struct that csync reads. `old` is the least size that holds what the call needs. */
static void check_input(call_fn call, const void *proto, size_t size, size_t old)
{
    char *newer = sized(proto, size, size + 16);

    refuse_absurd_sizes(call, proto, size);
    accept(call, proto, size, old);
    accept(call, proto, size, size);
    accept(call, proto, size, size + 16);
    newer[size + 8] = 1;
    REFUSED(CSYNC_EUNSUPPORTED, "does not know", call(newer, err));
    free(newer);
}

/* A struct that csync fills: a newer client's further fields are 0. */
static void check_output(call_fn call, size_t size, size_t old)
{
    size_t larger = size + 16;
    char *newer = calloc(1, larger);

    refuse_absurd_sizes(call, newer, size);
    accept(call, newer, size, old);
    accept(call, newer, size, size);
    memcpy(newer, &larger, sizeof larger);
    OK(call(newer, err));
    assert_memory_equal(newer, &larger, sizeof larger);
    for (size_t i = size; i < larger; i++)
        assert_int_equal(newer[i], 0);
    free(newer);
}

/* ---- read by csync ---- */

static int open_with(void *s, csync_error *err)
{
    csync *made = NULL;
    int rc = csync_open(&made, ":memory:", s, err);

    csync_close(made);
    return rc;
}

static int track_with(void *s, csync_error *err)
{
    return csync_track(c, "person", s, err);
}

static int changes_with(void *s, csync_error *err)
{
    csync_batch *page = NULL;
    int rc = csync_changes(c, s, &page, err);

    csync_batch_free(page);
    return rc;
}

static void options_may_be_of_another_age(void **state)
{
    const csync_open_options open_options = {.struct_size = sizeof open_options};
    const csync_track_options track_options = {.struct_size = sizeof track_options};
    const csync_fetch fetch = {.struct_size = sizeof fetch};

    (void)state;
    check_input(open_with, &open_options, sizeof open_options,
                offsetof(csync_open_options, busy_timeout_ms));
    check_input(track_with, &track_options, sizeof track_options, sizeof(size_t));
    check_input(changes_with, &fetch, sizeof fetch, offsetof(csync_fetch, limit));
}

static csync_batch *batch(void)
{
    csync_batch *b = NULL;

    OK(csync_batch_new(&b, err));
    return b;
}

static int apply_with(void *s, csync_error *err)
{
    csync_batch *b = batch();
    int rc = csync_apply(c, b, s, NULL, NULL, err);

    csync_batch_free(b);
    return rc;
}

static int session_with(void *s, csync_error *err)
{
    csync_session *made = NULL;
    int rc = csync_session_new(&made, c, "peer", s, err);

    csync_session_free(made);
    return rc;
}

static int sync_with(void *s, csync_error *err)
{
    return csync_sync(c, peer, s, NULL, err);
}

static int fetch_nothing(void *user_data, const csync_fetch *fetch, csync_batch **out,
                         csync_error *err)
{
    (void)user_data;
    (void)fetch;
    return csync_batch_new(out, err);
}

static int remote_options_with(void *s, csync_error *err)
{
    csync_remote remote = {.struct_size = sizeof remote, .fetch = fetch_nothing};

    return csync_sync_remote(c, &remote, s, NULL, err);
}

static int remote_with(void *s, csync_error *err)
{
    csync_sync_options pull = {.struct_size = sizeof pull, .direction = CSYNC_PULL};

    return csync_sync_remote(c, s, &pull, NULL, err);
}

static void sync_options_and_remotes_may_be_of_another_age(void **state)
{
    const csync_sync_options o = {.struct_size = sizeof o, .direction = CSYNC_PULL};
    const csync_remote remote = {.struct_size = sizeof remote, .fetch = fetch_nothing};
    const size_t old = offsetof(csync_sync_options, batch_size);

    (void)state;
    check_input(apply_with, &o, sizeof o, old);
    check_input(session_with, &o, sizeof o, old);
    check_input(sync_with, &o, sizeof o, old);
    check_input(remote_options_with, &o, sizeof o, old);
    check_input(remote_with, &remote, sizeof remote, offsetof(csync_remote, send));
}

static const csync_change change = {.struct_size = sizeof change,
                                    .operation = CSYNC_INSERT,
                                    .table = "person",
                                    .pk = "{\"id\":9}",
                                    .payload = "{\"id\":9}",
                                    .origin = "tester",
                                    .timestamp = "2030-01-01T00:00:00.000Z"};

static int add_with(void *s, csync_error *err)
{
    csync_batch *b = batch();
    int rc = csync_batch_add(b, s, err);

    csync_batch_free(b);
    return rc;
}

static int info_with(void *s, csync_error *err)
{
    csync_batch *b = batch();
    int rc = csync_batch_set_info(b, s, err);

    csync_batch_free(b);
    return rc;
}

static int resolve_local(void *s, csync_error *err)
{
    int decision;

    return csync_resolve(s, &change, 0, &decision, err);
}

static int resolve_remote(void *s, csync_error *err)
{
    int decision;

    return csync_resolve(&change, s, 0, &decision, err);
}

static void changes_and_infos_may_be_of_another_age(void **state)
{
    const csync_batch_info info = {.struct_size = sizeof info};

    (void)state;
    check_input(add_with, &change, sizeof change, offsetof(csync_change, seq));
    check_input(info_with, &info, sizeof info, offsetof(csync_batch_info, hash));
}

static void resolve_takes_changes_of_another_age(void **state)
{
    (void)state;
    check_input(resolve_local, &change, sizeof change, offsetof(csync_change, seq));
    check_input(resolve_remote, &change, sizeof change, offsetof(csync_change, seq));
}

static int allocator_with(void *s, csync_error *err)
{
    (void)err;
    return csync_set_allocator(s);
}

static void *allocate(void *user_data, size_t size)
{
    (void)user_data;
    return malloc(size);
}

static void *reallocate(void *user_data, void *p, size_t size)
{
    (void)user_data;
    return realloc(p, size);
}

static void release(void *user_data, void *p)
{
    (void)user_data;
    free(p);
}

static void an_allocator_needs_its_size(void **state)
{
    csync_allocator a = {sizeof a, NULL, allocate, reallocate, release};

    (void)state;
    for (size_t size = 0; size < sizeof a; size += 8) {
        a.struct_size = size;
        assert_int_equal(csync_set_allocator(&a), CSYNC_EMISUSE);
    }
    accept(allocator_with, &a, sizeof a, sizeof a + 16);
    assert_int_equal(csync_set_allocator(NULL), CSYNC_OK);
}

/* ---- filled by csync ---- */

static int state_into(void *s, csync_error *err)
{
    return csync_get_state(c, s, err);
}

static int apply_into(void *s, csync_error *err)
{
    csync_batch *b = batch();
    int rc = csync_apply(c, b, NULL, NULL, s, err);

    csync_batch_free(b);
    return rc;
}

static int sync_into(void *s, csync_error *err)
{
    return csync_sync(c, peer, NULL, s, err);
}

static int remote_into(void *s, csync_error *err)
{
    csync_remote remote = {.struct_size = sizeof remote, .fetch = fetch_nothing};
    csync_sync_options pull = {.struct_size = sizeof pull, .direction = CSYNC_PULL};

    return csync_sync_remote(c, &remote, &pull, s, err);
}

static int step_into(void *s, csync_error *err)
{
    csync_session *session = NULL;
    int rc = csync_session_new(&session, c, "peer", NULL, err);

    rc = rc == CSYNC_OK ? csync_session_next(session, s, err) : rc;
    csync_session_free(session);
    return rc;
}

static void states_results_and_steps_may_be_of_another_age(void **state)
{
    (void)state;
    check_output(state_into, sizeof(csync_state), offsetof(csync_state, max_version));
    check_output(apply_into, sizeof(csync_result), offsetof(csync_result, pushed));
    check_output(step_into, sizeof(csync_step), offsetof(csync_step, batch));
}

static void results_of_a_sync_may_be_of_another_age(void **state)
{
    (void)state;
    check_output(sync_into, sizeof(csync_result), offsetof(csync_result, pushed));
    check_output(remote_into, sizeof(csync_result), offsetof(csync_result, pushed));
}

/* These have no csync_error: the message is theirs to lack. */
static int without_error(int rc, csync_error *err)
{
    if (rc != CSYNC_OK && err) {
        err->code = rc;
        snprintf(err->message, sizeof err->message, "struct_size");
    }
    return rc;
}

static csync_outcome *outcome;
static csync_batch *informed;
static csync_session *session;

static int entry_into(void *s, csync_error *err)
{
    return without_error(csync_outcome_at(outcome, 0, s), err);
}

static int info_into(void *s, csync_error *err)
{
    return without_error(csync_batch_get_info(informed, s), err);
}

static int result_into(void *s, csync_error *err)
{
    return without_error(csync_session_result(session, s), err);
}

static void entries_and_infos_may_be_of_another_age(void **state)
{
    static const char json[] = "{\"position\":1,\"outcomes\":[{\"status\":\"applied\"}]}";

    (void)state;
    informed = batch();
    OK(csync_outcome_from_json(&outcome, json, sizeof json - 1, err));
    OK(csync_session_new(&session, c, "peer", NULL, err));
    check_output(entry_into, sizeof(csync_outcome_entry), offsetof(csync_outcome_entry, winner));
    check_output(info_into, sizeof(csync_batch_info), offsetof(csync_batch_info, hash));
    check_output(result_into, sizeof(csync_result), offsetof(csync_result, pushed));
    csync_session_free(session);
    csync_outcome_free(outcome);
    csync_batch_free(informed);
}

#define ON_C(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_C(options_may_be_of_another_age),
        ON_C(sync_options_and_remotes_may_be_of_another_age),
        ON_C(changes_and_infos_may_be_of_another_age),
        ON_C(resolve_takes_changes_of_another_age),
        ON_C(an_allocator_needs_its_size),
        ON_C(states_results_and_steps_may_be_of_another_age),
        ON_C(results_of_a_sync_may_be_of_another_age),
        ON_C(entries_and_infos_may_be_of_another_age),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
