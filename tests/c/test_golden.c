/* test_golden.c - tests/data/golden, which the tests of Python and Lua read, too: a batch in its wire form, its hash, and the
 * canonical form of each payload. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "csync.h"

enum { SIZE = 64 * 1024 };

static char *read_golden(const char *name, char *text)
{
    char path[200];
    size_t length;
    FILE *f;

    snprintf(path, sizeof path, "tests/data/golden/%s", name);
    f = fopen(path, "rb");
    assert_non_null(f);
    length = fread(text, 1, SIZE - 1, f);
    fclose(f);
    assert_true(length > 0 && length < SIZE - 1);
    text[length] = '\0';
    return text;
}

static csync_batch *golden_batch(char *text)
{
    csync_error err = CSYNC_ERROR_INIT;
    csync_batch *batch = NULL;

    read_golden("batch.json", text);
    text[strlen(text) - 1] = '\0'; /* the newline at its end */
    assert_int_equal(csync_batch_from_json(&batch, text, strlen(text), &err), CSYNC_OK);
    return batch;
}

static void is_read_written_and_hashed(void **state)
{
    static char text[SIZE], hash[SIZE];
    csync_batch *batch = golden_batch(text);
    char hex[CSYNC_HASH_SIZE], *json = NULL;

    (void)state;
    assert_int_equal(csync_batch_to_json(batch, &json, NULL, NULL), CSYNC_OK);
    assert_string_equal(json, text);
    assert_int_equal(csync_batch_hash(batch, hex, NULL), CSYNC_OK);
    read_golden("batch.hash", hash);
    assert_memory_equal(hex, hash, CSYNC_HASH_SIZE - 1);
    csync_free(json);
    csync_batch_free(batch);
}

static void has_payloads_with_one_canonical_form(void **state)
{
    static char text[SIZE], lines[SIZE];
    csync_batch *batch = golden_batch(text);
    char *rest = read_golden("canonical.txt", lines);

    (void)state;
    for (size_t i = 0; i < csync_batch_count(batch); i++) {
        const char *payload = csync_batch_at(batch, i)->payload, *line = strsep(&rest, "\n");
        char *canonical = NULL;

        payload = payload ? payload : "null";
        assert_int_equal(csync_canonical_json(payload, strlen(payload), &canonical, NULL), CSYNC_OK);
        assert_string_equal(canonical, line);
        csync_free(canonical);
    }
    csync_batch_free(batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_read_written_and_hashed),
        cmocka_unit_test(has_payloads_with_one_canonical_form),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
