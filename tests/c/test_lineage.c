/* test_lineage.c - whose copy a replica is, and how a push says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "model/change.h"
#include "model/lineage.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define HASH64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char *const malformed[] = {
    "7 me",
    "\n",
    "7 \n",
    "-7 me\n",
    " 7 me\n",
    "7  me\n",
    "7 me\n7",
    "7\n",
    "me 7\n",
    "7 m e\n",
    "9223372036854775808 me\n",
    "7 " HASH64 "0\n",
};

static int made(const char *lineage, const char *origin, int64_t seq)
{
    csync_change change = {.struct_size = sizeof change, .origin = origin, .seq = seq};

    return cs_lineage_made(lineage, &change);
}

static void made__goes_by_origin_and_by_how_long_the_log_was_then(void **state)
{
    char lineage[CS_LINEAGE_SIZE] = "";

    (void)state;
    assert_int_equal(made(lineage, "first", 1), 0);
    cs_lineage_add(lineage, "first", 7);
    cs_lineage_add(lineage, "second", 9);
    assert_string_equal(lineage, "9 second\n7 first\n");
    assert_int_equal(cs_lineage_check(lineage), 1);
    assert_int_equal(made(lineage, "first", 7), 1);
    assert_int_equal(made(lineage, "first", 8), 0);
    assert_int_equal(made(lineage, "second", 9), 1);
    assert_int_equal(made(lineage, "second", 0), 1);
    assert_int_equal(made(lineage, "seco", 1), 0);
    assert_int_equal(made(lineage, "third", 1), 0);
}

static void add__forgets_the_oldest_whole(void **state)
{
    char lineage[CS_LINEAGE_SIZE] = "";

    (void)state;
    for (int i = 0; i < 100; i++) {
        char origin[CSYNC_ORIGIN_SIZE];

        snprintf(origin, sizeof origin, "%d-%.60s", i, HASH64);
        cs_lineage_add(lineage, origin, INT64_MAX - i);
        assert_int_equal(cs_lineage_check(lineage), 1);
        assert_int_equal(made(lineage, origin, 1), 1);
    }
    assert_int_equal(
        made(lineage, "0-0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab", 1), 0);
}

static void check__refuses_what_is_malformed(void **state)
{
    (void)state;
    assert_int_equal(cs_lineage_check(""), 1);
    for (size_t i = 0; i < COUNT(malformed); i++) {
        if (cs_lineage_check(malformed[i]))
            fail_msg("taken for a lineage: %s", malformed[i]);
        assert_int_equal(made(malformed[i], "", 1), 0);
    }
}

static void wire__carries_it_and_says_what_it_refuses(void **state)
{
    csync_batch_info info = {.struct_size = sizeof info, .copied_from = "7 me\n3 you\n"};
    csync_batch_info got = {.struct_size = sizeof got};
    csync_error err = CSYNC_ERROR_INIT;
    csync_batch *batch, *again;
    char *json;
    size_t len;

    (void)state;
    assert_int_equal(csync_batch_new(&batch, NULL), CSYNC_OK);
    assert_int_equal(csync_batch_set_info(batch, &info, NULL), CSYNC_OK);
    assert_int_equal(csync_batch_to_json(batch, &json, &len, NULL), CSYNC_OK);
    assert_non_null(strstr(json, ",\"copiedFrom\":\"7 me\\n3 you\\n\"}"));
    assert_int_equal(csync_batch_from_json(&again, json, len, NULL), CSYNC_OK);
    assert_int_equal(csync_batch_get_info(again, &got), CSYNC_OK);
    assert_string_equal(got.copied_from, info.copied_from);
    info.copied_from = "7 me";
    assert_int_equal(csync_batch_set_info(batch, &info, &err), CSYNC_EINVAL);
    assert_non_null(strstr(err.message, "copied_from is not made of lines VERSION ORIGIN"));
    csync_free(json);
    csync_batch_free(batch);
    csync_batch_free(again);
}

static void wire__refuses_what_is_malformed(void **state)
{
    static const char json[] = "{\"changes\":[],\"copiedFrom\":\"7 me\\n7\"}";
    csync_error err = CSYNC_ERROR_INIT;
    csync_batch *batch;

    (void)state;
    assert_int_equal(csync_batch_from_json(&batch, json, sizeof json - 1, &err), CSYNC_EINVAL);
    assert_non_null(strstr(err.message, "copiedFrom: these are no lines VERSION ORIGIN"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made__goes_by_origin_and_by_how_long_the_log_was_then),
        cmocka_unit_test(add__forgets_the_oldest_whole),
        cmocka_unit_test(check__refuses_what_is_malformed),
        cmocka_unit_test(wire__carries_it_and_says_what_it_refuses),
        cmocka_unit_test(wire__refuses_what_is_malformed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
