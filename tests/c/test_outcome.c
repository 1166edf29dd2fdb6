/* test_outcome.c - outcomes in memory and in the wire form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "codec/wire.h"
#include "failing_malloc.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const csync_change sample = {
    .struct_size = sizeof sample,
    .version = 7,
    .operation = CSYNC_INSERT,
    .table = "Person",
    .pk = "{\"Id\":\"1\"}",
    .payload =
        "{\"Id\":\"1\",\"Name\":\"Zo\xC3\xAB \\\"q\\\"\\n\",\"Age\":42,\"Ok\":true,\"R\":-1.5e3}",
    .origin = "550e8400-e29b-41d4-a716-446655440000",
    .timestamp = "2025-01-01T00:00:00.123Z",
    .seq = 9,
};

static void same_text(const char *a, const char *b)
{
    assert_true((a == NULL) == (b == NULL));
    if (a)
        assert_string_equal(a, b);
}

static void same_change(const csync_change *a, const csync_change *b)
{
    assert_true(a->version == b->version && a->seq == b->seq);
    assert_int_equal(a->operation, b->operation);
    same_text(a->table, b->table);
    same_text(a->pk, b->pk);
    same_text(a->payload, b->payload);
    same_text(a->origin, b->origin);
    same_text(a->timestamp, b->timestamp);
}

static csync_outcome *sample_outcome(void)
{
    csync_outcome *outcome = cs_outcome_create();

    assert_int_equal(cs_outcome_add(outcome, CSYNC_APPLIED, NULL, NULL, NULL), CSYNC_OK);
    assert_int_equal(cs_outcome_add(outcome, CSYNC_LOST, "", &sample, NULL), CSYNC_OK);
    assert_int_equal(cs_outcome_add(outcome, CSYNC_PARKED, "no \"parent\"", NULL, NULL), CSYNC_OK);
    assert_int_equal(cs_outcome_add(outcome, CSYNC_LOST, NULL, &sample, NULL), CSYNC_OK);
    outcome->position = 77;
    return outcome;
}

static void outcome__comes_back_as_it_was_written(void **state)
{
    csync_outcome *outcome = sample_outcome(), *again;
    csync_outcome_entry e = {.struct_size = sizeof e};
    csync_error err = CSYNC_ERROR_INIT;
    char *json, *second;

    (void)state;
    assert_int_equal(csync_outcome_to_json(outcome, &json, NULL), CSYNC_OK);
    assert_memory_equal(json,
                        "{\"position\":77,\"outcomes\":[{\"status\":\"applied\"},"
                        "{\"status\":\"lost\",\"winner\":{\"version\":7,",
                        83);
    assert_int_equal(csync_outcome_from_json(&again, json, strlen(json), &err), CSYNC_OK);
    assert_int_equal(csync_outcome_count(again), 4);
    assert_int_equal(csync_outcome_position(again), 77);
    assert_int_equal(csync_outcome_at(again, 3, &e), CSYNC_OK);
    assert_int_equal(e.status, CSYNC_LOST);
    same_change(e.winner, &sample);
    assert_int_equal(csync_outcome_at(again, 2, &e), CSYNC_OK);
    assert_string_equal(e.reason, "no \"parent\"");
    assert_null(e.winner);
    assert_int_equal(csync_outcome_at(again, 4, &e), CSYNC_ENOTFOUND);
    assert_int_equal(csync_outcome_to_json(again, &second, NULL), CSYNC_OK);
    assert_string_equal(json, second);
    csync_free(json);
    csync_free(second);
    csync_outcome_free(outcome);
    csync_outcome_free(again);
}

static void outcome__refuses_what_is_malformed(void **state)
{
    static const char *const bad[] = {
        "",
        "{}",
        "{\"position\":1}",
        "{\"outcomes\":[]}",
        "{\"position\":-1,\"outcomes\":[]}",
        "{\"position\":1,\"outcomes\":[{}]}",
        "{\"position\":1,\"outcomes\":[{\"status\":\"won\"}]}",
        "{\"position\":1,\"outcomes\":[{\"status\":1}]}",
        "{\"position\":1,\"outcomes\":[{\"status\":\"lost\",\"winner\":{}}]}",
        "{\"position\":1,\"outcomes\":[{\"status\":\"applied\",\"status\":\"applied\"}]}",
        "{\"position\":1,\"outcomes\":[]} x",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        csync_outcome *outcome;
        csync_error err = CSYNC_ERROR_INIT;

        if (csync_outcome_from_json(&outcome, bad[i], strlen(bad[i]), &err) != CSYNC_EINVAL)
            fail_msg("%s was read", bad[i]);
        assert_true(outcome == NULL && err.message[0]);
    }
    assert_int_equal(cs_outcome_add(NULL, 0, NULL, NULL, NULL), CSYNC_EINVAL);
}

static int run_outcome(void *ctx)
{
    csync_outcome *outcome = cs_outcome_create(), *again = NULL;
    char *json = NULL;
    int rc = outcome ? CSYNC_OK : CSYNC_ENOMEM;

    (void)ctx;
    for (int i = 0; i < 20 && rc == CSYNC_OK; i++)
        rc = cs_outcome_add(outcome, CSYNC_LOST, "why", &sample, NULL);
    if (rc == CSYNC_OK)
        rc = csync_outcome_to_json(outcome, &json, NULL);
    if (rc == CSYNC_OK)
        rc = csync_outcome_from_json(&again, json, strlen(json), NULL);
    csync_free(json);
    csync_outcome_free(outcome);
    csync_outcome_free(again);
    return rc;
}

static void memory_failure__is_reported_and_leaves_nothing(void **state)
{
    (void)state;
    assert_true(failing_malloc_each(run_outcome, NULL, FAILING_STRICT) > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outcome__comes_back_as_it_was_written),
        cmocka_unit_test(outcome__refuses_what_is_malformed),
        cmocka_unit_test(memory_failure__is_reported_and_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
